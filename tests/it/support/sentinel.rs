//! A Redis master, its replica, and a sentinel that watches them.

use std::process::Command;

use tempfile::TempDir;

use super::process::Process;
use super::redis::Redis;
use super::{free_port, wait_for};

pub struct Sentinel {
    pub port: u16,
    /// The first one is the master initially.
    pub servers: [Redis; 2],
    _folder: TempDir,
    _process: Process,
}

impl Sentinel {
    /// Starts the three; the master is called `mymaster`.
    pub async fn start() -> Self {
        let master = Redis::start().await;
        let replica = Redis::start_with(&[
            "--replicaof",
            "127.0.0.1",
            &master.port.to_string(),
            "--repl-diskless-sync-delay",
            "0",
        ])
        .await;
        let folder = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let config = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor mymaster 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 6000\n",
            folder.path().display(),
            master.port
        );
        let file = folder.path().join("sentinel.conf");
        std::fs::write(&file, config).expect("a writable folder");
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel");
        let process = Process::start("sentinel", &mut command, folder.path());
        let sentinel = Self {
            port,
            servers: [master, replica],
            _folder: folder,
            _process: process,
        };
        sentinel.replica_in_step().await;
        sentinel
    }

    /// Waits until there is a replica that can be promoted.
    pub async fn replica_in_step(&self) {
        wait_for("the sentinel to know the replica", 40, async || {
            let replicas: Vec<redis::Value> = self.ask(&["replicas", "mymaster"]).await?;
            if replicas.is_empty() {
                return Err("none".to_owned());
            }
            // Only a replica that is in sync can be promoted.
            let link = format!("{replicas:?}");
            if link.contains("\"ok\"") {
                Ok(())
            } else {
                Err(link)
            }
        })
        .await;
    }

    pub fn url(&self, database: u8) -> String {
        format!("sentinel://127.0.0.1:{}/{database}", self.port)
    }

    /// Triggers a failover, and waits until there is another master.
    pub async fn fail_over(&self) {
        let old = self.master().await;
        wait_for("the failover to begin", 20, async || {
            self.ask::<()>(&["failover", "mymaster"]).await
        })
        .await;
        self.other_than(old).await;
    }

    /// Waits until the master has another port.
    pub async fn other_than(&self, old: u16) {
        wait_for("another master", 40, async || {
            let now = self.master().await;
            let server = self.servers.iter().find(|server| server.port == now);
            let server = server.ok_or("a stranger")?;
            let role: Vec<redis::Value> = query(server.port, redis::cmd("ROLE")).await?;
            let is_master = matches!(&role[0], redis::Value::BulkString(role) if role == b"master");
            if now != old && is_master {
                Ok(())
            } else {
                Err(format!("{now} {role:?}"))
            }
        })
        .await;
    }

    /// Returns the port of the master, according to the sentinel.
    pub async fn master(&self) -> u16 {
        let address: (String, u16) = self
            .ask(&["get-master-addr-by-name", "mymaster"])
            .await
            .expect("a master");
        address.1
    }

    async fn ask<T: redis::FromRedisValue>(&self, arguments: &[&str]) -> Result<T, String> {
        let mut command = redis::cmd("SENTINEL");
        command.arg(arguments);
        query(self.port, command).await
    }
}

async fn query<T: redis::FromRedisValue>(port: u16, command: redis::Cmd) -> Result<T, String> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).expect("a URL");
    let connecting = client.get_multiplexed_async_connection().await;
    let mut connection = connecting.map_err(|error| error.to_string())?;
    let answer = command.query_async(&mut connection).await;
    answer.map_err(|error| error.to_string())
}
