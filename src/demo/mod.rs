//! x
use std::process::ExitCode;
#[derive(Debug, clap::Args)]
pub struct Args {}
pub async fn run(_: Args) -> ExitCode { ExitCode::SUCCESS }
