//! The command `migrate`: reads the files that its arguments name.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{EX_USAGE, complain, say};
use crate::migrate::{Exporter, Input, migrate};
use crate::regular_file;

#[derive(Debug, Args)]
pub(super) struct Migrate {
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

impl Migrate {
    pub(super) fn run(self) -> ExitCode {
        let exporter = self.exporter;
        let made = self
            .input()
            .and_then(|input| migrate(exporter, &input, |name| std::env::var(name).ok()));
        match made {
            Ok(text) => say(text.trim_end(), ExitCode::SUCCESS),
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
