//! Real receivers accept valid requests: the strict receiver demands nothing that they refuse, and the tests can
//! query everything that they store.

use std::time::SystemTime;

use serde_json::Value;

use super::support::prometheus::{Options, Prometheus};
use super::support::querier::Querier;
use super::support::victoria::Victoria;
use super::support::wait_for;
use strict_receiver::Receiver;
use strict_receiver::wire::encode::{Message, zigzag};

const MINUTE: i64 = 60_000;

fn now() -> i64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("a clock");
    i64::try_from(now.as_millis()).expect("before the end of time")
}

async fn post(querier: &Querier, url: &str, second: bool, message: &Message) -> (u16, String) {
    let (content_type, version) = if second {
        let name = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        (name, "2.0.0")
    } else {
        ("application/x-protobuf", "0.1.0")
    };
    let body = snap::raw::Encoder::new().compress_vec(&message.0);
    let answer = querier
        .client
        .post(url)
        .header("content-encoding", "snappy")
        .header("content-type", content_type)
        .header("x-prometheus-remote-write-version", version)
        .header("user-agent", "test/1.0")
        .body(body.expect("a block"))
        .send()
        .await
        .expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a body"))
}

fn sample(value: f64, at: i64) -> Message {
    Message::new().double(1, value).signed(2, at)
}

/// Two samples of a counter in 1.0.
fn first(at: i64) -> Message {
    let labels = [("__name__", "x_total"), ("job", "celery")];
    let series = labels.iter().fold(Message::new(), |series, (name, value)| {
        series.message(1, &Message::new().text(1, name).text(2, value))
    });
    let series = series
        .message(2, &sample(1.0, at - MINUTE))
        .message(2, &sample(3.0, at));
    Message::new().message(1, &series)
}

/// A counter with an exemplar and a native histogram in 2.0.
fn second(at: i64) -> Message {
    let symbols = [
        "",
        "__name__",
        "x_total",
        "job",
        "celery",
        "Help.",
        "task_id",
        "some-id",
        "y_seconds",
        "seconds",
    ];
    let symbols = symbols
        .iter()
        .fold(Message::new(), |request, symbol| request.text(4, symbol));
    let exemplar = Message::new()
        .packed(1, &[6, 7])
        .double(2, 1.0)
        .signed(3, at - 1);
    let counter = Message::new()
        .packed(1, &[1, 2, 3, 4])
        .message(2, &sample(3.0, at).signed(3, at - MINUTE))
        .message(4, &exemplar)
        .message(5, &Message::new().varint(1, 1).varint(3, 5))
        // The field in which Prometheus 3.5 looks for it.
        .signed(6, at - MINUTE);
    let histogram = Message::new()
        .varint(1, 10)
        .double(3, 12.5)
        .zigzag(4, 3)
        .varint(6, 1)
        .message(11, &Message::new().zigzag(1, 0).varint(2, 2))
        .message(11, &Message::new().zigzag(1, 3).varint(2, 1))
        .packed(12, &[zigzag(2), zigzag(1), zigzag(1)])
        .signed(15, at)
        .signed(17, at - MINUTE);
    let histogram = Message::new()
        .packed(1, &[1, 8, 3, 4])
        .message(3, &histogram)
        .message(5, &Message::new().varint(1, 3).varint(3, 5).varint(4, 9));
    symbols.message(5, &counter).message(5, &histogram)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_no_rule_is_taken_by_real_receivers() {
    let at = now();
    let strict = Receiver::start().await;
    strict.behave(|behaviour| behaviour.draft_created = true);
    let client = Querier::new(strict.address.port());
    for (is_second, message) in [(false, first(at)), (true, second(at + 1))] {
        let answer = post(&client, &strict.url(), is_second, &message).await;
        assert_eq!(answer, (204, String::new()));
    }
    strict.assert_no_violation();
    strict.assert_no_note();
    let exemplar = &strict.exemplars("x_total", &[])[0];
    let label = ("task_id".to_owned(), "some-id".to_owned());
    assert_eq!((exemplar.timestamp, &exemplar.labels[0]), (at, &label));
    let (_, histogram) = &strict.histograms("y_seconds", &[])[0];
    let buckets: Vec<_> = histogram.positive.iter().map(|(i, n)| (*i, *n)).collect();
    assert_eq!(buckets, [(0, 2.0), (1, 3.0), (5, 4.0)]);

    let (old, new) = (Prometheus::start().await, Prometheus::start_3().await);
    let (victoria, newer) = (Victoria::start().await, Victoria::start_newer().await);
    for server in [&*old, &*new, &*victoria, &*newer] {
        let answer = post(server, &server.write_url(), false, &first(at)).await;
        assert_eq!(answer.0, 204, "{}: {}", server.base, answer.1);
        server.has("x_total{job=\"celery\"}", 3.0).await;
        let stored = server.stored("x_total", "5m").await;
        let values: Vec<_> = stored.iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [1.0, 3.0], "{}", server.base);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_3_gives_back_all_that_2_carries() {
    let prometheus = Prometheus::start_with(Options::newer().out_of_order("10m")).await;
    let at = now();
    let answer = post(&prometheus, &prometheus.write_url(), true, &second(at)).await;
    assert_eq!(answer, (204, String::new()));
    prometheus.has("x_total", 3.0).await;
    // The zero derived from the start time.
    let stored = prometheus.stored("x_total", "5m").await;
    let values: Vec<_> = stored.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [0.0, 3.0]);
    assert_eq!(prometheus.sum("histogram_count(y_seconds)").await, 10.0);
    assert_eq!(prometheus.sum("histogram_sum(y_seconds)").await, 12.5);
    let seconds = at as f64 / 1000.0;
    let exemplars = wait_for("the exemplar", 10, async || {
        let found = prometheus
            .exemplars("x_total", seconds - 60.0, seconds + 60.0)
            .await;
        if found.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(found)
        }
    })
    .await;
    assert_eq!(exemplars[0]["exemplars"][0]["labels"]["task_id"], "some-id");
    // For remote-written series, 3.5 keeps no metadata that its API would show.
    assert_eq!(prometheus.metadata("x_total").await, Vec::<Value>::new());
    // Late, but within the window.
    let late = first(at - 2 * MINUTE);
    let answer = post(&prometheus, &prometheus.write_url(), false, &late).await;
    assert_eq!(answer, (204, String::new()));
}
