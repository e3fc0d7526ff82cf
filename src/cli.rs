//! The command line.

mod connection;
mod migrate;
mod source;
mod status;
mod top;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use self::migrate::Migrate;
use self::source::ConfigSource;
use self::status::ShowStatus;
use self::top::Top;

use crate::app::App;
use crate::config::{Config, LoadError};
use crate::demo;
use crate::doctor::doctor;
use crate::escape::printable;
use crate::open_files;
use crate::output;
use crate::recording::{record, replay};
use crate::telemetry::log;
use crate::version::VERSION;

/// Exit status for a configuration that cannot be used: `EX_CONFIG` of sysexits.h.
const EX_CONFIG: u8 = 78;
/// Exit status for an invalid command line, as in clap.
const EX_USAGE: u8 = 2;
/// Exit status if the daemon cannot be reached.
const EX_UNREACHABLE: u8 = 3;

/// Read Celery's events from RabbitMQ or Redis and push them to Prometheus as metrics.
#[derive(Debug, Parser)]
#[command(
    name = "celeriac",
    version = VERSION,
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
        value_name = "FORMAT",
        help_heading = GLOBAL
    )]
    log_format: log::Format,
    /// Log level [default: RUST_LOG, or info].
    #[arg(long, global = true, value_enum, value_name = "LEVEL", help_heading = GLOBAL)]
    log_level: Option<log::Level>,
    #[command(subcommand)]
    command: Command,
}

/// Heading of the options of all commands. Options under a heading come last.
const GLOBAL: &str = "Global options";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Run(ConfigSource),
    /// Validate the configuration.
    CheckConfig {
        /// The same as --config.
        #[arg(group = "source")]
        file: Option<PathBuf>,
        #[command(flatten)]
        source: ConfigSource,
        /// Print the effective configuration with all defaults; secrets are hidden.
        #[arg(long)]
        print: bool,
    },
    /// Test all brokers, workers and receivers, and explain what to fix; exits with 1 if anything is wrong.
    Doctor {
        #[command(flatten)]
        source: ConfigSource,
        /// How long to wait for events.
        #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(3..=3600))]
        wait: u64,
    },
    /// Print what a running daemon knows about its clusters: problems, totals, queues, tasks, workers and receivers.
    Status(ShowStatus),
    /// Watch a running daemon in the terminal: problems, queues, tasks, workers, brokers and receivers, once a second.
    Top(Top),
    /// Run celeriac with a simulated cluster and receiver; nothing else is needed.
    Demo(demo::Args),
    /// Record the messages of the configured brokers as JSON lines, for a bug report.
    ///
    /// Messages are read from a subscription of their own: a daemon that runs at the same time, and its durable
    /// queue or stream, are not affected. Replies of brokers and workers to polls are not recorded.
    Record {
        #[command(flatten)]
        source: ConfigSource,
        #[command(flatten)]
        args: record::Args,
    },
    /// Print the metrics that recorded messages add up to, or serve them.
    Replay(replay::Args),
    /// Convert another exporter's command line, environment or manifest into a configuration file.
    Migrate(Migrate),
    /// Print the version.
    Version,
}

impl Cli {
    /// Runs the command and returns the exit status.
    pub fn run(self) -> ExitCode {
        let level = self.log_level.or_else(|| self.command.quiet());
        log::install(self.log_format, level);
        match self.command {
            Command::Run(source) => match source.load() {
                Ok(config) => daemon(config, source.config),
                Err(error) => bad_config(&error),
            },
            Command::CheckConfig {
                file,
                mut source,
                print,
            } => {
                source.config = file.or(source.config);
                match source.load() {
                    Ok(config) => checked(&source, &config, print),
                    Err(error) => bad_config(&error),
                }
            }
            Command::Doctor { source, wait } => match source.load() {
                Ok(config) => examined(&config, Duration::from_secs(wait)),
                Err(error) => bad_config(&error),
            },
            Command::Status(status) => status.run(),
            Command::Top(top) => top.run(),
            Command::Demo(args) => block_on(demo::run(args)).unwrap_or(ExitCode::FAILURE),
            Command::Record { source, args } => match source.load() {
                Ok(config) => block_on(record::run(config, args)).unwrap_or(ExitCode::FAILURE),
                Err(error) => bad_config(&error),
            },
            Command::Replay(args) => match args.load() {
                Ok(config) => block_on(replay::run(config, args)).unwrap_or(ExitCode::FAILURE),
                Err(error) => bad_config(&error),
            },
            Command::Migrate(migrate) => migrate.run(),
            Command::Version => say(&format!("celeriac {VERSION}"), ExitCode::SUCCESS),
        }
    }
}

impl Command {
    /// The default log level, if lower than usual: the doctor's report contains everything already,
    /// the demo has its own output, and so do the commands that show a daemon.
    fn quiet(&self) -> Option<log::Level> {
        let level = match self {
            Self::Doctor { .. } | Self::Status(_) | Self::Top(_) => log::Level::Off,
            Self::Demo(_) | Self::Replay(_) => log::Level::Warn,
            Self::Run(_)
            | Self::CheckConfig { .. }
            | Self::Record { .. }
            | Self::Migrate(_)
            | Self::Version => {
                return None;
            }
        };
        std::env::var_os("RUST_LOG").is_none().then_some(level)
    }
}

fn daemon(config: Config, file: Option<PathBuf>) -> ExitCode {
    announce(&config, file.as_deref());
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

/// Logs what is about to start, before anything can block or fail.
fn announce(config: &Config, file: Option<&Path>) {
    let addresses = config.brokers.iter().map(|broker| broker.address(0));
    let brokers = addresses.collect::<Vec<_>>().join(" ");
    let targets = config.push_targets();
    let pushing_to = (!targets.is_empty()).then(|| targets.join(" "));
    let listen = config.http.as_ref().map(|http| http.listen.to_string());
    let config_file = file.map(|file| tracing::field::display(file.display()));
    tracing::info!(
        version = VERSION,
        config_file,
        brokers,
        pushing_to,
        listen,
        "starting"
    );
    if config.data_dir.is_none() {
        match file {
            Some(_) => tracing::warn!(
                "data_dir is not set: counters restart at zero and a crash loses unsent samples"
            ),
            None => tracing::warn!(
                "running without a configuration file: counters restart at zero and a crash loses \
                 unsent samples; set data_dir in a file to keep them"
            ),
        }
    }
}

fn checked(source: &ConfigSource, config: &Config, print: bool) -> ExitCode {
    let text = if print {
        config.shown.to_string()
    } else {
        let (brokers, sinks) = (config.brokers.len(), config.remote_write.len());
        let gateways = match config.pushgateway.len() {
            0 => String::new(),
            count => format!(", pushgateway: {count}"),
        };
        let listen = config.http.as_ref().map_or_else(String::new, |http| {
            format!(", listening on {}", http.listen)
        });
        let file = source.config.as_ref();
        let source = file.map_or("command line".into(), |file| file.to_string_lossy());
        format!("{source}: valid. brokers: {brokers}, remote_write: {sinks}{gateways}{listen}")
    };
    say(text.trim_end(), ExitCode::SUCCESS)
}

fn examined(config: &Config, listen: Duration) -> ExitCode {
    let Some(report) = block_on(doctor(config, listen)) else {
        return ExitCode::FAILURE;
    };
    let code = match report.wrong() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    };
    say(&report.to_string(), code)
}

/// Runs a future to completion. One thread is busy with the state; the others serve sockets and
/// sinks, which need only a few.
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

/// Prints the output of a command. Returns its exit status, unless nothing can be written.
fn say(text: &str, code: ExitCode) -> ExitCode {
    write(format!("{}\n", on_terminal(text)).as_bytes(), code)
}

/// Like [`say`], for output that is escaped already.
fn write(bytes: &[u8], code: ExitCode) -> ExitCode {
    match output::put(bytes) {
        Ok(()) => code,
        Err(error) => {
            complain(&format!("cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
    }
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
