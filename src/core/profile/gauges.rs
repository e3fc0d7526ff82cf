//! The native profile's gauges, which are read from the state at each snapshot rather than summed
//! from changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::beats::Beats;
use super::config::NativeConfig;
use super::group::InFlightStage;
use super::long_running::LongRunning;
use super::periodic::Periodic;
use super::stalled::Stalled;
use super::vector::{Part, Vector, limited};
use super::{Context, float};
use crate::series::{MetricKind, SeriesTable};
use crate::state::{State, Symbol, Worker};

/// The gauges of one cluster, and one counter that is read from the state as well: the number of
/// tasks that a worker has processed.
#[derive(Debug)]
pub(super) struct Gauges {
    hostnames: bool,
    default_queue: Arc<str>,
    workers: [Vector<1>; WorkerGauge::ALL.len()],
    info: Vector<5>,
    load: Vector<2>,
    processed: Vector<1>,
    /// The processed count of each worker when it was last added.
    processed_before: HashMap<Symbol, u64>,
    count: Vector<1>,
    beats: Beats,
    long_running: LongRunning,
    periodic: Periodic,
    stalled: Stalled,
    queues: [Vector<1>; QueueGauge::ALL.len()],
    oldest: Vector<2>,
}

#[derive(Clone, Copy, Debug)]
enum WorkerGauge {
    Up,
    LastSeen,
    Active,
    PoolSize,
    Prefetch,
    ClockSkew,
    Events,
    Started,
}

#[derive(Clone, Copy, Debug)]
enum QueueGauge {
    Length,
    Unacked,
    Consumers,
    Workers,
    Slots,
    Saturation,
}

impl WorkerGauge {
    const ALL: [(Self, &'static str, &'static str); 8] = [
        (
            Self::Up,
            "worker_up",
            "Whether the worker is online (1) or offline (0).",
        ),
        (
            Self::LastSeen,
            "worker_last_seen_timestamp_seconds",
            "Time of the last event received from the worker.",
        ),
        (
            Self::Active,
            "worker_tasks_active",
            "Number of tasks running on the worker, according to its last heartbeat.",
        ),
        (
            Self::PoolSize,
            "worker_pool_size",
            "Number of tasks the worker can currently run at once (needs remote control).",
        ),
        (
            Self::Prefetch,
            "worker_prefetch_count",
            "Number of tasks the worker prefetches from the broker (needs remote control).",
        ),
        (
            Self::ClockSkew,
            "worker_clock_skew_seconds",
            "Smoothed clock offset of the worker, including network latency and up to 50 ms until the event is read; positive if its clock is behind.",
        ),
        (
            Self::Events,
            "worker_events_enabled",
            "Whether the worker sends task events: 0 if it processes tasks but sends only heartbeats; absent before its first task.",
        ),
        (
            Self::Started,
            "worker_start_timestamp_seconds",
            "Time at which the worker's process started (needs remote control).",
        ),
    ];
}

impl QueueGauge {
    const ALL: [(Self, &'static str, &'static str); 6] = [
        (
            Self::Length,
            "queue_length",
            "Number of messages waiting in the queue; on Redis, the sum over all priorities.",
        ),
        (
            Self::Unacked,
            "queue_unacked",
            "Number of delivered messages that are not acknowledged yet (Redis).",
        ),
        (
            Self::Consumers,
            "queue_consumers",
            "Number of consumers of the queue, as reported by the broker (RabbitMQ).",
        ),
        (
            Self::Workers,
            "queue_workers",
            "Number of workers that consume the queue (needs remote control).",
        ),
        (
            Self::Slots,
            "queue_slots",
            "Number of tasks the queue's workers can run at once, with autoscaled pools at their maximum (needs remote control).",
        ),
        (
            Self::Saturation,
            "queue_saturation_ratio",
            "Ratio of the tasks running on the queue's workers, from any queue, to `queue_slots`.",
        ),
    ];
}

/// The values shown for a worker, or for all workers of a host.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    gauges: [Option<f64>; WorkerGauge::ALL.len()],
    load: Option<[f64; 3]>,
}

impl Gauges {
    pub(super) fn new(
        config: &NativeConfig,
        broker: Option<&Arc<str>>,
        series: &mut SeriesTable,
    ) -> Self {
        let gauge = |name: &str| format!("{}{name}", config.prefix);
        let workers = WorkerGauge::ALL.map(|(_, name, help)| {
            Vector::new(
                series,
                broker,
                (&gauge(name), MetricKind::Gauge, help),
                ["worker"],
            )
            .reset_at_restart(series)
        });
        let processed = (
            &*gauge("worker_tasks_processed_total"),
            MetricKind::Counter,
            "Total number of tasks started by the worker since it was first seen, according to its heartbeats.",
        );
        let info = (
            &*gauge("worker_info"),
            MetricKind::Gauge,
            "Information about the worker's software and host; always 1.",
        );
        let load = (
            &*gauge("worker_load_average"),
            MetricKind::Gauge,
            "Load average of the worker's host, according to its last heartbeat.",
        );
        let count = (
            &*gauge("workers"),
            MetricKind::Gauge,
            "Number of known workers, by state.",
        );
        let oldest = (
            &*gauge("tasks_oldest_timestamp_seconds"),
            MetricKind::Gauge,
            "Time at which the oldest task entered this state; for scheduled tasks, their ETA.",
        );
        let info_labels = ["worker", "hostname", "sw_ident", "sw_ver", "sw_sys"];
        Self {
            hostnames: config.hostnames,
            default_queue: Arc::clone(&config.default_queue),
            workers,
            processed: Vector::new(series, broker, processed, ["worker"]),
            processed_before: HashMap::new(),
            info: Vector::new(series, broker, info, info_labels).reset_at_restart(series),
            load: Vector::new(series, broker, load, ["worker", "window"]).reset_at_restart(series),
            count: Vector::new(series, broker, count, ["state"]).reset_at_restart(series),
            beats: Beats::new(config, broker, series),
            long_running: LongRunning::new(config, broker, series),
            periodic: Periodic::new(config, broker, series),
            stalled: Stalled::new(config, broker, series),
            queues: QueueGauge::ALL.map(|(_, name, help)| {
                Vector::new(
                    series,
                    broker,
                    (&gauge(name), MetricKind::Gauge, help),
                    ["queue"],
                )
                .reset_at_restart(series)
            }),
            oldest: Vector::new(series, broker, oldest, ["queue", "state"])
                .reset_at_restart(series),
        }
    }

    /// Sets every gauge from the state, and ends the series of anything that is gone.
    pub(super) fn level(&mut self, state: &State, context: &mut Context<'_>) {
        self.level_workers(state, context);
        self.level_processed(state, context);
        self.beats.level(state, context);
        self.stalled.level(state, context);
        self.level_queues(state, context);
        self.oldest.begin();
        let mut oldest = BTreeMap::new();
        for ((queue, stage), entered) in state.oldest() {
            let queue = queue.or_else(|| context.names.find_queue(&self.default_queue));
            let flight = InFlightStage::from(stage).name();
            let known = oldest.entry((queue, flight)).or_insert(entered);
            *known = entered.min(*known);
        }
        for ((queue, flight), entered) in oldest {
            let queue =
                queue.map_or_else(|| Part::Text(Arc::clone(&self.default_queue)), Part::Name);
            self.oldest
                .set([queue, Part::Word(flight)], entered.seconds(), context);
        }
        self.oldest.end_others(context.series);
    }

    /// Sets the gauges by task name.
    pub(super) fn level_tasks(
        &mut self,
        state: &State,
        context: &mut Context<'_>,
        shows: &mut dyn FnMut(Symbol) -> bool,
    ) {
        self.long_running.level(state, context, shows);
        self.periodic.level(state, context, shows);
    }

    /// The names that the gauges refer to.
    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        let workers = self.workers.iter().flat_map(Vector::names);
        let queues = self.queues.iter().flat_map(Vector::names);
        workers
            .chain(queues)
            .chain(self.info.names())
            .chain(self.load.names())
            .chain(self.processed.names())
            .chain(self.processed_before.keys().copied())
            .chain(self.oldest.names())
            .chain(self.beats.names())
            .chain(self.long_running.names())
            .chain(self.periodic.names())
            .chain(self.stalled.names())
    }

    pub(super) fn limited(&self) -> u64 {
        limited(&self.workers)
            + limited(&self.queues)
            + self.info.limited()
            + self.load.limited()
            + self.processed.limited()
            + self.oldest.limited()
            + self.beats.limited()
            + self.long_running.limited()
            + self.periodic.limited()
            + self.stalled.limited()
    }

    fn level_workers(&mut self, state: &State, context: &mut Context<'_>) {
        let mut shown: BTreeMap<Symbol, Shown> = BTreeMap::new();
        let mut counts = [0.0; 2];
        self.info.begin();
        for worker in state.workers() {
            counts[usize::from(!worker.online)] += 1.0;
            let label = self.label(worker, context);
            shown.entry(label).or_default().add(worker);
            let text = |name: Option<Symbol>| name.map_or(Part::Word(""), Part::Name);
            let info = [
                Part::Name(label),
                Part::Name(context.names.host(worker.name)),
                text(worker.software.ident),
                text(worker.software.version),
                text(worker.software.system),
            ];
            if worker.software.version.is_some() {
                self.info.set(info, 1.0, context);
            }
        }
        self.info.end_others(context.series);
        for (at, gauge) in self.workers.iter_mut().enumerate() {
            gauge.begin();
            for (&label, shown) in &shown {
                if let Some(value) = shown.gauges[at] {
                    gauge.set([Part::Name(label)], value, context);
                }
            }
            gauge.end_others(context.series);
        }
        self.load.begin();
        for (&label, shown) in &shown {
            for (window, value) in ["1m", "5m", "15m"]
                .into_iter()
                .zip(shown.load.iter().flatten())
            {
                let key = [Part::Name(label), Part::Word(window)];
                self.load.set(key, *value, context);
            }
        }
        self.load.end_others(context.series);
        for (state, count) in ["online", "offline"].into_iter().zip(counts) {
            self.count.set([Part::Word(state)], count, context);
        }
    }

    /// Continues the counters of processed tasks. What the workers had processed is already
    /// included in the series restored with the state.
    pub(super) fn open_restored(&mut self, state: &State, context: &mut Context<'_>) {
        for worker in state.workers() {
            let Some(processed) = worker.processed() else {
                continue;
            };
            self.processed_before.insert(worker.name, processed);
            let label = self.label(worker, context);
            self.processed.open_restored(&[Part::Name(label)], context);
        }
    }

    /// Updates the counters of processed tasks, which continue when a worker restarts.
    pub(super) fn level_processed(&mut self, state: &State, context: &mut Context<'_>) {
        self.processed.begin();
        let mut before = HashMap::with_capacity(self.processed_before.len());
        for worker in state.workers() {
            let Some(processed) = worker.processed() else {
                continue;
            };
            let known = self.processed_before.get(&worker.name).copied();
            let more = processed.saturating_sub(known.unwrap_or(0));
            before.insert(worker.name, processed);
            let label = self.label(worker, context);
            self.processed
                .add([Part::Name(label)], float(more), context);
        }
        self.processed_before = before;
        self.processed.end_others(context.series);
    }

    fn level_queues(&mut self, state: &State, context: &mut Context<'_>) {
        let mut queues: Vec<_> = state.queues().into_iter().collect();
        queues.sort_unstable_by_key(|(name, _)| *name);
        for (gauge, (which, ..)) in self.queues.iter_mut().zip(QueueGauge::ALL) {
            gauge.begin();
            for (name, queue) in &queues {
                let value = match which {
                    QueueGauge::Length => queue.length.map(float),
                    QueueGauge::Unacked => queue.unacked.map(float),
                    QueueGauge::Consumers => queue.consumers.map(float),
                    QueueGauge::Workers => queue.workers.map(float),
                    QueueGauge::Slots => queue.slots.map(float),
                    QueueGauge::Saturation => queue
                        .slots
                        .filter(|slots| *slots > 0)
                        .and_then(|slots| Some(float(queue.active?) / float(slots))),
                };
                if let Some(value) = value {
                    gauge.set([Part::Name(*name)], value, context);
                }
            }
            gauge.end_others(context.series);
        }
    }

    fn label(&self, worker: &Worker, context: &Context<'_>) -> Symbol {
        if self.hostnames {
            context.names.host(worker.name)
        } else {
            worker.name
        }
    }
}

impl Shown {
    /// Merges a worker with the same label: sums where that makes sense, otherwise the best or
    /// newest value.
    fn add(&mut self, worker: &Worker) {
        for (at, (gauge, ..)) in WorkerGauge::ALL.into_iter().enumerate() {
            let value = match gauge {
                WorkerGauge::Up => Some(f64::from(u8::from(worker.online))),
                WorkerGauge::LastSeen => Some(worker.seen.seconds()),
                WorkerGauge::Active => worker.active.map(float),
                WorkerGauge::PoolSize => worker.pool_size.map(float),
                WorkerGauge::Prefetch => worker.prefetch_count.map(float),
                WorkerGauge::ClockSkew => worker.clock_skew,
                WorkerGauge::Events => worker.events().map(|on| f64::from(u8::from(on))),
                WorkerGauge::Started => worker.started.map(|at| at.seconds()),
            };
            let Some(value) = value else { continue };
            let together = match (gauge, self.gauges[at]) {
                (_, None) => value,
                (WorkerGauge::Up | WorkerGauge::LastSeen | WorkerGauge::Started, Some(other)) => {
                    other.max(value)
                }
                // Show whether any of them sends no events.
                (WorkerGauge::Events, Some(other)) => other.min(value),
                (WorkerGauge::ClockSkew, Some(other)) if other.abs() >= value.abs() => other,
                (WorkerGauge::ClockSkew, Some(_)) => value,
                (
                    WorkerGauge::Active | WorkerGauge::PoolSize | WorkerGauge::Prefetch,
                    Some(other),
                ) => other + value,
            };
            self.gauges[at] = Some(together);
        }
        self.load = worker.loadavg.or(self.load);
    }
}
