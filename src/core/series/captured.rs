//! Converts the table of series to its stored form in the checkpoint.
//!
//! The table copies values and shares the rest ([`SeriesTable::capture`](super::Series::capture)),
//! which takes as long as a snapshot. The more expensive part, replacing strings with numbers, can
//! run on another thread.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{Buckets, Histogram, Info, LabelSet, MetricKind, Value};
use crate::saved;

/// All series that outlive the process, at one instant.
#[derive(Debug)]
pub struct CapturedTable {
    pub(super) families: Vec<CapturedFamily>,
    pub(super) rows: Vec<CapturedRow>,
}

#[derive(Debug)]
pub(super) struct CapturedFamily {
    pub(super) name: Arc<str>,
    pub(super) kind: saved::Kind,
    /// The original family's name, if a relabeling rule made this one.
    pub(super) like: Option<Arc<str>>,
}

#[derive(Debug)]
pub(super) struct CapturedRow {
    pub(super) info: Arc<Info>,
    pub(super) value: Value,
    pub(super) changed: u32,
    pub(super) limited: bool,
}

/// Deduplicated strings and bounds.
#[derive(Debug, Default)]
struct Shared {
    texts: Vec<String>,
    text_places: HashMap<Box<str>, u32>,
    bounds: Vec<saved::Bounds>,
    bound_places: HashMap<*const Buckets, u32>,
}

/// Number of series in one part of the stored form. A part is about a megabyte; all series together
/// could take a hundred.
const PART: usize = 4_096;

impl CapturedTable {
    /// The stored form, part by part. There is always at least one part.
    pub fn into_saved(self, profile: &str) -> impl Iterator<Item = saved::View> {
        let starts = (0..self.rows.len().max(1)).step_by(PART);
        starts.map(move |from| {
            let to = self.rows.len().min(from + PART);
            self.part(profile, &self.rows[from..to])
        })
    }

    fn part(&self, profile: &str, rows: &[CapturedRow]) -> saved::View {
        let mut shared = Shared::default();
        let families = self.families.iter().map(|family| saved::Family {
            name: family.name.to_string(),
            kind: family.kind.into(),
            series: Vec::new(),
            like: family
                .like
                .as_ref()
                .map(|like| like.to_string())
                .unwrap_or_default(),
        });
        let mut families: Vec<saved::Family> = families.collect();
        for row in rows {
            let (number, histogram) = match &row.value {
                Value::Number(number) => (*number, None),
                Value::Histogram(histogram) => (0.0, Some(shared.histogram(histogram))),
            };
            families[row.info.family.index()]
                .series
                .push(saved::Series {
                    labels: shared.labels(&row.info.labels),
                    number,
                    histogram,
                    after_ms: row.info.after.millis(),
                    changed: row.changed,
                    limited: row.limited,
                });
        }
        families.retain(|family| !family.series.is_empty());
        saved::View {
            profile: profile.to_owned(),
            texts: shared.texts,
            bounds: shared.bounds,
            families,
        }
    }
}

impl Shared {
    fn labels(&mut self, labels: &LabelSet) -> Vec<u32> {
        let texts = labels.iter().flat_map(|(name, value)| [name, value]);
        texts.map(|text| self.text(text)).collect()
    }

    fn text(&mut self, text: &str) -> u32 {
        if let Some(place) = self.text_places.get(text) {
            return *place;
        }
        let place = place(self.texts.len());
        self.texts.push(text.to_owned());
        self.text_places.insert(text.into(), place);
        place
    }

    fn histogram(&mut self, histogram: &Histogram) -> saved::Histogram {
        // Keyed by address: each configured set of bounds exists once, and lives as long as the
        // rows do.
        let bounds = self.bound_places.entry(Arc::as_ptr(&histogram.buckets));
        let bounds = *bounds.or_insert_with(|| {
            self.bounds.push(saved::Bounds {
                upper: histogram.buckets.bounds().to_vec(),
            });
            place(self.bounds.len() - 1)
        });
        saved::Histogram {
            bounds,
            counts: histogram.counts.to_vec(),
            sum: histogram.sum,
            native: histogram.native.as_ref().map(|native| native.to_saved()),
        }
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).expect("the limit on series is far below 2^32")
}

impl From<&MetricKind> for saved::Kind {
    fn from(kind: &MetricKind) -> Self {
        match kind {
            MetricKind::Counter => Self::Counter,
            MetricKind::Gauge => Self::Gauge,
            MetricKind::Histogram(_) => Self::Histogram,
        }
    }
}
