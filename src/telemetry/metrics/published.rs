//! Publishes the daemon's metrics in a table of series.

use std::sync::Arc;

use crate::series::{Buckets, FamilyId, Histogram, LabelSet, Room, SeriesId, SeriesTable};

/// The series for the daemon's own metrics.
#[derive(Debug)]
pub struct Published {
    pub(super) buckets: Arc<Buckets>,
    pub(super) rows: Vec<Place>,
}

/// The series for the values of a metric.
#[derive(Debug)]
pub(super) enum Place {
    Open(SeriesId),
    /// No series exists until there is a value.
    Awaited(FamilyId, LabelSet),
}

impl Place {
    pub(super) fn open(family: FamilyId, labels: LabelSet, series: &mut SeriesTable) -> Self {
        Self::Open(Self::opened(family, labels, series))
    }

    fn opened(family: FamilyId, labels: LabelSet, series: &mut SeriesTable) -> SeriesId {
        let id = series.open(family, labels, Room::Reserved);
        id.expect("the reserve has no limit")
    }

    /// Returns the series, opening it if necessary.
    fn id(&mut self, series: &mut SeriesTable) -> SeriesId {
        match self {
            Self::Open(id) => *id,
            Self::Awaited(family, labels) => {
                let id = Self::opened(*family, labels.clone(), series);
                *self = Self::Open(id);
                id
            }
        }
    }
}

/// The values of all metrics at one time.
#[derive(Clone, Debug)]
pub struct Readings(pub(super) Vec<Reading>);

#[derive(Clone, Debug)]
pub(super) enum Reading {
    /// A time that is not known yet.
    Unset,
    Number(f64),
    /// Counts by bucket, and the sum in seconds.
    Durations((Box<[u64]>, f64)),
}

impl Published {
    /// Copies every value into its series.
    pub fn publish(&mut self, readings: &Readings, series: &mut SeriesTable) {
        for (place, reading) in self.rows.iter_mut().zip(&readings.0) {
            match reading {
                Reading::Unset => {}
                Reading::Number(value) => {
                    let id = place.id(series);
                    series.set(id, *value);
                }
                Reading::Durations((counts, sum)) => {
                    let histogram = Histogram {
                        buckets: Arc::clone(&self.buckets),
                        counts: counts.clone(),
                        sum: *sum,
                        native: None,
                        exemplars: Vec::new(),
                    };
                    let id = place.id(series);
                    series.replace(id, histogram);
                }
            }
        }
    }
}
