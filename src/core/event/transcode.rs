//! The body of a reply to remote control to JSON, whatever its serializer.
//!
//! In: one value of msgpack, YAML or pickle. Out: the same in JSON, for whoever reads one form only. What has no
//! counterpart there becomes `null`: bytes, and what is tagged; of pickles tuples and sets as well. Members whose key
//! is no text are left out, and those named `args` and `kwargs`, wherever they stand: the arguments of tasks are never
//! copied. What is no UTF-8 becomes U+FFFD. `NaN` and the infinities are written as Python writes them.
//!
//! A body nests no deeper than an event may, and the text is bounded: a pickle can hold one list a million times.

use std::borrow::Cow;

use super::json_text::Json;
use super::{ContentType, DecodeError, msgpack, pickle, yaml};

/// A body in JSON: what is in JSON already is handed back as it stands, unread.
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
