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

use super::json_text::Json;
use super::{ContentType, DecodeError, msgpack, pickle, yaml};

/// A body in JSON. A body that is already JSON is returned unchanged and unread.
pub fn json(content_type: ContentType, body: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
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
    Ok(Cow::Owned(json.into_text().into_bytes()))
}

#[cfg(test)]
mod tests;
