mod flower;
mod periodic;
mod recorded;
mod restart;
mod stalled;

use super::*;
use crate::event::{Detail, Event, TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use crate::series::{Buckets, Snapshot, Value};
use crate::state::{Limits, WorkerTimeout};

const TTL: Duration = Duration::from_secs(1_000);

/// A cluster and its profile, driven by events.
struct Bench {
    state: State,
    profile: Profile,
    series: SeriesTable,
    now: Timestamp,
}

impl Bench {
    fn new(labels: TaskLabels, series_max: usize, exceptions_max: usize) -> Self {
        let config = config(labels, exceptions_max);
        Self::of(ProfileName::Native, &config, series_max)
    }

    fn of(name: ProfileName, config: &NativeConfig, series_max: usize) -> Self {
        let now = Timestamp::from_millis(1_000_000);
        let mut series = SeriesTable::new(series_max, now);
        let profile = Profile::new(name, config, &ExporterBuckets::default(), None, &mut series);
        Self {
            state: State::new(limits()),
            profile,
            series,
            now,
        }
    }

    fn event(&mut self, hostname: &str, detail: Detail<'_>) {
        self.now = self.now.after(Duration::from_secs(1));
        self.apply(&Event {
            timestamp: self.now,
            hostname: hostname.into(),
            pid: None,
            detail,
        });
    }

    fn apply(&mut self, event: &Event<'_>) {
        let mut changes = Vec::new();
        self.state.apply(event, self.now, &mut changes);
        let mut context = Context {
            names: self.state.names(),
            series: &mut self.series,
            now: self.now,
            origin: None,
        };
        changes
            .into_iter()
            .for_each(|change| self.profile.apply(change, &mut context));
    }

    fn task(&mut self, kind: TaskKind, uuid: &str, name: &str, exception: &str) {
        let named = matches!(kind, TaskKind::Sent | TaskKind::Received);
        let detail = Detail::Task(TaskEvent {
            name: named.then(|| name.into()),
            queue: (kind == TaskKind::Sent).then(|| "q".into()),
            runtime: Some(2.0),
            exception: (!exception.is_empty()).then(|| exception.into()),
            ..TaskEvent::new(kind, uuid)
        });
        self.event(
            if kind == TaskKind::Sent {
                "gen1@h"
            } else {
                "w@h"
            },
            detail,
        );
    }

    fn sent(&mut self, uuid: &str, name: &str, queue: &str) {
        let detail = Detail::Task(TaskEvent {
            name: Some(name.into()),
            queue: Some(queue.into()),
            ..TaskEvent::new(TaskKind::Sent, uuid)
        });
        self.event("gen1@h", detail);
    }

    fn snapshot(&mut self) -> Snapshot {
        let mut changes = Vec::new();
        self.state.expire(self.now, &mut changes);
        self.profile
            .level(&self.state, &mut self.series, self.now, &mut |_| true);
        let keep = Keep::new(&self.state, TTL, self.now);
        self.profile.expire(&keep, &mut self.series);
        self.series.snapshot(self.now, false)
    }
}

fn config(labels: TaskLabels, exceptions_max: usize) -> NativeConfig {
    let buckets = |bounds| Arc::new(Buckets::new(bounds).expect("in order"));
    NativeConfig {
        prefix: "celery_".into(),
        labels,
        hostnames: false,
        default_queue: "unknown".into(),
        runtime_buckets: buckets(&[1.0, 10.0]),
        wait_buckets: buckets(&[1.0, 10.0]),
        overrides: vec![BucketOverride {
            matches: regex::Regex::new("^slow.*$").expect("a rule"),
            runtime: Some(buckets(&[100.0])),
            wait: None,
        }],
        exceptions_max,
        queues_max: 3,
    }
}

const fn limits() -> Limits {
    Limits {
        tasks_max: 1_000,
        task_timeout: Duration::from_secs(100_000),
        worker_timeout: WorkerTimeout::Missed(3),
        worker_retention: Duration::from_secs(60),
        long_running_factor: 3.0,
        periodic: Vec::new(),
        awaits_periodic: false,
        queue_ttl: Duration::from_secs(86_400),
        broker_drops_expired: true,
        broker_holds_events: false,
        keep_foreign: false,
        asks_workers: false,
        shard: None,
    }
}

const NAME_AND_QUEUE: TaskLabels = TaskLabels {
    name: true,
    queue: true,
    worker: false,
};

/// The sum of a family over all label values.
fn total(snapshot: &Snapshot, family: &str) -> f64 {
    let rows = snapshot
        .rows
        .iter()
        .filter(|row| *snapshot.family(row).name == *family);
    rows.map(|row| match &row.value {
        Value::Number(number) => *number,
        Value::Histogram(histogram) => histogram.count() as f64,
    })
    .sum()
}

#[test]
fn the_first_event_of_a_task_brings_its_counters_with_zero() {
    let mut bench = Bench::new(NAME_AND_QUEUE, 10_000, 100);
    bench.task(TaskKind::Sent, "a", "t", "");
    let snapshot = bench.snapshot();

    let labels = [("name", "t"), ("queue", "q")];
    let value = |family: &str, more: &[(&str, &str)]| {
        let mut all = [&labels[..], more].concat();
        all.sort_unstable();
        snapshot.number_of(family, &all)
    };
    assert_eq!(value("celery_task_sent_total", &[]), Some(1.0));
    for family in ["received", "started", "succeeded"] {
        assert_eq!(
            value(&format!("celery_task_{family}_total"), &[]),
            Some(0.0),
            "{family}"
        );
    }
    for reason in ["revoked", "expired", "terminated"] {
        assert_eq!(
            value("celery_task_revoked_total", &[("reason", reason)]),
            Some(0.0)
        );
    }
    assert_eq!(
        value("celery_task_rejected_total", &[("requeue", "true")]),
        Some(0.0)
    );
    assert_eq!(
        value("celery_tasks_in_flight", &[("state", "sent")]),
        Some(1.0)
    );
    assert_eq!(total(&snapshot, "celery_task_failed_total"), 0.0);
    assert!(
        !snapshot
            .rows
            .iter()
            .any(|row| snapshot.family(row).name.contains("failed"))
    );
}

#[test]
fn a_life_moves_through_counters_and_gauges() {
    let mut bench = Bench::new(NAME_AND_QUEUE, 10_000, 100);
    for kind in [
        TaskKind::Sent,
        TaskKind::Received,
        TaskKind::Started,
        TaskKind::Failed,
    ] {
        bench.task(kind, "a", "t", "ValueError");
    }
    let snapshot = bench.snapshot();

    let labels = [("exception", "ValueError"), ("name", "t"), ("queue", "q")];
    assert_eq!(
        snapshot.number_of("celery_task_failed_total", &labels),
        Some(1.0)
    );
    assert_eq!(total(&snapshot, "celery_tasks_in_flight"), 0.0);
    assert_eq!(total(&snapshot, "celery_task_runtime_seconds"), 1.0);
    assert_eq!(
        snapshot.number_of("celery_events_total", &[("type", "task-failed")]),
        Some(1.0)
    );
}

#[test]
fn exception_classes_beyond_their_limit_count_as_others() {
    let mut bench = Bench::new(NAME_AND_QUEUE, 10_000, 2);
    for (n, class) in ["A", "B", "C", "A", "D"].into_iter().enumerate() {
        bench.task(TaskKind::Received, &n.to_string(), "t", "");
        bench.task(TaskKind::Failed, &n.to_string(), "t", class);
    }
    let snapshot = bench.snapshot();

    let failed = |class| {
        let labels = [("exception", class), ("name", "t"), ("queue", "unknown")];
        snapshot.number_of("celery_task_failed_total", &labels)
    };
    assert_eq!(
        (failed("A"), failed("B"), failed("(other)")),
        (Some(2.0), Some(1.0), Some(2.0))
    );
    assert_eq!(
        bench.profile.limited(),
        Limited {
            series: 0,
            exceptions: 2,
            queues: 0
        }
    );
}

#[test]
fn queues_beyond_their_limit_count_as_others_and_leave_from_there() {
    let mut bench = Bench::new(NAME_AND_QUEUE, 10_000, 100);
    for (n, queue) in ["a", "b", "c", "d", "a", "e"].into_iter().enumerate() {
        bench.sent(&n.to_string(), "t", queue);
    }
    // Another name has its own places.
    bench.sent("other", "u", "d");
    let snapshot = bench.snapshot();

    let sent = |snapshot: &Snapshot, name, queue| {
        let labels = [("name", name), ("queue", queue)];
        snapshot.number_of("celery_task_sent_total", &labels)
    };
    let counted = ["a", "b", "c", "(other)"].map(|queue| sent(&snapshot, "t", queue));
    assert_eq!(counted, [Some(2.0), Some(1.0), Some(1.0), Some(2.0)]);
    assert_eq!(
        (sent(&snapshot, "t", "d"), sent(&snapshot, "u", "d")),
        (None, Some(1.0))
    );
    assert_eq!(total(&snapshot, "celery_tasks_in_flight"), 7.0);
    // Two tasks, each sent and in flight.
    let limited = bench.profile.limited();
    assert_eq!((limited.series, limited.queues), (0, 4));

    // Once the others have ended, one of the queues can get a place, but its task is still counted
    // where it was.
    for n in [0, 1, 2, 4] {
        bench.task(TaskKind::Succeeded, &n.to_string(), "", "");
    }
    bench.now = bench.now.after(TTL + TTL);
    bench.snapshot();
    bench.sent("new", "t", "d");
    for uuid in ["3", "5", "new", "other"] {
        bench.task(TaskKind::Succeeded, uuid, "", "");
    }
    let snapshot = bench.snapshot();
    assert_eq!(sent(&snapshot, "t", "d"), Some(1.0));
    let flying = snapshot.rows.iter().filter(|row| {
        *snapshot.family(row).name == *"celery_tasks_in_flight" && row.value != Value::Number(0.0)
    });
    assert_eq!(flying.count(), 0);
}

#[test]
fn beyond_the_limit_of_series_totals_stay_right() {
    let mut bench = Bench::new(NAME_AND_QUEUE, 60, 100);
    for n in 0..50 {
        let (uuid, name) = (n.to_string(), format!("t{n}"));
        for kind in [
            TaskKind::Sent,
            TaskKind::Received,
            TaskKind::Started,
            TaskKind::Failed,
        ] {
            bench.task(kind, &uuid, &name, "ValueError");
        }
    }
    bench.task(TaskKind::Sent, "one more", "t99", "");
    let snapshot = bench.snapshot();

    for family in [
        "received_total",
        "started_total",
        "failed_total",
        "runtime_seconds",
    ] {
        assert_eq!(
            total(&snapshot, &format!("celery_task_{family}")),
            50.0,
            "{family}"
        );
    }
    assert_eq!(total(&snapshot, "celery_tasks_in_flight"), 1.0);
    let labels = [("name", "(other)"), ("queue", "(other)")];
    assert!(snapshot.number_of("celery_task_sent_total", &labels) > Some(40.0));
    assert!(bench.profile.limited().series > 40);
    assert!(snapshot.rows.len() < 100, "{} rows", snapshot.rows.len());
}

#[test]
fn a_task_that_was_folded_leaves_the_overflow_when_there_is_room_again() {
    let mut bench = Bench::new(NAME_AND_QUEUE, 12, 100);
    bench.task(TaskKind::Sent, "a", "fits", "");
    bench.task(TaskKind::Sent, "b", "folded", "");
    bench.task(TaskKind::Succeeded, "a", "fits", "");
    bench.now = bench.now.after(TTL + TTL);
    bench.snapshot();
    // By now there is room for the name.
    bench.task(TaskKind::Received, "b", "folded", "");
    bench.task(TaskKind::Succeeded, "b", "folded", "");
    let snapshot = bench.snapshot();

    let flying: Vec<_> = snapshot
        .rows
        .iter()
        .filter(|row| *snapshot.family(row).name == *"celery_tasks_in_flight")
        .map(|row| row.value.clone())
        .collect();
    assert!(
        !flying.is_empty() && flying.iter().all(|value| *value == Value::Number(0.0)),
        "{flying:?}"
    );
}

#[test]
fn a_group_ends_when_nothing_of_it_changed_for_long_unless_a_task_is_in_flight() {
    let mut bench = Bench::new(NAME_AND_QUEUE, 10_000, 100);
    bench.task(TaskKind::Received, "a", "done", "");
    bench.task(TaskKind::Succeeded, "a", "done", "");
    bench.task(TaskKind::Received, "b", "runs", "");
    bench.snapshot();
    bench.now = bench.now.after(TTL + TTL);
    let snapshot = bench.snapshot();

    let names: Vec<_> = snapshot
        .rows
        .iter()
        .flat_map(|row| row.info.labels.iter().filter(|(label, _)| *label == "name"))
        .map(|(_, name)| name)
        .collect();
    assert!(
        !names.is_empty() && names.iter().all(|name| *name == "runs"),
        "{names:?}"
    );
}

#[test]
fn a_series_ages_after_half_of_its_time_to_live() {
    let (state, changed) = (State::new(limits()), Timestamp::from_millis(1_000_000));
    let is_aging = |later| Keep::new(&state, TTL, changed.after(later)).is_aging(changed);
    let half = TTL / 2;
    assert!(!is_aging(Duration::ZERO) && !is_aging(half));
    assert!(is_aging(half + Duration::from_millis(1)));
}

#[test]
fn with_a_worker_label_clients_count_apart() {
    let labels = TaskLabels {
        name: true,
        queue: false,
        worker: true,
    };
    let mut bench = Bench::new(labels, 10_000, 100);
    for kind in [TaskKind::Sent, TaskKind::Received, TaskKind::Started] {
        bench.task(kind, "a", "t", "");
    }
    let snapshot = bench.snapshot();

    assert_eq!(
        snapshot.number_of("celery_task_sent_total", &[("name", "t")]),
        Some(1.0)
    );
    let of_worker = [("name", "t"), ("worker", "w@h")];
    assert_eq!(
        snapshot.number_of("celery_task_started_total", &of_worker),
        Some(1.0)
    );
    assert_eq!(
        snapshot.number_of("celery_task_started_total", &[("name", "t")]),
        None
    );
    assert_eq!(
        snapshot.number_of("celery_task_sent_total", &of_worker),
        None
    );
    let flying = [("name", "t"), ("state", "started"), ("worker", "w@h")];
    assert_eq!(
        snapshot.number_of("celery_tasks_in_flight", &flying),
        Some(1.0)
    );
}

#[test]
fn workers_are_up_then_down_then_gone() {
    let mut bench = Bench::new(NAME_AND_QUEUE, 10_000, 100);
    let heartbeat = WorkerEvent {
        freq: Some(2.0),
        active: Some(3),
        processed: Some(9),
        ..WorkerEvent::new(WorkerKind::Heartbeat)
    };
    bench.event("w@h", Detail::Worker(heartbeat));
    let worker = [("worker", "w@h")];
    let snapshot = bench.snapshot();
    assert_eq!(snapshot.number_of("celery_worker_up", &worker), Some(1.0));
    assert_eq!(
        snapshot.number_of("celery_worker_tasks_active", &worker),
        Some(3.0)
    );
    assert_eq!(
        snapshot.number_of("celery_workers", &[("state", "online")]),
        Some(1.0)
    );

    bench.now = bench.now.after(Duration::from_secs(7));
    let snapshot = bench.snapshot();
    assert_eq!(snapshot.number_of("celery_worker_up", &worker), Some(0.0));
    assert_eq!(
        snapshot.number_of("celery_worker_tasks_active", &worker),
        Some(0.0)
    );
    assert_eq!(
        snapshot.number_of("celery_workers", &[("state", "offline")]),
        Some(1.0)
    );

    bench.now = bench.now.after(Duration::from_secs(61));
    let snapshot = bench.snapshot();
    assert_eq!(snapshot.number_of("celery_worker_up", &worker), None);
    assert_eq!(
        snapshot.number_of("celery_workers", &[("state", "offline")]),
        Some(0.0)
    );
}
