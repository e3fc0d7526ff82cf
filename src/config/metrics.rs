//! `metrics`: which metrics of tasks and workers to show, and their limits.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::problem::did_you_mean;
use super::relabel::relabel;
use super::scalar::{parse_duration, show_duration};
use super::section::Section;
use super::shown::Shown;
use super::value::{text_of, whole_of};
use crate::profile::{BucketOverride, ExporterBuckets, NativeConfig, TaskLabels};
use crate::series::{Buckets, COMPILED_BYTES_MAX, Relabel};
use crate::state::{Crontab, CrontabError, Limits, Schedule, WorkerTimeout};

/// Which metrics of tasks and workers to show, and their limits.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    pub native: NativeConfig,
    pub exporter_buckets: ExporterBuckets,
    pub limits: Limits,
    /// Whether observations and failures carry the id of their task.
    pub exemplars: bool,
    /// `None`: all tasks are shown.
    pub task_filter: Option<TaskFilter>,
    /// Relabeling rules for every series, including the daemon's own.
    pub relabel: Relabel,
    /// How long an unchanged series is kept.
    pub series_ttl: Duration,
    /// Maximum number of samples in a snapshot, not counting the daemon's own.
    pub series_max: usize,
}

/// Which tasks are shown, by name.
#[derive(Clone, Debug)]
pub struct TaskFilter {
    include: Vec<Regex>,
    exclude: Vec<Regex>,
}

impl TaskFilter {
    /// Whether tasks with a name are shown: some inclusion matches and no exclusion does.
    pub fn shows(&self, name: &str) -> bool {
        let any = |rules: &[Regex]| rules.iter().any(|rule| rule.is_match(name));
        any(&self.include) && !any(&self.exclude)
    }
}

/// Seconds: from the wait in an idle queue to a quarter of a day.
const WAIT_BUCKETS: [f64; 15] = [
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0,
];

/// Seconds: from a task that does nothing to an hour.
const RUNTIME_BUCKETS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Name of an unknown queue if the file sets none.
const UNKNOWN_QUEUE: &str = "unknown";

impl MetricsConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let prefix = prefix(section);
        let labels = task_labels(section);
        let worker_label = section.word("worker_label", "nodename", &["nodename", "hostname"]);
        let default_queue = section.optional_text("default_queue");
        let (runtime_buckets, wait_buckets, overrides) = section.section("buckets", |section| {
            let runtime = buckets(section, "runtime", &RUNTIME_BUCKETS);
            let wait = buckets(section, "wait", &WAIT_BUCKETS);
            let overrides: Vec<_> = section.sections("overrides", bucket_override);
            if overrides.is_empty() {
                section.show("overrides", Shown::List(Vec::new()));
            }
            (runtime, wait, overrides.into_iter().flatten().collect())
        });
        let exporter_buckets = section.section("exporter_buckets", |section| ExporterBuckets {
            runtime: optional_buckets(section, "runtime"),
            wait: optional_buckets(section, "wait"),
        });
        let exemplars = section.bool("exemplars", true);
        let task_filter = section.section("task_filter", task_filter);
        let relabel = relabel(section, "relabel_configs");
        let series_max = count(section, "max_series", 100_000, 100);
        let exceptions_max = count(section, "max_exceptions", 100, 1);
        let queues_max = count(section, "max_queues", 100, 1);
        let tasks_max = count(section, "max_tasks", 1_000_000, 1);
        let task_timeout = section.duration("task_timeout", DAY, SECOND..=YEAR);
        let series_ttl = section.duration("series_ttl", DAY, SECOND..=YEAR);
        let worker_timeout = worker_timeout(section);
        let long_running_factor = long_running_factor(section);
        let periodic: Vec<_> = section.sections("periodic_tasks", periodic_task);
        one_schedule_each(section, &periodic);
        if periodic.is_empty() {
            section.show("periodic_tasks", Shown::List(Vec::new()));
        }
        let worker_retention = section.duration("worker_retention", HOUR, Duration::ZERO..=YEAR);
        Self {
            native: NativeConfig {
                prefix: prefix.into(),
                labels,
                hostnames: worker_label == "hostname",
                default_queue: default_queue.as_deref().unwrap_or(UNKNOWN_QUEUE).into(),
                runtime_buckets,
                wait_buckets,
                overrides,
                exceptions_max,
                queues_max,
            },
            limits: Limits {
                tasks_max,
                task_timeout,
                worker_timeout,
                worker_retention,
                long_running_factor,
                periodic: periodic.into_iter().flatten().collect(),
                awaits_periodic: false,
                queue_ttl: series_ttl,
                broker_drops_expired: false,
                broker_holds_events: false,
                keep_foreign: false,
                asks_workers: false,
                shard: None,
            },
            exporter_buckets,
            exemplars,
            task_filter,
            relabel,
            series_ttl,
            series_max,
        }
    }
}

/// Reads the prefix of metric names.
fn prefix(section: &mut Section<'_>) -> String {
    let prefix = section.text("prefix", "celery_");
    let valid = prefix
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !prefix.starts_with(|c: char| c.is_ascii_digit());
    if !valid {
        section.problem(
            "prefix",
            "not a valid prefix of a metric name; use letters, digits and _, \
                         not starting with a digit",
        );
    }
    prefix
}

/// `None`: all tasks are shown.
fn task_filter(section: &mut Section<'_>) -> Option<TaskFilter> {
    let include = section.texts("include", &[".*"]);
    let exclude = section.texts("exclude", &[]);
    let everything = include == [".*"] && exclude.is_empty();
    let mut rules = |key, texts: &[String]| {
        let rules = texts.iter().filter_map(|text| regex(section, key, text));
        rules.collect()
    };
    let rules = TaskFilter {
        include: rules("include", &include),
        exclude: rules("exclude", &exclude),
    };
    (!everything).then_some(rules)
}

/// Reads the bucket bounds of a key.
fn buckets(section: &mut Section<'_>, key: &'static str, default: &[f64]) -> Arc<Buckets> {
    let bounds = section.numbers(key, default);
    let buckets = Buckets::new(&bounds).unwrap_or_else(|| {
        let expected = "expected increasing, non-negative bounds, such as [0.1, 1, 10]";
        section.problem(key, expected);
        Buckets::new(&RUNTIME_BUCKETS).expect("the defaults increase")
    });
    Arc::new(buckets)
}

fn optional_buckets(section: &mut Section<'_>, key: &'static str) -> Option<Arc<Buckets>> {
    let there = section.has(key);
    let own = buckets(section, key, if there { &[] } else { &RUNTIME_BUCKETS });
    if !there {
        section.show(key, Shown::Null);
    }
    there.then_some(own)
}

fn bucket_override(section: &mut Section<'_>) -> Option<BucketOverride> {
    let matches = section.needed_text("match", "reports\\..*");
    let matches = matches.and_then(|matches| regex(section, "match", &matches));
    let (runtime, wait) = (
        optional_buckets(section, "runtime"),
        optional_buckets(section, "wait"),
    );
    if runtime.is_none() && wait.is_none() {
        section.problem(
            "match",
            "has neither `runtime` nor `wait`; set at least one of them",
        );
    }
    Some(BucketOverride {
        matches: matches?,
        runtime,
        wait,
    })
}

/// A regular expression that must match the whole name, as in Prometheus.
fn regex(section: &mut Section<'_>, key: &str, text: &str) -> Option<Regex> {
    if !section.may_compile(key) {
        return None;
    }
    let anchored = RegexBuilder::new(&format!("^(?s:{text})$"))
        .size_limit(COMPILED_BYTES_MAX)
        .build();
    let reason = |error: regex::Error| {
        let error = error.to_string();
        error.lines().last().unwrap_or_default().to_owned()
    };
    anchored
        .map_err(|error| section.problem(key, format!("`{text}`: {}", reason(error))))
        .ok()
}

fn count(section: &mut Section<'_>, key: &'static str, default: u64, least: u64) -> usize {
    usize::try_from(section.whole(key, default, least..=100_000_000)).unwrap_or(usize::MAX)
}

fn task_labels(section: &mut Section<'_>) -> TaskLabels {
    const LABELS: [&str; 3] = ["name", "queue", "worker"];
    let labels = section.texts("task_labels", &["name", "queue"]);
    for label in &labels {
        if !LABELS.contains(&label.as_str()) {
            let hint = did_you_mean(label, LABELS);
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
        if let Some(missed @ 1..=1000) = whole_of(value) {
            return u32::try_from(missed).ok().map(WorkerTimeout::Missed);
        }
        let duration = parse_duration(&text_of(value)?).filter(|duration| *duration >= SECOND);
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

fn periodic_task(section: &mut Section<'_>) -> Option<(Arc<str>, Schedule)> {
    let name = section.needed_text("name", "shop.report");
    let (has_every, has_crontab) = (section.has("every"), section.has("crontab"));
    let has_zone = section.has("timezone");
    let every = section.duration("every", DAY, SECOND..=YEAR);
    let expression = section.optional_text("crontab");
    let zone = section.text("timezone", "UTC");
    if has_every && has_crontab {
        section.problem("crontab", "either this or `every`, not both");
        return None;
    }
    let Some(expression) = expression else {
        if has_zone && !section.is_reference() {
            section.problem("timezone", "has an effect only with `crontab`");
        }
        return Some((name?.into(), Schedule::Every(every)));
    };
    section.show("every", Shown::Null);
    let key = |error: &CrontabError| match error {
        CrontabError::TimeZone(_) => "timezone",
        CrontabError::Fields(_) | CrontabError::Field { .. } | CrontabError::Never => "crontab",
    };
    let crontab = Crontab::new(&expression, &zone)
        .map_err(|error| section.problem(key(&error), error))
        .ok()?;
    Some((name?.into(), Schedule::Crontab(Box::new(crontab))))
}

/// Reports names that are configured twice.
fn one_schedule_each(section: &mut Section<'_>, tasks: &[Option<(Arc<str>, Schedule)>]) {
    let mut known = HashSet::new();
    for (at, (name, _)) in tasks
        .iter()
        .enumerate()
        .filter_map(|(at, task)| Some((at, task.as_ref()?)))
    {
        if !known.insert(name) {
            let what = format!(
                "`{name}` has an entry already; if it has several schedules, give the longest time between two sends"
            );
            section.problem(&format!("periodic_tasks[{at}].name"), what);
        }
    }
}

fn long_running_factor(section: &mut Section<'_>) -> f64 {
    const DEFAULT: f64 = 3.0;
    const KEY: &str = "long_running_factor";
    let expected = "a number from 1 to 1000, or 0 for never";
    let read = section.scalar(KEY, expected, |value| {
        let factor: f64 = text_of(value)?.parse().ok()?;
        (factor == 0.0 || (1.0..=1000.0).contains(&factor)).then_some(factor)
    });
    let factor = read.unwrap_or(DEFAULT);
    section.show(KEY, Shown::Plain(factor.to_string()));
    factor
}
