//! Reads YAML: checks the limits of a text, then builds its [values](tree).
//!
//! The parser that builds them recurses once per level, copies what an alias refers to, and holds
//! everything in memory. Its lower layer does none of that: it hands out one event at a time. So
//! the text goes through that first, and its depth and size are measured with aliases followed. The
//! parser itself limits nested brackets to 255 levels.

mod tree;

use std::collections::HashMap;

use config::Value;
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::Marker;

/// The origin of plain scalars, whose type depends on the key that reads them.
pub(super) const PLAIN: &str = "a plain scalar";

/// Levels of lists and maps. The deepest key is on level 6.
const DEPTH_MAX: usize = 32;

/// Lists, maps, keys and other texts, each counted once per alias that refers to it. Enough for
/// about 8,000 relabeling rules.
const VALUES_MAX: usize = 100_000;

/// Bytes of all texts, counted in the same way.
const TEXT_BYTES_MAX: usize = 4 << 20;

fn too_deep(at: Marker) -> String {
    format!(
        "line {}: more than {DEPTH_MAX} levels of lists and maps",
        at.line()
    )
}

fn too_many(at: Marker) -> String {
    format!(
        "line {}: more than {VALUES_MAX} values with aliases expanded",
        at.line()
    )
}

/// Size of a value with aliases expanded.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    values: usize,
    text_bytes: usize,
    /// Levels of lists and maps, including its own.
    height: usize,
}

/// A list or map that is still open.
#[derive(Debug)]
struct Open {
    /// Id by which aliases refer to it; 0 if none can.
    anchor: usize,
    /// Totals before it.
    before: Size,
    /// The deepest level in it so far.
    deepest: usize,
}

/// Totals so far.
#[derive(Debug, Default)]
struct Measure {
    values: usize,
    text_bytes: usize,
    open: Vec<Open>,
    anchored: HashMap<usize, Size>,
}

impl Measure {
    fn on_event(&mut self, event: &Event) {
        match event {
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                self.begin(*anchor);
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Scalar(text, _, anchor, _) => {
                let size = Size {
                    values: 1,
                    text_bytes: text.len(),
                    height: 0,
                };
                self.anchored.insert(*anchor, size);
                self.add(size);
            }
            // An alias inside the value that it refers to counts as nothing.
            Event::Alias(anchor) => {
                self.add(self.anchored.get(anchor).copied().unwrap_or_default());
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart
            | Event::DocumentEnd => {}
        }
    }

    fn add(&mut self, size: Size) {
        self.values += size.values;
        self.text_bytes += size.text_bytes;
        self.reach(self.open.len() + size.height);
    }

    fn begin(&mut self, anchor: usize) {
        let before = Size {
            values: self.values,
            text_bytes: self.text_bytes,
            height: self.open.len(),
        };
        self.values += 1;
        self.open.push(Open {
            anchor,
            before,
            deepest: self.open.len() + 1,
        });
    }

    fn end(&mut self) {
        let Some(ended) = self.open.pop() else {
            return;
        };
        let size = Size {
            values: self.values - ended.before.values,
            text_bytes: self.text_bytes - ended.before.text_bytes,
            height: ended.deepest - ended.before.height,
        };
        self.anchored.insert(ended.anchor, size);
        self.reach(ended.deepest);
    }

    fn reach(&mut self, level: usize) {
        if let Some(open) = self.open.last_mut() {
            open.deepest = open.deepest.max(level);
        }
    }
}

/// Reads a document. The error names the line.
pub(super) fn load(text: &str) -> Result<Value, String> {
    let text = text.trim_start_matches('\u{feff}');
    check(text)?;
    tree::build(text)
}

/// Checks the limits. The error states which limit is exceeded, and on which line.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let mut parser = Parser::new_from_str(text);
    let mut measure = Measure::default();
    loop {
        let (event, at) = parser.next_token().map_err(|error| error.to_string())?;
        if event == Event::StreamEnd {
            return Ok(());
        }
        measure.on_event(&event);
        let deepest = measure.open.last().map_or(0, |open| open.deepest);
        if deepest > DEPTH_MAX {
            return Err(too_deep(at));
        }
        if measure.values > VALUES_MAX {
            return Err(too_many(at));
        }
        if measure.text_bytes > TEXT_BYTES_MAX {
            return Err(format!(
                "line {}: more than {} MiB of text with aliases expanded",
                at.line(),
                TEXT_BYTES_MAX >> 20
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the error for a text.
    fn refused(text: &str) -> String {
        check(text).expect_err("a limit")
    }

    fn nested(levels: usize, open: &str, close: &str) -> String {
        format!("x:\n  {}{}\n", open.repeat(levels), close.repeat(levels))
    }

    #[test]
    fn depth_is_limited_in_every_form_and_its_line_is_named() {
        let blocks: String = (0..100)
            .map(|level| format!("{}a:\n", " ".repeat(level)))
            .collect();
        let twenty = |inner: &str| format!("{}{inner}{}", "[".repeat(20), "]".repeat(20));
        let cases = [
            (nested(33, "[", "]"), "line 2"),
            (nested(200, "{a: ", "}"), "line 2"),
            (nested(50_000, "- ", "x"), "line 2"),
            (nested(50_000, "? ", "x"), "line 2"),
            (blocks, "line 33"),
            // Each alias adds the depth of what it refers to.
            (
                format!("a: &a {}\nb: &b {}", twenty(""), twenty("*a")),
                "line 2",
            ),
        ];
        for (text, line) in cases {
            let expected = format!("{line}: more than 32 levels of lists and maps");
            assert_eq!(refused(&text), expected, "{text:.60}");
        }
        for text in [nested(50_000, "[", "]"), nested(1_000_000, "{", "")] {
            let error = refused(&text);
            let expected = "recursion limit exceeded";
            assert!(
                error.contains(expected) && error.contains("line 2"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_aliases_repeat_is_limited_and_its_line_is_named() {
        let level = |level: usize| {
            let aliases = vec![format!("*a{level}"); 9].join(", ");
            format!("a{0}: &a{0} [{aliases}]\n", level + 1)
        };
        let first = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        let bomb: String = std::iter::once(first).chain((0..9).map(level)).collect();
        assert_eq!(
            refused(&bomb),
            "line 6: more than 100000 values with aliases expanded"
        );
        let text = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(500_000),
            "*a, ".repeat(50_000)
        );
        assert_eq!(
            refused(&text),
            "line 2: more than 4 MiB of text with aliases expanded"
        );
        let commas = format!("a: [{}]", ",".repeat(1_000_000));
        assert!(refused(&commas).contains("line 1"), "{}", refused(&commas));
    }

    #[test]
    fn what_people_write_is_within_the_limits() {
        let anchors = "tls: &tls {ca_file: /ca}\na: [{url: x, tls: *tls}, {url: y, tls: *tls}]\n";
        assert_eq!(check(anchors), Ok(()));
        let rule = "{source_labels: [a, b], regex: '[[{(]+ # x', target_label: c},\n";
        let rules = format!("{{\"x\": [\n{}]}}", rule.repeat(8_000));
        assert_eq!(check(&rules), Ok(()));
        assert_eq!(check(include_str!("../../config/example.yaml")), Ok(()));
        for empty in ["", "# nothing", "---\n...\n"] {
            assert_eq!(check(empty), Ok(()), "{empty:?}");
        }
    }
}
