//! Simulates the shop's clients, queues and workers, step by step.
//!
//! As in Celery, a worker's task events are batched in lists; heartbeats and the clients' task-sent
//! events are single messages. Queue lengths are reported as a poll of the broker would.

use std::collections::VecDeque;
use std::time::Duration;

use super::messages::{Attempt, Messages};
use super::shop::{self, NIGHTLY, QUEUES, TASKS, Task, WORKERS};
use crate::app::Inputs;
use crate::clock;
use crate::event::{Batch, BrokerId, ContentType, Form, Payload, Position};
use crate::state::{Answers, QueueLevel, Report, WorkerAnswer};
use crate::timestamp::Timestamp;

/// How often the cluster does something.
const STEP: Duration = Duration::from_millis(50);

/// Steps between two heartbeats: two seconds, as in Celery.
const HEARTBEAT_STEPS: u64 = 40;

/// Steps between two polls of the queues and workers.
const POLL_STEPS: u64 = 20;

/// How many times its slots a worker reserves: Celery's `worker_prefetch_multiplier`.
const PREFETCH_MULTIPLIER: usize = 4;

/// The most attempts of a task after the first, and the time before each.
const RETRIES: u32 = 3;
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// Time in which the rate of orders goes through high and low.
const TIDE: Duration = Duration::from_secs(120);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    began: Timestamp,
    step: u64,
    messages: Messages,
    workers: [Worker; WORKERS.len()],
    /// Waiting messages of each of [`QUEUES`].
    queues: [VecDeque<Run>; QUEUES.len()],
    /// Retries that are not due.
    delayed: Vec<(Timestamp, Run)>,
    next_night: Timestamp,
}

#[derive(Debug)]
struct Worker {
    is_up: bool,
    processed: u64,
    reserved: VecDeque<Run>,
    running: Vec<(Timestamp, f64, Run)>,
}

/// A task on its way.
#[derive(Clone, Debug)]
struct Run {
    task: &'static Task,
    attempt: Attempt,
}

impl Cluster {
    pub(super) fn new(now: Timestamp) -> Self {
        let worker = || Worker {
            is_up: true,
            processed: 0,
            reserved: VecDeque::new(),
            running: Vec::new(),
        };
        Self {
            began: now,
            step: 0,
            messages: Messages::default(),
            workers: std::array::from_fn(|_| worker()),
            queues: std::array::from_fn(|_| VecDeque::new()),
            delayed: Vec::new(),
            next_night: last_night(now).after(DAY),
        }
    }

    /// Publishes events and answers polls until it is stopped.
    pub(super) async fn run(mut self, to: Inputs) {
        let mut steps = tokio::time::interval(STEP);
        loop {
            tokio::select! {
                _ = steps.tick() => {}
                () = to.stop.cancelled() => return,
            }
            let now = clock::now();
            let payloads = self.take_step(now).into_iter().map(payload).collect();
            let batch = Batch {
                broker: BrokerId::new(0),
                received: now,
                payloads,
                position: Position::Transient,
            };
            if to.batches.send(batch).await.is_err() {
                return;
            }
            if !self.step.is_multiple_of(POLL_STEPS) {
                continue;
            }
            for answers in [self.levels(), self.answers()] {
                let report = Report {
                    broker: BrokerId::new(0),
                    asked: now,
                    received: now,
                    answers,
                };
                if to.reports.send(report).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Returns the messages of one step.
    fn take_step(&mut self, now: Timestamp) -> Vec<String> {
        let mut messages = Vec::new();
        if self.step == 0 {
            messages.push(self.night_before(now));
        }
        self.send_due(now, &mut messages);
        for worker in 0..WORKERS.len() {
            let events = self.work(worker, now, &mut messages);
            if !events.is_empty() {
                messages.push(format!("[{}]", events.join(", ")));
            }
        }
        // After the work: a worker's events up to a heartbeat have to add up to the tasks that it counts.
        self.kill_and_restart(now, &mut messages);
        if self.step.is_multiple_of(HEARTBEAT_STEPS) {
            messages.extend(self.heartbeats(now));
        }
        self.step += 1;
        messages
    }

    /// The time since the start.
    fn age(&self, now: Timestamp) -> Duration {
        now.since(self.began)
    }

    /// Last night's run of the nightly task, as if celeriac had been listening.
    fn night_before(&mut self, now: Timestamp) -> String {
        let sent = last_night(now);
        let run = Run::new(&NIGHTLY);
        let worker = WORKERS[1].name;
        let ended = sent.after(Duration::from_secs_f64(NIGHTLY.runtime));
        let events = [
            self.messages.sent(&run.attempt, sent),
            self.messages.received(worker, &run.attempt, sent),
            self.messages.started(worker, &run.attempt, sent),
            self.messages
                .succeeded(worker, &run.attempt, NIGHTLY.runtime, ended),
        ];
        format!("[{}]", events.join(", "))
    }

    /// Kills the mortal worker when its time comes, with all that it is running, and restarts it
    /// later. What it had only reserved returns to its queue.
    fn kill_and_restart(&mut self, now: Timestamp, messages: &mut Vec<String>) {
        let age = self.age(now);
        let is_down = age.checked_sub(shop::KILLED_FIRST).is_some_and(|since| {
            since.as_secs() % shop::KILLED_INTERVAL.as_secs() < shop::KILLED_FOR.as_secs()
        });
        let worker = &mut self.workers[shop::MORTAL];
        if worker.is_up != is_down {
            return;
        }
        worker.is_up = !is_down;
        worker.processed = 0;
        worker.running.clear();
        let reserved = std::mem::take(&mut worker.reserved);
        for run in reserved.into_iter().rev() {
            self.queue(run.attempt.queue).push_front(run);
        }
        if !is_down {
            let name = WORKERS[shop::MORTAL].name;
            messages.push(self.messages.of_worker("worker-online", name, (0, 0), now));
        }
    }

    fn heartbeats(&mut self, now: Timestamp) -> Vec<String> {
        let workers = self.workers.iter().zip(&WORKERS);
        let up = workers.filter(|(worker, _)| worker.is_up);
        up.map(|(worker, info)| {
            let load = (worker.running.len(), worker.processed);
            self.messages
                .of_worker("worker-heartbeat", info.name, load, now)
        })
        .collect()
    }

    /// Sends new tasks, uploads, retries that are due, and the nightly task.
    fn send_due(&mut self, now: Timestamp, messages: &mut Vec<String>) {
        let age = self.age(now);
        let tide = (age.as_secs_f64() / TIDE.as_secs_f64() * std::f64::consts::TAU).sin();
        for task in &TASKS {
            let expected = task.per_second * STEP.as_secs_f64() * (1.0 + 0.4 * tide);
            if fastrand::f64() < expected {
                messages.push(self.send(Run::new(task), now));
            }
        }
        let before = age.saturating_sub(STEP);
        let uploads = |age: Duration| {
            let since = age.checked_sub(shop::UPLOAD_FIRST)?;
            Some(since.as_secs() / shop::UPLOAD_INTERVAL.as_secs())
        };
        if uploads(age) > uploads(before) {
            for _ in 0..shop::UPLOAD {
                messages.push(self.send(Run::new(&TASKS[shop::UPLOADED]), now));
            }
        }
        if now >= self.next_night {
            self.next_night = self.next_night.after(DAY);
            messages.push(self.send(Run::new(&NIGHTLY), now));
        }
        for (_, run) in self.delayed.extract_if(.., |(due, _)| *due <= now) {
            if let Some(queue) = index(run.attempt.queue) {
                self.queues[queue].push_back(run);
            }
        }
    }

    fn send(&mut self, run: Run, now: Timestamp) -> String {
        let event = self.messages.sent(&run.attempt, now);
        self.queue(run.attempt.queue).push_back(run);
        event
    }

    /// Ends, starts and reserves tasks on a worker; returns its events.
    fn work(&mut self, at: usize, now: Timestamp, messages: &mut Vec<String>) -> Vec<String> {
        let (info, mut events) = (&WORKERS[at], Vec::new());
        if !self.workers[at].is_up {
            return events;
        }
        let ended: Vec<_> = self.workers[at]
            .running
            .extract_if(.., |(end, ..)| *end <= now)
            .collect();
        for (_, runtime, run) in ended {
            events.push(self.end(info.name, run, runtime, now, messages));
        }
        for name in info.queues {
            let room = info.slots * (PREFETCH_MULTIPLIER + 1);
            while self.workers[at].held() < room {
                let Some(run) = self.queue(name).pop_front() else {
                    break;
                };
                events.push(self.messages.received(info.name, &run.attempt, now));
                self.workers[at].reserved.push_back(run);
            }
        }
        let worker = &mut self.workers[at];
        while worker.running.len() < info.slots
            && let Some(run) = worker.reserved.pop_front()
        {
            events.push(self.messages.started(info.name, &run.attempt, now));
            worker.processed += 1;
            let runtime = run.task.runtime * (0.3 - 0.7 * (1.0 - fastrand::f64()).ln());
            let end = now.after(Duration::from_secs_f64(runtime));
            worker.running.push((end, runtime, run));
        }
        events
    }

    /// Ends an attempt; returns its last event.
    fn end(
        &mut self,
        worker: &str,
        run: Run,
        runtime: f64,
        now: Timestamp,
        messages: &mut Vec<String>,
    ) -> String {
        let percent = 100.0 * fastrand::f64();
        let (failure, failing) = run.task.failure;
        let (retry, retrying) = run.task.retry;
        let attempt = &run.attempt;
        if percent < failing {
            return self
                .messages
                .raised("task-failed", worker, attempt, failure, now);
        }
        if percent > failing + retrying || attempt.retries == RETRIES {
            return self.messages.succeeded(worker, attempt, runtime, now);
        }
        let event = self
            .messages
            .raised("task-retried", worker, attempt, retry, now);
        let mut again = run;
        again.attempt.retries += 1;
        messages.push(self.messages.sent(&again.attempt, now));
        self.delayed.push((now.after(RETRY_DELAY), again));
        event
    }

    /// The messages waiting in a queue of the shop.
    fn queue(&mut self, name: &str) -> &mut VecDeque<Run> {
        &mut self.queues[index(name).unwrap_or_default()]
    }

    /// What a poll of the broker would answer.
    fn levels(&self) -> Answers {
        let levels = QUEUES.iter().zip(&self.queues).map(|(name, waiting)| {
            let workers = self.workers.iter().zip(&WORKERS);
            let consumers =
                workers.filter(|(worker, info)| worker.is_up && info.queues.contains(name));
            QueueLevel {
                queue: (*name).to_owned(),
                length: waiting.len() as u64,
                unacked: None,
                consumers: Some(consumers.count() as u64),
            }
        });
        Answers::Queues(levels.collect())
    }

    /// What the workers would answer, but for the lists of their tasks.
    fn answers(&self) -> Answers {
        let workers = self.workers.iter().zip(&WORKERS);
        let up = workers.filter(|(worker, _)| worker.is_up);
        let answers = up.map(|(_, info)| {
            let slots = info.slots as u64;
            WorkerAnswer {
                worker: info.name.to_owned(),
                pool_size: Some(slots),
                slots: Some(slots),
                processes: Some(slots),
                prefetch_count: Some(slots * PREFETCH_MULTIPLIER as u64),
                queues: Some(info.queues.iter().map(|&name| name.to_owned()).collect()),
                ..WorkerAnswer::default()
            }
        });
        Answers::Workers(answers.collect())
    }
}

impl Worker {
    fn held(&self) -> usize {
        self.running.len() + self.reserved.len()
    }
}

impl Run {
    fn new(task: &'static Task) -> Self {
        let random = fastrand::u128(..);
        let uuid = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            random >> 96,
            (random >> 80) & 0xffff,
            (random >> 68) & 0xfff,
            (random >> 56) & 0xfff,
            random & 0xffff_ffff_ffff
        );
        Self {
            task,
            attempt: Attempt {
                uuid,
                name: task.name,
                queue: task.queue,
                retries: 0,
            },
        }
    }
}

/// Index of one of [`QUEUES`].
fn index(name: &str) -> Option<usize> {
    QUEUES.iter().position(|queue| *queue == name)
}

/// The last time at which the nightly task was due.
fn last_night(now: Timestamp) -> Timestamp {
    let night = shop::NIGHTLY_AT.as_secs() as i64;
    let day = DAY.as_secs() as i64;
    let now = now.millis() / 1_000;
    Timestamp::from_millis(((now - night).div_euclid(day) * day + night) * 1_000)
}

fn payload(body: String) -> Payload {
    Payload {
        bytes: body.into_bytes(),
        form: Form::Body {
            content_type: ContentType::Json,
            compression: None,
        },
    }
}

#[cfg(test)]
mod tests;
