//! Many connections, and clients that stall.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Behaviour, Crowd, REQUEST, good_client, lines_about, scrape};
use crate::support::celeriac::Celeriac;
use crate::support::redis::Redis;
use crate::support::wait_for;
use strict_receiver::Receiver;

/// Runs the command in its last arguments with a limit on open files.
const FEW_FILES: [&str; 4] = ["sh", "-c", "ulimit -n 1024; exec \"$@\"", "sh"];

#[tokio::test(flavor = "multi_thread")]
async fn eleven_hundred_idle_connections_stop_neither_scrapes_nor_checkpoints_nor_pushes() {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    let data = TempDir::new().expect("a temporary folder");
    let config = format!(
        "data_dir: {:?}\nbrokers: [{{url: {:?}}}]\nremote_write: [{{url: {:?}}}]\n",
        data.path(),
        redis.url(0),
        receiver.url()
    );
    let celeriac = Celeriac::start_through(&config, &[], &FEW_FILES).await;
    celeriac.ready().await;
    let (client, mut tasks) = (good_client([127, 0, 0, 1]), 0);
    for behaviour in [Behaviour::Silent, Behaviour::NeverEnding, Behaviour::Idle] {
        let crowd = Crowd::gather(1100, celeriac.port, behaviour).await;
        let mut slowest = Duration::ZERO;
        for _ in 0..10 {
            redis.publish_lives(tasks..tasks + 10, "a.task").await;
            tasks += 10;
            slowest = slowest.max(scrape(&client, &celeriac).await);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        println!("{behaviour:?}: the slowest scrape took {slowest:?}");
        assert!(
            slowest < Duration::from_secs(3),
            "{behaviour:?}: {slowest:?}"
        );
        // A page shows the state of a checkpoint, and a receiver gets it after that.
        let page = celeriac
            .page_when("all events", 10, |page| page.events() == tasks as f64 * 4.0)
            .await;
        assert!(page.sum("process_open_fds", &[]) < 400.0, "{behaviour:?}");
        assert_eq!(page.sum("celeriac_checkpoint_failures_total", &[]), 0.0);
        wait_for("all events at the receiver", 10, async || {
            let sent = receiver.series("celery_task_sent_total", &["name=\"a.task\""]);
            let newest = sent.last().map(|(_, value)| *value);
            if newest == Some(tasks as f64) {
                Ok(())
            } else {
                Err(format!("{newest:?} of {tasks}"))
            }
        })
        .await;
        drop(crowd);
    }
    let page = celeriac.page().await;
    let limited = page.sum("celeriac_http_limited_total", &["limit=\"connections\""]);
    assert!(limited > 1000.0, "{limited}");
    // One line per minute, and this takes less than two.
    assert!((1..=2).contains(&lines_about(&celeriac, "connections")));
    receiver.assert_no_violation();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_on_open_files_is_raised_at_startup() {
    let redis = Redis::start().await;
    let config = format!("brokers: [{{url: {:?}}}]\n", redis.url(0));
    let few = [
        "sh",
        "-c",
        "ulimit -S -n 64; ulimit -H -n 4096; exec \"$@\"",
        "sh",
    ];
    let celeriac = Celeriac::start_through(&config, &[], &few).await;
    let limits = format!("/proc/{}/limits", celeriac.process.pid());
    let limits = std::fs::read_to_string(limits).expect("a running process");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<_> = files.expect("the limit").split_whitespace().collect();
    assert_eq!(words[3..5], ["4096", "4096"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_files_half_of_them_are_left_to_the_daemon() {
    let redis = Redis::start().await;
    let config = format!("brokers: [{{url: {:?}}}]\n", redis.url(0));
    let few = ["sh", "-c", "ulimit -n 100; exec \"$@\"", "sh"];
    let celeriac = Celeriac::start_through(&config, &[], &few).await;
    celeriac.ready().await;
    let _crowd = Crowd::gather(200, celeriac.port, Behaviour::Silent).await;
    let client = good_client([127, 0, 0, 1]);
    for _ in 0..10 {
        scrape(&client, &celeriac).await;
    }
    let page = celeriac
        .page_when("a snapshot", 10, |page| {
            page.sum("celeriac_http_limited_total", &["limit=\"connections\""]) > 100.0
        })
        .await;
    let open = page.sum("process_open_fds", &[]);
    assert!(open > 50.0 && open < 90.0, "{open}");
}

/// Reads until the connection is closed, and returns how long that took.
async fn closed(mut stream: TcpStream, started: Instant) -> Duration {
    let mut buffer = [0; 1024];
    while matches!(stream.read(&mut buffer).await, Ok(bytes) if bytes > 0) {}
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_comes_is_given_up_and_a_scraper_between_scrapes_is_not() {
    let redis = Redis::start().await;
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {:?}}}]\n", redis.url(0))).await;
    let connect = async || {
        let connected = TcpStream::connect(("127.0.0.1", celeriac.port)).await;
        connected.expect("a connection")
    };
    let started = Instant::now();
    let silent = tokio::spawn(closed(connect().await, started));
    let (mut reading, mut writing) = connect().await.into_split();
    let trickling = tokio::spawn(async move {
        // One byte of a request per second.
        while writing.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let trickled = tokio::spawn(async move {
        let mut buffer = [0; 1024];
        while matches!(reading.read(&mut buffer).await, Ok(bytes) if bytes > 0) {}
        started.elapsed()
    });
    let mut kept = connect().await;
    let mut buffer = [0; 1024];
    kept.write_all(REQUEST).await.expect("a connection");
    assert!(kept.read(&mut buffer).await.expect("an answer") > 0);
    for after in [silent.await, trickled.await] {
        let after = after.expect("no panic");
        println!("closed after {after:?}");
        assert!((9..=13).contains(&after.as_secs()), "{after:?}");
    }
    trickling.await.expect("no panic");
    kept.write_all(REQUEST).await.expect("a connection");
    let read = kept.read(&mut buffer).await.expect("an answer");
    assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));
    celeriac
        .page_when("both to count", 10, |page| {
            page.sum("celeriac_http_limited_total", &["limit=\"header\""]) == 2.0
        })
        .await;
    assert_eq!(lines_about(&celeriac, "header"), 1);
}
