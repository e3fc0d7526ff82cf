//! What was heard of workers and tasks while listening.

use std::collections::BTreeMap;

use crate::event::{Accept, Decoder, Detail, Payload, TaskKind, WorkerKind};
use crate::timestamp::Timestamp;

/// Names, and reasons, that are kept.
const NAMES_MAX: usize = 10_000;

/// Processes that are told apart under one name.
const PROCESSES_MAX: usize = 16;

/// What was heard on one broker.
#[derive(Debug, Default)]
pub(super) struct Heard {
    decoder: Decoder,
    accept: Accept,
    /// By node name.
    pub(super) workers: BTreeMap<String, HeardWorker>,
    /// Events of a task-sent, and those of a task that a worker has received.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Why events could not be read, and how many.
    pub(super) unreadable: BTreeMap<String, u64>,
}

/// What was heard of one worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct HeardWorker {
    /// The version of Celery, where it said so.
    pub(super) version: Option<String>,
    /// Events of tasks.
    pub(super) task_events: u64,
    /// Tasks that it had started, by the first and by the last of its heartbeats. By its process: after a restart they
    /// are others, and so are those of a second worker of that name.
    pub(super) processed: BTreeMap<Option<i64>, (u64, u64)>,
    /// By how many seconds its heartbeats came later than they were made, by its clock and ours: the least. Negative
    /// is what its clock is ahead at least.
    pub(super) late: Option<f64>,
}

impl Heard {
    /// Nothing yet.
    pub(super) fn new(accept: Accept) -> Self {
        Self {
            accept,
            ..Self::default()
        }
    }

    /// Takes a message in.
    pub(super) fn hear(&mut self, payload: &Payload, now: Timestamp) {
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
            // Whoever publishes a task is no worker.
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

impl HeardWorker {
    /// Tasks that it started while it was listened to.
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

    fn heard(bodies: &[&str]) -> Heard {
        let mut heard = Heard::new(Accept::default());
        for body in bodies {
            let payload = Payload {
                bytes: body.as_bytes().to_vec(),
                form: Form::Body {
                    content_type: ContentType::Json,
                    compression: None,
                },
            };
            heard.hear(&payload, Timestamp::from_whole_seconds(100));
        }
        heard
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
        let heard = heard(&[
            &heartbeat(3, 7, 103.0),
            &heartbeat(4, 1_000, 103.0),
            &heartbeat(3, 9, 102.5),
            &task("sent", "gen1@b"),
            &task("received", "celery@a"),
            &task("started", "celery@a"),
            "{",
            "[{}, {}]",
        ]);
        let worker = HeardWorker {
            version: Some("5.6.0".to_owned()),
            task_events: 2,
            processed: BTreeMap::from([(Some(3), (7, 9)), (Some(4), (1_000, 1_000))]),
            late: Some(-3.0),
        };
        assert_eq!(worker.ran(), 2);
        let expected = BTreeMap::from([("celery@a".to_owned(), worker)]);
        assert_eq!(heard.workers, expected);
        assert_eq!((heard.sent, heard.received), (1, 1));
        assert_eq!(heard.unreadable.values().sum::<u64>(), 3);
    }
}
