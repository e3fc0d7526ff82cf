//! Converts the body of a remote-control reply to JSON, whatever its serializer.
//!
//! Takes one value of msgpack, YAML or pickle, and returns it as JSON, so that replies need only
//! one parser. Values without a JSON equivalent become `null`: bytes and tagged values, and in
//! pickles also tuples and sets. Members whose key is not a text are left out, as are those named
//! `args` and `kwargs` at any level: task arguments are never copied. Invalid UTF-8 becomes U+FFFD.
//! `NaN` and the infinities are written as Python writes them.
//!
//! A body nests no deeper than an event may, and the length of the result is bounded: a pickle can
//! contain one list a million times.

use std::borrow::Cow;
use std::fmt::Write;

use super::json::quote;
use super::{ContentType, DecodeError, msgpack, pickle, yaml};

/// How long the text may become. A body of a few MiB grows by its quotes, commas and escapes.
pub(super) const JSON_BYTES_MAX: usize = 16 << 20;

/// A body in JSON: what is in JSON already is handed back as it stands, unread.
pub(crate) fn json(content_type: ContentType, body: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    let write = match content_type {
        ContentType::Json => return Ok(Cow::Borrowed(body)),
        ContentType::Msgpack => msgpack::transcode,
        ContentType::Yaml => yaml::transcode,
        ContentType::Pickle => pickle::transcode,
        ContentType::Unknown => return Err(DecodeError::ContentType),
    };
    if body.is_empty() {
        return Err(DecodeError::Empty);
    }
    let mut json = Json::default();
    write(body, &mut json)?;
    Ok(Cow::Owned(json.text.into_bytes()))
}

/// A JSON text that is being written. The commas are put where they belong.
#[derive(Debug, Default)]
pub(super) struct Json {
    text: String,
}

impl Json {
    pub(super) fn null(&mut self) -> Result<(), DecodeError> {
        self.value("null")
    }

    pub(super) fn bool(&mut self, bool: bool) -> Result<(), DecodeError> {
        self.value(if bool { "true" } else { "false" })
    }

    pub(super) fn number(&mut self, number: f64) -> Result<(), DecodeError> {
        if number.is_nan() {
            return self.value("NaN");
        }
        if number.is_infinite() {
            return self.value(if number > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            });
        }
        self.separate();
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{number:?}");
        if self.text.ends_with(".0") {
            self.text.truncate(self.text.len() - 2);
        }
        self.bounded(0)
    }

    pub(super) fn text(&mut self, text: &[u8]) -> Result<(), DecodeError> {
        let text = String::from_utf8_lossy(text);
        let length = |byte: u8| match byte {
            b'"' | b'\\' => 2,
            0..0x20 => 6,
            _ => 1,
        };
        self.bounded(text.bytes().map(length).sum())?;
        self.separate();
        quote(&mut self.text, &text);
        self.bounded(0)
    }

    /// Writes a key; whether its value is to follow. It is not where nobody may have it.
    pub(super) fn key(&mut self, key: &[u8]) -> Result<bool, DecodeError> {
        if matches!(key, b"args" | b"kwargs") {
            return Ok(false);
        }
        self.text(key)?;
        self.text.push(':');
        Ok(true)
    }

    pub(super) fn begin_list(&mut self) -> Result<(), DecodeError> {
        self.value("[")
    }

    pub(super) fn begin_map(&mut self) -> Result<(), DecodeError> {
        self.value("{")
    }

    pub(super) fn end_list(&mut self) -> Result<(), DecodeError> {
        self.text.push(']');
        self.bounded(0)
    }

    pub(super) fn end_map(&mut self) -> Result<(), DecodeError> {
        self.text.push('}');
        self.bounded(0)
    }

    fn value(&mut self, text: &str) -> Result<(), DecodeError> {
        self.separate();
        self.text.push_str(text);
        self.bounded(0)
    }

    /// Writes the comma between two elements or members. What ends in a bracket or a colon as a text ends in a quote.
    fn separate(&mut self) {
        if !matches!(self.text.as_bytes().last(), None | Some(b'[' | b'{' | b':')) {
            self.text.push(',');
        }
    }

    /// Holds that there is room for so many bytes more.
    const fn bounded(&self, more: usize) -> Result<(), DecodeError> {
        if self.text.len().saturating_add(more) > JSON_BYTES_MAX {
            return Err(DecodeError::Large(JSON_BYTES_MAX));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
