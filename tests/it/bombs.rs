//! Bodies of a few hundred bytes that decompress to megabytes are refused without affecting good events. Normally
//! compressed events are not limited, however fast they arrive.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::support::amqp::Publisher;
use super::support::celeriac::Celeriac;
use super::support::events::{envelope, life};
use super::support::process::resident_max;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;

const AT: f64 = 1_795_344_000.0;

/// Number of bodies of each kind.
const BOMBS: usize = 150;

const UNDECODABLE: &str = "celeriac_messages_undecodable_total";

type Compress = fn(&[u8]) -> Vec<u8>;

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

fn bzip2(body: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::encode_all(body, 3).expect("memory")
}

fn xz(body: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(6);
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).expect("options");
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

/// Returns bodies that are slow to decompress in different ways, with Kombu's name for the compression.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let zeros = vec![0; 15 << 20];
    // Bzip2 finds no runs here, so it has to sort everything back.
    let turns: Vec<u8> = (0..4_500_000_u32).map(|n| b'a' + (n % 23) as u8).collect();
    // Not an event, whether or not its length is accepted.
    let long = format!("[\"{}\"]", "x".repeat(4 << 20));
    vec![
        ("application/x-bz2", bzip2(&zeros)),
        ("application/x-bz2", bzip2(&turns)),
        ("application/x-gzip", zlib(long.as_bytes())),
        ("application/x-gzip", zlib(&vec![b' '; 17 << 20])),
        ("application/zstd", zstd(&zeros)),
        ("application/x-lzma", xz(&turns)),
    ]
}

fn compressed_envelope(compression: &str, body: &[u8]) -> String {
    let plain = STANDARD.encode("");
    let header = format!(r#""headers": {{"compression": "{compression}", "#);
    envelope(&plain)
        .replacen(
            "\"body\": \"\"",
            &format!(r#""body": "{}""#, STANDARD.encode(body)),
            1,
        )
        .replacen(r#""headers": {"#, &header, 1)
}

async fn started(broker: &str) -> (Celeriac, u64) {
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {broker:?}}}]\n")).await;
    celeriac.ready().await;
    let before = resident_max(celeriac.process.pid());
    (celeriac, before)
}

/// Asserts that all good events and all bombs are counted.
async fn all_is_counted((celeriac, before): (Celeriac, u64), good: f64, bad: f64) {
    let begun = std::time::Instant::now();
    let page = celeriac
        .page_when("the events, and what is none", 10, |page| {
            page.events() >= good && page.sum(UNDECODABLE, &[]) >= bad
        })
        .await;
    let limited = page.sum(UNDECODABLE, &["reason=\"decompression_limit\""]);
    let grown = (resident_max(celeriac.process.pid()) - before) >> 20;
    println!(
        "{:?} after the last, {limited} of {bad} limited, {grown} MiB more",
        begun.elapsed()
    );
    assert_eq!((page.events(), page.sum(UNDECODABLE, &[])), (good, bad));
    assert!(limited > bad * 0.8, "{limited} of {bad}");
    assert!(grown < 120, "{grown} MiB");
    let log = celeriac.process.output();
    assert!(log.contains("is used up"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_grow_delay_no_good_events_on_redis() {
    let redis = Redis::start().await;
    let started = started(&redis.url(0)).await;
    let mut messages = Vec::new();
    let bombs = bombs();
    for n in 0..BOMBS {
        for (compression, body) in &bombs {
            messages.push(compressed_envelope(compression, body));
        }
        messages.extend(life(n as u64, "good", AT).map(|body| envelope(&body)));
    }
    redis.publish(messages.iter().map(String::as_bytes)).await;
    let (good, bad) = (4 * BOMBS, BOMBS * bombs.len());
    all_is_counted(started, good as f64, bad as f64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_grow_delay_no_good_events_on_rabbitmq() {
    let rabbitmq = RabbitMq::start().await;
    let publisher = Publisher::new(&rabbitmq.url("")).await;
    let started = started(&rabbitmq.url("")).await;
    let bombs = bombs();
    for n in 0..BOMBS {
        for (compression, body) in &bombs {
            publisher.publish_compressed(body, compression).await;
        }
        for body in life(n as u64, "good", AT) {
            publisher.publish(body.as_bytes()).await;
        }
    }
    let (good, bad) = (4 * BOMBS, BOMBS * bombs.len());
    all_is_counted(started, good as f64, bad as f64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_may_be_compressed_as_fast_as_they_come() {
    let redis = Redis::start().await;
    let (celeriac, _) = started(&redis.url(0)).await;
    let tasks = 12_000;
    let lives: Vec<_> = (0..tasks).flat_map(|n| life(n, "good", AT)).collect();
    let compressions: [(_, Compress); 3] = [
        ("application/x-bz2", bzip2),
        ("application/x-gzip", zlib),
        ("application/zstd", zstd),
    ];
    let batches = lives.chunks(24).enumerate();
    let messages: Vec<_> = batches
        .map(|(n, lives)| {
            let (name, compress) = compressions[n % compressions.len()];
            let body = format!("[{}]", lives.join(", "));
            compressed_envelope(name, &compress(body.as_bytes()))
        })
        .collect();
    redis.publish(messages.iter().map(String::as_bytes)).await;
    let page = celeriac
        .page_when("the events", 20, |page| page.events() >= 4.0 * tasks as f64)
        .await;
    assert_eq!(page.sum(UNDECODABLE, &[]), 0.0);
}
