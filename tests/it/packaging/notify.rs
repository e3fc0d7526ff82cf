//! The notifications that systemd receives, from start to end.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::celeriac::Celeriac;
use crate::support::redis::Redis;
use crate::support::wait_for;

/// systemd's end: a datagram socket.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
    heard: Vec<String>,
}

impl Manager {
    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_nonblocking(true).expect("a socket's own mode");
        let heard = Vec::new();
        Self {
            socket,
            folder,
            heard,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// Starts a daemon with the environment variables of systemd, and a watchdog of one second.
    async fn start(&self, config: &str) -> Celeriac {
        let path = self.path().display().to_string();
        let environment = [
            ("NOTIFY_SOCKET", path.as_str()),
            ("WATCHDOG_USEC", "1000000"),
        ];
        Celeriac::start_with(config, &environment).await
    }

    /// Returns all messages so far.
    fn listen(&mut self) -> &[String] {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(count) => {
                    let text = String::from_utf8_lossy(&buffer[..count]);
                    self.heard.push(text.trim_end().to_owned());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return &self.heard,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits for a message after index `from`, and returns the index after it.
    async fn hear(&mut self, from: usize, what: impl Fn(&str) -> bool, name: &str) -> usize {
        wait_for(name, 20, async || {
            let heard = self.listen();
            let found = heard.iter().skip(from).position(|message| what(message));
            found
                .map(|at| from + at + 1)
                .ok_or_else(|| format!("{heard:#?}"))
        })
        .await
    }

    fn count(&mut self, message: &str) -> usize {
        self.listen()
            .iter()
            .filter(|heard| *heard == message)
            .count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_of_its_start_its_state_its_reloads_and_its_end() {
    let mut redis = Redis::start().await;
    redis.stop();
    let mut manager = Manager::new();
    let config = format!("brokers: [{{url: {:?}, name: main}}]\n", redis.url(0));
    let mut celeriac = manager.start(&config).await;

    // Before its broker is up.
    let at = manager.hear(0, |text| text == "READY=1", "the start").await;
    assert_eq!(at, 1, "{:#?}", manager.heard);
    let waits = |text: &str| {
        text.starts_with("STATUS=0 of 1 brokers and receivers work; broker main: ")
            && text.lines().count() == 1
    };
    let at = manager.hear(at, waits, "the status").await;
    redis.start_again().await;
    let works = |text: &str| text == "STATUS=1 of 1 brokers and receivers work";
    let at = manager.hear(at, works, "the broker").await;

    // Two keep-alives per period. On a busy machine, some may be late.
    let (beats, since) = (manager.count("WATCHDOG=1"), Instant::now());
    wait_for("beats", 20, async || {
        let more = manager.count("WATCHDOG=1") - beats;
        if more >= 6 {
            Ok(())
        } else {
            Err(format!("{more}"))
        }
    })
    .await;
    assert!(since.elapsed() > Duration::from_millis(2_400), "too many");

    celeriac.process.signal(Signal::HUP);
    let reloads = |text: &str| {
        let mut lines = text.lines();
        let time = |line: &str| line.strip_prefix("MONOTONIC_USEC=")?.parse::<u64>().ok();
        lines.next() == Some("RELOADING=1") && lines.next().and_then(time).is_some()
    };
    let at = manager.hear(at, reloads, "the reload").await;
    let at = manager.hear(at, |text| text == "READY=1", "its end").await;

    assert!(celeriac.terminate().success());
    let stops = |text: &str| text == "STOPPING=1\nSTATUS=stopping";
    let at = manager.hear(at, stops, "the end").await;
    let after: Vec<_> = manager.listen()[at..].to_vec();
    assert!(after.iter().all(|text| text == "WATCHDOG=1"), "{after:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stands_by_is_up_and_beats() {
    let redis = Redis::start().await;
    let data = TempDir::new().expect("a temporary folder");
    let config = format!(
        "data_dir: {:?}\nbrokers: [{{url: {:?}}}]\n",
        data.path(),
        redis.url(0)
    );
    let mut first = Celeriac::start(&config).await;
    let mut manager = Manager::new();
    let mut second = manager.start(&config).await;
    let stands_by = "READY=1\nSTATUS=standing by: data_dir is in use by another daemon";
    let at = manager.hear(0, |text| text == stands_by, "the start").await;
    let at = manager
        .hear(at, |text| text == "WATCHDOG=1", "a beat")
        .await;

    assert!(first.terminate().success());
    let works = |text: &str| text == "STATUS=1 of 1 brokers and receivers work";
    let at = manager.hear(at, works, "its turn").await;
    manager
        .hear(at, |text| text == "WATCHDOG=1", "a beat")
        .await;
    assert!(second.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_stands_still_stops_beating() {
    let mut manager = Manager::new();
    let config = "brokers: [{url: 'redis://127.0.0.1:1'}]\n";
    let celeriac = manager.start(config).await;
    manager.hear(0, |text| text == "WATCHDOG=1", "a beat").await;
    celeriac.process.signal(Signal::STOP);
    let before = manager.count("WATCHDOG=1");
    tokio::time::sleep(Duration::from_secs(2)).await;
    // One may have been in flight.
    assert!(manager.count("WATCHDOG=1") <= before + 1);
    celeriac.process.signal(Signal::CONT);
    let at = manager.heard.len();
    manager
        .hear(at, |text| text == "WATCHDOG=1", "the next")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_socket_nothing_is_told() {
    let mut manager = Manager::new();
    let config = "brokers: [{url: 'redis://127.0.0.1:1'}]\n";
    let mut celeriac = Celeriac::start_with(config, &[("WATCHDOG_USEC", "200000")]).await;
    celeriac.process.signal(Signal::HUP);
    wait_for("the reload", 20, async || {
        let output = celeriac.process.output();
        let done = output.contains("configuration reloaded");
        if done { Ok(()) } else { Err(output) }
    })
    .await;
    assert!(celeriac.terminate().success());
    assert_eq!(manager.listen(), [] as [String; 0]);
    let output = celeriac.process.output();
    assert!(!output.contains("service manager"), "{output}");
}
