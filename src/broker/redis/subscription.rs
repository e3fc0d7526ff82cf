//! A connection that has subscribed, and what comes over it.
//!
//! The client library makes a value of every part of a message and hands message by message over, through a
//! channel without a bound: that costs about as much as decoding the events does, and a subscriber that is slower
//! than its publishers is cut off. So messages are taken here out of what was read; what is no message, the
//! library parses.
//!
//! Source: redis.io, "Redis serialization protocol specification" (version 2) and "Pub/Sub".

use bytes::{Buf, BytesMut};
use memchr::memchr;
use redis::{Cmd, ErrorKind, RedisConnectionInfo, RedisError, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bounded::LINE_BYTES_MAX;
use super::connect::{failed, refused};
use crate::broker::source::LinkError;
use crate::broker::stream::Stream;
use crate::config::masked;

/// What is read at once, if it is there.
const READ_BYTES: usize = 64 << 10;

/// How much of an error is told.
const ERROR_BYTES_MAX: usize = 512;

/// A larger buffer is given back when nothing is in it.
const KEPT_BYTES: usize = 1 << 20;

/// The largest answer. To a subscriber, answers are a few words.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How deep arrays may lie within arrays. In answers to a subscriber none does.
const DEPTH_MAX: usize = 8;

/// How a message that matched a pattern begins.
const MESSAGE: &[u8] = b"*4\r\n$8\r\npmessage\r\n";

/// A connection that can subscribe.
pub(super) struct Subscription {
    stream: Box<dyn Stream>,
    /// What was read and is not taken yet.
    read: BytesMut,
    /// The longest body that is taken.
    body_bytes_max: usize,
    /// So many bytes that come next belong to a body that is too long.
    passed_over: usize,
}

/// What came.
#[derive(Debug, PartialEq)]
pub(super) enum Frame<'a> {
    Message {
        channel: &'a [u8],
        body: &'a [u8],
    },
    /// A message whose body is too long.
    TooLong,
    /// What a command was answered, an error of the server among others.
    Answer(Value),
}

impl Subscription {
    /// Logs in. The database is part of the channels' names: none needs to be selected.
    pub(super) async fn open(
        login: &RedisConnectionInfo,
        stream: Box<dyn Stream>,
        body_bytes_max: u64,
    ) -> Result<Self, LinkError> {
        let mut subscription = Self {
            stream,
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
            // Redis before 7.2 does not know it, and it only names us in its list of clients.
            subscription.ask(&command, |_| ()).await?;
        }
        Ok(subscription)
    }

    async fn log_in(&mut self, username: Option<&str>, password: &str) -> Result<(), LinkError> {
        let mut command = redis::cmd("AUTH");
        command.arg(username).arg(password);
        let mut answer = self.ask(&command, |_| ()).await?.extract_error();
        // Redis before 6 knows no names.
        if let Err(error) = &answer
            && username.is_some()
            && error
                .detail()
                .is_some_and(|detail| detail.contains("wrong number of arguments"))
        {
            let command = redis::cmd("AUTH").arg(password).take();
            answer = self.ask(&command, |_| ()).await?.extract_error();
        }
        // A server without the command repeats the arguments, and cuts them.
        let told = |error: RedisError| masked(&error.to_string(), ERROR_BYTES_MAX, [password]);
        answer
            .map(drop)
            .map_err(|error| LinkError::Login(told(error)))
    }

    /// Subscribes to a pattern. What comes meanwhile on those subscribed to before goes to `heard`.
    pub(super) async fn subscribe(
        &mut self,
        pattern: &str,
        heard: impl FnMut(Frame<'_>),
    ) -> Result<(), LinkError> {
        let mut command = redis::cmd("PSUBSCRIBE");
        command.arg(pattern);
        let answer = self.ask(&command, heard).await?.extract_error();
        answer.map(drop).map_err(|error| {
            let permission = format!("the command psubscribe and the channel pattern &{pattern}");
            refused("subscribe", error, &permission)
        })
    }

    /// Asks for a sign of life, which comes with the rest.
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

    /// Sends a command and waits for what it is answered; everything else goes to `heard`.
    async fn ask(
        &mut self,
        command: &Cmd,
        mut heard: impl FnMut(Frame<'_>),
    ) -> Result<Value, LinkError> {
        self.send(command).await?;
        let mut answer = None;
        loop {
            self.take(|frame| match frame {
                Frame::Answer(value) => answer = Some(value),
                Frame::Message { .. } | Frame::TooLong => heard(frame),
            })?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
            self.read().await?;
        }
    }

    /// Waits until something can be read, and reads it: how many bytes. Cancel-safe.
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

    /// Hands over what was read, as far as it is whole.
    pub(super) fn take(&mut self, mut heard: impl FnMut(Frame<'_>)) -> Result<(), LinkError> {
        let mut at = self.passed_over;
        let ended = loop {
            let mut cursor = Cursor {
                bytes: &self.read,
                at,
            };
            match cursor.frame(self.body_bytes_max) {
                Ok(frame) => heard(frame),
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

/// A place in what was read; behind it, where a body is passed over.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Why there is no frame.
#[derive(Debug)]
enum Stopped {
    Incomplete,
    Malformed(RedisError),
}

impl<'a> Cursor<'a> {
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
            let body = self.take(length)?;
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

    /// A line, without its end.
    fn line(&mut self) -> Result<&'a [u8], Stopped> {
        let rest = self.bytes.get(self.at..).ok_or(Stopped::Incomplete)?;
        let Some(end) = memchr(b'\n', rest) else {
            return Err(if rest.len() > LINE_BYTES_MAX {
                malformed("a line without an end")
            } else {
                Stopped::Incomplete
            });
        };
        self.at += end + 1;
        rest[..end]
            .strip_suffix(b"\r")
            .ok_or_else(|| malformed("a line that ends otherwise"))
    }

    /// The length of a value of a kind; `None`: it is null.
    fn length(&mut self, kind: u8) -> Result<Option<usize>, Stopped> {
        let line = self.line()?;
        let digits = line
            .strip_prefix(&[kind])
            .ok_or_else(|| malformed("a value of another kind"))?;
        length(digits)
    }

    /// A text of so many bytes at most.
    fn bulk(&mut self, bytes_max: usize) -> Result<&'a [u8], Stopped> {
        let length = self
            .length(b'$')?
            .ok_or_else(|| malformed("a null in a message"))?;
        if length > bytes_max {
            return Err(too_long());
        }
        self.take(length)
    }

    /// So many bytes, and the end of a line.
    fn take(&mut self, length: usize) -> Result<&'a [u8], Stopped> {
        let end = self.at.saturating_add(length);
        let taken = self.bytes.get(self.at..end).ok_or(Stopped::Incomplete)?;
        match self.bytes.get(end..end.saturating_add(2)) {
            Some(b"\r\n") => {
                self.at = end + 2;
                Ok(taken)
            }
            Some(_) => Err(malformed("a body that is longer than it says")),
            None => Err(Stopped::Incomplete),
        }
    }

    /// Passes over a value of any kind.
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
                    self.take(length)?;
                }
            }
            b'*' if depth > 0 => {
                for _ in 0..length(rest)?.unwrap_or(0) {
                    self.pass(depth - 1)?;
                }
            }
            _ => return Err(malformed("a value of an unknown kind")),
        }
        Ok(())
    }
}

/// A length in digits; `None` is null's.
fn length(digits: &[u8]) -> Result<Option<usize>, Stopped> {
    if digits == b"-1" {
        return Ok(None);
    }
    let parsed = str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok());
    parsed
        .map(Some)
        .ok_or_else(|| malformed("a length that is none"))
}

fn too_long() -> Stopped {
    malformed("an answer or a name that is too long")
}

fn malformed(what: &'static str) -> Stopped {
    Stopped::Malformed(RedisError::from((ErrorKind::Parse, what)))
}

#[cfg(test)]
mod tests;
