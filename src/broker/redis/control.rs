//! Remote control over Redis: sends requests by PUBLISH on the channel of the workers' mailboxes,
//! and receives replies through a list of our own.
//!
//! One key is used for the lifetime of the connection. It is deleted before and after each round
//! and on shutdown, and expires in between. A worker that answers later creates the list again, and
//! workers set no expiry: such a list remains until the next round, or for good if a worker answers
//! after our last one. That cannot be prevented from here; it holds a few hundred bytes.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use redis::{RedisResult, Value};
use tokio::time::timeout;

use super::channel;
use super::client::Client;
use super::error::refused;
use crate::broker::control::{REPLY_BYTES_MAX, Round, request, unique};
use crate::broker::error::LinkError;
use crate::event::json::{Cursor, Raw, quote};
use crate::event::{ContentType, DecodeError, Kind, Reader, Value as Member};

/// Replies that are fetched at a time if available. Together they are one answer, whose size is
/// limited.
const AT_ONCE: usize = 16;

/// Seconds after which an abandoned list expires.
const EXPIRE_SECONDS: u64 = 60;

/// A whole number of seconds, because Redis before 6 accepts no fractions; 0 would block forever.
const POP_SECONDS: u64 = 1;

const PERMISSION: &str = "the commands publish, brpop, llen, del and expire, the channel &/<db>.<control_exchange>.pidbox and the keys ~celeriac.reply.*";

/// The key of a list of replies.
pub(super) fn replies_key(chance: u64) -> String {
    format!("celeriac.reply.{chance:016x}")
}

/// Sends requests to the workers, and collects replies until the round is over.
pub(super) async fn ask(
    client: &mut Client,
    replies: &str,
    control_exchange: &str,
    round: &mut Round,
) -> Result<(), LinkError> {
    client.must_be_master().await?;
    let asked = ask_inner(client, replies, control_exchange, round).await;
    asked.map_err(|error| refused("send requests to workers", error, PERMISSION))
}

async fn ask_inner(
    client: &mut Client,
    replies: &str,
    control_exchange: &str,
    round: &mut Round,
) -> RedisResult<()> {
    let key = client.key(replies);
    redis::cmd("DEL")
        .arg(&key)
        .exec_async(&mut client.connection)
        .await?;
    let mut receivers = 0;
    for body in round.requests(replies) {
        receivers += publish(client, control_exchange, &body).await?;
    }
    // No receivers is the only certain information in the answer to PUBLISH.
    if receivers > 0 {
        let deadline = round.deadline;
        let collecting = collect(client, &key, round);
        // Reaching the deadline is not an error: some workers may not answer.
        if let Ok(collected) = timeout(deadline, collecting).await {
            collected?;
        }
    }
    redis::pipe()
        .cmd("EXPIRE")
        .arg(&key)
        .arg(EXPIRE_SECONDS)
        .ignore()
        .cmd("DEL")
        .arg(&key)
        .ignore()
        .exec_async(&mut client.connection)
        .await
}

/// Asks workers to enable events. They do not reply.
pub(super) async fn enable_events(
    client: &mut Client,
    control_exchange: &str,
    workers: &[Arc<str>],
) -> Result<(), LinkError> {
    client.must_be_master().await?;
    let body = request("enable_events", "{}", Some(workers), None);
    let sent = publish(client, control_exchange, &body).await;
    sent.map(drop)
        .map_err(|error| refused("enable events on workers", error, PERMISSION))
}

/// Publishes a request. Returns how many subscriptions received it.
async fn publish(client: &mut Client, control_exchange: &str, body: &str) -> RedisResult<u64> {
    let exchange = format!("{control_exchange}.pidbox");
    let envelope = envelope(&exchange, body, &unique(fastrand::u128(..)));
    let mut receivers = 0;
    for channel in channel::channels(&client.config, &exchange) {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(&envelope);
        receivers += publish.query_async::<u64>(&mut client.connection).await?;
    }
    Ok(receivers)
}

/// Collects replies until the round is over. If cancelled while waiting, it loses at most one
/// reply, which the library drops.
async fn collect(client: &mut Client, key: &str, round: &mut Round) -> RedisResult<()> {
    while !round.is_over() {
        let mut pop = redis::cmd("BRPOP");
        pop.arg(key).arg(POP_SECONDS);
        let popped: Option<(Vec<u8>, Vec<u8>)> = pop.query_async(&mut client.connection).await?;
        let Some((_, reply)) = popped else { continue };
        accept_reply(round, &reply);
        // Available replies are fetched together. Nobody else pops from the list, so none of
        // these pops blocks.
        let mut length = redis::cmd("LLEN");
        let length: usize = length.arg(key).query_async(&mut client.connection).await?;
        let mut pipe = redis::pipe();
        for _ in 0..length.min(AT_ONCE) {
            pipe.cmd("BRPOP").arg(key).arg(POP_SECONDS);
        }
        for answer in client.answers(&pipe).await? {
            if let Value::Array(popped) = answer?
                && let [_, Value::BulkString(reply)] = popped.as_slice()
            {
                accept_reply(round, reply);
            }
        }
    }
    Ok(())
}

/// Wraps a request in Kombu's envelope.
fn envelope(exchange: &str, body: &str, delivery_tag: &str) -> String {
    let mut json = format!("{{\"body\": \"{}\", ", STANDARD.encode(body));
    json.push_str(
        "\"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", \"headers\": {}, ",
    );
    json.push_str("\"properties\": {\"delivery_mode\": 1, \"priority\": 0, \"body_encoding\": \"base64\", \"delivery_info\": {\"exchange\": ");
    quote(&mut json, exchange);
    json.push_str(", \"routing_key\": \"\"}, \"delivery_tag\": \"");
    json.push_str(delivery_tag);
    json.push_str("\"}}");
    json
}

fn accept_reply(round: &mut Round, envelope: &[u8]) {
    if envelope.len() > REPLY_BYTES_MAX {
        return round.unreadable(DecodeError::Large(REPLY_BYTES_MAX));
    }
    match open(envelope) {
        // The round counts errors in the body.
        Ok((ticket, content_type, body)) => drop(round.accept(&ticket, content_type, &body)),
        Err(error) => round.unreadable(error),
    }
}

/// Opens the envelope of a reply: its ticket, the content type and the body.
fn open(envelope: &[u8]) -> Result<(String, ContentType, Vec<u8>), DecodeError> {
    let mut body: Option<Raw<'_>> = None;
    let (mut ticket, mut base64) = (String::new(), false);
    let mut content_type = ContentType::Json;
    let mut cursor = Cursor::new(envelope);
    if cursor.kind() != Kind::Map {
        return Err(DecodeError::Envelope);
    }
    cursor.map(|cursor, key| match key {
        b"body" => {
            body = Some(cursor.raw()?);
            Ok(())
        }
        b"content-type" => {
            if let Member::Text(text) = cursor.value()? {
                content_type = ContentType::of(&text);
            }
            Ok(())
        }
        b"headers" if cursor.kind() == Kind::Map => cursor.map(|cursor, key| match key {
            b"ticket" => {
                if let Member::Text(text) = cursor.value()? {
                    ticket = text.into_owned();
                }
                Ok(())
            }
            b"compression" => Err(DecodeError::Compressed),
            _ => cursor.skip(2),
        }),
        b"properties" if cursor.kind() == Kind::Map => cursor.map(|cursor, key| match key {
            b"body_encoding" => {
                base64 = matches!(cursor.value()?, Member::Text(text) if text == "base64");
                Ok(())
            }
            _ => cursor.skip(2),
        }),
        _ => cursor.skip(1),
    })?;
    let text = body.ok_or(DecodeError::Envelope)?.text();
    let body = if base64 {
        STANDARD
            .decode(text.as_bytes())
            .map_err(|_| DecodeError::Base64)?
    } else {
        text.into_owned().into_bytes()
    };
    Ok((ticket, content_type, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_enveloped_as_kombu_does_it() {
        let recorded = include_str!("../../../tests/golden/pidbox/redis-pidbox.jsonl");
        let recorded: serde_json::Value =
            serde_json::from_str(recorded.lines().next().expect("a line")).expect("JSON");
        assert_eq!(recorded["channel"], "/0.celery.pidbox");
        let payload = recorded["payload"].as_str().expect("an envelope");
        let mut payload: serde_json::Value = serde_json::from_str(payload).expect("JSON");
        let tag = payload["properties"]["delivery_tag"].clone();
        let body = recorded["body_decoded"].as_str().expect("a body");
        let ours = envelope("celery.pidbox", body, tag.as_str().expect("a tag"));
        let ours: serde_json::Value = serde_json::from_str(&ours).expect("JSON");

        // Workers need neither of the headers.
        payload["headers"] = serde_json::json!({});
        assert_eq!(ours, payload);
    }

    #[test]
    fn replies_are_taken_out_of_their_envelopes() {
        for recorded in [
            include_str!("../../../tests/golden/pidbox/redis-pidbox.jsonl"),
            include_str!("../../../tests/golden/pidbox/redis-pidbox-celery-4.4.7.jsonl"),
            include_str!("../../../tests/golden/pidbox/redis-pidbox-celery-5.4.0.jsonl"),
        ] {
            let rows = recorded.lines().map(|line| {
                let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
                row
            });
            let mut replies = 0;
            for row in rows.filter(|row| row["dir"] == "reply") {
                let payload = row["payload"].as_str().expect("an envelope");
                let (ticket, content_type, body) = open(payload.as_bytes()).expect("a reply");
                assert_eq!(content_type, ContentType::Json);
                assert_eq!(ticket.len(), 36);
                let decoded = row["body_decoded"].as_str().expect("a body");
                assert_eq!(String::from_utf8(body).expect("text"), decoded);
                replies += 1;
            }
            assert!(replies >= 4, "{replies}");
        }
        let msgpack =
            r#"{"body": "x", "content-type": "application/x-msgpack", "headers": {"ticket": "t"}}"#;
        assert_eq!(
            open(msgpack.as_bytes()),
            Ok(("t".to_owned(), ContentType::Msgpack, b"x".to_vec()))
        );
        let others = [
            "",
            "[]",
            r#"{"body": "x", "headers": {"compression": "application/zlib"}}"#,
            r#"{"body": "!", "properties": {"body_encoding": "base64"}}"#,
        ];
        for envelope in others {
            assert!(open(envelope.as_bytes()).is_err(), "{envelope}");
        }
    }
}
