//! The bounded table of workers, by node name.
//!
//! A worker that went offline stays known for a while, so that an alert on it can fire, and then it is forgotten.

use std::hash::BuildHasher;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::{Names, Symbol, Worker, WorkerTimeout};
use crate::bounds::{Bounds, Limit, Part};
use crate::timestamp::{ClockStep, Timestamp};

/// The most workers that are kept: far more than any cluster has, and a bound against a flood of
/// node names. Further workers are ignored.
const WORKERS_MAX: usize = 100_000;

/// Workers by node name.
#[derive(Debug, Default)]
pub(super) struct Workers {
    list: Vec<Worker>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// How many process starts were seen, and when the latest was.
    pub(super) begun: u64,
    pub(super) begun_at: Timestamp,
    bounds: Bounds,
}

/// The memory of a worker: its entry, its queues, its copy in a checkpoint in progress, and the
/// copies of its name that a poller holds and sends. Measured with 50,000 workers that start at
/// once.
const WORKER_BYTES: u64 = 2 * size_of::<Worker>() as u64 + 2_400;

impl Workers {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Detects workers that have gone silent, and removes those that have been offline for longer
    /// than `retention`.
    pub(super) fn expire(
        &mut self,
        timeout: WorkerTimeout,
        retention: Duration,
        resumed: Timestamp,
        now: Timestamp,
    ) -> Vec<Worker> {
        for worker in &mut self.list {
            if worker.is_silent(timeout, resumed, now) {
                worker.go_offline(now);
            }
        }
        let gone: Vec<Worker> = self
            .list
            .extract_if(.., |worker| worker.is_gone(retention, now))
            .collect();
        if !gone.is_empty() {
            let bytes = WORKER_BYTES * gone.len() as u64;
            self.bounds.release(Part::Workers, bytes);
            self.reindex();
        }
        gone
    }

    pub(super) fn clock_set(&mut self, step: ClockStep) {
        step.adjust(&mut self.begun_at);
        self.list
            .iter_mut()
            .for_each(|worker| worker.clock_set(step));
    }

    /// How many more events are missing from workers that shut down.
    pub(super) fn count_missing(&mut self, now: Timestamp) -> u64 {
        self.list
            .iter_mut()
            .map(|worker| worker.count_missing(now))
            .sum()
    }

    /// Records that workers were asked for the settings of their tasks.
    pub(super) fn settings_were_asked(&mut self) {
        for worker in &mut self.list {
            worker.settings_asked = worker.settings_asked.map(|tries| tries.saturating_add(1));
        }
    }

    /// All known workers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Worker> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.list.iter_mut()
    }

    /// Records that a worker process started.
    pub(super) const fn begin(&mut self, now: Timestamp) {
        self.begun += 1;
        self.begun_at = now;
    }

    pub(super) fn get(&self, name: Symbol) -> Option<&Worker> {
        self.position(name).map(|at| &self.list[at])
    }

    pub(super) fn find(&mut self, name: Symbol) -> Option<&mut Worker> {
        let at = self.position(name)?;
        Some(&mut self.list[at])
    }

    /// `None` if there are too many workers.
    pub(super) fn find_or_insert(&mut self, name: Symbol, now: Timestamp) -> Option<&mut Worker> {
        if let Some(at) = self.position(name) {
            return Some(&mut self.list[at]);
        }
        if self.list.len() >= WORKERS_MAX {
            self.bounds.reached(Limit::Workers);
            return None;
        }
        if !self.bounds.has_room(Part::Workers, WORKER_BYTES) {
            self.bounds.reached(Limit::WorkerMemory);
            return None;
        }
        self.bounds.claim(Part::Workers, WORKER_BYTES);
        self.begin(now);
        self.list.push(Worker::new(name, now));
        self.add_to_index(self.list.len() - 1);
        self.list.last_mut()
    }

    fn position(&self, name: Symbol) -> Option<usize> {
        let hash = self.hasher.hash_one(name);
        let same = |&at: &u32| self.list[at as usize].name == name;
        self.index.find(hash, same).map(|&at| at as usize)
    }

    fn reindex(&mut self) {
        self.index.clear();
        for at in 0..self.list.len() {
            self.add_to_index(at);
        }
    }

    fn add_to_index(&mut self, at: usize) {
        let (list, hasher) = (&self.list, &self.hasher);
        let hash_of = |&at: &u32| hasher.hash_one(list[at as usize].name);
        let hash = hasher.hash_one(list[at].name);
        let at = u32::try_from(at).expect("bounded above");
        self.index.insert_unique(hash, at, hash_of);
    }
}

/// The name of an event's sender, if it is a worker. Clients are called `gen123@host` with a new
/// name for each process, and are kept only if a profile shows them.
pub(super) fn name_of(hostname: &str, names: &mut Names) -> Option<Symbol> {
    let is_worker = !hostname.is_empty() && !is_client(hostname);
    is_worker.then(|| names.intern_node(hostname)).flatten()
}

pub(super) fn is_client(hostname: &str) -> bool {
    let pid = hostname
        .strip_prefix("gen")
        .and_then(|rest| rest.split_once('@'));
    pid.is_some_and(|(pid, _)| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + second * 1_000)
    }

    #[test]
    fn a_worker_takes_its_room_until_it_is_forgotten() {
        let bounds = Bounds::new(64 << 20, false, 0);
        let (mut workers, mut names) = (Workers::new(bounds.clone()), Names::default());
        let size = size_of::<Worker>() as u64;
        for n in 1..4 {
            let name = names.intern(&format!("w{n}@h"));
            workers.find_or_insert(name, at(0)).expect("room");
            workers.find_or_insert(name, at(1)).expect("known");
            assert_eq!(bounds.used(Part::Workers), n * (2 * size + 2_400));
        }
        assert_eq!((workers.begun, workers.begun_at), (3, at(0)));
        let name = names.intern("w2@h");
        workers.find(name).expect("known").go_offline(at(0));
        let minute = Duration::from_secs(60);
        let expire = |workers: &mut Workers, second| {
            let timeout = WorkerTimeout::After(300 * minute);
            let gone = workers.expire(timeout, minute, at(0), at(second));
            gone.iter().map(|worker| worker.name).collect::<Vec<_>>()
        };
        assert_eq!(expire(&mut workers, 60), []);
        assert_eq!(expire(&mut workers, 61), [name]);
        assert_eq!(bounds.used(Part::Workers), 2 * (2 * size + 2_400));
        assert!(workers.get(name).is_none());
        for n in [1, 3] {
            let name = names.intern(&format!("w{n}@h"));
            assert_eq!(workers.get(name).map(|worker| worker.name), Some(name));
        }
    }

    #[test]
    fn a_worker_without_room_is_ignored() {
        let bounds = Bounds::new(1 << 20, false, 0);
        let (mut workers, mut names) = (Workers::new(bounds.clone()), Names::default());
        let known = (0..1_000).filter(|n| {
            let name = names.intern(&format!("w{n}@h"));
            workers.find_or_insert(name, at(0)).is_some()
        });
        let known = known.count();
        assert!((1..1_000).contains(&known), "{known}");
        assert_eq!(workers.iter().count(), known);
        let ignored = 1_000 - known as u64;
        assert_eq!(bounds.times(Limit::WorkerMemory), ignored);
    }

    #[test]
    fn only_workers_have_a_name() {
        let mut names = Names::default();
        for (hostname, is_worker) in [("w@h", true), ("gen12@h", false), ("", false)] {
            let name = name_of(hostname, &mut names);
            assert_eq!(name.is_some(), is_worker, "{hostname}");
        }
    }

    #[test]
    fn clients_are_told_from_workers() {
        let cases = [
            ("celery@host", false),
            ("gen123@host", true),
            ("gen@host", false),
            ("gen123", false),
            ("generator@host", false),
            ("gen12x@host", false),
            ("gen12", false),
        ];
        for (hostname, client) in cases {
            assert_eq!(is_client(hostname), client, "{hostname}");
        }
    }
}
