//! OvalMoney/celery-exporter: uses click; some options have variables with the prefix
//! `CELERY_EXPORTER_`.

use super::celery_exporter::{LOG_LEVEL, VARIABLE, enable_events};
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
    known(&["--use-ssl"], &["CELERY_EXPORTER_USE_SSL"], Takes::Nothing),
    known(
        &["--ssl-verify"],
        &["CELERY_EXPORTER_SSL_VERIFY"],
        Takes::One,
    ),
    known(
        &["--ssl-ca-certs"],
        &["CELERY_EXPORTER_SSL_CA_CERTS"],
        Takes::One,
    ),
    known(
        &["--ssl-certfile"],
        &["CELERY_EXPORTER_SSL_CERTFILE"],
        Takes::One,
    ),
    known(
        &["--ssl-keyfile"],
        &["CELERY_EXPORTER_SSL_KEYFILE"],
        Takes::One,
    ),
    without(&["--tz"], &[], Takes::One, TIME_ZONE),
    without(&["--verbose"], &[], Takes::Nothing, LOG_LEVEL),
];

pub(super) fn convert(given: &mut Given, draft: &mut Draft) {
    let url = given.broker("--broker-url", "CELERY_EXPORTER_BROKER_URL");
    let mut tls = Vec::new();
    if given.flag("--use-ssl") == Some(true) {
        tls.push("cert_reqs=CERT_REQUIRED".to_owned());
        for (option, key) in [
            ("--ssl-verify", "cert_reqs"),
            ("--ssl-ca-certs", "ca_certs"),
            ("--ssl-certfile", "certfile"),
            ("--ssl-keyfile", "keyfile"),
        ] {
            tls.extend(given.one(option).map(|value| format!("{key}={value}")));
        }
    }
    let url = url.as_deref().unwrap_or("redis://redis:6379/0");
    transport::url(draft, url, &tls);
    if let Some(options) = given.one("--transport-options") {
        transport::json(draft, "--transport-options", &options);
    }
    enable_events(given, draft, false);
    let namespace = given.one("--namespace");
    if namespace.as_ref().is_some_and(|name| name.contains("${")) {
        draft.note("--namespace", VARIABLE);
    } else if let Some(namespace) = namespace.filter(|name| name != "celery") {
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
    // The Python client's server answers every path with the page.
    draft.pages(&["/metrics", "/"]);
}
