//! A stream that is read in gulps.
//!
//! A broker sends each message as it comes, in a packet of its own. Read at once, each costs a wake-up and a system
//! call, more than all that is done with it afterwards. So when a read has emptied the socket, the next one waits
//! for a moment; what comes meanwhile lies in the kernel's buffer, and is read together.
//!
//! Only while little comes: what comes during a rest has to fit into that buffer, or the stream would be slowed
//! down. Redis' connections are not read so: it cuts off who reads slowly.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::super::source::REST;
use super::reactor::Pace;
use crate::clock;

/// When so much came during a rest, there is none for a while: half of what Linux keeps for a new connection.
const GULP_BYTES_MAX: usize = 64 << 10;

/// How long that while is. One rest in it costs a busy stream a twentieth.
const BUSY: Duration = Duration::from_millis(100);

/// A stream whose reads rest when there is nothing left to read. Writes go through.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    rest: Pin<Box<Sleep>>,
    resting: bool,
    pace: Pace,
    /// Bytes read since the socket was last seen empty.
    gulp: usize,
    /// Until then there is no rest.
    busy: Option<Instant>,
}

impl<S> Paced<S> {
    /// To be called where the runtime's timer is: later it may be polled from any thread.
    pub(super) fn new(stream: S, pace: Pace) -> Self {
        let rest = Box::pin(tokio::time::sleep(REST));
        Self {
            stream,
            rest,
            resting: false,
            pace,
            gulp: 0,
            busy: None,
        }
    }

    /// Rests, unless much is coming.
    fn emptied(&mut self, now: Instant) {
        if self.gulp >= GULP_BYTES_MAX {
            self.busy = Some(now + BUSY);
        }
        self.gulp = 0;
        let rests = matches!(self.pace, Pace::Gulps(_));
        if rests && self.busy.is_none_or(|busy| now >= busy) {
            self.rest.as_mut().reset((now + REST).into());
            self.resting = true;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.resting {
            ready!(this.rest.as_mut().poll(context));
            this.resting = false;
        }
        let room = buffer.remaining();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let now = clock::monotonic();
        // A full buffer leaves more behind; the end of the stream leaves nothing to wait for.
        let left = buffer.remaining();
        if let Pace::Gulps(alive) = &this.pace {
            if left < room {
                alive.note(now);
            } else if room > 0 {
                alive.closed(now);
            }
        }
        this.gulp += room - left;
        if left > 0 && left < room {
            this.emptied(now);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::broker::link::Alive;

    fn gulps() -> Pace {
        Pace::Gulps(Alive::new(clock::monotonic()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_during_the_rest_is_read_together_and_nothing_is_lost() {
        let (mut broker, ours) = tokio::io::duplex(1024);
        let mut ours = Paced::new(ours, gulps());
        let mut buffer = [0; 16];
        broker.write_all(b"one").await.expect("room");
        assert_eq!(ours.read(&mut buffer).await.expect("bytes"), 3);

        broker.write_all(b"two").await.expect("room");
        let mut reading = Box::pin(ours.read(&mut buffer));
        assert!(futures_util::poll!(&mut reading).is_pending(), "it rests");
        broker.write_all(b"three").await.expect("room");
        assert_eq!(reading.await.expect("bytes"), 8);
        assert_eq!(&buffer[..8], b"twothree");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_on_which_much_comes_is_read_without_rests() {
        let (mut broker, ours) = tokio::io::duplex(2 * GULP_BYTES_MAX);
        let mut ours = Paced::new(ours, gulps());
        let mut buffer = vec![0; 2 * GULP_BYTES_MAX];
        broker
            .write_all(&vec![0; GULP_BYTES_MAX])
            .await
            .expect("room");
        assert_eq!(ours.read(&mut buffer).await.expect("bytes"), GULP_BYTES_MAX);
        for _ in 0..3 {
            broker.write_all(b"more").await.expect("room");
            let mut reading = Box::pin(ours.read(&mut buffer));
            assert!(matches!(
                futures_util::poll!(&mut reading),
                Poll::Ready(Ok(4))
            ));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_buffer_is_followed_by_the_rest_at_once() {
        let (mut broker, ours) = tokio::io::duplex(1024);
        let mut ours = Paced::new(ours, gulps());
        broker.write_all(b"12345678").await.expect("room");
        let mut buffer = [0; 4];
        for expected in [b"1234", b"5678"] {
            let mut reading = Box::pin(ours.read(&mut buffer));
            assert!(matches!(
                futures_util::poll!(&mut reading),
                Poll::Ready(Ok(4))
            ));
            drop(reading);
            assert_eq!(&buffer, expected);
        }
    }
}
