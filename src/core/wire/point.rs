//! What one time series holds in one request, whichever version it goes out in.

use std::sync::Arc;

use prost::encoding::{encode_varint, encoded_len_varint};

use crate::series::{Exemplar, Exponential, Runs};
use crate::timestamp::Timestamp;

/// PRW 1.0 and 2.0, "Stale Markers": this NaN, bit for bit.
pub(super) const STALE_MARKER: u64 = 0x7ff0_0000_0000_0002;

/// The values of one time series in one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Points<'a> {
    /// Where the series is new: when it held nothing yet.
    pub(super) zero: Option<Timestamp>,
    pub(super) value: Point<'a>,
    pub(super) at: Timestamp,
    /// When a counter or a histogram began to count.
    pub(super) start: Option<Timestamp>,
    pub(super) exemplars: &'a [&'a Arc<Exemplar>],
}

/// One value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Point<'a> {
    Number(f64),
    Native(&'a Exponential, f64),
    /// The end of a series of numbers, or of native histograms.
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

// What both versions have in common: values, and native histograms but for one field.

pub(super) const FIXED64: u8 = 1;
pub(super) const VARINT: u8 = 0;
pub(super) const LENGTH: u8 = 2;

/// A field's number and wire type, where the number is below 16.
pub(super) const fn tag(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

/// A double, unless it is zero: as every proto3 encoder does. Zero is all bits zero: -0 is written.
pub(super) fn double(field: u8, value: f64, out: &mut Vec<u8>) {
    if value.to_bits() != 0 {
        out.push(tag(field, FIXED64));
        out.extend(value.to_bits().to_le_bytes());
    }
}

/// A number of milliseconds since the epoch, unless it is zero.
pub(super) fn millis(field: u8, at: Timestamp, out: &mut Vec<u8>) {
    if at.millis() != 0 {
        varint_field(field, wire_millis(at), out);
    }
}

/// A number, unless it is zero.
pub(super) fn unsigned(field: u8, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        varint_field(field, value, out);
    }
}

fn varint_field(field: u8, value: u64, out: &mut Vec<u8>) {
    if field < 16 {
        out.push(tag(field, VARINT));
    } else {
        encode_varint(u64::from(field) << 3 | u64::from(VARINT), out);
    }
    encode_varint(value, out);
}

/// A message or a text, which `write` makes, behind its length.
///
/// `write` goes to a place of its own first: `scratch`, which is empty before and after.
pub(super) fn nested(field: u8, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
    out.push(tag(field, LENGTH));
    encode_varint(scratch.len() as u64, out);
    out.append(scratch);
}

/// A text.
pub(super) fn text(field: u8, value: &str, out: &mut Vec<u8>) {
    out.push(tag(field, LENGTH));
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value.as_bytes());
}

/// Numbers in one field, unless there are none.
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

/// The counter reset hint "yes", field 14: this histogram is the first after a reset. Without it the receiver finds
/// out by itself, which is always right.
const RESET: u64 = 1;

/// The fields of a native histogram, which have the same numbers in 1.0 and 2.0; but for the start timestamp,
/// which is 2.0's alone.
pub(super) fn histogram(points: Points<'_>, at_zero: Option<Timestamp>, out: &mut Vec<u8>) {
    let (native, sum) = match points.value {
        _ if at_zero.is_some() => (None, 0.0),
        Point::Native(native, sum) => (Some(native), sum),
        Point::StaleNative | Point::StaleNumber => (None, f64::from_bits(STALE_MARKER)),
        Point::Number(_) => (None, 0.0),
    };
    // The members of a oneof are written even when they are zero.
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

/// Spans, and in the field behind them deltas.
fn runs(field: u8, runs: &Runs, out: &mut Vec<u8>) {
    let mut scratch = Vec::new();
    for span in &runs.spans {
        unsigned(1, zigzag(span.offset.into()), &mut scratch);
        unsigned(2, span.length.into(), &mut scratch);
        nested(field, &mut scratch, out);
    }
    packed(field + 1, runs.deltas.iter().copied().map(zigzag), out);
}
