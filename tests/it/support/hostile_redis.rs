//! A server that speaks the Redis protocol until it has a client, and then sends an endless response.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The response: a beginning, and a part that is repeated forever.
#[derive(Clone, Copy, Debug)]
pub struct Answer(pub &'static str, pub &'static str);

/// Which clients get the endless response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Clients that have subscribed.
    Subscribers,
    /// Clients that send any other command.
    Commands,
}

pub struct HostileRedis {
    port: u16,
    answered: Arc<AtomicU64>,
}

impl HostileRedis {
    pub async fn start(to: To, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let answered = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&answered);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                // Clients are expected to disconnect.
                tokio::spawn(async move { drop(serve(client, to, answer, &count).await) });
            }
        });
        Self { port, answered }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Returns how many clients got the endless response.
    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }
}

async fn serve(
    client: TcpStream,
    to: To,
    answer: Answer,
    count: &AtomicU64,
) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    loop {
        let command = command(&mut client).await?;
        let answers: &[u8] = match command.as_str() {
            "AUTH" | "CLIENT" | "SELECT" => b"+OK\r\n",
            "PING" => b"*2\r\n$4\r\npong\r\n$0\r\n\r\n",
            "PSUBSCRIBE" => b"*3\r\n$10\r\npsubscribe\r\n$1\r\nx\r\n:1\r\n",
            _ => b"",
        };
        client.write_all(answers).await?;
        let begins = match to {
            To::Subscribers => command == "PSUBSCRIBE",
            To::Commands => answers.is_empty(),
        };
        if begins {
            count.fetch_add(1, Relaxed);
            client.write_all(answer.0.as_bytes()).await?;
            let more = answer.1.repeat((64 << 10) / answer.1.len());
            loop {
                client.write_all(more.as_bytes()).await?;
            }
        }
    }
}

/// Reads the name of the next command.
async fn command(client: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let words = number(client).await?;
    let mut name = String::new();
    for word in 0..words {
        let mut text = vec![0; number(client).await? + 2];
        client.read_exact(&mut text).await?;
        if word == 0 {
            name = String::from_utf8_lossy(text.trim_ascii_end()).to_uppercase();
        }
    }
    Ok(name)
}

/// Reads the number in a line, after its type.
async fn number(client: &mut BufReader<TcpStream>) -> std::io::Result<usize> {
    let mut line = String::new();
    client.read_line(&mut line).await?;
    let number = line.get(1..).and_then(|line| line.trim_end().parse().ok());
    number.ok_or(std::io::ErrorKind::UnexpectedEof.into())
}
