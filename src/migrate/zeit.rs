//! ZeitOnline/celery_redis_prometheus: a subcommand of `celery`, which reads the broker from the
//! app.

use super::celery;
use super::celery_exporter::{LOG_LEVEL, address};
use super::draft::{Draft, plain};
use super::options::{Given, Opt, Takes, known, without};

pub(super) const OPTIONS: &[Opt] = &[
    known(&["--host"], &[], Takes::One),
    known(&["--port"], &[], Takes::One),
    known(&["--queue-length"], &[], Takes::Nothing),
    known(&["--queuelength-interval"], &[], Takes::One),
    without(&["--verbose"], &[], Takes::Nothing, LOG_LEVEL),
];

pub(super) fn convert(given: &mut Given, draft: &mut Draft) {
    celery::broker(given, draft);
    let interval = given.one("--queuelength-interval");
    let polls = interval.is_some_and(|seconds| seconds != "0");
    if !polls && given.flag("--queue-length") != Some(true) {
        draft.broker("queue_interval", plain(0));
    }
    let host = given.one("--host").unwrap_or_default();
    let port = given.one("--port").unwrap_or_else(|| "9691".to_owned());
    draft.listen(address(&host, &port));
    // The Python client's server answers every path with the page.
    draft.pages(&["/metrics", "/"]);
}
