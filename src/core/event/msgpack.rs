//! Parses MessagePack as written by Kombu, without building values.
//!
//! A cursor moves over the bytes of a body, as for JSON: unused members are skipped, and texts that
//! are kept borrow from the body. No memory is reserved for a length that the body claims. Texts
//! (`str`) and bytes (`bin`) are distinct, as in Python: bytes are never a name or a known key.
//!
//! Invalid MessagePack discards the rest of the message, because the start of the next event is
//! unknown; earlier events have already been returned. A member of the wrong type discards only its
//! event.
//!
//! Source: <https://github.com/msgpack/msgpack/blob/master/spec.md>, checked against a recording of
//! Celery's workers in `tests/golden/events`.

use super::DecodeError;
use super::fields::{DEPTH_MAX, Field, Value};
use super::reader::{Kind, Reader};

/// The head of a value. For lists and maps, only the number of elements has been read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Head<'a> {
    Null,
    Bool(bool),
    Number(f64),
    Text(&'a [u8]),
    /// Bytes, timestamps and other extension types.
    Opaque,
    List(u32),
    Map(u32),
}

/// A position in a body.
#[derive(Debug)]
pub struct MsgpackReader<'a> {
    rest: &'a [u8],
}

impl<'a> MsgpackReader<'a> {
    pub fn new(body: &'a [u8]) -> Result<Self, DecodeError> {
        if body.is_empty() {
            return Err(DecodeError::Empty);
        }
        Ok(Self { rest: body })
    }

    /// Reads a scalar, or the length of a list or a map.
    fn head(&mut self) -> Result<Head<'a>, DecodeError> {
        let [code] = self.array()?;
        Ok(match code {
            0x00..=0x7f => Head::Number(f64::from(code)),
            0x80..=0x8f => Head::Map(u32::from(code & 0x0f)),
            0x90..=0x9f => Head::List(u32::from(code & 0x0f)),
            0xa0..=0xbf => Head::Text(self.bytes(u32::from(code & 0x1f))?),
            0xc0 => Head::Null,
            0xc1 => return Err(DecodeError::Msgpack),
            0xc2 => Head::Bool(false),
            0xc3 => Head::Bool(true),
            0xc4..=0xc6 => {
                let length = self.length(code - 0xc4)?;
                self.opaque(length)?
            }
            0xc7..=0xc9 => {
                let length = self.length(code - 0xc7)?;
                let [_type] = self.array()?;
                self.opaque(length)?
            }
            0xca => Head::Number(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => Head::Number(f64::from_be_bytes(self.array()?)),
            0xcc => Head::Number(f64::from(u8::from_be_bytes(self.array()?))),
            0xcd => Head::Number(f64::from(u16::from_be_bytes(self.array()?))),
            0xce => Head::Number(f64::from(u32::from_be_bytes(self.array()?))),
            0xcf => Head::Number(wide(u64::from_be_bytes(self.array()?).into())),
            0xd0 => Head::Number(f64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => Head::Number(f64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => Head::Number(f64::from(i32::from_be_bytes(self.array()?))),
            0xd3 => Head::Number(wide(i64::from_be_bytes(self.array()?).into())),
            0xd4..=0xd8 => {
                let [_type] = self.array()?;
                self.opaque(1 << (code - 0xd4))?
            }
            0xd9..=0xdb => {
                let length = self.length(code - 0xd9)?;
                Head::Text(self.bytes(length)?)
            }
            0xdc | 0xdd => Head::List(self.length(code - 0xdc + 1)?),
            0xde | 0xdf => Head::Map(self.length(code - 0xde + 1)?),
            0xe0..=0xff => Head::Number(f64::from(i8::from_be_bytes([code]))),
        })
    }

    /// Skips the elements of a list or a map at nesting level `depth`.
    fn skip_elements(&mut self, head: Head<'a>, depth: usize) -> Result<(), DecodeError> {
        let elements = match head {
            Head::Null | Head::Bool(_) | Head::Number(_) | Head::Text(_) | Head::Opaque => {
                return Ok(());
            }
            Head::List(length) => u64::from(length),
            Head::Map(length) => 2 * u64::from(length),
        };
        if depth >= DEPTH_MAX {
            return Err(DecodeError::Depth);
        }
        (0..elements).try_for_each(|_| self.skip(depth + 1))
    }

    fn opaque(&mut self, length: u32) -> Result<Head<'a>, DecodeError> {
        self.bytes(length).map(|_| Head::Opaque)
    }

    /// A length in 1, 2 or 4 bytes.
    fn length(&mut self, size: u8) -> Result<u32, DecodeError> {
        Ok(match size {
            0 => u8::from_be_bytes(self.array()?).into(),
            1 => u16::from_be_bytes(self.array()?).into(),
            _ => u32::from_be_bytes(self.array()?),
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Msgpack)?;
        self.rest = rest;
        Ok(*array)
    }

    fn bytes(&mut self, length: u32) -> Result<&'a [u8], DecodeError> {
        let split = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length));
        let (bytes, rest) = split.ok_or(DecodeError::Msgpack)?;
        self.rest = rest;
        Ok(bytes)
    }
}

impl<'a> Reader<'a> for MsgpackReader<'a> {
    fn kind(&mut self) -> Kind {
        match self.rest.first() {
            Some(0x80..=0x8f | 0xde | 0xdf) => Kind::Map,
            Some(0x90..=0x9f | 0xdc | 0xdd) => Kind::List,
            Some(_) => Kind::Scalar,
            None => Kind::End,
        }
    }

    fn map(
        &mut self,
        mut entry: impl FnMut(&mut Self, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let Head::Map(length) = self.head()? else {
            return Err(DecodeError::Msgpack);
        };
        for _ in 0..length {
            let key = self.head()?;
            if let Head::Text(key) = key {
                entry(self, key)?;
            } else {
                self.skip_elements(key, 2)?;
                self.skip(2)?;
            }
        }
        Ok(())
    }

    fn list(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let Head::List(length) = self.head()? else {
            return Err(DecodeError::Msgpack);
        };
        (0..length).try_for_each(|_| element(self))
    }

    fn member(&mut self, field: Option<Field>) -> Result<Value<'a>, DecodeError> {
        let head = self.head()?;
        Ok(match head {
            Head::Null => Value::Null,
            Head::Bool(bool) => Value::Bool(bool),
            Head::Number(number) => Value::Number(number),
            Head::Text(text) => Value::Text(Field::text(field, text)),
            Head::Opaque | Head::List(_) | Head::Map(_) => {
                self.skip_elements(head, 2)?;
                Value::Nested
            }
        })
    }

    fn skip(&mut self, depth: usize) -> Result<(), DecodeError> {
        let head = self.head()?;
        self.skip_elements(head, depth)
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        match self.rest {
            [] => Ok(()),
            _ => Err(DecodeError::Msgpack),
        }
    }
}

/// An integer beyond 53 bits is rounded, as everywhere.
#[expect(
    clippy::cast_precision_loss,
    reason = "no number that is read can be that large and right"
)]
fn wide(number: i128) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
