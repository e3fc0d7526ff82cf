//! The options of the `celery` command, which start Flower and celery_redis_prometheus.

use super::celery_exporter::LOG_LEVEL;
use super::draft::Draft;
use super::options::{COMMAND, Given, Opt, Takes, known, without};
use super::transport;

const APP: &str = "celeriac cannot read the settings of an app";

pub(super) const OPTIONS: &[Opt] = &[
    without(
        &["celery", "flower", "prometheus"],
        &[],
        Takes::Nothing,
        COMMAND,
    ),
    known(
        &["--broker", "-b"],
        &["CELERY_BROKER_URL", "FLOWER_BROKER"],
        Takes::One,
    ),
    without(&["--app", "-A"], &["CELERY_APP"], Takes::One, APP),
    without(&["--config"], &["CELERY_CONFIG_MODULE"], Takes::One, APP),
    without(
        &["--result-backend"],
        &["CELERY_RESULT_BACKEND"],
        Takes::One,
        "celeriac does not read results",
    ),
    without(&["--loader"], &["CELERY_LOADER"], Takes::One, APP),
    without(&["--workdir"], &[], Takes::One, APP),
    without(&["--no-color", "-C"], &[], Takes::Nothing, LOG_LEVEL),
    without(&["--quiet", "-q"], &[], Takes::Nothing, LOG_LEVEL),
    without(&["--loglevel", "-l"], &[], Takes::One, LOG_LEVEL),
];

/// Converts the broker.
pub(super) fn broker(given: &mut Given, draft: &mut Draft) {
    match given.broker("--broker", "CELERY_BROKER_URL") {
        Some(url) => transport::url(draft, &url, &[]),
        None => draft.problem(
            "--broker: missing; set it or CELERY_BROKER_URL to the app's broker_url".to_owned(),
        ),
    }
}
