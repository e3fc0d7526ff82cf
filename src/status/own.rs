//! The daemon's own counters.

use std::collections::HashMap;
use std::sync::Arc;

use super::number::whole;
use crate::telemetry::metrics::OwnValue;

/// The daemon's own counters, by family and by broker, receiver or limit.
pub(super) type OwnCounts = HashMap<(&'static str, Arc<str>), u64>;

/// Sums the counters over their other labels.
pub(super) fn counters(values: &[OwnValue]) -> OwnCounts {
    let mut counts = OwnCounts::new();
    let values = values.iter().filter(|value| value.name.ends_with("_total"));
    for value in values.filter(|value| !is_intended(value)) {
        let labels = ["broker", "remote_name", "pushgateway", "limit"];
        let by = labels.into_iter().find_map(|label| value.label(label));
        let id = (value.name, Arc::from(by.unwrap_or_default()));
        *counts.entry(id).or_default() += whole(value.value);
    }
    counts
}

/// Whether it counts what the configuration drops.
pub(super) fn is_intended(value: &OwnValue) -> bool {
    value.label("reason") == Some("dropped_series")
}
