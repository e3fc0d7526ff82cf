//! Reads the objects that the machine has built.

use super::object::Scalar;
use super::{Item, Machine, Members};
use crate::event::DecodeError;
use crate::event::fields::{Field, VALUES_MAX, Value};
use crate::event::reader::{Kind, Reader};

/// A position among the objects of a pickle.
#[derive(Debug)]
pub struct PickleReader<'a> {
    item: Item<'a>,
    lists: Vec<Vec<Item<'a>>>,
    maps: Vec<Members<'a>>,
    /// How many more values may be read: the memo can recall one list or map any number of times.
    left: usize,
}

impl<'a> PickleReader<'a> {
    pub fn new(body: &'a [u8]) -> Result<Self, DecodeError> {
        if body.is_empty() {
            return Err(DecodeError::Empty);
        }
        let mut machine = Machine::new(body);
        let item = machine.run()?;
        Ok(Self {
            item,
            lists: machine.lists,
            maps: machine.maps,
            left: VALUES_MAX,
        })
    }

    fn move_to(&mut self, item: Item<'a>) -> Result<(), DecodeError> {
        self.left = self.left.checked_sub(1).ok_or(DecodeError::Values)?;
        self.item = item;
        Ok(())
    }
}

impl<'a> Reader<'a> for PickleReader<'a> {
    fn kind(&mut self) -> Kind {
        match self.item {
            Item::Map(_) => Kind::Map,
            Item::List(_) => Kind::List,
            Item::Null
            | Item::Bool(_)
            | Item::Number(_)
            | Item::Text(_)
            | Item::Opaque
            | Item::Single(_)
            | Item::Object(_) => Kind::Scalar,
        }
    }

    fn map(
        &mut self,
        mut entry: impl FnMut(&mut Self, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let Item::Map(map) = self.item else {
            return Err(DecodeError::Pickle);
        };
        for at in 0..self.maps[map].len() {
            let (key, item) = self.maps[map][at];
            self.move_to(item)?;
            entry(self, &key.bytes(None))?;
        }
        Ok(())
    }

    fn list(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let Item::List(list) = self.item else {
            return Err(DecodeError::Pickle);
        };
        for at in 0..self.lists[list].len() {
            self.move_to(self.lists[list][at])?;
            element(self)?;
        }
        Ok(())
    }

    fn member(&mut self, field: Option<Field>) -> Result<Value<'a>, DecodeError> {
        let fits = |is_number| field.is_none_or(|field| field.is_number() == is_number);
        Ok(match self.item {
            Item::Null => Value::Null,
            Item::Bool(bool) => Value::Bool(bool),
            Item::Number(number) => Value::Number(number),
            Item::Text(text) => Value::Text(text.part(field)),
            Item::Object(Some(Scalar::Number(number))) if fits(true) => Value::Number(number),
            Item::Object(Some(Scalar::Text(text))) if fits(false) => Value::Text(text.part(field)),
            // An object that cannot be read is treated as absent.
            Item::Object(_) => Value::Null,
            Item::Opaque | Item::Single(_) | Item::List(_) | Item::Map(_) => Value::Nested,
        })
    }

    /// Skips nothing: the objects are already built.
    fn skip(&mut self, _depth: usize) -> Result<(), DecodeError> {
        Ok(())
    }

    /// As in Python, what follows a pickle is ignored.
    fn end(&mut self) -> Result<(), DecodeError> {
        Ok(())
    }
}
