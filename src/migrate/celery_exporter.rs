//! danihodovic/celery-exporter: uses click, with the prefix `CE_` for variables.

use super::draft::{Draft, plain, text, texts};
use super::options::{Given, Opt, Takes, known, without};
use super::transport;

/// Why a value that refers to a variable is not carried over.
pub(super) const VARIABLE: &str =
    "its value is a variable, which cannot be used there; pass the value with --env-file";
pub(super) const LOG_LEVEL: &str = "pass --log-level to `celeriac run`, or set RUST_LOG";

pub(super) const OPTIONS: &[Opt] = &[
    known(&["--broker-url"], &["CE_BROKER_URL"], Takes::One),
    known(
        &["--broker-transport-option"],
        &["CE_BROKER_TRANSPORT_OPTION"],
        Takes::Each,
    ),
    known(
        &["--broker-ssl-option"],
        &["CE_BROKER_SSL_OPTION"],
        Takes::Each,
    ),
    known(&["--accept-content"], &["CE_ACCEPT_CONTENT"], Takes::One),
    without(
        &["--retry-interval"],
        &["CE_RETRY_INTERVAL"],
        Takes::One,
        "celeriac reconnects automatically with a growing delay",
    ),
    known(&["--host"], &["CE_HOST"], Takes::One),
    known(&["--port"], &["CE_PORT"], Takes::One),
    known(&["--buckets"], &["CE_BUCKETS"], Takes::One),
    known(
        &["--queue-wait-buckets"],
        &["CE_QUEUE_WAIT_BUCKETS"],
        Takes::One,
    ),
    without(
        &[
            "--redbeat-redis-url",
            "--redbeat-redis-use-ssl",
            "--redbeat-key-prefix",
            "--redbeat-sentinel",
            "--redbeat-redis-option",
        ],
        &["CE_REDBEAT_REDIS_URL"],
        Takes::One,
        "celeriac does not read the schedule of RedBeat",
    ),
    without(&["--log-level"], &["CE_LOG_LEVEL"], Takes::One, LOG_LEVEL),
    known(&["--worker-timeout"], &["CE_WORKER_TIMEOUT"], Takes::One),
    known(
        &["--purge-offline-worker-metrics"],
        &["CE_PURGE_OFFLINE_WORKER_METRICS"],
        Takes::One,
    ),
    known(
        &["--generic-hostname-task-sent-metric"],
        &["CE_GENERIC_HOSTNAME_TASK_SENT_METRIC"],
        Takes::Nothing,
    ),
    known(
        &["--generic-hostname-worker-task-metric"],
        &["CE_GENERIC_HOSTNAME_WORKER_TASK_METRIC"],
        Takes::Nothing,
    ),
    known(&["--queues", "-Q"], &["CE_QUEUES"], Takes::One),
    known(&["--metric-prefix"], &["CE_METRIC_PREFIX"], Takes::One),
    known(&["--static-label"], &["CE_STATIC_LABEL"], Takes::Each),
    without(
        &["--default-queue-name"],
        &["CE_DEFAULT_QUEUE_NAME"],
        Takes::One,
        "the profile uses `celery`, the exporter's default",
    ),
];

/// Series that come from workers' task events.
const OF_WORKERS: &str = "celery_task_((received|started|succeeded|failed|rejected|revoked|retried)_total|runtime|queue_wait_time)";

pub(super) fn convert(given: &mut Given, draft: &mut Draft) {
    match given.broker("--broker-url", "CE_BROKER_URL") {
        Some(url) => transport::url(draft, &url, &given.all("--broker-ssl-option")),
        None => draft.problem("--broker-url: missing; set it or CE_BROKER_URL".to_owned()),
    }
    let options = given.all("--broker-transport-option");
    transport::pairs(draft, "--broker-transport-option", &options);
    for (option, key) in [
        ("--accept-content", "accept_content"),
        ("--queues", "queues"),
    ] {
        match given.one(option) {
            Some(value) if value.contains("${") => draft.note(option, VARIABLE),
            Some(value) => draft.broker(key, list(&value)),
            None => {}
        }
    }
    workers(given, draft);
    for (option, key) in [("--buckets", "runtime"), ("--queue-wait-buckets", "wait")] {
        if let Some(value) = given.one(option) {
            draft.buckets(key, (option, &value));
        }
    }
    for (option, series) in [
        (
            "--generic-hostname-task-sent-metric",
            "celery_task_sent_total",
        ),
        ("--generic-hostname-worker-task-metric", OF_WORKERS),
    ] {
        if given.flag(option) == Some(true) {
            draft.rule(&[
                ("source_labels", "__name__"),
                ("regex", series),
                ("target_label", "hostname"),
                ("replacement", "generic"),
            ]);
        }
    }
    for label in given.all("--static-label") {
        match label.split_once('=') {
            Some((_, value)) if value.contains("${") => draft.note("--static-label", VARIABLE),
            Some((name, value)) => draft.rule(&[
                ("target_label", name),
                ("replacement", &value.replace('$', "$$")),
            ]),
            None => draft.problem(format!(
                "--static-label: expected key=value, found `{label}`"
            )),
        }
    }
    let prefix = given.one("--metric-prefix");
    if prefix.as_ref().is_some_and(|prefix| prefix.contains("${")) {
        draft.note("--metric-prefix", VARIABLE);
    } else if let Some(prefix) = prefix.filter(|prefix| prefix != "celery_") {
        draft.rule(&[
            ("source_labels", "__name__"),
            ("regex", "celery_(.*)"),
            ("target_label", "__name__"),
            ("replacement", &format!("{prefix}$1")),
        ]);
    }
    let host = given.one("--host").unwrap_or_else(|| "0.0.0.0".to_owned());
    let port = given.one("--port").unwrap_or_else(|| "9808".to_owned());
    draft.listen(address(&host, &port));
    draft.pages(&["/metrics"]);
    draft.healthy_path("/");
    draft.ready_path("/health");
}

/// Sets when workers count as offline and when they are removed.
fn workers(given: &mut Given, draft: &mut Draft) {
    const NEVER: &str = "365d";
    let mut seconds = |option: &str| {
        let text = given.one(option)?;
        let seconds = text.parse::<u64>();
        if seconds.is_err() {
            draft.problem(format!("{option}: expected seconds, found `{text}`"));
        }
        seconds.ok()
    };
    let purge = seconds("--purge-offline-worker-metrics");
    let timeout = seconds("--worker-timeout").unwrap_or(300);
    let timeout_shown = match timeout {
        0 => text(NEVER),
        seconds => text(&format!("{seconds}s")),
    };
    draft.metrics("worker_timeout", timeout_shown);
    match purge {
        // The exporter's own default would remove workers before an alert on 0 fires.
        None => {}
        Some(0) => draft.metrics("worker_retention", text(NEVER)),
        Some(purge) => {
            let offline = purge.saturating_sub(timeout);
            draft.metrics("worker_retention", text(&format!("{offline}s")));
        }
    }
}

/// Parses a comma-separated list.
pub(super) fn list(value: &str) -> crate::config::Shown {
    texts(
        value
            .split(',')
            .map(str::trim)
            .filter(|one| !one.is_empty()),
    )
}

pub(super) fn address(host: &str, port: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The flag `--enable-events`, which several exporters have.
pub(super) fn enable_events(given: &mut Given, draft: &mut Draft, default: bool) {
    if given.flag("--enable-events").unwrap_or(default) {
        draft.broker("enable_events", plain(true));
    }
}
