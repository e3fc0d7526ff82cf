//! Remote write 1.0: snapshots as requests.
//!
//! The labels of a series never change, so each is kept in its encoded form; a request is then copying plus a
//! sample. What comes out is byte for byte what `prost` writes for the same message (a test holds that), at a
//! fiftieth of the time.
//!
//! What a sink has seen before is known here, by series: one that is new is preceded by a zero, one that is
//! gone is ended by a stale marker. So a sink that missed a snapshot says everything all the same.
//!
//! Source: "Prometheus Remote-Write 1.0 specification" (PRW 1.0).

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::proto::v1::{MetricMetadata, WriteRequest, metric_metadata::MetricType};
use super::value::le;
use super::{Body, Content};
use crate::series::{Family, MetricKind, Row, Snapshot, Value};
use crate::timestamp::Timestamp;

/// PRW 1.0, "Stale Markers": this NaN, bit for bit.
const STALE_MARKER: u64 = 0x7ff0_0000_0000_0002;

/// Field 1 of `WriteRequest`, length-delimited: a series.
const TAG_SERIES: u8 = 0x0a;
/// Field 2 of `TimeSeries`, length-delimited: a sample.
const TAG_SAMPLE: u8 = 0x12;
/// Field 1 of `TimeSeries` and of `Label`, and field 2 of `Label`, length-delimited.
const TAG_LABEL: u8 = 0x0a;
const TAG_NAME: u8 = 0x0a;
const TAG_VALUE: u8 = 0x12;

/// Writes the requests of one sink.
#[derive(Debug)]
pub struct Encoder {
    external: Vec<(String, String)>,
    samples_max: usize,
    /// What was sent before, by the slot of the series.
    known: Vec<Option<Known>>,
    request: Request,
}

/// A series that this sink has seen.
#[derive(Debug)]
struct Known {
    serial: u64,
    /// The newest snapshot that it was in.
    seen: u64,
    labels: EncodedLabels,
}

/// The labels of each time series that one of ours is on the wire (a histogram is several), encoded, end to end.
#[derive(Debug, PartialEq, Eq, Hash, Clone)]
struct EncodedLabels {
    bytes: Box<[u8]>,
    ends: Box<[u32]>,
}

/// A request that is being put together.
#[derive(Debug, Default)]
struct Request {
    bytes: Vec<u8>,
    samples: usize,
    newest: Timestamp,
    bodies: Vec<Body>,
}

impl Encoder {
    /// An encoder for requests of at most `samples_max` samples, whose series all carry `external` labels. A
    /// label that a series has itself is not overridden, as in Prometheus.
    pub fn new(external: Vec<(String, String)>, samples_max: usize) -> Self {
        Self {
            external,
            samples_max,
            known: Vec::new(),
            request: Request::default(),
        }
    }

    /// All series of a snapshot, in requests of bounded size. The parts of one histogram stay together.
    pub fn snapshot(&mut self, snapshot: &Snapshot) -> Vec<Body> {
        let mut ended = Vec::new();
        let mut begun = HashSet::new();
        for row in &snapshot.rows {
            let slot = row.slot as usize;
            if self.known.len() <= slot {
                self.known.resize_with(slot + 1, || None);
            }
            let is_known = self.known[slot]
                .as_ref()
                .is_some_and(|known| known.serial == row.info.serial);
            if !is_known {
                let labels = encode_labels(snapshot.family(row), row, &self.external);
                begun.insert(labels.clone());
                let known = Known {
                    serial: row.info.serial,
                    seen: snapshot.number,
                    labels,
                };
                ended.extend(self.known[slot].replace(known));
            }
            let Some(known) = &mut self.known[slot] else {
                continue;
            };
            known.seen = snapshot.number;
            let kind = &snapshot.family(row).kind;
            // The first increment counts: a zero before the first value. Behind the snapshot before the one
            // that the series came with, because it was not there then.
            let zero = (!is_known && *kind != MetricKind::Gauge)
                .then(|| Timestamp::from_millis(row.info.after.millis() + 1));
            self.request
                .reserve(row.value.samples() * 2, self.samples_max);
            self.request.row(&known.labels, row, zero, snapshot.at);
        }
        for known in &mut self.known {
            if known
                .as_ref()
                .is_some_and(|known| known.seen != snapshot.number)
            {
                ended.extend(known.take());
            }
        }
        // One that came back under the same labels goes on: a marker would take the time of its new value.
        ended.retain(|known| !begun.contains(&known.labels));
        self.stale(&ended, snapshot.at)
    }

    /// Ends every series that was sent, one millisecond after the newest sample.
    pub fn end(&mut self, newest: Timestamp) -> Vec<Body> {
        let ended: Vec<_> = mem::take(&mut self.known).into_iter().flatten().collect();
        self.stale(&ended, Timestamp::from_millis(newest.millis() + 1))
    }

    fn stale(&mut self, ended: &[Known], at: Timestamp) -> Vec<Body> {
        for known in ended {
            self.request
                .reserve(known.labels.ends.len(), self.samples_max);
            for labels in known.labels.iter() {
                self.request
                    .series(labels, None, f64::from_bits(STALE_MARKER), at);
            }
        }
        self.request.flush();
        mem::take(&mut self.request.bodies)
    }
}

/// Type, help and unit of every family of a snapshot, in requests of their own, as Prometheus sends them.
pub fn metadata(snapshot: &Snapshot, entries_max: usize) -> Vec<Body> {
    let entries: Vec<_> = snapshot.families.iter().map(entry).collect();
    let requests = entries.chunks(entries_max.max(1));
    let bodies = requests.map(|metadata| {
        let request = WriteRequest {
            timeseries: Vec::new(),
            metadata: metadata.to_vec(),
        };
        Body {
            bytes: compress(&request.encode_to_vec()),
            content: Content::Metadata,
            count: metadata.len() as u64,
            newest: snapshot.at,
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

impl Request {
    /// Begins another request where this one has no room for so many more samples.
    fn reserve(&mut self, samples: usize, samples_max: usize) {
        if self.samples > 0 && self.samples + samples > samples_max {
            self.flush();
        }
    }

    fn row(&mut self, labels: &EncodedLabels, row: &Row, zero: Option<Timestamp>, at: Timestamp) {
        match &row.value {
            Value::Number(number) => {
                for labels in labels.iter() {
                    self.series(labels, zero, *number, at);
                }
            }
            Value::Histogram(histogram) => {
                let mut values: Vec<f64> = histogram.cumulative().collect();
                let count = values.last().copied().unwrap_or_default();
                values.extend([histogram.sum, count]);
                for (labels, value) in labels.iter().zip(values) {
                    self.series(labels, zero, value, at);
                }
            }
        }
    }

    /// One `TimeSeries`: its labels, a zero where it is new, and a sample.
    fn series(&mut self, labels: &[u8], zero: Option<Timestamp>, value: f64, at: Timestamp) {
        let sizes = zero
            .map(|zero| sample_len(0.0, zero))
            .into_iter()
            .chain([sample_len(value, at)]);
        let length = labels.len() + sizes.map(|size| 2 + size).sum::<usize>();
        self.bytes.push(TAG_SERIES);
        encode_varint(length as u64, &mut self.bytes);
        self.bytes.extend_from_slice(labels);
        if let Some(zero) = zero {
            self.sample(0.0, zero);
        }
        // PRW 1.0, "Ordering": the samples of a series go in the order of their timestamps.
        self.sample(value, at);
        self.newest = self.newest.max(at);
    }

    fn sample(&mut self, value: f64, at: Timestamp) {
        let length = u8::try_from(sample_len(value, at)).expect("a sample takes 20 bytes at most");
        self.bytes.extend([TAG_SAMPLE, length]);
        // As every proto3 encoder: what is zero is left out.
        if value != 0.0 {
            self.bytes.push(0x09);
            self.bytes.extend(value.to_bits().to_le_bytes());
        }
        if at.millis() != 0 {
            self.bytes.push(0x10);
            encode_varint(wire_millis(at), &mut self.bytes);
        }
        self.samples += 1;
    }

    fn flush(&mut self) {
        if self.samples == 0 {
            return;
        }
        self.bodies.push(Body {
            bytes: compress(&self.bytes),
            content: Content::Samples,
            count: self.samples as u64,
            newest: self.newest,
        });
        self.bytes.clear();
        self.samples = 0;
    }
}

fn sample_len(value: f64, at: Timestamp) -> usize {
    let value = if value == 0.0 { 0 } else { 9 };
    let millis = if at.millis() == 0 {
        0
    } else {
        1 + encoded_len_varint(wire_millis(at))
    };
    value + millis
}

#[expect(
    clippy::cast_sign_loss,
    reason = "protobuf writes an int64 as its two's complement"
)]
const fn wire_millis(at: Timestamp) -> u64 {
    at.millis() as u64
}

/// PRW 1.0, "Protocol": snappy's block format. The framed one must not be used.
fn compress(bytes: &[u8]) -> Bytes {
    let compressed = snap::raw::Encoder::new().compress_vec(bytes);
    compressed
        .expect("a request is far below snappy's limit of 4 GiB")
        .into()
}

/// The labels of each time series that a row is on the wire, in the order of its samples.
fn encode_labels(family: &Family, row: &Row, external: &[(String, String)]) -> EncodedLabels {
    let name = |suffix: &str| -> Arc<str> { format!("{}{suffix}", family.name).into() };
    let own = |name: Arc<str>, le: Option<f64>| {
        let mut bytes = Vec::new();
        label_block(
            &mut bytes,
            row,
            &name,
            le.map(self::le).as_deref(),
            external,
        );
        bytes
    };
    let blocks: Vec<Vec<u8>> = match &row.value {
        Value::Number(_) => vec![own(name(""), None)],
        Value::Histogram(histogram) => {
            let bounds = histogram
                .buckets
                .bounds()
                .iter()
                .copied()
                .chain([f64::INFINITY]);
            let buckets = bounds.map(|bound| own(name("_bucket"), Some(bound)));
            buckets
                .chain([own(name("_sum"), None), own(name("_count"), None)])
                .collect()
        }
    };
    let mut ends = Vec::with_capacity(blocks.len());
    let mut bytes = Vec::new();
    for block in blocks {
        bytes.extend(block);
        ends.push(u32::try_from(bytes.len()).expect("labels are bounded"));
    }
    EncodedLabels {
        bytes: bytes.into(),
        ends: ends.into(),
    }
}

fn label_block(
    bytes: &mut Vec<u8>,
    row: &Row,
    name: &str,
    le: Option<&str>,
    external: &[(String, String)],
) {
    let own = row
        .info
        .labels
        .iter()
        .chain(le.map(|le| ("le", le)))
        .chain([("__name__", name)]);
    let mut labels: Vec<(&str, &str)> = own.collect();
    for (name, value) in external {
        if !labels.iter().any(|(own, _)| own == name) {
            labels.push((name, value));
        }
    }
    // PRW 1.0, "Labels": sorted by name, in byte order; no name twice; none empty.
    labels.sort_unstable();
    for (name, value) in labels {
        let field = |text: &str| 1 + encoded_len_varint(text.len() as u64) + text.len();
        bytes.push(TAG_LABEL);
        encode_varint((field(name) + field(value)) as u64, bytes);
        for (tag, text) in [(TAG_NAME, name), (TAG_VALUE, value)] {
            bytes.push(tag);
            encode_varint(text.len() as u64, bytes);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
}

impl EncodedLabels {
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.bytes[start as usize..end as usize])
    }
}

#[cfg(test)]
mod tests;
