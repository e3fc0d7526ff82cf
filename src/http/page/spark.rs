//! Sparklines: the path of an inline SVG, and what a screen reader says about it.

use std::fmt::Write;

use crate::status::format;

/// Height of the drawing; every point is two units wide.
const HEIGHT: u32 = 24;
const STEP: usize = 2;

/// A history, drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spark {
    /// The width of the view box.
    pub(super) width: usize,
    /// A line; it has gaps where nothing is known.
    pub(super) line: String,
    /// What a screen reader says.
    pub(super) spoken: String,
}

impl Spark {
    /// Draws a history, oldest value first; `None` without any known value.
    pub(super) fn new(what: &str, history: &[Option<u32>]) -> Option<Self> {
        let known = || history.iter().flatten().copied();
        let (lowest, highest) = (known().min()?, known().max()?);
        let last = history.last().copied().flatten();
        let last = last.map_or_else(|| "unknown".to_owned(), |last| format::count(last.into()));
        let (low, high) = (format::count(lowest.into()), format::count(highest.into()));
        Some(Self {
            width: history.len().saturating_sub(1).max(1) * STEP,
            line: line(history, highest),
            spoken: format!("{what}: {low} to {high}, last {last}"),
        })
    }
}

/// The distance from the top, at least 1 so that the line is not cut off.
fn height(value: u32, highest: u32) -> u32 {
    let room = u64::from(HEIGHT - 2);
    let up = u64::from(value) * room / u64::from(highest.max(1));
    HEIGHT - 1 - u32::try_from(up).unwrap_or(HEIGHT - 2)
}

fn line(history: &[Option<u32>], highest: u32) -> String {
    let mut path = String::with_capacity(history.len() * 5);
    let mut pen: Option<u32> = None;
    let mut flat = 0;
    for (at, value) in history.iter().enumerate() {
        let next = value.map(|value| height(value, highest));
        // Writing to a string cannot fail.
        let _ = match (pen, next) {
            (Some(before), Some(now)) if before == now => {
                flat += STEP;
                Ok(())
            }
            (Some(before), Some(now)) => {
                let _ = end_flat(&mut path, &mut flat);
                let down = i64::from(now) - i64::from(before);
                let gap = if down < 0 { "" } else { " " };
                write!(path, "l{STEP}{gap}{down}")
            }
            // A point of its own becomes a dot, because the line has round ends.
            (None, Some(now)) => write!(path, "M{} {now}h0", at * STEP),
            (_, None) => end_flat(&mut path, &mut flat),
        };
        pen = next;
    }
    let _ = end_flat(&mut path, &mut flat);
    path
}

fn end_flat(path: &mut String, flat: &mut usize) -> std::fmt::Result {
    if *flat > 0 {
        write!(path, "h{flat}")?;
        *flat = 0;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_gaps_where_nothing_is_known() {
        let spark = |history: &[Option<u32>]| Spark::new("Waiting", history);
        assert_eq!(spark(&[]), None);
        assert_eq!(spark(&[None, None]), None);
        let drawn = spark(&[Some(0), Some(0), Some(11), None, Some(22)]).expect("a line");
        assert_eq!(drawn.line, "M0 23h0h2l2-11M8 1h0");
        assert_eq!(drawn.width, 8);
        assert_eq!(drawn.spoken, "Waiting: 0 to 22, last 22");
        let level = spark(&[Some(0); 3]).expect("a line");
        assert_eq!(level.line, "M0 23h0h4");
        let largest = spark(&[Some(u32::MAX), None]).expect("a line");
        assert_eq!(largest.line, "M0 1h0");
        assert_eq!(largest.spoken, "Waiting: 4.3G to 4.3G, last unknown");
    }
}
