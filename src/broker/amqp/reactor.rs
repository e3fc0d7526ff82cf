//! Tokio as the client library wants it, with connections that are read in gulps.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::Stream;
use futures_util::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::paced::Paced;
use crate::broker::link::Alive;

/// The runtime that connections are made in.
pub(super) type PacedRuntime = Runtime<RuntimeParts<Tokio, PacedReactor>>;

/// How a connection is read.
#[derive(Clone, Debug)]
pub(super) enum Pace {
    /// As soon as there is something: for questions, whose answers are waited for.
    AtOnce,
    /// In gulps: for a stream of messages. Notes the peer's signs of life, heartbeats included.
    Gulps(Alive),
}

/// Tokio's reactor, but for its connections.
#[derive(Clone, Debug)]
pub(super) struct PacedReactor(Tokio, Pace);

/// The runtime that this is called in.
pub(super) fn current(pace: Pace) -> PacedRuntime {
    let tokio = Tokio::current();
    Runtime::new(RuntimeParts::new(tokio.clone(), PacedReactor(tokio, pace)))
}

impl Reactor for PacedReactor {
    type TcpStream = Compat<Paced<TcpStream>>;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> std::io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = std::io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        // The library polls from a thread of its own: the timer is made where there is one.
        let handle = tokio::runtime::Handle::current();
        let pace = self.1.clone();
        async move {
            let stream = connecting.await?.into_inner();
            let _entered = handle.enter();
            Ok(Paced::new(stream, pace).compat())
        }
    }
}
