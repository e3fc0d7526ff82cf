//! A Redis server.

use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::events::{envelope, life};
use super::process::Process;
use super::{free_port, wait_for};

pub struct Redis {
    pub port: u16,
    pub folder: TempDir,
    arguments: Vec<String>,
    process: Process,
}

impl Redis {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts it with additional arguments, in which `{folder}` is the temporary folder.
    pub async fn start_with(more: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let fixed = format!(
            "--port {port} --bind 127.0.0.1 --save --appendonly no --dir {{folder}} --unixsocket {{folder}}/redis.sock"
        );
        let path = folder.path().display().to_string();
        let fixed = fixed.split(' ').map(str::to_owned).collect::<Vec<_>>();
        // An empty `--save`, so that nothing is written to disk.
        let fixed = fixed.into_iter().flat_map(|word| {
            if word == "--save" {
                vec![word, String::new()]
            } else {
                vec![word]
            }
        });
        let arguments: Vec<_> = fixed
            .chain(more.iter().map(|&word| word.to_owned()))
            .map(|word| word.replace("{folder}", &path))
            .collect();
        let process = Self::spawn(&arguments, &folder);
        let mut server = Self {
            port,
            folder,
            arguments,
            process,
        };
        server.up().await;
        server
    }

    fn spawn(arguments: &[String], folder: &TempDir) -> Process {
        Process::start(
            "redis",
            Command::new("redis-server").args(arguments),
            folder.path(),
        )
    }

    async fn up(&mut self) {
        let port = self.port;
        wait_for("redis", 20, async || {
            TcpStream::connect(("127.0.0.1", port))
                .await
                .map(drop)
                .map_err(|e| e.to_string())
        })
        .await;
        self.process.must_run();
    }

    pub fn url(&self, database: u8) -> String {
        format!("redis://127.0.0.1:{}/{database}", self.port)
    }

    /// Creates the user of [`Self::url_of_user`], or changes its permissions.
    pub async fn user(&self, rules: &[&str]) {
        let mut user = redis::cmd("ACL");
        user.arg("SETUSER")
            .arg("mon")
            .arg("on")
            .arg(">pw")
            .arg(rules);
        let made = user.exec_async(&mut self.connection().await).await;
        made.expect("redis answers");
    }

    pub fn url_of_user(&self, database: u8) -> String {
        format!("redis://mon:pw@127.0.0.1:{}/{database}", self.port)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub fn stop(&mut self) {
        self.process.kill();
    }

    pub async fn start_again(&mut self) {
        self.process = Self::spawn(&self.arguments, &self.folder);
        self.up().await;
    }

    /// Publishes messages unchanged on the channel of the event exchange.
    pub async fn publish<'a>(&self, messages: impl IntoIterator<Item = &'a [u8]>) {
        let mut pipe = redis::pipe();
        for message in messages {
            pipe.cmd("PUBLISH")
                .arg("/0.celeryev/task.multi")
                .arg(message)
                .ignore();
        }
        pipe.query_async::<()>(&mut self.connection().await)
            .await
            .expect("redis answers");
    }

    /// Publishes the four events of each task, one per message.
    pub async fn publish_lives(&self, tasks: Range<u64>, name: &str) {
        let lives = tasks.flat_map(|n| life(n, name, 1_795_344_000.0));
        let messages: Vec<String> = lives.map(|body| envelope(&body)).collect();
        self.publish(messages.iter().map(String::as_bytes)).await;
    }

    /// Returns the number of clients with a subscription.
    pub async fn subscribers(&self) -> usize {
        let mut connection = self.connection().await;
        let clients: String = redis::cmd("CLIENT")
            .arg("LIST")
            .query_async(&mut connection)
            .await
            .expect("redis answers");
        let subscribed = |line: &&str| !(line.contains(" sub=0 ") && line.contains(" psub=0 "));
        clients.lines().filter(subscribed).count()
    }

    pub async fn connection(&self) -> redis::aio::MultiplexedConnection {
        connect(&redis::Client::open(self.url(0)).expect("a URL")).await
    }
}

/// Connects with timeouts for a busy machine, on which the usual half a second is too short.
pub async fn connect(client: &redis::Client) -> redis::aio::MultiplexedConnection {
    let timeout = Some(Duration::from_secs(20));
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(timeout)
        .set_response_timeout(timeout);
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    connecting.await.expect("redis answers")
}
