//! Builds the values of a YAML file, as Prometheus' YAML library (go-yaml 2) does.
//!
//! A plain scalar keeps its text, and the key that reads it decides on the type: `123456` is a
//! number for a limit and a text for a user name. Quoted scalars are always texts. Merge keys
//! (`<<`) are merged, and a key that appears twice is an error.

use std::collections::HashMap;

use config::{Map, Value, ValueKind};
use yaml_rust2::parser::{Event, Parser, Tag};
use yaml_rust2::scanner::{Marker, TScalarStyle};

use super::PLAIN;

/// The key whose maps are merged into the one around it.
const MERGE: &str = "<<";

/// A list or map under construction, with the id by which aliases refer to it.
#[derive(Debug)]
enum Open {
    List(usize, Vec<Value>),
    Map {
        anchor: usize,
        entries: Map<String, Value>,
        /// The key whose value comes next.
        key: Option<String>,
        /// Maps to merge. Entries of this map, and of earlier ones, take precedence.
        merged: Vec<Value>,
    },
}

#[derive(Debug, Default)]
struct Tree {
    open: Vec<Open>,
    anchored: HashMap<usize, Value>,
    root: Option<Value>,
}

/// Builds the values of a document that is within the limits.
pub(super) fn build(text: &str) -> Result<Value, String> {
    let mut parser = Parser::new_from_str(text);
    let mut tree = Tree::default();
    loop {
        let (event, at) = parser.next_token().map_err(|error| error.to_string())?;
        if event == Event::StreamEnd {
            break;
        }
        if event == Event::DocumentStart && tree.root.is_some() {
            return Err(format!(
                "line {}: a second document begins; put everything into one, without `---`",
                at.line()
            ));
        }
        tree.on_event(event, at)?;
    }
    Ok(tree
        .root
        .unwrap_or_else(|| Value::new(None, ValueKind::Nil)))
}

impl Tree {
    fn on_event(&mut self, event: Event, at: Marker) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(text, style, tag.as_ref());
                self.complete(anchor, value, at)
            }
            Event::Alias(anchor) => {
                let value = self.anchored.get(&anchor).cloned();
                self.add(value.unwrap_or_else(nothing), at)
            }
            Event::SequenceStart(anchor, _) => {
                self.open.push(Open::List(anchor, Vec::new()));
                Ok(())
            }
            Event::MappingStart(anchor, _) => {
                self.open.push(Open::Map {
                    anchor,
                    entries: Map::new(),
                    key: None,
                    merged: Vec::new(),
                });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(anchor, items)) => {
                    self.complete(anchor, Value::new(None, ValueKind::Array(items)), at)
                }
                Some(Open::Map {
                    anchor,
                    mut entries,
                    merged,
                    ..
                }) => {
                    for map in merged {
                        merge(&mut entries, map, at)?;
                    }
                    self.complete(anchor, Value::new(None, ValueKind::Table(entries)), at)
                }
                None => Ok(()),
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn complete(&mut self, anchor: usize, value: Value, at: Marker) -> Result<(), String> {
        if anchor != 0 {
            self.anchored.insert(anchor, value.clone());
        }
        self.add(value, at)
    }

    /// Adds a value to the innermost list or map.
    fn add(&mut self, value: Value, at: Marker) -> Result<(), String> {
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Open::List(_, items)) => items.push(value),
            Some(Open::Map {
                entries,
                key,
                merged,
                ..
            }) => match key.take() {
                Some(name) if name == MERGE => merged.push(value),
                Some(name) => {
                    if entries.insert(name.clone(), value).is_some() {
                        let line = at.line();
                        return Err(format!("line {line}: the key `{name}` appears twice"));
                    }
                }
                None => *key = Some(key_text(&value, at)?),
            },
        }
        Ok(())
    }
}

/// Adds the entries of a map, or of each map in a list, that are not there yet.
fn merge(entries: &mut Map<String, Value>, value: Value, at: Marker) -> Result<(), String> {
    match value.kind {
        ValueKind::Table(table) => {
            for (key, value) in table {
                entries.entry(key).or_insert(value);
            }
            Ok(())
        }
        ValueKind::Array(maps) => maps.into_iter().try_for_each(|map| merge(entries, map, at)),
        ValueKind::Nil
        | ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_)
        | ValueKind::String(_) => Err(format!(
            "the map that ends on line {}: `<<` merges maps only",
            at.line()
        )),
    }
}

fn key_text(value: &Value, at: Marker) -> Result<String, String> {
    match &value.kind {
        ValueKind::String(text) => Ok(text.clone()),
        ValueKind::Nil => Ok("null".to_owned()),
        ValueKind::Table(_)
        | ValueKind::Array(_)
        | ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_) => Err(format!("line {}: a key must be a string", at.line())),
    }
}

fn scalar(text: String, style: TScalarStyle, tag: Option<&Tag>) -> Value {
    let is_text = tag.is_some_and(|tag| tag.suffix == "str");
    if style != TScalarStyle::Plain || is_text {
        return Value::new(None, ValueKind::String(text));
    }
    if matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
        return nothing();
    }
    Value::new(Some(&PLAIN.to_owned()), ValueKind::String(text))
}

fn nothing() -> Value {
    Value::new(None, ValueKind::Nil)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(text: &str) -> Value {
        build(text).expect("YAML")
    }

    #[test]
    fn maps_are_merged_and_their_own_entries_take_precedence() {
        let text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], x: 5}\n";
        let ValueKind::Table(root) = built(text).kind else {
            panic!("a map");
        };
        let ValueKind::Table(merged) = &root["c"].kind else {
            panic!("a map");
        };
        let value = |key: &str| merged[key].to_string();
        assert_eq!([value("x"), value("y"), value("z")], ["5", "2", "4"]);
        assert_eq!(merged.len(), 3);
        let error = build("a: {<<: 1}").expect_err("no map");
        assert!(error.contains("merges maps only"), "{error}");
    }

    #[test]
    fn what_is_written_twice_or_is_no_single_map_is_an_error() {
        let cases = [
            ("a: 1\na: 2\n", "line 2: the key `a` appears twice"),
            ("? [a]\n: 1\n", "a key must be a string"),
            ("a: 1\n---\nb: 2\n", "line 2: a second document begins"),
        ];
        for (text, expected) in cases {
            let error = build(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        for text in ["a: 1\n...\n", "---\na: 1\n", "\u{feff}a: 1\r\n", ""] {
            assert!(build(text).is_ok(), "{text:?}");
        }
    }
}
