//! A request that was refused, in two: to find out what of it is at fault.

use bytes::Bytes;
use prost::Message;

use super::body::compress;
use super::proto::{v1, v2};
use super::transcode::{Table, read};
use super::{Body, Protocol, Unreadable};
use crate::counts::Counts;
use crate::timestamp::Timestamp;

/// What a body is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halves {
    /// Two bodies with half of the series each.
    Series(Body, Body),
    /// Two bodies of the same series: the older values, and the newer.
    Values(Body, Body),
    /// One value, and its series as text. With exemplars, the same without them: they may be what is refused.
    One {
        series: String,
        without_exemplars: Option<Body>,
    },
}

/// Takes a body apart: by series, and one series by its values, from the oldest on.
pub fn split(body: &Body) -> Result<Halves, Unreadable> {
    match body.protocol {
        Protocol::V1 => {
            let request: v1::WriteRequest = read(&body.bytes)?;
            halves(request.timeseries)
        }
        Protocol::V2 => {
            let request: v2::Request = read(&body.bytes)?;
            let symbols = request.symbols;
            let series = request.timeseries.into_iter().map(|series| Series2 {
                symbols: &symbols,
                series,
            });
            halves(series.collect())
        }
    }
}

/// A time series of either version.
trait TimeSeries: Sized + Clone {
    fn counts(&self) -> Counts;
    /// The times of its values.
    fn times(&self) -> impl Iterator<Item = i64>;
    /// Its first values, so many, and the rest, which keeps the exemplars.
    fn cut(self, values: usize) -> (Self, Self);
    fn drop_exemplars(&mut self);
    fn show(&self) -> String;
    /// The body of a request, compressed.
    fn encode(all: &[Self]) -> Result<Bytes, Unreadable>;
    const PROTOCOL: Protocol;
}

fn halves<T: TimeSeries>(mut series: Vec<T>) -> Result<Halves, Unreadable> {
    if series.len() > 1 {
        let second = series.split_off(series.len() / 2);
        return Ok(Halves::Series(body(&series)?, body(&second)?));
    }
    let one = series.pop().ok_or(Unreadable)?;
    let values = one.times().count();
    if values > 1 {
        let (first, second) = one.cut(values / 2);
        return Ok(Halves::Values(body(&[first])?, body(&[second])?));
    }
    let text = one.show();
    let mut bare = one;
    let without_exemplars = if bare.counts().exemplars == 0 {
        None
    } else {
        bare.drop_exemplars();
        Some(body(&[bare])?)
    };
    Ok(Halves::One {
        series: text,
        without_exemplars,
    })
}

fn body<T: TimeSeries>(series: &[T]) -> Result<Body, Unreadable> {
    let times = || series.iter().flat_map(T::times);
    Ok(Body {
        protocol: T::PROTOCOL,
        bytes: T::encode(series)?,
        counts: series.iter().map(T::counts).sum(),
        oldest: Timestamp::from_millis(times().min().ok_or(Unreadable)?),
        newest: Timestamp::from_millis(times().max().ok_or(Unreadable)?),
    })
}

fn counts(samples: usize, histograms: usize, exemplars: usize) -> Counts {
    Counts {
        samples: samples as u64,
        histograms: histograms as u64,
        exemplars: exemplars as u64,
    }
}

/// As Prometheus shows a series: `name{label="value", …}`.
fn show<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut name = "";
    let mut others = Vec::new();
    for (label, value) in labels {
        if label == "__name__" {
            name = value;
        } else {
            others.push(format!("{label}={value:?}"));
        }
    }
    format!("{name}{{{}}}", others.join(", "))
}

impl TimeSeries for v1::TimeSeries {
    const PROTOCOL: Protocol = Protocol::V1;

    fn counts(&self) -> Counts {
        counts(
            self.samples.len(),
            self.histograms.len(),
            self.exemplars.len(),
        )
    }

    fn times(&self) -> impl Iterator<Item = i64> {
        let samples = self.samples.iter().map(|sample| sample.timestamp);
        samples.chain(self.histograms.iter().map(|histogram| histogram.timestamp))
    }

    fn cut(mut self, values: usize) -> (Self, Self) {
        let rest = Self {
            labels: self.labels.clone(),
            samples: tail(&mut self.samples, values),
            histograms: tail(&mut self.histograms, values),
            exemplars: std::mem::take(&mut self.exemplars),
        };
        (self, rest)
    }

    fn drop_exemplars(&mut self) {
        self.exemplars.clear();
    }

    fn show(&self) -> String {
        let labels = self.labels.iter();
        show(labels.map(|label| (label.name.as_str(), label.value.as_str())))
    }

    fn encode(all: &[Self]) -> Result<Bytes, Unreadable> {
        let request = v1::WriteRequest {
            timeseries: all.to_vec(),
            metadata: Vec::new(),
        };
        Ok(compress(&request.encode_to_vec()))
    }
}

/// A time series of 2.0, and the texts that it refers to.
#[derive(Clone)]
struct Series2<'a> {
    symbols: &'a [String],
    series: v2::TimeSeries,
}

impl TimeSeries for Series2<'_> {
    const PROTOCOL: Protocol = Protocol::V2;

    fn counts(&self) -> Counts {
        let series = &self.series;
        counts(
            series.samples.len(),
            series.histograms.len(),
            series.exemplars.len(),
        )
    }

    fn times(&self) -> impl Iterator<Item = i64> {
        let samples = self.series.samples.iter().map(|sample| sample.timestamp);
        let histograms = self.series.histograms.iter();
        samples.chain(histograms.map(|histogram| histogram.timestamp))
    }

    fn cut(mut self, values: usize) -> (Self, Self) {
        let first = &mut self.series;
        let rest = v2::TimeSeries {
            labels_refs: first.labels_refs.clone(),
            samples: tail(&mut first.samples, values),
            histograms: tail(&mut first.histograms, values),
            exemplars: std::mem::take(&mut first.exemplars),
            ..first.clone()
        };
        let rest = Self {
            series: rest,
            ..self
        };
        (self, rest)
    }

    fn drop_exemplars(&mut self) {
        self.series.exemplars.clear();
    }

    fn show(&self) -> String {
        let text = |at: u32| self.symbols.get(at as usize).map_or("", String::as_str);
        let pairs = self.series.labels_refs.chunks_exact(2);
        show(pairs.map(|pair| (text(pair[0]), text(pair[1]))))
    }

    fn encode(all: &[Self]) -> Result<Bytes, Unreadable> {
        let Some(first) = all.first() else {
            return Err(Unreadable);
        };
        // PRW 2.0, "Symbols": what no series uses is left out.
        let mut table = Table::new(first.symbols);
        let mut timeseries = Vec::with_capacity(all.len());
        for Self { series, .. } in all {
            let mut series = series.clone();
            let exemplars = series.exemplars.iter_mut();
            let refs = exemplars.flat_map(|exemplar| &mut exemplar.labels_refs);
            let metadata = series.metadata.iter_mut();
            let meta = metadata.flat_map(|meta| [&mut meta.help_ref, &mut meta.unit_ref]);
            for at in series.labels_refs.iter_mut().chain(refs).chain(meta) {
                *at = table.place(*at)?;
            }
            timeseries.push(series);
        }
        let request = v2::Request {
            symbols: table.symbols,
            timeseries,
        };
        Ok(compress(&request.encode_to_vec()))
    }
}

/// What stands behind the first so many.
fn tail<T>(values: &mut Vec<T>, first: usize) -> Vec<T> {
    values.split_off(first.min(values.len()))
}

#[cfg(test)]
mod tests;
