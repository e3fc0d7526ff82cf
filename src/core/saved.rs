//! The stored form of everything that survives a restart, generated from `proto/checkpoint.proto`.
//!
//! State, series and telemetry each write and read their own part;
//! [`checkpoint`](crate::checkpoint) moves all of it to disk and back. The checksum of a file is
//! verified before its content gets here, but the file may come from another version of the daemon,
//! so each reader accepts what is valid and ignores the rest. A checksum does not make a value
//! plausible: times, counts and intervals pass through the functions here, which apply the same
//! limits as for events.

use crate::event::judge;
use crate::timestamp::Timestamp;

include!("generated/checkpoint.rs");

/// Maximum length in bytes of a string stored from an event.
pub use crate::event::TEXT_MAX;

/// Validates a time that must not be in the future. Returns the epoch ("none") if it is invalid.
pub fn past(micros: i64, now: Timestamp) -> Timestamp {
    Some(time(micros))
        .filter(|at| judge::has_happened(*at, now))
        .unwrap_or_default()
}

/// Returns a time, or the epoch ("none") if no event could carry it.
pub fn time(micros: i64) -> Timestamp {
    let at = Timestamp::from_micros(micros);
    if at.is_of_events() {
        at
    } else {
        Timestamp::default()
    }
}

/// Like [`time`], from milliseconds.
pub fn time_ms(millis: i64) -> Timestamp {
    time(millis.saturating_mul(1_000))
}

/// Returns a count if it is plausible.
pub fn count(count: u64) -> Option<u64> {
    judge::is_count(count).then_some(count)
}

/// Returns an interval in seconds if an event could carry it.
pub fn seconds(seconds: f64) -> Option<f64> {
    judge::is_duration(seconds).then_some(seconds)
}

/// Returns the sum of `count` intervals in seconds, if it is plausible.
pub fn sum(seconds: f64, count: u64) -> Option<f64> {
    judge::is_sum(seconds, count).then_some(seconds)
}

/// Returns the value of a counter, if it is plausible.
pub fn counter(number: f64) -> Option<f64> {
    judge::is_counter(number).then_some(number)
}

/// Returns the value of a gauge that holds a time, which must not be in the future.
pub fn past_seconds(seconds: f64, now: Timestamp) -> Option<f64> {
    let at = Timestamp::from_seconds(seconds)?;
    judge::has_happened(at, now).then_some(seconds)
}
