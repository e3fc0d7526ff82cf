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
use super::fields::{DEPTH_MAX, Field, Fields, Value};
use super::json_text::Json;

/// Yields the fields of each event in a body, which is one map or a list of maps.
pub(super) fn events<'a>(body: &'a [u8], mut each: impl FnMut(Result<Fields<'a>, DecodeError>)) {
    if body.is_empty() {
        return each(Err(DecodeError::Empty));
    }
    let mut cursor = MsgpackCursor { rest: body };
    let end = cursor.head().and_then(|head| {
        if let Head::List(length) = head {
            return (0..length).try_for_each(|_| {
                let head = cursor.head()?;
                cursor.element(head, 1, &mut each)
            });
        }
        cursor.element(head, 0, &mut each)
    });
    let whole = end.and_then(|()| cursor.end());
    if let Err(error) = whole {
        each(Err(error));
    }
}

/// Writes a body, which is one value, as JSON.
pub(super) fn transcode(body: &[u8], json: &mut Json) -> Result<(), DecodeError> {
    let mut cursor = MsgpackCursor { rest: body };
    let head = cursor.head()?;
    cursor.write(head, 0, json)?;
    cursor.end()
}

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
struct MsgpackCursor<'a> {
    rest: &'a [u8],
}

impl<'a> MsgpackCursor<'a> {
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

    /// Checks that nothing follows.
    fn end(&self) -> Result<(), DecodeError> {
        match self.rest {
            [] => Ok(()),
            _ => Err(DecodeError::Msgpack),
        }
    }

    /// Yields the rest of a value found where an event should be, `depth` levels deep.
    fn element(
        &mut self,
        head: Head<'a>,
        depth: usize,
        each: &mut impl FnMut(Result<Fields<'a>, DecodeError>),
    ) -> Result<(), DecodeError> {
        if let Head::Map(length) = head {
            each(Ok(self.event(length)?));
        } else {
            self.skip(head, depth)?;
            each(Err(DecodeError::NotAMap));
        }
        Ok(())
    }

    fn event(&mut self, length: u32) -> Result<Fields<'a>, DecodeError> {
        let mut fields = Fields::default();
        for _ in 0..length {
            let key = self.head()?;
            let field = if let Head::Text(key) = key {
                Field::of(key)
            } else {
                self.skip(key, 2)?;
                None
            };
            let head = self.head()?;
            let value = match head {
                Head::Null => Value::Null,
                Head::Bool(bool) => Value::Bool(bool),
                Head::Number(number) => Value::Number(number),
                Head::Text(text) => match field {
                    Some(field) => Value::Text(field.text(text)),
                    None => continue,
                },
                Head::Opaque => Value::Nested,
                Head::List(length @ 0..=3) if field == Some(Field::Loadavg) => {
                    let mut elements = [None; 3];
                    for element in elements.iter_mut().zip(0..length) {
                        let head = self.head()?;
                        if let Head::Number(load) = head {
                            *element.0 = Some(load);
                        }
                        self.skip(head, 3)?;
                    }
                    Value::loads(elements.into_iter().zip(0..length).map(|(load, _)| load))
                }
                Head::List(_) | Head::Map(_) => {
                    self.skip(head, 2)?;
                    Value::Nested
                }
            };
            if let Some(field) = field {
                fields.put(field, value);
            }
        }
        Ok(fields)
    }

    /// Skips the elements of a list or a map, `depth` levels deep.
    fn skip(&mut self, head: Head<'a>, depth: usize) -> Result<(), DecodeError> {
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
        for _ in 0..elements {
            let head = self.head()?;
            self.skip(head, depth + 1)?;
        }
        Ok(())
    }

    /// Writes a value, `depth` levels deep.
    fn write(&mut self, head: Head<'a>, depth: usize, json: &mut Json) -> Result<(), DecodeError> {
        match head {
            Head::Null | Head::Opaque => json.null(),
            Head::Bool(bool) => json.bool(bool),
            Head::Number(number) => json.number(number),
            Head::Text(text) => json.text(text),
            Head::List(_) | Head::Map(_) if depth >= DEPTH_MAX => Err(DecodeError::Depth),
            Head::List(length) => {
                json.begin_list()?;
                for _ in 0..length {
                    let head = self.head()?;
                    self.write(head, depth + 1, json)?;
                }
                json.end_list()
            }
            Head::Map(length) => {
                json.begin_map()?;
                for _ in 0..length {
                    let key = self.head()?;
                    let wanted = if let Head::Text(key) = key {
                        json.key(key)?
                    } else {
                        self.skip(key, depth + 1)?;
                        false
                    };
                    let head = self.head()?;
                    if wanted {
                        self.write(head, depth + 1, json)?;
                    } else {
                        self.skip(head, depth + 1)?;
                    }
                }
                json.end_map()
            }
        }
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
