//! Sends values separately from their records: those of series that are, or may be, refused.

use std::collections::HashSet;
use std::time::Duration;

use tracing::{info, warn};

use super::super::backlog::Tried;
use super::super::flight::Failure;
use super::super::request::request;
use super::super::search::REQUEST_MAX;
use super::super::triage::Sorted;
use super::super::triage::parcels::Fault;
use super::super::verdict::{Cause, Verdict};
use super::super::{Outcome, names};
use super::{RemoteWrite, Sent};
use crate::blocking::blocking;
use crate::clock;
use crate::counts::Counts;
use crate::telemetry::sink::DropReason;
use crate::timestamp::Timestamp;
use crate::wire;

/// Maximum number of records whose values may be in flight.
const OLDEST: usize = 8;

/// Maximum number of samples of individual series held in memory, and the number that a native
/// histogram counts as.
const SAMPLES_MAX: u64 = 1_000_000;
const HISTOGRAM: u64 = 20;

impl RemoteWrite {
    /// Prepares for the next snapshot.
    pub(super) fn begin_apart(&mut self, at: Timestamp) {
        let interval = self
            .snapshot_at
            .map_or(Duration::ZERO, |before| at.since(before));
        self.snapshot_at = Some(at);
        self.triage.begin_snapshot(interval, clock::monotonic());
    }

    /// Returns whether every record was sent, except for series that are sent separately.
    pub(super) fn is_read(&self) -> bool {
        let read = self.window.read_through();
        self.queue.is_read(read) && self.window.sent_through() == read
    }

    /// Removes what must not be sent with a record.
    pub(super) fn sort(&mut self, sequence: u64) {
        let (triage, window) = (&mut self.triage, &mut self.window);
        let Some(flight) = window.get(sequence).filter(|flight| !flight.is_sorted) else {
            return;
        };
        flight.is_sorted = true;
        if triage.is_clear() {
            return;
        }
        let tried = flight.tried();
        let sorted = blocking(|| Ok(triage.sort(flight.series()?, (sequence, tried))));
        self.replace(sequence, Tried::Never, sorted);
    }

    /// Continues with the ordinary series of a record after the outcome of its current piece.
    pub(super) fn replace(
        &mut self,
        sequence: u64,
        tried: Tried,
        sorted: Result<Sorted, wire::Unreadable>,
    ) {
        let Some(flight) = self.window.get(sequence) else {
            return;
        };
        let replaced = sorted.and_then(|sorted| {
            blocking(|| flight.replace(&sorted.ordinary, tried, sorted.held))?;
            Ok(sorted)
        });
        match replaced {
            Ok(sorted) => {
                self.metrics.sent.add(sorted.delivered);
                self.metrics.failed.add(sorted.failed);
            }
            Err(wire::Unreadable) => {
                let unreadable = flight.give_up_piece();
                self.metrics.dropped(DropReason::Damaged, unreadable);
            }
        }
    }

    /// Sends the next request with values of individual series, one at a time.
    pub(super) fn send_apart(&mut self) {
        let is_failing = self.failures > 0 && !self.answers.is_empty();
        if self.triage.is_clear() || self.wait_apart.is_some() || is_failing {
            return;
        }
        let (now, is_sorted) = (clock::monotonic(), self.is_all_sorted());
        self.triage.downgrade(self.protocol);
        let (samples_max, protocol) = (self.feed.samples_max().min(REQUEST_MAX), self.protocol);
        let triage = &mut self.triage;
        let parcel = blocking(|| triage.next(samples_max, protocol, is_sorted, now));
        let Some(parcel) = parcel.filter(|parcel| !parcel.is_sending) else {
            return self.count_settled();
        };
        parcel.is_sending = true;
        let (body, attempt) = (parcel.body.clone(), parcel.attempt);
        self.metrics.bytes.add(body.bytes.len() as u64);
        if attempt > 0 {
            self.metrics.retried.add(body.counts);
        }
        let sent = Sent::Apart {
            protocol: body.protocol,
            counts: body.counts,
            newest: body.newest,
        };
        let request = request(&self.config.url, body.protocol, body.bytes, attempt);
        self.send_request(sent, request);
        self.count_settled();
    }

    /// Returns whether all records were read and sorted.
    fn is_all_sorted(&self) -> bool {
        self.queue.is_read(self.window.read_through())
    }

    pub(super) fn apart_answered(&mut self, counts: Counts, newest: Timestamp, outcome: &Outcome) {
        let now = clock::monotonic();
        if let Some(parcel) = self.triage.parcel() {
            parcel.is_sending = false;
        }
        match outcome.verdict {
            Verdict::Delivered => {
                self.triage.delivered(now);
                self.accepted(counts, newest, outcome);
            }
            Verdict::Refused => {
                let (cause, named) = blamed(outcome);
                match outcome.written.part_of(counts) {
                    Some(stored) if cause != Cause::AlreadyThere || !self.triage.may_be_there() => {
                        self.triage.stored_in_part(stored, now);
                    }
                    Some(_) | None => {
                        self.triage.parcel_refused(cause, &named, now);
                        self.feed.send_at_most(REQUEST_MAX);
                    }
                }
                self.quarantine_reason.clone_from(&outcome.reason);
            }
            Verdict::TooLarge => self.triage.too_large(now),
            Verdict::Rejected => {
                self.triage.rejected();
                self.log_failed(counts, &outcome.reason, None);
                self.readiness.waiting(outcome.reason.as_str());
            }
            Verdict::Downgrade => self.downgrade(outcome),
            Verdict::Retry { after } => self.retry_apart(after, outcome),
        }
        self.count_settled();
    }

    /// Retries the request, unless it gets 5xx responses while other requests are accepted.
    fn retry_apart(&mut self, after: Option<Duration>, outcome: &Outcome) {
        let now = clock::monotonic();
        match self.triage.failed(Failure::of(outcome), now) {
            Fault::Receiver => return self.retry_later(after, &outcome.reason),
            Fault::Unknown => {}
            Fault::Series => {
                self.quarantine_reason.clone_from(&outcome.reason);
                self.triage
                    .parcel_refused(Cause::Errors, &HashSet::new(), now);
            }
        }
        let backoff = self.config.queue.backoff;
        let delay = backoff.delay_asked(after, self.failures_apart, fastrand::f64());
        self.failures_apart = self.failures_apart.saturating_add(1);
        self.wait_apart = Some(Box::pin(tokio::time::sleep(delay)));
    }

    /// Checks whether the receiver works, with an empty request in place of one that it answers
    /// with 5xx.
    pub(super) fn check(&mut self, sequence: u64) {
        if let Some(flight) = self.window.get(sequence) {
            flight.sending = true;
        }
        let empty = request(
            &self.config.url,
            self.protocol,
            wire::empty(self.protocol),
            0,
        );
        self.send_request(Sent::Check { sequence }, empty);
    }

    pub(super) fn check_answered(&mut self, sequence: u64, is_working: bool) {
        let (triage, window) = (&mut self.triage, &mut self.window);
        let Some(flight) = window.get(sequence) else {
            return;
        };
        flight.sending = false;
        flight.checked(clock::monotonic());
        if !is_working {
            return;
        }
        self.feed.send_at_most(REQUEST_MAX);
        if blocking(|| flight.divide_to(REQUEST_MAX)) {
            self.failures = 0;
            return;
        }
        let origin = (sequence, flight.tried());
        let samples = flight.body().map_or(0, |body| body.counts.points());
        warn!(
            samples,
            "receiver keeps answering 5xx to one request; searching for the series that cause it"
        );
        let sorted = blocking(|| Ok(triage.failing(flight.series()?, origin)));
        self.replace(sequence, Tried::Never, sorted);
        self.failures = 0;
    }

    /// Counts the outcome of values that were held back.
    fn count_settled(&mut self) {
        let settled = self.triage.take_settled();
        self.metrics.sent.add(settled.delivered);
        self.metrics.failed.add(settled.failed);
        for part in settled.parts {
            if let Some(flight) = self.window.get(part.sequence) {
                flight.release(part.counts);
            }
        }
        self.window.commit(&mut self.queue);
    }

    /// Limits the values that are held back, by giving up the oldest.
    pub(super) fn limit_held(&mut self) {
        let is_too_much = |sink: &Self| {
            let waiting = sink.triage.waiting();
            waiting.samples + HISTOGRAM * waiting.histograms > SAMPLES_MAX
                || sink.window.held_bytes() > sink.queue.bytes_max() / 2
        };
        let mut dropped = 0;
        while is_too_much(self) && self.give_up_held(DropReason::QueueFull, |_| true) {
            dropped += 1;
            self.window.commit(&mut self.queue);
        }
        if dropped > 0 {
            warn!(
                requests = dropped,
                "too many samples held back while searching for refused series; dropped the oldest"
            );
        }
    }

    /// Gives up the values held back from the oldest record, except those in flight. Returns
    /// whether there were any.
    pub(super) fn give_up_held(
        &mut self,
        reason: DropReason,
        may_go: impl Fn(Timestamp) -> bool,
    ) -> bool {
        let held = self.window.held().take(OLDEST);
        let oldest = held.filter(|flight| may_go(flight.made_at));
        let oldest: Vec<_> = oldest.map(|flight| flight.sequence).collect();
        for sequence in oldest {
            let counts = self.triage.give_up(sequence);
            if let Some(flight) = self.window.get(sequence).filter(|_| !counts.is_zero()) {
                flight.release(counts);
                self.metrics.dropped(reason, counts);
                return true;
            }
        }
        false
    }

    /// Logs and reports which series are quarantined.
    pub(super) fn report_quarantine(&mut self) {
        let series = self.triage.quarantined();
        #[expect(
            clippy::cast_precision_loss,
            reason = "Prometheus holds counts as floats"
        )]
        self.metrics.quarantined.set(series as f64);
        if let Some(notice) = self.triage.take_notice() {
            let examples = notice.examples.join(", ");
            warn!(
                series = notice.series,
                examples,
                error = %self.quarantine_reason,
                "series quarantined: the receiver refuses them"
            );
        }
        if series == std::mem::replace(&mut self.hinted, series) {
            return;
        }
        if series == 0 {
            info!("all quarantined series are accepted again");
            return self.readiness.hint(None);
        }
        let (examples, reason) = (self.triage.examples().join(", "), &self.quarantine_reason);
        self.readiness.hint(Some(format!(
            "the receiver refuses {series} series, such as {examples} ({reason})"
        )));
    }
}

/// Returns why a request was refused, and the series named in the response.
pub(super) fn blamed(outcome: &Outcome) -> (Cause, HashSet<wire::Key>) {
    let named = names::series(&outcome.text).map(|labels| labels.key);
    (Cause::of(&outcome.text), named.collect())
}
