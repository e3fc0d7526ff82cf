//! Opens Kombu's virtual-transport envelope, which wraps the body of a Redis message.
//!
//! Takes one JSON object with `body` (base64 text if `properties.body_encoding` says so),
//! `content-type`, `headers` and `properties`. Returns the body's bytes in a reusable buffer, its
//! content type, and the value of the header `compression`. Other members are skipped.
//!
//! Source: kombu 5.6.2, `transport/virtual/base.py` (`Channel.prepare_message`), checked against
//! the recordings in `tests/golden/events`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::fields::Value;
use super::json::{Cursor, Raw};
use super::{Compression, ContentType, DecodeError, Reader};

/// Reads the body of an envelope into `body`, replacing its content.
pub(super) fn open(
    bytes: &[u8],
    body: &mut Vec<u8>,
) -> Result<(ContentType, Option<Compression>), DecodeError> {
    let mut parts = Parts::default();
    let mut cursor = Cursor::new(bytes);
    if cursor.peek().is_none() {
        return Err(DecodeError::Empty);
    }
    parts
        .read(&mut cursor)
        .and_then(|()| cursor.end())
        .map_err(|_| DecodeError::Envelope)?;

    let text = parts.body.ok_or(DecodeError::Envelope)?;
    if !parts.base64 {
        body.clear();
        body.extend_from_slice(text.text().as_bytes());
    } else if let Some(text) = text.plain() {
        decode(text, body)?;
    } else {
        decode(text.text().as_bytes(), body)?;
    }
    let content_type = parts.content_type.unwrap_or(ContentType::Unknown);
    Ok((content_type, parts.compression))
}

/// Decodes base64 into `body`, replacing its content.
fn decode(text: &[u8], body: &mut Vec<u8>) -> Result<(), DecodeError> {
    // Not cleared first, because `resize` would then fill all of it with zeros.
    body.resize(base64::decoded_len_estimate(text.len()), 0);
    let length = STANDARD
        .decode_slice(text, body)
        .map_err(|_| DecodeError::Base64)?;
    body.truncate(length);
    Ok(())
}

#[derive(Default)]
struct Parts<'a> {
    body: Option<Raw<'a>>,
    content_type: Option<ContentType>,
    base64: bool,
    compression: Option<Compression>,
}

impl<'a> Parts<'a> {
    fn read(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        cursor.map(|cursor, key| {
            match key {
                b"body" => self.body = Some(cursor.raw()?),
                b"content-type" => {
                    if let Value::Text(text) = cursor.value()? {
                        self.content_type = Some(ContentType::of(&text));
                    }
                }
                b"properties" => cursor.map(|cursor, key| match key {
                    b"body_encoding" => {
                        let Value::Text(text) = cursor.value()? else {
                            return Ok(());
                        };
                        self.base64 = text == "base64";
                        Ok(())
                    }
                    _ => cursor.skip(2),
                })?,
                b"headers" => cursor.map(|cursor, key| match key {
                    b"compression" => {
                        self.compression = match cursor.value()? {
                            Value::Text(text) => Compression::of(&text),
                            Value::Null => None,
                            Value::Bool(_) | Value::Number(_) | Value::Loads(_) | Value::Nested => {
                                Some(Compression::Unknown)
                            }
                        };
                        Ok(())
                    }
                    _ => cursor.skip(2),
                })?,
                _ => cursor.skip(1)?,
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(envelope: &str) -> Result<(String, ContentType), DecodeError> {
        let mut body = b"what was there before".to_vec();
        let (content_type, compression) = open(envelope.as_bytes(), &mut body)?;
        assert_eq!(compression, None);
        Ok((String::from_utf8(body).expect("text"), content_type))
    }

    #[test]
    fn the_header_says_how_the_body_was_compressed() {
        let cases = [
            (r#""application/x-gzip""#, Some(Compression::Zlib)),
            (r#""application\/zstd""#, Some(Compression::Zstd)),
            (r#""application/x-brotli""#, Some(Compression::Unknown)),
            (r#""""#, None),
            ("null", None),
            ("[]", Some(Compression::Unknown)),
        ];
        for (value, expected) in cases {
            let envelope =
                format!(r#"{{"body": "", "headers": {{"x": 1, "compression": {value}}}}}"#);
            let opened = open(envelope.as_bytes(), &mut Vec::new());
            assert_eq!(opened, Ok((ContentType::Unknown, expected)), "{value}");
        }
    }

    #[test]
    fn the_body_comes_out_of_base64_and_plain_envelopes() {
        let cases = [
            r#"{"body": "e30=", "content-type": "application/json", "properties": {"body_encoding": "base64"}}"#,
            r#"{"properties": {"x": [1], "body_encoding": "base64"}, "headers": {}, "content-type": "application/json", "body": "e30="}"#,
            r#"{"body": "{}", "content-type": "application/json", "properties": {"body_encoding": "utf-8"}}"#,
            r#"{"body": "{}", "content-type": "application/json", "properties": {"body_encoding": null}}"#,
            r#"{"body": "{}", "content-type": "application/json", "properties": {}}"#,
            r#"{"body": "\u007b}", "content-type": "application/json"}"#,
            r#"{"body": "e30\u003d", "content-type": "application/json", "properties": {"body_encoding": "base64"}}"#,
        ];
        for envelope in cases {
            assert_eq!(
                opened(envelope),
                Ok(("{}".to_owned(), ContentType::Json)),
                "{envelope}"
            );
        }
    }

    #[test]
    fn what_is_no_envelope_says_why() {
        let cases = [
            ("", DecodeError::Empty),
            ("[]", DecodeError::Envelope),
            ("{", DecodeError::Envelope),
            (
                r#"{"content-type": "application/json"}"#,
                DecodeError::Envelope,
            ),
            (r#"{"body": 1}"#, DecodeError::Envelope),
            (
                r#"{"body": "e3!=", "properties": {"body_encoding": "base64"}}"#,
                DecodeError::Base64,
            ),
        ];
        for (envelope, error) in cases {
            assert_eq!(opened(envelope), Err(error), "{envelope}");
        }
    }
}
