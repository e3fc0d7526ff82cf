//! Makes the problems that a document lists.

use super::document::{Problem, Severity};

/// The most problems of one kind that are listed.
pub(super) const EACH_MAX: usize = 5;

/// A problem without a subject.
pub(super) fn problem(severity: Severity, kind: &str, text: String, advice: &str) -> Problem {
    Problem {
        severity,
        kind: kind.to_owned(),
        subject: None,
        text,
        advice: advice.to_owned(),
        since_timestamp_seconds: None,
        runbook: None,
    }
}

impl Problem {
    pub(super) fn of(self, subject: &str) -> Self {
        Self {
            subject: Some(subject.to_owned()),
            ..self
        }
    }

    pub(super) fn since(self, since_timestamp_seconds: Option<f64>) -> Self {
        Self {
            since_timestamp_seconds,
            ..self
        }
    }

    pub(super) fn explained_by(self, alert: &str) -> Self {
        Self {
            runbook: Some(format!("runbooks/{alert}.md")),
            ..self
        }
    }
}
