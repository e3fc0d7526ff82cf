//! JSON written value by value, within a size limit.

use std::fmt::Write;

use super::DecodeError;
use super::json::quote;

/// Maximum length of the text. Quotes, commas and escapes enlarge a body of a few MiB.
pub(super) const JSON_BYTES_MAX: usize = 16 << 20;

/// A JSON text under construction. Commas are inserted automatically.
#[derive(Debug, Default)]
pub(super) struct Json {
    text: String,
}

impl Json {
    pub(super) fn into_text(self) -> String {
        self.text
    }

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

    /// Checks that there is room for this many more bytes.
    const fn bounded(&self, more: usize) -> Result<(), DecodeError> {
        if self.text.len().saturating_add(more) > JSON_BYTES_MAX {
            return Err(DecodeError::Large(JSON_BYTES_MAX));
        }
        Ok(())
    }
}
