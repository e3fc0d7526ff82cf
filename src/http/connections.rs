//! Accepts connections, limits their number, and closes them when a client stalls.
//!
//! When the limit is reached, a new connection replaces an existing one (`places.rs`), usually that
//! of the client that has been silent the longest. A scraper that sends its request immediately is
//! therefore served, however many others connect and stay silent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::serve::Listener;
use http::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::activity::{Activity, Phase};
use super::handshake::Handshakes;
use super::limits::Limits;
use super::places;
use super::watched::Watched;
use crate::clock;
use crate::open_files;
use crate::telemetry::http::HttpLimit;
use crate::tls::server::ServerTls;

/// Maximum number of connections, if the open-file limit allows: far more than scrapers and probes
/// need.
const CONNECTIONS_MAX: usize = 256;

/// Maximum number of connections waiting in the kernel to be accepted.
const BACKLOG: u32 = 1024;

/// Size of the kernel's send buffer. Without a limit, Linux grows it to 4 MiB per connection, which
/// counts towards the container's memory.
const SEND_BUFFER_BYTES: u32 = 64 << 10;

/// Size of the kernel's receive buffer, for data that is never read, such as request bodies.
const RECEIVE_BUFFER_BYTES: u32 = 32 << 10;

/// Maximum size of a request head. A larger one is answered with 431.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Interval for closing connections whose timeout has expired.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// The remote end of a connection, for request handlers.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) peer: SocketAddr,
    pub(super) activity: Arc<Activity>,
}

/// Marks a response that lasts, and sends something now and then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live;

#[derive(Debug)]
pub(super) struct Connections {
    tasks: JoinSet<()>,
    /// Connections that are not being closed.
    open: HashMap<Id, Open>,
    max: usize,
    limits: Arc<Limits>,
}

#[derive(Debug)]
struct Open {
    peer: SocketAddr,
    activity: Arc<Activity>,
    task: AbortHandle,
}

/// Binds an address. Accepted connections inherit the buffer sizes.
pub(super) fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match listen {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

impl Connections {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self {
            tasks: JoinSet::new(),
            open: HashMap::new(),
            max: open_files::share_of_listener(CONNECTIONS_MAX),
            limits,
        }
    }

    /// Serves until `stop` is cancelled, then until current requests are answered.
    pub(super) async fn serve(
        mut self,
        mut tcp: TcpListener,
        tls: Option<ServerTls>,
        router: Router,
        stop: CancellationToken,
    ) {
        let router = TowerToHyperService::new(router);
        let mut handshakes = tls.map(Handshakes::new);
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                // `accept` pauses and retries after errors.
                (stream, peer) = Listener::accept(&mut tcp) => {
                    if self.make_room().await {
                        self.open(stream, peer, handshakes.as_mut(), &router, &stop);
                    }
                }
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                _ = sweep.tick() => self.close_expired(clock::monotonic()),
            }
        }
        drop(tcp);
        while !self.tasks.is_empty() {
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                _ = sweep.tick() => self.close_expired(clock::monotonic()),
            }
        }
    }

    /// Makes room for another connection, closing an older one if necessary. Returns whether there
    /// is room.
    async fn make_room(&mut self) -> bool {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.ended(ended);
        }
        if self.tasks.len() < self.max {
            return true;
        }
        self.limits.reached(HttpLimit::Connections);
        let open = self.open.iter();
        let open = open.map(|(id, open)| (*id, open.peer.ip(), open.activity.waiting()));
        let Some(id) = places::to_close(open, clock::monotonic()) else {
            return false;
        };
        self.close(id);
        // A connection's file descriptor is closed when its task has ended.
        while self.tasks.len() >= self.max {
            match self.tasks.join_next_with_id().await {
                Some(ended) => self.ended(ended),
                None => break,
            }
        }
        true
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "one task for each connection; they are joined here"
    )]
    fn open(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        handshakes: Option<&mut Handshakes>,
        router: &TowerToHyperService<Router>,
        stop: &CancellationToken,
    ) {
        let phase = match handshakes {
            Some(_) => Phase::Handshake,
            None => Phase::Header,
        };
        let activity = Arc::new(Activity::new(phase));
        let client = Client {
            peer,
            activity: Arc::clone(&activity),
        };
        let stream = Watched {
            stream,
            activity: Arc::clone(&activity),
        };
        let (router, stop) = (router.clone(), stop.clone());
        let task = match handshakes {
            None => self.tasks.spawn(talk(stream, client, router, stop)),
            Some(handshakes) => {
                let handshake = handshakes.begin(stream);
                self.tasks.spawn(async move {
                    let shaken = tokio::select! {
                        shaken = handshake => shaken,
                        () = stop.cancelled() => return,
                    };
                    match shaken {
                        Ok(stream) => {
                            client.activity.enter(Phase::Header);
                            talk(stream, client, router, stop).await;
                        }
                        // Any client can cause these errors, so they must not fill the log.
                        Err(error) => debug!(%peer, %error, "TLS handshake failed"),
                    }
                })
            }
        };
        let open = Open {
            peer,
            activity,
            task,
        };
        self.open.insert(open.task.id(), open);
    }

    fn close(&mut self, id: Id) {
        if let Some(open) = self.open.remove(&id) {
            open.task.abort();
        }
    }

    fn close_expired(&mut self, now: Instant) {
        let open = self.open.iter();
        let expired = open.filter_map(|(id, open)| {
            let expired = open.activity.expired(now)?;
            Some((*id, expired.limit))
        });
        let expired: Vec<_> = expired.collect();
        for (id, limit) in expired {
            if let Some(limit) = limit {
                self.limits.reached(limit);
            }
            self.close(id);
        }
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        self.open.remove(&id);
    }
}

/// Answers the requests of a connection one at a time. HTTP/1.1 only: with HTTP/2, a single
/// connection could request any number of pages at once.
async fn talk<S>(
    stream: S,
    client: Client,
    router: TowerToHyperService<Router>,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = client.peer;
    let service = service_fn(move |mut request: Request<Incoming>| {
        let activity = Arc::clone(&client.activity);
        activity.enter(Phase::Working);
        request.extensions_mut().insert(client.clone());
        let answered = router.call(request);
        async move {
            let answer = answered.await?;
            let live = answer.extensions().get::<Live>().is_some();
            activity.enter(if live {
                Phase::Sending
            } else {
                Phase::Answering
            });
            let answer = answer.map(|body| Answer {
                body,
                activity,
                live,
            });
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        // `Activity` enforces the timeouts.
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "connection failed");
    }
}

/// A response body that records when all of it was passed to the connection.
struct Answer {
    body: Body,
    activity: Arc<Activity>,
    live: bool,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if self.live && frame.is_ready() {
            self.activity.enter(Phase::Sending);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.activity.enter(Phase::Flushing);
    }
}
