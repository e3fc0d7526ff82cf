//! Receivers that refuse some series permanently: the others stay on time at the cost of a few requests per snapshot,
//! and the refused ones are quarantined until they are accepted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::support::celeriac::{Celeriac, Page};
use super::support::redis::Redis;
use strict_receiver::Receiver;
use strict_receiver::answer::{Answer, Series};

const FIRST: &str = "prometheus.WriteRequest";

/// Response time of the receiver.
const DELAY: Duration = Duration::from_millis(30);

/// A daemon with a receiver that refuses series, and another one that accepts all.
struct Setting {
    redis: Redis,
    refusing: Receiver,
    beside: Receiver,
    celeriac: Celeriac,
    config: String,
    interval: Duration,
}

/// Returns the time of the newest sample of each series.
fn newest(receiver: &Receiver) -> BTreeMap<String, i64> {
    receiver.with(|received| {
        let all = received.series.iter();
        let newest = all.filter_map(|(key, samples)| Some((key.clone(), samples.last()?.0)));
        newest.collect()
    })
}

impl Setting {
    /// Starts it with 1.0, where a receiver stores all of a request or nothing, and with two brokers, `a` and `b`.
    async fn start(interval: Duration) -> Self {
        Self::start_with(interval, "", FIRST).await
    }

    async fn start_with(interval: Duration, keys: &str, message: &str) -> Self {
        let (redis, refusing) = (Redis::start().await, Receiver::start().await);
        let beside = Receiver::start().await;
        refusing.behave(|behaviour| behaviour.delay = DELAY);
        let seconds = interval.as_secs();
        let sink = |name: &str, url: &str| {
            format!("- {{name: {name}, url: {url:?}, protobuf_message: {message}}}\n")
        };
        let config = format!(
            "{keys}global: {{interval: {seconds}s}}\nmetrics: {{max_series: 100000}}\n\
             brokers: [{{name: a, url: {:?}}}, {{name: b, url: {:?}}}]\nremote_write:\n{}{}",
            redis.url(0),
            redis.url(1),
            sink("refusing", &refusing.url()),
            sink("beside", &beside.url()),
        );
        let celeriac = Celeriac::start(&config).await;
        celeriac.subscribed("a").await;
        celeriac.subscribed("b").await;
        Self {
            redis,
            refusing,
            beside,
            celeriac,
            config,
            interval,
        }
    }

    /// Publishes a task of each of `names` names.
    async fn publish(&self, names: u64) {
        for name in 0..names {
            self.redis
                .publish_lives(name * 10..name * 10 + 1, &format!("task.{name}"))
                .await;
        }
    }

    /// Publishes tasks with new names until there are at least this many series.
    async fn grow(&self, series: usize) {
        let mut names = 0;
        loop {
            let known = newest(&self.beside).len();
            if known >= series {
                return println!("{known} series of {names} task names");
            }
            // Both brokers deliver events published in any database.
            for _ in 0..60 {
                self.redis
                    .publish_lives(names * 10..names * 10 + 1, &format!("task.{names}"))
                    .await;
                names += 1;
            }
            tokio::time::sleep(self.interval + Duration::from_millis(500)).await;
        }
    }

    fn refuse(&self, names: bool, refuses: Series) {
        self.refusing.with(|received| received.arrivals.clear());
        self.refusing.behave(|behaviour| {
            behaviour.names = names;
            behaviour.refuses = Some(refuses);
        });
    }

    /// Returns how far behind each accepted series is.
    fn lateness(&self, refuses: &dyn Fn(&str) -> bool) -> Vec<Duration> {
        let theirs = newest(&self.refusing);
        let all = newest(&self.beside).into_iter();
        let good = all.filter(|(key, _)| !refuses(key));
        let late = good.map(|(key, at)| {
            let stored = theirs.get(&key).copied().unwrap_or_default();
            Duration::from_millis(u64::try_from(at - stored).unwrap_or_default())
        });
        let mut late: Vec<_> = late.collect();
        late.sort();
        late
    }

    /// Counts the requests of each snapshot, which are separated by longer pauses.
    fn requests(&self) -> Vec<usize> {
        let arrivals = self.refusing.with(|received| received.arrivals.clone());
        let mut bursts: Vec<usize> = Vec::new();
        let mut last: Option<Instant> = None;
        for at in arrivals {
            match (last, bursts.last_mut()) {
                (Some(last), Some(burst)) if at.duration_since(last) < self.interval / 4 => {
                    *burst += 1;
                }
                _ => bursts.push(1),
            }
            last = Some(at);
        }
        bursts
    }

    /// Asserts that there were at most fifty extra requests per snapshot, over a number of snapshots.
    fn asks_little(&self, snapshots: f64) {
        let usual = newest(&self.beside).len() / 2_000 + 1;
        let requests = self.requests();
        let all: usize = requests.iter().sum();
        let allowed = (usual + 50) as f64 * snapshots.ceil();
        assert!(all as f64 <= allowed, "{requests:?} in {snapshots:.1}");
    }

    /// Waits until no accepted series is more than two intervals behind, and returns how many snapshots that took.
    async fn caught_up(&self, refuses: &dyn Fn(&str) -> bool, snapshots: u32) -> f64 {
        let start = Instant::now();
        loop {
            tokio::time::sleep(self.interval / 4).await;
            let taken = start.elapsed().as_secs_f64() / self.interval.as_secs_f64();
            let late = self.lateness(refuses);
            let worst = late.last().copied().unwrap_or_default();
            // At the beginning, nothing is late yet.
            if taken > 4.0 && worst <= self.interval * 2 {
                return taken;
            }
            assert!(
                taken < f64::from(snapshots),
                "{worst:?} behind after {taken:.1} snapshots; requests of each: {:?}",
                self.requests()
            );
        }
    }

    fn of(page: &Page, word: &str) -> f64 {
        let name = format!("celeriac_remote_storage_{word}");
        page.sum(&name, &["remote_name=\"refusing\""])
    }

    /// Asserts that every accepted series has all samples up to the newest.
    fn nothing_is_missing(&self, refused: &dyn Fn(&str) -> bool) {
        let stored = |receiver: &Receiver| receiver.with(|received| received.series.clone());
        let theirs = stored(&self.refusing);
        for (key, samples) in stored(&self.beside) {
            let newest = theirs.get(&key).and_then(|samples| samples.last());
            let newest = newest.map_or(i64::MIN, |(at, _)| *at);
            let until = samples.iter().filter(|(at, _)| *at <= newest).count();
            let found = theirs.get(&key).map_or(0, Vec::len);
            assert!(refused(&key) || found == until, "{key}: {found} of {until}");
        }
    }

    async fn balanced(&self) -> Page {
        let balanced = |page: &Page| {
            let sum = |word: &str| Self::of(page, &format!("samples_{word}"));
            sum("in_total") == sum("total") + sum("failed_total") + sum("pending")
                && sum("dropped_total") == 0.0
        };
        let page = self
            .celeriac
            .page_when("the books to balance", 20, balanced);
        page.await
    }
}

fn is_task(key: &str, which: impl Fn(u64) -> bool) -> bool {
    let name = key.split("name=\"task.").nth(1);
    let number = name.and_then(|name| name.split('"').next()?.parse().ok());
    number.is_some_and(which)
}

/// Selects one series in a hundred, regardless of labels.
fn is_scattered(key: &str) -> bool {
    let hash = key.bytes().fold(0_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash >> 20 & 0xff_ffff < (1 << 24) / 100
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_refused_task_names_are_found_although_nobody_names_them() {
    let setting = Setting::start(Duration::from_secs(2)).await;
    setting.publish(80).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let refused = |key: &str| is_task(key, |name| name % 4 != 0);
    setting.refuse(false, Box::new(refused));
    let snapshots = setting.caught_up(&refused, 25).await;
    let page = setting.balanced().await;
    let requests = setting.requests();
    println!("on time after {snapshots:.1} snapshots; requests of each: {requests:?}");
    assert!(
        requests.iter().all(|requests| *requests <= 12),
        "{requests:?}"
    );

    assert!(Setting::of(&page, "series_quarantined") > 60.0);
    let (status, text) = setting.celeriac.get("/-/ready").await;
    assert!(
        status == 200 && text.contains("hint: remote_write refusing: the receiver refuses"),
        "{status} {text}"
    );
    let log = setting.celeriac.process.output();
    assert!(
        log.contains("series quarantined") && log.contains("label value too long"),
        "{log}"
    );
    setting.nothing_is_missing(&refused);
    setting.refusing.assert_no_violation();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_value_of_half_of_twenty_thousand_series_is_found() {
    are_found(false, |key| key.contains("broker=\"b\"")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_scattered_series_of_twenty_thousand_are_found_by_their_names() {
    are_found(true, is_scattered).await;
}

/// Asserts that the other series are on time within ten snapshots, with few extra requests.
async fn are_found(names: bool, refused: fn(&str) -> bool) {
    let setting = Setting::start(Duration::from_secs(5)).await;
    setting.grow(20_000).await;
    setting.refuse(names, Box::new(refused));
    let snapshots = setting.caught_up(&refused, 10).await;
    let requests = setting.requests();
    println!("on time after {snapshots:.1} snapshots; requests of each: {requests:?}");
    setting.asks_little(snapshots);
    setting.balanced().await;
    setting.refusing.assert_no_violation();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_refuses_everything_is_asked_little_and_gets_all_when_it_accepts_again() {
    tokio::join!(
        all_is_refused(400, FIRST),
        all_is_refused(409, FIRST),
        all_is_refused(422, "io.prometheus.write.v2.Request")
    );
}

async fn all_is_refused(status: u16, message: &str) {
    let setting = Setting::start_with(Duration::from_secs(2), "", message).await;
    setting.publish(40).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    setting.refusing.with(|received| received.arrivals.clear());
    setting.refusing.answer_always(Some(Answer::Status(status)));
    let all = newest(&setting.beside).len() as f64;
    let page = setting.celeriac.page_when("all to be refused", 30, |page| {
        Setting::of(page, "series_quarantined") >= all
    });
    page.await;
    tokio::time::sleep(setting.interval * 3).await;
    let requests = setting.requests();
    println!("{status}: requests of each snapshot: {requests:?}");
    assert!(requests.iter().sum::<usize>() <= 60, "{requests:?}");
    let page = setting.balanced().await;
    assert_eq!(Setting::of(&page, "max_samples_per_send"), 2_000.0);
    let lost = Setting::of(&page, "samples_failed_total");
    assert!(lost > all, "each snapshot is counted");
    setting.refusing.answer_always(None);
    let page = setting
        .celeriac
        .page_when("all to be accepted", 120, |page| {
            Setting::of(page, "series_quarantined") == 0.0
        });
    page.await;
    setting.caught_up(&|_| false, 10).await;
    setting.balanced().await;
    setting.refusing.assert_no_violation();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_while_refused_series_are_looked_for_survives_a_kill() {
    let data = TempDir::new().expect("a temporary folder");
    let keys = format!("data_dir: {:?}\n", data.path());
    let mut setting = Setting::start_with(Duration::from_secs(1), &keys, FIRST).await;
    setting.publish(40).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let refused = |key: &str| is_task(key, |name| name % 4 != 0);
    setting.refuse(false, Box::new(refused));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let pending = Setting::of(&setting.celeriac.page().await, "samples_pending");
        assert!(pending > 100.0, "suspects wait: {pending}");
        setting.celeriac.process.kill();
        for receiver in [&setting.refusing, &setting.beside] {
            receiver.with(|received| received.sender_restarted());
        }
        setting.celeriac = Celeriac::start(&setting.config).await;
    }
    setting.caught_up(&refused, 60).await;
    assert!(setting.celeriac.terminate().success());
    setting.nothing_is_missing(&refused);
    setting.refusing.assert_no_violation();
}

/// Takes a quarter of an hour, at the interval that most setups use.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of an hour"]
async fn two_hundred_scattered_series_of_twenty_thousand_are_found_without_names() {
    let setting = Setting::start(Duration::from_secs(15)).await;
    setting.grow(20_000).await;
    let bad = newest(&setting.beside);
    let bad = bad.keys().filter(|key| is_scattered(key)).count() as f64;
    setting.refuse(false, Box::new(is_scattered));
    let (start, mut shares, mut found) = (Instant::now(), Vec::new(), None);
    while start.elapsed() < Duration::from_secs(900) {
        tokio::time::sleep(setting.interval).await;
        let late = setting.lateness(&is_scattered);
        let on_time = late.partition_point(|late| *late <= setting.interval * 2);
        let share = on_time as f64 / late.len() as f64;
        let page = setting.celeriac.page().await;
        let quarantined = Setting::of(&page, "series_quarantined");
        println!(
            "{:.0} s: {share:.3} on time, {quarantined} of {bad} quarantined, {} waiting",
            start.elapsed().as_secs_f64(),
            Setting::of(&page, "samples_pending")
        );
        shares.push(share);
        if quarantined == bad && share == 1.0 && found.is_none() {
            found = Some(start.elapsed());
        }
    }
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    println!("{mean:.3} on time in the mean, all found after {found:?}");
    println!("requests: {:?}", setting.requests());
    assert!(found.is_some());
    assert!(mean >= 0.9, "{shares:?}");
    setting.balanced().await;
    setting.refusing.assert_no_violation();
}
