//! Reads Python pickles as data.
//!
//! A pickle is a program for a stack machine that can import and call anything. This machine
//! implements only the opcodes that build None, bools, numbers, texts, bytes, tuples, sets, lists
//! and maps, in protocols 0 to 5. Nothing is ever imported or run: an object is opaque, or the
//! single value it was made from (`object.rs`), and costs the event no more than the member it
//! appears in. A reference that only the program that wrote the pickle could resolve discards the
//! message.
//!
//! ```text
//!   body ──▶ stack ──▶ lists, maps (by number) ──▶ PickleReader
//!              ▲ │
//!              │ ▼
//!             memo
//! ```
//!
//! A value is small and copied: texts are slices of the body, lists and maps are numbers. So a
//! value that the memo recalls a million times costs a million small copies, and a list that
//! contains itself is only a number. Only the value from a tuple with one value is kept, and
//! nothing from other tuples and sets. The number of values that exist at once is bounded, and so
//! is the number that are read. Nothing here recurses, so a pickle may nest to any depth.
//!
//! Any error discards all events, because the contents of a pickle are known only at its end. A
//! member of the wrong type discards only its event.
//!
//! Source: CPython 3.14, `Lib/pickletools.py`, checked against a recording of Celery's workers in
//! `tests/golden/events`.

use super::DecodeError;
use super::fields::VALUES_MAX;

mod number;
mod object;
mod reader;
mod text;

use number::{long, number};
use object::Scalar;
pub use reader::PickleReader;
use text::Text;

/// A value, small enough to be copied wherever it is referred to.
#[derive(Clone, Copy, Debug)]
enum Item<'a> {
    Null,
    Bool(bool),
    Number(f64),
    Text(Text<'a>),
    /// Bytes, a tuple or a set.
    Opaque,
    /// A tuple of this one value.
    Single(Scalar<'a>),
    /// An object, with the scalar it was made from if there is exactly one; also a class.
    Object(Option<Scalar<'a>>),
    /// The index of a list in [`Machine::lists`].
    List(usize),
    /// The index of a map in [`Machine::maps`].
    Map(usize),
}

/// The members of a map whose key is a text.
type Members<'a> = Vec<(Text<'a>, Item<'a>)>;

#[derive(Debug)]
struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Item<'a>>,
    /// The positions of the marks on the stack, outermost first.
    marks: Vec<usize>,
    memo: Vec<Item<'a>>,
    lists: Vec<Vec<Item<'a>>>,
    maps: Vec<Members<'a>>,
    /// The number of values made so far.
    made: usize,
}

impl<'a> Machine<'a> {
    fn new(body: &'a [u8]) -> Self {
        Self {
            rest: body,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            lists: Vec::new(),
            maps: Vec::new(),
            made: 0,
        }
    }

    /// Runs up to the STOP opcode and returns its value. As in Python, the rest is ignored.
    fn run(&mut self) -> Result<Item<'a>, DecodeError> {
        loop {
            let [code] = self.array()?;
            match code {
                b'.' => return self.pop(),
                // Memo and stack.
                b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' | b'0' | b'1' | b'2' | b'(' => {
                    self.arrange(code)?;
                }
                // The protocol and the frames carry no information we need.
                0x80 => {
                    let [_protocol] = self.array()?;
                }
                0x95 => {
                    let [..]: [u8; 8] = self.array()?;
                }
                // Containers.
                b']' | b'}' | b')' | 0x8f | b'l' | b'd' | b't' | 0x91 | 0x85..=0x87 => {
                    let item = self.container(code)?;
                    self.push(item)?;
                }
                b'a' | b'e' | b's' | b'u' | 0x90 => self.fill(code)?,
                b'c' | b'i' | b'o' | b'R' | b'b' | 0x81..=0x84 | 0x92 | 0x93 => {
                    self.object(code)?;
                }
                _ => {
                    let item = self.scalar(code)?;
                    self.push(item)?;
                }
            }
        }
    }

    /// Moves values between the stack and the memo, or discards them.
    fn arrange(&mut self, code: u8) -> Result<(), DecodeError> {
        match code {
            b'(' => {
                self.count()?;
                self.marks.push(self.stack.len());
            }
            b'0' => {
                // As in Python, a mark on top is removed.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => {
                let mark = self.mark()?;
                self.stack.truncate(mark);
            }
            b'2' => {
                let item = self.top()?;
                self.push(item)?;
            }
            b'p' | b'q' | b'r' | 0x94 => {
                let at = match code {
                    b'p' => self.index()?,
                    b'q' => usize::from(u8::from_le_bytes(self.array()?)),
                    b'r' => self.length::<4>()?,
                    _ => self.memo.len(),
                };
                let item = self.top()?;
                self.memorize(at, item)?;
            }
            _ => {
                let at = match code {
                    b'g' => self.index()?,
                    b'h' => usize::from(u8::from_le_bytes(self.array()?)),
                    _ => self.length::<4>()?,
                };
                let item = self.memo.get(at).ok_or(DecodeError::Pickle)?;
                self.push(*item)?;
            }
        }
        Ok(())
    }

    /// Pickle writers number memoized values in order, from 0 or 1. A number above the count of
    /// values comes from no such writer and would only cost memory.
    fn memorize(&mut self, at: usize, item: Item<'a>) -> Result<(), DecodeError> {
        if at > self.made {
            return Err(DecodeError::Pickle);
        }
        if at >= self.memo.len() {
            self.memo.resize(at + 1, Item::Null);
        }
        self.memo[at] = item;
        self.count()
    }

    /// Makes a list, a map, a tuple or a set, either empty or from the values above the mark.
    fn container(&mut self, code: u8) -> Result<Item<'a>, DecodeError> {
        Ok(match code {
            b']' => self.list(Vec::new()),
            b'}' => self.map(Vec::new()),
            b'l' => {
                let mark = self.mark()?;
                let items = self.stack.split_off(mark);
                self.list(items)
            }
            b'd' => {
                let mark = self.mark()?;
                let mut members = Vec::new();
                put_all(&mut members, &self.stack[mark..])?;
                self.stack.truncate(mark);
                self.map(members)
            }
            b't' => {
                let mark = self.mark()?;
                let tuple = Item::tuple(&self.stack[mark..]);
                self.stack.truncate(mark);
                tuple
            }
            0x91 => {
                let mark = self.mark()?;
                self.stack.truncate(mark);
                Item::Opaque
            }
            0x85..=0x87 => {
                let from = self.above(usize::from(code - 0x84))?;
                let tuple = Item::tuple(&self.stack[from..]);
                self.stack.truncate(from);
                tuple
            }
            _ => Item::Opaque,
        })
    }

    /// Adds the values above a list, a map or a set to it.
    fn fill(&mut self, code: u8) -> Result<(), DecodeError> {
        let from = match code {
            b'a' => self.above(1)?,
            b's' => self.above(2)?,
            _ => self.mark()?,
        };
        let target = from.checked_sub(1).ok_or(DecodeError::Pickle)?;
        if self.marks.last().is_some_and(|mark| *mark > target) {
            return Err(DecodeError::Pickle);
        }
        let items = &self.stack[from..];
        match (self.stack[target], code) {
            (Item::List(list), b'a' | b'e') => {
                let list = self.lists.get_mut(list).ok_or(DecodeError::Pickle)?;
                list.extend_from_slice(items);
            }
            (Item::Map(map), b's' | b'u') => {
                let members = self.maps.get_mut(map).ok_or(DecodeError::Pickle)?;
                put_all(members, items)?;
            }
            (Item::Opaque | Item::Object(_), 0x90) => {}
            // A subclass of a list or a map.
            (Item::Object(_), b'a' | b'e' | b's' | b'u') => {}
            _ => return Err(DecodeError::Pickle),
        }
        self.stack.truncate(from);
        Ok(())
    }

    /// Reads a value that is encoded in the pickle itself.
    fn scalar(&mut self, code: u8) -> Result<Item<'a>, DecodeError> {
        Ok(match code {
            b'N' => Item::Null,
            0x88 => Item::Bool(true),
            0x89 => Item::Bool(false),
            b'K' => Item::Number(f64::from(u8::from_le_bytes(self.array()?))),
            b'M' => Item::Number(f64::from(u16::from_le_bytes(self.array()?))),
            b'J' => Item::Number(f64::from(i32::from_le_bytes(self.array()?))),
            b'G' => Item::Number(f64::from_be_bytes(self.array()?)),
            b'I' => match self.line()? {
                b"00" => Item::Bool(false),
                b"01" => Item::Bool(true),
                digits => Item::Number(number(digits)?),
            },
            b'L' => {
                let digits = self.line()?;
                Item::Number(number(digits.strip_suffix(b"L").unwrap_or(digits))?)
            }
            b'F' => Item::Number(number(self.line()?)?),
            0x8a | 0x8b => {
                let length = match code {
                    0x8a => self.length::<1>()?,
                    _ => self.length::<4>()?,
                };
                Item::Number(long(self.bytes(length)?))
            }
            0x8c | b'X' | 0x8d | b'U' | b'T' => {
                let length = match code {
                    0x8c | b'U' => self.length::<1>()?,
                    0x8d => self.length::<8>()?,
                    _ => self.length::<4>()?,
                };
                Item::Text(Text::plain(self.bytes(length)?))
            }
            b'V' => Item::Text(Text::escaped(self.line()?)),
            b'S' => Item::Text(Text::quoted(self.line()?).ok_or(DecodeError::Pickle)?),
            b'C' | b'B' | 0x8e | 0x96 => {
                let length = match code {
                    b'C' => self.length::<1>()?,
                    b'B' => self.length::<4>()?,
                    _ => self.length::<8>()?,
                };
                self.bytes(length)?;
                Item::Opaque
            }
            _ => return Err(refused(code)),
        })
    }

    fn list(&mut self, items: Vec<Item<'a>>) -> Item<'a> {
        self.lists.push(items);
        Item::List(self.lists.len() - 1)
    }

    fn map(&mut self, members: Members<'a>) -> Item<'a> {
        self.maps.push(members);
        Item::Map(self.maps.len() - 1)
    }

    fn count(&mut self) -> Result<(), DecodeError> {
        self.made += 1;
        if self.made > VALUES_MAX {
            return Err(DecodeError::Values);
        }
        Ok(())
    }

    fn push(&mut self, item: Item<'a>) -> Result<(), DecodeError> {
        self.count()?;
        self.stack.push(item);
        Ok(())
    }

    fn pop(&mut self) -> Result<Item<'a>, DecodeError> {
        let item = self.top()?;
        self.stack.pop();
        Ok(item)
    }

    /// The value on top, which must not lie below a mark.
    fn top(&self) -> Result<Item<'a>, DecodeError> {
        let at = self.above(1)?;
        Ok(self.stack[at])
    }

    /// The index of the lowest of the `count` values on top, none of which may lie below a mark.
    fn above(&self, count: usize) -> Result<usize, DecodeError> {
        let lowest = self.marks.last().copied().unwrap_or_default();
        let at = self.stack.len().checked_sub(count);
        at.filter(|at| *at >= lowest).ok_or(DecodeError::Pickle)
    }

    /// Removes the topmost mark and returns its position.
    fn mark(&mut self) -> Result<usize, DecodeError> {
        self.marks.pop().ok_or(DecodeError::Pickle)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Pickle)?;
        self.rest = rest;
        Ok(*array)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let split = self.rest.split_at_checked(length);
        let (bytes, rest) = split.ok_or(DecodeError::Pickle)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A length in `N` bytes, lowest first.
    fn length<const N: usize>(&mut self) -> Result<usize, DecodeError> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&self.array::<N>()?);
        usize::try_from(u64::from_le_bytes(bytes)).map_err(|_| DecodeError::Pickle)
    }

    /// The text up to the end of the line.
    fn line(&mut self) -> Result<&'a [u8], DecodeError> {
        let end = memchr::memchr(b'\n', self.rest).ok_or(DecodeError::Pickle)?;
        let line = self.bytes(end)?;
        self.bytes(1)?;
        Ok(line)
    }

    /// An index into the memo, as a line of digits.
    fn index(&mut self) -> Result<usize, DecodeError> {
        let line = std::str::from_utf8(self.line()?).ok();
        line.and_then(|line| line.parse().ok())
            .ok_or(DecodeError::Pickle)
    }
}

/// Adds members from alternating keys and values. A repeated key is repeated.
fn put_all<'a>(members: &mut Members<'a>, items: &[Item<'a>]) -> Result<(), DecodeError> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(DecodeError::Pickle);
    }
    members.reserve(pairs.len());
    for [key, value] in pairs {
        if let Some(key) = key.text() {
            members.push((key, *value));
        }
    }
    Ok(())
}

/// Why an opcode discards the message.
const fn refused(code: u8) -> DecodeError {
    DecodeError::PickledReference(match code {
        b'P' => "PERSID",
        b'Q' => "BINPERSID",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => return DecodeError::Pickle,
    })
}

#[cfg(test)]
mod tests;
