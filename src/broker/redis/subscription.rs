//! A subscribed connection and the messages it receives.
//!
//! The client library creates a value for every part of a message and hands over messages one by
//! one through an unbounded channel. That costs about as much as decoding the events, and Redis
//! disconnects a subscriber that is slower than its publishers. So messages are parsed here
//! directly from the buffer, and the library parses only what is not a message.
//!
//! Source: redis.io, "Redis serialization protocol specification" (version 2) and "Pub/Sub".

use bytes::{Buf, BytesMut};
use memchr::memchr;
use redis::{Cmd, ErrorKind, RedisError, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bounded::LINE_BYTES_MAX;
use super::connect;
use super::error::{failed, refused};
use crate::broker::error::LinkError;
use crate::broker::stream::Stream;
use crate::config::RedisConfig;
use crate::secret::masked;

/// Maximum number of bytes to read at a time.
const READ_BYTES: usize = 64 << 10;

/// Maximum length of a reported error, in bytes.
const ERROR_BYTES_MAX: usize = 512;

/// A larger buffer is freed once it is empty.
const KEPT_BYTES: usize = 1 << 20;

/// The largest answer. Answers to a subscriber are a few words.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The deepest nesting of arrays. Answers to a subscriber have none.
const DEPTH_MAX: usize = 8;

/// The start of a message that matched a pattern.
const MESSAGE: &[u8] = b"*4\r\n$8\r\npmessage\r\n";

/// A connection for subscriptions.
pub(super) struct Subscription {
    stream: Box<dyn Stream>,
    /// Bytes that were read and not parsed yet.
    read: BytesMut,
    /// The longest body that is accepted.
    body_bytes_max: usize,
    /// Number of bytes still to skip, because they belong to a body that is too long.
    passed_over: usize,
}

/// A parsed unit of the stream.
#[derive(Debug, PartialEq)]
pub(super) enum Frame<'a> {
    Message {
        channel: &'a [u8],
        body: &'a [u8],
    },
    /// A message whose body exceeds the limit.
    TooLong,
    /// The reply to a command, which may be an error.
    Answer(Value),
}

impl Subscription {
    /// Logs in on a new connection. Bodies of messages may have up to `body_bytes_max` bytes. No
    /// database is selected, because its number is only part of the channel names.
    pub(super) async fn open(
        stream: impl Stream + 'static,
        redis: &RedisConfig,
        body_bytes_max: u64,
    ) -> Result<Self, LinkError> {
        let login = connect::login(redis.username.as_ref(), redis.password.as_ref())?;
        let mut subscription = Self {
            stream: Box::new(stream),
            read: BytesMut::new(),
            body_bytes_max: usize::try_from(body_bytes_max).unwrap_or(usize::MAX),
            passed_over: 0,
        };
        if let Some(password) = login.password() {
            subscription.log_in(login.username(), password).await?;
        }
        let names = [("LIB-NAME", login.lib_name()), ("LIB-VER", login.lib_ver())];
        for (key, value) in names {
            let mut command = redis::cmd("CLIENT");
            command.arg("SETINFO").arg(key).arg(value);
            // Redis before 7.2 does not know this command; it only names us in the server's list of
            // clients.
            subscription.ask(&command, |_| ()).await?;
        }
        Ok(subscription)
    }

    async fn log_in(&mut self, username: Option<&str>, password: &str) -> Result<(), LinkError> {
        let mut command = redis::cmd("AUTH");
        command.arg(username).arg(password);
        let mut answer = self.ask(&command, |_| ()).await?.extract_error();
        // Redis before 6 has no user names.
        if let Err(error) = &answer
            && username.is_some()
            && error
                .detail()
                .is_some_and(|detail| detail.contains("wrong number of arguments"))
        {
            let command = redis::cmd("AUTH").arg(password).take();
            answer = self.ask(&command, |_| ()).await?.extract_error();
        }
        // A server without the command repeats its arguments in the error, truncated.
        let told = |error: RedisError| masked(&error.to_string(), ERROR_BYTES_MAX, [password]);
        answer
            .map(drop)
            .map_err(|error| LinkError::Login(told(error)))
    }

    /// Subscribes to a pattern. Messages of earlier subscriptions that arrive meanwhile go to
    /// `on_frame`.
    pub(super) async fn subscribe(
        &mut self,
        pattern: &str,
        on_frame: impl FnMut(Frame<'_>),
    ) -> Result<(), LinkError> {
        let mut command = redis::cmd("PSUBSCRIBE");
        command.arg(pattern);
        let answer = self.ask(&command, on_frame).await?.extract_error();
        answer.map(drop).map_err(|error| {
            let permission = format!("the command psubscribe and the channel pattern &{pattern}");
            refused("subscribe", error, &permission)
        })
    }

    /// Sends a ping. The reply arrives among the messages.
    pub(super) async fn ping(&mut self) -> Result<(), LinkError> {
        self.send(&redis::cmd("PING")).await
    }

    async fn send(&mut self, command: &Cmd) -> Result<(), LinkError> {
        let sending = async {
            self.stream.write_all(&command.get_packed_command()).await?;
            self.stream.flush().await
        };
        sending.await.map_err(|error| failed("write", error.into()))
    }

    /// Sends a command and waits for its answer. Everything else goes to `on_frame`.
    async fn ask(
        &mut self,
        command: &Cmd,
        mut on_frame: impl FnMut(Frame<'_>),
    ) -> Result<Value, LinkError> {
        self.send(command).await?;
        let mut answer = None;
        loop {
            self.drain_frames(|frame| match frame {
                Frame::Answer(value) => answer = Some(value),
                Frame::Message { .. } | Frame::TooLong => on_frame(frame),
            })?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
            self.read().await?;
        }
    }

    /// Waits for data and reads it. Returns the number of bytes. Cancel-safe.
    pub(super) async fn read(&mut self) -> Result<usize, LinkError> {
        if self.read.is_empty() && self.read.capacity() > KEPT_BYTES {
            self.read = BytesMut::new();
        }
        self.read.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.read).await {
            Ok(0) => Err(LinkError::Closed),
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(failed("read", error.into())),
        }
    }

    /// Hands over all complete frames in the buffer.
    pub(super) fn drain_frames(
        &mut self,
        mut on_frame: impl FnMut(Frame<'_>),
    ) -> Result<(), LinkError> {
        let mut at = self.passed_over;
        let ended = loop {
            let mut cursor = RespCursor {
                bytes: &self.read,
                at,
            };
            match cursor.frame(self.body_bytes_max) {
                Ok(frame) => on_frame(frame),
                Err(Stopped::Incomplete) => break Ok(()),
                Err(Stopped::Malformed(error)) => break Err(failed("read", error)),
            }
            at = cursor.at;
        };
        let taken = at.min(self.read.len());
        self.read.advance(taken);
        self.passed_over = at - taken;
        ended
    }
}

/// A position in the buffer. It may lie beyond the end while a body is being skipped.
struct RespCursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Why no frame was parsed.
#[derive(Debug)]
enum Stopped {
    Incomplete,
    Malformed(RedisError),
}

impl<'a> RespCursor<'a> {
    fn frame(&mut self, body_bytes_max: usize) -> Result<Frame<'a>, Stopped> {
        let bytes = self.bytes;
        let rest = bytes.get(self.at..).ok_or(Stopped::Incomplete)?;
        if rest.starts_with(MESSAGE) {
            self.at += MESSAGE.len();
            let _pattern = self.bulk(ANSWER_BYTES_MAX)?;
            let channel = self.bulk(body_bytes_max)?;
            let length = self
                .length(b'$')?
                .ok_or_else(|| malformed("a message without a body"))?;
            if length > body_bytes_max {
                self.at = self.at.saturating_add(length).saturating_add(2);
                return Ok(Frame::TooLong);
            }
            let body = self.payload(length)?;
            return Ok(Frame::Message { channel, body });
        }
        if MESSAGE.starts_with(rest) {
            return Err(Stopped::Incomplete);
        }
        match self.pass(DEPTH_MAX) {
            Err(Stopped::Incomplete) if rest.len() > ANSWER_BYTES_MAX => Err(too_long()),
            passed => passed,
        }?;
        let value = redis::parse_redis_value(&rest[..rest.len() - (bytes.len() - self.at)]);
        value.map(Frame::Answer).map_err(Stopped::Malformed)
    }

    /// A line without its ending.
    fn line(&mut self) -> Result<&'a [u8], Stopped> {
        let rest = self.bytes.get(self.at..).ok_or(Stopped::Incomplete)?;
        let Some(end) = memchr(b'\n', rest) else {
            return Err(if rest.len() > LINE_BYTES_MAX {
                malformed("an unterminated line")
            } else {
                Stopped::Incomplete
            });
        };
        self.at += end + 1;
        rest[..end]
            .strip_suffix(b"\r")
            .ok_or_else(|| malformed("a line with the wrong ending"))
    }

    /// The length of a value of the given kind. `None` for a null.
    fn length(&mut self, kind: u8) -> Result<Option<usize>, Stopped> {
        let line = self.line()?;
        let digits = line
            .strip_prefix(&[kind])
            .ok_or_else(|| malformed("a value of an unexpected type"))?;
        length(digits)
    }

    /// A text of at most `bytes_max` bytes.
    fn bulk(&mut self, bytes_max: usize) -> Result<&'a [u8], Stopped> {
        let length = self
            .length(b'$')?
            .ok_or_else(|| malformed("a null inside a message"))?;
        if length > bytes_max {
            return Err(too_long());
        }
        self.payload(length)
    }

    /// The given number of bytes, followed by a line ending.
    fn payload(&mut self, length: usize) -> Result<&'a [u8], Stopped> {
        let end = self.at.saturating_add(length);
        let taken = self.bytes.get(self.at..end).ok_or(Stopped::Incomplete)?;
        match self.bytes.get(end..end.saturating_add(2)) {
            Some(b"\r\n") => {
                self.at = end + 2;
                Ok(taken)
            }
            Some(_) => Err(malformed("a body longer than announced")),
            None => Err(Stopped::Incomplete),
        }
    }

    /// Skips a value of any kind.
    fn pass(&mut self, depth: usize) -> Result<(), Stopped> {
        let (kind, rest) = match self.line()? {
            [kind, rest @ ..] => (*kind, rest),
            [] => return Err(malformed("an empty line")),
        };
        match kind {
            b'+' | b'-' | b':' => {}
            b'$' => {
                if let Some(length) = length(rest)? {
                    if length > ANSWER_BYTES_MAX {
                        return Err(too_long());
                    }
                    self.payload(length)?;
                }
            }
            b'*' if depth > 0 => {
                for _ in 0..length(rest)?.unwrap_or(0) {
                    self.pass(depth - 1)?;
                }
            }
            _ => return Err(malformed("a value of an unknown type")),
        }
        Ok(())
    }
}

/// A length in digits. `None` for a null.
fn length(digits: &[u8]) -> Result<Option<usize>, Stopped> {
    if digits == b"-1" {
        return Ok(None);
    }
    let parsed = str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok());
    parsed
        .map(Some)
        .ok_or_else(|| malformed("an invalid length"))
}

fn too_long() -> Stopped {
    malformed("a reply or a name that is too long")
}

fn malformed(what: &'static str) -> Stopped {
    Stopped::Malformed(RedisError::from((ErrorKind::Parse, what)))
}

#[cfg(test)]
mod tests;
