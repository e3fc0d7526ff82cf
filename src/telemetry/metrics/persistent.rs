//! Stores and restores the daemon's own counters across restarts.
//!
//! A counter is identified by its published name and labels. The metric definitions determine which
//! counters persist.

use hashbrown::HashMap;

use super::{Handle, Telemetry};
use crate::saved;

impl Telemetry {
    /// Returns the counters that continue in the next process.
    pub fn capture(&self) -> Vec<saved::Count> {
        let persistent = self
            .rows
            .iter()
            .filter(|(definition, ..)| definition.persistent);
        let counts = persistent.filter_map(|(definition, labels, handle)| {
            let value = match handle {
                Handle::Counter(counter) => counter.get(),
                Handle::Elapsed(elapsed) => elapsed.micros(),
                Handle::Gauge(_) | Handle::Time(_) | Handle::Durations(_) => return None,
            };
            let labels = labels.iter().flat_map(|(name, value)| [*name, &**value]);
            Some(saved::Count {
                family: definition.name.to_owned(),
                labels: labels.map(str::to_owned).collect(),
                value,
            })
        });
        counts.collect()
    }

    /// Resumes from captured counters. Ignores brokers that are no longer configured, and metrics
    /// that no longer exist.
    pub fn restore(&mut self, counts: &[saved::Count]) {
        let mut known: HashMap<(&str, Vec<&str>), u64> = HashMap::new();
        for count in counts {
            let labels = count.labels.iter().map(String::as_str).collect();
            if let Some(value) = saved::count(count.value) {
                known.insert((&count.family, labels), value);
            }
        }
        for (definition, labels, handle) in &self.rows {
            let labels = labels.iter().flat_map(|(name, value)| [*name, &**value]);
            let before = known.get(&(definition.name, labels.collect()));
            let Some(&before) = before.filter(|_| definition.persistent) else {
                continue;
            };
            match handle {
                Handle::Counter(counter) => counter.restore(before),
                Handle::Elapsed(elapsed) => {
                    elapsed.restore(before);
                }
                Handle::Gauge(_) | Handle::Time(_) | Handle::Durations(_) => {}
            }
        }
    }
}
