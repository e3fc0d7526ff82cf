//! What survives a restart, in the form in which it is stored: generated from `proto/checkpoint.proto`.
//!
//! State, series and telemetry each write and read their own part; [`checkpoint`](crate::checkpoint) brings the whole to
//! disk and back. What comes from a file proves its checksum before it gets here, but may be of another version of the
//! daemon: whoever reads it takes what makes sense and leaves the rest. A checksum says nothing about a value, so times,
//! counts and intervals pass the functions here, which hold them to what an event can have.

use crate::timestamp::Timestamp;

include!(concat!(env!("OUT_DIR"), "/celeriac.checkpoint.v1.rs"));

/// The longest text that was ever stored of an event, in bytes.
pub(crate) use crate::event::TEXT_MAX;

/// A time; the epoch, which stands for none, where an event could not have it.
pub(crate) fn time(micros: i64) -> Timestamp {
    let at = Timestamp::from_micros(micros);
    if at.is_of_events() {
        at
    } else {
        Timestamp::default()
    }
}

/// The same, of milliseconds.
pub(crate) fn time_ms(millis: i64) -> Timestamp {
    time(millis.saturating_mul(1_000))
}

/// A count, if an event could have it: whole numbers are exact up to there in JSON.
pub(crate) fn count(count: u64) -> Option<u64> {
    (count <= 1 << 53).then_some(count)
}

/// An interval in seconds, if an event could have it.
pub(crate) fn seconds(seconds: f64) -> Option<f64> {
    (seconds.is_finite() && seconds >= 0.0).then_some(seconds)
}
