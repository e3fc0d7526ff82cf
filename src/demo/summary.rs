//! What the demo prints: what to open, and a few lines that move.
#![expect(clippy::print_stdout, reason = "this is what the demo is for")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::receiver::Received;
use crate::series::{Snapshot, Value};

/// Says what runs, what to open, and what to see there.
pub(super) fn greet(address: SocketAddr, receiver: &Url) {
    println!(
        "\
celeriac demo: a simulated Celery cluster with 3 workers, and a receiver in this process.

  http://{address}/metrics     all series, as Prometheus scrapes them; look for celery_task_succeeded_total
  http://{address}/-/ready     whether brokers and receivers work, and if not, why

All series are pushed by remote write to {receiver} every second.
Press Ctrl-C to stop. For your own cluster: celeriac run --broker URL --remote-write URL
"
    );
}

/// Prints a summary now and then.
pub(super) async fn run(
    snapshots: watch::Receiver<Arc<Snapshot>>,
    received: Arc<Received>,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(interval);
    // The first one is due at once, with nothing to tell yet.
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let snapshot = Arc::clone(&snapshots.borrow());
        println!("{}", lines(&snapshot, &received));
    }
}

/// The last words.
pub(super) fn part(received: &Received) {
    println!("stopped. {}", pushed(received));
}

fn lines(snapshot: &Snapshot, received: &Received) -> String {
    let task = |step: &str| sum(snapshot, &format!("celery_task_{step}_total"), None);
    let flying = |state: &str| sum(snapshot, "celery_tasks_in_flight", Some(("state", state)));
    format!(
        "events {:>6}   workers {} online   series {}\n\
         tasks  sent {}, succeeded {}, failed {}, retried {}   in flight: {} sent, {} received, {} started\n\
         {}\n",
        sum(snapshot, "celery_events_total", None),
        sum(snapshot, "celery_workers", Some(("state", "online"))),
        snapshot.rows.len(),
        task("sent"),
        task("succeeded"),
        task("failed"),
        task("retried"),
        flying("sent"),
        flying("received"),
        flying("started"),
        pushed(received),
    )
}

fn pushed(received: &Received) -> String {
    format!(
        "pushed   requests {}, samples {}, {} KiB, refused {}",
        received.requests.get(),
        received.samples.get(),
        received.bytes.get() / 1024,
        received.refused.get()
    )
}

/// The sum of a family, or of those of its series that have a label.
fn sum(snapshot: &Snapshot, family: &str, label: Option<(&str, &str)>) -> f64 {
    let rows = snapshot.rows.iter().filter(|row| {
        let labelled = label.is_none_or(|label| row.info.labels.iter().any(|own| own == label));
        labelled && *snapshot.family(row).name == *family
    });
    // A sum of nothing would be -0.
    rows.fold(0.0, |sum, row| match row.value {
        Value::Number(number) => sum + number,
        Value::Histogram(_) => sum,
    })
}
