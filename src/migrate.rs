//! The command line and environment of another exporter to a configuration of ours.
//!
//! [`options`] reads what was typed as that exporter reads it, one file for each exporter says what of it becomes which
//! key of ours, and [`draft`] is the file that comes out. What has no counterpart is named in it, so that nobody has to
//! compare. Options are those of celery-exporter 0.12, celery-prometheus-exporter 1.7, OvalMoney's celery-exporter 1.5
//! and Flower 2.2, read from their sources.

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

/// Whose command line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Exporter {
    CeleryExporter,
    CeleryPrometheusExporter,
    Ovalmoney,
    Flower,
}

impl Exporter {
    /// Its name, which is that of the profile too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CeleryExporter => "celery-exporter",
            Self::CeleryPrometheusExporter => "celery-prometheus-exporter",
            Self::Ovalmoney => "ovalmoney",
            Self::Flower => "flower",
        }
    }
}

/// The file, in YAML; or all that is wrong with what was given.
///
/// `environment` gives the value of a variable.
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
        Exporter::CeleryExporter => celery_exporter::take(&mut given, &mut draft),
        Exporter::CeleryPrometheusExporter => {
            celery_prometheus_exporter::take(&mut given, &mut draft);
        }
        Exporter::Ovalmoney => ovalmoney::take(&mut given, &mut draft),
        Exporter::Flower => flower::take(&mut given, &mut draft),
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
