//! Arguments, configuration, runtime, exit status; nothing else.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    celeriac::allocator::give_memory_back();
    celeriac::cli::Cli::parse().run()
}
