//! Event messages as Celery writes them.

use crate::timestamp::Timestamp;

/// Writes the events of a cluster, which share a logical clock.
#[derive(Debug, Default)]
pub(super) struct Messages {
    clock: u64,
}

/// One attempt of a task, as its events describe it.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) uuid: String,
    pub(super) name: &'static str,
    pub(super) queue: &'static str,
    pub(super) retries: u32,
}

/// The client that sends all tasks.
const CLIENT: &str = "gen1@web-1";

impl Messages {
    pub(super) fn sent(&mut self, attempt: &Attempt, now: Timestamp) -> String {
        let queue = attempt.queue;
        let route = format!(r#""queue": "{queue}", "exchange": "", "routing_key": "{queue}", "#);
        self.named("task-sent", CLIENT, attempt, &route, now)
    }

    pub(super) fn received(&mut self, worker: &str, attempt: &Attempt, now: Timestamp) -> String {
        self.named("task-received", worker, attempt, "", now)
    }

    pub(super) fn started(&mut self, worker: &str, attempt: &Attempt, now: Timestamp) -> String {
        self.of_task("task-started", worker, attempt, "", now)
    }

    pub(super) fn succeeded(
        &mut self,
        worker: &str,
        attempt: &Attempt,
        runtime: f64,
        now: Timestamp,
    ) -> String {
        let members = format!(r#""result": "None", "runtime": {runtime}, "#);
        self.of_task("task-succeeded", worker, attempt, &members, now)
    }

    /// `kind` is task-failed or task-retried.
    pub(super) fn raised(
        &mut self,
        kind: &str,
        worker: &str,
        attempt: &Attempt,
        exception: &str,
        now: Timestamp,
    ) -> String {
        let members = format!(r#""exception": "{exception}", "traceback": "", "#);
        self.of_task(kind, worker, attempt, &members, now)
    }

    /// `kind` is worker-online or worker-heartbeat.
    pub(super) fn of_worker(
        &mut self,
        kind: &str,
        worker: &str,
        (active, processed): (usize, u64),
        now: Timestamp,
    ) -> String {
        let members = format!(
            r#""freq": 2.0, "active": {active}, "processed": {processed}, "loadavg": [0.4, 0.3, 0.2], "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux", "#,
        );
        self.stamp(kind, worker, &members, now)
    }

    /// An event that carries the task's name.
    fn named(
        &mut self,
        kind: &str,
        hostname: &str,
        attempt: &Attempt,
        route: &str,
        now: Timestamp,
    ) -> String {
        let members = format!(
            r#""name": "{}", "args": "()", "kwargs": "{{}}", "retries": {}, "eta": null, "expires": null, {route}"#,
            attempt.name, attempt.retries
        );
        self.of_task(kind, hostname, attempt, &members, now)
    }

    fn of_task(
        &mut self,
        kind: &str,
        hostname: &str,
        attempt: &Attempt,
        members: &str,
        now: Timestamp,
    ) -> String {
        let members = format!(r#""uuid": "{}", {members}"#, attempt.uuid);
        self.stamp(kind, hostname, &members, now)
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
