//! A durable queue deletes the messages that a checkpoint contains, and no others.

use std::fs;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};

use super::messages;
use crate::support::amqp::Publisher;
use crate::support::celeriac::Page;
use crate::support::events::life;
use crate::support::rabbitmq::{Options, RabbitMq, Release};
use crate::support::wait_for;
use crate::survival::Agent;

/// Waits until the broker counts this many messages in the queue, including delivered ones.
async fn queued(rabbitmq: &RabbitMq, count: usize) {
    wait_for(&format!("{count} messages in the queue"), 30, async || {
        let text = rabbitmq.ctl(&["--quiet", "list_queues", "messages", "--no-table-headers"]);
        if text.trim() == count.to_string() {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_acknowledged_when_a_checkpoint_has_it_and_not_before() {
    let rabbitmq = RabbitMq::start().await;
    let publisher = Publisher::new(&rabbitmq.url("")).await;
    let agent = Agent::new(&rabbitmq.url(""), "delivery: durable");
    let mut celeriac = agent.start().await;
    celeriac.ready().await;
    // A folder at this path prevents creating the file.
    let obstacle = agent.data.path().join("checkpoint.new");
    wait_for("the obstacle", 5, async || {
        fs::create_dir(&obstacle).map_err(|error| error.to_string())
    })
    .await;
    for body in (0..25).flat_map(|n| life(n, "t", 1_795_344_000.0)) {
        publisher.publish(body.as_bytes()).await;
    }
    let failures = |page: &Page| page.sum("celeriac_checkpoint_failures_total", &[]);
    queued(&rabbitmq, 100).await;
    let before = failures(&celeriac.page().await);
    celeriac
        .page_when("two more to fail", 20, |page| {
            failures(page) >= before + 2.0
        })
        .await;
    queued(&rabbitmq, 100).await;
    fs::remove_dir(&obstacle).expect("an empty folder");
    queued(&rabbitmq, 0).await;
    assert!(celeriac.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_stays_however_often_it_was_delivered() {
    for release in Release::BOTH {
        let rabbitmq = RabbitMq::start_as(Options::of(release)).await;
        let agent = Agent::new(&rabbitmq.url(""), "delivery: durable");
        let mut celeriac = agent.start().await;
        celeriac.ready().await;
        assert!(celeriac.terminate().success());
        let url = rabbitmq.url("");
        let publisher = Publisher::new(&url).await;
        let bodies = life(1, "t", 1_795_344_000.0);
        for body in &bodies {
            publisher.publish(body.as_bytes()).await;
        }
        // RabbitMQ 4 has a limit of 20.
        for time in 0..25 {
            let connecting = Connection::connect(&url, ConnectionProperties::default());
            let connection = connecting.await.expect("a broker");
            let channel = connection.create_channel().await.expect("a channel");
            let options = BasicConsumeOptions::default();
            let consumer = channel.basic_consume(
                "celeriac.main".into(),
                "".into(),
                options,
                FieldTable::default(),
            );
            let mut consumer = consumer.await.expect("a consumer");
            for body in &bodies {
                let delivery = tokio::time::timeout(Duration::from_secs(10), consumer.next());
                let Ok(Some(Ok(delivery))) = delivery.await else {
                    panic!("{release:?}: gone after {time} deliveries");
                };
                assert_eq!(delivery.data, body.as_bytes(), "{release:?}: the order");
            }
            connection.close(200, "".into()).await.expect("an answer");
        }
        let mut celeriac = agent.start().await;
        celeriac
            .page_when("the four", 20, |page| messages(page) == 4.0)
            .await;
        assert!(celeriac.terminate().success());
    }
}
