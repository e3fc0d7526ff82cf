//! Connections with TLS, as what serves requests takes them: when their handshake is done.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::serve::Listener;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use crate::clock;
use crate::tls::TlsError;
use crate::tls::server::ServerTls;

/// How long a handshake may take. Who connects and says nothing must not keep a place for longer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Handshakes at a time; further connections wait in the kernel.
const HANDSHAKES_MAX: usize = 512;

/// How long files are taken to be what they were.
const FRESH: Duration = Duration::from_secs(2);

/// A listener whose handshakes go on side by side, so that one that hangs holds up nobody.
pub(super) struct TlsListener {
    tcp: TcpListener,
    tls: Arc<ServerTls>,
    /// When the files were looked at last.
    looked: Instant,
    /// The log has that the files will not do: whoever connects must not fill it.
    complained: Arc<AtomicBool>,
    handshakes: FuturesUnordered<BoxFuture<'static, Handshake>>,
}

/// What came of a handshake.
struct Handshake {
    peer: SocketAddr,
    stream: io::Result<TlsStream<TcpStream>>,
    /// Where this one looked at the files, and they had changed.
    renewed: Option<Arc<ServerTls>>,
}

impl TlsListener {
    pub(super) fn new(tcp: TcpListener, tls: ServerTls) -> Self {
        Self {
            tcp,
            tls: Arc::new(tls),
            looked: clock::monotonic(),
            complained: Arc::default(),
            handshakes: FuturesUnordered::new(),
        }
    }

    /// Begins a handshake. One in a while looks at the files first, so that nothing runs while nobody connects.
    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        let now = clock::monotonic();
        let look = now.duration_since(self.looked) >= FRESH;
        if look {
            self.looked = now;
        }
        let tls = Arc::clone(&self.tls);
        let complained = Arc::clone(&self.complained);
        self.handshakes.push(Box::pin(async move {
            let renewed = if look {
                renewed(&tls, &complained).await
            } else {
                None
            };
            let settings = renewed.as_ref().unwrap_or(&tls).settings();
            let accepting = TlsAcceptor::from(settings).accept(stream);
            let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await;
            Handshake {
                peer,
                stream: accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
                renewed,
            }
        }));
    }

    fn ended(&mut self, handshake: Handshake) -> Option<(TlsStream<TcpStream>, SocketAddr)> {
        let peer = handshake.peer;
        if let Some(tls) = handshake.renewed {
            info!("serving with the certificates that the files hold now");
            self.tls = tls;
        }
        match handshake.stream {
            Ok(stream) => Some((stream, peer)),
            Err(error) => {
                // Whoever knocks can make these; the client knows best what it did not like.
                debug!(%peer, %error, "no TLS connection");
                None
            }
        }
    }
}

/// The files as they are now, if they changed and will do. A volume may take its time.
async fn renewed(tls: &Arc<ServerTls>, complained: &AtomicBool) -> Option<Arc<ServerTls>> {
    let held = Arc::clone(tls);
    let looked: Result<Result<_, TlsError>, _> =
        tokio::task::spawn_blocking(move || held.changed()).await;
    match looked.ok()? {
        Ok(renewed) => {
            complained.store(false, Relaxed);
            renewed.map(Arc::new)
        }
        Err(error) => {
            // They may be just being written.
            if !complained.swap(true, Relaxed) {
                warn!(%error, "the listener keeps the certificates that it has");
            }
            None
        }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let room = self.handshakes.len() < HANDSHAKES_MAX;
            tokio::select! {
                Some(handshake) = self.handshakes.next() => {
                    if let Some(connection) = self.ended(handshake) {
                        return connection;
                    }
                }
                // Goes on after errors, with a pause.
                (stream, peer) = Listener::accept(&mut self.tcp), if room => self.begin(stream, peer),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
