//! Loads the configuration from a file, the environment and the command line.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use config::{File, FileFormat, Source, Value, ValueKind};

use super::broker::BrokerConfig;
use super::global::GlobalConfig;
use super::http::HttpConfig;
use super::limits::LimitsConfig;
use super::metrics::MetricsConfig;
use super::problem::Problem;
use super::pushgateway::PushgatewayConfig;
use super::reference::{KeyReference, Reference};
use super::section::{Reading, Section};
use super::shown::Shown;
use super::sink::RemoteWriteConfig;
use super::value::{ENVIRONMENT, found};
use super::yaml;
use crate::regular_file;

/// Maximum size of a file, which is also that of a ConfigMap. Typical files have a few hundred
/// lines.
const BYTES_MAX: usize = 1 << 20;

/// Prefix of variables that override keys, and the separator between two keys.
const PREFIX: &str = "CELERIAC__";
const SEPARATOR: &str = "__";

/// Maximum depth of a key in a variable; no key is that deep.
const OVERRIDE_DEPTH_MAX: usize = 8;

/// The whole configuration of the daemon.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder for state that survives restarts; `None`: in memory only.
    pub data_dir: Option<PathBuf>,
    pub global: GlobalConfig,
    pub limits: LimitsConfig,
    /// At least one.
    pub brokers: Vec<BrokerConfig>,
    pub metrics: MetricsConfig,
    pub remote_write: Vec<RemoteWriteConfig>,
    pub pushgateway: Vec<PushgatewayConfig>,
    pub http: Option<HttpConfig>,
    /// The effective configuration for display.
    pub shown: Shown,
}

/// Command-line flags that replace a file.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub broker: Option<String>,
    /// Whether to turn on task events on workers that send none.
    pub enable_events: bool,
    pub remote_write: Option<String>,
    pub pushgateway: Option<String>,
    pub listen: Option<String>,
}

/// Why a configuration cannot be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The file cannot be read.
    Read(PathBuf, io::Error),
    /// The file name does not determine the format.
    Format(PathBuf),
    /// Not valid YAML or TOML.
    Syntax(PathBuf, String),
    /// All problems of the configuration.
    Problems(String, Vec<Problem>),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Format(path) => {
                write!(
                    f,
                    "{}: expected a file name that ends in .yaml, .yml or .toml",
                    path.display()
                )
            }
            Self::Syntax(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Problems(source, problems) => {
                for (at, problem) in problems.iter().enumerate() {
                    let end = if at + 1 < problems.len() { "\n" } else { "" };
                    write!(f, "{source}: {problem}{end}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for LoadError {}

impl Config {
    /// Returns the URLs of all receivers and gateways, without credentials.
    pub fn push_targets(&self) -> Vec<String> {
        let sinks = self.remote_write.iter().map(RemoteWriteConfig::shown_url);
        let gateways = self.pushgateway.iter().map(PushgatewayConfig::shown_url);
        sinks.chain(gateways).collect()
    }

    /// Loads a file or pipe, with overrides from the process' environment.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let failed = |error| LoadError::Read(path.into(), error);
        let file = std::fs::File::open(path).map_err(failed)?;
        let bytes = regular_file::read_to_end(file, BYTES_MAX).map_err(failed)?;
        let text = decode(bytes).map_err(failed)?;
        Self::parse(&text, path, std::env::vars_os())
    }

    /// Builds a configuration from the command line.
    pub fn from_flags(flags: &Flags) -> Result<Self, LoadError> {
        let text = |text: &str| Value::new(None, ValueKind::String(text.to_owned()));
        let table = |entries: Vec<(&str, Value)>| {
            let entries = entries.into_iter();
            let entries = entries.map(|(key, value)| (key.to_owned(), value));
            Value::new(None, ValueKind::Table(entries.collect()))
        };
        let list = |item: Value| Value::new(None, ValueKind::Array(vec![item]));
        let url = |url: &String| list(table(vec![("url", text(url))]));
        let broker = |url: &String| {
            let enable_events = Value::new(None, ValueKind::Boolean(flags.enable_events));
            list(table(vec![
                ("url", text(url)),
                ("enable_events", enable_events),
            ]))
        };
        let listen = |address: &String| table(vec![("listen", text(address))]);
        let entries = [
            ("brokers", flags.broker.as_ref().map(broker)),
            ("remote_write", flags.remote_write.as_ref().map(url)),
            ("pushgateway", flags.pushgateway.as_ref().map(url)),
            ("http", flags.listen.as_ref().map(listen)),
        ];
        let given = entries
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        let root = table(given.collect());
        Self::check(root, "command line", std::env::vars_os()).map_err(name_flags)
    }

    /// Parses the text of a file, with overrides from an environment.
    pub fn parse(
        text: &str,
        path: &Path,
        environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Self, LoadError> {
        let format = match path.extension().and_then(|ending| ending.to_str()) {
            Some("yaml" | "yml") => FileFormat::Yaml,
            Some("toml") => FileFormat::Toml,
            _ => return Err(LoadError::Format(path.into())),
        };
        let wrong = |what: String| LoadError::Syntax(path.into(), what);
        let read = if format == FileFormat::Yaml {
            yaml::load(text).map_err(wrong)?
        } else {
            let file = File::from_str(text, format).collect();
            Value::from(file.map_err(|error| wrong(error.to_string()))?)
        };
        let found = found(&read);
        let mut root = match (read.kind, found) {
            (ValueKind::Table(root), _) => root,
            (ValueKind::Nil, _) => config::Map::new(),
            (_, found) => return Err(wrong(format!("expected a map of keys, found {found}"))),
        };
        let environment = texts(environment);
        for (name, value) in &environment {
            if let Some(key) = name.strip_prefix(PREFIX) {
                set(&mut root, &key.to_lowercase(), value);
            }
        }
        let root = Value::new(None, ValueKind::Table(root));
        Self::check_in(root, &path.display().to_string(), environment)
    }

    fn check(
        root: Value,
        source: &str,
        environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Self, LoadError> {
        Self::check_in(root, source, texts(environment))
    }

    fn check_in(
        root: Value,
        source: &str,
        mut environment: BTreeMap<String, String>,
    ) -> Result<Self, LoadError> {
        let hostname = hostname(&environment);
        // Shells set it but usually don't export it.
        environment.insert("HOSTNAME".to_owned(), hostname.clone());
        let mut reading = Reading {
            environment,
            ..Reading::default()
        };
        let (config, shown) =
            Section::read_root(&mut reading, root, |root| Self::read(root, &hostname));
        if reading.problems.is_empty() {
            Ok(Self { shown, ..config })
        } else {
            Err(LoadError::Problems(source.to_owned(), reading.problems))
        }
    }

    /// Returns all keys in the order in which they are read.
    pub fn reference() -> Vec<KeyReference> {
        let mut reading = Reading {
            asked: Some(Reference::default()),
            ..Reading::default()
        };
        let root = Value::new(None, ValueKind::Table(config::Map::new()));
        Section::read_root(&mut reading, root, |root| Self::read(root, "${HOSTNAME}"));
        reading.asked.map_or_else(Vec::new, Reference::into_keys)
    }

    fn read(root: &mut Section<'_>, hostname: &str) -> Self {
        let data_dir = root.optional_text("data_dir").map(PathBuf::from);
        let global = root.section("global", |section| GlobalConfig::read(section, hostname));
        let limits = root.section("limits", LimitsConfig::read);
        let brokers: Vec<_> = root.sections("brokers", BrokerConfig::read);
        let metrics = root.section("metrics", MetricsConfig::read);
        let mut remote_write: Vec<_> = root.sections("remote_write", RemoteWriteConfig::read);
        name_apart(root, &mut remote_write);
        let pushgateway: Vec<_> = root.sections("pushgateway", |section| {
            PushgatewayConfig::read(section, &global.external_labels)
        });
        let http = root.optional_section("http", HttpConfig::read);
        for (at, broker) in brokers.iter().enumerate() {
            let waits = broker
                .as_ref()
                .is_some_and(BrokerConfig::waits_for_checkpoints);
            if waits && data_dir.is_none() {
                root.problem(
                    &format!("brokers[{at}].delivery"),
                    "requires `data_dir`: events must be on disk before the broker deletes them",
                );
            }
        }
        if brokers.is_empty() {
            root.problem(
                "brokers",
                "is missing; at least one broker with a `url` is required",
            );
        }
        if remote_write.is_empty() && pushgateway.is_empty() && http.is_none() {
            root.problem(
                "remote_write",
                "is missing, and so are `pushgateway` and `http`; at least one of them is required",
            );
        }
        let names: Vec<_> = brokers
            .iter()
            .flatten()
            .map(|broker| broker.name.as_deref())
            .collect();
        if brokers.len() > 1 && names.contains(&None) {
            root.problem(
                "brokers",
                "there is more than one, so each requires a `name`",
            );
        }
        unique(root, "brokers", names.into_iter().flatten());
        let names = remote_write.iter().flatten().map(|sink| sink.name.as_str());
        unique(root, "remote_write", names);
        let names = pushgateway.iter().flatten().map(|sink| sink.name.as_str());
        unique(root, "pushgateway", names);
        PushgatewayConfig::refuse_same_group(root, &pushgateway);
        Self {
            data_dir,
            global,
            limits,
            brokers: brokers.into_iter().flatten().collect(),
            metrics,
            remote_write: remote_write.into_iter().flatten().collect(),
            pushgateway: pushgateway.into_iter().flatten().collect(),
            http: http.flatten(),
            shown: Shown::Null,
        }
    }
}

/// Replaces the keys in the problems of flags by the names of the flags.
fn name_flags(error: LoadError) -> LoadError {
    const FLAGS: [(&str, &str); 4] = [
        ("brokers[0].url", "--broker"),
        ("remote_write[0].url", "--remote-write"),
        ("pushgateway[0].url", "--pushgateway"),
        ("http.listen", "--listen"),
    ];
    let LoadError::Problems(source, mut problems) = error else {
        return error;
    };
    for problem in &mut problems {
        if let Some((_, flag)) = FLAGS.iter().find(|(key, _)| problem.key == *key) {
            (*flag).clone_into(&mut problem.key);
        }
    }
    LoadError::Problems(source, problems)
}

/// Decodes a file in UTF-8, or in UTF-16 with a byte order mark, as editors on Windows save it.
fn decode(bytes: Vec<u8>) -> io::Result<String> {
    let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
    let units = |from: fn([u8; 2]) -> u16| {
        bytes[2..]
            .chunks(2)
            .map(move |pair| pair.try_into().map_or(0xfffd, from))
    };
    let units: Vec<u16> = match bytes.get(..2) {
        Some([0xff, 0xfe]) => units(u16::from_le_bytes).collect(),
        Some([0xfe, 0xff]) => units(u16::from_be_bytes).collect(),
        Some(_) | None => {
            return String::from_utf8(bytes).map_err(|error| invalid(error.to_string()));
        }
    };
    String::from_utf16(&units).map_err(|error| invalid(error.to_string()))
}

/// Sets the key that an environment variable names, replacing any existing value.
fn set(root: &mut config::Map<String, Value>, key: &str, value: &str) {
    let mut table = root;
    let mut keys = key.splitn(OVERRIDE_DEPTH_MAX, SEPARATOR).peekable();
    while let Some(key) = keys.next() {
        let entry = table.entry(key.to_owned());
        let nothing = Value::new(None, ValueKind::Nil);
        let found = entry.or_insert(nothing);
        if keys.peek().is_none() {
            *found = Value::new(Some(&ENVIRONMENT.to_owned()), value);
            return;
        }
        if !matches!(found.kind, ValueKind::Table(_)) {
            found.kind = ValueKind::Table(config::Map::new());
        }
        let ValueKind::Table(below) = &mut found.kind else {
            return;
        };
        table = below;
    }
}

/// Gives receivers without a name different ones if they are at the same host.
fn name_apart(root: &mut Section<'_>, sinks: &mut [Option<RemoteWriteConfig>]) {
    let unnamed = sinks.iter().flatten().filter(|sink| sink.is_unnamed);
    let names: Vec<_> = unnamed.map(|sink| sink.name.clone()).collect();
    for (at, sink) in sinks.iter_mut().enumerate() {
        let Some(sink) = sink.as_mut().filter(|sink| sink.is_unnamed) else {
            continue;
        };
        if names.iter().filter(|name| **name == sink.name).count() > 1 {
            sink.name = format!("{}-{}", sink.name, sink.fingerprint());
            root.amend("remote_write", at, "name", Shown::Text(sink.name.clone()));
        }
    }
}

fn unique<'a>(root: &mut Section<'_>, key: &str, names: impl Iterator<Item = &'a str>) {
    let mut seen = Vec::new();
    for name in names {
        if seen.contains(&name) {
            root.problem(
                key,
                format!("two entries have the name `{name}`; give each its own `name`"),
            );
        }
        seen.push(name);
    }
}

/// Converts an environment, skipping names and values that are not UTF-8.
fn texts(
    environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> BTreeMap<String, String> {
    let pairs = environment.into_iter();
    pairs
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn hostname(environment: &BTreeMap<String, String>) -> String {
    let named = environment
        .get("HOSTNAME")
        .filter(|name| !name.is_empty())
        .cloned();
    let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = named.or_else(kernel).map(|name| name.trim().to_owned());
    name.unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests;
