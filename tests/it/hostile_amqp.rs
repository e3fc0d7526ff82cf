//! Deeply nested messages from publishers, and servers that send what no broker sends: neither affects anything else.

use amq_protocol::protocol::basic::{AMQPMethod as Basic, Deliver};
use amq_protocol::protocol::channel::{AMQPMethod as Ch, Close};
use amq_protocol::protocol::connection::{AMQPMethod as Conn, Blocked, Tune};
use amq_protocol::protocol::{AMQPClass, basic};
use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use tempfile::TempDir;

use super::support::celeriac::{Celeriac, Page};
use super::support::events::life;
use super::support::hostile_rabbitmq::{Attack, HostileRabbitMq, USUAL};
use super::support::process::{resident, resident_max};
use super::support::rabbitmq::{Options, RabbitMq, Release};
use super::support::raw_amqp::{BODY, RawPublisher, frame, header, method, nested};
use super::support::redis::Redis;
use super::support::wait_for;

const AT: f64 = 1_795_344_000.0;

const EVENTS: (&str, &str) = ("celeryev", "task.multi");

/// Tables and arrays within each other. RabbitMQ itself takes a second for one of them with a quorum queue.
fn deep() -> [Vec<u8>; 2] {
    [nested(b'F', 2_600), nested(b'A', 8_000)]
}

fn undecodable(page: &Page) -> f64 {
    page.sum("celeriac_messages_undecodable_total", &[])
}

/// Starts a daemon that subscribes to one broker three times, once with each `delivery`.
async fn subscribed_three_times(rabbitmq: &RabbitMq, data: &TempDir) -> Celeriac {
    let brokers: String = ["transient", "durable", "stream"]
        .map(|delivery| {
            format!(
                "- {{name: {delivery}, url: {:?}, delivery: {delivery}, queue: q-{delivery}, \
                 queue_interval: 0s, control_interval: 0s}}\n",
                rabbitmq.url("")
            )
        })
        .concat();
    let config = format!("data_dir: {:?}\nbrokers:\n{brokers}", data.path());
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    celeriac
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_with_nested_headers_are_counted_as_the_others_are() {
    for release in Release::BOTH {
        let rabbitmq = RabbitMq::start_as(Options::of(release)).await;
        let data = TempDir::new().expect("a temporary folder");
        let celeriac = subscribed_three_times(&rabbitmq, &data).await;
        let mut publisher = RawPublisher::connect(rabbitmq.port).await;
        let mut expected = 0.0;
        let mut before = 0;
        for round in 0..5 {
            for (n, fields) in deep().iter().enumerate() {
                let [nested, others @ ..] = life(round * 10 + n as u64, "deep", AT);
                publisher.publish(EVENTS, fields, nested.as_bytes()).await;
                for body in &others {
                    publisher.publish(EVENTS, b"", body.as_bytes()).await;
                }
                expected += 4.0 * 3.0;
            }
            celeriac
                .page_when("all events", 30, |page| page.events() >= expected)
                .await;
            if round == 0 {
                before = resident(celeriac.process.pid());
            }
        }
        let page = celeriac.page().await;
        assert_eq!((page.events(), undecodable(&page)), (expected, 0.0));
        assert_eq!(page.sum("celeriac_broker_reconnects_total", &[]), 0.0);
        let grown = resident(celeriac.process.pid()).saturating_sub(before) >> 20;
        println!("{release:?}: {grown} MiB more");
        assert!(grown < 24, "{grown} MiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_queue_that_is_deleted_is_declared_again() {
    let rabbitmq = RabbitMq::start().await;
    let data = TempDir::new().expect("a temporary folder");
    let celeriac = subscribed_three_times(&rabbitmq, &data).await;
    let mut publisher = RawPublisher::connect(rabbitmq.port).await;
    for (n, queue) in ["q-durable", "q-stream"].into_iter().enumerate() {
        let before = celeriac.page().await.events();
        rabbitmq.ctl(&["delete_queue", queue]);
        wait_for("the queue", 30, async || match rabbitmq.receivers() {
            3 => Ok(()),
            other => Err(format!("{other} queues")),
        })
        .await;
        celeriac.ready().await;
        for body in life(n as u64, "again", AT) {
            publisher.publish(EVENTS, b"", body.as_bytes()).await;
        }
        let page = celeriac
            .page_when("the events", 30, |page| page.events() >= before + 12.0)
            .await;
        assert_eq!(page.events(), before + 12.0, "{queue}");
    }
    let log = celeriac.process.output();
    assert!(log.contains("subscribed again"), "{log}");
}

/// One worker for each reply with nested headers, and one whose reply has none.
const WORKERS: usize = 3;

/// Replies to every remote-control request as these workers do.
async fn reply_deeply(rabbitmq_url: String, port: u16) {
    let connection = Connection::connect(&rabbitmq_url, ConnectionProperties::default()).await;
    let connection = connection.expect("a broker");
    let channel = connection.create_channel().await.expect("a channel");
    let (exchange, queue, table) = ("celery.pidbox", "simulated", FieldTable::default);
    let options = ExchangeDeclareOptions::default();
    let declared =
        channel.exchange_declare(exchange.into(), ExchangeKind::Fanout, options, table());
    declared.await.expect("an exchange");
    let declared = channel.queue_declare(queue.into(), QueueDeclareOptions::default(), table());
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
    let mut publisher = RawPublisher::connect(port).await;
    while let Some(Ok(delivery)) = consumer.next().await {
        let request: serde_json::Value = serde_json::from_slice(&delivery.data).expect("JSON");
        let key = request["reply_to"]["routing_key"]
            .as_str()
            .expect("a queue");
        let ticket = request["ticket"].as_str().expect("a ticket");
        let answer = match request["method"].as_str().expect("a method") {
            "stats" => r#"{"pid": 7, "prefetch_count": 4, "pool": {"max-concurrency": 2}}"#,
            _ => "[]",
        };
        let length = u32::try_from(ticket.len()).expect("a short ticket");
        let ticket = [b"\x06ticketS", &length.to_be_bytes()[..], ticket.as_bytes()].concat();
        let all = deep().into_iter().chain([Vec::new()]);
        for (n, fields) in all.enumerate() {
            let body = format!(r#"{{"celery@w{n}": {answer}}}"#);
            let fields = [fields, ticket.clone()].concat();
            publisher.publish(("", key), &fields, body.as_bytes()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_with_nested_headers_are_read_as_the_others_are() {
    // RabbitMQ 4 takes seconds to deliver such a reply, which is longer than a round.
    let rabbitmq = RabbitMq::start().await;
    let replying = tokio::spawn(reply_deeply(rabbitmq.url(""), rabbitmq.port));
    let celeriac = Celeriac::start(&format!(
        "brokers: [{{url: {:?}, queue_interval: 0s, control_interval: 1s}}]\n",
        rabbitmq.url("")
    ))
    .await;
    celeriac.ready().await;
    let mut publisher = RawPublisher::connect(rabbitmq.port).await;
    for n in 0..WORKERS {
        let body = format!(
            r#"{{"type": "worker-heartbeat", "hostname": "celery@w{n}", "timestamp": {}, "freq": 2, "active": 0, "processed": 0, "clock": 1, "utcoffset": 0, "pid": 7}}"#,
            super::support::load::now()
        );
        publisher.publish(EVENTS, b"", body.as_bytes()).await;
    }
    for n in 0..WORKERS {
        let worker = format!("worker=\"celery@w{n}\"");
        celeriac
            .page_when(&worker, 20, |page| {
                page.sum("celery_worker_prefetch_count", &[&worker]) == 4.0
            })
            .await;
    }
    let page = celeriac.page().await;
    assert_eq!(page.events(), WORKERS as f64);
    replying.abort();
}

fn deliver(tag: u64) -> Vec<u8> {
    let deliver = Basic::Deliver(Deliver {
        consumer_tag: "celeriac".into(),
        delivery_tag: tag,
        redelivered: false,
        exchange: "celeryev".into(),
        routing_key: "task.multi".into(),
    });
    method(1, AMQPClass::Basic(deliver))
}

/// A message in frames of so many bytes.
fn message(tag: u64, body: &[u8], frame_bytes: usize) -> Vec<u8> {
    let parts = body.chunks(frame_bytes).map(|part| frame(BODY, 1, part));
    let mut bytes = [deliver(tag), header(1, body.len() as u64, b"")].concat();
    bytes.extend(parts.flatten());
    bytes
}

fn event(n: u64) -> String {
    let [sent, ..] = life(n, "bad", AT);
    sent
}

/// A daemon with a good broker and a hostile server.
struct Attacked {
    good: Redis,
    bad: HostileRabbitMq,
    celeriac: Celeriac,
    before: u64,
}

impl Attacked {
    async fn start(attack: Attack) -> Self {
        let good = Redis::start().await;
        let bad = HostileRabbitMq::start(attack).await;
        let celeriac = Celeriac::start(&format!(
            "brokers:\n- {{name: good, url: {:?}}}\n\
             - {{name: bad, url: {:?}, queue_interval: 0s, control_interval: 0s}}\n",
            good.url(0),
            bad.url()
        ))
        .await;
        celeriac.subscribed("good").await;
        let before = resident_max(celeriac.process.pid());
        Self {
            good,
            bad,
            celeriac,
            before,
        }
    }

    /// Asserts that the events of the good broker are counted, whatever the other one does.
    async fn good_events_are_counted(&self) {
        self.good.publish_lives(0..25, "good").await;
        self.celeriac
            .page_when("the good events", 20, |page| {
                page.sum("celery_task_succeeded_total", &["name=\"good\""]) == 25.0
            })
            .await;
    }

    fn took_little_memory(&self, what: &str) {
        // The kernel updates the maximum now and then, so it may be behind.
        let most = resident_max(self.celeriac.process.pid());
        let grown = most.saturating_sub(self.before) >> 20;
        println!("{what}: {grown} MiB more at most");
        assert!(grown < 64, "{what}: {grown} MiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_server_can_propose_larger_frames_than_we_take() {
    let one = event(1);
    let list = format!("[{}{one}]", format!("{one}, ").repeat(2_999));
    let proposals = [
        (0, 0, 0),
        (0, 16 << 20, 65_535),
        (65_535, 1 << 30, 1),
        (2, 4096, 60),
    ];
    for (channel_max, frame_max, heartbeat) in proposals {
        let tune = Tune {
            channel_max,
            frame_max,
            heartbeat,
        };
        let attack = Attack {
            tune: tune.clone(),
            // One over many frames, and one in a frame.
            once: [
                message(1, list.as_bytes(), 4_000),
                message(2, one.as_bytes(), 4_000),
            ]
            .concat(),
            repeated: Vec::new(),
        };
        let attacked = Attacked::start(attack).await;
        attacked
            .celeriac
            .page_when("its events", 20, |page| page.events() == 3_001.0)
            .await;
        attacked.good_events_are_counted().await;
        let agreed = attacked.bad.agreed().swap_remove(0);
        let frames = if frame_max == 4096 { 4096 } else { 128 << 10 };
        let channels = if channel_max == 2 { 2 } else { 2047 };
        let beats = if heartbeat == 1 { 1 } else { 10 };
        let expected = (channels, frames, beats);
        assert_eq!(
            (agreed.channel_max, agreed.frame_max, agreed.heartbeat),
            expected,
            "{tune:?}"
        );
        attacked.took_little_memory(&format!("{tune:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_breaks_the_protocol_costs_its_own_connection() {
    let close = Ch::Close(Close {
        reply_code: 406,
        reply_text: "PRECONDITION_FAILED - no reason".into(),
        class_id: 0,
        method_id: 0,
    });
    let cancel = Basic::Cancel(basic::Cancel {
        consumer_tag: "celeriac".into(),
        nowait: true,
    });
    let announced = |size| [deliver(1), header(1, size, b"")].concat();
    let flood = frame(BODY, 1, &vec![b'x'; 60_000]);
    let attacks: [(&str, Vec<u8>, Vec<u8>); 7] = [
        (
            "a frame larger than negotiated",
            b"\x03\0\x01\x01\0\0\0".to_vec(),
            flood.clone(),
        ),
        (
            "a message of more than 2 GiB",
            announced(u64::MAX),
            flood.clone(),
        ),
        (
            "a body longer than announced",
            announced(1 << 20),
            flood.clone(),
        ),
        (
            "PRECONDITION_FAILED",
            method(1, AMQPClass::Channel(close)),
            Vec::new(),
        ),
        (
            "the broker closed the connection",
            method(1, AMQPClass::Basic(cancel)),
            Vec::new(),
        ),
        ("a message inside another message", Vec::new(), deliver(1)),
        ("a frame of an unknown type", frame(7, 1, b""), flood),
    ];
    for (reason, once, repeated) in attacks {
        let attacked = Attacked::start(Attack {
            tune: USUAL,
            once,
            repeated,
        })
        .await;
        wait_for("some attacks", 20, async || match attacked.bad.attacks() {
            some if some < 3 => Err(format!("{some} attacks")),
            _ => Ok(()),
        })
        .await;
        attacked.good_events_are_counted().await;
        let log = attacked.celeriac.process.output();
        assert!(log.contains(reason), "{reason}: {log}");
        // The pauses grow.
        assert!(attacked.bad.attacks() < 20, "{reason}");
        attacked.took_little_memory(reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_proposes_nonsense_is_refused() {
    let attacked = Attacked::start(Attack {
        tune: Tune {
            channel_max: 0,
            frame_max: 1,
            heartbeat: 65_535,
        },
        once: Vec::new(),
        repeated: Vec::new(),
    })
    .await;
    attacked.good_events_are_counted().await;
    let reason = "a frame size below AMQP's minimum";
    let (_, reasons) = attacked.celeriac.get("/-/ready").await;
    assert!(reasons.contains(reason), "{reasons}");
    assert_eq!(attacked.bad.attacks(), 0);
    attacked.took_little_memory(reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_long_counts_and_what_is_behind_it_is_read() {
    let blocked = Conn::Blocked(Blocked {
        reason: "low on memory".into(),
    });
    let long = vec![b' '; (16 << 20) + 1];
    let once = [
        message(1, &long, 100_000),
        method(0, AMQPClass::Connection(blocked)),
        message(2, event(1).as_bytes(), 100),
        message(3, &long, 100_000),
        message(4, event(2).as_bytes(), 1_000),
    ];
    let attacked = Attacked::start(Attack {
        tune: USUAL,
        once: once.concat(),
        repeated: Vec::new(),
    })
    .await;
    let page = attacked
        .celeriac
        .page_when("its messages", 20, |page| {
            page.events() >= 2.0 && undecodable(page) >= 2.0
        })
        .await;
    let reason = "reason=\"oversized\"";
    let oversized = page.sum("celeriac_messages_undecodable_total", &[reason]);
    assert_eq!((page.events(), oversized), (2.0, 2.0));
    assert_eq!(attacked.bad.attacks(), 1, "the connection goes on");
    attacked.good_events_are_counted().await;
    attacked.took_little_memory("a body that is too long");
}

/// Large messages, faster than they can be decoded: `queue_max_bytes` limits the waiting ones, whatever the prefetch
/// is.
#[tokio::test(flavor = "multi_thread")]
async fn large_messages_take_no_more_memory_than_may_wait() {
    let list = format!("[{}]", vec![event(1); 20_000].join(","));
    assert!(list.len() > 6 << 20);
    let bad = HostileRabbitMq::start(Attack {
        tune: USUAL,
        once: Vec::new(),
        repeated: message(1, list.as_bytes(), 100_000),
    })
    .await;
    let celeriac = Celeriac::start(&format!(
        "brokers: [{{url: {:?}, queue_max_bytes: 20MiB, queue_interval: 0s, control_interval: 0s}}]\n",
        bad.url()
    ))
    .await;
    celeriac.ready().await;
    let before = resident_max(celeriac.process.pid());
    celeriac
        .page_when("many messages", 60, |page| page.events() >= 20_000.0 * 60.0)
        .await;
    let grown = (resident_max(celeriac.process.pid()) - before) >> 20;
    println!("{grown} MiB more at most");
    // The waiting messages, four being decoded, one being handed over, and one being read.
    assert!(grown < 20 + 6 * 7 + 8, "{grown} MiB");
}
