//! A forward proxy that requires a login: it forwards requests with a full URL, and tunnels for `CONNECT`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub struct Proxy {
    pub address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts a proxy for a user with a password.
    pub async fn start(login: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (seen, login) = (Arc::clone(&lines), STANDARD.encode(login));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, Arc::clone(&seen), login.clone()));
            }
        });
        Self { address, lines }
    }

    /// Returns the first lines of the requests with a correct login.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no panic").clone()
    }
}

/// Serves one connection. Everything after its first request goes to the same server.
async fn serve(mut client: TcpStream, seen: Arc<Mutex<Vec<String>>>, login: String) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let text = String::from_utf8(head).expect("a head in ASCII");
    let allowed = text.lines().any(|line| {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        name.eq_ignore_ascii_case("proxy-authorization") && value == format!("Basic {login}")
    });
    if !allowed {
        let answer = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
        client.write_all(answer.as_bytes()).await.ok()?;
        return None;
    }
    let line = text.lines().next()?.to_owned();
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    seen.lock().expect("no panic").push(line.clone());
    let host = target.strip_prefix("http://").unwrap_or(target);
    let mut server = TcpStream::connect(host.split('/').next()?).await.ok()?;
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    } else {
        let is_ours = |line: &&str| !line.to_ascii_lowercase().starts_with("proxy-");
        let kept: Vec<_> = text.split("\r\n").filter(is_ours).collect();
        server.write_all(kept.join("\r\n").as_bytes()).await.ok()?;
    }
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    Some(())
}
