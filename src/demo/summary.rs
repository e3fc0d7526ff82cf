//! The demo's output: the URLs of its pages, then a summary every few seconds.
#![expect(clippy::print_stdout, reason = "the output of the demo")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::receiver::Received;
use crate::series::{Snapshot, Value};

/// Prints the parts that are running and the pages to open.
pub(super) fn greet(address: SocketAddr, receiver: &Url) {
    println!(
        "\
celeriac demo: a simulated Celery cluster with 3 workers and an in-process receiver.

  http://{address}/metrics     all series as Prometheus scrapes them, such as celery_task_succeeded_total
  http://{address}/-/ready     whether brokers and receivers are working, and if not, why

All series are pushed by remote write to {receiver} every second.
Press Ctrl-C to stop. For your own cluster: celeriac run --broker URL --remote-write URL
"
    );
}

/// Prints a summary at each interval.
pub(super) async fn run(
    snapshots: watch::Receiver<Arc<Snapshot>>,
    received: Arc<Received>,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(interval);
    // The first tick is immediate, when there is nothing to report yet.
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

/// Prints the final summary.
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

/// Sums the series of a family, or only those with a given label.
fn sum(snapshot: &Snapshot, family: &str, label: Option<(&str, &str)>) -> f64 {
    let rows = snapshot.rows.iter().filter(|row| {
        let labelled = label.is_none_or(|label| row.info.labels.iter().any(|own| own == label));
        labelled && *snapshot.family(row).name == *family
    });
    // An empty `sum()` would be -0.
    rows.fold(0.0, |sum, row| match row.value {
        Value::Number(number) => sum + number,
        Value::Histogram(_) => sum,
    })
}
