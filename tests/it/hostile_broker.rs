//! A Redis whose responses never end costs only its own connection.

use super::support::celeriac::Celeriac;
use super::support::hostile_redis::{Answer, HostileRedis, To};
use super::support::process::resident_max;
use super::support::redis::Redis;
use super::support::wait_for;

/// Number of connections to the hostile server to wait for. The pauses before them are at most 1, 2 and 4 s.
const TRIES: u64 = 4;

/// Runs a daemon with a good and a hostile broker.
async fn is_bounded(to: To, answer: Answer, reason: &str) {
    let good = Redis::start().await;
    let bad = HostileRedis::start(to, answer).await;
    let celeriac = Celeriac::start(&format!(
        "brokers:\n- {{name: good, url: {:?}}}\n- {{name: bad, url: {:?}}}\n",
        good.url(0),
        bad.url()
    ))
    .await;
    celeriac.subscribed("good").await;
    let pid = celeriac.process.pid();
    let before = resident_max(pid);
    for round in 0..TRIES {
        good.publish_lives(round * 10..(round + 1) * 10, "t").await;
        wait_for("another try", 20, async || {
            let tries = bad.answered();
            if tries > round {
                Ok(())
            } else {
                Err(format!("{tries} tries"))
            }
        })
        .await;
    }
    celeriac
        .page_when("the events", 20, |page| {
            page.events() == 40.0 * TRIES as f64
        })
        .await;
    let output = celeriac.process.output();
    let told: Vec<_> = output
        .lines()
        .filter(|line| line.contains(reason))
        .collect();
    assert!(told.len() == 1, "{reason}: {output}");
    assert!(bad.answered() < 3 * TRIES, "{} tries", bad.answered());
    let grown = (resident_max(pid) - before) >> 20;
    println!("{to:?} {answer:?}: {grown} MiB more at most");
    assert!(grown < 200, "{grown} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_takes_no_endless_answer() {
    let too_long = "a reply or a name that is too long";
    for (answer, reason) in [
        (Answer("$1099511627776\r\n", "x"), too_long),
        (Answer("*1000000000\r\n", ":1\r\n"), too_long),
        (Answer("+", "x"), "an unterminated line"),
    ] {
        is_bounded(To::Subscribers, answer, reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poller_takes_no_endless_answer() {
    let large = "the server's response is larger than 64 MiB";
    for (answer, reason) in [
        (Answer("$1099511627776\r\n", "x"), large),
        (Answer("*1000000000\r\n", ":1\r\n"), large),
        (Answer("*1000000\r\n", ":1\r\n"), large),
        (
            Answer("+", "x"),
            "the server's response has a line longer than 64 KiB",
        ),
    ] {
        is_bounded(To::Commands, answer, reason).await;
    }
}
