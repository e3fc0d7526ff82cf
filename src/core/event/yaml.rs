//! YAML as Kombu writes it, by PyYAML's `safe_dump`.
//!
//! The grammar is that of `yaml-rust2`, whose parser yields one step at a time. No tree is built,
//! and nothing here recurses except the JSON writer, which recurses as deep as a body may nest.
//! Aliases are not followed: PyYAML writes them only for lists and maps, which are skipped
//! everywhere, so no alias can expand. In JSON, an alias becomes `null`.
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

use yaml_rust2::parser::{Event as Step, Parser};
use yaml_rust2::scanner::TScalarStyle;

use super::DecodeError;
use super::fields::{DEPTH_MAX, Field, Fields, VALUES_MAX, Value};
use super::json_text::Json;

/// Yields the fields of each event in a body, which is one map or a list of maps.
pub(super) fn events<'a>(body: &'a [u8], mut each: impl FnMut(Result<Fields<'a>, DecodeError>)) {
    let text = String::from_utf8_lossy(body);
    if let Err(error) = Reader::new(&text).document(&mut each) {
        each(Err(error));
    }
}

/// Writes a body, which is one value, as JSON.
pub(super) fn transcode(body: &[u8], json: &mut Json) -> Result<(), DecodeError> {
    let text = String::from_utf8_lossy(body);
    let mut reader = Reader::new(&text);
    let step = reader.begin()?;
    reader.write(&step, 0, json)?;
    reader.end()
}

#[derive(Debug)]
struct Reader<'t> {
    parser: Parser<Characters<'t>>,
    /// The number of steps taken so far; each value takes at least one.
    steps: usize,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            parser: Parser::new(Characters {
                held: "",
                rest: text,
            }),
            steps: 0,
        }
    }

    /// The first step of the document.
    fn begin(&mut self) -> Result<Step, DecodeError> {
        self.next()?;
        if self.next()? == Step::StreamEnd {
            return Err(DecodeError::Empty);
        }
        self.next()
    }

    /// Reads exactly one document.
    fn end(&mut self) -> Result<(), DecodeError> {
        match (self.next()?, self.next()?) {
            (Step::DocumentEnd, Step::StreamEnd) => Ok(()),
            _ => Err(DecodeError::Yaml),
        }
    }

    fn document<'a>(
        &mut self,
        each: &mut impl FnMut(Result<Fields<'a>, DecodeError>),
    ) -> Result<(), DecodeError> {
        let step = self.begin()?;
        if matches!(step, Step::SequenceStart(..)) {
            loop {
                let step = self.next()?;
                if step == Step::SequenceEnd {
                    break;
                }
                self.element(&step, 1, each)?;
            }
        } else {
            self.element(&step, 0, each)?;
        }
        self.end()
    }

    /// Yields the rest of a value found where an event should be, `depth` levels deep.
    fn element<'a>(
        &mut self,
        step: &Step,
        depth: usize,
        each: &mut impl FnMut(Result<Fields<'a>, DecodeError>),
    ) -> Result<(), DecodeError> {
        if matches!(step, Step::MappingStart(..)) {
            each(Ok(self.event()?));
        } else {
            self.skip(step, depth)?;
            each(Err(DecodeError::NotAMap));
        }
        Ok(())
    }

    /// The rest of a map.
    fn event<'a>(&mut self) -> Result<Fields<'a>, DecodeError> {
        let mut fields = Fields::default();
        loop {
            let key = self.next()?;
            if key == Step::MappingEnd {
                return Ok(fields);
            }
            let field = if let Step::Scalar(key, ..) = &key {
                Field::of(key.as_bytes())
            } else {
                self.skip(&key, 2)?;
                None
            };
            let step = self.next()?;
            let value = match (&step, field) {
                // Bytes are tagged; texts never are.
                (Step::Scalar(text, style, _, None), Some(field)) => {
                    if *style == TScalarStyle::Plain {
                        plain(field, text)
                    } else {
                        Value::Text(owned(field, text))
                    }
                }
                (Step::SequenceStart(..), Some(Field::Loadavg)) => self.loads()?,
                _ => {
                    self.skip(&step, 2)?;
                    Value::Nested
                }
            };
            if let Some(field) = field {
                fields.put(field, value);
            }
        }
    }

    /// The rest of a list of numbers.
    fn loads<'a>(&mut self) -> Result<Value<'a>, DecodeError> {
        let mut elements = [None; 4];
        let mut count: usize = 0;
        loop {
            let step = self.next()?;
            if step == Step::SequenceEnd {
                return Ok(Value::loads(elements.into_iter().take(count)));
            }
            self.skip(&step, 3)?;
            let plain = if let Step::Scalar(text, TScalarStyle::Plain, _, None) = &step {
                number(text)
            } else {
                None
            };
            elements[count.min(3)] = plain;
            count += 1;
        }
    }

    /// Skips the rest of a value that began with `step`, `depth` levels deep.
    fn skip(&mut self, step: &Step, depth: usize) -> Result<(), DecodeError> {
        let mut open = usize::from(is_open(step)?);
        while open > 0 {
            if depth + open > DEPTH_MAX {
                return Err(DecodeError::Depth);
            }
            let step = self.next()?;
            if matches!(step, Step::SequenceEnd | Step::MappingEnd) {
                open -= 1;
            } else {
                open += usize::from(is_open(&step)?);
            }
        }
        Ok(())
    }

    /// Writes a value that began with `step`, `depth` levels deep.
    fn write(&mut self, step: &Step, depth: usize, json: &mut Json) -> Result<(), DecodeError> {
        match step {
            Step::SequenceStart(..) | Step::MappingStart(..) if depth >= DEPTH_MAX => {
                Err(DecodeError::Depth)
            }
            Step::SequenceStart(..) => {
                json.begin_list()?;
                loop {
                    let step = self.next()?;
                    if step == Step::SequenceEnd {
                        return json.end_list();
                    }
                    self.write(&step, depth + 1, json)?;
                }
            }
            Step::MappingStart(..) => {
                json.begin_map()?;
                loop {
                    let key = self.next()?;
                    if key == Step::MappingEnd {
                        return json.end_map();
                    }
                    let wanted = if let Step::Scalar(key, _, _, None) = &key {
                        json.key(key.as_bytes())?
                    } else {
                        self.skip(&key, depth + 1)?;
                        false
                    };
                    let step = self.next()?;
                    if wanted {
                        self.write(&step, depth + 1, json)?;
                    } else {
                        self.skip(&step, depth + 1)?;
                    }
                }
            }
            Step::Scalar(text, TScalarStyle::Plain, _, None) => match word(text) {
                Some(Word::Null) => json.null(),
                Some(Word::Bool(bool)) => json.bool(bool),
                Some(Word::Number(number)) => json.number(number),
                None => json.text(text.as_bytes()),
            },
            Step::Scalar(text, _, _, None) => json.text(text.as_bytes()),
            Step::Scalar(..) | Step::Alias(_) => json.null(),
            Step::Nothing
            | Step::StreamStart
            | Step::StreamEnd
            | Step::DocumentStart
            | Step::DocumentEnd
            | Step::SequenceEnd
            | Step::MappingEnd => Err(DecodeError::Yaml),
        }
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

/// Whether the value continues after this step.
fn is_open(step: &Step) -> Result<bool, DecodeError> {
    match step {
        Step::SequenceStart(..) | Step::MappingStart(..) => Ok(true),
        Step::Scalar(..) | Step::Alias(_) => Ok(false),
        Step::Nothing
        | Step::StreamStart
        | Step::StreamEnd
        | Step::DocumentStart
        | Step::DocumentEnd
        | Step::SequenceEnd
        | Step::MappingEnd => Err(DecodeError::Yaml),
    }
}

/// The part of a text that a field needs.
fn owned<'a>(field: Field, text: &str) -> Cow<'a, str> {
    Cow::Owned(field.text(text.as_bytes()).into_owned())
}

/// The meaning of an unquoted word.
fn plain<'a>(field: Field, text: &str) -> Value<'a> {
    match word(text) {
        Some(Word::Null) => Value::Null,
        Some(Word::Bool(bool)) => Value::Bool(bool),
        Some(Word::Number(number)) => Value::Number(number),
        None => Value::Text(owned(field, text)),
    }
}

/// An unquoted word that is not a text.
#[derive(Clone, Copy, Debug)]
enum Word {
    Null,
    Bool(bool),
    Number(f64),
}

fn word(text: &str) -> Option<Word> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Some(Word::Null),
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            Some(Word::Bool(true))
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            Some(Word::Bool(false))
        }
        _ => number(text).map(Word::Number),
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
    let good = match (mantissa.split_once('.'), exponent) {
        (Some((whole, part)), None) => digits(whole) && digits(part) && mantissa.len() > 1,
        (Some((whole, part)), Some(exponent)) => {
            let signed = exponent.strip_prefix(['+', '-']);
            digits(whole)
                && digits(part)
                && mantissa.len() > 1
                && signed.is_some_and(|exponent| !exponent.is_empty() && digits(exponent))
        }
        (None, None) => digits(mantissa) && (mantissa == "0" || !mantissa.starts_with('0')),
        (None, Some(_)) => false,
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
