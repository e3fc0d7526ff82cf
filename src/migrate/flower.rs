//! Flower: tornado's options beside those of the `celery` command, with the prefix `FLOWER_` for
//! variables.

use super::celery;
use super::celery_exporter::{LOG_LEVEL, address, enable_events};
use super::celery_prometheus_exporter::TASKS;
use super::draft::{Draft, text};
use super::options::{Given, Opt, Takes, known, without};

const PAGES: &str = "applies only to Flower's own pages";
const LOGIN: &str = "set `http.basic_auth_users` or `http.bearer_token_file`";
const ANEW: &str = "set `data_dir` to keep counters across restarts";

pub(super) const OPTIONS: &[Opt] = &[
    known(&["--port"], &["FLOWER_PORT"], Takes::One),
    known(&["--address"], &["FLOWER_ADDRESS"], Takes::One),
    known(&["--url-prefix"], &["FLOWER_URL_PREFIX"], Takes::One),
    known(
        &["--enable-events"],
        &["FLOWER_ENABLE_EVENTS"],
        Takes::Maybe,
    ),
    known(
        &["--purge-offline-workers"],
        &["FLOWER_PURGE_OFFLINE_WORKERS"],
        Takes::One,
    ),
    known(&["--certfile"], &["FLOWER_CERTFILE"], Takes::One),
    known(&["--keyfile"], &["FLOWER_KEYFILE"], Takes::One),
    known(&["--ca-certs"], &["FLOWER_CA_CERTS"], Takes::One),
    known(
        &["--task-runtime-metric-buckets"],
        &["FLOWER_TASK_RUNTIME_METRIC_BUCKETS"],
        Takes::One,
    ),
    without(
        &["--unix-socket"],
        &["FLOWER_UNIX_SOCKET"],
        Takes::One,
        "celeriac listens only on TCP addresses",
    ),
    without(&["--debug"], &["FLOWER_DEBUG"], Takes::Maybe, LOG_LEVEL),
    without(
        &[
            "--logging",
            "--log-to-stderr",
            "--log-file-prefix",
            "--log-file-max-size",
            "--log-file-num-backups",
            "--log-rotate-when",
            "--log-rotate-interval",
            "--log-rotate-mode",
        ],
        &["FLOWER_LOGGING"],
        Takes::One,
        LOG_LEVEL,
    ),
    without(
        &["--inspect-timeout"],
        &["FLOWER_INSPECT_TIMEOUT"],
        Takes::One,
        "celeriac polls workers in the background, see `control_interval`",
    ),
    without(&["--auth"], &["FLOWER_AUTH"], Takes::One, LOGIN),
    without(
        &["--auth-provider"],
        &["FLOWER_AUTH_PROVIDER"],
        Takes::One,
        LOGIN,
    ),
    without(&["--basic-auth"], &["FLOWER_BASIC_AUTH"], Takes::One, LOGIN),
    without(&["--oauth2-key"], &["FLOWER_OAUTH2_KEY"], Takes::One, LOGIN),
    without(
        &["--oauth2-secret"],
        &["FLOWER_OAUTH2_SECRET"],
        Takes::One,
        LOGIN,
    ),
    without(
        &["--oauth2-redirect-uri"],
        &["FLOWER_OAUTH2_REDIRECT_URI"],
        Takes::One,
        LOGIN,
    ),
    without(
        &["--cookie-secret"],
        &["FLOWER_COOKIE_SECRET"],
        Takes::One,
        LOGIN,
    ),
    without(&["--max-tasks"], &["FLOWER_MAX_TASKS"], Takes::One, TASKS),
    without(
        &["--max-workers"],
        &["FLOWER_MAX_WORKERS"],
        Takes::One,
        TASKS,
    ),
    without(&["--db"], &["FLOWER_DB"], Takes::One, ANEW),
    without(
        &["--persistent"],
        &["FLOWER_PERSISTENT"],
        Takes::Maybe,
        ANEW,
    ),
    without(
        &["--state-save-interval"],
        &["FLOWER_STATE_SAVE_INTERVAL"],
        Takes::One,
        ANEW,
    ),
    without(
        &["--broker-api"],
        &["FLOWER_BROKER_API"],
        Takes::One,
        "celeriac reads queue lengths over the broker's own protocol",
    ),
    without(
        &["--conf"],
        &["FLOWER_CONF"],
        Takes::One,
        "a Python file, which celeriac cannot read: pass its settings as options",
    ),
    without(&["--xheaders"], &["FLOWER_XHEADERS"], Takes::Maybe, PAGES),
    without(
        &["--auto-refresh"],
        &["FLOWER_AUTO_REFRESH"],
        Takes::Maybe,
        PAGES,
    ),
    without(
        &["--format-task"],
        &["FLOWER_FORMAT_TASK"],
        Takes::One,
        PAGES,
    ),
    without(
        &["--natural-time"],
        &["FLOWER_NATURAL_TIME"],
        Takes::Maybe,
        PAGES,
    ),
    without(
        &["--tasks-columns"],
        &["FLOWER_TASKS_COLUMNS"],
        Takes::One,
        PAGES,
    ),
    without(&["--read-only"], &["FLOWER_READ_ONLY"], Takes::Maybe, PAGES),
];

pub(super) fn convert(given: &mut Given, draft: &mut Draft) {
    celery::broker(given, draft);
    // On by default in Flower.
    enable_events(given, draft, true);
    if let Some(seconds) = given.one("--purge-offline-workers") {
        draft.metrics("worker_retention", text(&format!("{seconds}s")));
    }
    let port = given.one("--port").unwrap_or_else(|| "5555".to_owned());
    draft.listen(address(&given.one("--address").unwrap_or_default(), &port));
    if let Some(value) = given.one("--task-runtime-metric-buckets") {
        draft.buckets("runtime", ("--task-runtime-metric-buckets", &value));
    }
    let prefix = given.one("--url-prefix").unwrap_or_default();
    let root = match prefix.trim_matches('/') {
        "" => "/".to_owned(),
        prefix => format!("/{prefix}/"),
    };
    draft.pages(&[&format!("{root}metrics")]);
    draft.healthy_path(&root);
    draft.healthy_path(&format!("{root}healthcheck"));
    for (option, key) in [
        ("--certfile", "cert_file"),
        ("--keyfile", "key_file"),
        ("--ca-certs", "client_ca_file"),
    ] {
        if let Some(path) = given.one(option) {
            draft.http_tls(key, &path);
        }
    }
}
