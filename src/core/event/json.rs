//! Parses JSON as written by Python, without building values.
//!
//! A cursor moves over the bytes of a body. Unused members are skipped; texts that are kept borrow
//! from the body unless an escape forces a copy. Python's extensions of the standard are accepted:
//! `NaN`, `Infinity`, `-Infinity`, lone surrogates (as U+FFFD), and integers of any length.
//!
//! A syntax error discards the rest of the message, because the start of the next event is unknown;
//! earlier events have already been returned. A member of the wrong type discards only its event.
//!
//! Why not `serde_json`: it refuses each of these, so one such value would cost a batch of up to 24
//! events.

mod number;

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

use wide::u8x16;

use super::DecodeError;
use super::exception::EXCEPTION_HEAD;
use super::fields::{DEPTH_MAX, Field, Fields, TEXT_MAX, TRACEBACK_TAIL, Value};
use super::reader::{Kind, Reader};
use crate::escape::is_unsafe;
use number::{number, short_number};

/// Bytes that are compared at once.
const BLOCK: usize = 16;

/// How far the end of a text is searched for in blocks. Beyond that, a call to `memchr` pays, which
/// uses the longest vectors of the processor.
const NEAR: usize = 4 * BLOCK;

/// A text between its quotes, still escaped.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    bytes: &'a [u8],
    /// The same, if it is known to be valid UTF-8.
    valid: Option<&'a str>,
    escaped: bool,
}

/// A position in a body.
#[derive(Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    /// The body, if it is known to be valid UTF-8.
    valid: Option<&'a str>,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            valid: None,
            at: 0,
        }
    }

    /// For a body most of whose texts are read: checking all of it at once takes less time than
    /// checking each text.
    pub(super) fn of_texts(bytes: &'a [u8]) -> Self {
        Self {
            valid: std::str::from_utf8(bytes).ok(),
            ..Self::new(bytes)
        }
    }

    /// The next byte that is not white space, without consuming it.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    #[inline]
    fn expect_byte(&mut self, byte: u8) -> Result<(), DecodeError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(DecodeError::Json)
        }
    }

    /// The text here, between its quotes.
    #[inline]
    pub fn raw(&mut self) -> Result<Raw<'a>, DecodeError> {
        let (range, escaped) = self.skip_text()?;
        Ok(Raw {
            bytes: &self.bytes[range.clone()],
            valid: self.valid.and_then(|valid| valid.get(range)),
            escaped,
        })
    }

    /// Moves from a key to its value. Returns the key, still escaped.
    #[inline(always)]
    fn key(&mut self) -> Result<&'a [u8], DecodeError> {
        let (range, _) = self.skip_text()?;
        // As Python writes it.
        if self.bytes[self.at..].starts_with(b": ") {
            self.at += 2;
        } else {
            self.expect_byte(b':')?;
        }
        Ok(&self.bytes[range])
    }

    /// Returns where the text here is, without its quotes, and whether it contains escapes.
    #[inline(always)]
    fn skip_text(&mut self) -> Result<(Range<usize>, bool), DecodeError> {
        self.expect_byte(b'"')?;
        let start = self.at;
        let (end, escaped) = self.end_of_text().ok_or(DecodeError::Json)?;
        self.at = end + 1;
        Ok((start..end, escaped))
    }

    /// The position of the quote that ends the text here, and whether the text contains escapes.
    /// `None` if it does not end.
    #[inline(always)]
    fn end_of_text(&self) -> Option<(usize, bool)> {
        // Most texts end in the first block.
        if let Some(block) = self.bytes.get(self.at..)?.first_chunk() {
            let found = quotes_and_escapes(block);
            let end = self.at + found.trailing_zeros() as usize;
            if found != 0 && self.bytes[end] == b'"' {
                return Some((end, false));
            }
        }
        self.end_of_long_text()
    }

    fn end_of_long_text(&self) -> Option<(usize, bool)> {
        let (mut at, mut escaped) = (self.at, false);
        loop {
            at += quote_or_escape(self.bytes.get(at..)?)?;
            if self.bytes[at] == b'"' {
                return Some((at, escaped));
            }
            escaped = true;
            at += 2;
        }
    }

    /// A number or a word.
    fn scalar(&mut self) -> Result<Value<'a>, DecodeError> {
        let token = self.token();
        let number = number(token).map(Value::Number);
        number.or_else(|| word(token)).ok_or(DecodeError::Json)
    }

    /// The bytes of a number or a word, up to the first byte that cannot belong to it.
    #[inline]
    fn token(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        let length = rest
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.'))
            .unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }
}

impl<'a> Reader<'a> for Cursor<'a> {
    #[inline]
    fn kind(&mut self) -> Kind {
        match self.peek() {
            Some(b'{') => Kind::Map,
            Some(b'[') => Kind::List,
            Some(_) => Kind::Scalar,
            None => Kind::End,
        }
    }

    #[inline]
    fn map(
        &mut self,
        mut entry: impl FnMut(&mut Self, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.expect_byte(b'{')?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            // Known keys contain no escapes, so a key with an escape matches none of them.
            let key = self.key()?;
            entry(self, key)?;
            // As Python writes it.
            if self.bytes[self.at..].starts_with(b", ") {
                self.at += 2;
                continue;
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(DecodeError::Json),
            }
        }
    }

    fn list(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.expect_byte(b'[')?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            element(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(DecodeError::Json),
            }
        }
    }

    /// Takes the usual values at once, which is faster than passing them on.
    #[inline(always)]
    fn field(&mut self, field: Field, fields: &mut Fields<'a>) -> Result<(), DecodeError> {
        match self.peek() {
            Some(b'"') => {
                let raw = self.raw()?;
                let text = match raw.valid {
                    // Every field needs all of it.
                    Some(valid) if !raw.escaped && valid.len() <= EXCEPTION_HEAD => valid.into(),
                    Some(_) | None => raw.part(Some(field)).text(),
                };
                fields.put_inlined(field, Value::Text(text));
            }
            Some(b'n') if self.bytes[self.at..].starts_with(b"null") => {
                self.at += 4;
                fields.put(field, Value::Null);
            }
            Some(b'0'..=b'9')
                if let Some((number, length)) = short_number(&self.bytes[self.at..]) =>
            {
                self.at += length;
                fields.put_inlined(field, Value::Number(number));
            }
            Some(_) | None => fields.put(field, self.member(Some(field))?),
        }
        Ok(())
    }

    fn member(&mut self, field: Option<Field>) -> Result<Value<'a>, DecodeError> {
        match self.peek() {
            Some(b'"') => Ok(Value::Text(self.raw()?.part(field).text())),
            Some(b'{' | b'[') => self.skip(2).map(|()| Value::Nested),
            Some(_) => self.scalar(),
            None => Err(DecodeError::Json),
        }
    }

    fn skip(&mut self, depth: usize) -> Result<(), DecodeError> {
        match self.peek() {
            Some(b'"') => self.skip_text().map(drop),
            Some(b'{' | b'[') if depth >= DEPTH_MAX => Err(DecodeError::Depth),
            Some(b'{') => self.map(|cursor, _| cursor.skip(depth + 1)),
            Some(b'[') => self.list(|cursor| cursor.skip(depth + 1)),
            Some(_) => {
                let token = self.token();
                // Unused numbers are not validated fully.
                let number = token.strip_prefix(b"-").unwrap_or(token).first();
                let is_number = number.is_some_and(u8::is_ascii_digit);
                (is_number || word(token).is_some())
                    .then_some(())
                    .ok_or(DecodeError::Json)
            }
            None => Err(DecodeError::Json),
        }
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        self.peek().map_or(Ok(()), |_| Err(DecodeError::Json))
    }

    fn key_text(key: &[u8]) -> Cow<'_, str> {
        Raw {
            bytes: key,
            valid: None,
            escaped: key.contains(&b'\\'),
        }
        .text()
    }
}

/// The position of the first quote or backslash.
#[inline]
fn quote_or_escape(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    while bytes.len() - rest.len() < NEAR
        && let Some((block, behind)) = rest.split_first_chunk()
    {
        let found = quotes_and_escapes(block);
        if found != 0 {
            return Some(bytes.len() - rest.len() + found.trailing_zeros() as usize);
        }
        rest = behind;
    }
    memchr::memchr2(b'"', b'\\', rest).map(|found| bytes.len() - rest.len() + found)
}

/// A bit for each quote and backslash in a block, the lowest for the first byte.
#[inline(always)]
fn quotes_and_escapes(block: &[u8; BLOCK]) -> u32 {
    let block = u8x16::new(*block);
    let found = block.simd_eq(u8x16::splat(b'"')) | block.simd_eq(u8x16::splat(b'\\'));
    found.to_bitmask()
}

fn word<'a>(token: &[u8]) -> Option<Value<'a>> {
    Some(match token {
        b"null" => Value::Null,
        b"true" => Value::Bool(true),
        b"false" => Value::Bool(false),
        b"NaN" => Value::Number(f64::NAN),
        b"Infinity" => Value::Number(f64::INFINITY),
        b"-Infinity" => Value::Number(f64::NEG_INFINITY),
        _ => return None,
    })
}

impl<'a> Raw<'a> {
    /// The part that a field needs; without a field, that a name needs. A text far longer than
    /// [`TEXT_MAX`] is refused for its length and need not be copied in full.
    #[inline]
    fn part(self, field: Option<Field>) -> Self {
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

#[cfg(test)]
mod tests;
