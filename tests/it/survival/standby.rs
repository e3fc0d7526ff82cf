//! Two daemons with one folder: one works, the other stands by until it stops.

use std::time::{Duration, Instant};

use super::{Agent, each_message_once, exact};
use crate::support::celeriac::Celeriac;
use crate::support::cluster::Cluster;
use crate::support::load::{Confirmed, Load, Way};
use crate::support::prometheus::Prometheus;
use crate::support::rabbitmq::RabbitMq;
use crate::support::wait_for;

/// Waits until it reports that it is standing by.
async fn stands_by(celeriac: &Celeriac) {
    wait_for("the second to stand by", 20, async || {
        match celeriac.get("/-/ready").await {
            (503, reasons) if reasons.contains("standing by") => Ok(()),
            other => Err(format!("{other:?}\n{}", celeriac.process.output())),
        }
    })
    .await;
    assert_eq!(celeriac.get("/-/healthy").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_daemon_takes_over_with_the_first_ones_checkpoint() {
    let (rabbitmq, prometheus) = (RabbitMq::start().await, Prometheus::start().await);
    let agent = Agent::new(&rabbitmq.url(""), "delivery: durable");
    let agent = agent.pushing_to(prometheus.write_url());
    let mut works = agent.start().await;
    works.ready().await;
    let mut waits = agent.start().await;
    stands_by(&waits).await;
    let way = Way::RabbitMq(Confirmed::new(&rabbitmq.url("")));
    let load = Load::start(Cluster::new(4, fastrand::u64(..)), way, 2_000.0);
    for crash in [true, false, true] {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(2_000..6_000))).await;
        if crash {
            works.process.kill();
        } else {
            assert!(works.terminate().success());
        }
        let gone = Instant::now();
        waits.ready().await;
        println!("took over after {:?}", gone.elapsed());
        works = waits;
        waits = agent.start().await;
        stands_by(&waits).await;
    }
    let (told, _) = load.end().await;
    exact(&prometheus, &told, 60).await;
    each_message_once(&works.page().await, &told);
    // A standby daemon stops on request.
    assert!(waits.terminate().success());
}
