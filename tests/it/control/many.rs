//! A round over hundreds of queues and workers.

use super::*;

/// The recorded replies of the busy worker to a command, repeated under other names.
fn simulated_replies(method: &str) -> Vec<String> {
    let recorded = include_str!("../../golden/pidbox/amqp-pidbox.jsonl");
    let mut asked = String::new();
    let mut reply = None;
    for line in recorded.lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let body = row["body"].as_str().expect("a body");
        if row["dir"] == "request" {
            let request: serde_json::Value = serde_json::from_str(body).expect("JSON");
            asked = request["method"].as_str().expect("a method").to_owned();
        } else if asked == method && body.starts_with(r#"{"w1@vm""#) {
            reply = Some(body.to_owned());
        }
    }
    // The busy worker has no scheduled task, and none with a rate limit.
    let reply = reply.unwrap_or_else(|| r#"{"w1@vm": []}"#.to_owned());
    (0..WORKERS)
        .map(|n| reply.replacen("w1@vm", &simulated(n), 1))
        .collect()
}

fn simulated(n: usize) -> String {
    format!("celery@worker-{n:03}")
}

/// The command, the ticket and the key to reply to.
fn request(body: &[u8]) -> (String, String, String) {
    let request: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let key = text(&request["reply_to"]["routing_key"]);
    (text(&request["method"]), text(&request["ticket"]), key)
}

pub(super) async fn simulate_on_rabbitmq(url: String) {
    let connection = Connection::connect(&url, ConnectionProperties::default())
        .await
        .expect("a broker");
    let channel = connection.create_channel().await.expect("a channel");
    let (exchange, queue, table) = ("celery.pidbox", "simulated", FieldTable::default);
    let options = ExchangeDeclareOptions::default();
    let declared =
        channel.exchange_declare(exchange.into(), ExchangeKind::Fanout, options, table());
    declared.await.expect("an exchange");
    let options = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(queue.into(), options, table());
    declared.await.expect("a queue");
    let options = QueueBindOptions::default();
    let bound = channel.queue_bind(queue.into(), exchange.into(), "".into(), options, table());
    bound.await.expect("a binding");
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let consumer = channel.basic_consume(queue.into(), "".into(), options, table());
    let mut consumer = consumer.await.expect("a consumer");
    while let Some(Ok(delivery)) = consumer.next().await {
        let (method, ticket, key) = request(&delivery.data);
        let mut headers = FieldTable::default();
        headers.insert("ticket".into(), AMQPValue::LongString(ticket.into()));
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_headers(headers);
        for reply in simulated_replies(&method) {
            let options = BasicPublishOptions::default();
            let (key, properties) = (key.as_str().into(), properties.clone());
            let sent = channel.basic_publish("".into(), key, options, reply.as_bytes(), properties);
            sent.await.expect("a broker");
        }
    }
}

async fn simulate_on_redis(url: String) {
    let client = redis::Client::open(url).expect("a URL");
    let mut pubsub = client.get_async_pubsub().await.expect("redis answers");
    pubsub
        .subscribe("/0.celery.pidbox")
        .await
        .expect("a subscription");
    let mut connection = connect(&client).await;
    let mut messages = pubsub.into_on_message();
    while let Some(message) = messages.next().await {
        let envelope: serde_json::Value =
            serde_json::from_slice(message.get_payload_bytes()).expect("JSON");
        let body = envelope["body"].as_str().expect("a body");
        let (method, ticket, key) = request(&STANDARD.decode(body).expect("base64"));
        let mut pipe = redis::pipe();
        for reply in simulated_replies(&method) {
            let envelope = serde_json::json!({
                "body": STANDARD.encode(reply), "content-type": "application/json", "content-encoding": "utf-8",
                "headers": {"ticket": ticket, "clock": 1}, "properties": {"body_encoding": "base64"},
            });
            pipe.lpush(&key, envelope.to_string()).ignore();
        }
        pipe.exec_async(&mut connection)
            .await
            .expect("redis answers");
    }
}

/// Measures one broker: how long rounds took, and by how much the process grew.
async fn poll_many(broker: &str, url: &str) {
    let known = PollTargets {
        queues: names((0..QUEUES).map(|n| format!("queue-{n:03}"))),
        workers: names((0..WORKERS).map(simulated)),
        events_arrive: true,
        ..PollTargets::default()
    };
    let before = resident(std::process::id());
    let keys = format!("url: {url:?}, queue_interval: 1s, control_interval: 1s");
    let mut polling = Polling::start_knowing(&keys, known);
    let everybody = |workers: &[WorkerAnswer]| {
        let complete = |worker: &WorkerAnswer| {
            worker.pool_size == Some(2)
                && worker.queues.is_some()
                && worker.active.as_ref().is_some_and(|tasks| tasks.len() == 2)
                && worker.reserved.is_some()
        };
        workers.len() == WORKERS && workers.iter().all(complete)
    };
    let (mut queues, mut control) = (0.0_f64, 0.0_f64);
    for _ in 0..3 {
        polling.workers("all workers", 30, everybody).await;
        control = control.max(polling.metrics.control.duration.get());
        let levels = polling
            .queues("all queues", 30, |levels| levels.len() >= QUEUES)
            .await;
        assert_eq!(
            levels.iter().map(|level| level.length).sum::<u64>(),
            QUEUES as u64
        );
        queues = queues.max(polling.metrics.queues.duration.get());
    }
    let grown = resident(std::process::id()).saturating_sub(before);
    println!(
        "{broker}: {QUEUES} queues in {queues:.3} s, {WORKERS} workers in {control:.3} s at most, the process with its simulated workers grew by {:.1} MiB",
        grown as f64 / f64::from(1 << 20)
    );
    assert!(queues < 1.0 && control < 1.0, "{queues} {control}");
    // The promise is 20 MiB; the simulated workers in this process add to it.
    assert!(grown < 30 << 20, "{grown}");
    polling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_over_500_queues_and_200_workers_is_quick_and_small_on_rabbitmq() {
    let rabbitmq = RabbitMq::start().await;
    let publisher = Publisher::new(&rabbitmq.url("")).await;
    for n in 0..QUEUES {
        let name = format!("queue-{n:03}");
        let options = QueueDeclareOptions::default();
        let declared =
            publisher
                .channel
                .queue_declare(name.as_str().into(), options, FieldTable::default());
        declared.await.expect("a queue");
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        let sent = publisher.channel.basic_publish(
            "".into(),
            name.as_str().into(),
            options,
            b"x",
            properties,
        );
        sent.await.expect("a broker").await.expect("a confirm");
    }
    let simulating = tokio::spawn(simulate_on_rabbitmq(rabbitmq.url("")));
    poll_many("RabbitMQ", &rabbitmq.url("")).await;
    simulating.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_over_500_queues_and_200_workers_is_quick_and_small_on_redis() {
    let redis = Redis::start().await;
    let mut pipe = redis::pipe();
    for n in 0..QUEUES {
        pipe.lpush(format!("queue-{n:03}"), "x").ignore();
    }
    let mut connection = redis.connection().await;
    pipe.exec_async(&mut connection)
        .await
        .expect("redis answers");
    let simulating = tokio::spawn(simulate_on_redis(redis.url(0)));
    poll_many("Redis", &redis.url(0)).await;
    simulating.abort();
}
