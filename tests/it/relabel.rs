//! Relabeling: the golden cases run by Prometheus itself, and `metrics.relabel_configs` in the daemon.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use yaml_rust2::{Yaml, YamlLoader};

use super::support::celeriac::Celeriac;
use super::support::prometheus::{Options, Prometheus};
use super::support::redis::Redis;
use super::support::wait_for;

const GOLDEN: &str = include_str!("../golden/relabel.yaml");

/// The label that identifies a case. No rule uses it.
const CASE: &str = "golden_case";

/// The result of a case.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Kept(BTreeMap<String, String>),
    Dropped,
    /// The scrape failed.
    Invalid,
}

struct Case {
    name: String,
    labels: BTreeMap<String, String>,
    rules: Vec<Value>,
    outcome: Outcome,
    /// The major version of Prometheus that behaves differently.
    not_on: String,
}

fn cases() -> Vec<Case> {
    let file = &YamlLoader::load_from_str(GOLDEN).expect("YAML")[0];
    let cases = file["cases"].as_vec().expect("a list").iter();
    cases
        .map(|case| Case {
            name: case["name"].as_str().expect("a name").to_owned(),
            labels: texts(&case["labels"]),
            rules: case["rules"]
                .as_vec()
                .expect("a list")
                .iter()
                .map(json_of)
                .collect(),
            outcome: match case["outcome"].as_str() {
                None => Outcome::Kept(texts(&case["becomes"])),
                Some("dropped") => Outcome::Dropped,
                Some(_) => Outcome::Invalid,
            },
            not_on: case["not_on"].as_str().unwrap_or_default().to_owned(),
        })
        .collect()
}

fn texts(map: &Yaml) -> BTreeMap<String, String> {
    let text = |yaml: &Yaml| yaml.as_str().expect("a text").to_owned();
    let entries = map.as_hash().expect("a map").iter();
    entries
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

/// Converts YAML to JSON, which Prometheus accepts as YAML.
fn json_of(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::String(text) => json!(text),
        Yaml::Integer(number) => json!(number),
        Yaml::Array(items) => items.iter().map(json_of).collect(),
        Yaml::Hash(entries) => entries
            .iter()
            .map(|(key, value)| (key.as_str().expect("a key").to_owned(), json_of(value)))
            .collect(),
        Yaml::Real(_) | Yaml::Boolean(_) | Yaml::Alias(_) | Yaml::Null | Yaml::BadValue => {
            panic!("{yaml:?} in a rule")
        }
    }
}

/// Serves a page with the series of each case, and returns the port.
async fn serve(pages: Vec<String>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let page = async |State(pages): State<Vec<String>>, Path(case): Path<usize>| {
        let kind = [("content-type", "text/plain; version=0.0.4")];
        (kind, pages[case].clone())
    };
    let router = Router::new().route("/{case}", get(page)).with_state(pages);
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

/// Formats a series in the text format.
fn page(labels: &BTreeMap<String, String>) -> String {
    let own = labels.iter().filter(|(name, _)| *name != "__name__");
    let own = own.map(|(name, value)| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        format!("{name}=\"{}\"", value.replace('\n', "\\n"))
    });
    let own: Vec<_> = own.collect();
    format!("{}{{{}}} 1\n", labels["__name__"], own.join(","))
}

/// Returns the configuration of a Prometheus that scrapes each case with its rules.
fn config(cases: &[Case], port: u16, global: Value) -> String {
    let jobs = cases.iter().enumerate().map(|(at, case)| {
        // A scrape adds these two labels, which are not on the page. A series without labels must remain without.
        let before = json!({"action": "labeldrop", "regex": "job|instance"});
        let after = json!({
            "source_labels": ["__name__"], "regex": "(?s:.+)", "target_label": CASE, "replacement": at.to_string(),
        });
        let rules = [vec![before], case.rules.clone(), vec![after]].concat();
        json!({
            "job_name": at.to_string(),
            "metrics_path": format!("/{at}"),
            "static_configs": [{"targets": [format!("127.0.0.1:{port}")]}],
            "metric_relabel_configs": rules,
        })
    });
    let jobs: Vec<_> = jobs.collect();
    json!({"global": global, "scrape_configs": jobs}).to_string()
}

/// Returns the result of each scraped case, by number.
async fn outcomes(prometheus: &Prometheus) -> BTreeMap<usize, Outcome> {
    let number = |labels: &Value, name: &str| -> usize {
        labels[name]
            .as_str()
            .expect("a label")
            .parse()
            .expect("a number")
    };
    let scraped = prometheus.query("up", None).await;
    let mut outcomes: BTreeMap<_, _> = scraped
        .iter()
        .map(|(labels, up)| {
            let outcome = if *up == 1.0 {
                Outcome::Dropped
            } else {
                Outcome::Invalid
            };
            (number(labels, "job"), outcome)
        })
        .collect();
    let kept = prometheus.query(&format!("{{{CASE}=~\".+\"}}"), None).await;
    for (series, _) in kept {
        let case = number(&series, CASE);
        let labels = series.as_object().expect("labels").iter();
        let labels = labels.filter(|(name, _)| *name != CASE);
        let labels = labels
            .map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()))
            .collect();
        outcomes.insert(case, Outcome::Kept(labels));
    }
    outcomes
}

/// Waits until Prometheus has scraped all cases, and asserts that the results match the file.
async fn agrees(prometheus: &Prometheus, cases: &[Case], major: &str) {
    wait_for("Prometheus to do as the file says", 60, async || {
        let outcomes = outcomes(prometheus).await;
        let expected = cases.iter().enumerate();
        let wrong = expected.filter(|(at, case)| {
            let same = outcomes.get(at) == Some(&case.outcome);
            same == (case.not_on == major)
        });
        let wrong = wrong.map(|(at, case)| {
            let found = outcomes.get(&at);
            format!("{}: {:?}, and not {:?}", case.name, found, case.outcome)
        });
        let wrong: Vec<_> = wrong.collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_2_relabels_as_the_golden_cases_say() {
    let cases = cases();
    let port = serve(cases.iter().map(|case| page(&case.labels)).collect()).await;
    let config = config(&cases, port, json!({"scrape_interval": "2s"}));
    agrees(
        &Prometheus::start_with(Options::of(&config)).await,
        &cases,
        "2",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_3_relabels_as_the_golden_cases_say() {
    let cases = cases();
    let port = serve(cases.iter().map(|case| page(&case.labels)).collect()).await;
    let global = json!({"scrape_interval": "2s", "metric_name_validation_scheme": "legacy"});
    let config = config(&cases, port, global);
    agrees(
        &Prometheus::start_with(Options::newest(&config)).await,
        &cases,
        "3",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_rename_drop_and_merge_what_is_shown() {
    let redis = Redis::start().await;
    let rules = r#"
  relabel_configs:
    - {source_labels: [__name__], regex: "process_.*|celery_worker_.*", action: drop}
    - {source_labels: [name], regex: '(\w+)\..*', target_label: app}
    - {regex: name, action: labeldrop}
    - {source_labels: [__name__], regex: celery_task_(succeeded_total|runtime_seconds), target_label: __name__, replacement: "jobs:${1}"}
    - {source_labels: [__name__], regex: celery_task_started_total, target_label: __name__, replacement: "9"}
"#;
    let broker = redis.url(0);
    let config = format!("brokers: [{{url: {broker:?}}}]\nmetrics:\n{rules}");
    let daemon = Celeriac::start(&config).await;
    daemon.ready().await;
    redis.publish_lives(0..3, "shop.add").await;
    redis.publish_lives(3..8, "shop.mul").await;
    redis.publish_lives(8..10, "bank.add").await;

    let page = daemon
        .page_when("all tasks", 20, |page| {
            page.sum("jobs:succeeded_total", &[]) == 10.0
        })
        .await;
    let (shop, bank) = ([r#"app="shop""#], [r#"app="bank""#]);
    // One series from two names.
    let labels = r#"{app="shop",queue="celery"}"#;
    assert_eq!(
        page.0.get(&format!("jobs:succeeded_total{labels}")),
        Some(&8.0)
    );
    assert_eq!(page.sum("jobs:runtime_seconds_count", &shop), 8.0);
    assert_eq!(page.sum("celery_task_received_total", &shop), 8.0);
    assert_eq!(page.sum("celery_tasks_in_flight", &shop), 0.0);
    assert_eq!(page.sum("jobs:succeeded_total", &bank), 2.0);
    for gone in [
        "process_",
        "celery_worker_",
        "celery_task_succeeded",
        "celery_task_started",
        "9",
    ] {
        let lines = page.0.keys().filter(|line| line.starts_with(gone));
        assert_eq!(lines.count(), 0, "{gone}");
    }
    let refused = |outcome: &str| page.sum("celeriac_series_relabelled_total", &[outcome]);
    assert!(refused(r#"outcome="dropped""#) >= 5.0);
    assert_eq!(refused(r#"outcome="invalid""#), 3.0);

    let (_, text) = daemon.get("/metrics").await;
    assert!(
        text.contains("\n# TYPE jobs:succeeded_total counter\n"),
        "{text}"
    );
    assert!(
        text.contains("\n# TYPE jobs:runtime_seconds histogram\n"),
        "{text}"
    );
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let series: Vec<_> = series.filter_map(|line| line.rsplit_once(' ')).collect();
    let different: BTreeSet<_> = series.iter().map(|(series, _)| series).collect();
    assert_eq!(series.len(), different.len(), "no series is there twice");
}
