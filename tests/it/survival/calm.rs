//! All kinds of delivery without faults, as the baseline for the other tests.

use super::{Agent, each_message_once, exact};
use crate::support::cluster::Cluster;
use crate::support::load::{Confirmed, Way, burst};
use crate::support::prometheus::Prometheus;
use crate::support::rabbitmq::{Options, RabbitMq, Release};

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_delivery_counts_what_was_told_on_each_rabbitmq() {
    for release in Release::BOTH {
        for delivery in ["transient", "durable", "stream"] {
            let rabbitmq = RabbitMq::start_as(Options::of(release)).await;
            let prometheus = Prometheus::start().await;
            let keys = format!("delivery: {delivery}");
            let agent = Agent::new(&rabbitmq.url(""), &keys).pushing_to(prometheus.write_url());
            let celeriac = agent.start().await;
            celeriac.ready().await;
            let mut cluster = Cluster::new(8, fastrand::u64(..));
            let mut way = Way::RabbitMq(Confirmed::new(&rabbitmq.url("")));
            burst(&mut cluster, &mut way, 10_000).await;
            let told = &cluster.told;
            println!("{release:?}, {delivery}: {} events", told.total());
            celeriac
                .page_when("all events", 60, |page| {
                    page.events() == told.total() as f64
                })
                .await;
            exact(&prometheus, told, 30).await;
            let page = celeriac.page().await;
            each_message_once(&page, told);
            assert_eq!(super::duplicates(&page), 0.0);
        }
    }
}
