//! A connection that is read by a thread of its own.
//!
//! Redis disconnects a subscriber that reads too slowly, so only short rests may delay a read: not
//! the parser, not the aggregator, not the other tasks of the runtime. A thread that mostly waits
//! also gets a busy CPU before threads that compute.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread::Thread;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::connect::{self, Server};
use crate::bounds::{Bounds, Part};
use crate::broker::error::LinkError;
use crate::broker::stream::Stream;
use crate::broker::thread::{self, Pace};
use crate::config::TlsConfig;

/// Maximum number of bytes to read at a time.
const READ_BYTES: usize = 64 << 10;

/// Chunks share allocations of this size.
const BLOCK_BYTES: usize = 2 * READ_BYTES;

/// Maximum number of chunks that wait. Nearly all are either large, or a rest apart.
const CHUNKS_MAX: usize = 4096;

/// The thread's priority, as `nice` counts. Only root may raise it.
const NICE: i32 = -10;

/// The stream. Dropping it closes the connection and ends the thread, after its rest.
pub(super) struct Drained {
    chunks: mpsc::Receiver<io::Result<Chunk>>,
    /// What is left of the last chunk.
    rest: Option<Chunk>,
    writer: WriteHalf<Box<dyn Stream>>,
    /// The thread, whose rest ends when a request is written.
    reader: Thread,
    _ends: oneshot::Sender<Infallible>,
}

/// Bytes that were read, and their room among those that wait.
struct Chunk {
    bytes: BytesMut,
    _room: OwnedSemaphorePermit,
    _claim: Claim,
}

/// A part of the memory budget, which is returned when this is dropped.
struct Claim(Bounds, u64);

impl Claim {
    fn new(bounds: &Bounds, bytes: u64) -> Self {
        bounds.claim(Part::Buffers, bytes);
        Self(bounds.clone(), bytes)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.release(Part::Buffers, self.1);
    }
}

/// Connects on a new thread, which reads from then on. Up to `bytes_max` bytes wait to be parsed.
pub(super) async fn connect(
    server: &Server,
    tls: Option<&TlsConfig>,
    (bytes_max, bounds): (usize, Bounds),
) -> Result<Drained, LinkError> {
    let (server, tls) = (server.clone(), tls.cloned());
    let (connected, connection) = oneshot::channel();
    let (ends, ended) = oneshot::channel();
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let work = async move {
        let _ = rustix::process::setpriority_process(None, NICE);
        let stream = connect::stream(&server, tls.as_ref()).await;
        let (reader, writer) = match stream.map(tokio::io::split) {
            Ok(halves) => halves,
            // Whoever waited for it may be gone.
            Err(error) => return drop(connected.send(Err(error))),
        };
        if connected.send(Ok(writer)).is_ok() {
            read(reader, sender, (bytes_max, bounds)).await;
        }
    };
    let reader = thread::spawn("redis reader", async {
        tokio::select! {
            () = work => {}
            _ = ended => {}
        }
    })?;
    let writer = connection.await.unwrap_or(Err(LinkError::Closed))?;
    Ok(Drained {
        chunks,
        rest: None,
        writer,
        reader,
        _ends: ends,
    })
}

/// Reads until the connection or the receiver ends.
async fn read(
    mut stream: ReadHalf<Box<dyn Stream>>,
    chunks: mpsc::Sender<io::Result<Chunk>>,
    (bytes_max, bounds): (usize, Bounds),
) {
    let room = Arc::new(Semaphore::new(
        bytes_max.clamp(READ_BYTES, Semaphore::MAX_PERMITS),
    ));
    let mut block = BytesMut::new();
    let mut pace = Pace::default();
    loop {
        // Reuses the allocation if all of its chunks were parsed.
        if block.capacity() < READ_BYTES {
            block.reserve(BLOCK_BYTES);
        }
        let mut limited = (&mut stream).take(READ_BYTES as u64);
        let reading = limited.read_buf(&mut block);
        let chunk = match pace.read(reading).await {
            Ok(0) => return,
            Ok(read) => {
                pace.note(read);
                let bytes = block.split();
                let places = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let Ok(room) = Arc::clone(&room).acquire_many_owned(places).await else {
                    return;
                };
                Ok(Chunk {
                    _claim: Claim::new(&bounds, bytes.len() as u64),
                    bytes,
                    _room: room,
                })
            }
            Err(error) => Err(error),
        };
        let failed = chunk.is_err();
        if chunks.send(chunk).await.is_err() || failed {
            return;
        }
    }
}

impl AsyncRead for Drained {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = match self.rest.take() {
            Some(rest) => rest,
            None => match ready!(self.chunks.poll_recv(context)) {
                Some(chunk) => chunk?,
                None => return Poll::Ready(Ok(())),
            },
        };
        let taken = chunk.bytes.len().min(into.remaining());
        into.put_slice(&chunk.bytes[..taken]);
        chunk.bytes.advance(taken);
        if !chunk.bytes.is_empty() {
            self.rest = Some(chunk);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Drained {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.reader.unpark();
        Pin::new(&mut self.writer).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(context)
    }
}
