//! The demo's output: the URLs of its pages, then a summary every few seconds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::output;
use crate::series::{Snapshot, Value};

/// How often the summary is printed.
const INTERVAL: Duration = Duration::from_secs(2);

/// Prints what is running, and what to look at.
pub(super) fn greet(address: SocketAddr, targets: &str) {
    say(&format!(
        "\
celeriac demo: a simulated shop with 4 Celery workers, in this process.

  http://{address}/           the status page: open it first
  http://{address}/metrics    all series, as Prometheus scrapes them
  http://{address}/-/ready    whether brokers and receivers are working, and if not, why

Pushing to {targets} every second.

What to look at:
  after 20 s     150 photos are uploaded at once: celery_queue_length{{queue=\"media\"}} rises and drains
  after 60 s     the worker media@images-2 is killed for 45 s: celery_worker_up drops to 0, the queue drains slowly
  all the time   cards are declined: celery_task_failed_total{{name=\"shop.payments.charge_card\"}}
  last night     a report ran at 02:00 UTC: celery_task_last_timestamp_seconds{{name=\"shop.reports.nightly_sales\"}}

Press Ctrl-C to stop. For your own cluster: celeriac run --broker URL
"
    ));
}

/// Prints a summary at each interval, until dropped.
pub(super) async fn run(snapshots: watch::Receiver<Arc<Snapshot>>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    // The first tick is immediate, when there is nothing to report yet.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let snapshot = Arc::clone(&snapshots.borrow());
        say(&lines(&snapshot));
    }
}

/// Prints the final summary.
pub(super) fn part(snapshot: &Snapshot) {
    say(&format!("stopped. {}", pushed(snapshot)));
}

/// Prints a text. The demo goes on if nobody reads it.
fn say(text: &str) {
    let _ = output::put(format!("{text}\n").as_bytes());
}

fn lines(snapshot: &Snapshot) -> String {
    let task = |step: &str| sum(snapshot, &format!("celery_task_{step}_total"), None);
    let in_flight = |state: &str| sum(snapshot, "celery_tasks_in_flight", Some(("state", state)));
    format!(
        "events {:>6}   workers {} online   series {}\n\
         tasks  sent {}, succeeded {}, failed {}, retried {}   waiting in queues {}, running {}\n\
         {}\n",
        sum(snapshot, "celery_events_total", None),
        sum(snapshot, "celery_workers", Some(("state", "online"))),
        snapshot.rows.len(),
        task("sent"),
        task("succeeded"),
        task("failed"),
        task("retried"),
        sum(snapshot, "celery_queue_length", None),
        in_flight("started"),
        pushed(snapshot),
    )
}

fn pushed(snapshot: &Snapshot) -> String {
    let samples = |what: &str| {
        let family = format!("celeriac_remote_storage_samples{what}_total");
        sum(snapshot, &family, None)
    };
    let pushes = sum(
        snapshot,
        "celeriac_pushes_total",
        Some(("outcome", "delivered")),
    );
    let text = format!(
        "pushed samples {}, refused {}",
        samples(""),
        samples("_failed")
    );
    if pushes > 0.0 {
        format!("{text}; to the Pushgateway {pushes} times")
    } else {
        text
    }
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
