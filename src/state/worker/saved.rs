//! A worker in its stored form.

use super::{Processed, Software, Timestamp, Worker};
use crate::saved;
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

    /// What was stored of the worker of that name.
    pub(in crate::state) fn restore(&mut self, saved: &saved::Worker, texts: &mut Restored<'_>) {
        let at = Timestamp::from_micros;
        *self = Self {
            name: self.name,
            online: saved.online,
            seen: at(saved.seen),
            active: saved.active,
            loadavg: <[f64; 3]>::try_from(saved.loadavg.as_slice()).ok(),
            software: Software {
                ident: texts.name(saved.software_ident),
                version: texts.name(saved.software_version),
                system: texts.name(saved.software_system),
            },
            clock_skew: saved.clock_skew,
            pool_size: saved.pool_size,
            slots: saved.slots.or(saved.pool_size),
            processes: saved.processes,
            prefetch_count: saved.prefetch_count,
            queues: saved.queues.as_ref().map(|queues| {
                let names = queues.names.iter();
                names.filter_map(|place| texts.name(*place)).collect()
            }),
            asked: false,
            since: self.since,
            twofold: saved.twofold,
            processed: Processed::restored(saved),
            counts: saved.counts,
            freq: saved.freq,
            pid: saved.pid,
            other_pid: saved.other_pid.map(|other| (other.pid, at(other.seen))),
            goodbye: saved.goodbye.map(at),
            offline_since: at(saved.offline_since),
        };
    }
}
