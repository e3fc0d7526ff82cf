//! A whole workload with relabeling, replica labels and native histograms, sent to a strict receiver.

use super::support::celeriac::{Celeriac, Page};
use super::support::prometheus::Prometheus;
use super::support::redis::Redis;
use super::support::tasks::{Told, broker, publish, workload};
use super::support::wait_for;
use strict_receiver::{Receiver, STALE};

const SINK: &str = "celeriac_remote_storage_samples";

/// Samples taken = sent + failed + dropped + pending.
fn balanced(page: &Page) -> bool {
    let sum = |word: &str| page.sum(&format!("{SINK}_{word}"), &[]);
    sum("in_total") == sum("total") + sum("failed_total") + sum("dropped_total") + sum("pending")
}

/// Returns the names and labels of all series that arrived, including native histograms.
fn arrived(receiver: &Receiver) -> Vec<String> {
    receiver.with(|received| {
        let all = received.series.keys().chain(received.histograms.keys());
        all.cloned().collect()
    })
}

/// Waits until a counter of tasks has arrived with this value.
async fn has_arrived(receiver: &Receiver, name: &str, labels: &[&str], expected: f64) {
    wait_for("the workload to arrive", 30, async || {
        let newest = receiver.series(name, labels);
        match newest.last() {
            Some((_, value)) if *value == expected => Ok(()),
            newest => Err(format!("{name}: {newest:?}")),
        }
    })
    .await;
}

/// Drops a family and two bounds of another, renames a label, and merges the outcomes of a task into one series.
const RULES: &str = r#"write_relabel_configs: [
  {source_labels: [__name__], regex: celery_task_prefetch_wait_seconds.*, action: drop},
  {source_labels: [__name__, le], regex: celery_task_runtime_seconds_bucket;0.0(05|1), action: drop},
  {source_labels: [queue], regex: (.+), target_label: task_queue},
  {regex: queue, action: labeldrop},
  {source_labels: [__name__], regex: celery_task_last_timestamp_seconds, target_label: outcome, replacement: ""}]"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_rules_drop_rename_and_join_arrives_so_and_is_counted() {
    let receiver = Receiver::start().await;
    let told = Told::start(&[(receiver.url(), RULES)]).await;
    let labels = ["name=\"first.task\""];
    has_arrived(&receiver, "celery_task_succeeded_total", &labels, 5.0).await;

    let page = told.exposition().await;
    let all = arrived(&receiver);
    let of = |start: &str| {
        all.iter()
            .filter(|series| series.starts_with(start))
            .count()
    };
    let on_page = |start: &str| {
        let names = page.samples.keys();
        names
            .filter(|series| series.to_string().starts_with(start))
            .count()
    };
    assert!(on_page("celery_task_prefetch_wait_seconds") > 0);
    assert_eq!(of("celery_task_prefetch_wait_seconds"), 0, "{all:#?}");
    let sums = "celery_task_runtime_seconds_sum";
    let buckets = "celery_task_runtime_seconds_bucket";
    assert_eq!(of(sums), on_page(sums));
    let bounds_dropped = on_page(buckets) - of(buckets);
    assert_eq!(bounds_dropped, 2 * of(sums), "two bounds of each");
    for bound in ["le=\"0.005\"", "le=\"0.01\""] {
        let mut buckets = all.iter().filter(|series| series.starts_with(buckets));
        assert_eq!(buckets.find(|series| series.contains(bound)), None);
    }
    assert!(
        all.iter()
            .any(|series| series.contains("task_queue=\"slow\""))
    );
    let old = all
        .iter()
        .find(|series| series.contains(",queue=") || series.contains("{queue="));
    assert_eq!(old, None);
    // One for each of the four names, because the other outcomes have the same labels.
    let last = "celery_task_last_timestamp_seconds";
    assert_eq!(of(last), 4, "{all:#?}");
    let joined = on_page(last) - 4;
    assert!(joined > 0);

    // Each snapshot adds the samples that the rules drop from it.
    let dropped = |page: &Page, reason: &str| {
        let reason = format!("reason=\"{reason}\"");
        page.sum(&format!("{SINK}_dropped_total"), &[&reason])
    };
    let reasons = ["dropped_series", "relabel_collision"];
    let left_out = [
        on_page("celery_task_prefetch_wait_seconds") + bounds_dropped,
        joined,
    ];
    // The first snapshot, in which counters also have their zero, is complete once its counts are on the page.
    let before = told
        .celeriac
        .page_when("the first snapshot", 20, |page| {
            dropped(page, reasons[0]) > 0.0
        })
        .await;
    let after = told
        .celeriac
        .page_when("two more snapshots", 20, |page| {
            let more = dropped(page, reasons[0]) - dropped(&before, reasons[0]);
            more >= 2.0 * left_out[0] as f64 && balanced(page)
        })
        .await;
    let snapshots = reasons.map(|reason| dropped(&after, reason) - dropped(&before, reason));
    let [by_drops, by_collisions] = [0, 1].map(|n| snapshots[n] / left_out[n] as f64);
    assert_eq!(by_drops, by_collisions);
    assert_eq!(by_drops.fract(), 0.0, "{by_drops} snapshots");
    receiver.assert_no_violation();
    receiver.assert_no_note();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_series_says_of_which_replica_it_is() {
    let (receiver, prometheus) = (Receiver::start().await, Prometheus::start().await);
    let keys = "replica: {cluster: shop, replica: a}";
    let told = Told::start(&[(receiver.url(), keys), (prometheus.write_url(), keys)]).await;
    let labels = ["name=\"first.task\""];
    has_arrived(&receiver, "celery_task_succeeded_total", &labels, 5.0).await;
    for series in arrived(&receiver) {
        for label in ["__replica__=\"a\"", "cluster=\"shop\""] {
            assert!(series.contains(label), "{series}");
        }
    }
    // The only note is that `__replica__` begins with two underscores, as receivers with deduplication require.
    receiver.assert_no_violation();
    let page = told.exposition().await;
    let celery = "__name__=~\"celery_.+\"";
    let all = format!("count({{{celery},__replica__=\"a\",cluster=\"shop\"}})");
    prometheus.has(&all, page.samples.len() as f64).await;
    assert_eq!(
        prometheus
            .sum("count({__name__=~\".+\",__replica__!=\"a\"})")
            .await,
        0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_of_histograms_begin_and_end_by_the_rules() {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    let config = format!(
        "{}metrics: {{series_ttl: 3s, worker_retention: 3s}}\nremote_write: [{{url: {:?}, protobuf_message: io.prometheus.write.v2.Request, send_native_histograms: true}}]\n",
        broker(&redis),
        receiver.url()
    );
    let mut celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    let tasks = workload();
    publish(&redis, &tasks, 1_795_344_000.0).await;
    let runtime = "celery_task_runtime_seconds";
    let labels = ["name=\"first.task\"", "outcome=\"succeeded\""];
    wait_for("the end of a series", 30, async || {
        let native = receiver.histograms(runtime, &labels);
        let sums = receiver.series(&format!("{runtime}_sum"), &labels);
        match (native.last(), sums.last()) {
            (Some((at, last)), Some((sum_at, sum)))
                if last.stale && sum.to_bits() == STALE && at == sum_at =>
            {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // It starts over, with another zero after its end, and still exists when the daemon stops.
    publish(&redis, &tasks, 1_795_345_000.0).await;
    has_arrived(&receiver, "celery_task_succeeded_total", &labels[..1], 5.0).await;
    assert!(celeriac.terminate().success());
    receiver.assert_no_violation();
    receiver.assert_no_note();

    let (values, native, exemplars) = receiver.with(|received| {
        let end = |(series, samples): (&String, &Vec<(i64, f64)>)| {
            let (_, last) = samples[samples.len() - 1];
            (last.to_bits() != STALE).then(|| series.clone())
        };
        let values: Vec<String> = received.series.iter().filter_map(end).collect();
        let alive = received.histograms.iter();
        let alive = alive.filter(|(_, all)| !all[all.len() - 1].1.stale);
        let native: Vec<String> = alive.map(|(series, _)| series.clone()).collect();
        (values, native, received.exemplars.len())
    });
    assert_eq!(
        (values, native),
        (Vec::new(), Vec::new()),
        "without a marker"
    );
    assert!(exemplars > 0);
    let zeros = receiver.histograms(runtime, &labels);
    let zeros = zeros
        .iter()
        .filter(|(_, all)| !all.stale && all.count == 0.0);
    assert_eq!(zeros.count(), 2, "one for each time that it began");
    let counted = receiver.histograms(runtime, &labels);
    assert_eq!(counted[counted.len() - 2].1.count, 5.0);
}
