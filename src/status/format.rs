//! How values are written for people: short, with a unit where the title has none.

/// What stands for an unknown value.
pub const UNKNOWN: &str = "–";

/// A count: exact up to 99,999, then rounded, such as `1.2M`.
pub fn count(count: u64) -> String {
    if count < 100_000 {
        return grouped(count);
    }
    scaled(float(count), &["k", "M", "G", "T"], 1000.0)
}

/// A count with separators, such as `1,234,567`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Something a minute or a second: three significant digits.
pub fn rate(rate: f64) -> String {
    match rate.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.01 => "<0.01".to_owned(),
        size if size < 9.995 => format!("{rate:.2}"),
        size if size < 99.95 => format!("{rate:.1}"),
        size if size < 99_999.5 => grouped(whole(rate)),
        _ => scaled(rate, &["k", "M", "G", "T"], 1000.0),
    }
}

/// A ratio in per cent, without the sign.
pub fn percent(ratio: f64) -> String {
    match ratio * 100.0 {
        0.0 => "0".to_owned(),
        percent if percent < 0.1 => "<0.1".to_owned(),
        percent if percent < 9.95 => format!("{percent:.1}"),
        percent => format!("{percent:.0}"),
    }
}

/// A duration, in its one or two largest units, such as `340 ms`, `1.5 s`, `3 min 5 s` or `2 d 4 h`.
pub fn duration(seconds: f64) -> String {
    let (sign, size) = if seconds < 0.0 {
        ("−", -seconds)
    } else {
        ("", seconds)
    };
    let text = match size {
        0.0 => "0 s".to_owned(),
        size if size < 0.000_95 => "<1 ms".to_owned(),
        size if size < 0.999_5 => format!("{:.0} ms", size * 1e3),
        size if size < 9.95 => format!("{size:.1} s"),
        size if size < 59.5 => format!("{size:.0} s"),
        size => long(whole(size)),
    };
    format!("{sign}{text}")
}

/// An age, in whole seconds: otherwise as [`duration`].
pub fn age(seconds: f64) -> String {
    let whole = seconds.max(0.0).floor();
    if whole < 10.0 {
        format!("{whole:.0} s")
    } else {
        duration(whole)
    }
}

/// A size in bytes, such as `1.5 MiB`.
pub fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    scaled(float(bytes), &[" KiB", " MiB", " GiB", " TiB"], 1024.0)
}

/// A time of day in UTC, such as `12:03:11`.
pub fn clock(timestamp: f64) -> String {
    let day = whole(timestamp) % 86_400;
    format!("{:02}:{:02}:{:02}", day / 3600, day / 60 % 60, day % 60)
}

/// A number in full, for a tooltip: six digits, because no measured value has more.
pub fn exact(value: f64) -> String {
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    rounded.to_string()
}

fn long(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let at = UNITS.iter().position(|(unit, _)| seconds >= *unit);
    let at = at.unwrap_or(UNITS.len() - 1);
    let (unit, name) = UNITS[at];
    let (first, rest) = (seconds / unit, seconds % unit);
    match UNITS.get(at + 1) {
        Some((unit, next)) if rest >= *unit => format!("{first} {name} {} {next}", rest / unit),
        _ => format!("{first} {name}"),
    }
}

fn scaled(value: f64, units: &[&str], step: f64) -> String {
    let mut value = value;
    let mut unit = "";
    for next in units {
        if value.abs() < step {
            break;
        }
        value /= step;
        unit = next;
    }
    let digits = usize::from(value.abs() < 99.95);
    format!("{value:.digits$}{unit}")
}

#[expect(clippy::cast_precision_loss, reason = "the text has three digits")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion from float saturates"
)]
const fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_or_two_units() {
        let cases = [
            (0.0, "0 s"),
            (0.0004, "<1 ms"),
            (0.34, "340 ms"),
            (0.9996, "1.0 s"),
            (1.54, "1.5 s"),
            (9.96, "10 s"),
            (59.6, "1 min"),
            (185.0, "3 min 5 s"),
            (3600.0, "1 h"),
            (3659.0, "1 h"),
            (187_200.0, "2 d 4 h"),
            (-2.0, "−2.0 s"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(age(-1.0), "0 s");
        assert_eq!(age(9.9), "9 s");
        assert_eq!(age(185.9), "3 min 5 s");
        assert_eq!(count(99_999), "99,999");
        assert_eq!(count(100_000), "100k");
        assert_eq!(count(1_234_567), "1.2M");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(rate(0.001), "<0.01");
        assert_eq!(rate(9.994), "9.99");
        assert_eq!(rate(12.34), "12.3");
        assert_eq!(rate(1234.4), "1,234");
        assert_eq!(percent(0.0004), "<0.1");
        assert_eq!(percent(0.0123), "1.2");
        assert_eq!(percent(1.0), "100");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1_572_864), "1.5 MiB");
        assert_eq!(clock(1_700_000_000.0), "22:13:20");
    }
}
