//! Converts the objects that the machine has built into the fields of an event, or into JSON.

use super::object::Scalar;
use super::text::Text;
use super::{Item, Machine};
use crate::event::DecodeError;
use crate::event::fields::{DEPTH_MAX, Field, Fields, Value};
use crate::event::json_text::Json;

impl<'a> Machine<'a, Field> {
    /// The fields that are read from an event.
    pub(super) fn event(&self, item: Item<'a>) -> Result<Fields<'a>, DecodeError> {
        let members = match item {
            Item::Map(map) => self.maps.get(map),
            Item::Null
            | Item::Bool(_)
            | Item::Number(_)
            | Item::Text(_)
            | Item::Opaque
            | Item::Single(_)
            | Item::Object(_)
            | Item::List(_) => None,
        };
        let mut fields = Fields::default();
        for (field, item) in members.ok_or(DecodeError::NotAMap)? {
            let value = match *item {
                Item::Null => Value::Null,
                Item::Bool(bool) => Value::Bool(bool),
                Item::Number(number) => Value::Number(number),
                Item::Text(text) => Value::Text(text.of(*field)),
                Item::List(list) if *field == Field::Loadavg => {
                    let items = self.lists.get(list).into_iter().flatten();
                    Value::loads(items.map(|item| item.number()))
                }
                // An object that cannot be read is treated as absent.
                Item::Object(scalar) => match (scalar, field.is_number()) {
                    (Some(Scalar::Number(number)), true) => Value::Number(number),
                    (Some(Scalar::Text(text)), false) => Value::Text(text.of(*field)),
                    (Some(_), _) | (None, _) => Value::Null,
                },
                Item::Opaque | Item::Single(_) | Item::List(_) | Item::Map(_) => Value::Nested,
            };
            fields.put(*field, value);
        }
        Ok(fields)
    }
}

impl<'a> Machine<'a, Text<'a>> {
    /// Writes a value that stands `depth` levels deep, and whatever it holds as often as it holds it; `left` values
    /// may be.
    pub(super) fn write(
        &self,
        item: Item<'a>,
        depth: usize,
        left: &mut usize,
        json: &mut Json,
    ) -> Result<(), DecodeError> {
        *left = left.checked_sub(1).ok_or(DecodeError::Values)?;
        match item {
            Item::Null | Item::Opaque | Item::Single(_) | Item::Object(None) => json.null(),
            Item::Bool(bool) => json.bool(bool),
            Item::Number(number) | Item::Object(Some(Scalar::Number(number))) => {
                json.number(number)
            }
            Item::Text(text) | Item::Object(Some(Scalar::Text(text))) => json.text(&text.whole()),
            Item::List(_) | Item::Map(_) if depth >= DEPTH_MAX => Err(DecodeError::Depth),
            Item::List(list) => {
                json.begin_list()?;
                for item in self.lists.get(list).into_iter().flatten() {
                    self.write(*item, depth + 1, left, json)?;
                }
                json.end_list()
            }
            Item::Map(map) => {
                json.begin_map()?;
                for (key, item) in self.maps.get(map).into_iter().flatten() {
                    if json.key(&key.whole())? {
                        self.write(*item, depth + 1, left, json)?;
                    } else {
                        *left = left.checked_sub(1).ok_or(DecodeError::Values)?;
                    }
                }
                json.end_map()
            }
        }
    }
}
