//! Splits a request into individual series, so that some of them can be sent without the others.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use prost::Message;
use xxhash_rust::xxh3::Xxh3;

use super::proto::{v1, v2};
use super::{Body, Protocol, Unreadable};
use crate::counts::Counts;
use crate::timestamp::Timestamp;

type Text = Arc<str>;

/// Identifies a series by its labels. Equal in both protocol versions and across processes.
pub type Key = u128;

/// The labels of a series, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    pub key: Key,
    pairs: Arc<[(Text, Text)]>,
}

/// A series with its values in chronological order.
#[derive(Clone, Debug)]
pub struct Series {
    pub labels: Labels,
    metadata: Option<Metadata>,
    samples: Vec<v2::Sample>,
    histograms: Vec<v2::Histogram>,
    exemplars: Vec<Exemplar>,
}

/// Metadata that 2.0 sends with a series in every request.
#[derive(Clone, Debug)]
struct Metadata {
    kind: i32,
    help: Text,
    unit: Text,
}

#[derive(Clone, Debug)]
struct Exemplar {
    labels: Vec<(Text, Text)>,
    value: f64,
    timestamp: i64,
}

impl Labels {
    fn new(mut pairs: Vec<(Text, Text)>) -> Self {
        pairs.sort();
        let mut hasher = Xxh3::new();
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            hasher.update(text.as_bytes());
            // This byte never occurs in UTF-8.
            hasher.update(&[0xff]);
        }
        Self {
            key: hasher.digest128(),
            pairs: pairs.into(),
        }
    }

    /// Creates labels from names and values in any order.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let pairs = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        Self::new(pairs.collect())
    }

    /// Like [`from_pairs`](Self::from_pairs), from borrowed strings.
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        let pairs = pairs.iter();
        Self::from_pairs(pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Returns the value of a label; empty if it is missing.
    pub fn value(&self, name: &str) -> &str {
        let mut pairs = self.iter();
        pairs
            .find(|(label, _)| *label == name)
            .map_or("", |(_, value)| value)
    }
}

/// Formats a series like Prometheus: `name{label="value", …}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{{", self.value("__name__"))?;
        let others = self.iter().filter(|(label, _)| *label != "__name__");
        for (at, (label, value)) in others.enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{label}={value:?}")?;
        }
        write!(f, "}}")
    }
}

impl Series {
    /// A series with one sample, at a time in milliseconds since the epoch.
    pub fn of_sample(labels: Labels, value: f64, timestamp: i64) -> Self {
        Self {
            labels,
            metadata: None,
            samples: vec![v2::Sample {
                value,
                timestamp,
                start_timestamp: 0,
            }],
            histograms: Vec::new(),
            exemplars: Vec::new(),
        }
    }

    /// Adds an exemplar of some task.
    #[must_use]
    pub fn with_exemplar(mut self, timestamp: i64) -> Self {
        self.exemplars.push(Exemplar {
            labels: vec![("task_id".into(), "some-id".into())],
            value: 1.0,
            timestamp,
        });
        self
    }

    pub fn counts(&self) -> Counts {
        Counts {
            samples: self.samples.len() as u64,
            histograms: self.histograms.len() as u64,
            exemplars: self.exemplars.len() as u64,
        }
    }

    /// Returns the time of the oldest value, in milliseconds since the epoch.
    pub fn oldest(&self) -> Option<i64> {
        self.times().min()
    }

    /// The times of all values, in milliseconds since the epoch.
    pub fn times(&self) -> impl Iterator<Item = i64> {
        let samples = self.samples.iter().map(|sample| sample.timestamp);
        samples.chain(self.histograms.iter().map(|histogram| histogram.timestamp))
    }

    /// Appends later values of the same series.
    pub fn append(&mut self, later: Self) {
        self.metadata = later.metadata.or_else(|| self.metadata.take());
        self.samples.extend(later.samples);
        self.histograms.extend(later.histograms);
        self.exemplars.extend(later.exemplars);
    }

    /// Removes and returns the oldest values and exemplars, `counts` of each.
    pub fn take_first(&mut self, counts: Counts) -> Self {
        fn first<T>(all: &mut Vec<T>, count: u64) -> Vec<T> {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            all.drain(..count.min(all.len())).collect()
        }
        Self {
            labels: self.labels.clone(),
            metadata: self.metadata.clone(),
            samples: first(&mut self.samples, counts.samples),
            histograms: first(&mut self.histograms, counts.histograms),
            exemplars: first(&mut self.exemplars, counts.exemplars),
        }
    }

    /// Returns the counts of the older half; `None` if there is only one value.
    fn older_half(&self) -> Option<Counts> {
        let points = self.counts().points() / 2;
        if points == 0 {
            return None;
        }
        let samples = points.min(self.samples.len() as u64);
        let mut times: Vec<_> = self.times().collect();
        times.truncate(usize::try_from(points).unwrap_or(usize::MAX));
        let newest = times.into_iter().max().unwrap_or_default();
        let is_older = |one: &&Exemplar| one.timestamp <= newest;
        Some(Counts {
            samples,
            histograms: points - samples,
            exemplars: self.exemplars.iter().take_while(is_older).count() as u64,
        })
    }

    pub fn drop_exemplars(&mut self) {
        self.exemplars.clear();
    }
}

/// Splits a request into its series.
pub fn apart(body: &Body) -> Result<Vec<Series>, Unreadable> {
    match body.protocol {
        Protocol::V1 | Protocol::V1Zstd => {
            let request: v1::WriteRequest = read(&body.bytes, body.protocol)?;
            let mut texts = Texts::default();
            request
                .timeseries
                .into_iter()
                .map(|series| from_v1(series, &mut texts))
                .collect()
        }
        Protocol::V2 => {
            let request: v2::Request = read(&body.bytes, body.protocol)?;
            let symbols: Vec<Text> = request.symbols.into_iter().map(Text::from).collect();
            request
                .timeseries
                .into_iter()
                .map(|series| from_v2(series, &symbols))
                .collect()
        }
    }
}

/// Combines series into a request, in order. There must be at least one.
pub fn together<'a>(
    series: impl IntoIterator<Item = &'a Series> + Clone,
    protocol: Protocol,
) -> Result<Body, Unreadable> {
    let all = || series.clone().into_iter();
    let times = || all().flat_map(Series::times);
    let message = match protocol {
        Protocol::V1 | Protocol::V1Zstd => v1::WriteRequest {
            timeseries: all().map(to_v1).collect::<Result<_, _>>()?,
            metadata: Vec::new(),
        }
        .encode_to_vec(),
        Protocol::V2 => {
            let mut symbols = Symbols::default();
            let timeseries = all().flat_map(|series| symbols.entries(series)).collect();
            v2::Request {
                symbols: symbols.texts,
                timeseries,
            }
            .encode_to_vec()
        }
    };
    Ok(Body {
        protocol,
        bytes: protocol.compress(&message),
        counts: all().map(Series::counts).sum(),
        oldest: Timestamp::from_millis(times().min().ok_or(Unreadable)?),
        newest: Timestamp::from_millis(times().max().ok_or(Unreadable)?),
    })
}

/// Converts a request to one that a receiver of this protocol reads. Those of 1.0 have neither
/// start timestamps nor metadata.
pub fn downgrade(body: &Body, receiver: Protocol) -> Result<Body, Unreadable> {
    if receiver.reads(body.protocol) {
        return Ok(body.clone());
    }
    match body.protocol {
        Protocol::V2 => together(&apart(body)?, receiver),
        // The message is the same.
        Protocol::V1 | Protocol::V1Zstd => Ok(Body {
            protocol: Protocol::V1,
            bytes: Protocol::V1.compress(&body.protocol.decompress(&body.bytes)?),
            ..body.clone()
        }),
    }
}

/// Splits a request by series into requests of at most `points_max` values, for a receiver of this
/// protocol. A series with more values is sent alone.
pub fn parts(body: &Body, receiver: Protocol, points_max: u64) -> Result<Vec<Body>, Unreadable> {
    let mut parts: Vec<(u64, Vec<Series>)> = Vec::new();
    for series in apart(body)? {
        let points = series.counts().points();
        match parts.last_mut() {
            Some((before, part)) if *before + points <= points_max => {
                *before += points;
                part.push(series);
            }
            _ => parts.push((points, vec![series])),
        }
    }
    if parts.is_empty() {
        return Err(Unreadable);
    }
    let parts = parts.iter();
    parts.map(|(_, part)| together(part, receiver)).collect()
}

/// Splits a request in half by series, or a single series by time. `None`: it is a single value.
pub fn halves(body: &Body) -> Result<Option<[Body; 2]>, Unreadable> {
    let mut first = apart(body)?;
    let second = if first.len() > 1 {
        first.split_off(first.len() / 2)
    } else {
        let one = first.first_mut().ok_or(Unreadable)?;
        let Some(older) = one.older_half() else {
            return Ok(None);
        };
        let older = one.take_first(older);
        vec![std::mem::replace(one, older)]
    };
    Ok(Some([
        together(&first, body.protocol)?,
        together(&second, body.protocol)?,
    ]))
}

/// Decompresses and decodes a message.
pub(super) fn read<M: Message + Default>(
    bytes: &[u8],
    protocol: Protocol,
) -> Result<M, Unreadable> {
    M::decode(protocol.decompress(bytes)?.as_slice()).map_err(|_| Unreadable)
}

/// Converts a histogram between versions, which use the same field numbers; 1.0 has no start
/// timestamp.
fn convert<M: Message + Default>(histogram: &impl Message) -> Result<M, Unreadable> {
    M::decode(histogram.encode_to_vec().as_slice()).map_err(|_| Unreadable)
}

/// Strings shared by the series of a request, each stored once.
#[derive(Default)]
struct Texts(HashMap<String, Text>);

impl Texts {
    fn pairs(&mut self, labels: Vec<v1::Label>) -> Vec<(Text, Text)> {
        let mut text = |text: String| {
            Arc::clone(
                self.0
                    .entry(text)
                    .or_insert_with_key(|text| text.as_str().into()),
            )
        };
        labels
            .into_iter()
            .map(|label| (text(label.name), text(label.value)))
            .collect()
    }
}

fn from_v1(series: v1::TimeSeries, texts: &mut Texts) -> Result<Series, Unreadable> {
    let samples = series.samples.iter().map(|sample| v2::Sample {
        value: sample.value,
        timestamp: sample.timestamp,
        start_timestamp: 0,
    });
    let exemplars = series.exemplars.into_iter().map(|exemplar| Exemplar {
        labels: texts.pairs(exemplar.labels),
        value: exemplar.value,
        timestamp: exemplar.timestamp,
    });
    Ok(Series {
        samples: samples.collect(),
        histograms: series
            .histograms
            .iter()
            .map(convert)
            .collect::<Result<_, _>>()?,
        exemplars: exemplars.collect(),
        labels: Labels::new(texts.pairs(series.labels)),
        metadata: None,
    })
}

fn from_v2(series: v2::TimeSeries, symbols: &[Text]) -> Result<Series, Unreadable> {
    let text = |at: u32| symbols.get(at as usize).cloned().ok_or(Unreadable);
    let pairs = |refs: &[u32]| {
        let pairs = refs.chunks_exact(2);
        pairs
            .map(|pair| Ok((text(pair[0])?, text(pair[1])?)))
            .collect::<Result<Vec<_>, Unreadable>>()
    };
    let exemplars = series.exemplars.iter().map(|exemplar| {
        Ok(Exemplar {
            labels: pairs(&exemplar.labels_refs)?,
            value: exemplar.value,
            timestamp: exemplar.timestamp,
        })
    });
    let metadata = series.metadata.map(|metadata| {
        Ok(Metadata {
            kind: metadata.r#type,
            help: text(metadata.help_ref)?,
            unit: text(metadata.unit_ref)?,
        })
    });
    Ok(Series {
        labels: Labels::new(pairs(&series.labels_refs)?),
        metadata: metadata.transpose()?,
        exemplars: exemplars.collect::<Result<_, Unreadable>>()?,
        samples: series.samples,
        histograms: series.histograms,
    })
}

fn to_v1(series: &Series) -> Result<v1::TimeSeries, Unreadable> {
    let labels = |pairs: &[(Text, Text)]| {
        let labels = pairs.iter().map(|(name, value)| v1::Label {
            name: (**name).to_owned(),
            value: (**value).to_owned(),
        });
        labels.collect()
    };
    let samples = series.samples.iter().map(|sample| v1::Sample {
        value: sample.value,
        timestamp: sample.timestamp,
    });
    let exemplars = series.exemplars.iter().map(|exemplar| v1::Exemplar {
        labels: labels(&exemplar.labels),
        value: exemplar.value,
        timestamp: exemplar.timestamp,
    });
    // Decoding skips the start timestamp, which 1.0 does not have.
    let histograms = series.histograms.iter().map(convert);
    Ok(v1::TimeSeries {
        labels: labels(&series.labels.pairs),
        samples: samples.collect(),
        exemplars: exemplars.collect(),
        histograms: histograms.collect::<Result<_, _>>()?,
    })
}

/// The symbol table of a request being written. PRW 2.0, "Symbols": no duplicates, and the empty
/// string first.
struct Symbols {
    texts: Vec<String>,
    places: HashMap<Text, u32>,
}

impl Default for Symbols {
    fn default() -> Self {
        Self {
            texts: vec![String::new()],
            places: HashMap::from([("".into(), 0)]),
        }
    }
}

impl Symbols {
    fn place(&mut self, text: &Text) -> u32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place =
            u32::try_from(self.texts.len()).expect("a request has far fewer symbols than 2^32");
        self.texts.push((**text).to_owned());
        self.places.insert(Arc::clone(text), place);
        place
    }

    fn refs(&mut self, pairs: &[(Text, Text)]) -> Vec<u32> {
        pairs
            .iter()
            .flat_map(|(name, value)| [name, value])
            .map(|text| self.place(text))
            .collect()
    }

    /// Returns the entries of a series: one, or two if it has both samples and histograms.
    fn entries(&mut self, series: &Series) -> Vec<v2::TimeSeries> {
        let labels_refs = self.refs(&series.labels.pairs);
        let metadata = series.metadata.as_ref().map(|metadata| v2::Metadata {
            r#type: metadata.kind,
            help_ref: self.place(&metadata.help),
            unit_ref: self.place(&metadata.unit),
        });
        let exemplars = series.exemplars.iter().map(|exemplar| v2::Exemplar {
            labels_refs: self.refs(&exemplar.labels),
            value: exemplar.value,
            timestamp: exemplar.timestamp,
        });
        let mut entry = v2::TimeSeries {
            labels_refs,
            samples: series.samples.clone(),
            histograms: series.histograms.clone(),
            exemplars: exemplars.collect(),
            metadata,
        };
        if entry.samples.is_empty() || entry.histograms.is_empty() {
            return vec![entry];
        }
        let samples = v2::TimeSeries {
            histograms: Vec::new(),
            exemplars: Vec::new(),
            ..entry.clone()
        };
        entry.samples.clear();
        vec![samples, entry]
    }
}

#[cfg(test)]
mod tests;
