//! Counters of the daemon across a restart, in the form in which they are stored.
//!
//! A count is found by its name and labels as they go out. Which ones go on is a column of the definitions.

use hashbrown::HashMap;

use super::{Handle, Telemetry};
use crate::saved;

impl Telemetry {
    /// The counters that go on in the next process.
    pub fn capture(&self) -> Vec<saved::Count> {
        let lasting = self
            .rows
            .iter()
            .filter(|(definition, ..)| definition.lasting);
        let counts = lasting.filter_map(|(definition, labels, handle)| {
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

    /// Goes on from what was captured. What is of a broker that is configured no more, or of a metric that is no more, is
    /// left out.
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
            let Some(&before) = before.filter(|_| definition.lasting) else {
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
