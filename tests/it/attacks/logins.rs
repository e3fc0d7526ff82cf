//! Password guessing by many clients at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{good_client, lines_about};
use crate::support::celeriac::Celeriac;
use crate::support::redis::Redis;
use crate::support::wait_for;

/// "hunter2" at a cost of 10.
const HASH: &str = "$2y$10$abcdefghijklmnopqrstuu7gIUFBKrYXdzQy8HrouzMJyZ4cijAb2";

type Statuses = Arc<Mutex<BTreeMap<u16, usize>>>;

/// Clients that try one password after another, for a user that may not exist.
struct Guessers {
    statuses: Statuses,
    _clients: JoinSet<()>,
}

impl Guessers {
    /// Starts clients on several addresses of the loopback network, evenly spread.
    async fn gather(size: usize, port: u16, addresses: u8) -> Self {
        let statuses = Statuses::default();
        let mut clients = JoinSet::new();
        for n in 0..size {
            let last = u8::try_from(n % usize::from(addresses)).expect("small") + 1;
            let client =
                reqwest::Client::builder().local_address(std::net::IpAddr::from([127, 0, 1, last]));
            let client = client.build().expect("a client");
            clients.spawn(guess(client, port, n, Arc::clone(&statuses)));
        }
        let guessers = Self {
            statuses,
            _clients: clients,
        };
        wait_for("guesses", 20, async || match guessers.count() {
            some if some < size.min(20) => Err(format!("{some}")),
            _ => Ok(()),
        })
        .await;
        guessers
    }

    fn count(&self) -> usize {
        self.statuses.lock().expect("no panic").values().sum()
    }
}

async fn guess(client: reqwest::Client, port: u16, n: usize, statuses: Statuses) {
    let user = if n.is_multiple_of(2) {
        "prometheus"
    } else {
        "nobody"
    };
    for attempt in 0.. {
        let asked = client
            .get(format!("http://127.0.0.1:{port}/metrics"))
            .basic_auth(user, Some(format!("{n}-{attempt}")));
        let Ok(answer) = asked.send().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let status = answer.status().as_u16();
        *statuses
            .lock()
            .expect("no panic")
            .entry(status)
            .or_default() += 1;
        if status == 429 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// Logs in with the right password, and returns how long the response took.
async fn log_in(client: &reqwest::Client, port: u16, user: &str) -> Duration {
    let started = Instant::now();
    let url = format!("http://127.0.0.1:{port}/metrics");
    let asked = client.get(url).basic_auth(user, Some("hunter2"));
    let answer = asked.send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{user}");
    started.elapsed()
}

async fn start(redis: &Redis) -> Celeriac {
    let users = ["prometheus", "second", "third"].map(|user| format!("{user}: '{HASH}'"));
    let config = format!(
        "brokers: [{{url: {:?}}}]\nhttp: {{listen: \"{{listen}}\", basic_auth_users: {{{}}}}}\n",
        redis.url(0),
        users.join(", ")
    );
    Celeriac::start(&config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_login_is_not_held_up_by_wrong_ones() {
    let redis = Redis::start().await;
    let celeriac = start(&redis).await;
    let port = celeriac.port;
    let (same, other) = (good_client([127, 0, 1, 1]), good_client([127, 0, 0, 2]));
    log_in(&same, port, "second").await;
    let guessers = Guessers::gather(400, port, 1).await;

    let first = log_in(&other, port, "prometheus").await;
    println!("the first right login took {first:?}");
    assert!(first < Duration::from_secs(2), "{first:?}");
    let mut slowest = Duration::ZERO;
    for n in 0..20_u64 {
        redis.publish_lives(n..n + 1, "a.task").await;
        // Even from the attacker's address.
        slowest = slowest.max(log_in(&same, port, "second").await);
        slowest = slowest.max(log_in(&other, port, "prometheus").await);
    }
    println!("the slowest known login took {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    wait_for("all events", 10, async || {
        let url = format!("http://127.0.0.1:{port}/metrics");
        let asked = other.get(url).basic_auth("prometheus", Some("hunter2"));
        let page = asked.send().await.expect("an answer").text().await;
        let page = page.expect("a page");
        let sent = page
            .lines()
            .find(|line| line.starts_with("celery_task_sent_total{"));
        let limited = page.lines().any(|line| {
            line.starts_with("celeriac_http_limited_total{limit=\"logins\"}")
                && !line.ends_with(" 0")
        });
        if limited && sent.is_some_and(|line| line.ends_with(" 20")) {
            Ok(())
        } else {
            Err(format!("{sent:?}, {limited}"))
        }
    })
    .await;
    let statuses = guessers.statuses.lock().expect("no panic").clone();
    println!("{statuses:?}");
    assert!(statuses.keys().eq(&[401, 429]), "{statuses:?}");
    assert_eq!(lines_about(&celeriac, "logins"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_from_many_addresses_hold_up_no_login_that_was_right_before() {
    let redis = Redis::start().await;
    let celeriac = start(&redis).await;
    let client = good_client([127, 0, 0, 2]);
    log_in(&client, celeriac.port, "prometheus").await;
    let guessers = Guessers::gather(400, celeriac.port, 40).await;
    for _ in 0..20 {
        let took = log_in(&client, celeriac.port, "prometheus").await;
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    // A new user takes turns with forty addresses.
    let first = log_in(&client, celeriac.port, "third").await;
    println!("the first right login took {first:?}");
    assert!(first < Duration::from_secs(10), "{first:?}");
    assert!(guessers.count() > 0);
}
