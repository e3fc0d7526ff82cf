//! The main promise: whatever is killed, restarted or cut off, the totals in Prometheus match the published events.
//!
//! Each test takes at most a minute. With `SURVIVAL_LONG` in the environment they run longer to be sure: 20 kills
//! instead of 5, and a million events instead of 100,000.

mod away;
mod calm;
mod kills;
mod lives;
mod readers;
mod shards;
mod standby;
mod transient;

use std::collections::BTreeMap;

use tempfile::TempDir;

use super::support::celeriac::{Celeriac, Page};
use super::support::cluster::Told;
use super::support::querier::Querier;
use super::support::wait_for;

/// Whether to run the long form.
pub(crate) fn is_long() -> bool {
    std::env::var_os("SURVIVAL_LONG").is_some()
}

/// The counters that each correspond to one event type, by task name.
const FAMILIES: [(&str, &str); 9] = [
    ("task-sent", "celery_task_sent_total"),
    ("task-received", "celery_task_received_total"),
    ("task-started", "celery_task_started_total"),
    ("task-succeeded", "celery_task_succeeded_total"),
    ("task-failed", "celery_task_failed_total"),
    ("task-retried", "celery_task_retried_total"),
    (
        "task-succeeded",
        r#"celery_task_runtime_seconds_count{outcome="succeeded"}"#,
    ),
    ("task-started", "celery_task_queue_wait_seconds_count"),
    ("task-started", "celery_task_prefetch_wait_seconds_count"),
];

/// A daemon's configuration.
pub(crate) struct Agent {
    pub(crate) data: TempDir,
    /// Keys of its broker: the URL, and how events are delivered.
    pub(crate) broker: String,
    /// Where it pushes to, if anywhere.
    pub(crate) receiver: Option<String>,
    /// The label `replica`.
    pub(crate) replica: &'static str,
}

impl Agent {
    pub(crate) fn new(broker_url: &str, keys: &str) -> Self {
        Self {
            data: TempDir::new().expect("a temporary folder"),
            broker: format!("url: {broker_url:?}, {keys}"),
            receiver: None,
            replica: "",
        }
    }

    pub(crate) fn pushing_to(mut self, url: String) -> Self {
        self.receiver = Some(url);
        self
    }

    /// Returns the configuration. Polling is disabled, so that the page stays the same once everything is counted.
    pub(crate) fn config(&self) -> String {
        let receiver = self.receiver.iter().map(|url| {
            format!("remote_write: [{{name: r, url: {url:?}, queue_config: {{min_backoff: 30ms, max_backoff: 500ms}}}}]\n")
        });
        format!(
            "data_dir: {:?}\n\
             global: {{interval: 1s, grace_period: 5s, external_labels: {{instance: i, replica: {:?}}}}}\n\
             brokers: [{{queue_interval: 0s, control_interval: 0s, {}}}]\n{}",
            self.data.path(),
            self.replica,
            self.broker,
            receiver.collect::<String>()
        )
    }

    pub(crate) async fn start(&self) -> Celeriac {
        Celeriac::start(&self.config()).await
    }
}

/// Returns where the stored counters differ from the published events, in words; empty if they agree.
async fn differences(querier: &Querier, told: &Told) -> Vec<String> {
    let by_type = ("celery_events_total", "type", told.by_type());
    let by_name = FAMILIES.map(|(kind, family)| (family, "name", told.by_name(kind)));
    let mut differences = Vec::new();
    for (family, label, expected) in by_name.into_iter().chain([by_type]) {
        let courses = querier.courses(family, label).await;
        let keys = expected.keys().chain(courses.keys());
        for key in keys.collect::<std::collections::BTreeSet<_>>() {
            let course = courses.get(key).copied().unwrap_or_default();
            let expected = expected.get(key).copied().unwrap_or_default() as f64;
            if course.total != expected || course.risen != expected || course.resets > 0 {
                differences.push(format!("{family} {key}: {expected} were told, {course:?}"));
            }
        }
    }
    let sums = r#"celery_task_runtime_seconds_sum{outcome="succeeded"}"#;
    let sums = querier.courses(sums, "name").await;
    for (name, expected) in &told.runtimes {
        let sum = sums.get(*name).copied().unwrap_or_default().total;
        if (sum - expected).abs() > expected * 1e-9 {
            differences.push(format!("runtimes of {name}: {sum} instead of {expected}"));
        }
    }
    differences
}

/// Waits until a receiver has exactly the published totals.
pub(crate) async fn exact(querier: &Querier, told: &Told, seconds: u64) {
    wait_for("the receiver to have what was told", seconds, async || {
        let differences = differences(querier, told).await;
        if differences.is_empty() {
            Ok(())
        } else {
            Err(differences.join("\n"))
        }
    })
    .await;
}

pub(crate) fn duplicates(page: &Page) -> f64 {
    page.sum("celeriac_messages_redelivered_total", &[])
}

/// Asserts that each message was applied once, according to the daemon's own metrics.
pub(crate) fn each_message_once(page: &Page, told: &Told) {
    let (messages, again) = (page.sum("celeriac_messages_total", &[]), duplicates(page));
    let count = |what: &str| page.sum(&format!("celeriac_{what}_total"), &[]);
    assert_eq!(
        messages - again,
        told.messages as f64,
        "{messages} messages, {again} of them again, {} undecodable; {} events, {} were told",
        count("messages_undecodable"),
        page.events(),
        told.total()
    );
    for lost in [
        "messages_dropped",
        "messages_undecodable",
        "events_missing",
        "tasks_evicted",
    ] {
        assert_eq!(count(lost), 0.0, "{lost}");
    }
    assert_eq!(page.sum("celery_task_lost_total", &[]), 0.0);
    assert_eq!(page.sum("celery_tasks_in_flight", &[]), 0.0);
}

/// Returns the values about Celery on a page that do not depend on the time of the scrape: counters and buckets, but
/// no timestamps.
fn counted(page: &Page) -> BTreeMap<String, f64> {
    let lines = page.0.iter().filter(|(line, _)| {
        let family = line.split('{').next().unwrap_or_default();
        family.starts_with("celery_")
            && !family.ends_with("_timestamp_seconds")
            && !family.ends_with("_skew_seconds")
    });
    lines.map(|(line, value)| (line.clone(), *value)).collect()
}
