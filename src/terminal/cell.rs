//! Cells of tables as text.

use crate::escape::printable;
use crate::status::columns::Cell;
use crate::status::format;

/// How a text is emphasized. A mark beside it says the same without colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    Good,
    Warning,
    Bad,
    /// Unknown, or less important.
    Faint,
    Strong,
}

/// What precedes a value in a bad state.
pub(super) const MARK: &str = "! ";

/// The content of a cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shown {
    Text(String, Tone),
    /// A history, which is drawn as wide as there is room.
    Spark(Vec<Option<u32>>),
}

impl Shown {
    fn plain(text: impl Into<String>) -> Self {
        Self::Text(text.into(), Tone::Plain)
    }

    fn unknown() -> Self {
        Self::Text(format::UNKNOWN.to_owned(), Tone::Faint)
    }

    fn bad(text: &str) -> Self {
        Self::Text(format!("{MARK}{text}"), Tone::Bad)
    }
}

/// Formats a cell of a document from the time `at`.
pub(super) fn shown(cell: &Cell<'_>, at: f64) -> Shown {
    let optional = |text: Option<String>| text.map_or_else(Shown::unknown, Shown::plain);
    match *cell {
        Cell::Text(text) | Cell::OptionalText(Some(text)) => Shown::plain(printable(text)),
        Cell::OptionalText(None) => Shown::unknown(),
        Cell::Texts(texts) => optional(texts.map(|texts| {
            let texts: Vec<_> = texts.iter().map(|text| printable(text)).collect();
            texts.join(", ")
        })),
        Cell::Count(count) => optional(count.map(format::count)),
        Cell::Trouble(0) => Shown::plain("0"),
        Cell::Trouble(count) => Shown::bad(&format::count(count)),
        Cell::Rate(rate) => optional(rate.map(format::rate)),
        Cell::Ratio(ratio) => optional(ratio.map(format::percent)),
        Cell::TroubleRatio(Some(ratio)) if ratio > 0.0 => Shown::bad(&format::percent(ratio)),
        Cell::TroubleRatio(ratio) => optional(ratio.map(format::percent)),
        Cell::Seconds(seconds) => optional(seconds.map(format::duration)),
        Cell::Percentiles(None, None) => Shown::unknown(),
        Cell::Percentiles(median, high) => {
            let [median, high] = [median, high].map(seconds);
            Shown::plain(format!("{median}, {high}"))
        }
        Cell::Time(time) => optional(time.map(|time| ago(time, at))),
        Cell::Of(None, None) => Shown::unknown(),
        Cell::Of(part, whole) => {
            let [part, whole] = [part, whole].map(count);
            Shown::plain(format!("{part}/{whole}"))
        }
        Cell::Bytes(bytes, None) => Shown::plain(format::bytes(bytes)),
        Cell::Bytes(bytes, Some(limit)) => {
            let (used, limit) = (format::bytes(bytes), format::bytes(limit));
            Shown::plain(format!("{used} of {limit}"))
        }
        Cell::Load(load) => optional(load.map(|load| load.map(format::rate).join(" "))),
        Cell::State(good, state, since) => {
            let since = since.map_or_else(String::new, |since| {
                format!(" {}", format::duration((at - since).max(0.0)))
            });
            let text = format!("{}{since}", printable(state));
            if good {
                Shown::Text(text, Tone::Good)
            } else {
                Shown::bad(&text)
            }
        }
        Cell::Drain(_, true) => Shown::Text(format!("{MARK}growing"), Tone::Warning),
        Cell::Drain(seconds, false) => optional(seconds.map(format::duration)),
        Cell::Spark(history) => Shown::Spark(history.to_vec()),
    }
}

/// How long ago something happened, or in how long it will.
pub(super) fn ago(time: f64, at: f64) -> String {
    if time > at {
        return format!("in {}", format::duration(time - at));
    }
    format!("{} ago", format::duration(at - time))
}

pub(super) fn count(count: Option<u64>) -> String {
    count.map_or_else(|| format::UNKNOWN.to_owned(), format::count)
}

pub(super) fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| format::UNKNOWN.to_owned(), format::duration)
}

/// Whether cells of this kind are aligned to the right.
pub(super) const fn is_number(cell: &Cell<'_>) -> bool {
    match cell {
        Cell::Text(_)
        | Cell::OptionalText(_)
        | Cell::Texts(_)
        | Cell::State(..)
        | Cell::Spark(_) => false,
        Cell::Count(_)
        | Cell::Trouble(_)
        | Cell::Rate(_)
        | Cell::Ratio(_)
        | Cell::TroubleRatio(_)
        | Cell::Seconds(_)
        | Cell::Percentiles(..)
        | Cell::Time(_)
        | Cell::Of(..)
        | Cell::Bytes(..)
        | Cell::Load(_)
        | Cell::Drain(..) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_never_zero_and_bad_states_have_a_mark() {
        let at = 1_000.0;
        for (cell, expected) in [
            (Cell::Text("a\x1bb"), "a\\u{1b}b"),
            (Cell::OptionalText(None), "–"),
            (Cell::Texts(None), "–"),
            (Cell::Count(None), "–"),
            (Cell::Count(Some(0)), "0"),
            (Cell::Count(Some(u64::MAX)), "18446744T"),
            (Cell::Trouble(0), "0"),
            (Cell::Trouble(3), "! 3"),
            (Cell::Rate(None), "–"),
            (Cell::Ratio(Some(0.5)), "50"),
            (Cell::TroubleRatio(Some(0.0)), "0"),
            (Cell::TroubleRatio(Some(0.012)), "! 1.2"),
            (Cell::TroubleRatio(None), "–"),
            (Cell::Percentiles(None, Some(2.0)), "–, 2.0 s"),
            (Cell::Percentiles(None, None), "–"),
            (Cell::Time(Some(940.0)), "1 min ago"),
            (Cell::Time(Some(1_060.0)), "in 1 min"),
            (Cell::Of(Some(3), None), "3/–"),
            (Cell::Bytes(1024, Some(2048)), "1.0 KiB of 2.0 KiB"),
            (Cell::Load(Some([0.5, 1.0, 2.0])), "0.50 1.00 2.00"),
            (Cell::State(true, "up", Some(940.0)), "up 1 min"),
            (Cell::State(false, "gone", None), "! gone"),
            (Cell::Drain(None, true), "! growing"),
            (Cell::Drain(None, false), "–"),
            (Cell::Drain(Some(60.0), false), "1 min"),
        ] {
            match shown(&cell, at) {
                Shown::Text(text, _) => assert_eq!(text, expected),
                Shown::Spark(_) => panic!("{cell:?}"),
            }
        }
    }
}
