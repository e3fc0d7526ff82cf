//! JSON strings: finds the part of a string that a field needs, and unescapes it.

use std::borrow::Cow;
use std::fmt::Write;

use crate::escape::is_unsafe;
use crate::event::exception::EXCEPTION_HEAD;
use crate::event::fields::{Field, TEXT_MAX, TRACEBACK_TAIL};

/// A text between its quotes, still escaped.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    pub(super) bytes: &'a [u8],
    /// The same, if it is known to be valid UTF-8.
    pub(super) valid: Option<&'a str>,
    pub(super) escaped: bool,
}

impl<'a> Raw<'a> {
    /// The part that a field needs; without a field, that a name needs. A text far longer than
    /// [`TEXT_MAX`] is refused for its length and need not be copied in full.
    #[inline]
    pub(super) fn part(self, field: Option<Field>) -> Self {
        let Self { bytes, escaped, .. } = self;
        if field == Some(Field::Exception) {
            let head = &bytes[..bytes.len().min(EXCEPTION_HEAD)];
            // Escapes in a `repr` usually come after the class name, so the part before them can be
            // borrowed.
            let bytes = match memchr::memchr(b'\\', head) {
                Some(escape) if head[..escape].contains(&b'(') => &head[..escape],
                Some(_) | None => head,
            };
            let escaped = bytes.contains(&b'\\');
            return Self {
                bytes,
                valid: None,
                escaped,
            };
        }
        let range = if field == Some(Field::Traceback) {
            bytes.len().saturating_sub(TRACEBACK_TAIL)..bytes.len()
        } else {
            // An escape takes up to twelve bytes for one character.
            0..bytes.len().min(12 * TEXT_MAX)
        };
        Self {
            bytes: &bytes[range.clone()],
            valid: self.valid.and_then(|valid| valid.get(range)),
            escaped,
        }
    }

    /// The bytes as in the body, if they contain no escapes.
    pub fn plain(self) -> Option<&'a [u8]> {
        (!self.escaped).then_some(self.bytes)
    }

    /// The string. Invalid UTF-8 and lone surrogates become U+FFFD.
    #[inline]
    pub fn text(self) -> Cow<'a, str> {
        if self.escaped {
            Cow::Owned(unescape(self.bytes))
        } else if let Some(valid) = self.valid {
            Cow::Borrowed(valid)
        } else {
            // Almost all strings are valid UTF-8, and checking them first this way is several times
            // as fast.
            match std::str::from_utf8(self.bytes) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => String::from_utf8_lossy(self.bytes),
            }
        }
    }
}

/// Appends a string as JSON, which is also valid YAML, on one line for any reader.
pub fn quote(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            c if is_unsafe(c) => {
                // Writing to a string cannot fail.
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
}

fn unescape(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        text.extend_from_slice(&rest[..at]);
        let escape = rest.get(at + 1).copied();
        rest = rest.get(at + 2..).unwrap_or_default();
        match escape {
            Some(b'n') => text.push(b'\n'),
            Some(b't') => text.push(b'\t'),
            Some(b'r') => text.push(b'\r'),
            Some(b'b') => text.push(8),
            Some(b'f') => text.push(12),
            Some(b'u') => {
                let (character, used) = unicode(rest);
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = rest.get(used..).unwrap_or_default();
            }
            Some(other) => text.push(other),
            None => {}
        }
    }
    text.extend_from_slice(rest);
    String::from_utf8_lossy(&text).into_owned()
}

/// The character behind `\u`, and how many bytes of `rest` it took.
fn unicode(rest: &[u8]) -> (char, usize) {
    let unit = |bytes: &[u8]| -> Option<u32> {
        let digits = std::str::from_utf8(bytes.get(..4)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(rest) else {
        return (char::REPLACEMENT_CHARACTER, 0);
    };
    if (0xD800..0xDC00).contains(&first)
        && let Some(second) = rest
            .get(4..)
            .and_then(|rest| unit(rest.strip_prefix(b"\\u")?))
        && (0xDC00..0xE000).contains(&second)
    {
        let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        return (
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
            10,
        );
    }
    (
        char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
        4,
    )
}
