//! Publishes bursts on Redis as fast as it accepts them, beside busy processes, and shows how much of each is counted.
//!
//! `cargo bench --bench bursts -- [RUNS] [BUSY PROCESSES]`. Redis closes the connection of a subscriber that it has to buffer
//! more than 32 MB for, so whatever delays reading loses events. Budget: every event of 20 bursts, beside two busy processes.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "measures time")]

#[path = "../it/support/mod.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the integration tests use the rest"
)]
#[expect(clippy::panic, clippy::needless_collect, reason = "fit for tests")]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::Instant;

use support::celeriac::Celeriac;
use support::events::{envelope, life};
use support::redis::Redis;

const TASKS: u64 = 60_000;
const EVENTS: f64 = 4.0 * TASKS as f64;

#[tokio::main]
async fn main() {
    // `cargo bench` passes its own arguments, and so does `cargo test --benches`: then nothing is measured.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<u64>().ok());
    let runs = numbers.next().unwrap_or(20);
    let busy = numbers.next().unwrap_or(2);
    // They run until the end.
    let mut processes = Vec::new();
    processes.resize_with(usize::try_from(busy).expect("a few"), Busy::start);
    let burst = burst();
    println!(
        "bursts of {EVENTS} events, {} MiB, beside {busy} busy processes",
        burst.len() >> 20
    );
    let mut whole = 0;
    for run in 1..=runs {
        whole += u64::from(measure(run, &burst).await);
    }
    println!("{whole} of {runs} bursts were counted to the last event");
}

/// Returns whether every event was counted.
async fn measure(run: u64, burst: &[u8]) -> bool {
    let redis = Redis::start().await;
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {:?}}}]\n", redis.url(0))).await;
    celeriac.ready().await;
    let start = Instant::now();
    publish(redis.port, burst);
    let published = start.elapsed();
    let page = celeriac
        .page_when("the burst to end", 60, |page| {
            let is_cut = page.sum("celeriac_broker_reconnects_total", &[]) > 0.0;
            page.events() >= EVENTS || (is_cut && start.elapsed().as_secs() > 20)
        })
        .await;
    let sum = |name: &str| page.sum(name, &[]);
    println!(
        "{run}: {:.2} % counted, published in {published:.1?}, all done after {:.1?}, {} dropped, {} missing, {} cuts, {} MiB",
        page.events() / EVENTS * 100.0,
        start.elapsed(),
        sum("celeriac_messages_dropped_total"),
        sum("celeriac_events_missing_total"),
        sum("celeriac_broker_reconnects_total"),
        celeriac.resident() >> 20
    );
    page.events() >= EVENTS
}

/// The commands that publish each event in a message of its own.
fn burst() -> Vec<u8> {
    let mut commands = Vec::new();
    for event in (0..TASKS).flat_map(|n| life(n, "burst.task", 1_795_344_000.0)) {
        let envelope = envelope(&event);
        let channel = "/0.celeryev/task.multi";
        let head = format!(
            "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${}\r\n",
            channel.len(),
            envelope.len()
        );
        commands.extend_from_slice(head.as_bytes());
        commands.extend_from_slice(envelope.as_bytes());
        commands.extend_from_slice(b"\r\n");
    }
    commands
}

/// Writes all commands without waiting, and reads the replies meanwhile.
fn publish(port: u16, commands: &[u8]) {
    let mut writer = TcpStream::connect(("127.0.0.1", port)).expect("Redis listens");
    let mut reader = writer.try_clone().expect("a socket");
    let reading = std::thread::spawn(move || {
        let (mut replies, mut chunk) = (0, vec![0; 64 << 10]);
        while (replies as f64) < EVENTS {
            let read = reader.read(&mut chunk).expect("replies");
            assert!(read > 0, "Redis closed the publisher's connection");
            replies += chunk[..read].iter().filter(|byte| **byte == b'\n').count();
        }
    });
    writer.write_all(commands).expect("Redis reads");
    reading.join().expect("all replies");
}

/// A process that uses as much CPU time as it gets.
struct Busy(Child);

impl Busy {
    fn start() -> Self {
        let child = Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn();
        Self(child.expect("a shell"))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
