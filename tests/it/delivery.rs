//! What RabbitMQ is told, and what it is not: the promises of `docs/rabbitmq.md`, one by one.

mod cut;
mod declared;
mod kept;
mod permissions;
mod shards;

use super::support::celeriac::{Celeriac, Page};
use super::support::wait_for;

/// Waits until `/-/ready` gives a reason that has all of some texts, and finds them in the log too.
async fn not_ready_because(celeriac: &Celeriac, texts: &[&str]) {
    wait_for(&format!("{texts:?}"), 15, async || {
        let (status, reasons) = celeriac.get("/-/ready").await;
        let because = |line: &str| texts.iter().all(|text| line.contains(text));
        if status == 503 && reasons.lines().any(because) {
            Ok(())
        } else {
            Err(reasons)
        }
    })
    .await;
    let log = celeriac.process.output();
    let warned = log.lines().any(|line| {
        line.contains("connection to broker failed") && texts.iter().all(|text| line.contains(text))
    });
    assert!(warned, "{log}");
}

fn messages(page: &Page) -> f64 {
    page.sum("celeriac_messages_total", &[])
}
