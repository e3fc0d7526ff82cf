//! Workers: online or offline, and what their heartbeats say.
//!
//! A worker is its full node name. Any event of it shows that it lives; heartbeats that stay away, or
//! `worker-offline`, show that it does not. It stays known as offline for a while, so that an alert on it can
//! fire, and then it is forgotten.

use std::hash::BuildHasher;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::{Name, Names, WorkerTimeout};
use crate::event::{Event, WorkerEvent, WorkerKind};
use crate::timestamp::Timestamp;

/// What a worker that sends no heartbeats is taken to promise. Celery assumes the same 60 seconds.
const SILENT_FREQ_SECONDS: f64 = 60.0;

/// The longest promise that is believed: one heartbeat a day.
const FREQ_SECONDS_MAX: f64 = 86_400.0;

/// How many workers are kept at most: far more than a cluster has, and a bound on what a flood of node names
/// can do. Beyond it new ones are not seen.
const WORKERS_MAX: usize = 100_000;

/// What is known of one worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    pub name: Name,
    pub online: bool,
    /// Tasks that run now, by its newest full heartbeat; 0 when offline, absent when it never sent one.
    pub active: Option<u64>,
    /// Seconds between heartbeats, as it announced them.
    freq: Option<f64>,
    /// When something was received from it last.
    seen: Timestamp,
    /// When it said that it goes, by its own clock.
    goodbye: Option<Timestamp>,
    /// When it was found to be offline, by ours.
    offline_since: Timestamp,
}

/// Workers by node name.
#[derive(Debug, Default)]
pub(super) struct Workers {
    list: Vec<Worker>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Workers {
    /// Takes a sign of life that is no worker event.
    pub(super) fn sign_of_life(&mut self, name: Name, now: Timestamp) {
        let Some(worker) = self.find_or_insert(name, now) else {
            return;
        };
        worker.seen = now;
        // Tasks go on while a worker shuts down: only a heartbeat takes a goodbye back.
        if worker.goodbye.is_none() {
            worker.online = true;
        }
    }

    /// Takes a worker event.
    pub(super) fn take(
        &mut self,
        name: Name,
        event: &Event<'_>,
        worker_event: WorkerEvent,
        now: Timestamp,
    ) {
        match worker_event.kind {
            WorkerKind::Offline => {
                let Some(worker) = self.find(name) else {
                    return;
                };
                worker.go_offline(now);
                worker.goodbye = Some(event.timestamp);
            }
            WorkerKind::Online | WorkerKind::Heartbeat => {
                let Some(worker) = self.find_or_insert(name, now) else {
                    return;
                };
                worker.seen = now;
                if worker
                    .goodbye
                    .is_some_and(|goodbye| event.timestamp <= goodbye)
                {
                    return;
                }
                worker.goodbye = None;
                worker.online = true;
                // A heartbeat that answers a control command lacks its counts, and its freq means nothing.
                if worker_event.active.is_some() || worker_event.kind == WorkerKind::Online {
                    worker.freq = worker_event.freq.or(worker.freq);
                    worker.active = worker_event.active.or(worker.active);
                }
            }
            WorkerKind::Elect | WorkerKind::ElectAck => self.sign_of_life(name, now),
        }
    }

    /// Finds who has gone silent, and forgets who has been offline for longer than `retention`.
    pub(super) fn expire(&mut self, timeout: WorkerTimeout, retention: Duration, now: Timestamp) {
        for worker in &mut self.list {
            if worker.online && now.since(worker.seen) > worker.patience(timeout) {
                worker.go_offline(now);
            }
        }
        let gone = |worker: &Worker| !worker.online && now.since(worker.offline_since) > retention;
        if self.list.iter().any(gone) {
            self.list.retain(|worker| !gone(worker));
            self.reindex();
        }
    }

    /// Every worker that is known.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Worker> {
        self.list.iter()
    }

    fn find(&mut self, name: Name) -> Option<&mut Worker> {
        let hash = self.hasher.hash_one(name);
        let found = self
            .index
            .find(hash, |&at| self.list[at as usize].name == name);
        found.copied().map(|at| &mut self.list[at as usize])
    }

    /// `None` where there are too many.
    fn find_or_insert(&mut self, name: Name, now: Timestamp) -> Option<&mut Worker> {
        let hash = self.hasher.hash_one(name);
        let found = self
            .index
            .find(hash, |&at| self.list[at as usize].name == name)
            .copied();
        if found.is_none() && self.list.len() >= WORKERS_MAX {
            return None;
        }
        let at = found.unwrap_or_else(|| {
            self.list.push(Worker {
                name,
                online: true,
                active: None,
                freq: None,
                seen: now,
                goodbye: None,
                offline_since: now,
            });
            let at = u32::try_from(self.list.len() - 1).expect("bounded above");
            let (list, hasher) = (&self.list, &self.hasher);
            let hash_of = |&at: &u32| hasher.hash_one(list[at as usize].name);
            self.index.insert_unique(hash, at, hash_of);
            at
        });
        Some(&mut self.list[at as usize])
    }

    fn reindex(&mut self) {
        self.index.clear();
        for (at, worker) in (0..).zip(&self.list) {
            let (list, hasher) = (&self.list, &self.hasher);
            let hash_of = |&at: &u32| hasher.hash_one(list[at as usize].name);
            self.index
                .insert_unique(hasher.hash_one(worker.name), at, hash_of);
        }
    }
}

impl Worker {
    fn go_offline(&mut self, now: Timestamp) {
        if self.online {
            self.offline_since = now;
        }
        self.online = false;
        self.active = self.active.map(|_| 0);
    }

    /// How long it may be silent.
    fn patience(&self, timeout: WorkerTimeout) -> Duration {
        match timeout {
            WorkerTimeout::After(duration) => duration,
            WorkerTimeout::Missed(heartbeats) => {
                let freq = self
                    .freq
                    .unwrap_or(SILENT_FREQ_SECONDS)
                    .min(FREQ_SECONDS_MAX);
                Duration::from_secs_f64(freq).saturating_mul(heartbeats)
            }
        }
    }
}

/// The worker's name, if an event's sender is a worker. Clients are `gen123@host`, a new one for each process:
/// they are never kept.
pub(super) fn name_of(hostname: &str, names: &mut Names) -> Option<Name> {
    (!hostname.is_empty() && !is_client(hostname)).then(|| names.intern(hostname))
}

fn is_client(hostname: &str) -> bool {
    let pid = hostname
        .strip_prefix("gen")
        .and_then(|rest| rest.split_once('@'));
    pid.is_some_and(|(pid, _)| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_from_workers() {
        let cases = [
            ("celery@host", false),
            ("gen123@host", true),
            ("gen@host", false),
            ("generator@host", false),
            ("gen12x@host", false),
            ("gen12", false),
        ];
        for (hostname, client) in cases {
            assert_eq!(is_client(hostname), client, "{hostname}");
        }
    }
}
