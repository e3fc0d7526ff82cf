//! Stores and restores a task.

use super::{Earlier, Flags, Task, TaskKind, TaskStage};
use crate::saved;
use crate::state::texts::{Restored, Texts};
use crate::timestamp::Timestamp;

impl Task {
    /// The stored form, without the fields that the table adds.
    pub(in crate::state) fn stored(&self, texts: &mut Texts) -> saved::Task {
        saved::Task {
            id: None,
            heard: 0,
            name: texts.place(self.name),
            queue: texts.place(self.queue),
            worker: texts.place(self.worker),
            sent: self.sent.micros(),
            due: self.due.micros(),
            next_due: self.next_due.micros(),
            first_due: self.first_due.micros(),
            received: self.received.micros(),
            started: self.started.micros(),
            ended: self.ended.micros(),
            expires: self.expires,
            attempt: self.attempt.into(),
            stage: stored_stage(self.stage).into(),
            ahead: stored_stage(self.ahead).into(),
            end: stored_end(self.end).into(),
            queue_told: self.queue_told,
            eta: self.eta,
            queue_waited: self.flags.has(Flags::QUEUE_WAITED),
            prefetch_waited: self.flags.has(Flags::PREFETCH_WAITED),
            turned_around: self.flags.has(Flags::TURNED_AROUND),
            eta_only: self.flags.has(Flags::ETA_ONLY),
            next_elsewhere: self.flags.has(Flags::NEXT_ELSEWHERE),
            earlier: self.earlier.as_deref().map(|it| it.stored(texts)),
            retried_owed: false,
            held: Vec::new(),
            workflow: None,
        }
    }

    /// Restores a task. Unknown enum values count as absent.
    pub(in crate::state) fn restored(
        saved: &saved::Task,
        texts: &mut Restored<'_>,
        now: Timestamp,
    ) -> Self {
        let at = |micros| saved::past(micros, now);
        Self {
            name: texts.name(saved.name),
            queue: texts.name(saved.queue),
            worker: texts.node(saved.worker),
            sent: at(saved.sent),
            due: saved::time(saved.due),
            next_due: saved::time(saved.next_due),
            first_due: saved::time(saved.first_due),
            received: at(saved.received),
            started: at(saved.started),
            ended: at(saved.ended),
            expires: saved.expires,
            attempt: super::saturated(saved.attempt),
            stage: stage(saved.stage()),
            ahead: stage(saved.ahead()),
            end: end(saved.end()),
            queue_told: saved.queue_told,
            eta: saved.eta,
            flags: Flags::of([
                (Flags::QUEUE_WAITED, saved.queue_waited),
                (Flags::PREFETCH_WAITED, saved.prefetch_waited),
                (Flags::TURNED_AROUND, saved.turned_around),
                (Flags::ETA_ONLY, saved.eta_only),
                (Flags::NEXT_ELSEWHERE, saved.next_elsewhere),
                (Flags::SETTLED, true),
            ]),
            earlier: Earlier::restored(saved, texts, now).map(Box::new),
        }
    }

    /// Whether it is on its way and may expire there.
    pub(in crate::state) const fn may_expire(&self) -> bool {
        self.expires > 0
    }
}

impl Earlier {
    fn stored(&self, texts: &mut Texts) -> saved::Earlier {
        saved::Earlier {
            name: texts.place(self.name),
            queue: texts.place(self.queue),
            worker: texts.place(self.worker),
            attempt: self.attempt.into(),
            due: self.due.micros(),
            received: self.received.micros(),
            started: self.started.micros(),
            ended: self.ended.micros(),
            queue_waited: self.queue_waited,
            prefetch_waited: self.prefetch_waited,
            replaced: self.replaced,
        }
    }

    fn restored(task: &saved::Task, texts: &mut Restored<'_>, now: Timestamp) -> Option<Self> {
        let at = |micros| saved::past(micros, now);
        if let Some(saved) = &task.earlier {
            return Some(Self {
                name: texts.name(saved.name),
                queue: texts.name(saved.queue),
                worker: texts.node(saved.worker),
                attempt: super::saturated(saved.attempt),
                due: saved::time(saved.due),
                received: at(saved.received),
                started: at(saved.started),
                ended: at(saved.ended),
                queue_waited: saved.queue_waited,
                prefetch_waited: saved.prefetch_waited,
                replaced: saved.replaced,
            });
        }
        // Written by an older version, which stored nothing else about it.
        task.retried_owed.then(|| Self {
            name: texts.name(task.name),
            queue: texts.name(task.queue),
            attempt: super::saturated(task.attempt).saturating_sub(1),
            queue_waited: true,
            prefetch_waited: true,
            ..Self::default()
        })
    }
}

const fn stored_stage(stage: Option<TaskStage>) -> saved::Stage {
    match stage {
        None => saved::Stage::None,
        Some(TaskStage::Sent) => saved::Stage::Sent,
        Some(TaskStage::Retry) => saved::Stage::Retry,
        Some(TaskStage::Received) => saved::Stage::Received,
        Some(TaskStage::Started) => saved::Stage::Started,
    }
}

const fn stage(saved: saved::Stage) -> Option<TaskStage> {
    match saved {
        saved::Stage::None => None,
        saved::Stage::Sent => Some(TaskStage::Sent),
        saved::Stage::Retry => Some(TaskStage::Retry),
        saved::Stage::Received => Some(TaskStage::Received),
        saved::Stage::Started => Some(TaskStage::Started),
    }
}

const fn stored_end(end: Option<TaskKind>) -> saved::End {
    match end {
        // The first three are not ends.
        None | Some(TaskKind::Sent | TaskKind::Received | TaskKind::Started) => saved::End::None,
        Some(TaskKind::Succeeded) => saved::End::Succeeded,
        Some(TaskKind::Failed) => saved::End::Failed,
        Some(TaskKind::Retried) => saved::End::Retried,
        Some(TaskKind::Rejected) => saved::End::Rejected,
        Some(TaskKind::Revoked) => saved::End::Revoked,
        Some(TaskKind::Cancelled) => saved::End::Cancelled,
    }
}

const fn end(saved: saved::End) -> Option<TaskKind> {
    match saved {
        saved::End::None => None,
        saved::End::Succeeded => Some(TaskKind::Succeeded),
        saved::End::Failed => Some(TaskKind::Failed),
        saved::End::Retried => Some(TaskKind::Retried),
        saved::End::Rejected => Some(TaskKind::Rejected),
        saved::End::Revoked => Some(TaskKind::Revoked),
        saved::End::Cancelled => Some(TaskKind::Cancelled),
    }
}
