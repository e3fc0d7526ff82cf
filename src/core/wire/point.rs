//! The values of one series in one request, and the encoding that both versions share.

use std::sync::Arc;

use prost::encoding::{encode_varint, encoded_len_varint};

use crate::series::{Exemplar, Exponential, Runs};
use crate::timestamp::Timestamp;

/// The NaN of a stale marker, bit for bit (PRW 1.0 and 2.0, "Stale Markers").
pub(super) const STALE_MARKER: u64 = 0x7ff0_0000_0000_0002;

/// The values of one time series in one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Points<'a> {
    /// For a new series: the time at which it was still empty.
    pub(super) zero: Option<Timestamp>,
    pub(super) value: Point<'a>,
    pub(super) at: Timestamp,
    /// When a counter or histogram started counting.
    pub(super) start: Option<Timestamp>,
    pub(super) exemplars: &'a [&'a Arc<Exemplar>],
}

/// A single value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Point<'a> {
    Number(f64),
    Native(&'a Exponential, f64),
    /// The end of a series of numbers or of native histograms.
    StaleNumber,
    StaleNative,
}

impl Point<'_> {
    pub(super) const fn is_native(&self) -> bool {
        match self {
            Self::Native(..) | Self::StaleNative => true,
            Self::Number(_) | Self::StaleNumber => false,
        }
    }
}

// Shared by both versions: values, and native histograms except for one field.

pub(super) const FIXED64: u8 = 1;
pub(super) const VARINT: u8 = 0;
pub(super) const LENGTH: u8 = 2;

/// Returns the tag of a field whose number is below 16.
pub(super) const fn tag(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

/// Writes a double, unless it is zero, like every proto3 encoder. -0 is not all zero bits, so it is
/// written.
pub(super) fn double(field: u8, value: f64, out: &mut Vec<u8>) {
    if value.to_bits() != 0 {
        out.push(tag(field, FIXED64));
        out.extend(value.to_bits().to_le_bytes());
    }
}

/// Writes milliseconds since the epoch, unless zero.
pub(super) fn millis(field: u8, at: Timestamp, out: &mut Vec<u8>) {
    if at.millis() != 0 {
        varint_field(field, wire_millis(at), out);
    }
}

/// Writes a number, unless zero.
pub(super) fn unsigned(field: u8, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        varint_field(field, value, out);
    }
}

fn varint_field(field: u8, value: u64, out: &mut Vec<u8>) {
    out.push(tag(field, VARINT));
    encode_varint(value, out);
}

/// Writes a length-delimited message or string, produced by `write`.
///
/// `write` first writes to `scratch`, which is empty before and after.
pub(super) fn nested(field: u8, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
    out.push(tag(field, LENGTH));
    encode_varint(scratch.len() as u64, out);
    out.append(scratch);
}

/// Writes a string.
pub(super) fn text(field: u8, value: &str, out: &mut Vec<u8>) {
    out.push(tag(field, LENGTH));
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value.as_bytes());
}

/// Writes a packed field of numbers, unless there are none.
pub(super) fn packed(field: u8, values: impl Iterator<Item = u64> + Clone, out: &mut Vec<u8>) {
    let length: usize = values.clone().map(encoded_len_varint).sum();
    if length > 0 {
        out.push(tag(field, LENGTH));
        encode_varint(length as u64, out);
        values.for_each(|value| encode_varint(value, out));
    }
}

#[expect(
    clippy::cast_sign_loss,
    reason = "protobuf writes an int64 as its two's complement"
)]
pub(super) const fn wire_millis(at: Timestamp) -> u64 {
    at.millis() as u64
}

#[expect(clippy::cast_sign_loss, reason = "this is what zigzag is for")]
const fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// Counter reset hint "yes", field 14: this histogram is the first after a reset. Without it the
/// receiver detects resets itself, which is always correct.
const RESET: u64 = 1;

/// Writes the fields of a native histogram, which have the same numbers in 1.0 and 2.0, except for
/// the start timestamp, which only 2.0 has.
pub(super) fn histogram(points: Points<'_>, at_zero: Option<Timestamp>, out: &mut Vec<u8>) {
    let (native, sum) = match points.value {
        _ if at_zero.is_some() => (None, 0.0),
        Point::Native(native, sum) => (Some(native), sum),
        Point::StaleNative | Point::StaleNumber => (None, f64::from_bits(STALE_MARKER)),
        Point::Number(_) => (None, 0.0),
    };
    // Members of a oneof are written even if zero.
    varint_field(1, native.map_or(0, Exponential::count), out);
    double(3, sum, out);
    let schema = native.map_or_else(|| Exponential::new().schema(), Exponential::schema);
    unsigned(4, zigzag(schema.into()), out);
    double(5, Exponential::ZERO_THRESHOLD, out);
    varint_field(6, native.map_or(0, Exponential::zero_count), out);
    if let Some(native) = native {
        runs(8, &native.negative(), out);
        runs(11, &native.positive(), out);
    }
    if at_zero.is_some() {
        unsigned(14, RESET, out);
    }
    millis(15, at_zero.unwrap_or(points.at), out);
}

/// Writes spans, and deltas in the following field.
fn runs(field: u8, runs: &Runs, out: &mut Vec<u8>) {
    let mut scratch = Vec::new();
    for span in &runs.spans {
        unsigned(1, zigzag(span.offset.into()), &mut scratch);
        unsigned(2, span.length.into(), &mut scratch);
        nested(field, &mut scratch, out);
    }
    packed(field + 1, runs.deltas.iter().copied().map(zigzag), out);
}
