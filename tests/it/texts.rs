//! Strings that could break a receiver, a log or a terminal, from anyone who can send an event or answer a request.

use std::collections::BTreeSet;
use std::sync::Arc;

use celeriac::escape::{is_unsafe, label_value, printable};
use celeriac::series::{
    Buckets, Family, LabelName, LabelSet, MetricKind, Origin, Relabel, Room, SeriesTable, Snapshot,
};
use celeriac::timestamp::Timestamp;
use celeriac::wire::proto::client::MetricFamily;
use celeriac::wire::{Encoder, Outgoing, Protocol, openmetrics, protobuf, text};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use prost::Message;

use super::pull::parsed;
use super::support::celeriac::Celeriac;
use super::support::celery::Celery;
use super::support::endpoint::{Endpoint, Reply};
use super::support::exposition::Exposition;
use super::support::prometheus::{Options, Prometheus, Release};
use super::support::pushgateway::Pushgateway;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;
use super::support::wait_for;
use strict_receiver::Receiver;
use strict_receiver::wire::{Labels, snappy, v1::WriteRequest, v2, zstd};

/// The contents of a page or request: the labels `name`, and the exemplars.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    names: BTreeSet<String>,
    task_ids: BTreeSet<String>,
}

/// Strings of arbitrary characters, and of the relevant ones.
fn texts() -> impl Strategy<Value = Vec<String>> {
    const PIECES: [&str; 18] = [
        "\0",
        "\\",
        "%00",
        "\"",
        "}",
        " # {",
        "\n",
        "\r",
        "\x1b[2J",
        "\u{85}",
        "\u{2028}",
        "\u{202e}",
        ",",
        "=",
        "a",
        "é",
        "\u{fffe}",
        "\0\0\0\0\0\0\0\0\0\0",
    ];
    let crafted = prop::collection::vec(prop::sample::select(&PIECES[..]), 1..8);
    let crafted = crafted.prop_map(|pieces| pieces.concat());
    let any = prop::collection::vec(any::<char>(), 0..130).prop_map(String::from_iter);
    prop::collection::vec(prop_oneof![crafted, any], 1..12)
}

/// Returns a snapshot with a counter and a histogram for each string, and a task with that id.
fn snapshot(texts: &[String]) -> Snapshot {
    let began = Timestamp::from_millis(1_000);
    let mut series = SeriesTable::new(1_000, began);
    let buckets = Arc::new(Buckets::new(&[0.5]).expect("in order"));
    let mut family = |name: &str, kind| {
        series.family(Family {
            name: name.into(),
            kind,
            help: "By hand.",
            labels: Vec::new(),
        })
    };
    let failed = family("failed_total", MetricKind::Counter);
    let ran = family("ran_seconds", MetricKind::Histogram(buckets));
    for text in texts {
        let origin = Origin::new(text, began);
        let labels = LabelSet::new([(LabelName::from_static("name"), text.as_str().into())]);
        let counted = series.open(failed, labels.clone(), Room::Limited);
        series.add_of(counted.expect("room"), 1.0, origin);
        let observed = series.open(ran, labels, Room::Limited).expect("room");
        series.observe_of(observed, 0.75, origin);
    }
    series.snapshot(Timestamp::from_millis(5_000), false)
}

impl Said {
    fn add<'a>(&mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (name, value) in labels {
            match name {
                "name" => self.names.insert(value.to_owned()),
                "task_id" => self.task_ids.insert(value.to_owned()),
                _ => false,
            };
        }
    }

    fn of_text(page: &str) -> Self {
        let mut said = Self::default();
        for series in Exposition::parse(page).samples.keys() {
            said.add(series.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        }
        said
    }

    /// Parses an OpenMetrics page. Exemplars are parsed like the series that they resemble.
    fn of_openmetrics(page: &str) -> Self {
        let page = page.strip_suffix("# EOF\n").expect("an end");
        let mut said = Self::default();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (sample, exemplar) = match line.split_once(" # {") {
                // A string may look like the beginning of an exemplar, but then the number of quotes before it is
                // odd.
                Some(_) => divided(line),
                None => (line, None),
            };
            let sample = Self::of_text(&format!("{sample}\n"));
            said.names.extend(sample.names);
            if let Some(exemplar) = exemplar {
                let (labels, _) = exemplar.rsplit_once("} ").expect("a value");
                let exemplar = Exposition::parse(&format!("x{{{labels}}} 1\n"));
                let labels = exemplar.samples.keys().flat_map(|series| &series.labels);
                said.add(labels.map(|(k, v)| (k.as_str(), v.as_str())));
            }
        }
        said
    }

    fn of_protobuf(mut page: &[u8]) -> Self {
        let mut said = Self::default();
        while !page.is_empty() {
            let family = MetricFamily::decode_length_delimited(&mut page).expect("a family");
            for metric in &family.metric {
                let counter = metric.counter.iter();
                let buckets = metric.histogram.iter().flat_map(|one| &one.bucket);
                let exemplars = counter.filter_map(|one| one.exemplar.as_ref());
                let exemplars = exemplars.chain(buckets.filter_map(|one| one.exemplar.as_ref()));
                let labels = exemplars.flat_map(|one| &one.label).chain(&metric.label);
                said.add(labels.map(|pair| (pair.name(), pair.value())));
            }
        }
        said
    }

    fn of_remote_write(snapshot: &Snapshot, protocol: Protocol) -> Self {
        let how = Outgoing {
            external: Vec::new(),
            relabel: Relabel::default(),
            samples_max: 20,
            exemplars: true,
            native: false,
            classic: true,
            draft: false,
        };
        let mut said = Self::default();
        for body in Encoder::new(how, protocol).snapshot(snapshot).bodies {
            let message = match protocol {
                Protocol::V1 | Protocol::V2 => snappy::decode(&body.bytes).expect("snappy"),
                Protocol::V1Zstd => zstd::decode(&body.bytes).expect("zstd"),
            };
            let series = match protocol {
                Protocol::V1 | Protocol::V1Zstd => {
                    WriteRequest::read(&message).expect("1.0").series
                }
                Protocol::V2 => {
                    let request = v2::Request::read(&message).expect("2.0");
                    let series = request.series.iter();
                    series.map(|entry| request.resolve(entry)).collect()
                }
            };
            let exemplars = series.iter().flat_map(|one| &one.exemplars);
            let labels: Vec<&Labels> = exemplars.map(|one| &one.labels).collect();
            let all = series.iter().map(|one| &one.labels).chain(labels).flatten();
            said.add(all.map(|(k, v)| (k.as_str(), v.as_str())));
        }
        said
    }
}

/// Splits a line into the part before the exemplar, and the exemplar.
fn divided(line: &str) -> (&str, Option<&str>) {
    let is_outside = |at: usize| {
        let (mut quoted, mut escaped) = (false, false);
        for c in line[..at].chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                _ => {}
            }
        }
        !quoted
    };
    let found = line.match_indices(" # {").find(|(at, _)| is_outside(*at));
    found.map_or((line, None), |(at, mark)| {
        (&line[..at], Some(&line[at + mark.len()..]))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn any_text_goes_out_in_every_format_and_no_two_become_one() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(64));
    let checked = runner.run(&texts(), |texts| {
        let snapshot = snapshot(&texts);
        let distinct: BTreeSet<_> = texts.iter().filter(|text| !text.is_empty()).collect();
        let values = distinct.iter().map(|text| label_value(text).into_owned());
        let names: BTreeSet<_> = values.collect();
        prop_assert_eq!(names.len(), distinct.len());
        let fits = |value: &&String| "task_id".len() + value.chars().count() <= 128;
        let task_ids = names.iter().filter(fits).cloned().collect();
        let expected = Said { names, task_ids };

        let page = text::render(&snapshot);
        prop_assert!(!page.contains(|c| c != '\n' && is_unsafe(c)), "{:?}", page);
        let without = Said {
            task_ids: BTreeSet::new(),
            names: expected.names.clone(),
        };
        prop_assert_eq!(Said::of_text(&page), without);
        let page = openmetrics::render(&snapshot, true);
        prop_assert!(!page.contains(|c| c != '\n' && is_unsafe(c)), "{:?}", page);
        prop_assert_eq!(&Said::of_openmetrics(&page), &expected);
        let page = protobuf::render(&snapshot, true);
        prop_assert_eq!(&Said::of_protobuf(&page), &expected);
        for protocol in [Protocol::V1, Protocol::V2, Protocol::V1Zstd] {
            prop_assert_eq!(&Said::of_remote_write(&snapshot, protocol), &expected);
        }
        Ok(())
    });
    checked.expect("every text");
    // The strict parser of Prometheus' Python client fails on adjacent quotes and equals signs.
    let texts = [TASK_ID, WORKER, ANSWER, "%00", "a b\\c"].map(str::to_owned);
    let families = parsed(openmetrics::render(&snapshot(&texts), true)).await;
    assert!(families.contains("failed counter 10 5\n"), "{families}");
}

/// A task id that Celery accepts, with characters that Prometheus does not.
const TASK_ID: &str = "order-\0-\u{85}7";

/// A node name that a worker accepts, which forges a line and clears the screen.
const WORKER: &str = "w\nERROR forged\x1b[2J\u{2028}";

const ESCAPED: &str = "w%0AERROR forged%1B[2J%E2%80%A8";

fn scraping(targets: &[(&str, u16)]) -> String {
    let jobs = targets.iter().map(|(job, port)| {
        format!("  - {{job_name: {job}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n")
    });
    let jobs: String = jobs.collect();
    format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}")
}

/// Waits until a server has scraped everything, including the exemplar with the task id.
async fn has_it_all(prometheus: &Prometheus, job: &str) {
    let ran = format!(
        "celery_task_runtime_seconds_count{{job={job:?},worker=~\"w.*\",name=\"routes.add\"}}"
    );
    prometheus.has(&ran, 1.0).await;
    let targets = prometheus.api("targets", &[]).await;
    for target in targets["activeTargets"].as_array().expect("targets") {
        assert_eq!(target["lastError"], "", "{target}");
    }
    let workers = prometheus.query(&ran, None).await;
    let worker = workers[0].0["worker"].as_str().expect("a worker");
    assert!(worker.starts_with(ESCAPED), "{worker}");
}

async fn knows_the_task(prometheus: &Prometheus) {
    let now = celeriac::clock::now().seconds();
    let found = prometheus
        .exemplars(
            "celery_task_runtime_seconds_bucket",
            now - 600.0,
            now + 60.0,
        )
        .await;
    let exemplars = found.iter().flat_map(|one| one["exemplars"].as_array());
    let mut ids = exemplars.flatten().map(|one| &one["labels"]["task_id"]);
    assert!(ids.any(|id| id == "order-%00-%C2%857"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_task_and_a_worker_are_called_every_receiver_takes_it() {
    let redis = Redis::start().await;
    let (receiver_1, receiver_2) = (Receiver::start().await, Receiver::start().await);
    let gateways = [Pushgateway::start().await, Pushgateway::start_1_11().await];
    let newer = Prometheus::start_with(Options::newer()).await;
    let celeriac = Celeriac::start(&format!(
        "global: {{interval: 1s, external_labels: {{region: \"eu\\0west\"}}}}\n\
         metrics: {{task_labels: [name, queue, worker]}}\n\
         brokers: [{{url: {:?}}}]\n\
         remote_write:\n\
         - {{name: one, url: '{}', protobuf_message: prometheus.WriteRequest, send_exemplars: true}}\n\
         - {{name: two, url: '{}', protobuf_message: io.prometheus.write.v2.Request, send_exemplars: true}}\n\
         - {{name: newer, url: '{}', send_exemplars: true}}\n\
         pushgateway:\n\
         - {{name: g1, url: '{}', grouping_key: {{zone: \"a\\0b\"}}}}\n\
         - {{name: g2, url: '{}', format: protobuf}}\n",
        redis.url(0),
        receiver_1.url(),
        receiver_2.url(),
        newer.write_url(),
        gateways[0].url(),
        gateways[1].url(),
    ))
    .await;
    let targets = [
        ("celeriac", celeriac.port),
        ("g1", gateways[0].port),
        ("g2", gateways[1].port),
    ];
    let mut scrapers = Vec::new();
    for release in [Release::Two, Release::Three] {
        let options = Options::scraping(release, &scraping(&targets), "exemplar-storage");
        scrapers.push(Prometheus::start_with(options).await);
    }

    let celery = Celery::new("5.7", &redis.url(0), "");
    let _worker = celery
        .worker_of("routes", WORKER, &["-c", "1", "-Q", "default"])
        .await;
    let task =
        serde_json::json!([["routes.add", [1, 2], {"task_id": TASK_ID, "queue": "default"}]]);
    let send = [("SEND", task.to_string())];
    let send = send.each_ref().map(|(name, value)| (*name, value.as_str()));
    celery.script_with("routes.py", 60, &send).await;

    for prometheus in &scrapers {
        has_it_all(prometheus, "celeriac").await;
        knows_the_task(prometheus).await;
        prometheus.has("min(up)", 1.0).await;
    }
    newer
        .has(
            "celery_task_runtime_seconds_count{region=\"eu%00west\",name=\"routes.add\"}",
            1.0,
        )
        .await;
    knows_the_task(&newer).await;
    for receiver in [&receiver_1, &receiver_2] {
        receiver.assert_no_violation();
        let exemplars = receiver.with(|received| received.exemplars.clone());
        let mut exemplars = exemplars.values().flatten();
        let labels = vec![("task_id".to_owned(), "order-%00-%C2%857".to_owned())];
        assert!(exemplars.any(|one| one.labels == labels), "{labels:?}");
    }
    let (_, page) = celeriac.get("/metrics").await;
    assert!(!page.contains(|c| c != '\n' && is_unsafe(c)), "{page:?}");
}

/// A response that forges a line and moves the cursor.
const ANSWER: &str = "no\r\nERROR forged\x1b[2J\u{9b}1A\u{2028}\u{202e}end";

const ANSWER_PRINTED: &str = r"no\r\nERROR forged\u{1b}[2J\u{9b}1A\u{2028}\u{202e}end";

/// On RabbitMQ, queue names cannot contain a line feed, so node names cannot either.
const WORKER_ON_AMQP: &str = "w ERROR forged\x1b[2J\u{2028}";

/// Asserts that a text contains the strings of the worker and the receiver, and that each of its lines is one of
/// ours.
fn check(what: &str, text: &str, worker: &str, is_ours: impl Fn(&str) -> bool) {
    for printed in [&*printable(worker), ANSWER_PRINTED] {
        assert!(text.contains(printed), "{what}: {text:?}");
    }
    assert!(
        !text.contains(|c| c != '\n' && is_unsafe(c)),
        "{what}: {text:?}"
    );
    for line in text.lines() {
        assert!(is_ours(line), "{what}: {line:?} in {text:?}");
    }
}

async fn nothing_is_forged(version: &str, url: &str, worker: &str) {
    let endpoint = Endpoint::start(|_| Reply(400, None, ANSWER.to_owned())).await;
    let config = format!(
        "brokers: [{{url: {url:?}}}]\nremote_write: [{{name: r, url: '{}'}}]\n",
        endpoint.url("/w")
    );
    let in_json = ["sh", "-c", "exec \"$@\" --log-format json", "sh"];
    let celeriac = Celeriac::start(&config).await;
    let json = Celeriac::start_through(&config, &[], &in_json).await;
    celeriac.subscribed("default").await;
    json.subscribed("default").await;
    let celery = Celery::new(version, url, "");
    let _worker = celery.worker_of("polled", worker, &["-c", "1"]).await;
    let send = [("SEND", r#"[[3, 0, {"queue": "celery"}]]"#)];
    celery.script_with("send.py", 30, &send).await;

    for daemon in [&celeriac, &json] {
        let ready = wait_for("the worker and the receiver on /-/ready", 30, async || {
            let (_, ready) = daemon.get("/-/ready").await;
            if ready.contains("heartbeats but no task events") && ready.contains("HTTP 400") {
                Ok(ready)
            } else {
                Err(ready)
            }
        })
        .await;
        let begins = ["hint: ", "remote_write r: ", "broker default: "];
        check("/-/ready", &ready, worker, |line| {
            begins.iter().any(|begin| line.starts_with(begin))
        });
    }
    let log = celeriac.process.output();
    check("the log", &log, worker, |line| {
        line.starts_with("20") && line.contains("Z ")
    });
    let log = json.process.output();
    let records: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
        .collect();
    assert!(!log.contains(|c| c != '\n' && is_unsafe(c)), "{log:?}");
    let said = |text: &str| {
        let texts = records
            .iter()
            .flat_map(|record| record.as_object())
            .flatten();
        texts
            .filter_map(|(_, value)| value.as_str())
            .any(|value| value.contains(text))
    };
    assert!(said(worker) && said(ANSWER), "{log}");
    let said = Celeriac::doctor(&format!("{config}http: {{listen: '127.0.0.1:0'}}\n")).await;
    assert!(!said.contains(is_unsafe), "{said:?}");
    assert!(said.contains(r"ERROR forged\u{1b}[2J"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_said_forges_a_line_of_a_log_or_a_page_on_rabbitmq() {
    let rabbitmq = RabbitMq::start().await;
    nothing_is_forged("5.6", &rabbitmq.url(""), WORKER_ON_AMQP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_said_forges_a_line_of_a_log_or_a_page_on_redis() {
    let redis = Redis::start().await;
    nothing_is_forged("5.7", &redis.url(0), WORKER).await;
}
