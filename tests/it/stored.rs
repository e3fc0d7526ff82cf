//! The series that a receiver has stored in the end are the same as on the page to scrape.
//!
//! One workload for every receiver. The whole page is compared series by series, and PromQL's quantiles with those
//! computed from the tasks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::support::exposition::{Exposition, Series};
use super::support::prometheus::{Options, Prometheus, Release};
use super::support::querier::Querier;
use super::support::tasks::{FIRST, Told, runtimes};
use super::support::victoria::Victoria;
use super::support::wait_for;

/// Returns the labels of a series as on the page, without those added to every pushed series.
fn series(metric: &Value) -> Series {
    let labels = metric.as_object().expect("labels").iter();
    let mut labels: BTreeMap<String, String> = labels
        .map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()))
        .collect();
    for external in ["job", "instance"] {
        assert!(labels.remove(external).is_some(), "{external}: {metric}");
    }
    if let Some(le) = labels.get_mut("le") {
        *le = le.parse::<f64>().expect("a bound").to_string();
    }
    let name = labels.remove("__name__").unwrap_or_default();
    Series { name, labels }
}

/// Returns the result of an expression, by series.
async fn by_series(server: &Querier, expression: &str) -> BTreeMap<Series, f64> {
    let found = server.query(expression, None).await;
    found
        .iter()
        .map(|(metric, value)| (series(metric), *value))
        .collect()
}

/// Whether two numbers are equal, allowing for receivers that store decimal numbers.
fn is_same(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-12 * one.abs().max(other.abs())
}

/// Returns the differences between two sets of series, one per line.
fn differences(expected: &BTreeMap<Series, f64>, found: &BTreeMap<Series, f64>) -> Vec<String> {
    let all: BTreeSet<&Series> = expected.keys().chain(found.keys()).collect();
    let differs = |series: &&Series| match (expected.get(series), found.get(series)) {
        (Some(one), Some(other)) => !is_same(*one, *other),
        _ => true,
    };
    let line = |series: &Series| {
        let (expected, found) = (expected.get(series), found.get(series));
        format!("{series}: {expected:?} on the page, {found:?} stored")
    };
    all.into_iter().filter(differs).map(line).collect()
}

/// Waits until a receiver has exactly the series of the page, with the same values.
async fn has_the_page(server: &Querier, told: &Told) -> Exposition {
    let page = wait_for("the receiver to have what the page has", 60, async || {
        let page = told.exposition().await;
        // Native histograms, which have no single value, are stored under the plain family name.
        let histograms = page.types.iter().filter(|(_, kind)| *kind == "histogram");
        let native: Vec<_> = histograms.map(|(family, _)| family.as_str()).collect();
        let all = format!(
            "{{__name__=~\"celery_.+\",__name__!~\"{}\",vmrange=\"\"}}",
            native.join("|")
        );
        let stored = by_series(server, &all).await;
        let differences = differences(&page.samples, &stored);
        if differences.is_empty() {
            Ok(page)
        } else {
            Err(differences.join("\n"))
        }
    })
    .await;
    // The workload produces the series that it should.
    for family in [
        "sent",
        "received",
        "started",
        "succeeded",
        "failed",
        "retried",
    ] {
        let name = format!("celery_task_{family}_total");
        let all = page
            .samples
            .iter()
            .filter(|(series, _)| series.name == name);
        let page = all.map(|(_, value)| *value).sum::<f64>();
        assert!(page > 0.0, "{name}");
        assert_eq!(server.sum(&format!("sum({name})")).await, page, "{name}");
    }
    page
}

/// Computes a quantile of a classic histogram from its bounds and cumulative counts, as described in Prometheus'
/// documentation of `histogram_quantile`: values are spread evenly within a bucket, and the highest bucket has no
/// width.
fn quantile(q: f64, buckets: &[(f64, f64)]) -> f64 {
    let rank = q * buckets[buckets.len() - 1].1;
    let at = buckets.partition_point(|(_, below)| *below < rank);
    let (start, before) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    let (end, below) = buckets[at];
    if end.is_infinite() {
        start
    } else {
        start + (end - start) * (rank - before) / (below - before)
    }
}

/// Asserts that PromQL's quantiles of all classic histograms match the buckets on the page.
async fn has_classic_quantiles(server: &Querier, page: &Exposition) {
    let mut buckets = BTreeMap::<Series, Vec<(f64, f64)>>::new();
    for (series, value) in &page.samples {
        if let Some(family) = series.name.strip_suffix("_bucket") {
            let mut whole = series.clone();
            family.clone_into(&mut whole.name);
            let le = whole.labels.remove("le").expect("a bound");
            let bucket = (le.parse().expect("a number"), *value);
            buckets.entry(whole).or_default().push(bucket);
        }
    }
    let families: BTreeSet<String> = buckets.keys().map(|series| series.name.clone()).collect();
    assert!(families.len() >= 5, "{families:?}");
    for family in families {
        for q in [0.5, 0.9, 0.99] {
            let of_family = buckets.iter().filter(|(series, _)| series.name == family);
            let expected = of_family.map(|(series, buckets)| {
                let mut buckets = buckets.clone();
                buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
                let mut series = series.clone();
                series.name.clear();
                (series, quantile(q, &buckets))
            });
            // A histogram without observations has no quantile.
            let expected: BTreeMap<_, _> = expected.filter(|(_, value)| !value.is_nan()).collect();
            assert!(!expected.is_empty(), "{family}");
            let asked = format!("histogram_quantile({q}, {family}_bucket{{vmrange=\"\"}})");
            let mut found = by_series(server, &asked).await;
            found.retain(|_, value| !value.is_nan());
            let differences = differences(&expected, &found);
            assert_eq!(differences, Vec::<String>::new(), "{asked}");
        }
    }
}

/// Returns the bounds of the bucket of schema 3 that contains a value.
fn bounds(value: f64) -> (f64, f64) {
    let index = (value.log2() * 8.0).ceil();
    (((index - 1.0) / 8.0).exp2(), (index / 8.0).exp2())
}

/// Asserts that native histograms match the classic ones, and that their quantiles are as exact as their buckets.
async fn has_native_histograms(server: &Querier, told: &Told, page: &Exposition) {
    let families = page.types.iter().filter(|(_, kind)| *kind == "histogram");
    for (family, _) in families {
        for part in ["count", "sum"] {
            let name = format!("{family}_{part}");
            let on_page = page
                .samples
                .iter()
                .filter(|(series, _)| series.name == name);
            let expected = on_page.map(|(series, value)| {
                let mut series = series.clone();
                series.name.clear();
                (series, *value)
            });
            let found = by_series(server, &format!("histogram_{part}({family})")).await;
            let differences = differences(&expected.collect(), &found);
            assert_eq!(differences, Vec::<String>::new(), "{name}");
        }
    }
    for q in [0.5, 0.9, 0.99] {
        let asked = format!("histogram_quantile({q}, celery_task_runtime_seconds)");
        let found = by_series(server, &asked).await;
        for ([name, queue, outcome], runtimes) in runtimes(&told.tasks) {
            let labels = [
                ("name", name.as_str()),
                ("queue", queue.as_str()),
                ("outcome", outcome.as_str()),
            ];
            let mut of_these = found.iter().filter(|(series, _)| series.has(&labels));
            let (_, found) = of_these.next().expect("a native histogram");
            // If a quantile falls between two values, the bucket of either is acceptable.
            let rank = q * runtimes.len() as f64;
            let reached = (1..).zip(&runtimes).find(|(n, _)| f64::from(*n) >= rank);
            let passed = (1..).zip(&runtimes).find(|(n, _)| f64::from(*n) > rank);
            let (_, lower) = reached.expect("a rank");
            let (_, upper) = passed.expect("a rank");
            let (from, to) = (bounds(*lower).0, bounds(*upper).1);
            assert!(
                (from * 0.999_999..=to * 1.000_001).contains(found),
                "{q} of {labels:?}: {found} is not in the buckets of {lower} and {upper}"
            );
        }
    }
}

/// Asserts that the first five tasks are counted, because a zero precedes them.
async fn has_first_increments(server: &Querier) {
    let selector = format!("celery_task_succeeded_total{{name=\"{FIRST}\"}}");
    let stored = server.stored(&selector, "5m").await;
    let values: Vec<f64> = stored.iter().map(|(_, value)| *value).collect();
    assert_eq!(values[0], 0.0, "{values:?}");
    assert_eq!(values.last(), Some(&5.0), "{values:?}");
    // Evaluated at the time of the newest sample, so that nothing is extrapolated.
    let newest = stored.last().map(|(at, _)| *at);
    let increase = format!("increase({selector}[5m])");
    let found = server.query(&increase, newest).await;
    assert!((4.9..=5.1).contains(&found[0].1), "{found:?}");
}

/// Asserts that exemplars of the selected series name existing tasks.
async fn has_exemplars(server: &Querier, told: &Told, selectors: &[&str]) {
    let ids = told.ids();
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock");
    let now = now.as_secs_f64();
    for selector in selectors {
        let found = wait_for("exemplars", 20, async || {
            let found = server.exemplars(selector, now - 600.0, now + 600.0).await;
            if found.is_empty() {
                Err((*selector).to_owned())
            } else {
                Ok(found)
            }
        })
        .await;
        let exemplars = found
            .iter()
            .filter_map(|series| series["exemplars"].as_array());
        for exemplar in exemplars.flatten() {
            let id = exemplar["labels"]["task_id"].as_str().expect("a task id");
            assert!(ids.contains(id), "{selector}: {exemplar}");
        }
    }
}

const RUNTIME: &str = "celery_task_runtime_seconds";

/// Series with exemplars, other than native histograms.
const OF_CLASSIC: [&str; 2] = [
    "celery_task_runtime_seconds_bucket{outcome=\"failed\"}",
    "celery_task_failed_total",
];

const BOTH_FORMS: &str = "send_native_histograms: true";

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_2_has_all_of_it_by_version_1() {
    let options = Options {
        release: Release::Two,
        features: "native-histograms,exemplar-storage".to_owned(),
        ..Options::default()
    };
    let servers = [
        (
            Prometheus::start_with(options.clone()).await,
            "send_native_histograms: true, protobuf_message: auto",
        ),
        (
            Prometheus::start_with(options).await,
            "send_native_histograms: true, protobuf_message: prometheus.WriteRequest",
        ),
    ];
    let receivers = servers
        .each_ref()
        .map(|(server, keys)| (server.write_url(), *keys));
    let mut told = Told::start(&receivers).await;
    for (n, (server, _)) in servers.iter().enumerate() {
        let page = has_the_page(server, &told).await;
        has_classic_quantiles(server, &page).await;
        has_native_histograms(server, &told, &page).await;
        has_first_increments(server).await;
        has_exemplars(server, &told, &OF_CLASSIC).await;
        assert_eq!(told.version(n).await, 1.0);
    }
    // The handler of 1.0 stores a native histogram after its exemplars, which it drops if it does not know the series
    // yet.
    told.again().await;
    for (server, _) in &servers {
        has_exemplars(server, &told, &[RUNTIME]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_3_has_all_of_it_by_version_2_and_knows_since_when() {
    let server = Prometheus::start_with(Options::newer()).await;
    let keys = "send_native_histograms: true, draft_created_timestamps: true";
    let told = Told::start(&[(server.write_url(), keys)]).await;
    let page = has_the_page(&server, &told).await;
    has_classic_quantiles(&server, &page).await;
    has_native_histograms(&server, &told, &page).await;
    has_first_increments(&server).await;
    has_exemplars(&server, &told, &OF_CLASSIC).await;
    has_exemplars(&server, &told, &[RUNTIME]).await;
    assert_eq!(told.version(0).await, 2.0);

    // The receiver's own zero at the start time, and ours a millisecond later.
    let selector = format!("celery_task_succeeded_total{{name=\"{FIRST}\"}}");
    let stored = server.stored(&selector, "5m").await;
    let [(start, zero), (next, another), ..] = stored[..] else {
        panic!("{stored:?}");
    };
    assert_eq!((zero, another), (0.0, 0.0), "{stored:?}");
    assert!(((next - start) - 0.001).abs() < 1e-5, "{stored:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn victoria_metrics_has_all_of_it_and_the_newer_one_native_histograms_and_metadata() {
    let old = Victoria::start().await;
    let (newer, native) = (Victoria::start_newer().await, Victoria::start_newer().await);
    let told = Told::start(&[
        (old.write_url(), "protobuf_message: auto"),
        (newer.write_url(), BOTH_FORMS),
        (
            native.write_url(),
            "send_native_histograms: true, send_classic_histograms: false",
        ),
    ])
    .await;
    for (n, server) in [&old, &newer].into_iter().enumerate() {
        let page = has_the_page(server, &told).await;
        has_classic_quantiles(server, &page).await;
        has_first_increments(server).await;
        assert_eq!(told.version(n).await, 1.0);
    }
    // Both name themselves, but only the newer one reads zstd.
    let log = told.celeriac.process.output();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(lines("receiver does not support zstd"), 1, "{log}");
    assert_eq!(lines("1.0 with zstd"), 3 + 2, "{log}");
    for server in [&newer, &native] {
        has_ranges(server, &told).await;
    }
    wait_for("the metadata", 20, async || {
        let found = newer.metadata(RUNTIME).await;
        match found.first() {
            Some(entry) if entry["type"] == "histogram" => Ok(()),
            _ => Err(format!("{found:?}")),
        }
    })
    .await;
}

/// Asserts how VictoriaMetrics stores native histograms: a count for each range of values, with a sum and a count.
async fn has_ranges(server: &Querier, told: &Told) {
    let page = told.exposition().await;
    let families = page.types.iter().filter(|(_, kind)| *kind == "histogram");
    for (family, _) in families {
        // A histogram without observations has no ranges.
        let counts = page.samples.iter().filter(|(series, value)| {
            series.name.strip_suffix("_count") == Some(family) && **value > 0.0
        });
        let counts: BTreeMap<_, _> = counts
            .map(|(series, value)| (series.clone(), *value))
            .collect();
        let nameless = counts.iter().map(|(series, value)| {
            let mut series = series.clone();
            series.name.clear();
            (series, *value)
        });
        let nameless: BTreeMap<_, _> = nameless.collect();
        let ranges = format!("sum({family}_bucket{{vmrange!=\"\"}}) without (vmrange)");
        wait_for("the ranges", 60, async || {
            let mut found = by_series(server, &ranges).await;
            found.retain(|_, value| *value > 0.0);
            let mut all = differences(&nameless, &found);
            for part in ["_count", "_sum"] {
                let name = format!("{family}{part}");
                let expected = page
                    .samples
                    .iter()
                    .filter(|(series, value)| series.name == name && **value > 0.0);
                let expected = expected.map(|(series, value)| (series.clone(), *value));
                let mut found = by_series(server, &name).await;
                found.retain(|_, value| *value > 0.0);
                all.extend(differences(&expected.collect(), &found));
            }
            if all.is_empty() {
                Ok(())
            } else {
                Err(all.join("\n"))
            }
        })
        .await;
    }
}
