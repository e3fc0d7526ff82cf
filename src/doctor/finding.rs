//! What was looked at, what was found, and what to do about it.

use std::fmt;

use crate::escape::printable;

/// How wide a line of a report may be.
const WIDTH: usize = 100;

/// How far what was found is indented: behind the names of the checks and the verdicts.
const INDENT: usize = 26;

/// What was found in one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub check: &'static str,
    pub verdict: Verdict,
    pub found: String,
    /// What to do, where there is something to do.
    pub advice: Option<String>,
}

/// Whether there is something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// It cannot be told, or it may be meant so.
    Open,
    Wrong,
}

/// What was found in one thing that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub subject: String,
    pub findings: Vec<Finding>,
}

/// All that was found. It displays as a table.
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
    /// How many findings are wrong.
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

/// A text in lines of so many characters; a word that is longer has a line to itself.
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
                        "nobody answered, and no heartbeat was heard in 5 s on the exchange celeryev",
                        "start a worker",
                    ),
                ],
            },
            Section {
                subject: "data_dir".to_owned(),
                findings: vec![Finding::open("data_dir", "there is none", "set it")],
            },
        ]);
        let expected = "\
broker (127.0.0.1:5672//)
  connection      ok      RabbitMQ 3.10.8
  workers         WRONG   nobody answered, and no heartbeat was heard in 5 s on the exchange
                          celeryev
                          → start a worker

data_dir
  data_dir        ?       there is none
                          → set it

1 thing to fix.";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn nothing_that_was_answered_forges_a_line_of_a_report() {
        let answer = "503: no\n\nreceiver\n  answer          ok      \x1b[2Jfine\u{2028}";
        let report = Report(vec![Section {
            subject: "remote_write a\u{85}b".to_owned(),
            findings: vec![Finding::wrong("answer", answer, "look into its log")],
        }]);
        let expected = r"remote_write a\u{85}b
  answer          WRONG   503: no receiver answer ok \u{1b}[2Jfine
                          → look into its log

1 thing to fix.";
        assert_eq!(report.to_string(), expected);
    }
}
