//! Escapes unsafe characters in external strings.
//!
//! Names, ids and error texts come from anyone who can publish an event or answer a request, and
//! can contain any character. The same set is escaped in label values, exemplars, logs, pages and
//! terminal output:
//!
//! - **Control characters**: C0, DEL and C1. OpenMetrics 1.0 allows them all ("Label values"; of
//!   NUL, "MUST be supported"), but Prometheus 2.42 and 3.5 treat a NUL in an exemplar as the end
//!   of the page and reject the whole scrape. They accept all others, and NUL in a label. Readers
//!   that split a page with Python's `splitlines` also end a line at VT, FF, FS, GS, RS and NEL,
//!   and terminals interpret ESC and CSI.
//! - **U+2028 and U+2029**, which end a line for the same readers and in JavaScript.
//! - **Bidirectional controls** (Unicode property `Bidi_Control`), which display text in a
//!   different order.
//!
//! Remote write only requires UTF-8, which a `str` always is.
//!
//! In logs, pages and terminal output, these characters are shown as in Rust, `\u{…}`. In a value
//! they are percent-encoded, as in a URL: Prometheus does not unescape a doubled backslash in an
//! exemplar, so a backslash escape would yield different values from a page and from a request.

use std::borrow::Cow;
use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_64;

/// Maximum length of a label value after escaping, equal to the maximum length of an incoming name.
/// Mimir rejects a series with a value above 2 KiB, VictoriaMetrics drops one above 4 KiB, and
/// escaping triples the length of a NUL.
const ESCAPED_BYTES_MAX: usize = 1024;

/// The prefixes of all escapes in a value; the last is the escaped percent sign.
const ESCAPES: [&str; 7] = ["%0", "%1", "%7F", "%C2%", "%D8%9C", "%E2%8", "%25"];

/// Returns whether a character must be escaped.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}'
                | '\u{61c}' | '\u{200e}' | '\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// Returns a string on one line for a log, a page or a terminal, with `\n` for a line feed.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            out.extend(c.escape_debug());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Converts an external string to the value of a label or an exemplar.
///
/// Different strings never yield the same value: if anything is escaped, or if the string already
/// looks escaped, percent signs are escaped too. A value that is too long is truncated and ends in
/// a hash.
pub fn label_value(text: &str) -> Cow<'_, str> {
    let looks_escaped = ESCAPES.iter().any(|escape| text.contains(escape));
    if !looks_escaped && !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let value = percent_encoded(text, |c| c == '%' || is_unsafe(c));
    Cow::Owned(cut(&value, ESCAPED_BYTES_MAX).into_owned())
}

/// Limits a string to `bytes_max` bytes. A longer one is truncated and ends in a hash of the whole,
/// so that strings with the same prefix remain different.
#[inline]
pub fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(hashed(text, bytes_max))
    }
}

#[cold]
fn hashed(text: &str, bytes_max: usize) -> String {
    let hash = format!("…{:016x}", xxh3_64(text.as_bytes()));
    let kept = text.floor_char_boundary(bytes_max.saturating_sub(hash.len()));
    format!("{}{hash}", &text[..kept])
}

/// Escapes a trusted string for the value of a label: one from the configuration, or one composed
/// of values that are already escaped. Idempotent.
pub fn safe_value(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(percent_encoded(text, is_unsafe))
}

fn percent_encoded(text: &str, is_encoded: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if !is_encoded(c) {
            out.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_reader_could_stumble_over_is_escaped_and_nothing_else() {
        for (text, value) in [
            ("order-\0-7", "order-%00-7"),
            ("a\n\r\t\u{b}\x1b[31m", "a%0A%0D%09%0B%1B[31m"),
            ("\x7f\u{85}\u{9b}2J", "%7F%C2%85%C2%9B2J"),
            ("a\u{2028}b\u{2029}", "a%E2%80%A8b%E2%80%A9"),
            (
                "\u{202e}gpj.exe\u{2066}\u{200f}\u{61c}",
                "%E2%80%AEgpj.exe%E2%81%A6%E2%80%8F%D8%9C",
            ),
            ("", ""),
            // Joiners are part of words and of emoji.
            (
                "Προμηθεύς ☂ 👩\u{200d}💻 \"'{}#\\",
                "Προμηθεύς ☂ 👩\u{200d}💻 \"'{}#\\",
            ),
            ("50% of a%2Fb%20c", "50% of a%2Fb%20c"),
        ] {
            assert_eq!(label_value(text), value, "{text:?}");
            assert_eq!(safe_value(text), value, "{text:?}");
        }
    }

    #[test]
    fn a_text_that_looks_escaped_is_told_from_one_that_is() {
        let texts = ["\0", "%00", "%2500", "%\0", "%%00", "%", "%25", "%2525"];
        let values: Vec<_> = texts.map(label_value).to_vec();
        for (at, value) in values.iter().enumerate() {
            assert!(!values[..at].contains(value), "{texts:?} {values:?}");
        }
        assert_eq!(safe_value("%00"), "%00");
    }

    #[test]
    fn every_escape_is_known_by_how_it_begins() {
        let escaped = (0..=u32::from(char::MAX)).filter_map(char::from_u32);
        for c in escaped.filter(|c| is_unsafe(*c) || *c == '%') {
            let value = percent_encoded(&c.to_string(), |_| true);
            assert!(
                ESCAPES.iter().any(|escape| value.starts_with(escape)),
                "{value}"
            );
        }
    }

    #[test]
    fn a_text_for_a_reader_has_the_usual_escapes() {
        let text = "a\tb\r\n\0\x1b\u{85}\u{2028}\u{202e}é\\";
        assert_eq!(printable(text), r"a\tb\r\n\0\u{1b}\u{85}\u{2028}\u{202e}é\");
    }

    #[test]
    fn a_value_that_escapes_make_too_long_is_cut_and_still_told_from_others() {
        let long = label_value(&"\0".repeat(1024)).into_owned();
        let other = label_value(&("\0".repeat(1023) + "\x01")).into_owned();
        assert_eq!(long.len(), ESCAPED_BYTES_MAX, "{long}");
        assert!(long.starts_with("%00%00") && long != other);
        let plain = "é".repeat(5_000);
        assert_eq!(label_value(&plain), plain);
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop::collection::vec(any::<char>(), 0..20).prop_map(String::from_iter)
    }

    /// Strings built from the relevant characters, so that some are nearly equal.
    fn texts() -> impl Strategy<Value = String> {
        let pieces = prop_oneof![
            Just("\0"),
            Just("%"),
            Just("00"),
            Just("%25"),
            Just("25"),
            Just("\u{2028}"),
            Just("a"),
            Just("é"),
            Just("\u{9b}"),
            Just("\u{202e}"),
            Just("\n"),
            Just("\""),
        ];
        let crafted = prop::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat());
        prop_oneof![crafted, any_text()]
    }

    proptest! {
        #[test]
        fn no_two_texts_become_one_value(texts in prop::collection::vec(texts(), 2..40)) {
            let mut seen: HashMap<String, String> = HashMap::new();
            for text in texts {
                let value = label_value(&text).into_owned();
                prop_assert!(!value.contains(is_unsafe), "{:?}", value);
                let before = seen.insert(value, text.clone());
                prop_assert!(before.is_none_or(|before| before == text));
            }
        }

        #[test]
        fn escaping_twice_changes_nothing(text in any_text()) {
            for escape in [printable, safe_value] {
                let once = escape(&text).into_owned();
                prop_assert!(!once.contains(is_unsafe), "{:?}", once);
                prop_assert_eq!(escape(&once), &*once);
            }
        }
    }
}
