//! Handles the responses to remote-write requests.

use std::pin::Pin;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::super::backlog::Tried;
use super::super::client::{Answer, SendError};
use super::super::flight::Failure;
use super::super::search::REQUEST_MAX;
use super::super::verdict::{Asked, Cause, Verdict, Written, verdict};
use super::super::{Outcome, advice};
use super::apart::blamed;
use super::{Answered, RemoteWrite, Sent};
use crate::blocking::blocking;
use crate::clock;
use crate::config::Message;
use crate::counts::Counts;
use crate::timestamp::Timestamp;
use crate::wire::Protocol;

impl RemoteWrite {
    pub(super) fn answered(&mut self, answered: Answered) {
        let Answered {
            sent,
            since,
            answer,
        } = answered;
        if !matches!(sent, Sent::Metadata { .. } | Sent::Check { .. }) {
            let elapsed = clock::monotonic().duration_since(since);
            self.metrics.batch_duration.observe(elapsed);
        }
        match sent {
            Sent::Metadata { entries } => self.metadata_answered(entries, answer),
            Sent::Record {
                sequence,
                protocol,
                counts,
                newest,
            } => {
                let outcome = self.judge(protocol, answer);
                self.answers_again(&outcome);
                if let Some(flight) = self.window.get(sequence) {
                    flight.sending = false;
                }
                self.record_answered(sequence, counts, newest, &outcome);
            }
            Sent::Apart {
                protocol,
                counts,
                newest,
            } => {
                let outcome = self.judge(protocol, answer);
                self.answers_again(&outcome);
                self.apart_answered(counts, newest, &outcome);
            }
            Sent::Check { sequence } => {
                let is_working = answer.is_ok_and(|answer| answer.status.is_success());
                self.check_answered(sequence, is_working);
            }
        }
    }

    fn answers_again(&mut self, outcome: &Outcome) {
        if !matches!(outcome.verdict, Verdict::Retry { .. }) {
            // The receiver is reachable, whatever the response is.
            self.failures = 0;
        }
        self.is_proven |= outcome.written != Written::default();
    }

    fn metadata_answered(&mut self, entries: u64, answer: Result<Answer, SendError>) {
        let outcome = self.judge(Protocol::V1, answer);
        if outcome.verdict == Verdict::Delivered {
            self.metrics.metadata.add(entries);
        } else {
            self.metrics.metadata_failed.add(entries);
            debug!(error = %outcome.reason, "sending metadata failed");
        }
    }

    fn record_answered(
        &mut self,
        sequence: u64,
        counts: Counts,
        newest: Timestamp,
        outcome: &Outcome,
    ) {
        let Some(flight) = self.window.get(sequence) else {
            return;
        };
        match outcome.verdict {
            Verdict::Delivered => {
                let delivered = flight.give_up_piece();
                self.metrics.sent.add(delivered);
                self.feed.accepted();
                self.accepted(counts, newest, outcome);
            }
            Verdict::Refused => self.refuse(sequence, counts, outcome),
            Verdict::TooLarge => {
                let failed = match flight.divide() {
                    Some(()) => Counts::default(),
                    None => flight.give_up_piece(),
                };
                self.send_less(counts);
                self.fail(failed, &outcome.reason, None);
            }
            Verdict::Rejected => {
                let failed = flight.give_up_piece();
                self.fail(failed, &outcome.reason, Some("all series of the request"));
                self.readiness.waiting(outcome.reason.as_str());
            }
            Verdict::Downgrade => self.downgrade(outcome),
            Verdict::Retry { after } => {
                flight.failed(Failure::of(outcome), clock::monotonic());
                if flight.is_limited() && blocking(|| flight.divide_to(REQUEST_MAX)) {
                    self.feed.send_at_most(REQUEST_MAX);
                    warn!(
                        samples = REQUEST_MAX,
                        "receiver keeps answering 429 to a request; sending smaller requests"
                    );
                }
                self.retry_later(after, &outcome.reason);
            }
        }
    }

    /// Handles an accepted request with values.
    pub(super) fn accepted(&mut self, counts: Counts, newest: Timestamp, outcome: &Outcome) {
        self.triage.accepted(clock::monotonic());
        self.failures_apart = 0;
        self.metrics.highest_sent.raise_to(newest.seconds());
        self.check_written(counts, outcome.written);
        self.takes_again();
    }

    /// Switches to a protocol that the receiver may support. May be called more than once, because
    /// several requests may have been in flight.
    pub(super) fn downgrade(&mut self, outcome: &Outcome) {
        if self.protocol != outcome.protocol {
            return;
        }
        let error = &outcome.reason;
        self.protocol = match self.protocol {
            // VictoriaMetrics 1.88 and later. Older ones refuse it, and store nothing of it.
            Protocol::V2 if outcome.is_victoria => Protocol::V1Zstd,
            Protocol::V2 | Protocol::V1 | Protocol::V1Zstd => Protocol::V1,
        };
        let version = self.protocol.name();
        if outcome.protocol == Protocol::V2 {
            warn!(
                %error,
                version,
                "receiver does not support remote write 2.0; using 1.0 until the next start"
            );
        } else {
            info!(%error, "receiver does not support zstd; using snappy until the next start");
        }
        self.feed.set_protocol(self.protocol);
        // What was learned from refusals still applies.
        let learned = self.feed.samples_max();
        let samples_max = self.config.queue.samples_max(self.protocol);
        self.feed
            .set_targets(samples_max, self.config.metadata_interval);
        self.feed.send_at_most(learned);
    }

    /// Logs if a 2.0 receiver reports that it stored more or fewer values than were sent. This is
    /// not an error: with deduplication, a sender that is not the elected replica gets zeros.
    fn check_written(&mut self, counts: Counts, written: Written) {
        let differs = |said: Option<u64>, sent: u64| said.is_some_and(|said| said != sent);
        if differs(written.samples, counts.samples)
            || differs(written.histograms, counts.histograms)
        {
            self.metrics.written_other.add(1);
            debug!(
                ?written,
                ?counts,
                "receiver reported an unexpected number of stored values"
            );
        }
    }

    fn refuse(&mut self, sequence: u64, counts: Counts, outcome: &Outcome) {
        let (triage, window) = (&mut self.triage, &mut self.window);
        let Some(flight) = window.get(sequence) else {
            return;
        };
        let (cause, named) = blamed(outcome);
        let tried = flight.tried();
        // If the request was sent before, the rest may already have been stored then.
        let is_there = cause == Cause::AlreadyThere && tried == Tried::Unanswered;
        if let Some(stored) = outcome.written.part_of(counts).filter(|_| !is_there) {
            let failed = flight.give_up_piece() - stored;
            self.metrics.sent.add(stored);
            return self.fail(failed, &outcome.reason, None);
        }
        self.feed.send_at_most(REQUEST_MAX);
        let now = clock::monotonic();
        let sorted = blocking(|| {
            let series = flight.series()?;
            Ok(triage.refused(series, (sequence, tried), cause, &named, now))
        });
        if let Ok(sorted) = &sorted {
            self.log_failed(sorted.failed, &outcome.reason, None);
        }
        self.quarantine_reason.clone_from(&outcome.reason);
        self.replace(sequence, Tried::Refused, sorted);
    }

    /// Counts samples that will never be stored. Logs each reason once, and counts repetitions.
    fn fail(&mut self, failed: Counts, reason: &str, series: Option<&str>) {
        self.metrics.failed.add(failed);
        self.log_failed(failed, reason, series);
    }

    pub(super) fn log_failed(&mut self, failed: Counts, reason: &str, series: Option<&str>) {
        if failed.is_zero() {
            return;
        }
        let (samples, series) = (
            failed.points(),
            series.unwrap_or("some series of the request"),
        );
        if self.logged.is_new(reason, clock::monotonic()) {
            warn!(samples, series, error = %reason, "receiver refused samples");
        } else {
            debug!(samples, series, error = %reason, "receiver refused samples");
        }
    }

    /// Lowers the maximum request size after a request was too large.
    fn send_less(&mut self, counts: Counts) {
        let samples = usize::try_from(counts.points()).unwrap_or(usize::MAX);
        if let Some(samples) = self.feed.send_less(samples) {
            warn!(
                samples,
                "receiver refused a request as too large; sending smaller requests"
            );
        }
    }

    fn takes_again(&mut self) {
        self.failures = 0;
        if !std::mem::replace(&mut self.has_delivered, true) {
            let (url, version) = (self.config.shown_url(), self.protocol.name());
            info!(url, version, "first samples accepted");
        }
        if let Some(since) = self.failing_since.take() {
            let elapsed = clock::monotonic().duration_since(since);
            info!(?elapsed, "sending succeeds again");
        }
        self.readiness.ready();
    }

    pub(super) fn retry_later(&mut self, after: Option<Duration>, reason: &str) {
        let backoff = self.config.queue.backoff;
        let delay = backoff.delay_asked(after, self.failures, fastrand::f64());
        if self.failing_since.is_none() {
            self.failing_since = Some(clock::monotonic());
            warn!(error = %reason, ?delay, "sending samples failed; retrying");
        } else {
            debug!(error = %reason, attempt = self.failures, ?delay, "sending samples failed");
        }
        self.readiness.waiting(reason);
        if self.wait.is_none() {
            self.failures = self.failures.saturating_add(1);
        }
        // If several requests failed together, the longest delay applies.
        let wait = tokio::time::sleep(delay);
        let is_longer = |before: &Pin<Box<tokio::time::Sleep>>| before.deadline() < wait.deadline();
        if self.wait.as_ref().is_none_or(is_longer) {
            self.wait = Some(Box::pin(wait));
        }
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
                    reason = format!("{reason} ({advice}; these samples are not sent again)");
                }
                Outcome {
                    verdict,
                    protocol,
                    is_victoria: answer.headers.contains_key(VICTORIA),
                    status: Some(answer.status),
                    unsent: false,
                    written: Written::read(&answer.headers),
                    text: answer.text,
                    reason,
                }
            }
            // It is unknown whether it was stored. Sending it again repeats the same sample at the
            // same time, which receivers accept.
            Err(error) => Outcome {
                verdict: Verdict::Retry { after: None },
                protocol,
                is_victoria: false,
                status: None,
                unsent: !matches!(error, SendError::Http(_)),
                written: Written::default(),
                text: String::new(),
                reason: error.to_string(),
            },
        }
    }
}

/// VictoriaMetrics adds this header to each response, with the name of its host.
const VICTORIA: &str = "x-server-hostname";

/// Returns as much of a response as the log shows: the same length as in Prometheus.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(1024)]
}

/// Describes an unsuccessful response for the log.
fn explain(answer: &Answer, protocol: Protocol) -> String {
    let status = answer.status;
    if status.is_success() && protocol == Protocol::V2 {
        return format!("HTTP {status} without the headers that a 2.0 receiver sends");
    }
    let mut text = format!("HTTP {status}: {}", beginning(&answer.text));
    if answer.text.contains("native histograms are disabled") {
        text += " (enable native histograms at the receiver, or set send_native_histograms: false here)";
    }
    text
}
