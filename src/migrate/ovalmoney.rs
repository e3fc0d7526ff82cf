//! OvalMoney/celery-exporter: uses click; some options have variables with the prefix
//! `CELERY_EXPORTER_`.

use super::celery_exporter::{LOG_LEVEL, enable_events};
use super::celery_prometheus_exporter::{TASKS, TIME_ZONE};
use super::draft::Draft;
use super::options::{Given, Opt, Takes, known, without};
use super::transport;

pub(super) const OPTIONS: &[Opt] = &[
    known(
        &["--broker-url", "-b"],
        &["CELERY_EXPORTER_BROKER_URL"],
        Takes::One,
    ),
    known(
        &["--listen-address", "-l"],
        &["CELERY_EXPORTER_LISTEN_ADDRESS"],
        Takes::One,
    ),
    without(
        &["--max-tasks", "-m"],
        &["CELERY_EXPORTER_MAX_TASKS"],
        Takes::One,
        TASKS,
    ),
    known(
        &["--namespace", "-n"],
        &["CELERY_EXPORTER_NAMESPACE"],
        Takes::One,
    ),
    known(&["--transport-options"], &[], Takes::One),
    known(&["--enable-events"], &[], Takes::Nothing),
    without(&["--tz"], &[], Takes::One, TIME_ZONE),
    without(&["--verbose"], &[], Takes::Nothing, LOG_LEVEL),
];

pub(super) fn convert(given: &mut Given, draft: &mut Draft) {
    let url = given.one("--broker-url");
    transport::url(draft, url.as_deref().unwrap_or("redis://redis:6379/0"), &[]);
    if let Some(options) = given.one("--transport-options") {
        transport::json(draft, "--transport-options", &options);
    }
    enable_events(given, draft, false);
    if let Some(namespace) = given.one("--namespace").filter(|name| name != "celery") {
        // Only where the label exists: celeriac's own series have none.
        draft.rule(&[
            ("source_labels", "namespace"),
            ("regex", "celery"),
            ("target_label", "namespace"),
            ("replacement", &namespace.replace('$', "$$")),
        ]);
    }
    let address = given.one("--listen-address");
    draft.listen(address.unwrap_or_else(|| "0.0.0.0:9540".to_owned()));
    draft.notes_of(given);
}
