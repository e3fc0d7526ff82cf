//! Formats numbers for the text formats and `le` labels.

use std::fmt::Write;

/// Formats a bucket's upper bound, always with a fraction. Prometheus 3 normalizes bounds this way
/// when it scrapes, but not in remote write, so a single form keeps scraped and pushed series
/// identical.
pub(super) fn le(bound: f64) -> String {
    if bound == f64::INFINITY {
        "+Inf".to_owned()
    } else {
        format!("{bound:?}")
    }
}

/// Writes a sample's value in the text format.
pub(super) fn write_value(out: &mut String, value: f64) {
    // Writing to a string cannot fail.
    let _ = if value.is_nan() {
        out.write_str("NaN")
    } else if value.is_infinite() {
        out.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else if let Some(whole) = whole(value) {
        // Most values are whole numbers, which are written much faster as integers.
        write!(out, "{whole}")
    } else {
        write!(out, "{value}")
    };
}

/// Returns the value if it is a whole number that a float represents exactly. Excludes -0, because
/// of its sign.
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
    fn a_whole_number_is_one_that_a_float_tells_from_its_neighbours() {
        for (value, expected) in [
            (0.0, Some(0)),
            (-3.0, Some(-3)),
            (9_007_199_254_740_992.0, Some(9_007_199_254_740_992)),
            (9_007_199_254_740_994.0, None),
            (0.5, None),
            (-0.0, None),
        ] {
            assert_eq!(whole(value), expected, "{value}");
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
            (f64::INFINITY, "+Inf"),
            (1e20, "100000000000000000000"),
        ];
        for (value, text) in cases {
            let mut out = String::new();
            write_value(&mut out, value);
            assert_eq!(out, text);
        }
    }
}
