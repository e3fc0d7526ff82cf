//! Malformed input between good events: the good ones are counted, and each bad one is reported.

use super::support::amqp::Publisher;
use super::support::celeriac::Celeriac;
use super::support::events::{envelope, life};
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;

/// Bodies without any good event, each with the reason that it counts under.
fn bad_bodies() -> Vec<(String, &'static str)> {
    let long = "n".repeat(10 << 20);
    let deep = "[".repeat(100_000);
    let event = |members: &str| format!(r#"{{"type": "task-received", "uuid": "x", {members}}}"#);
    vec![
        (String::new(), "empty"),
        ("  \n ".into(), "empty"),
        (r#"{"type": "task-sta"#.into(), "json"),
        (r#"{"type": "task-started", "uuid": "u""#.into(), "json"),
        ("{'type': 'task-started'}".into(), "json"),
        (r#"{"type": "task-started" "uuid": "u"}"#.into(), "json"),
        ("task-started".into(), "json"),
        ("<event/>".into(), "json"),
        ("\u{0}\u{1}\u{2}".into(), "json"),
        ("[".into(), "json"),
        ("[nul".into(), "json"),
        ("17".into(), "not_a_map"),
        ("\"task-started\"".into(), "not_a_map"),
        ("null".into(), "not_a_map"),
        ("[[]]".into(), "not_a_map"),
        (deep, "depth"),
        (
            event(&format!(r#""x": {}1{}"#, "[".repeat(500), "]".repeat(500))),
            "depth",
        ),
        ("{}".into(), "field"),
        (r#"{"type": null, "uuid": "u"}"#.into(), "field"),
        (r#"{"type": ["task-started"], "uuid": "u"}"#.into(), "field"),
        (r#"{"type": "task-started"}"#.into(), "field"),
        (r#"{"type": "task-started", "uuid": 7}"#.into(), "field"),
        (event(r#""name": {"a": 1}"#), "field"),
        (event(r#""name": "t", "timestamp": "yesterday""#), "field"),
        (event(r#""name": "t", "timestamp": 1e400"#), "field"),
        (event(r#""name": "t", "timestamp": -5"#), "field"),
        (event(r#""name": "t", "retries": "many""#), "field"),
        (event(&format!(r#""name": "{long}""#)), "oversized"),
        (
            format!(
                r#"{{"type": "task-started", "uuid": "{}"}}"#,
                "u".repeat(5_000)
            ),
            "oversized",
        ),
        (
            event(&format!(r#""name": "t", "queue": "{}""#, "q".repeat(2_000))),
            "oversized",
        ),
    ]
}

fn expected(reasons: impl Iterator<Item = &'static str>) -> Vec<(&'static str, f64)> {
    let mut counts: Vec<(&str, f64)> = Vec::new();
    for reason in reasons {
        match counts.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1.0,
            None => counts.push((reason, 1.0)),
        }
    }
    counts
}

async fn check(celeriac: &Celeriac, good: f64, bad: Vec<(&'static str, f64)>, before: u64) {
    let all: f64 = bad.iter().map(|(_, count)| count).sum();
    let undecodable = "celeriac_messages_undecodable_total";
    let page = celeriac
        .page_when("everything to be read", 30, |page| {
            page.events() >= good && page.sum(undecodable, &[]) >= all
        })
        .await;
    assert_eq!(page.events(), good);
    for (reason, count) in bad {
        assert_eq!(
            page.sum(undecodable, &[&format!("reason=\"{reason}\"")]),
            count,
            "{reason}"
        );
    }
    assert_eq!(page.sum(undecodable, &[]), all);
    // The memory used to read a body of 10 MiB is returned.
    let grown = celeriac.resident().saturating_sub(before) >> 20;
    assert!(grown < 40, "grew by {grown} MiB");
    let log = celeriac.process.output();
    assert!(log.contains("events could not be decoded"), "{log}");
    assert!(
        log.len() < 20_000,
        "the log does not grow with each message: {} bytes",
        log.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_bad_messages_on_rabbitmq_cost_only_themselves() {
    let rabbitmq = RabbitMq::start().await;
    let publisher = Publisher::new(&rabbitmq.url("")).await;
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {:?}}}]\n", rabbitmq.url(""))).await;
    celeriac.ready().await;
    let bad = bad_bodies();
    assert_eq!(bad.len(), 30);
    let before = celeriac.resident();
    let mut good = 0.0;
    for (n, (body, _)) in bad.iter().enumerate() {
        for body in life(n as u64, "good.task", 1_795_344_000.0) {
            publisher.publish(body.as_bytes()).await;
            good += 1.0;
        }
        publisher.publish(body.as_bytes()).await;
    }
    // Other content types, and bytes that are not text at all.
    publisher
        .publish_as(b"\x80\x04}", Some("application/x-python-serialize"))
        .await;
    publisher.publish_as(b"{}", Some("text/plain")).await;
    publisher.publish_as(b"{}", None).await;
    publisher.publish(b"\xff\xfe\x00").await;
    // A bad event in a list costs only itself.
    let [_, received, started, _] = life(1_000, "good.task", 1_795_344_000.0);
    publisher
        .publish(format!("[{received}, {{\"type\": 7}}, {started}]").as_bytes())
        .await;
    let reasons = bad.iter().map(|(_, reason)| *reason);
    let more = [
        "content_type",
        "content_type",
        "content_type",
        "json",
        "field",
    ];
    check(&celeriac, good + 2.0, expected(reasons.chain(more)), before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_bad_messages_on_redis_cost_only_themselves() {
    let redis = Redis::start().await;
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {:?}}}]\n", redis.url(0))).await;
    celeriac.ready().await;
    let bad = bad_bodies();
    let before = celeriac.resident();
    let publish = async |payload: &[u8]| redis.publish([payload]).await;
    let mut good = 0.0;
    for (n, (body, _)) in bad.iter().enumerate() {
        for body in life(n as u64, "good.task", 1_795_344_000.0) {
            publish(envelope(&body).as_bytes()).await;
            good += 1.0;
        }
        publish(envelope(body).as_bytes()).await;
    }
    // Invalid envelopes, and envelopes with contents other than declared.
    let properties = r#""properties": {"body_encoding": "base64"}"#;
    let envelopes: [(&[u8], &str); 8] = [
        (b"", "empty"),
        (b"hello", "envelope"),
        (b"{\"body\"", "envelope"),
        (b"[]", "envelope"),
        (b"{\"content-type\": \"application/json\"}", "envelope"),
        (b"\xff\x00", "envelope"),
        (b"{\"body\": \"!!!\", \"content-type\": \"application/json\", \"properties\": {\"body_encoding\": \"base64\"}}", "base64"),
        (b"{\"body\": \"e30=\", \"content-type\": \"application/x-msgpack\", \"properties\": {\"body_encoding\": \"base64\"}}", "content_type"),
    ];
    for (payload, _) in envelopes {
        publish(payload).await;
    }
    // Kombu's option for bodies that are not base64.
    let [sent, ..] = life(2_000, "good.task", 1_795_344_000.0);
    let text = serde_json::to_string(&sent).expect("a text is JSON");
    let plain = format!(
        r#"{{"body": {text}, "content-type": "application/json", "properties": {{"body_encoding": "utf-8"}}}}"#
    );
    publish(plain.as_bytes()).await;
    let compressed = format!(
        r#"{{"body": "e30=", "headers": {{"compression": "application/x-gzip"}}, "content-type": "application/json", {properties}}}"#
    );
    publish(compressed.as_bytes()).await;
    let reasons = bad.iter().map(|(_, reason)| *reason);
    let more = envelopes
        .iter()
        .map(|(_, reason)| *reason)
        .chain(["compressed"]);
    check(&celeriac, good + 1.0, expected(reasons.chain(more)), before).await;
}
