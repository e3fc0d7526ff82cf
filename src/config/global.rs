//! `global`: settings of all outputs.

use std::time::Duration;

use super::section::Section;
use super::shown::Shown;
use crate::series::LabelName;

/// Settings of all outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalConfig {
    /// Time between two snapshots, which are aligned to the clock.
    pub interval: Duration,
    /// Labels of every pushed series, sorted by name.
    pub external_labels: Vec<(String, String)>,
    /// How long the shutdown may take to send pending samples.
    pub grace_period: Duration,
}

impl GlobalConfig {
    const INTERVAL: Duration = Duration::from_secs(15);
    const GRACE_PERIOD: Duration = Duration::from_secs(20);

    pub(super) fn read(section: &mut Section<'_>, hostname: &str) -> Self {
        let hour = Duration::from_secs(3600);
        let interval = section.duration("interval", Self::INTERVAL, Duration::from_secs(1)..=hour);
        let written = section.text_map("external_labels");
        let mut labels = vec![
            ("instance".to_owned(), hostname.to_owned()),
            ("job".to_owned(), "celery".to_owned()),
        ];
        for (name, value) in written {
            if LabelName::parse(&name).is_none() {
                let key = format!("external_labels.{name}");
                section.problem(
                    &key,
                    "not a valid label name; use letters, digits and _, not \
                                       starting with a digit or __",
                );
            }
            labels.retain(|(known, _)| *known != name);
            labels.push((name, value));
        }
        // An empty value removes a default: Prometheus treats an empty label as absent.
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort();
        let shown = labels
            .iter()
            .map(|(name, value)| (name.clone(), Shown::Text(value.clone())));
        section.show("external_labels", Shown::Map(shown.collect()));
        let grace_period =
            section.duration("grace_period", Self::GRACE_PERIOD, Duration::ZERO..=hour);
        Self {
            interval,
            external_labels: labels,
            grace_period,
        }
    }
}
