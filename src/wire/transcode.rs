//! A request that was written for 2.0, for a receiver that turns out to speak 1.0.

use std::collections::HashMap;

use prost::Message;

use super::body::compress;
use super::proto::{v1, v2};
use super::{Body, Protocol, Unreadable};

/// The same series and values as 1.0. What that does not have is left out: start timestamps, and metadata, which goes
/// in requests of its own. A body of 1.0 is what it is.
pub fn to_v1(body: &Body) -> Result<Body, Unreadable> {
    if body.protocol == Protocol::V1 {
        return Ok(body.clone());
    }
    let request: v2::Request = read(&body.bytes)?;
    let text = |at: &u32| {
        let text = request.symbols.get(*at as usize);
        text.cloned().ok_or(Unreadable)
    };
    let labels = |refs: &[u32]| {
        let pairs = refs.chunks_exact(2).map(|pair| {
            Ok(v1::Label {
                name: text(&pair[0])?,
                value: text(&pair[1])?,
            })
        });
        pairs.collect::<Result<Vec<_>, Unreadable>>()
    };
    let timeseries = request.timeseries.iter().map(|series| {
        let exemplars = series.exemplars.iter().map(|exemplar| {
            Ok(v1::Exemplar {
                labels: labels(&exemplar.labels_refs)?,
                value: exemplar.value,
                timestamp: exemplar.timestamp,
            })
        });
        Ok(v1::TimeSeries {
            labels: labels(&series.labels_refs)?,
            samples: series
                .samples
                .iter()
                .map(|sample| v1::Sample {
                    value: sample.value,
                    timestamp: sample.timestamp,
                })
                .collect(),
            exemplars: exemplars.collect::<Result<Vec<_>, Unreadable>>()?,
            histograms: series.histograms.iter().map(histogram).collect(),
        })
    });
    let request = v1::WriteRequest {
        timeseries: timeseries.collect::<Result<Vec<_>, Unreadable>>()?,
        metadata: Vec::new(),
    };
    Ok(Body {
        protocol: Protocol::V1,
        bytes: compress(&request.encode_to_vec()),
        ..body.clone()
    })
}

/// A compressed message.
pub(super) fn read<M: Message + Default>(bytes: &[u8]) -> Result<M, Unreadable> {
    let raw = snap::raw::Decoder::new().decompress_vec(bytes);
    M::decode(raw.map_err(|_| Unreadable)?.as_slice()).map_err(|_| Unreadable)
}

fn histogram(histogram: &v2::Histogram) -> v1::Histogram {
    use v1::histogram::{Count, ZeroCount};
    let spans = |spans: &[v2::BucketSpan]| {
        let spans = spans.iter().map(|span| v1::BucketSpan {
            offset: span.offset,
            length: span.length,
        });
        spans.collect()
    };
    v1::Histogram {
        count: histogram.count.map(|count| match count {
            v2::histogram::Count::CountInt(count) => Count::CountInt(count),
            v2::histogram::Count::CountFloat(count) => Count::CountFloat(count),
        }),
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: histogram.zero_count.map(|count| match count {
            v2::histogram::ZeroCount::ZeroCountInt(count) => ZeroCount::ZeroCountInt(count),
            v2::histogram::ZeroCount::ZeroCountFloat(count) => ZeroCount::ZeroCountFloat(count),
        }),
        negative_spans: spans(&histogram.negative_spans),
        negative_deltas: histogram.negative_deltas.clone(),
        negative_counts: histogram.negative_counts.clone(),
        positive_spans: spans(&histogram.positive_spans),
        positive_deltas: histogram.positive_deltas.clone(),
        positive_counts: histogram.positive_counts.clone(),
        reset_hint: histogram.reset_hint,
        timestamp: histogram.timestamp,
        custom_values: histogram.custom_values.clone(),
    }
}

/// The texts of a request that some series use, each once, and their places: the empty one is the first.
#[derive(Debug)]
pub(super) struct Table<'a> {
    from: &'a [String],
    places: HashMap<u32, u32>,
    pub(super) symbols: Vec<String>,
}

impl<'a> Table<'a> {
    pub(super) fn new(from: &'a [String]) -> Self {
        Self {
            from,
            places: HashMap::from([(0, 0)]),
            symbols: vec![String::new()],
        }
    }

    /// The new place of what stood there.
    pub(super) fn place(&mut self, old: u32) -> Result<u32, Unreadable> {
        if let Some(&place) = self.places.get(&old) {
            return Ok(place);
        }
        let text = self.from.get(old as usize).ok_or(Unreadable)?;
        let place = u32::try_from(self.symbols.len()).map_err(|_| Unreadable)?;
        self.symbols.push(text.clone());
        self.places.insert(old, place);
        Ok(place)
    }
}
