//! Walks over a body in any serializer, without building values.
//!
//! Each serializer implements [`Reader`]: a position in a body, at one value. Every walk is written
//! once for all of them: the one over events here, and the one over replies to remote control in
//! `broker/reply.rs`.
//!
//! A syntax error ends the walk. A member of the wrong type discards only its event.

use std::borrow::Cow;

use super::fields::{Field, Fields, Value};
use super::json::KeyOrder;
use super::{DecodeError, Event};
use crate::timestamp::Timestamp;

/// What a reader's value is, as far as it can be told without reading the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Map,
    List,
    /// Any other value. Whether it is a valid one is known once it has been read.
    Scalar,
    /// There is no value: the body has ended.
    End,
}

/// A position in a body, at a value. Reading or skipping the value moves behind it.
pub trait Reader<'a>: Sized {
    fn kind(&mut self) -> Kind;

    /// Calls `entry` at the value of each map member, with its key. `entry` must consume the value.
    /// Members whose key is not a text are skipped.
    fn map(
        &mut self,
        entry: impl FnMut(&mut Self, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError>;

    /// Reads the members of an event that are used. `fields` is large, so it is not returned.
    fn members(
        &mut self,
        fields: &mut Fields<'a>,
        _order: &mut KeyOrder,
    ) -> Result<(), DecodeError> {
        self.map(|reader, key| read_member(reader, Field::of(key), fields))
    }

    /// Calls `element` at each element of a list. `element` must consume it.
    fn list(
        &mut self,
        element: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError>;

    /// Reads a value; of a text, the part that `field` needs. Lists and maps are skipped.
    fn member(&mut self, field: Option<Field>) -> Result<Value<'a>, DecodeError>;

    /// Reads the value of an event's `field` into `fields`.
    fn field(&mut self, field: Field, fields: &mut Fields<'a>) -> Result<(), DecodeError> {
        fields.put(field, self.member(Some(field))?);
        Ok(())
    }

    /// Reads a value; of a text, no more than decides whether it is too long for a name.
    fn value(&mut self) -> Result<Value<'a>, DecodeError> {
        self.member(None)
    }

    /// Skips a value at nesting level `depth`.
    fn skip(&mut self, depth: usize) -> Result<(), DecodeError>;

    /// Checks that nothing follows.
    fn end(&mut self) -> Result<(), DecodeError>;

    /// The text of a key, which [`Self::map`] passes as it appears in the body.
    fn key_text(key: &[u8]) -> Cow<'_, str> {
        String::from_utf8_lossy(key)
    }
}

/// What is called with each event. It is not a type parameter, because what it does would be
/// compiled once more for each serializer.
pub(super) type Each<'e, 'a> = dyn FnMut(Result<Event<'a>, DecodeError>) + 'e;

/// Calls `each` with every event of a body, which is one map or a list of maps.
pub(super) fn events<'a, R: Reader<'a>>(
    reader: Result<R, DecodeError>,
    order: &mut KeyOrder,
    received: Timestamp,
    each: &mut Each<'_, 'a>,
) {
    let end = reader.and_then(|mut reader| {
        match reader.kind() {
            Kind::End => return Err(DecodeError::Empty),
            Kind::Map => {
                let mut fields = Fields::default();
                reader.members(&mut fields, order)?;
                each(fields.event(received));
            }
            Kind::List => reader.list(|reader| {
                if reader.kind() == Kind::Map {
                    let mut fields = Fields::default();
                    reader.members(&mut fields, order)?;
                    each(fields.event(received));
                } else {
                    reader.skip(1)?;
                    each(Err(DecodeError::NotAMap));
                }
                Ok(())
            })?,
            Kind::Scalar => return reader.skip(0).and(Err(DecodeError::NotAMap)),
        }
        reader.end()
    });
    if let Err(error) = end {
        each(Err(error));
    }
}

/// Reads the value of a member if it is used.
#[inline(always)]
pub(super) fn read_member<'a, R: Reader<'a>>(
    reader: &mut R,
    field: Option<Field>,
    fields: &mut Fields<'a>,
) -> Result<(), DecodeError> {
    let Some(field) = field else {
        return reader.skip(2);
    };
    if field == Field::Traceback && !fields.wants_traceback() {
        return reader.skip(2);
    }
    if field == Field::Loadavg && reader.kind() == Kind::List {
        fields.put(field, loads(reader)?);
        return Ok(());
    }
    reader.field(field, fields)
}

/// Reads a list that should have three numbers.
fn loads<'a, R: Reader<'a>>(reader: &mut R) -> Result<Value<'a>, DecodeError> {
    // More than three numbers are invalid, so reading a fourth is enough.
    let mut elements = [None; 4];
    let mut count = 0;
    reader.list(|reader| {
        let element = match reader.value()? {
            Value::Number(load) => Some(load),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::Loads(_) | Value::Nested => None,
        };
        elements[count.min(3)] = element;
        count += 1;
        Ok(())
    })?;
    Ok(Value::loads(elements.into_iter().take(count)))
}

#[cfg(test)]
mod tests;
