//! Parses remote-write requests without sharing any code with the sender.
//!
//! In: the body of a request. Out: plain structs, one set for both versions. The parsers for snappy's block format,
//! protobuf's wire format and the fields are handwritten, so that mistakes in the sender's libraries and in its
//! encoder are detected. Field numbers come from the two remote-write specifications and, where 1.0 is silent, from
//! Prometheus' `prompb`.

pub mod encode;
pub mod fields;
pub mod histogram;
pub mod snappy;
pub mod v1;
pub mod v2;
pub mod zstd;

pub use histogram::Histogram;

/// Why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Invalid protobuf: truncated, a bad wire type, or text that is not UTF-8.
    Broken(String),
    /// A field that the message does not have, or that is reserved.
    Foreign(String),
}

pub type Labels = Vec<(String, String)>;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    pub value: f64,
    pub timestamp: i64,
    /// 2.0 only; 0 is unset.
    pub start: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exemplar {
    pub labels: Labels,
    pub value: f64,
    pub timestamp: i64,
}

/// The type, help and unit of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub kind: u64,
    pub help: String,
    pub unit: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    pub labels: Labels,
    pub samples: Vec<Sample>,
    pub histograms: Vec<Histogram>,
    pub exemplars: Vec<Exemplar>,
    /// 2.0 only.
    pub metadata: Option<Metadata>,
    /// Field 6 of 2.0's drafts.
    pub created: i64,
}

/// The names of the metric types, by number.
pub const KINDS: [&str; 8] = [
    "Unknown",
    "Counter",
    "Gauge",
    "Histogram",
    "Gaugehistogram",
    "Summary",
    "Info",
    "Stateset",
];

impl Series {
    /// `name{label="value",…}`.
    pub fn key(&self) -> String {
        let labels = self.labels.iter().filter(|(name, _)| name != "__name__");
        let labels: Vec<_> = labels
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        format!("{}{{{}}}", self.name(), labels.join(","))
    }

    pub fn name(&self) -> &str {
        let name = self.labels.iter().find(|(name, _)| name == "__name__");
        name.map_or("", |(_, value)| value)
    }
}
