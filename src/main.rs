//! Entry point: parses arguments, loads the configuration, starts the runtime and sets the exit
//! status.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    celeriac::memory::set_thresholds();
    // Checked here, because this crate may be the only one that is compiled with the flag.
    if cfg!(target_feature = "crt-static") {
        celeriac::resolver::use_builtin_services();
    }
    celeriac::cli::Cli::parse().run()
}
