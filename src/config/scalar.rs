//! Parses and formats durations and sizes.

use std::time::Duration;

/// Parses `15s`, `1m30s`, `24h`; the unit is required.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text.trim()).ok()
}

/// Formats a duration so that [`parse_duration`] can parse it.
pub(super) fn show_duration(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    // Use days instead of humantime's years and months.
    if duration.as_secs() >= DAY
        && duration.as_secs().is_multiple_of(DAY)
        && duration.subsec_nanos() == 0
    {
        return format!("{}d", duration.as_secs() / DAY);
    }
    humantime::format_duration(duration)
        .to_string()
        .replace(' ', "")
}

const UNITS: [(&str, u64); 7] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

/// Parses `256MiB`, `10MB`, `4096B`, `4096`.
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let factor = match unit.trim() {
        "" | "B" => 1,
        unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Formats a size so that [`parse_bytes`] can parse it, in the largest unit without a fraction.
pub(super) fn show_bytes(bytes: u64) -> String {
    let unit = UNITS
        .iter()
        .find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(
        || format!("{bytes}B"),
        |(name, factor)| format!("{}{name}", bytes / factor),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let cases = [
            ("256MiB", Some(268_435_456)),
            ("1 KiB", Some(1024)),
            ("10MB", Some(10_000_000)),
            ("17", Some(17)),
            ("17B", Some(17)),
            ("1.5MiB", None),
            ("-1", None),
            ("12Mb", None),
            ("99999999999TiB", None),
            ("", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for bytes in [0, 1, 17, 1000, 1024, 134_217_728, 10_000_000] {
            assert_eq!(parse_bytes(&show_bytes(bytes)), Some(bytes));
        }
        for millis in [30, 1_000, 90_000, 86_400_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }
    }

    #[test]
    fn a_duration_without_a_unit_is_none() {
        for text in ["15", "", "soon", "-1s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
