//! Clients that attack the HTTP listener while scrapes, events and pushes must continue undisturbed.

mod connections;
mod logins;
mod pages;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::support::celeriac::Celeriac;
use super::support::wait_for;

/// A request on a connection that is kept alive.
const REQUEST: &[u8] = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n";

/// What a client does with its connection.
#[derive(Clone, Copy, Debug)]
enum Behaviour {
    /// Sends nothing.
    Silent,
    /// Sends request headers without end.
    NeverEnding,
    /// Sends a request, reads the response, and keeps the connection open.
    Idle,
}

/// Clients with one connection each. A client whose connection is closed reconnects.
struct Crowd {
    _clients: JoinSet<()>,
}

impl Crowd {
    /// Starts the clients, and waits until each has connected.
    async fn gather(size: usize, port: u16, behaviour: Behaviour) -> Self {
        let connected = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for n in 0..size {
            let connected = Arc::clone(&connected);
            clients.spawn(async move {
                // In a burst, the kernel silently drops some connections.
                tokio::time::sleep(Duration::from_millis(n as u64 * 2)).await;
                loop {
                    if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await {
                        connected.fetch_add(1, Relaxed);
                        let _ = behave(stream, behaviour).await;
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            });
        }
        wait_for("the crowd", 30, async || match connected.load(Relaxed) {
            some if some < size => Err(format!("{some} of {size}")),
            _ => Ok(()),
        })
        .await;
        Self { _clients: clients }
    }
}

/// Behaves this way until the connection is closed.
async fn behave(mut stream: TcpStream, behaviour: Behaviour) -> std::io::Result<()> {
    match behaviour {
        Behaviour::Silent => {}
        Behaviour::NeverEnding => {
            stream.write_all(b"GET / HTTP/1.1\r\n").await?;
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                stream.write_all(b"X-More: a\r\n").await?;
            }
        }
        Behaviour::Idle => stream.write_all(REQUEST).await?,
    }
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// A client that makes a new connection for each request, from an address of the loopback network.
fn good_client(from: [u8; 4]) -> reqwest::Client {
    let client = reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .local_address(IpAddr::from(Ipv4Addr::from(from)))
        .timeout(Duration::from_secs(10));
    client.build().expect("a client")
}

/// Scrapes as Prometheus does, and returns how long it took.
async fn scrape(client: &reqwest::Client, celeriac: &Celeriac) -> Duration {
    let started = Instant::now();
    let url = format!("http://127.0.0.1:{}/metrics", celeriac.port);
    let asked = client.get(url).header("accept-encoding", "gzip");
    let answer = asked.send().await;
    let answer = answer.unwrap_or_else(|error| panic!("{error:?}\n{}", celeriac.process.output()));
    assert_eq!(answer.status(), 200);
    answer.bytes().await.expect("a whole page");
    started.elapsed()
}

/// Counts the log lines about a limit.
fn lines_about(celeriac: &Celeriac, limit: &str) -> usize {
    let log = celeriac.process.output();
    let field = format!("limit=\"{limit}\"");
    let lines = log.lines();
    let lines = lines.filter(|line| line.contains("HTTP limit reached") && line.contains(&field));
    lines.count()
}
