//! Counts as floats, and back.

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus holds counts as floats"
)]
pub(super) const fn float(count: u64) -> f64 {
    count as f64
}

/// A count, which the table holds as a float.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion from float saturates"
)]
pub(super) const fn whole(value: f64) -> u64 {
    value.round() as u64
}
