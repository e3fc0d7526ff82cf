//! Streams that were truncated or recreated.

use super::messages;
use crate::support::amqp::Publisher;
use crate::support::celeriac::{Celeriac, Page};
use crate::support::events::life;
use crate::support::proxy::{Fault, Proxy};
use crate::support::rabbitmq::{Options, RabbitMq, Release};
use crate::survival::Agent;

fn cut(page: &Page) -> f64 {
    page.sum(
        "celeriac_messages_dropped_total",
        &["reason=\"stream_cut\""],
    )
}

/// Publishes the events of some tasks, one by one.
async fn publish(publisher: &Publisher, tasks: std::ops::Range<u64>) {
    let bodies: Vec<_> = tasks.flat_map(|n| life(n, "t", 1_795_344_000.0)).collect();
    publisher.flood(bodies.iter().map(String::as_bytes)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_stream_has_forgotten_is_counted_to_the_message() {
    for release in Release::BOTH {
        let rabbitmq = RabbitMq::start_as(Options::of(release)).await;
        let publisher = Publisher::new(&rabbitmq.url("")).await;
        let agent = Agent::new(&rabbitmq.url(""), "delivery: stream, queue_max_bytes: 1MiB");
        let mut celeriac = agent.start().await;
        celeriac.ready().await;
        publish(&publisher, 0..10).await;
        celeriac
            .page_when("the first", 20, |page| messages(page) == 40.0)
            .await;
        assert!(celeriac.terminate().success());
        // About 8 MB, of which one or two are kept.
        publish(&publisher, 10..8_000).await;
        // Now RabbitMQ deletes segments, and may lose track of a consumer that reads them.
        let mut celeriac = agent.start().await;
        // RabbitMQ's own entries, one or two at the beginning of each segment, cannot be distinguished from messages
        // here.
        let page = celeriac
            .page_when("all to be read or counted", 60, |page| {
                let all = page.events() + cut(page);
                (32_000.0..32_000.0 + 200.0).contains(&all)
            })
            .await;
        let (cut_before, read) = (cut(&page), page.events());
        assert!(cut_before > 1_000.0, "{release:?}: {cut_before}");
        assert!(read > 1_000.0, "{release:?}: {read}");
        // Across several segments.
        publish(&publisher, 8_000..8_700).await;
        let page = celeriac
            .page_when("what came afterwards", 20, |page| {
                page.events() == read + 2_800.0
            })
            .await;
        assert_eq!(
            cut(&page),
            cut_before,
            "{release:?}: nothing was lost while it read"
        );
        assert!(celeriac.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_made_anew_is_read_from_its_first_message() {
    for release in Release::BOTH {
        let rabbitmq = RabbitMq::start_as(Options::of(release)).await;
        let publisher = Publisher::new(&rabbitmq.url("")).await;
        let agent = Agent::new(&rabbitmq.url(""), "delivery: stream");
        let mut celeriac = agent.start().await;
        celeriac.ready().await;
        publish(&publisher, 0..10).await;
        celeriac
            .page_when("the first", 20, |page| messages(page) == 40.0)
            .await;

        // While it is reading.
        rabbitmq.ctl(&["delete_queue", "celeriac.main"]);
        let reconnects = |page: &Page| page.sum("celeriac_broker_reconnects_total", &[]);
        celeriac
            .page_when("another subscription", 30, |page| reconnects(page) >= 1.0)
            .await;
        celeriac.ready().await;
        publish(&publisher, 10..15).await;
        celeriac
            .page_when("the second", 20, |page| messages(page) == 60.0)
            .await;

        // While the daemon is down, with messages in the new stream already.
        assert!(celeriac.terminate().success());
        rabbitmq.ctl(&["delete_queue", "celeriac.main"]);
        let mut other = Agent::new(&rabbitmq.url(""), "delivery: stream")
            .start()
            .await;
        other.ready().await;
        publish(&publisher, 15..18).await;
        let mut celeriac = agent.start().await;
        celeriac
            .page_when("the third", 20, |page| messages(page) == 72.0)
            .await;
        publish(&publisher, 18..20).await;
        let page = celeriac
            .page_when("the fourth", 20, |page| messages(page) == 80.0)
            .await;
        assert_eq!(cut(&page), 0.0);
        assert_eq!(page.sum("celery_task_succeeded_total", &[]), 20.0);
        assert!(celeriac.terminate().success());
        assert!(other.terminate().success());
    }
}

/// Returns the number of redelivered messages.
fn again(page: &Page) -> f64 {
    page.sum("celeriac_messages_redelivered_total", &[])
}

/// A stream behind a connection that can be slowed down, and a daemon that has read 500 tasks from it.
struct Slowed {
    _rabbitmq: RabbitMq,
    publisher: Publisher,
    proxy: Proxy,
    agent: Agent,
    celeriac: Celeriac,
}

impl Slowed {
    async fn start(prefetch: u32) -> Self {
        let rabbitmq = RabbitMq::start().await;
        let publisher = Publisher::new(&rabbitmq.url("")).await;
        let proxy = Proxy::start(([127, 0, 0, 1], rabbitmq.port).into()).await;
        let url = proxy.in_front_of(&rabbitmq.url(""));
        let agent = Agent::new(&url, &format!("delivery: stream, prefetch: {prefetch}"));
        let celeriac = agent.start().await;
        celeriac.ready().await;
        // The last chunk, which each subscription reads whole, contains at most two hundred messages.
        for (tasks, read) in [(0..450, 1_800.0), (450..500, 2_000.0)] {
            publish(&publisher, tasks).await;
            celeriac
                .page_when("the first", 20, |page| messages(page) == read)
                .await;
        }
        Self {
            _rabbitmq: rabbitmq,
            publisher,
            proxy,
            agent,
            celeriac,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_over_a_slow_connection_is_the_same_stream() {
    // It continues a few messages before the end of the last chunk, which takes seconds to read.
    let mut slowed = Slowed::start(10).await;
    assert!(slowed.celeriac.terminate().success());

    slowed.proxy.set(Fault::Throttle(40_000));
    let celeriac = slowed.agent.start().await;
    celeriac.ready().await;
    slowed.proxy.set(Fault::None);
    publish(&slowed.publisher, 500..501).await;
    let page = celeriac
        .page_when("what is new", 30, |page| page.events() == 2_004.0)
        .await;
    let again = again(&page);
    assert!((1.0..=10.0).contains(&again), "{again}");
    let log = celeriac.process.output();
    assert!(!log.contains("recreated"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_over_and_over_does_not_go_back_in_its_stream() {
    let mut slowed = Slowed::start(100).await;
    // Each daemon reads a few messages again, and is killed in the middle.
    slowed.proxy.set(Fault::Throttle(20_000));
    let mut seen = 0.0;
    for _ in 0..6 {
        slowed.celeriac.process.kill();
        slowed.celeriac = slowed.agent.start().await;
        let more = |page: &Page| again(page) > seen;
        let page = slowed
            .celeriac
            .page_when("messages that came again", 30, more)
            .await;
        seen = again(&page);
    }
    slowed.celeriac.process.kill();
    slowed.proxy.set(Fault::None);
    let celeriac = slowed.agent.start().await;
    celeriac.ready().await;
    publish(&slowed.publisher, 500..501).await;
    let newest = |page: &Page| page.sum("celery_task_sent_total", &[]) >= 501.0;
    let page = celeriac.page_when("what is new", 30, newest).await;
    assert_eq!(page.events(), 2_004.0);
}
