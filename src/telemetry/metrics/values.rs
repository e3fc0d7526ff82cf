//! The current values of the daemon's metrics, for people.

use super::{Handle, Labels, Telemetry, number};

/// The value of one series of the daemon's own metrics.
#[derive(Clone, Debug)]
pub struct OwnValue {
    pub name: &'static str,
    pub labels: Labels,
    pub value: f64,
}

impl OwnValue {
    /// Returns the value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        let label = labels.find(|(label, _)| *label == name);
        label.map(|(_, value)| &**value)
    }
}

impl Telemetry {
    /// Returns the value of every counter and gauge that has one.
    pub fn values(&self) -> Vec<OwnValue> {
        let values = self.rows.iter().filter_map(|(definition, labels, handle)| {
            let value = match handle {
                Handle::Counter(counter) => number(counter.get()),
                Handle::Elapsed(elapsed) => elapsed.seconds(),
                Handle::Gauge(gauge) => gauge.get(),
                Handle::Time(gauge) => Some(gauge.get()).filter(|time| *time > 0.0)?,
                Handle::Durations(_) => return None,
            };
            Some(OwnValue {
                name: definition.name,
                labels: labels.clone(),
                value,
            })
        });
        values.collect()
    }
}
