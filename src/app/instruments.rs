//! What stages report to.

use crate::telemetry::metrics::Telemetry;
use crate::telemetry::readiness::Readiness;

/// Label of a broker without a name in the daemon's own metrics.
pub(super) const ONLY_BROKER: &str = "default";

/// Where stages report metrics and readiness.
pub(super) struct Instruments {
    pub(super) telemetry: Telemetry,
    pub(super) readiness: Readiness,
}
