//! A stream that is read in gulps.
//!
//! A broker sends each message as it comes, in a packet of its own. Read at once, each costs a wake-up and a system
//! call, more than all that is done with it afterwards. So when a read has emptied the socket, the next one waits
//! for a moment; what comes meanwhile lies in the kernel's buffer, and is read together.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::source::REST;
use crate::clock;

/// A stream whose reads rest when there is nothing left to read. Writes go through.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    rest: Pin<Box<Sleep>>,
    resting: bool,
}

impl<S> Paced<S> {
    /// To be called where the runtime's timer is: later it may be polled from any thread.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            rest: Box::pin(tokio::time::sleep(REST)),
            resting: false,
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
        // A full buffer leaves more behind; the end of the stream leaves nothing to wait for.
        let left = buffer.remaining();
        if left > 0 && left < room {
            this.rest.as_mut().reset((clock::monotonic() + REST).into());
            this.resting = true;
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

    #[tokio::test(start_paused = true)]
    async fn what_comes_during_the_rest_is_read_together_and_nothing_is_lost() {
        let (mut broker, ours) = tokio::io::duplex(1024);
        let mut ours = Paced::new(ours);
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
    async fn a_full_buffer_is_followed_by_the_rest_at_once() {
        let (mut broker, ours) = tokio::io::duplex(1024);
        let mut ours = Paced::new(ours);
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
