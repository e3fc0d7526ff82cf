//! Arguments, configuration, runtime, exit status; nothing else.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    celeriac::cli::Cli::parse().run()
}
