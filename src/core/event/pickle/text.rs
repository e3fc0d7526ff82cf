//! The texts of a pickle, which have one of three encodings.

use std::borrow::Cow;

use crate::event::fields::{Field, TEXT_MAX};

/// A text as encoded in the body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    bytes: &'a [u8],
    coding: Coding,
}

#[derive(Clone, Copy, Debug)]
enum Coding {
    /// UTF-8, in which Python leaves lone surrogates.
    Plain,
    /// Latin-1, with `\u` and `\U` for other characters: protocol 0.
    Escaped,
    /// The `repr` of a Python 2 byte string: protocol 0.
    Quoted,
}

/// Removes the escapes of a text.
type Unescape = fn(&[u8]) -> Vec<u8>;

/// How much of an escaped string is unescaped. A string longer than [`TEXT_MAX`] is refused for its
/// length or used only in part, and an escape takes up to ten bytes per character.
const ESCAPED_MAX: usize = 10 * TEXT_MAX + 10;

impl<'a> Text<'a> {
    pub(super) fn plain(bytes: &'a [u8]) -> Self {
        let coding = Coding::Plain;
        Self { bytes, coding }
    }

    pub(super) fn escaped(bytes: &'a [u8]) -> Self {
        let coding = Coding::Escaped;
        Self { bytes, coding }
    }

    /// From the text with its quotes.
    pub(super) fn quoted(line: &'a [u8]) -> Option<Self> {
        let inner = |quote: &[u8]| line.strip_prefix(quote)?.strip_suffix(quote);
        let bytes = inner(b"'").or_else(|| inner(b"\""))?;
        let coding = Coding::Quoted;
        Some(Self { bytes, coding })
    }

    /// The function that removes its escapes, if it has any.
    fn escape(self) -> Option<Unescape> {
        match self.coding {
            Coding::Plain => None,
            Coding::Escaped if self.bytes.is_ascii() && !self.bytes.contains(&b'\\') => None,
            Coding::Escaped => Some(latin_unescaped),
            Coding::Quoted => Some(unquoted),
        }
    }

    /// The text without escapes, as far as a field needs it; without a field, as a name needs it.
    pub(super) fn bytes(self, field: Option<Field>) -> Cow<'a, [u8]> {
        let Some(escape) = self.escape() else {
            return Cow::Borrowed(self.bytes);
        };
        // The end of a traceback is needed. Starting in the middle of an escape does no harm.
        Cow::Owned(escape(if field == Some(Field::Traceback) {
            &self.bytes[self.bytes.len().saturating_sub(ESCAPED_MAX)..]
        } else {
            &self.bytes[..self.bytes.len().min(ESCAPED_MAX)]
        }))
    }

    /// The part of the text that a field needs; without a field, that a name needs.
    pub(super) fn part(self, field: Option<Field>) -> Cow<'a, str> {
        match self.bytes(field) {
            Cow::Borrowed(bytes) => Field::text(field, bytes),
            Cow::Owned(bytes) => Cow::Owned(Field::text(field, &bytes).into_owned()),
        }
    }
}

/// Python's `raw-unicode-escape`, as UTF-8. A lone surrogate becomes U+FFFD.
fn latin_unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        let digits = match (byte, behind.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => 0,
        };
        match (digits, behind.get(1..=digits).and_then(hexadecimal)) {
            (4 | 8, Some(code)) => {
                text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                rest = &behind[1 + digits..];
            }
            _ => text.push(char::from(byte)),
        }
    }
    text.into_bytes()
}

/// The bytes of a quoted string as in Python 2.
fn unquoted(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        let (b'\\', Some((&escape, behind))) = (byte, behind.split_first()) else {
            text.push(byte);
            continue;
        };
        rest = behind;
        match escape {
            b'n' => text.push(b'\n'),
            b't' => text.push(b'\t'),
            b'r' => text.push(b'\r'),
            b'x' => {
                let code = behind.get(..2).and_then(hexadecimal);
                if let Some(code) = code.and_then(|code| u8::try_from(code).ok()) {
                    text.push(code);
                    rest = &behind[2..];
                }
            }
            other => text.push(other),
        }
    }
    text
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    let all = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    all.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}
