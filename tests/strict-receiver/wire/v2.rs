//! Remote write 2.0-rc.4: `io.prometheus.write.v2.Request`, as encoded, and with its symbols resolved.

use super::fields::fields;
use super::{Exemplar, Histogram, Labels, Metadata, Sample, Series, WireError};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    pub symbols: Vec<String>,
    pub series: Vec<Entry>,
}

/// A `TimeSeries` as encoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    pub labels: Vec<u64>,
    pub samples: Vec<Sample>,
    pub histograms: Vec<Histogram>,
    pub exemplars: Vec<ExemplarEntry>,
    pub metadata: Option<MetadataEntry>,
    pub created: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExemplarEntry {
    pub labels: Vec<u64>,
    pub value: f64,
    pub timestamp: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetadataEntry {
    pub kind: u64,
    pub help: u64,
    pub unit: u64,
}

impl Request {
    pub fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut request = Self::default();
        for field in fields("Request", bytes)? {
            match field.number {
                4 => request.symbols.push(field.text()?),
                5 => request.series.push(entry(field.bytes()?)?),
                // 1 to 3 are the fields that a 1.0 receiver would read.
                _ => return Err(field.foreign()),
            }
        }
        Ok(request)
    }

    /// Returns every symbol reference in the message.
    pub fn references(&self) -> Vec<u64> {
        let mut all = Vec::new();
        for entry in &self.series {
            all.extend(&entry.labels);
            all.extend(entry.exemplars.iter().flat_map(|exemplar| &exemplar.labels));
            let metadata = entry.metadata.iter();
            all.extend(metadata.flat_map(|metadata| [metadata.help, metadata.unit]));
        }
        all
    }

    /// Resolves the symbols of an entry; invalid references become empty.
    pub fn resolve(&self, entry: &Entry) -> Series {
        let exemplars = entry.exemplars.iter().map(|exemplar| Exemplar {
            labels: self.labels(&exemplar.labels),
            value: exemplar.value,
            timestamp: exemplar.timestamp,
        });
        let metadata = entry.metadata.map(|metadata| Metadata {
            kind: metadata.kind,
            help: self.symbol(metadata.help),
            unit: self.symbol(metadata.unit),
        });
        Series {
            labels: self.labels(&entry.labels),
            samples: entry.samples.clone(),
            histograms: entry.histograms.clone(),
            exemplars: exemplars.collect(),
            metadata,
            created: entry.created,
        }
    }

    fn labels(&self, references: &[u64]) -> Labels {
        let (pairs, _) = references.as_chunks::<2>();
        let pairs = pairs.iter();
        pairs
            .map(|[name, value]| (self.symbol(*name), self.symbol(*value)))
            .collect()
    }

    fn symbol(&self, reference: u64) -> String {
        let index = usize::try_from(reference).unwrap_or(usize::MAX);
        self.symbols.get(index).cloned().unwrap_or_default()
    }
}

fn entry(bytes: &[u8]) -> Result<Entry, WireError> {
    let mut entry = Entry::default();
    for field in fields("TimeSeries", bytes)? {
        match field.number {
            1 => field.varints(&mut entry.labels)?,
            2 => entry.samples.push(sample(field.bytes()?)?),
            3 => {
                let histogram = Histogram::read(field.bytes()?, Some(17))?;
                entry.histograms.push(histogram);
            }
            4 => entry.exemplars.push(exemplar(field.bytes()?)?),
            5 => entry.metadata = Some(metadata(field.bytes()?)?),
            // Reserved since rc.4, but read by Prometheus 3.0 to 3.7.
            6 => entry.created = field.signed()?,
            _ => return Err(field.foreign()),
        }
    }
    Ok(entry)
}

fn sample(bytes: &[u8]) -> Result<Sample, WireError> {
    let mut sample = Sample::default();
    for field in fields("Sample", bytes)? {
        match field.number {
            1 => sample.value = field.double()?,
            2 => sample.timestamp = field.signed()?,
            3 => sample.start = field.signed()?,
            _ => return Err(field.foreign()),
        }
    }
    Ok(sample)
}

fn exemplar(bytes: &[u8]) -> Result<ExemplarEntry, WireError> {
    let mut exemplar = ExemplarEntry::default();
    for field in fields("Exemplar", bytes)? {
        match field.number {
            1 => field.varints(&mut exemplar.labels)?,
            2 => exemplar.value = field.double()?,
            3 => exemplar.timestamp = field.signed()?,
            _ => return Err(field.foreign()),
        }
    }
    Ok(exemplar)
}

fn metadata(bytes: &[u8]) -> Result<MetadataEntry, WireError> {
    let mut metadata = MetadataEntry::default();
    for field in fields("Metadata", bytes)? {
        match field.number {
            1 => metadata.kind = field.unsigned()?,
            3 => metadata.help = field.unsigned()?,
            4 => metadata.unit = field.unsigned()?,
            _ => return Err(field.foreign()),
        }
    }
    Ok(metadata)
}
