//! Faults between the sender and its receiver, one test each, with both protocol versions: nothing is lost that could
//! be kept, the books balance, and a second receiver is not delayed.

mod servers;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::support::celeriac::{Celeriac, Page};
use super::support::certificates;
use super::support::proxy::{Fault, Proxy};
use super::support::redis::Redis;
use super::support::{tls, wait_for};
use strict_receiver::Receiver;
use strict_receiver::answer::{Answer, Knows, Written};

const FIRST: &str = "prometheus.WriteRequest";
const SECOND: &str = "io.prometheus.write.v2.Request";

/// A daemon with a faulty receiver and a healthy one.
struct Setting {
    redis: Redis,
    ill: Receiver,
    beside: Receiver,
    celeriac: Celeriac,
    /// How many tasks of each name were published.
    published: u64,
}

impl Setting {
    async fn start(message: &str, keys: &str) -> Self {
        let ill = Receiver::start().await;
        let url = ill.url();
        Self::start_at(message, keys, ill, &url).await
    }

    /// Starts it with a different URL for the receiver.
    async fn start_at(message: &str, keys: &str, ill: Receiver, url: &str) -> Self {
        Self::start_full(message, keys, "", ill, url).await
    }

    /// Starts it with `samples` samples per request.
    async fn start_small(message: &str, samples: usize) -> Self {
        let ill = Receiver::start().await;
        let (url, queue) = (ill.url(), format!("max_samples_per_send: {samples}"));
        Self::start_full(message, "", &queue, ill, &url).await
    }

    async fn start_full(message: &str, keys: &str, queue: &str, ill: Receiver, url: &str) -> Self {
        let (redis, beside) = (Redis::start().await, Receiver::start().await);
        let queue = format!("queue_config: {{min_backoff: 30ms, max_backoff: 200ms, {queue}}}");
        let config = format!(
            "brokers: [{{url: {:?}}}]\nremote_write:\n\
             - {{name: ill, url: {url:?}, protobuf_message: {message}, {queue}, {keys}}}\n\
             - {{name: beside, url: {:?}, protobuf_message: {message}}}\n",
            redis.url(0),
            beside.url()
        );
        let celeriac = Celeriac::start(&config).await;
        celeriac.subscribed("default").await;
        Self {
            redis,
            ill,
            beside,
            celeriac,
            published: 0,
        }
    }

    /// Publishes ten tasks of each of several names.
    async fn publish(&mut self, names: u64) {
        let from = self.published;
        self.published += 10;
        for name in 0..names {
            let tasks = name * 1_000_000 + from..name * 1_000_000 + from + 10;
            let name = format!("task.{name}");
            self.redis.publish_lives(tasks, &name).await;
        }
    }

    /// Waits until a receiver has all tasks of a name, however busy the machine is.
    async fn arrived(&self, receiver: &Receiver, name: u64) {
        self.arrived_within(receiver, name, 90).await;
    }

    async fn arrived_within(&self, receiver: &Receiver, name: u64, seconds: u64) {
        let label = format!("name=\"task.{name}\"");
        wait_for("the newest value", seconds, async || {
            let series = receiver.series("celery_task_succeeded_total", &[&label]);
            match series.last() {
                Some((_, value)) if *value == self.published as f64 => Ok(()),
                other => Err(format!("{label}: {other:?} of {}", self.published)),
            }
        })
        .await;
    }

    /// Asserts that the healthy receiver gets everything soon after it was published.
    async fn beside_is_not_delayed(&self) {
        self.arrived_within(&self.beside, 0, 5).await;
    }

    /// Waits until every sample queued for the faulty receiver is accounted for and none is pending, and returns the
    /// page.
    async fn settled(&self) -> Page {
        self.celeriac
            .page_when("the books to balance", 90, |page| {
                balanced(page, "ill") && of(page, "ill", "pending") == 0.0
            })
            .await
    }

    /// Asserts that nothing was lost on the way to the faulty receiver.
    async fn nothing_is_lost(&self) -> Page {
        self.arrived(&self.ill, 0).await;
        let page = self.settled().await;
        for lost in ["failed_total", "dropped_total"] {
            assert_eq!(of(&page, "ill", lost), 0.0, "{lost}");
        }
        self.no_violation();
        page
    }

    fn no_violation(&self) {
        self.ill.assert_no_violation();
        self.beside.assert_no_violation();
    }

    /// Stops the daemon, and returns how many samples of each series only the healthy receiver has. A busy machine may
    /// skip a snapshot for one receiver, which counts it.
    async fn missing(&mut self) -> BTreeMap<String, usize> {
        let page = self.celeriac.page().await;
        let skipped = page.sum(
            "celeriac_remote_storage_snapshots_missed_total",
            &["remote_name=\"ill\""],
        );
        assert!(self.celeriac.terminate().success());
        let theirs = self.ill.with(|received| received.series.clone());
        let all = self.beside.with(|received| received.series.clone());
        let missing = all.into_iter().map(|(key, samples)| {
            let stored = theirs.get(&key).map_or(&[][..], Vec::as_slice);
            let lost = samples
                .iter()
                .filter(|(at, _)| stored.binary_search_by_key(at, |(at, _)| *at).is_err());
            let lost = lost.count();
            (key, lost)
        });
        missing.filter(|(_, lost)| *lost as f64 > skipped).collect()
    }
}

/// Returns one of a sink's sample counts.
fn of(page: &Page, sink: &str, word: &str) -> f64 {
    let sink = format!("remote_name={sink:?}");
    page.sum(&format!("celeriac_remote_storage_samples_{word}"), &[&sink])
}

/// Samples taken = sent + failed + dropped + pending.
fn balanced(page: &Page, sink: &str) -> bool {
    let sum = |word: &str| of(page, sink, word);
    sum("in_total") == sum("total") + sum("failed_total") + sum("dropped_total") + sum("pending")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_without_an_answer_is_sent_again() {
    for message in [FIRST, SECOND] {
        let mut setting = Setting::start(message, "remote_timeout: 1s").await;
        setting.publish(1).await;
        setting.arrived(&setting.ill, 0).await;
        for answer in [
            Answer::Silence(Duration::from_secs(2)),
            Answer::StoreAndCut,
            Answer::CutAfter(1),
            Answer::CutAfter(200),
            Answer::Status(500),
            Answer::Status(503),
            Answer::Status(529),
        ] {
            setting.ill.answer(&[answer.clone(), answer]);
            setting.publish(1).await;
            setting.beside_is_not_delayed().await;
        }
        let page = setting.nothing_is_lost().await;
        assert!(of(&page, "ill", "retried_total") > 0.0);
        assert_eq!(of(&page, "beside", "retried_total"), 0.0);
        assert_eq!(setting.missing().await, BTreeMap::new(), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_stalls_refuses_or_is_slow_loses_nothing() {
    for message in [FIRST, SECOND] {
        let ill = Receiver::start().await;
        let proxy = Proxy::start(ill.address).await;
        let url = proxy.in_front_of(&ill.url());
        let mut setting = Setting::start_at(message, "remote_timeout: 2s", ill, &url).await;
        setting.publish(3).await;
        setting.arrived(&setting.ill, 0).await;
        for fault in [
            Fault::Stall,
            Fault::Refuse,
            Fault::CutAfter(50),
            Fault::CutAfter(1_000),
            Fault::Throttle(100_000),
        ] {
            proxy.set(fault);
            setting.publish(3).await;
            setting.beside_is_not_delayed().await;
            if !matches!(fault, Fault::Throttle(_)) {
                let holds = |page: &Page| balanced(page, "ill") && of(page, "ill", "pending") > 0.0;
                setting
                    .celeriac
                    .page_when("samples to wait", 10, holds)
                    .await;
                proxy.set(Fault::None);
            }
            setting.arrived(&setting.ill, 0).await;
        }
        setting.nothing_is_lost().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_kept_in_each_of_its_forms() {
    for message in [FIRST, SECOND] {
        let mut setting = Setting::start(message, "").await;
        setting.publish(1).await;
        setting.arrived(&setting.ill, 0).await;
        for (answer, least) in [
            (Answer::RetryAfter(429, 2), 2),
            (Answer::RetryAfter(503, 2), 2),
            (Answer::RetryAfterDate(429, 3), 2),
            (Answer::RetryAfterDate(503, 3), 2),
            (Answer::RetryAfterText(429, "soon"), 0),
            (Answer::RetryAfterText(503, "-1"), 0),
        ] {
            setting.ill.answer(std::slice::from_ref(&answer));
            let asked = Instant::now();
            setting.publish(1).await;
            setting.beside_is_not_delayed().await;
            setting.arrived(&setting.ill, 0).await;
            let waited = asked.elapsed();
            assert!(
                waited >= Duration::from_secs(least),
                "{answer:?}: {waited:?}"
            );
        }
        let page = setting.nothing_is_lost().await;
        assert!(of(&page, "ill", "retried_total") > 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_series_costs_its_own_samples_only() {
    // If a 2.0 receiver stores the rest of a request and reports how much that is, no search is needed, and requests keep
    // their size.
    tokio::join!(
        one_is_refused(FIRST, (1.0, 2_000.0), false),
        one_is_refused(FIRST, (1.0, 2_000.0), true),
        one_is_refused(SECOND, (0.0, 10_000.0), true)
    );
}

async fn one_is_refused(
    message: &str,
    (quarantined, samples_max): (f64, f64),
    stores_in_part: bool,
) {
    let mut setting = Setting::start(message, "").await;
    let refused = |series: &str| {
        series.starts_with("celery_task_succeeded_total{") && series.contains("\"task.7\"")
    };
    setting.ill.behave(|behaviour| {
        behaviour.refuses = Some(Box::new(refused));
        behaviour.stores_in_part = stores_in_part;
        behaviour.strict_order = stores_in_part;
    });
    setting.publish(40).await;
    setting.beside_is_not_delayed().await;
    setting.arrived(&setting.ill, 39).await;
    let found = |page: &Page| {
        let series = page.sum("celeriac_remote_storage_series_quarantined", &["ill"]);
        of(page, "ill", "failed_total") > 0.0 && series == quarantined
    };
    setting.celeriac.page_when("the refusal", 20, found).await;
    // Quarantined series are retried after a minute.
    setting.ill.behave(|behaviour| behaviour.refuses = None);
    setting.arrived(&setting.ill, 7).await;
    let none =
        |page: &Page| page.sum("celeriac_remote_storage_series_quarantined", &["ill"]) == 0.0;
    setting.celeriac.page_when("the end of it", 5, none).await;
    let page = setting.settled().await;
    assert_eq!(of(&page, "ill", "dropped_total"), 0.0);
    let max = page.sum("celeriac_remote_storage_max_samples_per_send", &["ill"]);
    assert_eq!(max, samples_max, "{message}");
    setting.no_violation();
    let log = setting.celeriac.process.output();
    assert!(log.contains("label value too long"), "{log}");
    let missing = setting.missing().await;
    assert!(
        missing.keys().all(|series| refused(series)),
        "{message}: {missing:?}"
    );
    let lost: usize = missing.values().sum();
    assert_eq!(of(&page, "ill", "failed_total"), lost as f64, "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_sender_has_written_costs_nothing_but_itself() {
    for message in [FIRST, SECOND] {
        let mut setting = Setting::start(message, "").await;
        setting
            .ill
            .behave(|behaviour| behaviour.strict_order = true);
        setting.publish(10).await;
        setting.arrived(&setting.ill, 9).await;
        let all = setting.ill.with(|received| received.series.clone());
        let (series, samples) = all
            .iter()
            .find(|(key, _)| key.starts_with("celery_task_sent_total{"))
            .expect("a counter");
        let newest = samples.last().expect("a sample").0;
        setting.ill.plant(series, newest + 5_000, 99.0);
        setting.publish(10).await;
        setting.beside_is_not_delayed().await;
        setting.arrived(&setting.ill, 9).await;
        let failed = |page: &Page| of(page, "ill", "failed_total") > 0.0;
        setting.celeriac.page_when("the refusal", 20, failed).await;
        setting.no_violation();
        let missing = setting.missing().await;
        assert!(
            missing.keys().all(|key| key == series),
            "{message}: {missing:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_comes_in_parts() {
    for message in [FIRST, SECOND] {
        let mut setting = Setting::start(message, "").await;
        setting
            .ill
            .behave(|behaviour| behaviour.samples_taken = Some((100, 413)));
        setting.publish(40).await;
        setting.beside_is_not_delayed().await;
        setting.arrived(&setting.ill, 39).await;
        setting.nothing_is_lost().await;
        assert_eq!(setting.missing().await, BTreeMap::new(), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_as_2_comes_in_parts_that_1_allows() {
    for knows in [
        Knows::OnlyFirst(415),
        Knows::VictoriaMetrics { old: true },
        Knows::VictoriaMetrics { old: false },
    ] {
        let mut setting = Setting::start("auto", "").await;
        setting.ill.answer_always(Some(Answer::Status(503)));
        setting.publish(40).await;
        setting.beside_is_not_delayed().await;
        setting.ill.behave(|behaviour| behaviour.knows = knows);
        setting.ill.answer_always(None);
        setting.arrived(&setting.ill, 39).await;
        setting.nothing_is_lost().await;
        assert_eq!(setting.missing().await, BTreeMap::new(), "{knows:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_of_1_only_gets_1() {
    for knows in [
        Knows::OnlyFirst(415),
        Knows::OnlyFirst(400),
        Knows::OnlyFirstUnawares,
        Knows::VictoriaMetrics { old: true },
        Knows::VictoriaMetrics { old: false },
    ] {
        let ill = Receiver::start().await;
        ill.behave(|behaviour| behaviour.knows = knows);
        let url = ill.url();
        let mut setting = Setting::start_at("auto", "", ill, &url).await;
        setting.publish(5).await;
        setting.beside_is_not_delayed().await;
        setting.publish(5).await;
        setting.nothing_is_lost().await;
        let tried = setting.ill.with(|received| received.requests_v2);
        assert!(
            (1..=10).contains(&tried),
            "{knows:?}: {tried} requests of 2.0"
        );
        setting.publish(5).await;
        setting.nothing_is_lost().await;
        let again = setting.ill.with(|received| received.requests_v2);
        assert_eq!(again, tried, "{knows:?}: it has learned");
        let log = setting.celeriac.process.output();
        assert!(log.contains("2.0"), "{log}");
        let zstd = setting.ill.with(|received| received.requests_zstd);
        let expected = match knows {
            Knows::VictoriaMetrics { old: true } => 1..=10,
            Knows::VictoriaMetrics { old: false } => 3..=u64::MAX,
            Knows::Both | Knows::OnlyFirst(_) | Knows::OnlyFirstUnawares => 0..=0,
        };
        assert!(expected.contains(&zstd), "{knows:?}: {zstd} with zstd");
        // The healthy receiver speaks 2.0.
        setting
            .beside
            .with(|received| assert_eq!(received.requests, received.requests_v2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_redirects_that_repeat_the_request_are_followed() {
    for message in [FIRST, SECOND] {
        for status in [307, 308] {
            let (front, ill) = (Receiver::start().await, Receiver::start().await);
            let there = Answer::Redirect(status, ill.url());
            front.answer_always(Some(there));
            let mut setting = Setting::start_at(message, "", ill, &front.url()).await;
            setting.publish(1).await;
            setting.beside_is_not_delayed().await;
            setting.nothing_is_lost().await;
            front.assert_no_violation();
        }
        for status in [301, 302, 303] {
            let (front, ill) = (Receiver::start().await, Receiver::start().await);
            let there = Answer::Redirect(status, ill.url());
            front.answer_always(Some(there));
            let mut setting = Setting::start_at(message, "", ill, &front.url()).await;
            setting.publish(1).await;
            setting.beside_is_not_delayed().await;
            let failed =
                |page: &Page| balanced(page, "ill") && of(page, "ill", "failed_total") > 0.0;
            let page = setting.celeriac.page_when("the refusal", 10, failed).await;
            assert_eq!(of(&page, "ill", "total"), 0.0, "{status}");
            assert_eq!(
                setting.ill.with(|received| received.requests),
                0,
                "{status}"
            );
            front.assert_no_violation();
            setting.no_violation();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_nobody_can_trust_gets_nothing_and_loses_nothing() {
    for message in [FIRST, SECOND] {
        let folder = TempDir::new().expect("a temporary folder");
        certificates::write(folder.path());
        let ill = Receiver::start().await;
        let port = tls::front(folder.path(), ill.address).await;
        // Signed by an unknown CA.
        let url = format!("https://localhost:{port}/api/v1/write");
        let mut setting = Setting::start_at(message, "", ill, &url).await;
        setting.publish(1).await;
        setting.beside_is_not_delayed().await;
        let waits = |page: &Page| balanced(page, "ill") && of(page, "ill", "pending") > 0.0;
        let page = setting
            .celeriac
            .page_when("samples to wait", 10, waits)
            .await;
        for none in ["total", "failed_total", "dropped_total"] {
            assert_eq!(of(&page, "ill", none), 0.0, "{none}");
        }
        let (status, reasons) = setting.celeriac.get("/-/ready").await;
        assert_eq!(status, 503);
        assert!(
            reasons.contains("ill") && reasons.contains("certificate"),
            "{reasons}"
        );
        assert_eq!(setting.ill.with(|received| received.requests), 0);
        setting.no_violation();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_that_are_wrong_lose_and_double_nothing() {
    for written in [Written::Zero, Written::Rubbish, Written::TooMany] {
        let ill = Receiver::start().await;
        ill.behave(|behaviour| behaviour.written = written);
        let url = ill.url();
        let mut setting = Setting::start_at("auto", "", ill, &url).await;
        setting.publish(2).await;
        setting.beside_is_not_delayed().await;
        let page = setting.nothing_is_lost().await;
        assert_eq!(of(&page, "ill", "retried_total"), 0.0, "{written:?}");
        // A value that is not a number may be treated as a missing header, and its sender as one that only knows 1.0.
        let (all, second) = setting
            .ill
            .with(|received| (received.requests, received.requests_v2));
        let fell_back = all != second;
        assert!(!fell_back || written == Written::Rubbish, "{written:?}");
        assert_eq!(setting.missing().await, BTreeMap::new(), "{written:?}");
    }
}
