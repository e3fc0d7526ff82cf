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

use std::borrow::Cow;
use std::fmt::Write;

use super::DecodeError;
use super::exception::EXCEPTION_HEAD;
use super::fields::{DEPTH_MAX, Field, Fields, TEXT_MAX, TRACEBACK_TAIL, Value};
use crate::escape::is_unsafe;

/// Yields the fields of each event in a body, which is one map or a list of maps.
pub(super) fn events<'a>(body: &'a [u8], mut each: impl FnMut(Result<Fields<'a>, DecodeError>)) {
    let mut cursor = Cursor::new(body);
    let end = match cursor.peek() {
        None => Err(DecodeError::Empty),
        Some(b'{') => cursor.event().map(|fields| each(Ok(fields))),
        Some(b'[') => cursor.list(|cursor| {
            if cursor.peek() == Some(b'{') {
                each(Ok(cursor.event()?));
            } else {
                cursor.skip(1)?;
                each(Err(DecodeError::NotAMap));
            }
            Ok(())
        }),
        Some(_) => cursor.skip(0).and(Err(DecodeError::NotAMap)),
    };
    if let Err(error) = end.and_then(|()| cursor.end()) {
        each(Err(error));
    }
}

/// How far to search for the end of a text byte by byte.
const NEAR: usize = 16;

/// A text between its quotes, still escaped.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    bytes: &'a [u8],
    escaped: bool,
}

/// A position in a body.
#[derive(Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
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

    /// Checks that nothing follows.
    pub fn end(&mut self) -> Result<(), DecodeError> {
        self.peek().map_or(Ok(()), |_| Err(DecodeError::Json))
    }

    /// Calls `entry` at the value of each map member, with its key.
    #[inline]
    pub fn map(
        &mut self,
        mut entry: impl FnMut(&mut Self, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.expect_byte(b'{')?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.raw()?;
            self.expect_byte(b':')?;
            self.peek();
            // Known keys contain no escapes, so a key with an escape matches none of them.
            entry(self, key.bytes)?;
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

    /// Calls `element` at each element of a list.
    pub fn list(
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

    fn event(&mut self) -> Result<Fields<'a>, DecodeError> {
        let mut fields = Fields::default();
        self.map(|cursor, key| {
            let Some(field) = Field::of(key) else {
                return cursor.skip(2);
            };
            let value = match field {
                Field::Exception => cursor.text_head(EXCEPTION_HEAD)?,
                Field::Traceback if fields.wants_traceback() => cursor.text_tail(TRACEBACK_TAIL)?,
                Field::Traceback => return cursor.skip(2),
                Field::Loadavg => cursor.loads()?,
                Field::Type
                | Field::Timestamp
                | Field::Hostname
                | Field::Pid
                | Field::Uuid
                | Field::Name
                | Field::Queue
                | Field::Exchange
                | Field::RoutingKey
                | Field::Retries
                | Field::Eta
                | Field::Expires
                | Field::Runtime
                | Field::Requeue
                | Field::Terminated
                | Field::Expired
                | Field::Freq
                | Field::Active
                | Field::Processed
                | Field::SwIdent
                | Field::SwVer
                | Field::SwSys => cursor.value()?,
            };
            fields.put(field, value);
            Ok(())
        })?;
        Ok(fields)
    }

    /// Reads a value. Lists and maps are skipped, and a text far longer than [`TEXT_MAX`] is cut a
    /// little beyond it: it is refused for its length and need not be copied in full.
    pub fn value(&mut self) -> Result<Value<'a>, DecodeError> {
        match self.peek() {
            Some(b'"') => {
                let raw = self.raw()?;
                // An escape takes up to twelve bytes for one character.
                let cut = raw.bytes.len().min(12 * TEXT_MAX + 12);
                Ok(Value::Text(
                    Raw {
                        bytes: &raw.bytes[..cut],
                        ..raw
                    }
                    .text(),
                ))
            }
            Some(b'{' | b'[') => self.skip(2).map(|()| Value::Nested),
            Some(_) => self.scalar(),
            None => Err(DecodeError::Json),
        }
    }

    /// A list of three numbers, or whatever else stands here.
    fn loads(&mut self) -> Result<Value<'a>, DecodeError> {
        if self.peek() != Some(b'[') {
            return self.value();
        }
        // More than three are none; a fourth is enough to tell.
        let mut elements = [None; 4];
        let mut count = 0;
        self.list(|cursor| {
            let element = match cursor.value()? {
                Value::Number(load) => Some(load),
                Value::Null | Value::Bool(_) | Value::Text(_) | Value::Loads(_) | Value::Nested => {
                    None
                }
            };
            elements[count.min(3)] = element;
            count += 1;
            Ok(())
        })?;
        Ok(Value::loads(elements.into_iter().take(count)))
    }

    /// A text of which only the first `bytes` are needed.
    fn text_head(&mut self, bytes: usize) -> Result<Value<'a>, DecodeError> {
        if self.peek() != Some(b'"') {
            return self.value();
        }
        let raw = self.raw()?;
        let head = &raw.bytes[..raw.bytes.len().min(bytes)];
        // A `repr` mostly has its escapes behind the class name: cut there, it can be borrowed.
        let head = match memchr::memchr(b'\\', head) {
            Some(escape) if head[..escape].contains(&b'(') => &head[..escape],
            Some(_) | None => head,
        };
        Ok(Value::Text(
            Raw {
                bytes: head,
                escaped: head.contains(&b'\\'),
            }
            .text(),
        ))
    }

    /// A text of which only the last `bytes` are needed.
    fn text_tail(&mut self, bytes: usize) -> Result<Value<'a>, DecodeError> {
        if self.peek() != Some(b'"') {
            return self.value();
        }
        let raw = self.raw()?;
        let tail = &raw.bytes[raw.bytes.len().saturating_sub(bytes)..];
        Ok(Value::Text(Raw { bytes: tail, ..raw }.text()))
    }

    /// The text here, between its quotes.
    #[inline]
    pub fn raw(&mut self) -> Result<Raw<'a>, DecodeError> {
        self.expect_byte(b'"')?;
        let start = self.at;
        let mut escaped = false;
        // Most texts are keys and short words, which are over before a vectorized search pays.
        let near = self.bytes.len().min(start + NEAR);
        while self.at < near && !matches!(self.bytes[self.at], b'"' | b'\\') {
            self.at += 1;
        }
        loop {
            if self.bytes.get(self.at) != Some(&b'"') {
                let rest = self.bytes.get(self.at..).ok_or(DecodeError::Json)?;
                let found = memchr::memchr2(b'"', b'\\', rest).ok_or(DecodeError::Json)?;
                self.at += found;
            }
            if self.bytes[self.at] == b'"' {
                let bytes = &self.bytes[start..self.at];
                self.at += 1;
                return Ok(Raw { bytes, escaped });
            }
            escaped = true;
            self.at += 2;
        }
    }

    /// Skips a value at nesting level `depth`.
    pub fn skip(&mut self, depth: usize) -> Result<(), DecodeError> {
        match self.peek() {
            Some(b'"') => self.raw().map(drop),
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

    /// A number or a word.
    fn scalar(&mut self) -> Result<Value<'a>, DecodeError> {
        let token = self.token();
        let number = || number(token).map(Value::Number);
        word(token).or_else(number).ok_or(DecodeError::Json)
    }

    /// What a number or a word is made of, up to what cannot belong to it.
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

/// A number; beyond the range of a float the largest one, so that it is still a number, and a wrong one.
fn number(token: &[u8]) -> Option<f64> {
    let digits = token.strip_prefix(b"-").unwrap_or(token);
    if !digits.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let number: f64 = std::str::from_utf8(token).ok()?.parse().ok()?;
    Some(number.clamp(f64::MIN, f64::MAX))
}

impl<'a> Raw<'a> {
    /// The bytes as they stand in the body, where no escape is among them.
    pub fn plain(self) -> Option<&'a [u8]> {
        (!self.escaped).then_some(self.bytes)
    }

    /// The text. What is no UTF-8 and lone surrogates become U+FFFD.
    #[inline]
    pub fn text(self) -> Cow<'a, str> {
        if self.escaped {
            Cow::Owned(unescape(self.bytes))
        } else {
            // What is sound, as almost all is, is seen so several times as fast in this way.
            match std::str::from_utf8(self.bytes) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => String::from_utf8_lossy(self.bytes),
            }
        }
    }
}

/// The text of a key, which a map hands out as it stands.
pub fn key_text(key: &[u8]) -> Cow<'_, str> {
    Raw {
        bytes: key,
        escaped: key.contains(&b'\\'),
    }
    .text()
}

/// Appends a text in JSON, which YAML reads too, on one line whoever shows it.
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
