//! What survives a restart, in the form in which it is stored: generated from `proto/checkpoint.proto`.
//!
//! State, series and telemetry each write and read their own part; [`checkpoint`](crate::checkpoint) brings the whole to
//! disk and back. What comes from a file proves its checksum before it gets here, but may be of another version of the
//! daemon: whoever reads it takes what makes sense and leaves the rest. A checksum says nothing about a value, so times,
//! counts and intervals pass the functions here, which hold them to what an event can have.

use crate::event::judge;
use crate::timestamp::Timestamp;

include!(concat!(env!("OUT_DIR"), "/celeriac.checkpoint.v1.rs"));

/// The longest text that was ever stored of an event, in bytes.
pub use crate::event::TEXT_MAX;

/// A time of something that had happened by `now`; the epoch, which stands for none, if it cannot have.
pub fn past(micros: i64, now: Timestamp) -> Timestamp {
    Some(time(micros))
        .filter(|at| judge::has_happened(*at, now))
        .unwrap_or_default()
}

/// A time; the epoch, which stands for none, where an event could not have it.
pub fn time(micros: i64) -> Timestamp {
    let at = Timestamp::from_micros(micros);
    if at.is_of_events() {
        at
    } else {
        Timestamp::default()
    }
}

/// The same, of milliseconds.
pub fn time_ms(millis: i64) -> Timestamp {
    time(millis.saturating_mul(1_000))
}

/// A count, if it can be one.
pub fn count(count: u64) -> Option<u64> {
    judge::is_count(count).then_some(count)
}

/// An interval in seconds, if an event could have it.
pub fn seconds(seconds: f64) -> Option<f64> {
    judge::is_duration(seconds).then_some(seconds)
}

/// The sum of so many intervals in seconds.
pub fn sum(seconds: f64, count: u64) -> Option<f64> {
    judge::is_sum(seconds, count).then_some(seconds)
}

/// The value of a counter.
pub fn counter(number: f64) -> Option<f64> {
    judge::is_counter(number).then_some(number)
}

/// The value of a gauge that is a time, of something that had happened by `now`.
pub fn past_seconds(seconds: f64, now: Timestamp) -> Option<f64> {
    let at = Timestamp::from_seconds(seconds)?;
    judge::has_happened(at, now).then_some(seconds)
}
