//! What the sink sends apart from the records: values of series that are, or may be, refused.

use std::collections::HashSet;
use std::time::Duration;

use tracing::{info, warn};

use super::super::flight::ERRORS_MIN;
use super::super::request::request;
use super::super::triage::Sorted;
use super::super::verdict::{Cause, Verdict};
use super::super::{Outcome, names};
use super::{RemoteWrite, Sent};
use crate::blocking::blocking;
use crate::clock;
use crate::counts::Counts;
use crate::telemetry::sink::DropReason;
use crate::timestamp::Timestamp;
use crate::wire::{self, Protocol};

/// After so many answers of 5xx, while others are accepted, a request is believed to be the reason.
const ERRORS: u32 = 3;

/// Values of so many records may be on their way.
const OLDEST: usize = 8;

/// How many values of single series wait in memory at most.
const POINTS_MAX: u64 = 1_000_000;

impl RemoteWrite {
    /// A snapshot is about to come.
    pub(super) fn begin_apart(&mut self, at: Timestamp) {
        let interval = self
            .snapshot_at
            .map_or(Duration::ZERO, |before| at.since(before));
        self.snapshot_at = Some(at);
        self.triage.begin_snapshot(interval, clock::monotonic());
    }

    /// Whether every record was sent, as far as its series are not kept apart.
    pub(super) fn is_read(&self) -> bool {
        let read = self.window.read_through();
        self.queue.is_read(read) && self.window.sent_through() == read
    }

    /// Takes out of a record what is not to be sent with it.
    pub(super) fn sort(&mut self, sequence: u64) {
        let (triage, window) = (&mut self.triage, &mut self.window);
        let Some(flight) = window.get(sequence).filter(|flight| !flight.is_sorted) else {
            return;
        };
        flight.is_sorted = true;
        if triage.is_clear() {
            return;
        }
        let again = flight.is_again();
        let sorted = blocking(|| Ok(triage.sort(flight.series()?, sequence, again)));
        self.replace(sequence, sorted);
    }

    /// Goes on with what is ordinary of a record.
    pub(super) fn replace(&mut self, sequence: u64, sorted: Result<Sorted, wire::Unreadable>) {
        let Some(flight) = self.window.get(sequence) else {
            return;
        };
        let replaced = sorted.and_then(|sorted| {
            blocking(|| flight.replace(&sorted.ordinary, sorted.held))?;
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

    /// Sends the next request with values of single series, one at a time.
    pub(super) fn send_apart(&mut self) {
        let is_failing = self.failures > 0 && !self.answers.is_empty();
        if self.triage.is_clear() || self.wait_apart.is_some() || is_failing {
            return;
        }
        let (now, is_sorted) = (clock::monotonic(), self.is_all_sorted());
        if self.protocol == Protocol::V1 {
            self.triage.downgrade();
        }
        let (samples_max, protocol) = (self.feed.samples_max(), self.protocol);
        let triage = &mut self.triage;
        let parcel = blocking(|| triage.next(samples_max, protocol, is_sorted, now));
        let Some(parcel) = parcel.filter(|parcel| !parcel.is_sending) else {
            return self.settle_apart();
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
        self.fly(sent, request);
        self.settle_apart();
    }

    /// Whether all records were read, and what is not ordinary was taken out of them.
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
                    Some(stored) if cause != Cause::AlreadyThere => {
                        self.triage.stored_in_part(stored, now);
                    }
                    Some(_) | None => self.triage.parcel_refused(cause, &named, now),
                }
                self.quarantine_reason.clone_from(&outcome.reason);
            }
            Verdict::TooLarge => self.triage.too_large(now),
            Verdict::Rejected => {
                self.triage.rejected();
                self.tell_failed(counts, &outcome.reason, None);
                self.readiness.waiting(outcome.reason.as_str());
            }
            Verdict::Downgrade => self.downgrade(&outcome.reason),
            Verdict::Retry { after } => self.retry_apart(after, outcome),
        }
        self.settle_apart();
    }

    /// Sends it again, unless it is answered with 5xx although others are accepted.
    fn retry_apart(&mut self, after: Option<Duration>, outcome: &Outcome) {
        self.triage.retried(!outcome.unsent);
        let (now, is_by_errors) = (clock::monotonic(), self.triage.is_by_errors());
        let accepted = self.accepted_at;
        let is_accepted_since = |at| accepted.is_some_and(|accepted| accepted > at);
        let Some(parcel) = self.triage.parcel() else {
            return;
        };
        let is_working = is_accepted_since(parcel.failed_at);
        parcel.failed_at = now;
        if matches!(outcome.status, Some(status) if status.is_server_error()) {
            parcel.errors += 1;
            parcel.errors_among_accepted += u32::from(is_working);
        } else {
            (parcel.errors, parcel.errors_among_accepted) = (0, 0);
        }
        let attempt = parcel.attempt;
        let is_tried = is_by_errors && parcel.errors >= ERRORS;
        let is_guilty = if is_by_errors {
            is_tried && is_accepted_since(parcel.since)
        } else {
            let is_long = now.saturating_duration_since(parcel.since) >= ERRORS_MIN;
            is_long && parcel.errors_among_accepted >= ERRORS
        };
        if !is_working && !is_by_errors {
            return self.retry_later(after, &outcome.reason);
        }
        if is_guilty {
            self.quarantine_reason.clone_from(&outcome.reason);
            self.triage
                .parcel_refused(Cause::Errors, &HashSet::new(), now);
        } else if is_tried {
            self.triage.inconclusive();
        }
        let backoff = self.config.queue.backoff;
        let delay = backoff.delay_asked(after, attempt, fastrand::f64());
        self.wait_apart = Some(Box::pin(tokio::time::sleep(delay)));
    }

    /// Asks the receiver whether it works, with an empty request in the place of one that it answers with 5xx.
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
        self.fly(Sent::Check { sequence }, empty);
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
        let (origin, samples) = ((sequence, flight.is_again()), flight.open().points());
        warn!(
            samples,
            "the receiver answers a request with 5xx for minutes, and accepts an empty one; looking for the series that it fails on"
        );
        let sorted = blocking(|| Ok(triage.failing(flight.series()?, origin)));
        self.replace(sequence, sorted);
        self.failures = 0;
    }

    /// Counts what came of values that waited.
    fn settle_apart(&mut self) {
        let settled = self.triage.take_settled();
        self.metrics.sent.add(settled.delivered);
        self.metrics.failed.add(settled.failed);
        for part in settled.parts {
            if let Some(flight) = self.window.get(part.sequence) {
                flight.release(part.counts);
            }
        }
        self.window.settle(&mut self.queue);
    }

    /// Keeps what waits apart within bounds: the oldest goes.
    pub(super) fn limit_held(&mut self) {
        let is_too_much = |sink: &Self| {
            sink.triage.points() > POINTS_MAX
                || sink.window.held_bytes() > sink.queue.bytes_max() / 2
        };
        let mut dropped = 0;
        while is_too_much(self) && self.give_up_held(DropReason::QueueFull, |_| true) {
            dropped += 1;
            self.window.settle(&mut self.queue);
        }
        if dropped > 0 {
            warn!(
                requests = dropped,
                "too many samples wait until it is known whether the receiver accepts their series; the oldest were dropped"
            );
        }
    }

    /// Gives up what waits apart of the oldest record; whether there was something. What is on its way stays.
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

    /// Shows which series are not sent.
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
            info!("no series is quarantined any more");
            return self.readiness.hint(None);
        }
        let (examples, reason) = (self.triage.examples().join(", "), &self.quarantine_reason);
        self.readiness.hint(Some(format!(
            "the receiver refuses {series} series, such as {examples} ({reason})"
        )));
    }
}

/// Why a request was refused, and the series that the answer names.
pub(super) fn blamed(outcome: &Outcome) -> (Cause, HashSet<wire::Key>) {
    let named = names::series(&outcome.text).map(|labels| labels.key);
    (Cause::of(&outcome.text), named.collect())
}
