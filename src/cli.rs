//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand};

use crate::app::App;
use crate::config::{Config, Flags, LoadError};
use crate::demo;
use crate::doctor::doctor;
use crate::escape::printable;
use crate::migrate::{Exporter, Input, migrate};
use crate::open_files;
use crate::regular_file;
use crate::telemetry::log;

/// Exit status for a configuration that cannot be used: `EX_CONFIG` of sysexits.h.
const EX_CONFIG: u8 = 78;
/// Exit status for an invalid command line, as in clap.
const EX_USAGE: u8 = 2;

/// Read Celery's events from RabbitMQ or Redis and push them to Prometheus as metrics.
#[derive(Debug, Parser)]
#[command(
    name = "celeriac",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Log format.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    log_format: log::Format,
    /// Log level: error, warn, info, debug or trace [default: RUST_LOG, or info].
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Run(Run),
    /// Validate a configuration file.
    CheckConfig {
        /// Configuration file in YAML or TOML, depending on its extension.
        file: PathBuf,
        /// Print the effective configuration with all defaults; secrets are hidden.
        #[arg(long)]
        print: bool,
    },
    /// Test all brokers, workers and receivers, and explain what to fix; exits with 1 if anything is wrong.
    Doctor {
        /// Configuration file in YAML or TOML, depending on its extension.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// How long to listen for events.
        #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(3..=3600))]
        listen: u64,
    },
    /// Run celeriac with a simulated cluster and receiver; nothing else is needed.
    Demo(demo::Args),
    /// Convert another exporter's command line, environment or manifest into a configuration file.
    Migrate(Migrate),
    /// Print the version.
    Version,
}

#[derive(Debug, Args)]
struct Migrate {
    /// Exporter to convert from.
    exporter: Exporter,
    /// Compose file or Kubernetes manifest with the exporter's container.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// File with environment variables of the exporter, one NAME=value per line; may be repeated.
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// The exporter's command line, with or without the program.
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").args(["config", "broker"]).required(true)))]
struct Run {
    /// Configuration file in YAML or TOML, depending on its extension.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["broker", "remote_write", "pushgateway", "listen"])]
    config: Option<PathBuf>,
    /// Without --config: URL of the broker, such as amqp://user:password@host:5672/vhost or redis://host:6379/0.
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Without --config: URL to push to, such as http://prometheus:9090/api/v1/write.
    #[arg(long, value_name = "URL", requires = "broker")]
    remote_write: Option<String>,
    /// Without --config: URL of a Pushgateway, such as http://pushgateway:9091.
    #[arg(long, value_name = "URL", requires = "broker")]
    pushgateway: Option<String>,
    /// Without --config: address to serve /metrics on, such as 127.0.0.1:9808.
    #[arg(long, value_name = "ADDR", requires = "broker")]
    listen: Option<String>,
}

impl Cli {
    /// Runs the command and returns the exit status.
    pub fn run(self) -> ExitCode {
        let level = self.log_level.as_deref().or_else(|| self.command.quiet());
        log::install(self.log_format, level);
        match self.command {
            Command::Run(run) => match (run.config.clone(), run.config()) {
                (file, Ok(config)) => daemon(config, file),
                (_, Err(error)) => bad_config(&error),
            },
            Command::CheckConfig { file, print } => match Config::load(&file) {
                Ok(config) => checked(&file, &config, print),
                Err(error) => bad_config(&error),
            },
            Command::Doctor { config, listen } => match Config::load(&config) {
                Ok(config) => examined(&config, Duration::from_secs(listen)),
                Err(error) => bad_config(&error),
            },
            Command::Demo(args) => block_on(demo::run(args)).unwrap_or(ExitCode::FAILURE),
            Command::Migrate(migrate) => migrate.run(),
            Command::Version => {
                say(concat!("celeriac ", env!("CARGO_PKG_VERSION")));
                ExitCode::SUCCESS
            }
        }
    }
}

impl Command {
    /// The log level by default, if lower than usual: the doctor's report contains everything
    /// already.
    fn quiet(&self) -> Option<&'static str> {
        let is_set = std::env::var_os("RUST_LOG").is_some();
        (matches!(self, Self::Doctor { .. }) && !is_set).then_some("off")
    }
}

impl Run {
    fn config(self) -> Result<Config, LoadError> {
        match self.config {
            Some(path) => Config::load(&path),
            None => Config::from_flags(&Flags {
                broker: self.broker,
                remote_write: self.remote_write,
                pushgateway: self.pushgateway,
                listen: self.listen,
            }),
        }
    }
}

fn daemon(config: Config, file: Option<PathBuf>) -> ExitCode {
    if config.data_dir.is_none() {
        tracing::warn!(
            "data_dir is not set: counters restart at zero and a crash loses unsent samples"
        );
    }
    open_files::raise_limit();
    let ended = block_on(async {
        let app = App::build(config, file)
            .await
            .map_err(|error| error.to_string())?;
        app.run().await.map_err(|error| error.to_string())
    });
    match ended {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            tracing::error!(%error, "stopped because of an error");
            ExitCode::FAILURE
        }
        None => ExitCode::FAILURE,
    }
}

fn checked(file: &std::path::Path, config: &Config, print: bool) -> ExitCode {
    if print {
        say(config.shown.to_string().trim_end());
    } else {
        let (brokers, sinks) = (config.brokers.len(), config.remote_write.len());
        let gateways = match config.pushgateway.len() {
            0 => String::new(),
            count => format!(", pushgateway: {count}"),
        };
        let listen = config.http.as_ref().map_or_else(String::new, |http| {
            format!(", listening on {}", http.listen)
        });
        say(&format!(
            "{}: valid. brokers: {brokers}, remote_write: {sinks}{gateways}{listen}",
            file.display()
        ));
    }
    ExitCode::SUCCESS
}

fn examined(config: &Config, listen: Duration) -> ExitCode {
    let Some(report) = block_on(doctor(config, listen)) else {
        return ExitCode::FAILURE;
    };
    say(&report.to_string());
    match report.wrong() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

impl Migrate {
    fn run(self) -> ExitCode {
        let exporter = self.exporter;
        let made = self
            .input()
            .and_then(|input| migrate(exporter, &input, |name| std::env::var(name).ok()));
        match made {
            Ok(text) => {
                say(text.trim_end());
                ExitCode::SUCCESS
            }
            Err(problems) => {
                complain(&problems.join("\n"));
                ExitCode::from(EX_USAGE)
            }
        }
    }

    fn input(self) -> Result<Input, Vec<String>> {
        let env_files = self.env_file.iter().map(|path| read_text(path));
        Ok(Input {
            env_files: env_files.collect::<Result<_, _>>()?,
            manifest: self.from_file.as_deref().map(read_text).transpose()?,
            arguments: self.arguments,
        })
    }
}

/// Reads a file or pipe.
fn read_text(path: &Path) -> Result<String, Vec<String>> {
    /// Rendered charts of a whole cluster are about this large.
    const FILE_BYTES_MAX: usize = 4 << 20;
    let read = std::fs::File::open(path)
        .and_then(|file| regular_file::read_to_end(file, FILE_BYTES_MAX))
        .map_err(|error| error.to_string());
    let text = read.and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()));
    text.map_err(|error| vec![format!("cannot read {}: {error}", path.display())])
}

/// Runs a future to completion. One thread maintains the state; the others serve sockets and sinks,
/// which need only a few.
fn block_on<T>(work: impl Future<Output = T>) -> Option<T> {
    const THREADS_MAX: usize = 4;
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(THREADS_MAX))
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(work);
            // Don't wait for threads that still block, for example in a name lookup.
            runtime.shutdown_background();
            Some(result)
        }
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            None
        }
    }
}

#[expect(clippy::print_stdout, reason = "the output of the command")]
fn say(text: &str) {
    println!("{}", on_terminal(text));
}

#[expect(
    clippy::print_stderr,
    reason = "read by the operator, without a log line around it"
)]
fn complain(text: &str) {
    eprintln!("{}", on_terminal(text));
}

/// Escapes control characters, so that output cannot control a terminal.
fn on_terminal(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

fn bad_config(error: &LoadError) -> ExitCode {
    complain(&error.to_string());
    ExitCode::from(EX_CONFIG)
}
