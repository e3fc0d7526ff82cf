//! Clients that attack the listener, beside scrapes, events and pushes that must not notice.

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

/// A request whose connection is kept.
const REQUEST: &[u8] = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n";

/// What a client does with its connection.
#[derive(Clone, Copy, Debug)]
enum Behaviour {
    /// It says nothing.
    Silent,
    /// It sends one header of a request after the other.
    NeverEnding,
    /// It sends a request, reads the response, and stays.
    Idle,
}

/// Clients with a connection each. When one is closed, its client connects again.
struct Crowd {
    _clients: JoinSet<()>,
}

impl Crowd {
    /// Gathers clients, and waits until each has been connected.
    async fn gather(size: usize, port: u16, behaviour: Behaviour) -> Self {
        let connected = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for n in 0..size {
            let connected = Arc::clone(&connected);
            clients.spawn(async move {
                // The kernel drops some of a burst unnoticed by their clients.
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

/// Does so until the connection is closed.
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

/// Scrapes as Prometheus does; how long it took.
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

/// How often the log has a limit.
fn lines_about(celeriac: &Celeriac, limit: &str) -> usize {
    let log = celeriac.process.output();
    let field = format!("limit=\"{limit}\"");
    let lines = log.lines();
    let lines = lines.filter(|line| line.contains("HTTP limit reached") && line.contains(&field));
    lines.count()
}
