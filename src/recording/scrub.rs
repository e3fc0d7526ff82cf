//! Removes from a message everything that metrics are not made of: arguments, results, texts of
//! exceptions, and whatever a program added.
//!
//! A list says which fields stay; any other field is removed, as is its name. The message is
//! rewritten as JSON, whatever its serializer. A removed text becomes one of the same length, up to
//! a kilobyte; a number becomes 0; lists and maps keep their shape.
//!
//! Of an event that Celery does not define, only the fields that every event has stay, because its
//! program may use the names of the others for anything.

use serde_json::{Map, Number, Value as Json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::event::json::Cursor;
use crate::event::{
    Accept, Body, ContentType, DecodeError, Decoder, Detail, EventKind, Form, Kind, MsgpackReader,
    Opener, Payload, PickleReader, Reader, Value, YamlReader,
};
use crate::state::is_uuid;
use crate::timestamp::Timestamp;

/// Texts that stay: they become labels, or decide under which one a task is counted.
const TEXTS: [&str; 8] = [
    "hostname",
    "name",
    "queue",
    "exchange",
    "routing_key",
    "sw_ident",
    "sw_ver",
    "sw_sys",
];

/// Numbers, lists of numbers and truth values that stay.
const NUMBERS: [&str; 15] = [
    "timestamp",
    "pid",
    "clock",
    "utcoffset",
    "retries",
    "runtime",
    "requeue",
    "terminated",
    "expired",
    "freq",
    "active",
    "processed",
    "loadavg",
    "signum",
    "expires",
];

/// Ids, which stay if they are UUIDs. Any other id is replaced by a hash, so that tasks stay apart.
const IDS: [&str; 3] = ["uuid", "root_id", "parent_id"];

/// Times, as text.
const TIMES: [&str; 2] = ["eta", "expires"];

/// What stays of an event that Celery does not define, or that cannot be read.
const COMMON: [&str; 6] = ["hostname", "timestamp", "pid", "clock", "utcoffset", "uuid"];

/// Fields of Celery whose name stays, but not their value.
const REMOVED: [&str; 5] = ["args", "kwargs", "result", "exception", "traceback"];

/// The deepest nesting of a message.
const DEPTH_MAX: usize = 128;

/// The largest result: a pickle or YAML can refer to one list many times.
const BYTES_MAX: usize = 16 << 20;

/// Removes what a recording should not contain.
#[derive(Debug)]
pub(super) struct Scrubber {
    /// Makes the hashes of ids useless for guessing the ids.
    seed: u64,
}

impl Default for Scrubber {
    fn default() -> Self {
        Self {
            seed: fastrand::u64(..),
        }
    }
}

/// What the decoder read from an event.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Whether it is one of Celery's own events.
    is_of_celery: bool,
    /// The class of its exception, which is a label. No word of a message becomes a class.
    class: Option<String>,
}

impl Scrubber {
    /// Rewrites a message. The error says why it cannot be read.
    pub(super) fn scrub(&self, payload: &Payload, accept: Accept) -> Result<Payload, DecodeError> {
        let known = known(payload, accept);
        let mut opener = Opener::default();
        let Body {
            content_type,
            bytes: body,
        } = opener.open(payload, accept)?;
        let mut scrub = Scrub {
            seed: self.seed,
            known: known.into_iter(),
            bytes: 0,
        };
        let events = match content_type {
            ContentType::Json => scrub.message(Cursor::new(body)),
            ContentType::Msgpack => scrub.message(MsgpackReader::new(body)?),
            ContentType::Yaml => scrub.message(YamlReader::new(&String::from_utf8_lossy(body))?),
            ContentType::Pickle => scrub.message(PickleReader::new(body)?),
            ContentType::Unknown => Err(DecodeError::ContentType),
        }?;
        Ok(Payload {
            bytes: events.to_string().into_bytes(),
            form: Form::Body {
                content_type: ContentType::Json,
                compression: None,
            },
        })
    }
}

fn known(payload: &Payload, accept: Accept) -> Vec<Known> {
    let mut known = Vec::new();
    Decoder::default().decode(payload, accept, Timestamp::default(), |event| {
        let Ok(event) = event else {
            return known.push(Known::default());
        };
        let is_of_celery = event.kind() != EventKind::Other;
        let class = match event.detail {
            Detail::Task(task) => task.exception.map(|class| class.into_owned()),
            Detail::Worker(_) | Detail::Other(_) => None,
        };
        known.push(Known {
            is_of_celery,
            class,
        });
    });
    known
}

/// The walk over one message.
struct Scrub {
    seed: u64,
    /// The events that are still to come.
    known: std::vec::IntoIter<Known>,
    /// The size of the result so far.
    bytes: usize,
}

impl Scrub {
    fn message<'a, R: Reader<'a>>(&mut self, mut reader: R) -> Result<Json, DecodeError> {
        let events = match reader.kind() {
            Kind::Map => self.event(&mut reader)?,
            Kind::List => {
                let mut events = Vec::new();
                reader.list(|reader| {
                    events.push(if reader.kind() == Kind::Map {
                        self.event(reader)?
                    } else {
                        self.known.next();
                        self.masked(reader, 1)?
                    });
                    Ok(())
                })?;
                Json::Array(events)
            }
            Kind::Scalar => return Err(DecodeError::NotAMap),
            Kind::End => return Err(DecodeError::Empty),
        };
        reader.end()?;
        Ok(events)
    }

    fn event<'a, R: Reader<'a>>(&mut self, reader: &mut R) -> Result<Json, DecodeError> {
        let known = self.known.next().unwrap_or_default();
        let mut members = Map::new();
        reader.map(|reader, key| {
            let key = R::key_text(key).into_owned();
            let stays = known.is_of_celery || COMMON.contains(&&*key);
            let member = match &*key {
                "type" => self.kind(reader)?,
                "exception" => self.exception(reader, known.class.as_deref())?,
                "traceback" => self.traceback(reader, known.class.as_deref())?,
                key if stays => self.kept(reader, key)?,
                _ => self.masked(reader, 2)?,
            };
            let key = if is_named(&key) { key } else { mask(&key) };
            self.grow(key.len())?;
            members.insert(key, member);
            Ok(())
        })?;
        Ok(Json::Object(members))
    }

    /// The type, if Celery defines it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only what is listed stays")]
    fn kind<'a, R: Reader<'a>>(&mut self, reader: &mut R) -> Result<Json, DecodeError> {
        if reader.kind() != Kind::Scalar {
            return self.masked(reader, 2);
        }
        Ok(match reader.value()? {
            Value::Text(kind) if EventKind::of(&kind) != EventKind::Other => {
                kind.into_owned().into()
            }
            other => scalar(&other),
        })
    }

    /// A member, of which only what is listed stays.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only what is listed stays")]
    fn kept<'a, R: Reader<'a>>(&mut self, reader: &mut R, key: &str) -> Result<Json, DecodeError> {
        match reader.kind() {
            Kind::List if key == "loadavg" => return self.numbers(reader),
            Kind::List | Kind::Map => return self.masked(reader, 2),
            Kind::Scalar | Kind::End => {}
        }
        let value = reader.value()?;
        self.grow(size(&value))?;
        Ok(match value {
            Value::Text(text) if TEXTS.contains(&key) => text.into_owned().into(),
            Value::Text(text) if IDS.contains(&key) => self.id(&text).into(),
            Value::Text(text) if TIMES.contains(&key) && is_time(&text) => text.into_owned().into(),
            Value::Number(number) if NUMBERS.contains(&key) => json_number(number),
            Value::Bool(value) if NUMBERS.contains(&key) => value.into(),
            other => scalar(&other),
        })
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only what is listed stays")]
    fn numbers<'a, R: Reader<'a>>(&mut self, reader: &mut R) -> Result<Json, DecodeError> {
        let mut elements = Vec::new();
        reader.list(|reader| {
            if reader.kind() != Kind::Scalar {
                elements.push(self.masked(reader, 3)?);
                return Ok(());
            }
            let element = reader.value()?;
            self.grow(size(&element))?;
            elements.push(match element {
                Value::Number(number) => json_number(number),
                other => scalar(&other),
            });
            Ok(())
        })?;
        Ok(Json::Array(elements))
    }

    /// An exception of the same class without its text, in a form from which the class can be read.
    fn exception<'a, R: Reader<'a>>(
        &mut self,
        reader: &mut R,
        class: Option<&str>,
    ) -> Result<Json, DecodeError> {
        let (Some(class), Kind::Scalar) = (class, reader.kind()) else {
            return self.masked(reader, 2);
        };
        let value = reader.value()?;
        self.grow(size(&value) + class.len())?;
        let length = match value {
            Value::Text(text) => text.chars().count(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Loads(_) | Value::Nested => 0,
        };
        let rest = length.saturating_sub(class.chars().count() + 2);
        Ok(format!("{class}({})", "x".repeat(rest)).into())
    }

    /// A traceback without its text. If the exception was not enough to read the class from, the
    /// traceback would come first.
    fn traceback<'a, R: Reader<'a>>(
        &mut self,
        reader: &mut R,
        class: Option<&str>,
    ) -> Result<Json, DecodeError> {
        let masked = self.masked(reader, 2)?;
        let is_certain = class.is_none_or(|class| class.starts_with(char::is_uppercase));
        Ok(if is_certain { masked } else { "".into() })
    }

    /// A value of the same shape.
    fn masked<'a, R: Reader<'a>>(
        &mut self,
        reader: &mut R,
        depth: usize,
    ) -> Result<Json, DecodeError> {
        let kind = reader.kind();
        if depth >= DEPTH_MAX && kind != Kind::Scalar {
            return Err(DecodeError::Depth);
        }
        self.grow(1)?;
        Ok(match kind {
            Kind::Map => {
                let mut members = Map::new();
                reader.map(|reader, key| {
                    let key = mask(&R::key_text(key));
                    self.grow(key.len())?;
                    members.insert(key, self.masked(reader, depth + 1)?);
                    Ok(())
                })?;
                Json::Object(members)
            }
            Kind::List => {
                let mut elements = Vec::new();
                reader.list(|reader| {
                    elements.push(self.masked(reader, depth + 1)?);
                    Ok(())
                })?;
                Json::Array(elements)
            }
            Kind::Scalar | Kind::End => {
                let value = reader.value()?;
                self.grow(size(&value))?;
                scalar(&value)
            }
        })
    }

    fn id(&self, text: &str) -> String {
        if text.is_empty() || is_uuid(text) {
            text.to_owned()
        } else {
            format!("id-{:016x}", xxh3_64_with_seed(text.as_bytes(), self.seed))
        }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.bytes += bytes;
        if self.bytes > BYTES_MAX {
            return Err(DecodeError::Large(BYTES_MAX));
        }
        Ok(())
    }
}

/// Whether it is the name of a field of Celery.
fn is_named(key: &str) -> bool {
    let lists = [&TEXTS[..], &NUMBERS, &IDS, &TIMES, &REMOVED, &["type"]];
    lists.iter().any(|list| list.contains(&key))
}

fn is_time(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_digit() || "-+:.TZ ".contains(c);
    text.chars().all(is_part) && Timestamp::from_iso8601(text).is_some()
}

fn scalar(value: &Value<'_>) -> Json {
    match value {
        Value::Null | Value::Nested | Value::Loads(_) => Json::Null,
        Value::Bool(_) => false.into(),
        Value::Number(_) => 0.into(),
        Value::Text(text) => mask(text).into(),
    }
}

fn size(value: &Value<'_>) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Loads(_) | Value::Nested => 1,
    }
}

fn mask(text: &str) -> String {
    "x".repeat(text.chars().count())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the comparison shows that nothing is lost"
)]
fn json_number(number: f64) -> Json {
    #[expect(clippy::cast_precision_loss, reason = "within the range of a float")]
    let whole = (number as i64) as f64 == number;
    if whole && number.abs() < 1e15 {
        return (number as i64).into();
    }
    Number::from_f64(number).map_or(Json::Null, Json::Number)
}

#[cfg(test)]
mod tests;
