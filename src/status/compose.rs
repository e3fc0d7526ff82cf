//! Makes the document from an overview and the history.

use std::collections::HashMap;
use std::sync::Arc;

use super::before::Before;
use super::document::{
    BrokerRow, Instance, Mode, QueueRow, ReceiverRow, Status, Summary, TaskRow, Trust, VERSION,
    WorkerRow,
};
use super::ends::{OwnValues, broker, receiver};
use super::facts::{Facts, TaskCounts, TaskId, TaskLevels};
use super::history::{COARSE_SECONDS, FINE_SECONDS, History, QueueId, interval};
use super::number::float;
use super::percentiles::percentiles;
use super::query::Window;
use super::setup::Setup;
use crate::pipeline::Overview;
use crate::state::{Queue, TaskStage, WorkerOverview};
use crate::telemetry::readiness::StageReport;
use crate::timestamp::Timestamp;
use crate::version;

/// Everything that a document is made from.
pub(super) struct Sources<'a> {
    pub overview: &'a Overview,
    pub facts: &'a Facts,
    pub history: &'a History,
    pub setup: &'a Setup,
    pub stages: &'a [StageReport],
}

impl Sources<'_> {
    /// Makes the document, without the problems.
    pub(super) fn compose(&self, window: Window) -> Status {
        let at = self.overview.at;
        let before = Before::new(self.history, window, at);
        let own = OwnValues::new(&self.overview.own);
        let tasks = self.tasks(&before);
        let queues = self.queues(&before);
        let workers = self.workers(&before);
        let brokers = self.setup.brokers.iter();
        let brokers: Vec<BrokerRow> = brokers
            .map(|setup| {
                let mut row = broker(setup, &own, self.stages, &before);
                row.hints = self.hints(&setup.name);
                row
            })
            .collect();
        let receivers = self.setup.receivers.iter();
        let receivers: Vec<ReceiverRow> = receivers
            .map(|setup| receiver(setup, &own, self.stages, &before, at))
            .collect();
        Status {
            version: VERSION,
            instance: self.instance(),
            at_timestamp_seconds: at.seconds(),
            window_seconds: window.duration().as_secs(),
            rated_seconds: before.seconds.unwrap_or(0.0),
            attention: Vec::new(),
            summary: self.summary(&before, &queues, &workers),
            trust: self.trust(&own, &brokers, &receivers),
            queues,
            tasks,
            workers,
            beats: self.beats(),
            periodic: self.periodic(),
            workflows: self.workflows(),
            long_running: self.long_running(),
            brokers,
            receivers,
        }
    }

    fn instance(&self) -> Instance {
        Instance {
            name: self.setup.instance.clone(),
            version: version::VERSION.to_owned(),
            started_timestamp_seconds: self.setup.started.seconds(),
            mode: Mode::Active,
            active_instance: None,
        }
    }

    fn tasks(&self, before: &Before<'_>) -> Vec<TaskRow> {
        let none = TaskLevels::default();
        let counted = self.facts.counted.tasks.iter();
        let mut rows: Vec<TaskRow> = counted
            .map(|(id, now)| {
                let levels = self.facts.levels.get(id).unwrap_or(&none);
                self.task(id, now, levels, before)
            })
            .collect();
        rows.sort_by(|one, other| {
            let key = |row: &TaskRow| (row.broker.clone(), row.name.clone(), row.queue.clone());
            key(one).cmp(&key(other))
        });
        rows
    }

    fn task(
        &self,
        id: &TaskId,
        now: &TaskCounts,
        levels: &TaskLevels,
        before: &Before<'_>,
    ) -> TaskRow {
        let earlier = before.task(id);
        let since =
            |count: fn(&TaskCounts) -> u64| count(now).saturating_sub(earlier.map_or(0, count));
        let (failed, retried, exhausted) = (
            since(|counts| counts.failed),
            since(|counts| counts.retried),
            since(|counts| counts.exhausted),
        );
        let completed = now.completed_since(earlier);
        let runtime = percentiles([(&now.runtime, earlier.map(|one| &one.runtime))].into_iter());
        let wait = percentiles([(&now.wait, earlier.map(|one| &one.wait))].into_iter());
        let last = self
            .facts
            .last
            .get(&(id.broker.clone(), Arc::clone(&id.name)));
        let last = last.copied().unwrap_or_default();
        let at = self.overview.at;
        let rings = self.history.rings.tasks.get(id);
        let [sent_waiting, received_waiting, running] = levels.in_flight;
        TaskRow {
            broker: id.broker.clone(),
            name: Arc::clone(&id.name),
            queue: id.queue.clone(),
            done_per_minute: before.per_minute(completed),
            failed_ratio: ratio(failed, completed),
            retried_ratio: ratio(retried, completed + retried),
            retried_per_minute: before.per_minute(retried),
            retries_exhausted_per_minute: before.per_minute(exhausted),
            runtime_p50_seconds: runtime.0,
            runtime_p95_seconds: runtime.1,
            wait_p50_seconds: wait.0,
            wait_p95_seconds: wait.1,
            running,
            received_waiting,
            sent_waiting,
            last_failure_timestamp_seconds: last.failed,
            last_run_timestamp_seconds: later(last.succeeded, last.failed),
            sent: now.sent,
            received: now.received,
            started: now.started,
            succeeded: now.succeeded,
            failed: now.failed,
            retried: now.retried,
            retries_exhausted: now.exhausted,
            rejected: levels.rejected,
            revoked: levels.revoked,
            lost: levels.lost,
            exceptions: levels.exceptions.clone(),
            history: rings.map_or_else(Vec::new, |(fine, _)| {
                fine.points(interval(at, FINE_SECONDS))
            }),
            hour_history: rings.map_or_else(Vec::new, |(_, coarse)| {
                coarse.points(interval(at, COARSE_SECONDS))
            }),
        }
    }

    fn queues(&self, before: &Before<'_>) -> Vec<QueueRow> {
        let mut tasks: HashMap<QueueId, Vec<(&TaskId, &TaskCounts)>> = HashMap::new();
        for (id, now) in &self.facts.counted.tasks {
            if let Some(queue) = &id.queue {
                let of = (id.broker.clone(), Arc::clone(queue));
                tasks.entry(of).or_default().push((id, now));
            }
        }
        let mut rows = Vec::new();
        for broker in &self.overview.clusters {
            let label = &broker.label;
            let mut oldest: HashMap<&Arc<str>, Timestamp> = HashMap::new();
            for (queue, stage, since) in &broker.cluster.oldest {
                if matches!(stage, TaskStage::Sent | TaskStage::Retry) {
                    let queue = queue.as_ref().unwrap_or(&self.setup.default_queue);
                    let known = oldest.entry(queue).or_insert(*since);
                    *known = since.min(known).to_owned();
                }
            }
            let levels: HashMap<&Arc<str>, &Queue> = broker
                .cluster
                .queues
                .iter()
                .map(|(name, queue)| (name, queue))
                .collect();
            let of_tasks = tasks.keys().filter(|(of, _)| of == label);
            let mut names: Vec<&Arc<str>> = of_tasks
                .map(|(_, name)| name)
                .chain(levels.keys().copied())
                .collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let id = (label.clone(), Arc::clone(name));
                let of = tasks.get(&id).map_or(&[][..], Vec::as_slice);
                let queue = levels.get(name).copied().copied().unwrap_or_default();
                let oldest = oldest.get(name).copied();
                rows.push(self.queue(id, queue, of, oldest, before));
            }
        }
        rows
    }

    fn queue(
        &self,
        (broker, name): QueueId,
        queue: Queue,
        tasks: &[(&TaskId, &TaskCounts)],
        oldest: Option<Timestamp>,
        before: &Before<'_>,
    ) -> QueueRow {
        let at = self.overview.at;
        let sum = |count: fn(&TaskCounts) -> u64| -> Option<f64> {
            let counts = tasks.iter().map(|(id, now)| {
                let earlier = before.task(id).map_or(0, count);
                count(now).saturating_sub(earlier)
            });
            before.per_minute(counts.sum())
        };
        let is_sent = tasks.iter().any(|(_, now)| now.sent > 0);
        let in_per_minute = sum(|counts| counts.sent).filter(|_| is_sent);
        let out_per_minute = sum(|counts| counts.started);
        let waits = tasks.iter().map(|(id, now)| {
            let earlier = before.task(id).map(|earlier| &earlier.wait);
            (&now.wait, earlier)
        });
        let (wait_p50_seconds, wait_p95_seconds) = percentiles(waits);
        let waiting = queue.length;
        let shrinks = in_per_minute
            .zip(out_per_minute)
            .map(|(sent, out)| out - sent);
        let drains = waiting.zip(shrinks).filter(|(waiting, _)| *waiting > 0);
        let ring = self
            .history
            .rings
            .queues
            .get(&(broker.clone(), Arc::clone(&name)));
        let slots = queue.slots;
        QueueRow {
            broker,
            name,
            waiting,
            unacked: queue.unacked,
            consumers: queue.consumers,
            oldest_age_seconds: oldest.map(|since| at.since(since).as_secs_f64()),
            in_per_minute,
            out_per_minute,
            drain_seconds: drains
                .filter(|(_, shrinks)| *shrinks > 0.0)
                .map(|(waiting, shrinks)| float(waiting) * 60.0 / shrinks),
            growing: drains.is_some_and(|(_, shrinks)| shrinks <= 0.0),
            wait_p50_seconds,
            wait_p95_seconds,
            slots,
            active: queue.active,
            saturation: queue
                .active
                .zip(slots)
                .and_then(|(active, slots)| ratio(active, slots)),
            workers: queue.workers,
            history: ring.map_or_else(Vec::new, |ring| ring.points(interval(at, FINE_SECONDS))),
        }
    }

    fn workers(&self, before: &Before<'_>) -> Vec<WorkerRow> {
        let clusters = self.overview.clusters.iter();
        let workers = clusters.flat_map(|broker| {
            let workers = broker.cluster.workers.iter();
            workers.map(|worker| self.worker(broker.label.as_ref(), worker, before))
        });
        let mut rows: Vec<WorkerRow> = workers.collect();
        rows.sort_by(|one, other| (&one.broker, &one.name).cmp(&(&other.broker, &other.name)));
        rows
    }

    fn worker(
        &self,
        broker: Option<&Arc<str>>,
        overview: &WorkerOverview,
        before: &Before<'_>,
    ) -> WorkerRow {
        let worker = &overview.worker;
        let id = (broker.cloned(), Arc::clone(&overview.name));
        let now = self.facts.counted.workers.get(&id).copied();
        let earlier = before.counted.and_then(|before| before.workers.get(&id));
        let started = now
            .zip(earlier)
            .map(|(now, before)| now.saturating_sub(*before));
        let mut stalled = overview.stalled.clone();
        stalled.sort_unstable_by(|(one, since), (other, later)| (since, one).cmp(&(later, other)));
        WorkerRow {
            broker: broker.cloned(),
            name: Arc::clone(&overview.name),
            online: worker.online,
            since_timestamp_seconds: worker.state_since().seconds(),
            last_seen_timestamp_seconds: worker.seen.seconds(),
            active: worker.active,
            pool_size: worker.pool_size,
            prefetched: overview.prefetched,
            done_per_minute: started.and_then(|started| before.per_minute(started)),
            processed: worker.processed(),
            load: worker.loadavg,
            software: overview.software.clone(),
            clock_offset_seconds: worker.clock_skew,
            sends_events: worker.events(),
            queues: overview.queues.clone(),
            duplicate_name: worker.twofold,
            stalled_since_timestamp_seconds: stalled.first().map(|(_, since)| since.seconds()),
            stalled_queues: stalled.into_iter().map(|(queue, _)| queue).collect(),
        }
    }

    fn summary(&self, before: &Before<'_>, queues: &[QueueRow], workers: &[WorkerRow]) -> Summary {
        let at = self.overview.at;
        let counted = &self.facts.counted.tasks;
        let completed = counted
            .iter()
            .map(|(id, now)| now.completed_since(before.task(id)));
        let completed: u64 = completed.sum();
        let failed = counted.iter().map(|(id, now)| {
            let earlier = before.task(id).map_or(0, |earlier| earlier.failed);
            now.failed.saturating_sub(earlier)
        });
        let clusters = self.overview.clusters.iter();
        let oldest = clusters.flat_map(|broker| &broker.cluster.oldest);
        let oldest = oldest
            .filter(|(_, stage, _)| *stage != TaskStage::Started)
            .map(|(_, _, since)| *since)
            .min();
        let running = self.facts.levels.values().map(|levels| levels.in_flight[2]);
        let online = workers.iter().filter(|worker| worker.online);
        let slots = online.clone().map(|worker| worker.pool_size);
        let fine = interval(at, FINE_SECONDS);
        let rings = &self.history.rings;
        let online = online.count();
        Summary {
            completed_per_minute: before.per_minute(completed),
            completed_history: rings.completed.points(fine),
            failed_ratio: ratio(failed.sum(), completed),
            waiting: sum_known(queues.iter().map(|queue| queue.waiting)),
            waiting_history: rings.waiting.points(fine),
            oldest_age_seconds: oldest.map(|since| at.since(since).as_secs_f64()),
            running: running.sum(),
            slots: sum_known(slots),
            workers_online: online as u64,
            workers_offline: (workers.len() - online) as u64,
        }
    }

    fn trust(
        &self,
        own: &OwnValues<'_>,
        brokers: &[BrokerRow],
        receivers: &[ReceiverRow],
    ) -> Trust {
        let at = self.overview.at;
        let lag = brokers.iter().filter_map(|broker| broker.lag_seconds);
        let pushes = receivers.iter().map(|one| one.last_push_timestamp_seconds);
        let oldest_push = pushes.fold(None, |oldest: Option<Option<f64>>, push| {
            Some(match oldest {
                None => push,
                Some(oldest) => oldest.zip(push).map(|(one, other)| one.min(other)),
            })
        });
        let age = |time: f64| (at.seconds() - time).max(0.0);
        Trust {
            counting_since_timestamp_seconds: self.facts.counting_since.map(Timestamp::seconds),
            missing: brokers.iter().map(|broker| broker.missing).sum(),
            duplicate: own.total("celeriac_messages_redelivered_total")
                + own.total("celeriac_events_repeated_total"),
            undecodable: brokers.iter().map(|broker| broker.undecodable).sum(),
            dropped: brokers.iter().map(|broker| broker.dropped).sum(),
            gap_seconds: brokers.iter().map(|broker| broker.gap_seconds).sum(),
            lag_seconds: lag.fold(None, |most, lag| later(most, Some(lag))),
            last_push_age_seconds: oldest_push.flatten().map(age),
            receivers_working: receivers.iter().filter(|one| one.working).count() as u64,
            receivers_total: receivers.len() as u64,
            folded: own.total("celeriac_series_limited_total"),
        }
    }

    fn hints(&self, broker: &str) -> Vec<String> {
        let clusters = self.overview.clusters.iter();
        let own = clusters.filter(|cluster| *cluster.broker == *broker);
        own.flat_map(|cluster| cluster.hints.iter().map(ToString::to_string))
            .collect()
    }
}

/// The messages that wait in each queue.
pub(super) fn waiting(overview: &Overview) -> HashMap<QueueId, u64> {
    let clusters = overview.clusters.iter();
    let queues = clusters.flat_map(|broker| {
        broker.cluster.queues.iter().filter_map(|(name, queue)| {
            Some(((broker.label.clone(), Arc::clone(name)), queue.length?))
        })
    });
    queues.collect()
}

fn sum_known(values: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    values.fold(None, |sum, value| match (sum, value) {
        (None, value) => value,
        (sum, None) => sum,
        (Some(sum), Some(value)) => Some(sum + value),
    })
}

fn later(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| float(part) / float(whole))
}
