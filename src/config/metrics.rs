//! `metrics`: what is shown of tasks and workers, and how much of it.

use std::sync::Arc;
use std::time::Duration;

use config::ValueKind;

use super::problem::nearest;
use super::scalar::{parse_duration, show_duration};
use super::section::Section;
use super::shown::Shown;
use crate::profile::{NativeConfig, TaskLabels};
use crate::series::Buckets;
use crate::state::{Limits, WorkerTimeout};

/// What is shown of tasks and workers, and how much of it.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsConfig {
    pub native: NativeConfig,
    pub limits: Limits,
    /// Samples in a snapshot, without the daemon's own.
    pub series_max: usize,
}

/// Seconds. From what a task that does nothing takes to an hour.
const RUNTIME_BUCKETS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// What a queue is called that is not known, where the file gives no name.
const UNKNOWN_QUEUE: &str = "unknown";

impl MetricsConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let prefix = section.text("prefix", "celery_");
        let valid = prefix
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !prefix.starts_with(|c: char| c.is_ascii_digit());
        if !valid {
            section.problem("prefix", "not the beginning of a metric's name; letters, digits and _ make one, not beginning with a digit");
        }
        let labels = task_labels(section);
        let default_queue = section.optional_text("default_queue");
        let runtime_buckets = section.section("buckets", |buckets| {
            let bounds = buckets.numbers("runtime", &RUNTIME_BUCKETS);
            Buckets::new(&bounds).unwrap_or_else(|| {
                buckets.problem(
                    "runtime",
                    "expected bounds in increasing order, such as [0.1, 1, 10]",
                );
                Buckets::new(&RUNTIME_BUCKETS).expect("the defaults increase")
            })
        });
        let series_max = count(section, "max_series", 100_000, 100);
        let exceptions_max = count(section, "max_exceptions", 100, 1);
        let tasks_max = count(section, "max_tasks", 1_000_000, 1);
        let task_timeout = section.duration("task_timeout", DAY, SECOND..=YEAR);
        let series_ttl = section.duration("series_ttl", DAY, SECOND..=YEAR);
        let worker_timeout = worker_timeout(section);
        let worker_retention = section.duration("worker_retention", HOUR, Duration::ZERO..=YEAR);
        Self {
            native: NativeConfig {
                prefix: prefix.into(),
                labels,
                runtime_buckets: Arc::new(runtime_buckets),
                exceptions_max,
                series_ttl,
            },
            limits: Limits {
                tasks_max,
                task_timeout,
                worker_timeout,
                worker_retention,
                default_queue: default_queue.as_deref().unwrap_or(UNKNOWN_QUEUE).into(),
            },
            series_max,
        }
    }
}

fn count(section: &mut Section<'_>, key: &'static str, default: u64, least: u64) -> usize {
    usize::try_from(section.whole(key, default, least..=100_000_000)).unwrap_or(usize::MAX)
}

fn task_labels(section: &mut Section<'_>) -> TaskLabels {
    const LABELS: [&str; 3] = ["name", "queue", "worker"];
    let labels = section.texts("task_labels", &["name", "queue"]);
    for label in &labels {
        if !LABELS.contains(&label.as_str()) {
            let hint = nearest(label, LABELS)
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            section.problem(
                "task_labels",
                format!("expected name, queue or worker, found `{label}`{hint}"),
            );
        }
    }
    let has = |label: &str| labels.iter().any(|known| known == label);
    TaskLabels {
        name: has("name"),
        queue: has("queue"),
        worker: has("worker"),
    }
}

fn worker_timeout(section: &mut Section<'_>) -> WorkerTimeout {
    const MISSED: u32 = 3;
    let expected = "a number of missed heartbeats from 1 to 1000, or a duration such as 30s";
    let read = section.scalar("worker_timeout", expected, |value| {
        if let ValueKind::I64(missed @ 1..=1000) = value.kind {
            return u32::try_from(missed).ok().map(WorkerTimeout::Missed);
        }
        let ValueKind::String(text) = &value.kind else {
            return None;
        };
        let duration = parse_duration(text).filter(|duration| *duration >= SECOND);
        duration.map(WorkerTimeout::After)
    });
    let timeout = read.unwrap_or(WorkerTimeout::Missed(MISSED));
    let shown = match timeout {
        WorkerTimeout::Missed(missed) => missed.to_string(),
        WorkerTimeout::After(duration) => show_duration(duration),
    };
    section.show("worker_timeout", Shown::Plain(shown));
    timeout
}
