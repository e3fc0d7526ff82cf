//! Remote write 1.0: `prometheus.WriteRequest`, with the extensions that Prometheus sends.

use super::fields::fields;
use super::{Exemplar, Histogram, Metadata, Sample, Series, WireError};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteRequest {
    pub series: Vec<Series>,
    /// By family name.
    pub metadata: Vec<(String, Metadata)>,
}

impl WriteRequest {
    pub fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut request = Self::default();
        for field in fields("WriteRequest", bytes)? {
            match field.number {
                1 => request.series.push(series(field.bytes()?)?),
                3 => request.metadata.push(metadata(field.bytes()?)?),
                // 2 belongs to Cortex.
                _ => return Err(field.foreign()),
            }
        }
        Ok(request)
    }
}

fn metadata(bytes: &[u8]) -> Result<(String, Metadata), WireError> {
    let (mut name, mut metadata) = (String::new(), Metadata::default());
    for field in fields("MetricMetadata", bytes)? {
        match field.number {
            1 => metadata.kind = field.unsigned()?,
            2 => name = field.text()?,
            4 => metadata.help = field.text()?,
            5 => metadata.unit = field.text()?,
            _ => return Err(field.foreign()),
        }
    }
    Ok((name, metadata))
}

fn series(bytes: &[u8]) -> Result<Series, WireError> {
    let mut series = Series::default();
    for field in fields("TimeSeries", bytes)? {
        match field.number {
            1 => series.labels.push(label(field.bytes()?)?),
            2 => series.samples.push(sample(field.bytes()?)?),
            3 => series.exemplars.push(exemplar(field.bytes()?)?),
            4 => series
                .histograms
                .push(Histogram::read(field.bytes()?, None)?),
            _ => return Err(field.foreign()),
        }
    }
    Ok(series)
}

fn label(bytes: &[u8]) -> Result<(String, String), WireError> {
    let mut label = (String::new(), String::new());
    for field in fields("Label", bytes)? {
        match field.number {
            1 => label.0 = field.text()?,
            2 => label.1 = field.text()?,
            _ => return Err(field.foreign()),
        }
    }
    Ok(label)
}

fn sample(bytes: &[u8]) -> Result<Sample, WireError> {
    let mut sample = Sample::default();
    for field in fields("Sample", bytes)? {
        match field.number {
            1 => sample.value = field.double()?,
            2 => sample.timestamp = field.signed()?,
            _ => return Err(field.foreign()),
        }
    }
    Ok(sample)
}

fn exemplar(bytes: &[u8]) -> Result<Exemplar, WireError> {
    let mut exemplar = Exemplar::default();
    for field in fields("Exemplar", bytes)? {
        match field.number {
            1 => exemplar.labels.push(label(field.bytes()?)?),
            2 => exemplar.value = field.double()?,
            3 => exemplar.timestamp = field.signed()?,
            _ => return Err(field.foreign()),
        }
    }
    Ok(exemplar)
}
