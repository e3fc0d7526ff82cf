//! The command `status`: prints the document once.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;

use super::connection::{Connection, no_color, query};
use super::{EX_UNREACHABLE, EX_USAGE, block_on, complain, write};
use crate::status::query::{Query, ROWS};
use crate::terminal::{Choice, Fetched, Paint, Report, Section};

/// Exit status if anything needs attention.
const EX_WRONG: u8 = 1;

/// Width of the output if it is not a terminal's and `COLUMNS` is not set.
const WIDTH: usize = 120;

/// Below this, tables would be cut beyond recognition.
const WIDTH_MIN: usize = 40;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  nothing needs attention; information alone does not count
  1  a problem is critical or a warning
  2  invalid command line
  3  the daemon cannot be reached, refuses the login, or does not serve this document
 78  invalid configuration file")]
pub(super) struct ShowStatus {
    /// Print only these tables; problems go to standard error.
    #[arg(value_enum, value_name = "TABLE")]
    sections: Vec<Section>,
    /// Print the document of /api/v1/status unchanged.
    #[arg(long, conflicts_with_all = ["sections", "filter", "sort", "all"])]
    json: bool,
    /// Sort by this column, such as waiting; with - before it, highest first.
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Print every row instead of the first 20 of each table.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    connection: Connection,
}

impl ShowStatus {
    pub(super) fn run(self) -> ExitCode {
        match self.try_run() {
            Ok(code) | Err(code) => code,
        }
    }

    fn try_run(&self) -> Result<ExitCode, ExitCode> {
        let choice = self.choice().map_err(|problem| {
            complain(&problem);
            ExitCode::from(EX_USAGE)
        })?;
        let client = self.connection.client()?;
        let fetched = block_on(client.fetch(self.connection.window));
        let fetched = fetched.ok_or(ExitCode::FAILURE)?.map_err(|error| {
            complain(&error.to_string());
            ExitCode::from(EX_UNREACHABLE)
        })?;
        Ok(self.print(&fetched, &choice))
    }

    fn choice(&self) -> Result<Choice, String> {
        let mut order = Query::default();
        if let Some(column) = &self.sort {
            self.check_column(column)?;
            order = query("sort", column).map_err(|error| format!("--sort: {error}"))?;
        }
        Ok(Choice {
            filter: self.connection.filter.clone().unwrap_or_default(),
            inverted: false,
            order,
            rows_max: (!self.all).then_some(ROWS),
        })
    }

    /// Returns an error unless one of the tables has a column.
    fn check_column(&self, column: &str) -> Result<(), String> {
        let key = column.strip_prefix('-').unwrap_or(column);
        let sections = if self.sections.is_empty() {
            &Section::ALL[..]
        } else {
            &self.sections
        };
        let mut keys: Vec<&str> = sections.iter().flat_map(|section| section.keys()).collect();
        if keys.contains(&key) {
            return Ok(());
        }
        keys.sort_unstable();
        keys.dedup();
        Err(format!(
            "--sort: no table has the column `{key}`; use one of {}",
            keys.join(", ")
        ))
    }

    fn print(&self, fetched: &Fetched, choice: &Choice) -> ExitCode {
        let report = Report {
            status: &fetched.status,
            choice,
            width: width(),
            paint: paint(io::stdout().is_terminal()),
        };
        let text = if self.json {
            fetched.body.to_vec()
        } else if self.sections.is_empty() {
            format!("{}\n", report.whole()).into_bytes()
        } else {
            format!("{}\n", report.tables(&self.sections)).into_bytes()
        };
        let is_wrong = report.is_wrong();
        if is_wrong && !self.json && !self.sections.is_empty() {
            let report = Report {
                paint: paint(io::stderr().is_terminal()),
                ..report
            };
            // Without anyone to read it, the exit status remains.
            let _ = write!(io::stderr(), "{}\n\n", report.attention());
        }
        let code = if is_wrong {
            ExitCode::from(EX_WRONG)
        } else {
            ExitCode::SUCCESS
        };
        write(&text, code)
    }
}

fn paint(is_terminal: bool) -> Paint {
    if is_terminal && !no_color() {
        Paint::Ansi
    } else {
        Paint::Plain
    }
}

/// The width of the terminal.
fn width() -> usize {
    let size = io::stdout()
        .is_terminal()
        .then(|| ratatui::crossterm::terminal::size().ok());
    let size = size.flatten().map(|(columns, _)| usize::from(columns));
    let set = || std::env::var("COLUMNS").ok()?.parse().ok();
    let columns = size.filter(|columns| *columns > 0).or_else(set);
    columns.unwrap_or(WIDTH).max(WIDTH_MIN)
}
