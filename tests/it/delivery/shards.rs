//! How the broker divides events among shards.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};

use crate::support::cluster::Cluster;
use crate::support::load::{Confirmed, Way, burst};
use crate::support::rabbitmq::{Options, RabbitMq, Release};
use crate::survival::Agent;

/// The contents of a queue: the bodies of task-sent events, and the workers with events in it.
#[derive(Default)]
struct Share {
    sent: BTreeMap<Vec<u8>, usize>,
    workers: BTreeSet<Vec<u8>>,
    messages: usize,
}

async fn share(rabbitmq: &RabbitMq, queue: &str) -> Share {
    let url = rabbitmq.url("");
    let connecting = Connection::connect(&url, ConnectionProperties::default());
    let connection = connecting.await.expect("a broker");
    let channel = connection.create_channel().await.expect("a channel");
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let nothing = FieldTable::default();
    let declared = channel.queue_declare(queue.into(), passive, nothing.clone());
    let messages = declared.await.expect("the queue").message_count();
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(queue.into(), "".into(), options, nothing);
    let mut consumer = consumer.await.expect("a consumer");
    let mut share = Share::default();
    for _ in 0..messages {
        let message = consumer
            .next()
            .await
            .expect("a message")
            .expect("an answer");
        share.messages += 1;
        if message.routing_key.as_str() == "task.sent" {
            *share.sent.entry(message.data.clone()).or_default() += 1;
            continue;
        }
        let headers = message.properties.headers().as_ref().expect("headers");
        match headers.inner().get("hostname") {
            Some(AMQPValue::LongString(name)) => share.workers.insert(name.as_bytes().to_vec()),
            other => panic!("{other:?}"),
        };
    }
    share
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workers_events_go_to_one_shard_and_each_task_sent_to_all_once() {
    let rabbitmq = RabbitMq::start_as(Options::of(Release::Debian)).await;
    for index in 0..2 {
        let keys = format!("delivery: durable, shard: {{index: {index}, count: 2}}");
        let mut celeriac = Agent::new(&rabbitmq.url(""), &keys).start().await;
        celeriac.ready().await;
        assert!(celeriac.terminate().success());
    }
    let mut cluster = Cluster::new(12, fastrand::u64(..));
    let mut way = Way::RabbitMq(Confirmed::new(&rabbitmq.url("")));
    burst(&mut cluster, &mut way, 2_000).await;
    let shares = [
        share(&rabbitmq, "celeriac.main.0-of-2").await,
        share(&rabbitmq, "celeriac.main.1-of-2").await,
    ];
    let [first, second] = &shares;
    assert!(
        first.workers.is_disjoint(&second.workers),
        "a worker is in both"
    );
    assert_eq!(first.workers.len() + second.workers.len(), 12);
    assert!(shares.iter().all(|share| !share.workers.is_empty()));
    assert_eq!(first.sent, second.sent);
    assert!(first.sent.values().all(|times| *times == 1));
    assert_eq!(first.sent.len() as u64, cluster.told.of("task-sent"));
    let messages = first.messages + second.messages - second.sent.len();
    assert_eq!(messages as u64, cluster.told.messages);
}
