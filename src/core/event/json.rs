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
mod order;
mod text;

use std::borrow::Cow;
use std::ops::Range;

use wide::u8x16;

use super::DecodeError;
use super::exception::EXCEPTION_HEAD;
use super::fields::{DEPTH_MAX, Field, Fields, Value};
use super::reader::{Kind, Reader, read_member};
use number::{leading_digits, number, short_number};
pub use order::KeyOrder;
pub use text::{Raw, quote};

/// Bytes that are compared at once.
const BLOCK: usize = 16;

/// How far the end of a text is searched for in blocks. Beyond that, a call to `memchr` pays, which
/// uses the longest vectors of the processor.
const NEAR: usize = 4 * BLOCK;

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

    /// Calls `entry` at the key of each map member.
    #[inline(always)]
    fn entries(
        &mut self,
        mut entry: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.expect_byte(b'{')?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            entry(self)?;
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
        // Most texts end in the first block, and ids of tasks in the third.
        let mut at = self.at;
        for _ in 0..3 {
            let Some(block) = self.bytes.get(at..)?.first_chunk() else {
                break;
            };
            let found = quotes_and_escapes(block);
            if found != 0 {
                let end = at + found.trailing_zeros() as usize;
                if self.bytes[end] == b'"' {
                    return Some((end, false));
                }
                break;
            }
            at += BLOCK;
        }
        self.end_of_long_text(at)
    }

    /// The same, if neither is before `at`.
    fn end_of_long_text(&self, mut at: usize) -> Option<(usize, bool)> {
        let mut escaped = false;
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

    /// Skips an integer of up to seven digits. Returns whether there is one.
    #[inline]
    fn skip_short_integer(&mut self) -> bool {
        let Some(bytes) = self.bytes[self.at..].first_chunk() else {
            return false;
        };
        let count = leading_digits(u64::from_le_bytes(*bytes));
        let is_integer = matches!(bytes.get(count), Some(b',' | b'}'));
        if is_integer {
            self.at += count;
        }
        is_integer
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
        self.entries(|cursor| {
            // Known keys contain no escapes, so a key with an escape matches none of them.
            let key = cursor.key()?;
            entry(cursor, key)
        })
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

    fn members(
        &mut self,
        fields: &mut Fields<'a>,
        order: &mut KeyOrder,
    ) -> Result<(), DecodeError> {
        let mut key = KeyOrder::START;
        self.entries(|cursor| {
            let bytes = &cursor.bytes[cursor.at..];
            let field = if let Some((next, field, length)) = order.expect(key, bytes) {
                cursor.at += length;
                key = next;
                field
            } else {
                let name = cursor.key()?;
                let field = Field::of(name);
                let written = &bytes[..bytes.len() - (cursor.bytes.len() - cursor.at)];
                // Nothing else could be expected, so learning it would only take time.
                let is_usual = written.starts_with(b"\"") && written.ends_with(b"\": ");
                key = if is_usual && bytes.len() >= BLOCK {
                    order.learn(key, name, field)
                } else {
                    KeyOrder::START
                };
                field
            };
            read_member(cursor, field, fields)
        })
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
            Some(b'0'..=b'9') if self.skip_short_integer() => Ok(()),
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

#[cfg(test)]
mod tests;
