//! YAML as Kombu writes it, by PyYAML's `safe_dump`.
//!
//! The grammar is that of `yaml-rust2`, whose parser yields one step at a time. No tree is built,
//! and nothing here recurses. Aliases are not followed, so none can expand: PyYAML writes them only
//! for a list or a map that appears more than once, and none of those is read.
//!
//! Whether an unquoted word is a number or a text follows PyYAML 6 (YAML 1.1), as far as its own
//! output goes: decimal numbers, `.nan`, `.inf`, and words for true, false and null. Anything else
//! is a text. Invalid UTF-8 becomes U+FFFD, and so do lone surrogates, which PyYAML writes as
//! escapes and the parser would reject.
//!
//! A syntax error discards the rest of the message; the events before it have been yielded. A
//! member of the wrong type discards only its event. YAML takes about fifteen times as long to
//! read as JSON; msgpack and pickle do not.

use std::borrow::Cow;
use std::mem;

use yaml_rust2::parser::{Event as Step, Parser};
use yaml_rust2::scanner::TScalarStyle;

use super::DecodeError;
use super::fields::{DEPTH_MAX, Field, VALUES_MAX, Value};
use super::reader::{Kind, Reader};

/// A position in a body, which is one document.
#[derive(Debug)]
pub struct YamlReader<'t> {
    parser: Parser<Characters<'t>>,
    /// The step that begins the value.
    step: Step,
    /// The number of steps taken so far; each value takes at least one.
    steps: usize,
}

impl<'t> YamlReader<'t> {
    pub fn new(text: &'t str) -> Result<Self, DecodeError> {
        let characters = Characters {
            held: "",
            rest: text,
        };
        let mut reader = Self {
            parser: Parser::new(characters),
            step: Step::Nothing,
            steps: 0,
        };
        reader.next()?;
        if reader.next()? == Step::StreamEnd {
            return Err(DecodeError::Empty);
        }
        reader.step = reader.next()?;
        Ok(reader)
    }

    fn next(&mut self) -> Result<Step, DecodeError> {
        self.steps += 1;
        if self.steps > VALUES_MAX {
            return Err(DecodeError::Values);
        }
        let step = self.parser.next_token();
        step.map(|(step, _)| step).map_err(|_| DecodeError::Yaml)
    }
}

impl<'a> Reader<'a> for YamlReader<'_> {
    fn kind(&mut self) -> Kind {
        if matches!(self.step, Step::MappingStart(..)) {
            Kind::Map
        } else if matches!(self.step, Step::SequenceStart(..)) {
            Kind::List
        } else {
            Kind::Scalar
        }
    }

    fn map(
        &mut self,
        mut entry: impl FnMut(&mut Self, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        loop {
            self.step = self.next()?;
            if self.step == Step::MappingEnd {
                return Ok(());
            }
            if let Step::Scalar(key, _, _, None) = &mut self.step {
                let key = mem::take(key);
                self.step = self.next()?;
                entry(self, key.as_bytes())?;
            } else {
                self.skip(2)?;
                self.step = self.next()?;
                self.skip(2)?;
            }
        }
    }

    fn list(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        loop {
            self.step = self.next()?;
            if self.step == Step::SequenceEnd {
                return Ok(());
            }
            element(self)?;
        }
    }

    fn member(&mut self, field: Option<Field>) -> Result<Value<'a>, DecodeError> {
        // Bytes are tagged; texts never are.
        let Step::Scalar(text, style, _, None) = &self.step else {
            self.skip(2)?;
            return Ok(Value::Nested);
        };
        let word = word(text).filter(|_| *style == TScalarStyle::Plain);
        Ok(word.unwrap_or_else(|| {
            let text = Field::text(field, text.as_bytes());
            Value::Text(Cow::Owned(text.into_owned()))
        }))
    }

    fn skip(&mut self, depth: usize) -> Result<(), DecodeError> {
        let mut open = usize::from(self.kind() != Kind::Scalar);
        while open > 0 {
            if depth + open > DEPTH_MAX {
                return Err(DecodeError::Depth);
            }
            self.step = self.next()?;
            if matches!(self.step, Step::SequenceEnd | Step::MappingEnd) {
                open -= 1;
            } else {
                open += usize::from(self.kind() != Kind::Scalar);
            }
        }
        Ok(())
    }

    /// Checks that there is exactly one document.
    fn end(&mut self) -> Result<(), DecodeError> {
        match (self.next()?, self.next()?) {
            (Step::DocumentEnd, Step::StreamEnd) => Ok(()),
            _ => Err(DecodeError::Yaml),
        }
    }
}

/// The meaning of an unquoted word that is not a text.
fn word(text: &str) -> Option<Value<'static>> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Some(Value::Null),
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            Some(Value::Bool(true))
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            Some(Value::Bool(false))
        }
        _ => number(text).map(Value::Number),
    }
}

/// Parses a number. As in PyYAML, `1e5` is not one: a fraction needs its point, and an exponent its
/// sign.
fn number(text: &str) -> Option<f64> {
    let (sign, size) = match text.strip_prefix('-') {
        Some(size) => (-1.0, size),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match size {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if size.len() == text.len() => return Some(f64::NAN),
        _ => {}
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match size.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (size, None),
    };
    let signed = |exponent: &str| exponent.strip_prefix(['+', '-']).is_some_and(digits);
    // Parsing refuses those without a digit.
    let good = match mantissa.split_once('.') {
        Some((whole, part)) => digits(whole) && digits(part) && exponent.is_none_or(signed),
        None => size == "0" || (digits(size) && !size.starts_with('0')),
    };
    let number: f64 = good.then(|| size.parse().ok()).flatten()?;
    Some(sign * number.clamp(f64::MIN, f64::MAX))
}

/// The characters of a body, with each escaped surrogate replaced by an escaped U+FFFD.
#[derive(Debug)]
struct Characters<'t> {
    /// The text before the rest.
    held: &'static str,
    rest: &'t str,
}

impl Iterator for Characters<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if let Some(character) = self.held.chars().next() {
            self.held = &self.held[character.len_utf8()..];
            return Some(character);
        }
        let character = self.rest.chars().next()?;
        self.rest = &self.rest[character.len_utf8()..];
        if character == '\\' {
            if let Some(rest) = self.rest.strip_prefix('\\') {
                // An escaped backslash: what follows it is not an escape.
                (self.held, self.rest) = ("\\", rest);
            } else if let Some(rest) = surrogate(self.rest) {
                (self.held, self.rest) = ("uFFFD", rest);
            }
        }
        Some(character)
    }
}

/// The text after the backslash of an escaped surrogate.
fn surrogate(text: &str) -> Option<&str> {
    let (digits, rest) = text.strip_prefix('u')?.split_at_checked(4)?;
    let code = u32::from_str_radix(digits, 16).ok()?;
    (0xD800..0xE000).contains(&code).then_some(rest)
}

#[cfg(test)]
mod tests;
