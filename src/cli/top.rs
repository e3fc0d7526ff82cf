//! The command `top`: shows the document until it is stopped.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::connection::{Connection, no_color};
use super::{EX_USAGE, block_on, complain};
use crate::terminal::top::{self, Options, Theme};

#[derive(Debug, Args)]
#[command(after_help = "\
Keys: 1 to 5 change the view, / filters, Shift and a letter sort, Enter shows everything about a row, ? shows all
keys, and q quits.")]
pub(super) struct Top {
    #[command(flatten)]
    connection: Connection,
}

impl Top {
    pub(super) fn run(self) -> ExitCode {
        if let Some(obstacle) = top::obstacle() {
            complain(&format!("celeriac top: {obstacle}"));
            return ExitCode::from(EX_USAGE);
        }
        let client = match self.connection.client() {
            Ok(client) => client,
            Err(code) => return code,
        };
        let options = Options {
            filter: self
                .connection
                .filter
                .map_or_else(String::new, |query| query.filter().to_owned()),
            window: self.connection.window,
            theme: if no_color() {
                Theme::Monochrome
            } else {
                Theme::Palette
            },
        };
        match block_on(top::run(&client, options)) {
            Some(Ok(())) => ExitCode::SUCCESS,
            Some(Err(error)) => {
                // The terminal may be gone, which nobody needs to know.
                let _ = writeln!(io::stderr(), "celeriac top: the terminal failed: {error}");
                ExitCode::FAILURE
            }
            None => ExitCode::FAILURE,
        }
    }
}
