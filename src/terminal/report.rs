//! The output of `celeriac status`.

use super::cell::Tone;
use super::facts::{self, Fact, Pieces};
use super::section::{Choice, Section};
use super::table::{SEPARATOR, Table};
use crate::status::document::{Severity, Status};
use crate::status::format;

/// Whether the output has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Ansi,
}

/// What `celeriac status` prints.
#[derive(Debug)]
pub struct Report<'s> {
    pub status: &'s Status,
    pub choice: &'s Choice,
    /// Maximum number of columns.
    pub width: usize,
    pub paint: Paint,
}

impl Paint {
    /// Wraps a text in the sequences of its tone.
    fn paint(self, text: &str, tone: Tone) -> String {
        let code = match (self, tone) {
            (Self::Plain, _) | (Self::Ansi, Tone::Plain) => return text.to_owned(),
            (Self::Ansi, Tone::Good) => "32",
            (Self::Ansi, Tone::Warning) => "33",
            (Self::Ansi, Tone::Bad) => "31",
            (Self::Ansi, Tone::Faint) => "2",
            (Self::Ansi, Tone::Strong) => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

impl Report<'_> {
    /// Whether anything needs attention. Information alone does not.
    pub fn is_wrong(&self) -> bool {
        let mut problems = self.status.attention.iter();
        problems.any(|problem| problem.severity != Severity::Info)
    }

    /// Everything.
    pub fn whole(&self) -> String {
        let mut parts = vec![self.heading(), self.attention()];
        let labelled = [
            ("SUMMARY", facts::summary(self.status)),
            ("TRUST", facts::trust(self.status)),
        ];
        parts.push(
            labelled
                .map(|(label, facts)| self.facts(label, &facts))
                .join("\n"),
        );
        parts.push(self.tables(&Section::ALL));
        parts.join("\n\n")
    }

    /// What is wrong, and what to do about it.
    pub fn attention(&self) -> String {
        let problems = &self.status.attention;
        if problems.is_empty() {
            return self.paint.paint("Nothing needs attention.", Tone::Good);
        }
        let at = self.status.at_timestamp_seconds;
        let mut lines = vec![self.paint.paint("ATTENTION", Tone::Strong)];
        for problem in problems {
            let problem = facts::problem(problem, at, self.width);
            lines.extend(
                problem
                    .iter()
                    .map(|line| self.paint.paint(&line.text, line.tone)),
            );
        }
        lines.join("\n")
    }

    /// Sections, one after another.
    pub fn tables(&self, sections: &[Section]) -> String {
        let tables = sections.iter().map(|section| {
            let table = section.table(self.status, self.choice);
            self.table(&table).join("\n")
        });
        tables.collect::<Vec<_>>().join("\n\n")
    }

    fn heading(&self) -> String {
        let mut parts = facts::heading(self.status);
        parts[0] = self.paint.paint(&parts[0], Tone::Strong);
        parts.push(format!("window {}", facts::window(self.status)));
        let at = format::clock(self.status.at_timestamp_seconds);
        format!("celeriac · {} · as of {at} UTC", parts.join(" · "))
    }

    fn facts(&self, label: &str, facts: &[Fact]) -> String {
        let lines = facts::flow(label, facts, self.width);
        let lines = lines.iter().map(|pieces| self.pieces(pieces));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn pieces(&self, pieces: &Pieces) -> String {
        let pieces = pieces.iter();
        pieces
            .map(|(text, tone)| self.paint.paint(text, *tone))
            .collect()
    }

    fn table(&self, table: &Table) -> Vec<String> {
        let title = format!("{} {}", table.title.to_uppercase(), table.counted());
        let mut lines = vec![self.paint.paint(&title, Tone::Strong)];
        if table.rows.is_empty() {
            let reason = if table.total == 0 {
                "none known"
            } else {
                "the filter matches none"
            };
            lines.push(self.paint.paint(reason, Tone::Faint));
            return lines;
        }
        let layout = table.layout(self.width);
        let head = table.head(&layout).into_iter();
        let head = head.map(|(_, text)| (text, Tone::Faint));
        lines.push(self.line(head.collect()));
        for row in &table.rows {
            lines.push(self.line(table.cells(row, &layout)));
        }
        let left = table.matching - table.rows.len();
        if left > 0 {
            let more = format!("{left} more; --all shows every row");
            lines.push(self.paint.paint(&more, Tone::Faint));
        }
        lines
    }

    /// Joins cells, without spaces at the end.
    fn line(&self, mut cells: Vec<(String, Tone)>) -> String {
        if let Some((last, _)) = cells.last_mut() {
            last.truncate(last.trim_end().len());
        }
        let cells = cells
            .iter()
            .map(|(text, tone)| self.paint.paint(text, *tone));
        let line = cells.collect::<Vec<_>>().join(SEPARATOR);
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::escape::is_unsafe;
    use crate::status::query::Query;
    use crate::terminal::text::width;

    fn report<'s>(status: &'s Status, choice: &'s Choice, width: usize) -> Report<'s> {
        Report {
            status,
            choice,
            width,
            paint: Paint::Plain,
        }
    }

    #[test]
    fn a_report_fits_and_cannot_control_the_terminal() {
        let status = fixture::status();
        let choice = Choice {
            filter: Query::default(),
            rows_max: Some(20),
            ..Choice::default()
        };
        for columns in [80, 120, 200] {
            let text = report(&status, &choice, columns).whole() + "\n";
            assert!(!text.contains(|c| c != '\n' && is_unsafe(c)), "{text}");
            for line in text.lines() {
                assert!(width(line) <= columns, "{columns}: {line}");
                assert_eq!(line.trim_end(), line);
            }
            fixture::assert_golden(&format!("status-{columns}.txt"), &text);
        }
    }

    #[test]
    fn colours_add_nothing_but_sequences() {
        let status = fixture::status();
        let choice = Choice::default();
        let plain = report(&status, &choice, 120);
        let painted = Report {
            paint: Paint::Ansi,
            ..plain
        };
        let mut text = painted.whole();
        assert!(text.contains("\x1b[31m"), "{text}");
        for code in ["0", "1", "2", "31", "32", "33"] {
            text = text.replace(&format!("\x1b[{code}m"), "");
        }
        let lines = |text: &str| {
            text.lines()
                .map(str::trim_end)
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(lines(&text), lines(&plain.whole()));
    }

    #[test]
    fn information_alone_is_not_wrong() {
        let mut status = fixture::status();
        let choice = Choice::default();
        for (left, wrong) in [(3, true), (2, true), (1, false), (0, false)] {
            let problems = status.attention.len();
            status.attention.drain(..problems - left);
            assert_eq!(report(&status, &choice, 80).is_wrong(), wrong, "{left}");
        }
        assert_eq!(
            report(&status, &choice, 80).attention(),
            "Nothing needs attention."
        );
    }

    #[test]
    fn rows_beyond_the_limit_are_counted() {
        let status = fixture::status();
        let choice = Choice {
            rows_max: Some(2),
            order: Query::parse("sort=queue").expect("a query"),
            ..Choice::default()
        };
        let text = report(&status, &choice, 80).tables(&[Section::Queues, Section::Receivers]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "QUEUES 5");
        assert!(lines[2].starts_with("default "), "{text}");
        assert_eq!(lines[4], "3 more; --all shows every row");
        assert_eq!(lines[6], "RECEIVERS 2");
        let choice = Choice {
            filter: Query::parse("q=nowhere").expect("a query"),
            ..Choice::default()
        };
        let text = report(&status, &choice, 80).tables(&[Section::Queues]);
        assert_eq!(text, "QUEUES 0 of 5\nthe filter matches none");
    }
}
