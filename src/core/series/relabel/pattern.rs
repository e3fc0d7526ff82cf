//! Regular expressions that match whole strings, in Prometheus' syntax, which is Go's.
//!
//! The crate `regex` belongs to the same family (RE2) and matches in the same way, but parses some
//! things differently: its `\d`, `\s`, `\w` and `\b` are Unicode, and Go's are ASCII; its classes
//! can be nested, so `[` and `&` have a meaning in them; a `{` that starts no repetition is an
//! error, and a literal in Go; and `\Q…\E` is not supported. So expressions are translated first.
//! Source: "Syntax" of Go's package `regexp/syntax`.

use regex::{Captures, Regex, RegexBuilder};

/// Maximum memory of a compiled expression. An alternation of a thousand names uses a
/// few hundred KiB.
pub const COMPILED_BYTES_MAX: usize = 1 << 20;

/// A compiled expression, anchored at both ends. `.` matches line breaks too, as in Prometheus 3.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles an expression. On error, returns a short reason.
    pub fn new(text: &str) -> Result<Self, String> {
        let regex = RegexBuilder::new(&format!("^(?s:{})$", translate(text)))
            .size_limit(COMPILED_BYTES_MAX)
            .build();
        regex.map(Self).map_err(|error| {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default();
            reason.trim_start_matches("error: ").to_owned()
        })
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    pub(super) fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.0.captures(text)
    }

    /// The index of a named group.
    pub(super) fn group(&self, name: &str) -> Option<usize> {
        self.0.capture_names().position(|known| known == Some(name))
    }
}

/// Translates Go's syntax to that of the crate. Syntax that neither supports is left for the crate
/// to refuse.
fn translate(go: &str) -> String {
    let mut out = String::with_capacity(go.len());
    let mut rest = go;
    while let Some(c) = rest.chars().next() {
        let behind = &rest[c.len_utf8()..];
        rest = match c {
            '\\' => {
                if let Some(literal) = behind.strip_prefix('Q') {
                    let (literal, after) = literal.split_once("\\E").unwrap_or((literal, ""));
                    out.push_str(&regex::escape(literal));
                    after
                } else if let Some(after) = behind.strip_prefix('b') {
                    out.push_str("(?-u:\\b)");
                    after
                } else {
                    escape(&mut out, behind)
                }
            }
            '[' => class(&mut out, behind),
            '{' => {
                let repeats = repetition(behind);
                out.push_str(if repeats.is_some() { "{" } else { "\\{" });
                out.push_str(repeats.unwrap_or_default());
                &behind[repeats.map_or(0, str::len)..]
            }
            c => {
                out.push(c);
                behind
            }
        };
    }
    out
}

/// Translates the sequence after a backslash, inside or outside a class. Returns the rest of the
/// text.
fn escape<'t>(out: &mut String, text: &'t str) -> &'t str {
    let Some(c) = text.chars().next() else {
        out.push('\\');
        return text;
    };
    if let Some(class) = perl_class(c) {
        out.push_str(class);
    } else if c.is_ascii_punctuation() {
        out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    } else {
        out.push('\\');
        out.push(c);
        // The name of a property, or the digits of a character.
        let braced = text[c.len_utf8()..].starts_with('{');
        if let ('p' | 'P' | 'x', true, Some(end)) = (c, braced, text.find('}')) {
            out.push_str(&text[1..=end]);
            return &text[end + 1..];
        }
    }
    &text[c.len_utf8()..]
}

/// Go's ASCII classes.
const fn perl_class(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => "[\\t\\n\\f\\r\\x20]",
        'S' => "[^\\t\\n\\f\\r\\x20]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// Translates a class after its opening bracket. Returns the rest of the text.
fn class<'t>(out: &mut String, text: &'t str) -> &'t str {
    out.push('[');
    let mut rest = text;
    if let Some(negated) = rest.strip_prefix('^') {
        out.push('^');
        rest = negated;
    }
    let mut is_first = true;
    while let Some(c) = rest.chars().next() {
        if c == ']' && !is_first {
            out.push(']');
            return &rest[1..];
        }
        is_first = false;
        let named = rest.strip_prefix("[:").and_then(|named| named.find(":]"));
        if let Some(end) = named {
            out.push_str(&rest[..end + 4]);
            rest = &rest[end + 4..];
            continue;
        }
        let is_class = rest
            .strip_prefix('\\')
            .is_some_and(|escaped| escaped.starts_with(['d', 'D', 's', 'S', 'w', 'W', 'p', 'P']));
        rest = member(out, rest);
        // A range, unless the dash is the last member.
        if let Some(end) = rest.strip_prefix('-')
            && !is_class
            && !end.is_empty()
            && !end.starts_with(']')
        {
            out.push('-');
            rest = member(out, end);
        }
    }
    rest
}

/// Translates one member of a class. Returns the rest of the text.
fn member<'t>(out: &mut String, text: &'t str) -> &'t str {
    if let Some(escaped) = text.strip_prefix('\\') {
        return escape(out, escaped);
    }
    let mut rest = text.chars();
    if let Some(c) = rest.next() {
        if c.is_ascii_punctuation() {
            out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
        } else {
            out.push(c);
        }
    }
    rest.as_str()
}

/// The part after a `{` that starts a repetition: `2}`, `2,}` or `2,5}`.
fn repetition(text: &str) -> Option<&str> {
    let end = text.find('}')?;
    let (from, to) = text[..end].split_once(',').unwrap_or((&text[..end], "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (!from.is_empty() && digits(from) && digits(to)).then(|| &text[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syntax_is_that_of_go() {
        let cases: [(&str, &[&str], &[&str]); 22] = [
            ("a.c", &["abc", "a\nc", "aéc"], &["abcd", "xabc", "ac"]),
            ("a|b", &["a", "b"], &["ab", "ax", "xb"]),
            ("", &[""], &["a"]),
            (r"\d+", &["12"], &["٣", "x"]),
            (r"\w+", &["a_9"], &["é"]),
            (r"\W", &["é", "-"], &["a"]),
            (r"\s", &[" ", "\t"], &["\u{a0}", "\u{b}"]),
            (r"[\w-.]+", &["a-b.c"], &["a b", "é"]),
            (r"[^\d\s]+", &["ab٣"], &["a1", "a b"]),
            ("[[a]+", &["[a"], &["b"]),
            ("[a&&b]+", &["a&b"], &["c"]),
            ("[a~~b-]+", &["a~b-"], &["c"]),
            ("[]a]+", &["]a"], &["["]),
            ("[^]a]+", &["bc"], &["]", "a"]),
            ("[a-c-]+", &["b-c"], &["d"]),
            ("[[:alpha:]_]+", &["aZ_"], &["é", "9"]),
            ("{foo}", &["{foo}"], &["foo"]),
            ("a{,2}", &["a{,2}"], &["aa"]),
            ("a{2,3}", &["aa", "aaa"], &["a", "aaaa"]),
            (r"\Qa.b\E.", &["a.bx"], &["axbx"]),
            (
                r"\pL\p{Greek}\x{3b2}[\p{Lu}-]",
                &["aαβX", "aαβ-"],
                &["aαβx", "aaβX"],
            ),
            (r"(?i)celery\.\<", &["CELERY.<"], &["celery.x"]),
        ];
        for (text, matched, not) in cases {
            let pattern = Pattern::new(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            for whole in matched {
                assert!(pattern.is_match(whole), "{text} {whole}: {pattern:?}");
            }
            for whole in not {
                assert!(!pattern.is_match(whole), "{text} {whole}: {pattern:?}");
            }
        }
    }

    #[test]
    fn what_is_no_expression_says_why() {
        let cases = [
            ("(", "unclosed group"),
            ("[a", "unclosed character class"),
            ("a**)", "unopened group"),
            (r"\1", "backreferences are not supported"),
            (
                "(?=a)",
                "look-around, including look-ahead and look-behind, is not supported",
            ),
            ("a\\", "unclosed group"),
            (r"\p{Klingon}", "Unicode property not found"),
        ];
        for (text, reason) in cases {
            assert_eq!(Pattern::new(text).expect_err(text), reason, "{text}");
        }
    }
}
