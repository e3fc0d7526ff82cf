//! Writes requests and metadata in remote write 1.0.
//!
//! Source: "Prometheus Remote-Write 1.0 specification" (PRW 1.0). It does not cover exemplars,
//! histograms and metadata, which are written as Prometheus does.

use std::sync::Arc;

use prost::Message;

use super::point::{Point, Points, STALE_MARKER, double, histogram, millis, nested, text};
use super::proto::v1::{MetricMetadata, WriteRequest, metric_metadata::MetricType};
use super::symbols::Symbols;
use super::{Metadata, Protocol};
use crate::series::{Exemplar, Family, MetricKind, Snapshot};
use crate::timestamp::Timestamp;

/// A request being written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    request: Vec<u8>,
    series: Vec<u8>,
    part: Vec<u8>,
    inner: Vec<u8>,
}

impl Writer {
    /// Writes a time series: its labels (name, value, name, value …) and its values.
    pub(super) fn series(&mut self, labels: &[u32], symbols: &Symbols, points: Points<'_>) {
        for pair in labels.chunks_exact(2) {
            text(1, symbols.text(pair[0]), &mut self.part);
            text(2, symbols.text(pair[1]), &mut self.part);
            nested(1, &mut self.part, &mut self.series);
        }
        // PRW 1.0, "Ordering": samples of a series are ordered by timestamp.
        if !points.value.is_native() {
            if let Some(zero) = points.zero {
                self.sample(0.0, zero);
            }
            let value = match points.value {
                Point::Number(number) => number,
                Point::StaleNumber | Point::StaleNative | Point::Native(..) => {
                    f64::from_bits(STALE_MARKER)
                }
            };
            self.sample(value, points.at);
        }
        for exemplar in points.exemplars {
            self.exemplar(exemplar);
        }
        if points.value.is_native() {
            for zero in points.zero.map(Some).into_iter().chain([None]) {
                histogram(points, zero, &mut self.part);
                nested(4, &mut self.part, &mut self.series);
            }
        }
        nested(1, &mut self.series, &mut self.request);
    }

    /// Returns the compressed request, and starts the next one.
    pub(super) fn finish(&mut self, protocol: Protocol) -> bytes::Bytes {
        let bytes = protocol.compress(&self.request);
        self.request.clear();
        bytes
    }

    fn sample(&mut self, value: f64, at: Timestamp) {
        double(1, value, &mut self.part);
        millis(2, at, &mut self.part);
        nested(2, &mut self.part, &mut self.series);
    }

    fn exemplar(&mut self, exemplar: &Arc<Exemplar>) {
        text(1, super::TASK_ID, &mut self.inner);
        text(2, &exemplar.task_id, &mut self.inner);
        nested(1, &mut self.inner, &mut self.part);
        double(2, exemplar.value, &mut self.part);
        millis(3, exemplar.at, &mut self.part);
        nested(3, &mut self.part, &mut self.series);
    }
}

/// Returns the type, help and unit of every family, in separate requests as Prometheus sends them.
pub fn metadata(snapshot: &Snapshot, entries_max: usize) -> Vec<Metadata> {
    let entries: Vec<_> = snapshot.families.iter().map(entry).collect();
    let requests = entries.chunks(entries_max.max(1));
    let bodies = requests.map(|metadata| {
        let request = WriteRequest {
            timeseries: Vec::new(),
            metadata: metadata.to_vec(),
        };
        Metadata {
            bytes: Protocol::V1.compress(&request.encode_to_vec()),
            entries: metadata.len() as u64,
        }
    });
    bodies.collect()
}

fn entry(family: &Family) -> MetricMetadata {
    let kind = match family.kind {
        MetricKind::Counter => MetricType::Counter,
        MetricKind::Gauge => MetricType::Gauge,
        MetricKind::Histogram(_) => MetricType::Histogram,
    };
    MetricMetadata {
        r#type: kind.into(),
        metric_family_name: family.name.to_string(),
        help: family.help.to_owned(),
        unit: family.unit().to_owned(),
    }
}
