//! A TCP proxy in front of a server that can be switched to refuse, stall, cut and throttle connections at any time.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What the proxy does to connections, including open ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// Refuses connections, and resets open ones.
    Refuse,
    /// Accepts connections, but forwards nothing.
    Stall,
    /// Resets each connection after this many bytes from the client.
    CutAfter(usize),
    /// Forwards this many bytes per second in each direction.
    Throttle(usize),
}

pub struct Proxy {
    pub port: u16,
    fault: watch::Sender<Fault>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of a server.
    pub async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound listener").port();
        let (fault, faults) = watch::channel(Fault::None);
        let task = tokio::spawn(accept(listener, to, faults));
        Self { port, fault, task }
    }

    /// Returns a URL with the proxy's address instead of the server's.
    pub fn in_front_of(&self, url: &str) -> String {
        let mut url = url::Url::parse(url).expect("a URL");
        url.set_port(Some(self.port)).expect("a URL with a host");
        url.to_string()
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, mut faults: watch::Receiver<Fault>) {
    let address = listener.local_addr().expect("a bound listener");
    let mut listener = Some(listener);
    // Dropping it ends all connections.
    let mut connections = JoinSet::new();
    loop {
        let refuses = *faults.borrow_and_update() == Fault::Refuse;
        if refuses {
            listener = None;
            connections.shutdown().await;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.expect("its own port"));
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok((client, _)) = accepted => {
                connections.spawn(pass(client, to, faults.clone()));
            }
            changed = faults.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass(client: TcpStream, to: SocketAddr, faults: watch::Receiver<Fault>) {
    // A dropped connection is reset, which the client notices at once.
    client.set_zero_linger().expect("an open socket");
    let Ok(server) = TcpStream::connect(to).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, faults.clone(), true) => {}
        () = pump(from_server, to_client, faults, false) => {}
    }
}

/// Forwards bytes until either end is closed or the fault requires stopping.
async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut faults: watch::Receiver<Fault>,
    of_client: bool,
) {
    let mut bytes = vec![0; 16 << 10];
    let mut passed = 0;
    loop {
        let fault = *faults.borrow_and_update();
        let most = match fault {
            Fault::Refuse => return,
            Fault::Stall => {
                if faults.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Fault::CutAfter(most) if of_client => most.saturating_sub(passed),
            Fault::Throttle(rate) => (rate / 10).max(1),
            Fault::None | Fault::CutAfter(_) => bytes.len(),
        };
        if most == 0 {
            return;
        }
        let most = most.min(bytes.len());
        let read = tokio::select! {
            read = from.read(&mut bytes[..most]) => read,
            changed = faults.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let Ok(count @ 1..) = read else {
            return;
        };
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
        passed += count;
        if matches!(fault, Fault::Throttle(_)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
