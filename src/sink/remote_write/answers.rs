//! What the sink does about an answer.

use std::pin::Pin;
use std::time::Duration;

use http::StatusCode;
use tracing::{debug, error, info, warn};

use super::super::client::{Answer, SendError};
use super::super::flight::{Failure, Next, Refusal};
use super::super::verdict::{Asked, Verdict, Written, says_already_there, verdict};
use super::super::{Outcome, advice};
use super::{Answered, RemoteWrite, Sent};
use crate::blocking::blocking;
use crate::clock;
use crate::config::Message;
use crate::counts::Counts;
use crate::telemetry::sink::DropReason;
use crate::timestamp::Timestamp;
use crate::wire::Protocol;

impl RemoteWrite {
    pub(super) fn answered(&mut self, answered: Answered) {
        let Answered {
            sent,
            since,
            answer,
        } = answered;
        match sent {
            Sent::Metadata { entries } => self.metadata_answered(entries, answer),
            Sent::Record {
                sequence,
                protocol,
                counts,
                newest,
            } => {
                let elapsed = clock::monotonic().duration_since(since);
                self.metrics.batch_duration.observe(elapsed);
                let outcome = self.judge(protocol, answer);
                if let Some(flight) = self.window.get(sequence) {
                    flight.sending = false;
                }
                self.record_answered(sequence, counts, newest, &outcome);
            }
        }
    }

    fn metadata_answered(&mut self, entries: u64, answer: Result<Answer, SendError>) {
        let outcome = self.judge(Protocol::V1, answer);
        if outcome.verdict == Verdict::Delivered {
            self.metrics.metadata.add(entries);
        } else {
            self.metrics.metadata_failed.add(entries);
            debug!(error = %outcome.reason, "metadata was not taken");
        }
    }

    fn record_answered(
        &mut self,
        sequence: u64,
        counts: Counts,
        newest: Timestamp,
        outcome: &Outcome,
    ) {
        let is_retry = matches!(outcome.verdict, Verdict::Retry { .. });
        if !is_retry {
            // It answers, whatever it says.
            self.failures = 0;
        }
        self.is_proven |= outcome.written != Written::default();
        let Some(flight) = self.window.get(sequence) else {
            return;
        };
        match outcome.verdict {
            Verdict::Delivered => {
                let delivered = flight.delivered();
                self.metrics.sent.add(delivered);
                self.metrics.highest_sent.raise_to(newest.seconds());
                self.feed.taken();
                self.check_written(counts, outcome.written);
                self.set_aside(sequence);
                self.takes_again();
            }
            Verdict::Refused | Verdict::TooLarge => {
                if outcome.verdict == Verdict::TooLarge {
                    self.send_less(counts);
                }
                self.refuse(sequence, counts, outcome);
            }
            Verdict::Rejected => {
                let failed = flight.give_up_piece();
                self.fail(failed, &outcome.reason, Some("all of a request"));
                self.readiness.waiting(outcome.reason.as_str());
            }
            // Several were on their way.
            Verdict::Downgrade if self.protocol == Protocol::V1 => {}
            Verdict::Downgrade => {
                warn!(
                    error = %outcome.reason,
                    "the receiver does not speak remote write 2.0; speaking 1.0 until the next start"
                );
                self.protocol = Protocol::V1;
                self.feed.speak(Protocol::V1);
            }
            Verdict::Retry { after } => {
                let next = flight.failed(match outcome.status {
                    Some(StatusCode::INTERNAL_SERVER_ERROR) => Failure::Error500,
                    None if outcome.unsent => Failure::Unsent,
                    Some(_) | None => Failure::Other,
                });
                match next {
                    Next::Go => {}
                    Next::Wait => self.retry_later(sequence, after, &outcome.reason),
                    Next::SetAside(counts, series) => {
                        self.gave_up(counts, &series, &outcome.reason)
                    }
                }
            }
        }
    }

    /// A 2.0 receiver says how much it stored of what it accepted. More or less than was sent is worth a look, and no
    /// more: the replica that is not elected hears of zeros.
    fn check_written(&mut self, counts: Counts, written: Written) {
        let differs = |said: Option<u64>, sent: u64| said.is_some_and(|said| said != sent);
        if differs(written.samples, counts.samples)
            || differs(written.histograms, counts.histograms)
        {
            self.metrics.written_other.add(1);
            debug!(
                ?written,
                ?counts,
                "the receiver says that it stored another number of values"
            );
        }
    }

    fn refuse(&mut self, sequence: u64, counts: Counts, outcome: &Outcome) {
        let Some(flight) = self.window.get(sequence) else {
            return;
        };
        let Refusal {
            failed,
            delivered,
            series,
        } = {
            let is_there = says_already_there(&outcome.reason);
            // Of what was sent before, the rest may be there from then: its parts will tell.
            let is_told = outcome.verdict == Verdict::Refused && !(is_there && flight.is_again());
            match outcome.written.part_of(counts).filter(|_| is_told) {
                Some(stored) => flight.stored_in_part(stored),
                None => flight.refused(is_there),
            }
        };
        self.metrics.sent.add(delivered);
        self.fail(failed, &outcome.reason, series.as_deref());
        if !delivered.is_zero() {
            self.takes_again();
        }
    }

    /// Counts what will never be stored; says so once for each reason, and counts the rest.
    fn fail(&mut self, failed: Counts, reason: &str, series: Option<&str>) {
        if failed.is_zero() {
            return;
        }
        self.metrics.failed.add(failed);
        let (samples, series) = (failed.points(), series.unwrap_or("some of a request"));
        if self.told.is_new(reason, clock::monotonic()) {
            warn!(samples, series, error = %reason, "the receiver refused samples for good");
        } else {
            debug!(samples, series, error = %reason, "the receiver refused samples for good");
        }
    }

    /// Puts less into a request from now on than was too much.
    fn send_less(&mut self, counts: Counts) {
        let samples = usize::try_from(counts.points()).unwrap_or(usize::MAX);
        if let Some(samples) = self.feed.send_less(samples) {
            warn!(
                samples,
                "the receiver takes no requests as large as these; sending so many samples at once from now on"
            );
        }
    }

    /// The receiver took a record, and answered 500 to the one before it again and again: that one is at fault.
    fn set_aside(&mut self, sequence: u64) {
        let suspect = self.window.suspect();
        let Some(suspect) = suspect.filter(|suspect| suspect.sequence < sequence) else {
            return;
        };
        let counts = suspect.give_up();
        self.gave_up(counts, "all that is left of a request", "HTTP 500");
    }

    fn gave_up(&self, counts: Counts, series: &str, reason: &str) {
        self.metrics.dropped(DropReason::SetAside, counts);
        error!(
            samples = counts.points(),
            series,
            error = %reason,
            "the receiver answers 500 to a sample again and again and takes others; it was given up"
        );
    }

    fn takes_again(&mut self) {
        self.failures = 0;
        if let Some(since) = self.failing_since.take() {
            let elapsed = clock::monotonic().duration_since(since);
            info!(?elapsed, "the receiver takes samples again");
        }
        self.readiness.ready();
    }

    fn retry_later(&mut self, sequence: u64, after: Option<Duration>, reason: &str) {
        let backoff = self.config.queue.backoff;
        let delay = backoff.delay_asked(after, self.failures, fastrand::f64());
        if self.failing_since.is_none() {
            self.failing_since = Some(clock::monotonic());
            warn!(error = %reason, ?delay, "cannot send samples, trying again until it works");
        } else {
            debug!(error = %reason, attempt = self.failures, ?delay, "cannot send samples");
        }
        self.readiness.waiting(reason);
        if self.wait.is_none() {
            self.failures = self.failures.saturating_add(1);
        }
        if self.tries_another(sequence) {
            return;
        }
        // Of several that failed together, the one that asked for the longest pause counts.
        let wait = tokio::time::sleep(delay);
        let is_longer = |before: &Pin<Box<tokio::time::Sleep>>| before.deadline() < wait.deadline();
        if self.wait.as_ref().is_none_or(is_longer) {
            self.wait = Some(Box::pin(wait));
        }
    }

    /// Whether another record is tried at once, because it may be this one that the receiver cannot take.
    fn tries_another(&mut self, sequence: u64) -> bool {
        let is_suspect = self
            .window
            .suspect()
            .is_some_and(|suspect| suspect.sequence == sequence);
        if !is_suspect || !self.answers.is_empty() {
            return false;
        }
        let (window, queue) = (&mut self.window, &mut self.queue);
        let other = blocking(|| window.other(queue).map(|flight| flight.sequence));
        let Some(other) = other else { return false };
        self.send(other);
        true
    }

    fn judge(&self, protocol: Protocol, answer: Result<Answer, SendError>) -> Outcome {
        match answer {
            Ok(answer) => {
                let asked = Asked {
                    protocol,
                    may_downgrade: self.config.message == Message::Auto,
                    is_proven: self.is_proven,
                    retry_on_429: self.config.queue.retry_on_429,
                };
                let verdict = verdict(answer.status, &answer.headers, asked, clock::now());
                let mut reason = explain(&answer, protocol);
                let advice = advice::rejected(answer.status, &answer.text);
                if let Some(advice) = advice.filter(|_| verdict == Verdict::Rejected) {
                    reason = format!(
                        "{reason} ({advice}; samples refused like this are not sent again)"
                    );
                }
                Outcome {
                    verdict,
                    status: Some(answer.status),
                    unsent: false,
                    written: Written::read(&answer.headers),
                    reason,
                }
            }
            // Nobody says whether it was stored. Sent again, it is the same sample at the same time, which
            // receivers take for what it is.
            Err(error) => Outcome {
                verdict: Verdict::Retry { after: None },
                status: None,
                unsent: !matches!(error, SendError::Http(_)),
                written: Written::default(),
                reason: error.to_string(),
            },
        }
    }
}

/// What the log says of an answer that was not the one hoped for.
fn explain(answer: &Answer, protocol: Protocol) -> String {
    let status = answer.status;
    if status.is_success() && protocol == Protocol::V2 {
        return format!("HTTP {status} that does not say what was written: no receiver of 2.0");
    }
    let mut text = format!("HTTP {status}: {}", answer.text);
    if answer.text.contains("native histograms are disabled") {
        text += " (the receiver has native histograms switched off: switch them on there, or send_native_histograms off here)";
    }
    text
}
