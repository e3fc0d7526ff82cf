//! Collects the events that arrive while the doctor listens.

use std::collections::BTreeMap;

use crate::event::{Accept, Decoder, Detail, Payload, TaskKind, WorkerKind};
use crate::timestamp::Timestamp;

/// Maximum number of worker names to keep.
const NAMES_MAX: usize = 10_000;

/// Maximum number of processes to distinguish under one node name.
const PROCESSES_MAX: usize = 16;

/// Events received from one broker.
#[derive(Debug, Default)]
pub(super) struct ObservedEvents {
    decoder: Decoder,
    accept: Accept,
    /// By node name.
    pub(super) workers: BTreeMap<String, ObservedWorker>,
    /// Number of task-sent events, and of task-received events.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Number of undecodable events by reason.
    pub(super) unreadable: BTreeMap<String, u64>,
}

/// Events received from one worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ObservedWorker {
    /// The version of Celery, if reported.
    pub(super) version: Option<String>,
    /// Number of task events.
    pub(super) task_events: u64,
    /// Number of tasks started, according to the first and the last heartbeat. Keyed by process id,
    /// because the count restarts with the process and a second worker may have the same name.
    pub(super) processed: BTreeMap<Option<i64>, (u64, u64)>,
    /// Smallest delay of its heartbeats in seconds: the time of receipt by our clock minus the time
    /// of sending by its own. A negative value means that its clock is ahead by at least that much.
    pub(super) late: Option<f64>,
}

impl ObservedEvents {
    /// An empty record.
    pub(super) fn new(accept: Accept) -> Self {
        Self {
            accept,
            ..Self::default()
        }
    }

    /// Records a message.
    pub(super) fn observe(&mut self, payload: &Payload, now: Timestamp) {
        let Self {
            decoder,
            accept,
            workers,
            sent,
            received,
            unreadable,
        } = self;
        decoder.decode(payload, *accept, now, |event| {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    *unreadable.entry(error.to_string()).or_default() += 1;
                    return;
                }
            };
            // The sender of a task-sent event is a client, not a worker.
            if let Detail::Task(task) = &event.detail
                && task.kind == TaskKind::Sent
            {
                *sent += 1;
                return;
            }
            let is_full = workers.len() >= NAMES_MAX;
            if event.hostname.is_empty() || (is_full && !workers.contains_key(&*event.hostname)) {
                return;
            }
            let worker = workers.entry(event.hostname.to_string()).or_default();
            match &event.detail {
                Detail::Task(task) => {
                    worker.task_events += 1;
                    *received += u64::from(task.kind == TaskKind::Received);
                }
                Detail::Worker(said) if said.kind == WorkerKind::Heartbeat => {
                    worker.version = said.sw_ver.as_deref().map(str::to_owned);
                    if let Some(now) = said.processed
                        && (worker.processed.len() < PROCESSES_MAX
                            || worker.processed.contains_key(&event.pid))
                    {
                        worker.processed.entry(event.pid).or_insert((now, now)).1 = now;
                    }
                    let late = now.seconds() - event.timestamp.seconds();
                    worker.late = Some(worker.late.map_or(late, |least| least.min(late)));
                }
                Detail::Worker(_) | Detail::Other(_) => {}
            }
        });
    }
}

impl ObservedWorker {
    /// Number of tasks that it started while the doctor listened.
    pub(super) fn ran(&self) -> u64 {
        let processes = self.processed.values();
        processes
            .map(|(first, last)| last.saturating_sub(*first))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ContentType, Form};

    fn observed(bodies: &[&str]) -> ObservedEvents {
        let mut observed = ObservedEvents::new(Accept::default());
        for body in bodies {
            let payload = Payload {
                bytes: body.as_bytes().to_vec(),
                form: Form::Body {
                    content_type: ContentType::Json,
                    compression: None,
                },
            };
            observed.observe(&payload, Timestamp::from_whole_seconds(100));
        }
        observed
    }

    #[test]
    fn heartbeats_tell_of_workers_and_events_of_tasks() {
        let heartbeat = |pid: u32, processed: u32, at: f64| {
            format!(
                r#"{{"type": "worker-heartbeat", "hostname": "celery@a", "pid": {pid}, "timestamp": {at}, "processed": {processed}, "active": 0, "freq": 2.0, "sw_ver": "5.6.0"}}"#
            )
        };
        let task = |kind: &str, hostname: &str| {
            format!(
                r#"{{"type": "task-{kind}", "uuid": "u", "hostname": "{hostname}", "timestamp": 99.0}}"#
            )
        };
        let observed = observed(&[
            &heartbeat(3, 7, 103.0),
            &heartbeat(4, 1_000, 103.0),
            &heartbeat(3, 9, 102.5),
            &task("sent", "gen1@b"),
            &task("received", "celery@a"),
            &task("started", "celery@a"),
            "{",
            "[{}, {}]",
        ]);
        let worker = ObservedWorker {
            version: Some("5.6.0".to_owned()),
            task_events: 2,
            processed: BTreeMap::from([(Some(3), (7, 9)), (Some(4), (1_000, 1_000))]),
            late: Some(-3.0),
        };
        assert_eq!(worker.ran(), 2);
        let expected = BTreeMap::from([("celery@a".to_owned(), worker)]);
        assert_eq!(observed.workers, expected);
        assert_eq!((observed.sent, observed.received), (1, 1));
        assert_eq!(observed.unreadable.values().sum::<u64>(), 3);
    }
}
