//! What is declared on RabbitMQ, and what is not: each promise of `docs/rabbitmq.md`.

mod cut;
mod declared;
mod kept;
mod permissions;
mod shards;

use super::support::celeriac::{Celeriac, Page};
use super::support::wait_for;

/// Waits until `/-/ready` shows a reason that contains all the given strings, and checks that the log has them too.
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
