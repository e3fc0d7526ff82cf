//! A connection that limits the size of answers.
//!
//! The client library buffers an entire answer and creates a value for each part, however much a
//! server sends. So answers are measured on their way to the library: their bytes, and the values
//! they turn into. RESP is flat: a list is a line with its length, followed by its elements. So the
//! only state to keep is the rest of the current text.
//!
//! Source: redis.io, "Redis serialization protocol specification" (versions 2 and 3), and how the
//! crate `redis` parses it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::broker::stream::Stream;

/// Maximum memory for the answers to one request. A pipeline counts as one request; the largest
/// answers are workers' replies, several megabytes if thousands of tasks are reserved.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The memory of a value in addition to its text.
const VALUE_BYTES: u64 = 64;

/// The longest line: a length, a number or an error.
pub(super) const LINE_BYTES_MAX: usize = 64 << 10;

/// A connection that fails when an answer is too large.
pub(super) struct Bounded {
    stream: Box<dyn Stream>,
    meter: Meter,
    unfit: Arc<OnceLock<Unfit>>,
}

impl Bounded {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            meter: Meter::default(),
            unfit: Arc::default(),
        }
    }

    /// Why the connection failed, if an answer was the reason. The library may close the connection
    /// before it reports the error.
    pub(super) fn unfit(&self) -> Arc<OnceLock<Unfit>> {
        Arc::clone(&self.unfit)
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let measured = self.meter.measure(&buf.filled()[before..]);
        Poll::Ready(measured.map_err(|unfit| io::Error::from(*self.unfit.get_or_init(|| unfit))))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // A new request: the answers to the previous one have been read.
        self.meter.taken = 0;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The memory used by answers since the last request.
#[derive(Debug, Default)]
struct Meter {
    taken: u64,
    /// The current line, as far as it has been read.
    line: Vec<u8>,
    /// Remaining bytes of a text, including its line ending.
    text_left: u64,
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("the server's response is larger than {} MiB", ANSWER_BYTES_MAX >> 20)]
    Large,
    #[error("the server's response has a line longer than {} KiB", LINE_BYTES_MAX >> 10)]
    Line,
    #[error("the server's response does not follow the Redis protocol")]
    Foreign,
}

impl From<Unfit> for io::Error {
    fn from(unfit: Unfit) -> Self {
        Self::new(io::ErrorKind::InvalidData, unfit)
    }
}

impl Meter {
    fn measure(&mut self, mut bytes: &[u8]) -> Result<(), Unfit> {
        while !bytes.is_empty() {
            if self.text_left > 0 {
                let left = usize::try_from(self.text_left).unwrap_or(usize::MAX);
                let passed = left.min(bytes.len());
                self.text_left -= passed as u64;
                bytes = &bytes[passed..];
                continue;
            }
            let end = memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end..];
            if self.line.len() > LINE_BYTES_MAX {
                return Err(Unfit::Line);
            }
            if self.line.ends_with(b"\r\n") {
                self.value()?;
                self.line.clear();
            }
        }
        Ok(())
    }

    /// Counts the value that the current line starts.
    fn value(&mut self) -> Result<(), Unfit> {
        self.add(VALUE_BYTES + self.line.len() as u64)?;
        match self.line[0] {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => Ok(()),
            b'$' | b'=' | b'!' => {
                // A null has no text.
                if let Some(length) = self.number()? {
                    self.add(length)?;
                    self.text_left = length + 2;
                }
                Ok(())
            }
            b'*' | b'~' | b'>' => self.announce(1),
            b'%' | b'|' => self.announce(2),
            _ => Err(Unfit::Foreign),
        }
    }

    /// Refuses a list that would be too large.
    fn announce(&self, values: u64) -> Result<(), Unfit> {
        let count = self.number()?.unwrap_or(0);
        let announced = count.saturating_mul(values * VALUE_BYTES);
        if self.taken.saturating_add(announced) > ANSWER_BYTES_MAX {
            return Err(Unfit::Large);
        }
        Ok(())
    }

    /// The number in the line, parsed as the library parses it. `None` for a null, whose length is
    /// negative.
    fn number(&self) -> Result<Option<u64>, Unfit> {
        let text = str::from_utf8(&self.line[1..]).ok();
        let number = text.and_then(|text| text.trim().parse::<i64>().ok());
        match number.map(u64::try_from) {
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) if matches!(self.line[0], b'$' | b'*') => Ok(None),
            Some(Err(_)) | None => Err(Unfit::Foreign),
        }
    }

    fn add(&mut self, bytes: u64) -> Result<(), Unfit> {
        self.taken = self.taken.saturating_add(bytes);
        if self.taken > ANSWER_BYTES_MAX {
            return Err(Unfit::Large);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn measure(pieces: &[&[u8]]) -> Result<u64, Unfit> {
        let mut meter = Meter::default();
        for piece in pieces {
            meter.measure(piece)?;
        }
        Ok(meter.taken)
    }

    #[test]
    fn what_a_server_may_answer_is_counted_and_passed() {
        let cases: [(&[u8], u64); 8] = [
            (b"+OK\r\n", 64 + 5),
            (b"$-1\r\n", 64 + 5),
            (b"*-1\r\n", 64 + 5),
            (b"$4\r\n\r\n*9\r\n", 64 + 4 + 4),
            (b"*2\r\n:1\r\n$1\r\nx\r\n", 3 * 64 + 4 + 4 + 4 + 1),
            (b"-ERR a\nb\r\n", 64 + 10),
            (b"%1\r\n+a\r\n#t\r\n", 3 * 64 + 12),
            (b"=5\r\ntxt:a\r\n", 64 + 4 + 5),
        ];
        for (bytes, taken) in cases {
            assert_eq!(measure(&[bytes]), Ok(taken), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn an_answer_that_would_take_too_much_is_refused_when_it_says_so() {
        let long = [b"+".as_slice(), &[b'x'; LINE_BYTES_MAX]].concat();
        let cases: [(&[u8], Unfit); 11] = [
            (b"$1099511627776\r\n", Unfit::Large),
            (b"$ +1099511627776 \r\n", Unfit::Large),
            (b"=9223372036854775807\r\n", Unfit::Large),
            (b"*1000000000\r\n", Unfit::Large),
            (b"%600000\r\n", Unfit::Large),
            (b"*1\r\n*1\r\n*9223372036854775807\r\n", Unfit::Large),
            (&long, Unfit::Line),
            (b"=-1\r\n", Unfit::Foreign),
            (b"$x\r\n", Unfit::Foreign),
            (b"HTTP/1.1 400 Bad Request\r\n", Unfit::Foreign),
            (b"\r\n", Unfit::Foreign),
        ];
        for (bytes, unfit) in cases {
            assert_eq!(measure(&[bytes]), Err(unfit), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn many_small_answers_add_up_until_the_next_request() {
        let some = b":1\r\n".repeat(500_000);
        assert!(measure(&[&some]).is_ok());
        assert_eq!(measure(&[&some, &some]), Err(Unfit::Large));
        let mut meter = Meter::default();
        for _ in 0..10 {
            meter.measure(&some).expect("one at a time");
            meter.taken = 0;
        }
    }

    proptest! {
        /// Splitting the bytes differently must not change the result.
        #[test]
        fn where_bytes_are_cut_does_not_matter(
            bytes in prop::collection::vec(prop::sample::select(b"*$+-:%\r\n\r\n0123a".to_vec()), 0..60),
            cut in any::<prop::sample::Index>(),
        ) {
            let (one, other) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(measure(&[one, other]), measure(&[&bytes]));
        }
    }
}
