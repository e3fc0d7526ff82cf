//! Kombu's transport option `sep`, which is part of keys on Redis.

use super::support::celeriac::Celeriac;
use super::support::celery::Celery;
use super::support::polling::{Polling, length_unacked};
use super::support::process::Process;
use super::support::redis::Redis;

const SEND: &str = r#"[[2, 300, {"queue": "high"}], [2, 300, {"queue": "high", "priority": 3}],
    [3, 300, {"queue": "high", "priority": 9}], [4, 300, {"queue": "topicq", "routing_key": "t.x", "priority": 6}]]"#;

async fn lengths(redis: &Redis, sep: &str) -> (u64, u64) {
    let keys = format!(
        "url: {:?}, sep: {sep}, queues: [high], queue_interval: 1s, control_interval: 0",
        redis.url(0)
    );
    let mut polling = Polling::start(&keys);
    let levels = polling.queues("a round", 20, |_| true).await;
    polling.stop().await;
    let length = |queue| length_unacked(&levels, queue).0;
    (length("high"), length("topicq"))
}

/// Runs the doctor with a worker that reports its options, and without one, when only the bindings are available.
async fn doctor_says(redis: &Redis, quoted: &str, worker: &mut Process) {
    let config = format!(
        "brokers: [{{url: {:?}, queues: [high]}}]\nhttp: {{listen: '127.0.0.1:0'}}\n",
        redis.url(0)
    );
    let advice = format!("set `sep: {quoted}` in this broker");
    let said = Celeriac::doctor(&config).await;
    assert!(said.contains(&advice), "with a worker: {said}");
    worker.terminate(30);
    let said = Celeriac::doctor(&config).await;
    assert!(said.contains(&advice), "without a worker: {said}");
    let right = config.replace("queues:", &format!("sep: {quoted}, queues:"));
    let said = Celeriac::doctor(&right).await;
    assert!(!said.contains("`sep`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn priorities_and_bindings_with_another_separator_are_read_and_doctor_notices_it() {
    let redis = Redis::start().await;
    for (sep, quoted) in [(":", "\":\""), ("||", "\"||\"")] {
        let options = format!("{{\"sep\": {quoted}}}");
        let celery = Celery::new("5.7", &redis.url(0), "")
            .with("OPTIONS", &options)
            .with("SEND", SEND);
        // It declares the queues, and leaves later messages in them.
        let mut worker = celery
            .worker_of(
                "polled",
                "w1",
                &["-c", "1", "-P", "threads", "-Q", "celery"],
            )
            .await;
        celery.script("send.py", 30).await;
        // `topicq` is known only from its binding.
        assert_eq!(lengths(&redis, quoted).await, (7, 4), "{sep}");
        assert_eq!(lengths(&redis, "\"\\x06\\x16\"").await, (2, 0), "{sep}");

        if sep == ":" {
            doctor_says(&redis, quoted, &mut worker).await;
        } else {
            worker.terminate(30);
        }
        let flush = redis::cmd("FLUSHALL");
        let flushed = flush.exec_async(&mut redis.connection().await).await;
        flushed.expect("redis answers");
    }
}
