//! Stores held steps: those of a known task with it, the others separately.

use super::{At, Held, HeldStep, Intervals, Published, Step};
use crate::saved;
use crate::state::task::Label;
use crate::state::tasks::CapturedTasks as Tasks;
use crate::state::texts::{Restored, Texts};
use crate::state::{Outcome, Revocation, Symbol};
use crate::timestamp::Timestamp;

/// All held steps at one instant.
#[derive(Debug)]
pub(in crate::state) struct CapturedHeld(Held);

impl Held {
    pub(in crate::state) fn capture(&self) -> CapturedHeld {
        CapturedHeld(self.clone())
    }

    /// Restores the steps of a task.
    pub(in crate::state) fn restore(
        &mut self,
        at: At,
        steps: &[saved::HeldStep],
        texts: &mut Restored<'_>,
        now: Timestamp,
    ) {
        let mut begins = true;
        for stored in steps {
            let step = HeldStep::restored(stored, texts, now);
            let first = self.push(begins, at, step);
            let published = Published::restored(stored, texts);
            if begins && let Some(head) = self.head_mut(first) {
                head.published = published;
                head.old = stored.old;
            }
            begins = false;
        }
    }

    /// Restores the steps of tasks that are no longer known.
    pub(in crate::state) fn restore_orphans(
        &mut self,
        steps: &[saved::HeldStep],
        texts: &mut Restored<'_>,
        now: Timestamp,
    ) {
        for stored in steps {
            let step = HeldStep::restored(stored, texts, now);
            self.push(true, At::MAX, step);
        }
    }
}

impl CapturedHeld {
    /// The held steps of a task.
    pub(in crate::state) fn stored(
        &self,
        at: At,
        label: Label,
        texts: &mut Texts,
    ) -> Vec<saved::HeldStep> {
        let chain = self.0.chains.get(&at).filter(|_| label == Label::Held);
        let Some(&chain) = chain else {
            return Vec::new();
        };
        let mut steps: Vec<_> = self.chain(chain).map(|step| step.stored(texts)).collect();
        let head = self.0.slots[chain as usize].head;
        if let (Some(head), Some(first)) = (head, steps.first_mut()) {
            first.old = head.old;
            if let Some(to) = head.published {
                first.exchange = texts.place(Some(to.exchange));
                first.routing_key = texts.place(Some(to.key));
                first.queue = texts.place(to.queue);
            }
        }
        steps
    }

    /// The held steps of tasks that are no longer known.
    pub(in crate::state) fn orphans(&self, tasks: &Tasks) -> impl Iterator<Item = &HeldStep> {
        let orphans = self.0.heads().into_iter().filter(|(chain, head)| {
            let is_held = tasks.label(head.task) == Label::Held;
            !is_held || self.0.chains.get(&head.task) != Some(chain)
        });
        orphans.flat_map(|(chain, _)| self.chain(chain))
    }

    fn chain(&self, chain: u32) -> impl Iterator<Item = &HeldStep> {
        let slots = std::iter::successors(Some(&self.0.slots[chain as usize]), |slot| {
            slot.next.map(|next| &self.0.slots[next as usize])
        });
        slots.filter_map(|slot| slot.step.as_ref())
    }
}

impl Published {
    fn restored(stored: &saved::HeldStep, texts: &mut Restored<'_>) -> Option<Self> {
        Some(Self {
            exchange: texts.name(stored.exchange)?,
            key: texts.name(stored.routing_key)?,
            queue: texts.name(stored.queue),
        })
    }
}

impl HeldStep {
    pub(in crate::state) fn stored(&self, texts: &mut Texts) -> saved::HeldStep {
        let Intervals {
            ran,
            queue_wait,
            prefetch_wait,
            turnaround,
            attempts,
            exhausted,
            clamped: _,
            refused: _,
        } = self.intervals;
        // The outcome is that of the step, or of the end that a late task-sent followed.
        let outcome = ran.map(|(outcome, _)| outcome);
        let outcome = outcome.or(turnaround.map(|(outcome, _)| outcome));
        let outcome = outcome.or(attempts.map(|(outcome, _)| outcome));
        let (step, class) = stored_step(self.step);
        saved::HeldStep {
            step: step.into(),
            exception: texts.place(class),
            at: self.at.micros(),
            sender: texts.place(self.sender),
            name: texts.place(self.name),
            worker: texts.place(self.worker),
            ran_by: texts.place(self.ran_by),
            eta: self.eta,
            outcome: stored_outcome(outcome).into(),
            ran: ran.map(|(_, seconds)| seconds),
            queue_wait,
            prefetch_wait,
            turnaround: turnaround.map(|(_, seconds)| seconds),
            attempts: attempts.map(|(_, attempts)| attempts.into()),
            exhausted,
            ..saved::HeldStep::default()
        }
    }

    fn restored(stored: &saved::HeldStep, texts: &mut Restored<'_>, now: Timestamp) -> Self {
        let outcome = restored_outcome(stored.outcome());
        let seconds = |stored: Option<f64>| stored.and_then(saved::seconds);
        let attempts = stored.attempts.and_then(|n| u16::try_from(n).ok());
        Self {
            step: restored_step(stored.step(), texts.name(stored.exception)),
            at: saved::past(stored.at, now),
            sender: texts.node(stored.sender),
            name: texts.name(stored.name),
            worker: texts.node(stored.worker),
            ran_by: texts.node(stored.ran_by),
            eta: stored.eta,
            intervals: Intervals {
                ran: outcome.zip(seconds(stored.ran)),
                queue_wait: seconds(stored.queue_wait),
                prefetch_wait: seconds(stored.prefetch_wait),
                turnaround: outcome.zip(seconds(stored.turnaround)),
                attempts: outcome.zip(attempts),
                exhausted: stored.exhausted,
                clamped: 0,
                refused: 0,
            },
        }
    }
}

const fn stored_step(step: Option<Step>) -> (saved::Step, Option<Symbol>) {
    let Some(step) = step else {
        return (saved::Step::None, None);
    };
    match step {
        Step::Sent => (saved::Step::Sent, None),
        Step::Received => (saved::Step::Received, None),
        Step::Started => (saved::Step::Started, None),
        Step::Succeeded => (saved::Step::Succeeded, None),
        Step::Failed(class) => (saved::Step::Failed, class),
        Step::Retried(class) => (saved::Step::Retried, class),
        Step::Rejected { requeue: false } => (saved::Step::Rejected, None),
        Step::Rejected { requeue: true } => (saved::Step::Requeued, None),
        Step::Revoked(Revocation::Revoked) => (saved::Step::Revoked, None),
        Step::Revoked(Revocation::Expired) => (saved::Step::Expired, None),
        Step::Revoked(Revocation::Terminated) => (saved::Step::Terminated, None),
        Step::Cancelled => (saved::Step::Cancelled, None),
    }
}

const fn restored_step(step: saved::Step, class: Option<Symbol>) -> Option<Step> {
    Some(match step {
        saved::Step::None => return None,
        saved::Step::Sent => Step::Sent,
        saved::Step::Received => Step::Received,
        saved::Step::Started => Step::Started,
        saved::Step::Succeeded => Step::Succeeded,
        saved::Step::Failed => Step::Failed(class),
        saved::Step::Retried => Step::Retried(class),
        saved::Step::Rejected => Step::Rejected { requeue: false },
        saved::Step::Requeued => Step::Rejected { requeue: true },
        saved::Step::Revoked => Step::Revoked(Revocation::Revoked),
        saved::Step::Expired => Step::Revoked(Revocation::Expired),
        saved::Step::Terminated => Step::Revoked(Revocation::Terminated),
        saved::Step::Cancelled => Step::Cancelled,
    })
}

const fn stored_outcome(outcome: Option<Outcome>) -> saved::Outcome {
    match outcome {
        None => saved::Outcome::None,
        Some(Outcome::Succeeded) => saved::Outcome::Succeeded,
        Some(Outcome::Failed) => saved::Outcome::Failed,
        Some(Outcome::Retried) => saved::Outcome::Retried,
    }
}

const fn restored_outcome(outcome: saved::Outcome) -> Option<Outcome> {
    match outcome {
        saved::Outcome::None => None,
        saved::Outcome::Succeeded => Some(Outcome::Succeeded),
        saved::Outcome::Failed => Some(Outcome::Failed),
        saved::Outcome::Retried => Some(Outcome::Retried),
    }
}
