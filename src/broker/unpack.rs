//! Decompresses events as they arrive, within a budget.
//!
//! A few bytes can decompress to millions. A publisher of such messages would stall the aggregator,
//! which all brokers share. Messages are therefore decompressed in their broker's task, and any
//! that expand more than events normally do draw on a budget of bytes and time. When the budget is
//! exhausted, such messages are refused until it has recovered.
//!
//! Normal expansion is not charged, so a publisher that compresses every event can send as fast as
//! any other.

use std::time::{Duration, Instant};

use crate::blocking::blocking;
use crate::clock;
use crate::event::{Accept, Payload, decompress};

/// How large a body may become without using the budget: Celery sends up to 24 events in one
/// message, of a few hundred bytes each, with no string longer than 1 KiB.
const FREE_BYTES: usize = 64 << 10;

/// How many times its compressed size a body may reach without using the budget. Two dozen
/// identical events compress less than that.
const FREE_RATIO: usize = 64;

/// How long decompression may take without using the budget: a fixed part, and one by length.
/// Bzip2, the slowest, takes half of that.
const FREE_TIME: Duration = Duration::from_micros(200);
const FREE_TIME_A_BYTE: Duration = Duration::from_nanos(100);

/// What the budget allows per second. At most one second's worth accumulates.
const BYTES_A_SECOND: usize = 16 << 20;
const TIME_A_SECOND: Duration = Duration::from_millis(250);

/// Decompresses the messages of one connection.
#[derive(Debug)]
pub(super) struct Unpacker {
    accept: Accept,
    budget: Budget,
}

#[derive(Debug)]
struct Budget {
    bytes: usize,
    time: Duration,
    /// When the budget was last refilled.
    at: Instant,
}

impl Unpacker {
    pub(super) fn new(accept: Accept) -> Self {
        let budget = Budget {
            bytes: BYTES_A_SECOND,
            time: TIME_A_SECOND,
            at: clock::monotonic(),
        };
        Self { accept, budget }
    }

    /// Decompresses the payloads that are compressed.
    pub(super) fn unpack(&mut self, payloads: &mut [Payload]) {
        let mut compressed = payloads
            .iter_mut()
            .filter(|payload| payload.may_be_compressed())
            .peekable();
        if compressed.peek().is_none() {
            return;
        }
        blocking(|| compressed.for_each(|payload| self.open(payload)));
    }

    fn open(&mut self, payload: &mut Payload) {
        let budget = &mut self.budget;
        budget.fill(clock::monotonic());
        let begun = clock::thread_time();
        let (mut counted, mut owed) = (0, Duration::ZERO);
        decompress(payload, self.accept, |compressed, length| {
            owed = owed_after(clock::thread_time().saturating_sub(begun), length);
            if length > FREE_BYTES.min(compressed * FREE_RATIO) {
                budget.bytes = budget.bytes.saturating_sub(length - counted);
                counted = length;
            }
            budget.bytes > 0 && budget.time > owed
        });
        let spent = clock::thread_time().saturating_sub(begun);
        budget.time = budget
            .time
            .saturating_sub(owed.max(owed_after(spent, payload.bytes.len())));
    }
}

/// The part of the budget used by a body of this length.
fn owed_after(spent: Duration, length: usize) -> Duration {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    spent.saturating_sub(FREE_TIME + FREE_TIME_A_BYTE * length)
}

impl Budget {
    fn fill(&mut self, now: Instant) {
        let passed = now
            .saturating_duration_since(self.at)
            .as_secs_f64()
            .min(1.0);
        self.at = now;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "at most a second's worth"
        )]
        let bytes = (BYTES_A_SECOND as f64 * passed) as usize;
        self.bytes = (self.bytes + bytes).min(BYTES_A_SECOND);
        self.time = (self.time + TIME_A_SECOND.mul_f64(passed)).min(TIME_A_SECOND);
    }
}
