//! The effective configuration with all defaults, for `check-config --print`.

use std::fmt;

use crate::event::json::quote;

/// A value for display: YAML that parses to the same value, except for secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    Null,
    /// A number, a duration or a word; never quoted.
    Plain(String),
    /// Any text; quoted where YAML would read it as something else.
    Text(String),
    Secret,
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Shown {
    /// Returns the value of a key in a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value),
            Self::Null | Self::Plain(_) | Self::Text(_) | Self::Secret | Self::List(_) => None,
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Plain(text) => f.write_str(text),
            Self::Text(text) if is_plain(text) => f.write_str(text),
            Self::Text(text) => {
                let mut quoted = String::new();
                quote(&mut quoted, text);
                f.write_str(&quoted)
            }
            Self::Secret => f.write_str("<secret>"),
            Self::List(items) if items.iter().all(Self::is_scalar) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    f.write_str(if at > 0 { ", " } else { "" })?;
                    item.write(f, indent)?;
                }
                f.write_str("]")
            }
            Self::List(items) => items.iter().try_for_each(|item| {
                write!(f, "\n{:indent$}- ", "")?;
                item.write_entries(f, indent + 2, true)
            }),
            Self::Map(entries) if entries.is_empty() => f.write_str("{}"),
            Self::Map(_) => {
                f.write_str("\n")?;
                self.write_entries(f, indent, false)
            }
        }
    }

    /// Writes the entries of a map, one per line; the first may follow a list's dash.
    fn write_entries(
        &self,
        f: &mut fmt::Formatter<'_>,
        indent: usize,
        behind_dash: bool,
    ) -> fmt::Result {
        let Self::Map(entries) = self else {
            return self.write(f, indent);
        };
        for (at, (key, value)) in entries.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            let indent_here = if at == 0 && behind_dash { 0 } else { indent };
            write!(f, "{:indent_here$}{key}:", "")?;
            let nested = match value {
                Self::Map(entries) => !entries.is_empty(),
                Self::List(items) => !items.iter().all(Self::is_scalar),
                Self::Null | Self::Plain(_) | Self::Text(_) | Self::Secret => false,
            };
            f.write_str(if nested { "" } else { " " })?;
            value.write(f, indent + 2)?;
        }
        Ok(())
    }

    const fn is_scalar(&self) -> bool {
        !matches!(self, Self::Map(_) | Self::List(_))
    }
}

/// Whether YAML reads a text as the same text without quotes.
fn is_plain(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':');
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/');
    let reserved = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let reserved = reserved
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(text));
    starts && text.chars().all(word) && !text.ends_with(':') && !reserved
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_entries(f, 0, false)?;
        f.write_str("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_yaml() {
        let text = |text: &str| Shown::Text(text.into());
        let map = |entries: &[(&str, Shown)]| {
            Shown::Map(
                entries
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), value.clone()))
                    .collect(),
            )
        };
        let shown = map(&[
            (
                "global",
                map(&[
                    ("interval", Shown::Plain("15s".into())),
                    ("labels", map(&[])),
                ]),
            ),
            (
                "brokers",
                Shown::List(vec![map(&[
                    ("name", Shown::Null),
                    ("url", text("amqp://h:5672/")),
                    ("password", Shown::Secret),
                    ("tls", map(&[("ca_file", text("/ca.pem"))])),
                    (
                        "bindings",
                        Shown::List(vec![text("#"), text("no"), text("\x06\x16")]),
                    ),
                ])]),
            ),
        ]);
        let expected = "\
global:
  interval: 15s
  labels: {}
brokers:
  - name: null
    url: amqp://h:5672/
    password: <secret>
    tls:
      ca_file: /ca.pem
    bindings: [\"#\", \"no\", \"\\u0006\\u0016\"]
";
        assert_eq!(shown.to_string(), expected);
    }
}
