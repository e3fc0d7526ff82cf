//! The references in docs/, generated from the code.

mod configuration;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use celeriac::config::Config;
use celeriac::event::Accept;
use celeriac::pipeline::{BrokerRetention, ClusterConfig, Pipeline, ViewConfig};
use celeriac::profile::ProfileName;
use celeriac::series::{Family, MetricKind, Snapshot};
use celeriac::telemetry::metrics::{Gauge, Telemetry};
use celeriac::timestamp::Timestamp;

const HEAD: &str = "# Metrics

<!-- Generated from the code by `make docs`; a test checks that it is up to date. -->

Every metric that celeriac exposes, by profile, with its type, labels and meaning. If brokers have names, metrics about
Celery also have the label `broker`. `metrics.task_labels` sets the labels of task metrics: `name` and `queue` by default, and optionally
`worker`. `metrics.prefix` sets the prefix `celery_`. A histogram has the series `_bucket`, `_sum` and `_count`. If a label has
a few fixed values, which all exist from the start, they are listed after it.

The age of a timestamp metric `m` is `timestamp(m) - m`. `time() - m` adds the time since the sample was taken, up to one
interval. Pushed samples carry the time of their snapshot; a scraped page has no timestamps and is up to one
`global.interval` old, which affects both forms. Use `time() - m` only where the age must keep growing after samples stop.
";

/// Labels whose values this daemon does not choose.
const GIVEN: [&str; 6] = [
    "profile",
    "broker",
    "version",
    "remote_name",
    "url",
    "pushgateway",
];

fn snapshot(profile: ProfileName) -> Snapshot {
    let file = "brokers: [{url: 'redis://h'}]\nhttp: {listen: ':0'}";
    let config = Config::parse(file, Path::new("x.yaml"), []).expect("a good configuration");
    let now = Timestamp::from_millis(1_000);
    let mut telemetry = Telemetry::new(now);
    let name = "main".into();
    let (_, metrics) = telemetry.broker(&name);
    telemetry.poll(&name, Gauge::default());
    telemetry.sink(&name, &name);
    telemetry.http();
    let cluster = ClusterConfig {
        broker: "main".into(),
        label: None,
        drops_expired: false,
        asks_workers: false,
        holds: BrokerRetention::Nothing,
        shard: None,
        accept: Accept::default(),
        metrics,
    };
    let views = [ViewConfig::classic(profile)];
    Pipeline::new(&config.metrics, vec![cluster], &views, telemetry, now)
        .snapshots(now, true)
        .remove(0)
}

fn is_ours(family: &Family) -> bool {
    family.name.starts_with("celeriac_") || family.name.starts_with("process_")
}

/// Describes a label, with its values if the daemon exposes all of them from the start.
fn label(snapshot: &Snapshot, family: &Family, label: &str) -> String {
    let rows = snapshot.rows.iter();
    let rows = rows.filter(|row| snapshot.family(row).name == family.name && is_ours(family));
    let values: BTreeSet<_> = rows
        .flat_map(|row| row.info.labels.iter())
        .filter(|(name, _)| *name == label && !GIVEN.contains(name))
        .map(|(_, value)| value)
        .collect();
    let values = values.into_iter().collect::<Vec<_>>().join(", ");
    match values.as_str() {
        "" => format!("`{label}`"),
        values => format!("`{label}`: {values}"),
    }
}

fn table(out: &mut String, title: &str, snapshot: &Snapshot, families: &[&Family]) {
    write!(
        out,
        "\n## {title}\n\n| metric | type | labels | |\n| --- | --- | --- | --- |\n"
    )
    .expect("a string");
    for family in families {
        let kind = match family.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram(_) => "histogram",
        };
        let labels: Vec<_> = family
            .labels
            .iter()
            .map(|name| label(snapshot, family, name))
            .collect();
        let labels = labels.join(", ");
        writeln!(
            out,
            "| `{}` | {kind} | {labels} | {} |",
            family.name, family.help
        )
        .expect("a string");
    }
}

#[test]
fn the_reference_of_metrics_is_what_the_code_defines() {
    let mut text = HEAD.to_owned();
    for profile in ProfileName::ALL {
        let snapshot = snapshot(profile);
        let (ours, shown): (Vec<_>, Vec<_>) =
            snapshot.families.iter().partition(|family| is_ours(family));
        assert!(!shown.is_empty(), "{}", profile.name());
        table(
            &mut text,
            &format!("Profile `{}`", profile.name()),
            &snapshot,
            &shown,
        );
        if profile == ProfileName::Native {
            let title = "The daemon itself, with every profile";
            table(&mut text, title, &snapshot, &ours);
        }
    }
    holds("docs/metrics.md", &text);
}

/// Asserts that a page has this text; with `UPDATE_DOCS` in the environment, writes it.
fn holds(page: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, text).expect("a writable folder");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == text,
        "{page} is stale: run `make docs`, and see CHANGELOG.md"
    );
}
