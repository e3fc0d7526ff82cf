//! Numbers as the text formats and `le` labels have them.

use std::fmt::Write;

/// A bucket's upper bound: with a fraction always, as Prometheus 3 normalizes it on scrape and does not on
/// remote write. The same form everywhere keeps scraped and pushed series the same.
pub(super) fn le(bound: f64) -> String {
    if bound == f64::INFINITY {
        "+Inf".to_owned()
    } else {
        format!("{bound:?}")
    }
}

/// A sample's value in the text format.
pub(super) fn write_value(out: &mut String, value: f64) {
    // Writing to a string does not fail.
    let _ = if value.is_nan() {
        out.write_str("NaN")
    } else if value.is_infinite() {
        out.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else if let Some(whole) = whole(value) {
        // Most values are counts, and a whole number is written in a fraction of the time.
        write!(out, "{whole}")
    } else {
        write!(out, "{value}")
    };
}

/// The number, where it is one without a fraction that a float holds exactly. Not the negative zero, which has a sign.
fn whole(value: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let whole =
        value.fract() == 0.0 && value.abs() <= EXACT && !(value == 0.0 && value.is_sign_negative());
    #[expect(clippy::cast_possible_truncation, reason = "it was seen to fit")]
    whole.then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_have_a_fraction() {
        for (bound, text) in [
            (1.0, "1.0"),
            (0.005, "0.005"),
            (3600.0, "3600.0"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(le(bound), text);
        }
    }

    #[test]
    fn values_are_written_as_prometheus_reads_them() {
        let cases = [
            (0.0, "0"),
            (12.5, "12.5"),
            (-3.0, "-3"),
            (-0.0, "-0"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (1e17, "100000000000000000"),
            (1_795_344_019.823, "1795344019.823"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, text) in cases {
            let mut out = String::new();
            write_value(&mut out, value);
            assert_eq!(out, text);
        }
    }
}
