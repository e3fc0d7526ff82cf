//! Large pages that clients request but do not read.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{good_client, lines_about, scrape};
use crate::support::celeriac::Celeriac;
use crate::support::process::resident_max;
use crate::support::redis::Redis;
use crate::support::wait_for;

const MIB: u64 = 1 << 20;

/// The limit in our manifests.
const MEMORY_MAX: u64 = 512 * MIB;

/// A daemon with a page of about 11 MB.
struct Large {
    celeriac: Celeriac,
    /// Its resident memory after a first scrape.
    before: u64,
    redis: Redis,
}

impl Large {
    async fn start(interval: &str) -> Self {
        let redis = Redis::start().await;
        let config = format!(
            "global: {{interval: {interval}}}\nbrokers: [{{url: {:?}}}]\n",
            redis.url(0)
        );
        let celeriac = Celeriac::start(&config).await;
        celeriac.ready().await;
        for n in 0..800 {
            let name = format!("shop.{}.{n:04}", "orders.invoices.".repeat(4));
            redis.publish_lives(n..n + 1, &name).await;
        }
        celeriac
            .page_when("all events", 60, |page| page.events() == 3200.0)
            .await;
        let (_, page) = celeriac.get("/metrics").await;
        println!("a page of {} bytes", page.len());
        assert!(page.len() > 10_000_000, "{}", page.len());
        scrape(&good_client([127, 0, 0, 1]), &celeriac).await;
        let before = celeriac.resident();
        Self {
            celeriac,
            before,
            redis,
        }
    }

    /// Requests a page and reads only its first bytes.
    async fn ask(&self, headers: &str) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.celeriac.port)).await;
        let mut stream = stream.expect("a connection");
        let request = format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("a connection");
        stream.read_exact(&mut [0; 12]).await.expect("a response");
        stream
    }

    /// Asserts that events are counted and pages are complete.
    async fn works(&self, tasks: u64) {
        self.redis.publish_lives(1000..1000 + tasks, "a.task").await;
        let client = good_client([127, 0, 0, 1]);
        for _ in 0..3 {
            let took = scrape(&client, &self.celeriac).await;
            assert!(took < Duration::from_secs(5), "{took:?}");
        }
        self.celeriac
            .page_when("all events", 20, |page| {
                page.events() == 3200.0 + tasks as f64 * 4.0
            })
            .await;
    }

    /// Returns the peak increase of resident memory in bytes.
    fn peak(&self) -> u64 {
        resident_max(self.celeriac.process.pid()).saturating_sub(self.before)
    }

    async fn memory_is_given_back(&self, bytes: u64) {
        wait_for("memory to be given back", 20, async || {
            let more = self.celeriac.resident().saturating_sub(self.before);
            if more <= bytes {
                println!("{} MiB more than before in the end", more / MIB);
                Ok(())
            } else {
                Err(format!("{} MiB more than before", more / MIB))
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_nobody_reads_are_one_page_in_memory() {
    let large = Large::start("2s").await;
    let mut unread = Vec::new();
    for _ in 0..200 {
        unread.push(large.ask("").await);
    }
    large.works(10).await;
    println!(
        "{} MiB before, {} MiB more at most",
        large.before / MIB,
        large.peak() / MIB
    );
    assert!(large.peak() < 150 * MIB, "{} MiB", large.peak() / MIB);
    drop(unread);
    large.memory_is_given_back(64 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_pages_of_every_format_and_snapshot_fit_into_bounded_memory() {
    let large = Large::start("1s").await;
    let formats = [
        "text/plain",
        "application/openmetrics-text",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    ];
    let (mut unread, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(15));
    while Instant::now() < deadline {
        for format in formats {
            for coding in ["identity", "gzip", "zstd"] {
                let headers = format!("Accept: {format}\r\nAccept-Encoding: {coding}\r\n");
                unread.push(large.ask(&headers).await);
            }
        }
        // Many clients that disconnect while their page is rendered.
        for _ in 0..20 {
            let stream = TcpStream::connect(("127.0.0.1", large.celeriac.port)).await;
            let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
            let mut stream = stream.expect("a connection");
            stream.write_all(request).await.expect("a connection");
        }
        // Slow enough to keep them all for some snapshots, before there are too many connections.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    large.works(10).await;
    println!(
        "{} unread, {} MiB before, {} MiB more at most",
        unread.len(),
        large.before / MIB,
        large.peak() / MIB
    );
    assert!(
        large.before + large.peak() < MEMORY_MAX,
        "{} MiB",
        large.peak() / MIB
    );
    let page = large.celeriac.page().await;
    let cut = page.sum("celeriac_http_limited_total", &["limit=\"renderings\""]);
    assert!(cut > 0.0 && lines_about(&large.celeriac, "renderings") == 1);
    drop(unread);
    large.memory_is_given_back(96 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_not_read_ends_and_one_that_is_read_slowly_does_not() {
    let large = Large::start("2s").await;
    let (mut stalled, mut slow) = (large.ask("").await, large.ask("").await);
    let started = Instant::now();
    let slowly = tokio::spawn(async move {
        let (mut buffer, mut total) = (vec![0; 128 << 10], 0);
        // For longer than the timeout of the other client.
        while total < 10_000_000 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let read = slow.read(&mut buffer).await;
            match read.expect("a connection") {
                0 => break,
                bytes => total += bytes,
            }
        }
        (total, started.elapsed())
    });
    large
        .celeriac
        .page_when("the stalled one to end", 30, |page| {
            page.sum("celeriac_http_limited_total", &["limit=\"write\""]) == 1.0
        })
        .await;
    assert!(started.elapsed() > Duration::from_secs(9));
    let mut rest = Vec::new();
    let _ = stalled.read_to_end(&mut rest).await;
    assert!(rest.len() < 8_000_000, "{}", rest.len());
    let (read, took) = slowly.await.expect("no panic");
    println!("{read} bytes in {took:?}");
    assert!(read >= 10_000_000 && took > Duration::from_secs(12));
    assert_eq!(lines_about(&large.celeriac, "write"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_without_tls_is_refused() {
    let redis = Redis::start().await;
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {:?}}}]\n", redis.url(0))).await;
    let url = format!("http://127.0.0.1:{}/metrics", celeriac.port);
    let client = reqwest::Client::builder().http2_prior_knowledge();
    let answer = client.build().expect("a client").get(&url).send().await;
    assert!(answer.is_err(), "{answer:?}");
    let upgrade = reqwest::Client::new()
        .get(&url)
        .header("connection", "upgrade, http2-settings")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA");
    let answer = upgrade.send().await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (200, reqwest::Version::HTTP_11)
    );
}
