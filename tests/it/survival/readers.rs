//! Two daemons that read one stream.

use std::time::Duration;

use super::{Agent, counted, each_message_once};
use crate::support::cluster::Cluster;
use crate::support::load::{Confirmed, Load, Way};
use crate::support::rabbitmq::{Options, RabbitMq, Release};
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread")]
async fn two_readers_of_one_stream_agree_on_every_counter_and_bucket() {
    for release in Release::BOTH {
        let rabbitmq = RabbitMq::start_as(Options::of(release)).await;
        let agents = ["a", "b"].map(|replica| Agent {
            replica,
            ..Agent::new(&rabbitmq.url(""), "delivery: stream")
        });
        let steady = agents[0].start().await;
        let mut killed = agents[1].start().await;
        steady.ready().await;
        killed.ready().await;
        let way = Way::RabbitMq(Confirmed::new(&rabbitmq.url("")));
        let load = Load::start(Cluster::new(5, fastrand::u64(..)), way, 2_000.0);
        tokio::time::sleep(Duration::from_millis(6_500)).await;
        killed.process.kill();
        tokio::time::sleep(Duration::from_secs(1)).await;
        killed = agents[1].start().await;
        let (told, _) = load.end().await;
        let events = told.total() as f64;
        steady
            .page_when("all events", 30, |page| page.events() == events)
            .await;
        wait_for("the two to agree", 30, async || {
            let pages = [counted(&steady.page().await), counted(&killed.page().await)];
            let differ = |(line, value): &(&String, &f64)| {
                // Sums add the same values in the same order, so they are identical bit by bit.
                pages[1].get(*line) != Some(*value)
            };
            let differences: Vec<_> = pages[0].iter().filter(differ).collect();
            if differences.is_empty() && pages[0].len() == pages[1].len() {
                Ok(())
            } else {
                Err(format!("{release:?}: {differences:?}"))
            }
        })
        .await;
        for celeriac in [&steady, &killed] {
            each_message_once(&celeriac.page().await, &told);
        }
    }
}
