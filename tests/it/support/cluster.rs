//! A simulated cluster: workers run tasks and send events like Celery's, in lists and one by one.
//!
//! The events are modelled on the recordings in `tests/golden/events`. Every published event is counted here, so that
//! the expected totals are known independently.

use std::collections::BTreeMap;

use super::events::uuid;

/// The tasks' names, and the queue of each.
pub const TASKS: [(&str, &str); 4] = [
    ("shop.charge", "urgent"),
    ("shop.mail", "celery"),
    ("report.render", "slow"),
    ("thumbnail", "celery"),
];

/// Seconds between two heartbeats of a worker.
pub const FREQ: f64 = 2.0;

/// One message for the event exchange.
#[derive(Clone, Debug)]
pub struct Message {
    pub hostname: String,
    pub routing_key: String,
    pub body: String,
}

/// Counts of the published events, each counted once.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Number of events by type and task name; worker events have no name.
    events: BTreeMap<(&'static str, &'static str), u64>,
    /// Total runtime of the tasks that succeeded, by name.
    pub runtimes: BTreeMap<&'static str, f64>,
    pub messages: u64,
}

impl Told {
    fn event(&mut self, kind: &'static str, name: &'static str) {
        *self.events.entry((kind, name)).or_default() += 1;
    }

    pub fn total(&self) -> u64 {
        self.events.values().sum()
    }

    /// Returns the number of events of a type.
    pub fn of(&self, kind: &str) -> u64 {
        self.by_name(kind).values().sum()
    }

    /// Returns the number of events of a type by task name.
    pub fn by_name(&self, kind: &str) -> BTreeMap<String, u64> {
        let of_kind = self.events.iter().filter(|((one, _), _)| *one == kind);
        of_kind
            .map(|((_, name), count)| ((*name).to_owned(), *count))
            .collect()
    }

    pub fn by_type(&self) -> BTreeMap<String, u64> {
        let mut types = BTreeMap::new();
        for ((kind, _), count) in &self.events {
            *types.entry((*kind).to_owned()).or_default() += count;
        }
        types
    }
}

struct Task {
    uuid: String,
    name: &'static str,
    queue: &'static str,
    worker: usize,
    retries: u32,
    started: f64,
    runtime: f64,
}

struct Worker {
    hostname: String,
    pid: usize,
    clock: u64,
    processed: u64,
    active: u64,
    /// When the next heartbeat is due; 0 before it came online.
    beat: f64,
    /// Events to be sent next.
    events: Vec<(&'static str, String)>,
}

pub struct Cluster {
    workers: Vec<Worker>,
    random: fastrand::Rng,
    /// The number of tasks so far, and the tasks in each stage.
    tasks: u64,
    sent: Vec<Task>,
    received: Vec<Task>,
    started: Vec<Task>,
    pub told: Told,
    /// Microseconds within a step, so that no two events have the same time.
    tick: u32,
}

impl Cluster {
    pub fn new(workers: usize, seed: u64) -> Self {
        let worker = |n: usize| Worker {
            hostname: format!("w{n}@host{}", n % 5),
            pid: 4_242 + n,
            clock: 1,
            processed: 0,
            active: 0,
            beat: 0.0,
            events: Vec::new(),
        };
        Self {
            workers: (0..workers).map(worker).collect(),
            random: fastrand::Rng::with_seed(seed),
            tasks: 0,
            sent: Vec::new(),
            received: Vec::new(),
            started: Vec::new(),
            told: Told::default(),
            tick: 0,
        }
    }

    /// Whether a task is between its first event and its last.
    pub fn is_busy(&self) -> bool {
        !(self.sent.is_empty() && self.received.is_empty() && self.started.is_empty())
    }

    /// Advances each task by a step and sends `tasks` new ones. Returns the messages that the cluster publishes at
    /// that time.
    pub fn step(&mut self, now: f64, tasks: u64) -> Vec<Message> {
        self.tick = 0;
        let mut messages = self.come_online(now);
        let started = std::mem::take(&mut self.started);
        let (ended, running): (Vec<_>, Vec<_>) = started
            .into_iter()
            .partition(|task| task.started + task.runtime < now);
        self.started = running;
        let received = std::mem::take(&mut self.received);
        let sent = std::mem::take(&mut self.sent);
        for task in ended {
            messages.extend(self.end(now, task));
        }
        for task in received {
            self.start(now, task);
        }
        for task in sent {
            self.receive(now, task);
        }
        for _ in 0..tasks {
            let task = self.task();
            messages.push(self.send(now, &task));
            self.sent.push(task);
        }
        self.tell(now, &mut messages);
        self.told.messages += messages.len() as u64;
        messages
    }

    fn task(&mut self) -> Task {
        self.tasks += 1;
        let (name, queue) = TASKS[self.random.usize(..TASKS.len())];
        Task {
            // Different from the ids of other clusters.
            uuid: uuid(self.random.u64(1 << 40..) << 20 | self.tasks & 0xf_ffff),
            name,
            queue,
            worker: self.random.usize(..self.workers.len()),
            retries: 0,
            started: 0.0,
            runtime: [0.0037, 0.0123, 0.06, 0.31][self.random.usize(..4)],
        }
    }

    fn at(&mut self, now: f64) -> f64 {
        self.tick += 1;
        now + f64::from(self.tick) * 1e-6
    }

    fn send(&mut self, now: f64, task: &Task) -> Message {
        self.told.event("task-sent", task.name);
        let at = self.at(now);
        let Task {
            uuid,
            name,
            queue,
            retries,
            ..
        } = task;
        let clock = self.tasks;
        Message {
            hostname: "gen19778@host0".to_owned(),
            routing_key: "task.sent".to_owned(),
            body: format!(
                r#"{{"hostname": "gen19778@host0", "utcoffset": 0.0, "pid": 19778, "clock": {clock}, "uuid": "{uuid}", "root_id": "{uuid}", "parent_id": null, "name": "{name}", "args": "(1, 2)", "kwargs": "{{}}", "retries": {retries}, "eta": null, "expires": null, "queue": "{queue}", "exchange": "", "routing_key": "{queue}", "timestamp": {at:.6}, "type": "task-sent"}}"#
            ),
        }
    }

    /// Adds an event of a task to those that its worker sends next.
    fn event(&mut self, now: f64, kind: &'static str, task: &Task, more: &str) {
        self.told.event(kind, task.name);
        let at = self.at(now);
        let worker = &mut self.workers[task.worker];
        worker.clock += 1;
        let Worker {
            hostname,
            pid,
            clock,
            events,
            ..
        } = worker;
        let uuid = &task.uuid;
        let text = format!(
            r#"{{"hostname": "{hostname}", "utcoffset": 0.0, "pid": {pid}, "clock": {clock}, "uuid": "{uuid}", {more}"timestamp": {at:.6}, "type": "{kind}"}}"#
        );
        events.push((kind, text));
    }

    fn receive(&mut self, now: f64, task: Task) {
        let more = format!(
            r#""name": "{}", "args": "(1, 2)", "kwargs": "{{}}", "root_id": "{}", "parent_id": null, "retries": {}, "eta": null, "expires": null, "#,
            task.name, task.uuid, task.retries
        );
        self.event(now, "task-received", &task, &more);
        self.received.push(task);
    }

    fn start(&mut self, now: f64, mut task: Task) {
        self.event(now, "task-started", &task, "");
        let worker = &mut self.workers[task.worker];
        worker.processed += 1;
        worker.active += 1;
        task.started = now;
        self.started.push(task);
    }

    /// Ends an attempt, and returns the task-sent of the next one, if any.
    fn end(&mut self, now: f64, mut task: Task) -> Option<Message> {
        self.workers[task.worker].active -= 1;
        match self.random.u8(..10) {
            0 => {
                let raised = r#""exception": "ValueError('boom')", "traceback": "Traceback (most recent call last):\n", "#;
                self.event(now, "task-failed", &task, raised);
            }
            1 if task.retries == 0 => {
                let raised = r#""exception": "TimeoutError()", "traceback": "Traceback (most recent call last):\n", "#;
                task.retries = 1;
                let again = self.send(now, &task);
                self.event(now, "task-retried", &task, raised);
                task.worker = self.random.usize(..self.workers.len());
                self.sent.push(task);
                return Some(again);
            }
            _ => {
                *self.told.runtimes.entry(task.name).or_default() += task.runtime;
                let ran = format!(r#""result": "3", "runtime": {}, "#, task.runtime);
                self.event(now, "task-succeeded", &task, &ran);
            }
        }
        None
    }

    fn come_online(&mut self, now: f64) -> Vec<Message> {
        let new = self.workers.iter_mut().filter(|worker| worker.beat == 0.0);
        let online = new.map(|worker| {
            worker.beat = now + FREQ;
            self.told.event("worker-online", "");
            worker.about("worker-online", now)
        });
        online.collect()
    }

    /// Sends the workers' pending events and heartbeats. One worker in four sends each event in its own message.
    fn tell(&mut self, now: f64, messages: &mut Vec<Message>) {
        let at = now + 0.005;
        for (n, worker) in self.workers.iter_mut().enumerate() {
            let mut events = std::mem::take(&mut worker.events).into_iter().peekable();
            while events.peek().is_some() {
                let hostname = worker.hostname.clone();
                messages.push(if n % 4 == 3 {
                    let (kind, body) = events.next().expect("one");
                    Message {
                        hostname,
                        routing_key: kind.replacen('-', ".", 1),
                        body,
                    }
                } else {
                    let many = self.random.usize(1..=20);
                    let list: Vec<_> = events.by_ref().take(many).map(|(_, text)| text).collect();
                    Message {
                        hostname,
                        routing_key: "task.multi".to_owned(),
                        body: format!("[{}]", list.join(", ")),
                    }
                });
            }
            if worker.beat <= now {
                worker.beat = now + FREQ;
                worker.clock += 1;
                self.told.event("worker-heartbeat", "");
                messages.push(worker.about("worker-heartbeat", at));
            }
        }
    }
}

impl Worker {
    fn about(&self, kind: &'static str, at: f64) -> Message {
        let Self {
            hostname,
            pid,
            clock,
            processed,
            active,
            ..
        } = self;
        Message {
            hostname: hostname.clone(),
            routing_key: kind.replacen('-', ".", 1),
            body: format!(
                r#"{{"hostname": "{hostname}", "utcoffset": 0.0, "pid": {pid}, "clock": {clock}, "freq": {FREQ:?}, "active": {active}, "processed": {processed}, "loadavg": [0.43, 0.48, 0.27], "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux", "timestamp": {at:.6}, "type": "{kind}"}}"#
            ),
        }
    }
}
