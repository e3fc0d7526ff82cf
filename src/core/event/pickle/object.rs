//! Handles objects of classes. Nothing is imported or called, so an object is known only by the
//! arguments it was made from.
//!
//! An object made from a single number or text is treated as that value: Python pickles enum
//! members (`signal.Signals(9)`) and subclasses of `int` and `str` in this way. Every other object
//! is opaque, as are classes themselves and the form that older Pythons use for enum members: a
//! global with the member's name.

use super::{Item, Machine, Text};
use crate::event::DecodeError;

/// A value without parts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'a> {
    Number(f64),
    Text(Text<'a>),
}

impl<'a> Item<'a> {
    /// The value, if it is one without parts.
    pub(super) fn scalar(self) -> Option<Scalar<'a>> {
        match self {
            Self::Number(number) => Some(Scalar::Number(number)),
            Self::Text(text) => Some(Scalar::Text(text)),
            Self::Object(scalar) => scalar,
            Self::Null
            | Self::Bool(_)
            | Self::Opaque
            | Self::Single(_)
            | Self::List(_)
            | Self::Map(_) => None,
        }
    }

    pub(super) fn text(self) -> Option<Text<'a>> {
        match self.scalar() {
            Some(Scalar::Text(text)) => Some(text),
            Some(Scalar::Number(_)) | None => None,
        }
    }

    /// The tuple that holds some values.
    pub(super) fn tuple(items: &[Self]) -> Self {
        match items {
            [Self::Number(number)] => Self::Single(Scalar::Number(*number)),
            [Self::Text(text)] => Self::Single(Scalar::Text(*text)),
            _ => Self::Opaque,
        }
    }
}

impl<'a> Machine<'a> {
    /// Takes what an opcode would import, call or restore from the stack, and leaves what stands for it.
    pub(super) fn object(&mut self, code: u8) -> Result<(), DecodeError> {
        let object = match code {
            // GLOBAL, and EXT1 to EXT4, which name a class by a number.
            b'c' => {
                self.line()?;
                self.line()?;
                Item::Object(None)
            }
            0x82..=0x84 => {
                match code {
                    0x82 => self.length::<1>()?,
                    0x83 => self.length::<2>()?,
                    _ => self.length::<4>()?,
                };
                Item::Object(None)
            }
            // INST and OBJ: a class and its arguments, above a mark.
            b'i' | b'o' => {
                if code == b'i' {
                    self.line()?;
                    self.line()?;
                }
                let mark = self.mark()?;
                self.stack.truncate(mark);
                Item::Object(None)
            }
            // BUILD: an object and its state, which changes nothing that we see.
            b'b' => {
                self.pop()?;
                self.pop()?
            }
            // NEWOBJ_EX: a class and two kinds of arguments.
            0x92 => {
                self.pop()?;
                self.called()?
            }
            // STACK_GLOBAL: a module and a name.
            0x93 => {
                self.pop()?;
                self.pop()?;
                Item::Object(None)
            }
            // REDUCE and NEWOBJ.
            _ => self.called()?,
        };
        self.push(object)
    }

    /// Takes a class and its arguments.
    fn called(&mut self) -> Result<Item<'a>, DecodeError> {
        let arguments = self.pop()?;
        self.pop()?;
        Ok(Item::Object(match arguments {
            Item::Single(scalar) => Some(scalar),
            Item::Null
            | Item::Bool(_)
            | Item::Number(_)
            | Item::Text(_)
            | Item::Opaque
            | Item::Object(_)
            | Item::List(_)
            | Item::Map(_) => None,
        }))
    }
}
