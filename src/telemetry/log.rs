//! The log: to stderr, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Starts logging. `level` is a filter as `RUST_LOG` has it, which counts where there is none.
///
/// The libraries below speak from `warn` on only: what they retry is ours to tell.
pub fn install(format: Format, level: Option<&str>) {
    let fallback = || EnvFilter::new("warn,celeriac=info,lapin=off");
    let filter = match level {
        Some(level) => EnvFilter::new(format!("warn,celeriac={level},lapin=off")),
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| fallback()),
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter);
    // A second installation, as tests may try, keeps the first.
    let _ = match format {
        Format::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
        Format::Json => builder
            .json()
            .flatten_event(true)
            .with_target(false)
            .try_init(),
    };
}
