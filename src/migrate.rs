//! Converts the command line and environment of another exporter into a celeriac configuration.
//!
//! [`manifest`] finds the exporter's container in a compose or Kubernetes file, [`command_line`]
//! skips the program, and [`variables`] replaces references to the environment. [`options`] parses
//! the options as that exporter does, one file per exporter maps them to configuration keys, and
//! [`draft`] builds the resulting file. Options without a counterpart are listed at its top, so
//! that nobody has to compare. The options are those of celery-exporter 0.12,
//! celery-prometheus-exporter 1.7, OvalMoney's celery-exporter 1.5, Flower 2.2 and
//! celery_redis_prometheus 2.0, read from their sources.

mod command_line;
mod draft;
mod exporter;
mod manifest;
mod options;
mod transport;
mod variables;
mod words;

mod celery;
mod celery_exporter;
mod celery_prometheus_exporter;
mod flower;
mod ovalmoney;
mod zeit;

use std::ffi::OsString;
use std::path::Path;

use self::command_line::CommandLine;
use self::draft::{Draft, GeneratedFile};
pub use self::exporter::Exporter;
use self::options::{Given, Options};
use self::variables::{ENV_FILE, Variables};
use crate::config::{Config, LoadError};

/// How an exporter is started.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The command line, with or without the program. Its options take precedence over those of
    /// the manifest.
    pub arguments: Vec<String>,
    /// The text of a compose or Kubernetes file.
    pub manifest: Option<String>,
    /// The texts of environment files. The last one takes precedence.
    pub env_files: Vec<String>,
}

/// Returns the file in YAML, or all problems of the options.
///
/// `environment` returns the value of a variable. It is not used with a manifest, which describes
/// another environment.
pub fn migrate(
    exporter: Exporter,
    input: &Input,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<String, Vec<String>> {
    let mut variables = Variables::default();
    let mut words = Vec::new();
    if let Some(text) = &input.manifest {
        let container = manifest::find(text, exporter)?;
        variables = container.variables;
        let line = CommandLine::read(exporter, &container.words);
        variables.extend(line.variables);
        words = line.options;
    }
    let line = CommandLine::read(exporter, &input.arguments);
    variables.extend(line.variables);
    words.extend(line.options);
    for text in input.env_files.iter().rev() {
        variables.add_file(text);
    }
    if !input.env_files.is_empty() {
        let is_file = |source: &String| source.starts_with(ENV_FILE);
        variables.opaque.retain(|source| !is_file(source));
    }
    for word in &mut words {
        *word = variables.resolve(word);
    }
    let mut given = Given::read(options(exporter), &words, |name| {
        let value = variables.get(name);
        let is_ours = input.manifest.is_none();
        value.or_else(|| is_ours.then(|| environment(name)).flatten())
    })?;
    given.is_partial = !variables.opaque.is_empty();
    let mut draft = Draft::new(exporter.name());
    match exporter {
        Exporter::CeleryExporter => celery_exporter::convert(&mut given, &mut draft),
        Exporter::CeleryPrometheusExporter => {
            celery_prometheus_exporter::convert(&mut given, &mut draft);
        }
        Exporter::Ovalmoney => ovalmoney::convert(&mut given, &mut draft),
        Exporter::Flower => flower::convert(&mut given, &mut draft),
        Exporter::Zeit => zeit::convert(&mut given, &mut draft),
    }
    draft.notes_of(&mut given);
    for source in &variables.opaque {
        let why = if source.starts_with(ENV_FILE) {
            "pass the file with --env-file"
        } else {
            "set those that celeriac needs"
        };
        draft.note(&format!("variables from {source}"), why);
    }
    validate(draft.finish(&variables.elsewhere)?)
}

/// Returns the text if it is a configuration, whatever its variables are.
fn validate(file: GeneratedFile) -> Result<String, Vec<String>> {
    // Accepted as any part of a URL, and as a port.
    let placeholder = |name: &str| match file.text.find(&format!("url: \"${{{name}}}")) {
        None => "1",
        Some(_) if file.text.contains(&format!("${{{name}}}://")) => "redis",
        Some(_) if file.is_tls => "rediss://h",
        Some(_) => "redis://h",
    };
    let environment = file.variables.iter();
    let environment: Vec<(OsString, OsString)> = environment
        .map(|name| (name.into(), placeholder(name).into()))
        .collect();
    match Config::parse(&file.text, Path::new("generated.yaml"), environment) {
        Ok(_) => Ok(file.text),
        Err(LoadError::Problems(_, problems)) => {
            Err(problems.iter().map(ToString::to_string).collect())
        }
        Err(error) => Err(vec![error.to_string()]),
    }
}

const fn options(exporter: Exporter) -> Options {
    match exporter {
        Exporter::CeleryExporter => &[celery_exporter::OPTIONS],
        Exporter::CeleryPrometheusExporter => &[celery_prometheus_exporter::OPTIONS],
        Exporter::Ovalmoney => &[ovalmoney::OPTIONS],
        Exporter::Flower => &[celery::OPTIONS, flower::OPTIONS],
        Exporter::Zeit => &[celery::OPTIONS, zeit::OPTIONS],
    }
}

#[cfg(test)]
mod tests;
