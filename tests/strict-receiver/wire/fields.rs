//! Protobuf's wire format: a message is fields, each a number, a wire type and a value.

use super::WireError;

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// The message that it belongs to, for errors.
    pub message: &'static str,
    pub number: u64,
    pub value: Value<'a>,
}

/// Parses the fields of a message, in order of appearance.
pub fn fields<'a>(message: &'static str, mut bytes: &'a [u8]) -> Result<Vec<Field<'a>>, WireError> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(message, &mut bytes)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(message, &mut bytes)?),
            1 => {
                let eight = take(message, &mut bytes, 8)?;
                Value::Fixed64(u64::from_le_bytes(eight.try_into().expect("eight bytes")))
            }
            2 => {
                let length = varint(message, &mut bytes)?;
                Value::Bytes(take(message, &mut bytes, length)?)
            }
            wire_type => {
                let text = format!("{message}: wire type {wire_type}");
                return Err(WireError::Broken(text));
            }
        };
        fields.push(Field {
            message,
            number: key >> 3,
            value,
        });
    }
    Ok(fields)
}

fn take<'a>(message: &str, bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], WireError> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let Some((taken, rest)) = bytes.split_at_checked(length) else {
        return Err(WireError::Broken(format!("{message}: cut short")));
    };
    *bytes = rest;
    Ok(taken)
}

fn varint(message: &str, bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0_u64;
    for place in 0..10 {
        let byte = take(message, bytes, 1)?[0];
        let group = u64::from(byte & 0x7f);
        if place == 9 && group > 1 {
            break;
        }
        value |= group << (7 * place);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(WireError::Broken(format!(
        "{message}: a varint of over 64 bits"
    )))
}

impl<'a> Field<'a> {
    /// Returns the error for a field that the message does not have.
    pub fn foreign(&self) -> WireError {
        WireError::Foreign(format!("{} has no field {}", self.message, self.number))
    }

    fn wrong(&self, expected: &str) -> WireError {
        let Self {
            message, number, ..
        } = self;
        WireError::Broken(format!("{message}, field {number}: no {expected}"))
    }

    pub fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Varint(_) | Value::Fixed64(_) => Err(self.wrong("bytes")),
        }
    }

    pub fn text(&self) -> Result<String, WireError> {
        let text = std::str::from_utf8(self.bytes()?);
        Ok(text.map_err(|_| self.wrong("UTF-8"))?.to_owned())
    }

    pub fn unsigned(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            Value::Bytes(_) | Value::Fixed64(_) => Err(self.wrong("varint")),
        }
    }

    /// `int64`.
    pub fn signed(&self) -> Result<i64, WireError> {
        Ok(self.unsigned()?.cast_signed())
    }

    /// `sint32` and `sint64`.
    pub fn zigzag(&self) -> Result<i64, WireError> {
        Ok(unzigzag(self.unsigned()?))
    }

    pub fn double(&self) -> Result<f64, WireError> {
        match self.value {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            Value::Bytes(_) | Value::Varint(_) => Err(self.wrong("double")),
        }
    }

    /// Appends the numbers of a repeated field, which may be packed or not.
    pub fn varints(&self, to: &mut Vec<u64>) -> Result<(), WireError> {
        match self.value {
            Value::Varint(value) => to.push(value),
            Value::Bytes(mut bytes) => {
                while !bytes.is_empty() {
                    to.push(varint(self.message, &mut bytes)?);
                }
            }
            Value::Fixed64(_) => return Err(self.wrong("varints")),
        }
        Ok(())
    }

    /// The same for doubles.
    pub fn doubles(&self, to: &mut Vec<f64>) -> Result<(), WireError> {
        match self.value {
            Value::Fixed64(bits) => to.push(f64::from_bits(bits)),
            Value::Bytes(bytes) => {
                let (eights, rest) = bytes.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(self.wrong("doubles"));
                }
                to.extend(eights.iter().map(|eight| f64::from_le_bytes(*eight)));
            }
            Value::Varint(_) => return Err(self.wrong("doubles")),
        }
        Ok(())
    }
}

/// Small numbers of either sign stay short: 0, -1, 1, -2 are 0, 1, 2, 3.
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}
