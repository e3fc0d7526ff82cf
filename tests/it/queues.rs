//! The lengths of queues, on real brokers.

use celeriac::state::PollTargets;
use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use rustix::process::Signal;

use super::support::celeriac::{Celeriac, Page};
use super::support::celery::Celery;
use super::support::polling::{Polling, length_unacked, level, names};
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;
use super::support::wait_for;

async fn channel(rabbitmq: &RabbitMq) -> (Connection, Channel) {
    let connection = Connection::connect(&rabbitmq.url(""), ConnectionProperties::default())
        .await
        .expect("a broker");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}

/// Declares a durable queue and publishes some messages to it.
async fn queue(channel: &Channel, name: &str, kind: &str, messages: usize) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(name.into(), options, arguments)
        .await
        .expect("a queue");
    for _ in 0..messages {
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        channel
            .basic_publish("".into(), name.into(), options, b"x", properties)
            .await
            .expect("a broker");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_tells_classic_and_quorum_queues_and_a_missing_one_costs_nothing_else() {
    let rabbitmq = RabbitMq::start().await;
    let (connection, channel) = channel(&rabbitmq).await;
    queue(&channel, "classic", "classic", 3).await;
    queue(&channel, "quorum", "quorum", 2).await;
    queue(&channel, "zempty", "classic", 0).await;
    // An exclusive queue: querying it closes the channel too.
    let mine = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let (mine_name, arguments) = ("exclusive".into(), FieldTable::default());
    channel
        .queue_declare(mine_name, mine, arguments)
        .await
        .expect("a queue");
    let keys = format!(
        "url: {:?}, queues: [zempty, classic, missing1, missing2, exclusive], queue_interval: 1s",
        rabbitmq.url("")
    );
    let gone = (0..300).map(|n| format!("gone{n}"));
    let others = ["quorum", "missing3", "amq.gen-x", "celeryev.x"].map(str::to_owned);
    let known = PollTargets {
        queues: names(others.into_iter().chain(gone)),
        ..PollTargets::default()
    };
    let mut polling = Polling::start_knowing(&keys, known);
    let levels = polling
        .queues("all messages", 20, |levels| {
            length_unacked(levels, "classic").0 == 3 && length_unacked(levels, "quorum").0 == 2
        })
        .await;
    let found: Vec<_> = levels.iter().map(|level| level.queue.as_str()).collect();
    assert_eq!(found, ["classic", "quorum", "zempty"]);
    // Recorded when the round has ended, which is after its report.
    let took = wait_for("its duration", 5, async || {
        let took = polling.metrics.queues.duration.get();
        (took > 0.0).then_some(took).ok_or("not yet".to_owned())
    })
    .await;
    println!("3 queues among 300 that are gone: {took:.3} s, and 10 rounds without those");
    assert!(took < 2.0, "{took}");
    for level in &levels {
        assert_eq!(
            (level.unacked, level.consumers),
            (None, Some(0)),
            "{level:?}"
        );
    }

    // Consumers, and messages that they have not acknowledged, which are no longer ready.
    let mut consumers = Vec::new();
    for name in ["classic", "quorum"] {
        let consumer = channel.basic_consume(
            name.into(),
            name.into(),
            Default::default(),
            FieldTable::default(),
        );
        consumers.push(consumer.await.expect("a consumer"));
    }
    queue(&channel, "missing1", "classic", 1).await;
    let levels = polling
        .queues("consumers, and a queue that has come", 30, |levels| {
            let consumers = |queue| level(levels, queue).and_then(|level| level.consumers);
            consumers("classic") == Some(1)
                && consumers("quorum") == Some(1)
                && length_unacked(levels, "missing1").0 == 1
        })
        .await;
    assert_eq!(length_unacked(&levels, "classic").0, 0);
    assert_eq!(polling.metrics.queues.failures.get(), 0);
    polling.stop().await;
    drop((consumers, connection));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_redis_length_and_unacked_are_what_was_sent_and_not_acknowledged() {
    let redis = Redis::start().await;
    let options = r#"{"priority_steps": [0, 2, 4, 6, 8], "queue_order_strategy": "priority", "global_keyprefix": "pfx:"}"#;
    let quick = r#"[[4, 0, {"queue": "celery"}]]"#;
    let send = r#"[
        [3, 300, {"queue": "celery"}], [3, 300, {"queue": "celery", "priority": 3}], [2, 300, {"queue": "celery", "priority": 9}],
        [5, 300, {"queue": "high", "priority": 4}], [4, 300, {"queue": "topicq", "routing_key": "t.x"}],
        [3, 300, {"queue": "nobody"}]]"#;
    for version in ["5.6", "5.7"] {
        let celery = Celery::new(version, &redis.url(2), "")
            .with("OPTIONS", options)
            .with("SEND", send);
        // One task at a time, and three prefetched per queue.
        let mut worker = celery
            .worker_of(
                "polled",
                "w1",
                &["-c", "1", "--prefetch-multiplier", "6", "-P", "threads"],
            )
            .await;
        let keys = format!(
            "url: {:?}, global_keyprefix: 'pfx:', priority_steps: [0, 2, 4, 6, 8], queue_interval: 1s",
            redis.url(2)
        );
        let mut polling = Polling::start(&keys);
        // These are acknowledged before the worker gets anything else: after a long task they would have to wait.
        celery.script_with("send.py", 30, &[("SEND", quick)]).await;
        wait_for("the quick ones to succeed", 30, async || {
            let output = worker.output();
            let succeeded = output.matches("succeeded in").count();
            if succeeded == 4 { Ok(()) } else { Err(output) }
        })
        .await;
        celery.script("send.py", 30).await;
        let expected = [("celery", 8), ("high", 5), ("topicq", 4), ("nobody", 3)];
        let levels = polling
            .queues("all that was sent", 30, |levels| {
                let sum = |queue| {
                    let (length, unacked) = length_unacked(levels, queue);
                    length + unacked
                };
                let prefetched: u64 = levels.iter().filter_map(|level| level.unacked).sum();
                expected.iter().all(|(queue, sent)| sum(queue) == *sent) && prefetched == 6
            })
            .await;
        assert_eq!(length_unacked(&levels, "nobody"), (3, 0));
        let all: Vec<_> = levels.iter().map(|level| level.queue.as_str()).collect();
        assert_eq!(all, ["celery", "high", "nobody", "topicq"]);

        // The same for a user who may not run scripts, read in slices.
        let mut user = redis::cmd("ACL");
        user.arg("SETUSER")
            .arg("mon")
            .arg(&["on", ">pw", "~*", "&*", "+@all", "-eval", "-role"]);
        let mut connection = redis.connection().await;
        user.exec_async(&mut connection).await.expect("a user");
        let mut without = Polling::start(&keys.replace("redis://", "redis://mon:pw@"));
        let slices = without
            .queues("all that was sent, without scripts", 20, |_| true)
            .await;
        assert_eq!(slices, levels);
        without.stop().await;
        polling.stop().await;
        worker.signal(Signal::QUIT);
        worker.kill();
        let flush = redis::cmd("FLUSHALL").exec_async(&mut connection).await;
        flush.expect("redis answers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_unacknowledged_messages_are_counted_in_bounded_slices() {
    let redis = Redis::start().await;
    let mut connection = redis.connection().await;
    let message = |n: u64, queue: &str| {
        let body = "x".repeat(2_000);
        format!(r#"[{{"body": "{body}", "properties": {{"n": {n}}}}}, "", "{queue}"]"#)
    };
    for chunk in 0..60_u64 {
        let mut pipe = redis::pipe();
        for n in 0..1_000 {
            let queue = if n % 4 == 0 { "high" } else { "celery" };
            let tag = format!("{chunk}-{n}");
            pipe.hset("unacked", tag, message(n, queue)).ignore();
        }
        pipe.exec_async(&mut connection)
            .await
            .expect("redis answers");
    }
    let keys = format!(
        "url: {:?}, queue_interval: 1s, control_interval: 0",
        redis.url(0)
    );
    let mut polling = Polling::start(&keys);
    let levels = polling
        .queues("the count", 30, |levels| {
            level(levels, "celery").is_some_and(|level| level.unacked.is_some())
        })
        .await;
    assert_eq!(length_unacked(&levels, "celery"), (0, 45_000));
    assert_eq!(length_unacked(&levels, "high"), (0, 15_000));
    println!(
        "60,000 unacknowledged messages of 2 kB: {} rounds, the newest took {:.3} s",
        polling.metrics.queues.rounds.get(),
        polling.metrics.queues.duration.get()
    );
    polling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_the_permission_is_told_which_one_and_nothing_else_suffers() {
    let redis = Redis::start().await;
    let mut connection = redis.connection().await;
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER")
        .arg("mon")
        .arg(&["on", ">pw", "~*", "&*", "+ping", "+select"]);
    user.exec_async(&mut connection).await.expect("a user");
    let keys = format!(
        "url: 'redis://mon:pw@127.0.0.1:{}/0', queues: [celery], queue_interval: 1s",
        redis.port
    );
    let polling = Polling::start(&keys);
    wait_for("failures", 10, async || {
        let failures = polling.metrics.queues.failures.get();
        if failures >= 2 {
            Ok(())
        } else {
            Err(failures.to_string())
        }
    })
    .await;
    let mut allow = redis::cmd("ACL");
    allow
        .arg("SETUSER")
        .arg("mon")
        .arg(&["+llen", "+smembers", "+scan", "+hscan"]);
    allow.exec_async(&mut connection).await.expect("a user");
    let mut polling = polling;
    // On the existing connection.
    let levels = polling
        .queues("a length", 10, |levels| !levels.is_empty())
        .await;
    assert_eq!(length_unacked(&levels, "celery"), (0, 0));
    polling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_queues_are_polled_whatever_else_is_forbidden() {
    let redis = Redis::start().await;
    let fill = redis::cmd("RPUSH").arg("named").arg(&["x"; 7]).to_owned();
    let filled = fill.exec_async(&mut redis.connection().await).await;
    filled.expect("redis answers");
    let keys = |url: &str| {
        format!("url: {url:?}, queues: [named], queue_interval: 1s, control_interval: 0")
    };
    let all = ["scan", "smembers", "eval", "hscan"];
    // Forbidden by an ACL, one by one and all together; then unsupported by the server.
    for forbidden in all.chunks(1).chain([&all[..]]) {
        let rules = forbidden.iter().map(|command| format!("-{command}"));
        let rules: Vec<String> = ["reset", "on", ">pw", "~*", "&*", "+@all"]
            .map(str::to_owned)
            .into_iter()
            .chain(rules)
            .collect();
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        redis.user(&rules).await;
        let mut polling = Polling::start(&keys(&redis.url_of_user(0)));
        let levels = polling.queues("a round", 20, |_| true).await;
        assert_eq!(length_unacked(&levels, "named"), (7, 0), "{forbidden:?}");
        assert_eq!(polling.metrics.queues.failures.get(), 0, "{forbidden:?}");
        polling.stop().await;
    }
    // Only the permissions needed for lengths, and only for these keys.
    redis
        .user(&["reset", "on", ">pw", "~named*", "+llen"])
        .await;
    let mut polling = Polling::start(&keys(&redis.url_of_user(0)));
    let levels = polling.queues("a round", 20, |_| true).await;
    assert_eq!(length_unacked(&levels, "named"), (7, 0));
    polling.stop().await;

    let hidden = all.map(|command| ["--rename-command", command, ""]);
    let hidden = Redis::start_with(&hidden.concat()).await;
    let filled = fill.exec_async(&mut hidden.connection().await).await;
    filled.expect("redis answers");
    let mut polling = Polling::start(&keys(&hidden.url(0)));
    let levels = polling.queues("a round", 20, |_| true).await;
    assert_eq!(length_unacked(&levels, "named"), (7, 0));
    assert_eq!(polling.metrics.queues.failures.get(), 0);
    polling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_published_elsewhere_are_found_on_redis() {
    let redis = Redis::start().await;
    let keys = format!("url: {:?}", redis.url(3));
    let mut polling = Polling::start(&keys);
    let publishing = async {
        loop {
            redis.publish_lives(0..1, "t").await;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    let channels = tokio::select! {
        channels = polling.elsewhere(20) => channels,
        () = publishing => unreachable!("it goes on for ever"),
    };
    assert_eq!(channels, ["/0.celeryev/task.multi"]);
    polling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hint_at_another_database_goes_when_events_come_to_this_one() {
    let redis = Redis::start().await;
    let config = format!("brokers: [{{url: {:?}}}]\n", redis.url(3));
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    let hint = "/0.celeryev/task.multi";
    wait_for("the hint", 60, async || {
        redis.publish_lives(0..1, "t").await;
        let (status, text) = celeriac.get("/-/ready").await;
        match text.contains(hint) && status == 200 {
            true => Ok(()),
            false => Err(text),
        }
    })
    .await;
    let page = celeriac.page().await;
    assert_eq!(page.sum("celeriac_setup_problem", &["wrong_channel"]), 1.0);
    let celery = Celery::new("5.7", &redis.url(3), "").with("OPTIONS", "{}");
    celery.script("emit.py", 30).await;
    wait_for("the hint to go", 10, async || {
        let (_, text) = celeriac.get("/-/ready").await;
        match text.contains("hint: ") {
            false => Ok(()),
            true => Err(text),
        }
    })
    .await;
    let gone = |page: &Page| page.sum("celeriac_setup_problem", &["wrong_channel"]) == 0.0;
    celeriac.page_when("the hint to be gone", 5, gone).await;
}
