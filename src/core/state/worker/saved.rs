//! Stores and restores a worker.

use super::{Processed, Software, Timestamp, Worker};
use crate::event::judge;
use crate::saved;
use crate::state::stalled::Stalls;
use crate::state::texts::{Restored, Texts};

impl Worker {
    pub(in crate::state) fn stored(&self, texts: &mut Texts) -> saved::Worker {
        let queues = self.queues.as_ref().map(|queues| {
            let names = queues.iter().map(|queue| texts.place(Some(*queue)));
            saved::Queues {
                names: names.collect(),
            }
        });
        let mut worker = saved::Worker {
            name: texts.place(Some(self.name)),
            online: self.online,
            seen: self.seen.micros(),
            active: self.active,
            loadavg: self.loadavg.map(Vec::from).unwrap_or_default(),
            software_ident: texts.place(self.software.ident),
            software_version: texts.place(self.software.version),
            software_system: texts.place(self.software.system),
            clock_skew: self.clock_skew,
            pool_size: self.pool_size,
            slots: self.slots,
            processes: self.processes,
            prefetch_count: self.prefetch_count,
            started: self.started.map(Timestamp::micros),
            queues,
            twofold: self.twofold,
            counts: self.counts,
            freq: self.freq,
            pid: self.pid,
            other_pid: self.other_pid.map(|(pid, seen)| saved::OtherPid {
                pid,
                seen: seen.micros(),
            }),
            goodbye: self.goodbye.map(Timestamp::micros),
            offline_since: self.offline_since.micros(),
            ..saved::Worker::default()
        };
        self.processed.store(&mut worker);
        worker
    }

    /// Restores the worker with that name. Implausible numbers are left out.
    pub(in crate::state) fn restore(
        &mut self,
        saved: &saved::Worker,
        texts: &mut Restored<'_>,
        now: Timestamp,
    ) {
        let count = |n: Option<u64>| n.and_then(saved::count);
        // By our clock, which may have been set back.
        let past = |micros| saved::time(micros).min(now);
        *self = Self {
            name: self.name,
            online: saved.online,
            seen: past(saved.seen),
            active: count(saved.active),
            loadavg: <[f64; 3]>::try_from(saved.loadavg.as_slice())
                .ok()
                .filter(|loads| loads.iter().all(|load| load.is_finite())),
            software: Software {
                ident: texts.name(saved.software_ident),
                version: texts.name(saved.software_version),
                system: texts.name(saved.software_system),
            },
            clock_skew: saved.clock_skew.filter(|skew| judge::is_skew(*skew)),
            pool_size: count(saved.pool_size),
            slots: count(saved.slots.or(saved.pool_size)),
            processes: count(saved.processes),
            prefetch_count: count(saved.prefetch_count),
            started: saved.started.map(past),
            queues: saved.queues.as_ref().map(|queues| {
                let names = queues.names.iter();
                let mut names: Vec<_> = names.filter_map(|place| texts.name(*place)).collect();
                names.sort_unstable();
                names.dedup();
                names
            }),
            asked: false,
            settings_asked: Some(0),
            rate_pause: None,
            prefetch_least: None,
            stalls: Stalls::default(),
            since: self.since,
            twofold: saved.twofold,
            processed: Processed::restored(saved, now),
            counts: saved.counts,
            freq: saved.freq.filter(|freq| freq.is_finite() && *freq > 0.0),
            pid: saved.pid,
            other_pid: saved.other_pid.map(|other| (other.pid, past(other.seen))),
            goodbye: saved.goodbye.map(|at| saved::past(at, now)),
            offline_since: past(saved.offline_since),
        };
    }
}
