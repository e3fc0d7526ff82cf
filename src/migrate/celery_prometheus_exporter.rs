//! zerok/celery-prometheus-exporter: uses argparse, with defaults from the environment.

use super::celery_exporter::{LOG_LEVEL, enable_events, list};
use super::draft::{Draft, texts};
use super::options::{Given, Opt, Takes, known, without};
use super::transport;

/// Why options that limit the tasks in memory have no counterpart.
pub(super) const TASKS: &str =
    "ended tasks are not kept in memory; for tasks in flight, see `metrics.max_tasks`";
pub(super) const TIME_ZONE: &str = "event times are in UTC";

pub(super) const OPTIONS: &[Opt] = &[
    known(&["--broker"], &["BROKER_URL"], Takes::One),
    known(&["--transport-options"], &[], Takes::One),
    known(&["--addr"], &["DEFAULT_ADDR"], Takes::One),
    known(&["--enable-events"], &[], Takes::Nothing),
    without(&["--tz"], &[], Takes::One, TIME_ZONE),
    without(&["--verbose"], &[], Takes::Nothing, LOG_LEVEL),
    without(
        &["--max_tasks_in_memory"],
        &["DEFAULT_MAX_TASKS_IN_MEMORY"],
        Takes::One,
        TASKS,
    ),
    known(&["--queue-list"], &["QUEUE_LIST"], Takes::Rest),
    known(
        &["RUNTIME_HISTOGRAM_BUCKETS"],
        &["RUNTIME_HISTOGRAM_BUCKETS"],
        Takes::One,
    ),
    known(
        &["LATENCY_HISTOGRAM_BUCKETS"],
        &["LATENCY_HISTOGRAM_BUCKETS"],
        Takes::One,
    ),
];

pub(super) fn convert(given: &mut Given, draft: &mut Draft) {
    let url = given.broker("--broker", "BROKER_URL");
    transport::url(draft, url.as_deref().unwrap_or("redis://redis:6379/0"), &[]);
    if let Some(options) = given.one("--transport-options") {
        transport::json(draft, "--transport-options", &options);
    }
    let queues = given.all("--queue-list");
    match queues.as_slice() {
        [] => {}
        // Comma-separated in the environment.
        [one] => draft.broker("queues", list(one)),
        several => draft.broker("queues", texts(several.iter().map(String::as_str))),
    }
    enable_events(given, draft, false);
    for (option, key) in [
        ("RUNTIME_HISTOGRAM_BUCKETS", "runtime"),
        ("LATENCY_HISTOGRAM_BUCKETS", "wait"),
    ] {
        if let Some(value) = given.one(option) {
            draft.buckets(key, (option, &value));
        }
    }
    let address = given.one("--addr");
    draft.listen(address.unwrap_or_else(|| "0.0.0.0:8888".to_owned()));
    // The Python client's server answers every path with the page.
    draft.pages(&["/metrics", "/"]);
}
