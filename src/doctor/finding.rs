//! Findings of the checks, and the report that shows them.

use std::fmt;

use crate::escape::printable;

/// Maximum width of a line of a report.
const WIDTH: usize = 100;

/// Indentation of findings, after the columns for check and verdict.
const INDENT: usize = 26;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the check, in a word or two.
    pub check: &'static str,
    pub verdict: Verdict,
    pub found: String,
    /// What to do, if anything.
    pub advice: Option<String>,
}

/// Whether something must be fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// Undetermined, or possibly intentional.
    Open,
    Wrong,
}

/// Findings about one broker, receiver or folder of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub subject: String,
    pub findings: Vec<Finding>,
}

/// All findings. Displays as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report(pub Vec<Section>);

impl Finding {
    pub fn fine(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Fine,
            found: found.into(),
            advice: None,
        }
    }

    pub fn open(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Open,
            ..Self::wrong(check, found, advice)
        }
    }

    pub fn wrong(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Wrong,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }
}

impl Report {
    /// Number of findings that must be fixed.
    pub fn wrong(&self) -> usize {
        let findings = self.0.iter().flat_map(|section| &section.findings);
        findings
            .filter(|finding| finding.verdict == Verdict::Wrong)
            .count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in &self.0 {
            writeln!(f, "{}", printable(&section.subject))?;
            for finding in &section.findings {
                let verdict = match finding.verdict {
                    Verdict::Fine => "ok",
                    Verdict::Open => "?",
                    Verdict::Wrong => "WRONG",
                };
                let mut head = format!("  {:<16}{verdict:<8}", finding.check);
                for line in wrapped(&finding.found, WIDTH - INDENT) {
                    writeln!(f, "{head:<INDENT$}{line}")?;
                    head.clear();
                }
                let advice = finding.advice.as_deref().unwrap_or_default();
                let mut arrow = "→ ";
                for line in wrapped(advice, WIDTH - INDENT - 2) {
                    writeln!(f, "{:<INDENT$}{arrow}{line}", "")?;
                    arrow = "  ";
                }
            }
            writeln!(f)?;
        }
        match self.wrong() {
            0 => write!(f, "Nothing to fix."),
            1 => write!(f, "1 thing to fix."),
            wrong => write!(f, "{wrong} things to fix."),
        }
    }
}

/// Wraps text to lines of `width` characters; a longer word gets its own line.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace().map(printable) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            Some(_) | None => lines.push(word.into_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_table_with_what_to_do() {
        let report = Report(vec![
            Section {
                subject: "broker (127.0.0.1:5672//)".to_owned(),
                findings: vec![
                    Finding::fine("connection", "RabbitMQ 3.10.8"),
                    Finding::wrong(
                        "workers",
                        "no worker replied, and no heartbeat arrived within 5 s on the exchange \
                         celeryev",
                        "start a worker",
                    ),
                ],
            },
            Section {
                subject: "data_dir".to_owned(),
                findings: vec![Finding::open("data_dir", "not set", "set it")],
            },
        ]);
        let expected = "\
broker (127.0.0.1:5672//)
  connection      ok      RabbitMQ 3.10.8
  workers         WRONG   no worker replied, and no heartbeat arrived within 5 s on the exchange
                          celeryev
                          → start a worker

data_dir
  data_dir        ?       not set
                          → set it

1 thing to fix.";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn nothing_that_was_answered_forges_a_line_of_a_report() {
        let answer = "503: no\n\nreceiver\n  answer          ok      \x1b[2Jfine\u{2028}";
        let report = Report(vec![Section {
            subject: "remote_write a\u{85}b".to_owned(),
            findings: vec![Finding::wrong("answer", answer, "check its log")],
        }]);
        let expected = r"remote_write a\u{85}b
  answer          WRONG   503: no receiver answer ok \u{1b}[2Jfine
                          → check its log

1 thing to fix.";
        assert_eq!(report.to_string(), expected);
    }
}
