//! The pages to scrape: how each Prometheus release reads each format, and what independent parsers report.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use celeriac::clock;
use celeriac::http::{Page, Server};
use celeriac::profile::ProfileName;
use celeriac::series::{
    Buckets, Exemplar, Exponential, Family, LabelName, LabelSet, MetricKind, Room, SeriesTable,
    Snapshot, Value,
};
use celeriac::telemetry::readiness::Readiness;
use celeriac::timestamp::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::support::celeriac::Celeriac;
use super::support::events::{envelope, life, uuid};
use super::support::prometheus::{Options, Prometheus, Release};
use super::support::promtool::lint;
use super::support::redis::Redis;
use super::support::{made_by_setup, wait_for};

/// A daemon with a page for each profile, at a path with its name, after some tasks have run.
struct Pages {
    celeriac: Celeriac,
    #[expect(dead_code, reason = "stopped when dropped")]
    redis: Redis,
}

impl Pages {
    async fn start() -> Self {
        let redis = Redis::start().await;
        let pages = ProfileName::ALL.map(|profile| {
            let name = profile.name();
            format!(
                "    - {{path: /{name}, profile: {name}, native_histograms: true}}\n    \
                 - {{path: /classic/{name}, profile: {name}}}\n"
            )
        });
        let config = format!(
            "brokers: [{{url: {:?}, queue_interval: 1s}}]\nhttp:\n  listen: \"{{listen}}\"\n  scrape:\n{}",
            redis.url(0),
            pages.concat()
        );
        let celeriac = Celeriac::start(&config).await;
        celeriac.ready().await;
        redis.publish_lives(0..20, "a.task").await;
        let [sent, received, ..] = life(20, "another.task", 1_795_344_000.0);
        let common = format!(
            r#""hostname": "w0@host", "utcoffset": 0, "pid": 1, "clock": 1, "uuid": "{}", "timestamp": 1795344001.0"#,
            uuid(20)
        );
        let failed = format!(
            r#"{{"type": "task-failed", "exception": "ValueError('a \"b\"\\n')", "traceback": "", {common}}}"#
        );
        let heartbeat = format!(
            r#"{{"type": "worker-heartbeat", "freq": 2.0, "active": 1, "processed": 3, "loadavg": [1, 2, 3], "sw_ident": "py-celery", "sw_ver": "5.6.0", "sw_sys": "Linux", {common}}}"#
        );
        let bodies = [sent, received, failed, heartbeat].map(|body| envelope(&body));
        redis.publish(bodies.iter().map(String::as_bytes)).await;
        // The queue's gauges come with a poll.
        wait_for("all events and the queue", 20, async || {
            let page = celeriac.page_of("/native").await;
            let has_queue = page
                .0
                .keys()
                .any(|line| line.starts_with("celery_queue_length"));
            if page.events() == 84.0 && has_queue {
                Ok(())
            } else {
                Err(format!("{} of 84", page.events()))
            }
        })
        .await;
        Self { celeriac, redis }
    }

    async fn get(&self, profile: ProfileName, accept: &str) -> (String, String) {
        let url = format!("http://127.0.0.1:{}/{}", self.celeriac.port, profile.name());
        let asked = reqwest::Client::new().get(url).header("accept", accept);
        let answer = asked.send().await.expect("an answer");
        let content_type = answer.headers()["content-type"].to_str().expect("a text");
        (
            content_type.to_owned(),
            answer.text().await.expect("a body"),
        )
    }
}

/// Whether promtool complains about a name that is the other exporter's.
fn is_expected(profile: ProfileName, complaint: &str) -> bool {
    let is_count = |name| complaint.starts_with(name) && complaint.contains("_count");
    profile == ProfileName::CeleryExporter
        && [
            "celery_active_process_count ",
            "celery_active_worker_count ",
        ]
        .into_iter()
        .any(is_count)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_page_passes_promtool_and_a_strict_parser_of_openmetrics() {
    let pages = Pages::start().await;
    for profile in ProfileName::ALL {
        let (_, page) = pages.get(profile, "text/plain").await;
        let complaints = lint(&page);
        let complaints = complaints
            .lines()
            .filter(|line| !is_expected(profile, line));
        assert_eq!(
            complaints.collect::<Vec<_>>(),
            [""; 0],
            "{}",
            profile.name()
        );

        let (content_type, page) = pages.get(profile, "application/openmetrics-text").await;
        assert_eq!(
            content_type,
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        let families = parsed(page).await;
        assert!(families.lines().count() > 5, "{families}");
    }
    let (_, page) = pages
        .get(ProfileName::Native, "application/openmetrics-text")
        .await;
    let families = parsed(page).await;
    assert!(
        families.contains("celery_task_sent counter 2 "),
        "{families}"
    );
}

/// Parses a page with Prometheus' Python client, and returns one family per line.
pub(super) async fn parsed(page: String) -> String {
    use std::io::Write;

    let python = made_by_setup("venvs/exporter-flower/bin/python");
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/python/openmetrics.py"
    );
    let reading = move || {
        let mut parser = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut stdin = parser.stdin.take().expect("a pipe");
        stdin.write_all(page.as_bytes()).expect("it reads");
        drop(stdin);
        let output = parser.wait_with_output().expect("it ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}\n{page}");
        String::from_utf8(output.stdout).expect("a text")
    };
    tokio::task::spawn_blocking(reading).await.expect("it ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_prometheus_reads_the_same_samples_in_each_format() {
    let pages = Pages::start().await;
    let address = format!("127.0.0.1:{}", pages.celeriac.port);
    let job = |profile: ProfileName, folder: &str, more: &str| {
        let name = profile.name();
        format!(
            "  - {{job_name: \"{name}{more}\", metrics_path: {folder}/{name}, static_configs: [{{targets: [\"{address}\"]}}]"
        )
    };
    let protocols = [
        "PrometheusText0.0.4",
        "PrometheusText1.0.0",
        "OpenMetricsText0.0.1",
        "OpenMetricsText1.0.0",
        "PrometheusProto",
    ];
    let plain = ProfileName::ALL.map(|profile| job(profile, "", "") + "}\n");
    let each = ProfileName::ALL.iter().flat_map(|profile| {
        protocols.map(|protocol| {
            // A server that requests protobuf but has native histograms disabled ignores both forms of a histogram
            // that has both.
            let job = job(*profile, "/classic", &format!(" {protocol}"));
            format!("{job}, scrape_protocols: [{protocol}]}}\n")
        })
    });
    let config = |jobs: String| format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}");
    let cases = [
        (Release::Two, config(plain.concat()), "", 6),
        (Release::Two, config(plain.concat()), "native-histograms", 6),
        (Release::Three, config(plain.concat()), "", 6),
        (Release::Three, config(each.collect()), "", 30),
    ];
    for (release, config, features, targets) in cases {
        let prometheus =
            Prometheus::start_with(Options::scraping(release, &config, features)).await;
        prometheus.has("sum(up)", f64::from(targets)).await;
        // Includes the daemon's own series in each profile.
        let differing = "count(count by (metrics) (label_replace(scrape_samples_scraped, \"metrics\", \"$1\", \"job\", \"([^ ]+).*\"))) or vector(0)";
        prometheus.has(differing, 6.0).await;
        for profile in ProfileName::ALL {
            let job = format!("job=~\"{}( .*)?\"", profile.name());
            let counts = format!("count(count_values(\"n\", scrape_samples_scraped{{{job}}}))");
            prometheus.has(&counts, 1.0).await;
        }
        let sent = "count(celery_task_sent_total{job=~\"native.*\",name=\"a.task\"} == 20)";
        prometheus.has(sent, f64::from(targets / 6)).await;
        let of = "{job=~\"native.*\",name=\"a.task\"}";
        // If it requests protobuf, it uses the native form and ignores the classic one.
        let ran = if features.is_empty() {
            format!("celery_task_runtime_seconds_count{of}")
        } else {
            format!("histogram_count(celery_task_runtime_seconds{of})")
        };
        let ran = format!("count({ran} == 20)");
        prometheus.has(&ran, f64::from(targets / 6)).await;
        let errors = prometheus.api("targets", &[]).await;
        let errors = errors["activeTargets"].as_array().expect("targets").iter();
        for target in errors {
            assert_eq!(target["lastError"], "", "{release:?} {features}: {target}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_ran_is_found_by_its_exemplar_and_in_a_native_histogram() {
    let pages = Pages::start().await;
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: x, metrics_path: /native, static_configs: [{{targets: [\"127.0.0.1:{}\"]}}]}}]\n",
        pages.celeriac.port
    );
    let features = "exemplar-storage,native-histograms";
    for release in [Release::Two, Release::Three] {
        let prometheus =
            Prometheus::start_with(Options::scraping(release, &config, features)).await;
        let ran = "histogram_count(celery_task_runtime_seconds{name=\"a.task\"})";
        prometheus.has(ran, 20.0).await;
        let now = clock::now().seconds();
        let [start, end] = [now - 3600.0, now + 60.0].map(|time| format!("{time:.3}"));
        let query = "celery_task_runtime_seconds{name=\"a.task\"}";
        let parameters = [("query", query), ("start", &start), ("end", &end)];
        let found = prometheus.api("query_exemplars", &parameters).await;
        let task = &found[0]["exemplars"][0]["labels"]["task_id"];
        assert!((0..20).any(|n| *task == uuid(n)), "{release:?}: {found}");
    }
}

/// Serves a snapshot made by the test until the token is dropped, and returns the address.
fn serve(snapshot: Snapshot) -> (SocketAddr, tokio_util::sync::DropGuard) {
    let (_, snapshots) = watch::channel(Arc::new(snapshot));
    let page = Page {
        path: "/metrics".to_owned(),
        snapshots,
        native_histograms: true,
        created_series: false,
    };
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind(listen, vec![page], Readiness::default());
    let server = server.expect("a free port");
    let address = server.address().expect("a bound listener");
    let stop = CancellationToken::new();
    tokio::spawn(server.run(stop.clone()));
    (address, stop.drop_guard())
}

/// A counter and a histogram with exemplars, both started a minute ago, and a native histogram without observations.
fn made_by_hand(now: Timestamp) -> Snapshot {
    let began = Timestamp::from_millis(now.millis() - 60_000);
    let mut series = SeriesTable::new(100, began);
    let buckets = Arc::new(Buckets::new(&[0.5, 1.0]).expect("in order"));
    let mut family = |name: &str, kind| {
        series.family(Family {
            name: name.into(),
            kind,
            help: "By hand.",
            labels: Vec::new(),
        })
    };
    let ran = family("ran_seconds", MetricKind::Histogram(Arc::clone(&buckets)));
    // A separate family: Prometheus 2.42 treats a whole family like its first histogram.
    let waited = family("waited_seconds", MetricKind::Histogram(buckets));
    let sent = family("sent_total", MetricKind::Counter);
    let labels = |name: &str| LabelSet::new([(LabelName::from_static("name"), name.into())]);
    let mut open = |family, name| series.open(family, labels(name), Room::Limited);
    let classic = open(ran, "classic").expect("room");
    open(waited, "native").expect("room");
    let counted = open(sent, "a").expect("room");
    series.observe(classic, 0.75);
    series.add(counted, 3.0);
    let mut snapshot = series.snapshot(now, false);
    let exemplar = |task_id: &str, value| {
        Arc::new(Exemplar {
            task_id: task_id.into(),
            value,
            at: now,
            snapshot: 1,
        })
    };
    for row in &mut snapshot.rows {
        let native = row.info.labels.iter().eq([("name", "native")]);
        match &mut row.value {
            Value::Number(_) => row.exemplar = Some(exemplar("task-1", 1.0)),
            Value::Histogram(histogram) if native => {
                histogram.native = Some(Box::new(Exponential::new()));
            }
            Value::Histogram(histogram) => {
                histogram.exemplars = vec![(1, exemplar("task-2", 0.75))];
            }
        }
    }
    snapshot
}

fn scraping(address: SocketAddr) -> String {
    format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: x, static_configs: [{{targets: [\"{address}\"]}}]}}]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_finds_the_task_behind_a_sample_by_its_exemplar() {
    let now = clock::now();
    let (address, _serving) = serve(made_by_hand(now));
    for (release, features) in [
        (Release::Two, "exemplar-storage"),
        (Release::Three, "exemplar-storage"),
        // Over protobuf.
        (Release::Two, "exemplar-storage,native-histograms"),
        (Release::Three, "exemplar-storage,native-histograms"),
    ] {
        let prometheus =
            Prometheus::start_with(Options::scraping(release, &scraping(address), features)).await;
        let [start, end] = [-60_000, 60_000]
            .map(|by| format!("{:.3}", (now.seconds() * 1000.0 + f64::from(by)) / 1000.0));
        for (series, task) in [
            ("sent_total", "task-1"),
            ("ran_seconds_bucket{le=\"1.0\"}", "task-2"),
        ] {
            wait_for("an exemplar", 30, async || {
                let parameters = [("query", series), ("start", &start), ("end", &end)];
                let data = prometheus.api("query_exemplars", &parameters).await;
                let exemplar = &data[0]["exemplars"][0];
                if exemplar["labels"]["task_id"] == *task {
                    Ok(())
                } else {
                    Err(format!("{release:?} {features}, {series}: {data}"))
                }
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_takes_a_native_histogram_even_without_observations() {
    let (address, _serving) = serve(made_by_hand(clock::now()));
    for release in [Release::Two, Release::Three] {
        let config = scraping(address);
        let prometheus =
            Prometheus::start_with(Options::scraping(release, &config, "native-histograms")).await;
        let natives = "count(histogram_count(waited_seconds) == 0)";
        prometheus.has(natives, 1.0).await;
        prometheus.has("ran_seconds_count", 1.0).await;
        let none = "count(waited_seconds_count) or vector(0)";
        prometheus.has(none, 0.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_sees_where_a_counter_began() {
    let now = clock::now();
    let (address, _serving) = serve(made_by_hand(now));
    let features = "created-timestamp-zero-ingestion";
    let prometheus = Prometheus::start_with(Options::scraping(
        Release::Three,
        &scraping(address),
        features,
    ))
    .await;
    prometheus.has("sent_total", 3.0).await;
    let began = now.seconds() - 59.0;
    let values: Vec<_> = prometheus.query("sent_total", Some(began)).await;
    assert_eq!(values.len(), 1, "{values:?}");
    assert_eq!(values[0].1, 0.0, "{values:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_compressed_for_who_asks() {
    let (address, _serving) = serve(made_by_hand(clock::now()));
    let url = format!("http://{address}/metrics");
    let client = reqwest::Client::new();
    for (accept, coding, magic) in [
        ("gzip", Some("gzip"), &[0x1f, 0x8b][..]),
        ("zstd, gzip;q=0.5", Some("zstd"), &[0x28, 0xb5, 0x2f, 0xfd]),
        ("br", None, b"# "),
        ("gzip;q=0", None, b"# "),
    ] {
        let asked = client.get(&url).header("accept-encoding", accept);
        let answer = asked.send().await.expect("an answer");
        let found = answer.headers().get("content-encoding");
        assert_eq!(found.and_then(|found| found.to_str().ok()), coding);
        let body = answer.bytes().await.expect("a body");
        assert!(body.starts_with(magic), "{accept}");
    }
    // The decoder that everyone has.
    let curl = Command::new("curl")
        .args(["--silent", "--compressed", &url])
        .output();
    let page = String::from_utf8(curl.expect("curl starts").stdout).expect("a text");
    assert!(page.contains("sent_total{name=\"a\"} 3\n"), "{page}");
}
