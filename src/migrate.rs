//! Converts the command line and environment of another exporter into a celeriac configuration.
//!
//! [`options`] parses the options as that exporter does, one file per exporter maps them to
//! configuration keys, and [`draft`] builds the resulting file. Options without a counterpart are
//! listed at its top, so that nobody has to compare. The options are those of celery-exporter 0.12,
//! celery-prometheus-exporter 1.7, OvalMoney's celery-exporter 1.5 and Flower 2.2, read from their
//! sources.

mod draft;
mod options;
mod transport;

mod celery_exporter;
mod celery_prometheus_exporter;
mod flower;
mod ovalmoney;

use std::path::Path;

use self::draft::Draft;
use self::options::Given;
use crate::config::{Config, LoadError};

/// The exporter whose command line is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Exporter {
    CeleryExporter,
    CeleryPrometheusExporter,
    Ovalmoney,
    Flower,
}

impl Exporter {
    /// Its name, which is also the name of the profile.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CeleryExporter => "celery-exporter",
            Self::CeleryPrometheusExporter => "celery-prometheus-exporter",
            Self::Ovalmoney => "ovalmoney",
            Self::Flower => "flower",
        }
    }
}

/// Returns the file in YAML, or all problems of the options.
///
/// `environment` returns the value of a variable.
pub fn migrate(
    exporter: Exporter,
    arguments: &[String],
    environment: impl Fn(&str) -> Option<String>,
) -> Result<String, Vec<String>> {
    let options = match exporter {
        Exporter::CeleryExporter => celery_exporter::OPTIONS,
        Exporter::CeleryPrometheusExporter => celery_prometheus_exporter::OPTIONS,
        Exporter::Ovalmoney => ovalmoney::OPTIONS,
        Exporter::Flower => flower::OPTIONS,
    };
    let mut given = Given::read(options, arguments, environment)?;
    let mut draft = Draft::new(exporter.name());
    match exporter {
        Exporter::CeleryExporter => celery_exporter::convert(&mut given, &mut draft),
        Exporter::CeleryPrometheusExporter => {
            celery_prometheus_exporter::convert(&mut given, &mut draft);
        }
        Exporter::Ovalmoney => ovalmoney::convert(&mut given, &mut draft),
        Exporter::Flower => flower::convert(&mut given, &mut draft),
    }
    let text = draft.finish()?;
    match Config::parse(&text, Path::new("made.yaml"), []) {
        Ok(_) => Ok(text),
        Err(LoadError::Problems(_, problems)) => {
            Err(problems.iter().map(ToString::to_string).collect())
        }
        Err(error) => Err(vec![error.to_string()]),
    }
}

#[cfg(test)]
mod tests;
