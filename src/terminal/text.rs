//! Texts in columns: their width, cut, padded and wrapped; and sparklines.

use std::borrow::Cow;

use ratatui::style::Style;
use ratatui::text::Span;

use crate::escape::printable;

/// What stands for the part that was cut off.
const ELLIPSIS: &str = "…";

/// Bars of a sparkline, lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Number of columns that a text without control characters occupies.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Shortens a text to `width_max` columns, by leaving out its middle. Names often differ at the end only.
pub(super) fn cut(text: &str, width_max: usize) -> Cow<'_, str> {
    if width(text) <= width_max {
        return Cow::Borrowed(text);
    }
    if width_max == 0 {
        return Cow::Borrowed("");
    }
    let span = Span::raw(text);
    let parts: Vec<&str> = span
        .styled_graphemes(Style::new())
        .map(|part| part.symbol)
        .collect();
    let tail_max = (width_max - 1) / 2;
    let tail = fitting(parts.iter().rev().copied(), tail_max);
    let tail_width: usize = parts[parts.len() - tail..].iter().map(|p| width(p)).sum();
    let head = fitting(parts.iter().copied(), width_max - 1 - tail_width);
    let mut out = parts[..head].concat();
    out.push_str(ELLIPSIS);
    out.extend(parts[parts.len() - tail..].iter().copied());
    Cow::Owned(out)
}

/// The number of parts that fit into `width_max` columns.
fn fitting<'p>(parts: impl Iterator<Item = &'p str>, width_max: usize) -> usize {
    let mut used = 0;
    parts
        .take_while(|part| {
            used += width(part);
            used <= width_max
        })
        .count()
}

/// Cuts or pads a text to exactly `columns`.
pub(super) fn padded(text: &str, columns: usize, right: bool) -> String {
    let text = cut(text, columns);
    let space = " ".repeat(columns.saturating_sub(width(&text)));
    if right {
        format!("{space}{text}")
    } else {
        format!("{text}{space}")
    }
}

/// Wraps a text to lines of `width_max` columns and escapes it. A longer word is divided.
pub(super) fn wrapped(text: &str, width_max: usize) -> Vec<String> {
    let width_max = width_max.max(1);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace().map(printable) {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(&word) <= width_max => {
                line.push(' ');
                line.push_str(&word);
            }
            Some(_) | None => lines.extend(divided(&word, width_max)),
        }
    }
    lines
}

/// Divides a word into parts of at most `width_max` columns.
fn divided(word: &str, width_max: usize) -> Vec<String> {
    if width(word) <= width_max {
        return vec![word.to_owned()];
    }
    let mut parts = vec![String::new()];
    let mut used = 0;
    for part in Span::raw(word).styled_graphemes(Style::new()) {
        let columns = width(part.symbol);
        if used + columns > width_max && used > 0 {
            parts.push(String::new());
            used = 0;
        }
        used += columns;
        if let Some(last) = parts.last_mut() {
            last.push_str(part.symbol);
        }
    }
    parts
}

/// A history in `columns` characters. Each shows the largest of the values it stands for; a space means that none is
/// known.
pub(super) fn spark(history: &[Option<u32>], columns: usize) -> String {
    let columns = columns.min(history.len());
    let highest = history.iter().flatten().max().copied().unwrap_or_default();
    let bar = |at: usize| {
        let part = &history[at * history.len() / columns..(at + 1) * history.len() / columns];
        match part.iter().flatten().max() {
            None => ' ',
            Some(0) => BARS[0],
            Some(&value) => {
                // At least the second bar, so that 1 of 1,000,000 differs from 0.
                let step = u64::from(value) * 7 / u64::from(highest.max(1));
                BARS[usize::try_from(step).unwrap_or(7).clamp(1, 7)]
            }
        }
    };
    (0..columns).map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_in_the_middle_by_its_width() {
        for (text, width_max, expected) in [
            ("shop.payments.charge", 20, "shop.payments.charge"),
            ("shop.payments.charge", 11, "shop.…harge"),
            ("shop.payments.charge", 1, "…"),
            ("shop.payments.charge", 0, ""),
            // Two columns each.
            ("注文を処理する", 7, "注文…る"),
            ("注文を処理する", 6, "注…る"),
            // An accent of its own.
            ("e\u{301}e\u{301}e\u{301}e\u{301}", 3, "e\u{301}…e\u{301}"),
        ] {
            let found = cut(text, width_max);
            assert_eq!(found, expected, "{text} {width_max}");
            assert!(width(&found) <= width_max, "{found}");
        }
        assert_eq!(padded("注文", 5, true), " 注文");
        assert_eq!(padded("注文", 3, false), "注…");
    }

    #[test]
    fn text_is_wrapped_and_cannot_control_the_terminal() {
        assert_eq!(
            wrapped("a broker\nis \x1b[2Jaway 注文注文注文", 8),
            ["a broker", "is", r"\u{1b}[2", "Jaway", "注文注文", "注文"]
        );
        assert_eq!(wrapped(" ", 8), Vec::<String>::new());
        assert_eq!(wrapped("注", 0), ["注"]);
    }

    #[test]
    fn a_sparkline_tells_zero_little_and_unknown_apart() {
        let history = [None, Some(0), Some(1), Some(1_000_000), Some(u32::MAX)];
        assert_eq!(spark(&history, 5), " ▁▂▂█");
        assert_eq!(spark(&history, 2), "▁█");
        assert_eq!(spark(&history, 60), " ▁▂▂█");
        assert_eq!(spark(&[], 10), "");
        assert_eq!(spark(&[Some(0)], 10), "▁");
    }
}
