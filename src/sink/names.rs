//! Extracts the series named in the text of a refusal.

use std::iter::Peekable;
use std::str::Chars;

use crate::wire::Labels;

/// Returns the series named in an error text, in order: `metric{label="value", …}`,
/// `{__name__="metric", …}` or `{"metric", …}`.
///
/// Prometheus, Mimir and VictoriaMetrics print labels with Go's `%q`, or in a form that needs no
/// quoting. A series that is cut off at the end of the text is ignored.
pub(super) fn series(text: &str) -> impl Iterator<Item = Labels> {
    text.match_indices('{').filter_map(|(at, _)| {
        let pairs = pairs(&text[at + 1..])?;
        let is_named = pairs.iter().any(|(name, _)| name == "__name__");
        let metric = if is_named { "" } else { metric(&text[..at]) };
        let metric = (!metric.is_empty()).then(|| ("__name__".to_owned(), metric.to_owned()));
        let pairs: Vec<_> = pairs.into_iter().chain(metric).collect();
        (!pairs.is_empty()).then(|| Labels::from_pairs(pairs))
    })
}

/// Returns the metric name at the end of a string.
fn metric(text: &str) -> &str {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    &text[text.trim_end_matches(is_name).len()..]
}

/// Parses labels up to the closing brace.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let (mut chars, mut pairs) = (text.chars().peekable(), Vec::new());
    loop {
        while chars.next_if(|c| matches!(c, ' ' | ',')).is_some() {}
        if chars.next_if_eq(&'}').is_some() {
            return Some(pairs);
        }
        let is_quoted = chars.peek() == Some(&'"');
        let name = if is_quoted {
            quoted(&mut chars)?
        } else {
            bare(&mut chars)?
        };
        if chars.next_if_eq(&'=').is_some() {
            pairs.push((name, quoted(&mut chars)?));
        } else if is_quoted {
            pairs.push(("__name__".to_owned(), name));
        } else {
            return None;
        }
    }
}

fn bare(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut name = String::new();
    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(c);
    }
    (!name.is_empty()).then_some(name)
}

/// Parses a string as quoted by Go.
fn quoted(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    chars.next_if_eq(&'"')?;
    let mut text = String::new();
    loop {
        text.push(match chars.next()? {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'x' => code(chars, 2)?,
                'u' => code(chars, 4)?,
                'U' => code(chars, 8)?,
                other => other,
            },
            other => other,
        });
    }
}

/// Parses a character code with `digits` hexadecimal digits.
fn code(chars: &mut Peekable<Chars<'_>>, digits: u32) -> Option<char> {
    let mut number = 0;
    for _ in 0..digits {
        number = number * 16 + chars.next()?.to_digit(16)?;
    }
    char::from_u32(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<String> {
        series(text).map(|labels| labels.to_string()).collect()
    }

    #[test]
    fn series_are_found_as_receivers_write_them() {
        let cases = [
            (
                r#"out of bounds for series {__name__="x_total", name="a.b"}"#,
                r#"x_total{name="a.b"}"#,
            ),
            (
                // Mimir 2.13.
                r#"received a sample whose label value is too long (err-mimir-label-value-too-long), series: 'x_total{name="a", queue="q"}'"#,
                r#"x_total{name="a", queue="q"}"#,
            ),
            (
                r#"{"celery.task", name="a \"b\" \\ \n\u00e9\x41"}"#,
                r#"celery.task{name="a \"b\" \\ \néA"}"#,
            ),
            (r#"{"le.le"="1",__name__="x"}"#, r#"x{le.le="1"}"#),
            ("no room for x{} there", "x{}"),
        ];
        for (text, expected) in cases {
            let found = named(text);
            assert_eq!(found, [expected], "{text}");
        }
        let two = "no {__name__=\"x\"}\nno y{a=\"b\"}\nno {__name__=\"z";
        assert_eq!(named(two), ["x{}", "y{a=\"b\"}"]);
    }

    #[test]
    fn texts_without_series_name_none() {
        for text in [
            "",
            "{",
            "{}",
            "per-user series limit of 150000 exceeded (err-mimir-max-series-per-user)",
            r#"{"status":"error","errorType":"bad_data"}"#,
            "{a=b}",
            "{a=\"\\x4",
            "{ä=\"1\"}",
        ] {
            assert_eq!(named(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_named_series_has_the_key_of_the_one_that_was_sent() {
        let sent = Labels::of(&[("__name__", "x"), ("name", "é\n")]);
        for text in ["{name=\"é\\n\", __name__=\"x\"}", "x{name=\"\\u00e9\\n\"}"] {
            let named: Vec<_> = series(text).collect();
            assert_eq!(named[0].key, sent.key, "{text}");
        }
    }
}
