//! A simulated Celery cluster: publishes the events of tasks that are sent, run, and end in all
//! common ways.
//!
//! As in Celery, a worker's task events are sent in batches; each heartbeat and each task-sent
//! event from a client is a message of its own.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::event::{Batch, BrokerId, ContentType, Form, Payload, Position};
use crate::timestamp::Timestamp;

/// Time between two steps of the simulation.
const STEP: Duration = Duration::from_millis(50);

/// New tasks in each step: 80 a second.
const TASKS_PER_STEP: usize = 4;

/// Steps between two heartbeats: two seconds, as in Celery.
const HEARTBEAT_STEPS: u64 = 40;

const WORKERS: [&str; 3] = ["celery@web-1", "celery@web-2", "celery@reports-1"];

/// Tasks: name, queue, typical runtime in seconds, and the percentages that fail and are retried.
const KINDS: [(&str, &str, f64, u32, u32); 5] = [
    ("shop.tasks.send_receipt", "default", 0.05, 1, 2),
    ("shop.tasks.charge_card", "payments", 0.3, 4, 6),
    ("shop.tasks.resize_image", "media", 0.8, 2, 0),
    ("reports.tasks.daily", "reports", 2.5, 8, 0),
    ("shop.tasks.sync_stock", "default", 0.15, 0, 10),
];

/// Exceptions of failed tasks, in Celery's format.
const EXCEPTIONS: [&str; 3] = [
    "ConnectionError('refused')",
    "ValueError('not a number')",
    "shop.errors.CardDeclined('no')",
];

/// The cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Upcoming steps with the time when they are due.
    agenda: VecDeque<(Timestamp, Step)>,
    processed: [u64; WORKERS.len()],
    clock: u64,
    step: u64,
}

/// A task's next step.
#[derive(Clone, Debug)]
struct Step {
    uuid: String,
    kind: usize,
    worker: usize,
    retries: u32,
    next: Next,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Receive,
    Start,
    End { runtime: f64 },
}

impl Cluster {
    pub(super) const fn new() -> Self {
        let processed = [0; WORKERS.len()];
        Self {
            agenda: VecDeque::new(),
            processed,
            clock: 0,
            step: 0,
        }
    }

    /// Publishes events until it is stopped.
    pub(super) async fn run(mut self, batches: mpsc::Sender<Batch>, stop: CancellationToken) {
        let mut steps = tokio::time::interval(STEP);
        loop {
            tokio::select! {
                _ = steps.tick() => {}
                () = stop.cancelled() => return,
            }
            let now = clock::now();
            let bodies = self.take_step(now);
            let form = Form::Body {
                content_type: ContentType::Json,
                compression: None,
            };
            let payloads = bodies
                .into_iter()
                .map(|body| Payload {
                    bytes: body.into_bytes(),
                    form,
                })
                .collect();
            if batches
                .send(Batch {
                    broker: BrokerId::new(0),
                    received: now,
                    payloads,
                    position: Position::Transient,
                })
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// Returns the messages of one step.
    fn take_step(&mut self, now: Timestamp) -> Vec<String> {
        let mut messages = Vec::new();
        if self.step.is_multiple_of(HEARTBEAT_STEPS) {
            messages.extend((0..WORKERS.len()).map(|worker| self.heartbeat(worker, now)));
        }
        self.step += 1;
        for _ in 0..fastrand::usize(0..=2 * TASKS_PER_STEP) {
            messages.push(self.send(now));
        }
        let mut lists: [Vec<String>; WORKERS.len()] = Default::default();
        let due: Vec<Step> = {
            let (due, later) = self
                .agenda
                .drain(..)
                .partition::<Vec<_>, _>(|(at, _)| *at <= now);
            self.agenda.extend(later);
            due.into_iter().map(|(_, step)| step).collect()
        };
        for step in due {
            let (worker, event) = self.advance(step, now, &mut messages);
            lists[worker].push(event);
        }
        let lists = lists.into_iter().filter(|events| !events.is_empty());
        messages.extend(lists.map(|events| format!("[{}]", events.join(", "))));
        messages
    }

    fn send(&mut self, now: Timestamp) -> String {
        let kind = fastrand::usize(..KINDS.len());
        let worker = if KINDS[kind].1 == "reports" {
            2
        } else {
            fastrand::usize(..2)
        };
        let random = fastrand::u128(..);
        let uuid = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            random >> 96,
            (random >> 80) & 0xffff,
            (random >> 68) & 0xfff,
            (random >> 56) & 0xfff,
            random & 0xffff_ffff_ffff
        );
        let step = Step {
            uuid,
            kind,
            worker,
            retries: 0,
            next: Next::Receive,
        };
        let event = self.named("task-sent", &step, now);
        self.later(step, fastrand::f64() * 0.2, now);
        event
    }

    /// Performs a step of a task; returns its worker and the event.
    fn advance(&mut self, step: Step, now: Timestamp, sent: &mut Vec<String>) -> (usize, String) {
        let worker = step.worker;
        let (_, _, usual, failing, retrying) = KINDS[step.kind];
        let event = match step.next {
            Next::Receive => {
                let event = self.named("task-received", &step, now);
                self.later(
                    Step {
                        next: Next::Start,
                        ..step
                    },
                    fastrand::f64() * 0.1,
                    now,
                );
                event
            }
            Next::Start => {
                self.processed[worker] += 1;
                let event = self.event("task-started", &step, "", now);
                // Most runs are short, a few take long.
                let runtime = usual * (0.3 - 0.7 * (1.0 - fastrand::f64()).ln());
                self.later(
                    Step {
                        next: Next::End { runtime },
                        ..step
                    },
                    runtime,
                    now,
                );
                event
            }
            Next::End { runtime } => {
                let dice = fastrand::u32(..100);
                let exception = EXCEPTIONS[step.kind % EXCEPTIONS.len()];
                let exception = format!(r#""exception": "{exception}", "#);
                if dice < failing {
                    self.event("task-failed", &step, &exception, now)
                } else if dice < failing + retrying && step.retries < 3 {
                    let event = self.event("task-retried", &step, &exception, now);
                    let retries = step.retries + 1;
                    let again = Step {
                        retries,
                        next: Next::Receive,
                        ..step
                    };
                    sent.push(self.named("task-sent", &again, now));
                    self.later(again, 1.0, now);
                    event
                } else {
                    let result = format!(r#""result": "None", "runtime": {runtime}, "#);
                    self.event("task-succeeded", &step, &result, now)
                }
            }
        };
        (worker, event)
    }

    fn later(&mut self, step: Step, seconds: f64, now: Timestamp) {
        self.agenda
            .push_back((now.after(Duration::from_secs_f64(seconds)), step));
    }

    /// An event that carries the task's name.
    fn named(&mut self, kind: &str, step: &Step, now: Timestamp) -> String {
        let (name, queue, ..) = KINDS[step.kind];
        let queue = if kind == "task-sent" {
            format!(r#""queue": "{queue}", "exchange": "", "routing_key": "{queue}", "#)
        } else {
            String::new()
        };
        let members = format!(
            r#""name": "{name}", "args": "()", "kwargs": "{{}}", "retries": {}, "eta": null, "expires": null, {queue}"#,
            step.retries
        );
        self.event(kind, step, &members, now)
    }

    fn event(&mut self, kind: &str, step: &Step, members: &str, now: Timestamp) -> String {
        let hostname = if kind == "task-sent" {
            "gen1@web-1"
        } else {
            WORKERS[step.worker]
        };
        let members = format!(r#""uuid": "{}", {members}"#, step.uuid);
        self.stamp(kind, hostname, &members, now)
    }

    fn heartbeat(&mut self, worker: usize, now: Timestamp) -> String {
        let running = self
            .agenda
            .iter()
            .filter(|(_, step)| step.worker == worker && matches!(step.next, Next::End { .. }));
        let members = format!(
            r#""freq": 2.0, "active": {}, "processed": {}, "loadavg": [0.4, 0.3, 0.2], "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux", "#,
            running.count(),
            self.processed[worker]
        );
        self.stamp("worker-heartbeat", WORKERS[worker], &members, now)
    }

    fn stamp(&mut self, kind: &str, hostname: &str, members: &str, now: Timestamp) -> String {
        self.clock += 1;
        format!(
            r#"{{"hostname": "{hostname}", "utcoffset": 0.0, "pid": 42, "clock": {}, {members}"timestamp": {:.6}, "type": "{kind}"}}"#,
            self.clock,
            now.seconds()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Accept, Decoder, EventKind};

    #[test]
    fn what_the_cluster_publishes_is_read_by_the_real_decoder() {
        let mut cluster = Cluster::new();
        let mut seen = [0; EventKind::ALL.len()];
        let mut decoder = Decoder::default();
        for step in 0..2_000 {
            let now = Timestamp::from_millis(1_800_000_000_000 + 50 * step);
            for body in cluster.take_step(now) {
                let form = Form::Body {
                    content_type: ContentType::Json,
                    compression: None,
                };
                let payload = Payload {
                    bytes: body.clone().into_bytes(),
                    form,
                };
                decoder.decode(&payload, Accept::default(), now, |event| match event {
                    Ok(event) => seen[event.kind().index()] += 1,
                    Err(error) => panic!("{error}: {body}"),
                });
            }
        }

        for (kind, count) in EventKind::ALL.iter().zip(seen) {
            let usual = [
                "task-sent",
                "task-received",
                "task-started",
                "task-succeeded",
                "task-failed",
                "task-retried",
                "worker-heartbeat",
            ];
            assert_eq!(
                count > 0,
                usual.contains(&kind.name()),
                "{} {count}",
                kind.name()
            );
        }
    }
}
