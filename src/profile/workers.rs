//! The gauges of workers: levels that are read off the state, not sums of changes.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{label_set, reserved};
use crate::series::{Family, FamilyId, MetricKind, Room, Series, SeriesId};
use crate::state::{Name, State, Worker};

/// The series of all workers of one cluster.
#[derive(Debug)]
pub(super) struct WorkerGauges {
    up: FamilyId,
    active: FamilyId,
    count: FamilyId,
    workers: HashMap<Name, WorkerSeries>,
    /// By state: online, offline.
    counts: [Option<SeriesId>; 2],
}

#[derive(Clone, Copy, Debug)]
struct WorkerSeries {
    up: Option<SeriesId>,
    active: Option<SeriesId>,
    /// The worker was there when the gauges were set last.
    current: bool,
}

impl WorkerGauges {
    pub(super) fn new(prefix: &str, series: &mut Series) -> Self {
        let mut family = |name: &str, help: &'static str| {
            let name = format!("{prefix}{name}").into();
            series.family(Family {
                name,
                kind: MetricKind::Gauge,
                help,
            })
        };
        Self {
            up: family("worker_up", "Whether a worker is online: 1 or 0."),
            active: family(
                "worker_tasks_active",
                "Tasks that a worker runs now, by its newest heartbeat.",
            ),
            count: family(
                "workers",
                "Workers that are known, by whether they are online.",
            ),
            workers: HashMap::new(),
            counts: [None; 2],
        }
    }

    /// Sets every gauge as the state has it, and ends those of workers that are gone.
    pub(super) fn level(&mut self, state: &State, series: &mut Series, broker: Option<&Arc<str>>) {
        for worker in self.workers.values_mut() {
            worker.current = false;
        }
        let mut counts = [0.0; 2];
        for worker in state.workers() {
            counts[usize::from(!worker.online)] += 1.0;
            self.level_one(worker, state, series, broker);
        }
        for (_, gone) in self.workers.extract_if(|_, worker| !worker.current) {
            [gone.up, gone.active]
                .into_iter()
                .flatten()
                .for_each(|id| series.close(id));
        }
        for (at, (state, count)) in ["online", "offline"].into_iter().zip(counts).enumerate() {
            let labels = label_set(broker, [("state", state.into())]);
            let open = || reserved(series, self.count, labels);
            let id = *self.counts[at].get_or_insert_with(open);
            series.set(id, count);
        }
    }

    /// The names that the gauges refer to.
    pub(super) fn names(&self) -> impl Iterator<Item = Name> {
        self.workers.keys().copied()
    }

    fn level_one(
        &mut self,
        worker: &Worker,
        state: &State,
        series: &mut Series,
        broker: Option<&Arc<str>>,
    ) {
        let known = self.workers.get(&worker.name).copied();
        let mut open = |family| {
            let labels = label_set(broker, [("worker", state.names().text(worker.name))]);
            series.open(family, labels, Room::Limited)
        };
        let up = known.and_then(|known| known.up).or_else(|| open(self.up));
        let active = known
            .and_then(|known| known.active)
            .or_else(|| worker.active.and_then(|_| open(self.active)));
        self.workers.insert(
            worker.name,
            WorkerSeries {
                up,
                active,
                current: true,
            },
        );
        if let Some(up) = up {
            series.set(up, f64::from(u8::from(worker.online)));
        }
        if let (Some(id), Some(active)) = (active, worker.active) {
            #[expect(clippy::cast_precision_loss, reason = "a worker runs few tasks")]
            series.set(id, active as f64);
        }
    }
}
