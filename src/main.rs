//! Entry point: parses arguments, loads the configuration, starts the runtime and sets the exit
//! status.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    celeriac::memory::give_back();
    // Here, since the flag may be given for the last step of a build alone.
    if cfg!(target_feature = "crt-static") {
        celeriac::resolver::use_builtin_services();
    }
    celeriac::cli::Cli::parse().run()
}
