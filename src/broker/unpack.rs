//! Opens compressed events where they come in, within a budget.
//!
//! Some bytes can make millions. Whoever publishes such messages would stop the aggregator, which all brokers share, so
//! they are decompressed in the task of their broker, and what grows more than events do takes from a budget of bytes
//! and of time. Where that is exhausted they are refused, until there is some of it again.
//!
//! What events are compressed to does not count: a publisher that compresses everything may send as fast as another.

use std::time::{Duration, Instant};

use crate::blocking::blocking;
use crate::clock;
use crate::event::{Accept, Payload, decompress};

/// How large a body may become without taking from the budget: Celery sends up to 24 events in one, of a few hundred
/// bytes each, and no text of them is longer than 1 KiB.
const FREE_BYTES: usize = 64 << 10;

/// And how much larger than it was compressed. Two dozen events that are all alike shrink by less.
const FREE_RATIO: usize = 64;

/// How long a body may take without taking from the budget, at any length and by its length. Bzip2, the slowest, takes half
/// of that.
const FREE_TIME: Duration = Duration::from_micros(200);
const FREE_TIME_A_BYTE: Duration = Duration::from_nanos(100);

/// What is beyond that may take so much each second. One second's worth is saved up.
const BYTES_A_SECOND: usize = 16 << 20;
const TIME_A_SECOND: Duration = Duration::from_millis(250);

/// Decompresses what one connection brings.
#[derive(Debug)]
pub(super) struct Unpacker {
    accept: Accept,
    budget: Budget,
}

#[derive(Debug)]
struct Budget {
    bytes: usize,
    time: Duration,
    /// When it was filled up last.
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

    /// Opens those that are compressed.
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

/// What a body of such a length has taken from the budget.
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
