//! A remote-write sink without a daemon that gets snapshots as fast as it accepts them, so that ten minutes pass in
//! seconds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use celeriac::clock;
use celeriac::config::Config;
use celeriac::queue::Queue;
use celeriac::series::{
    Family, LabelName, LabelSet, MetricKind, Room, SeriesId, SeriesTable, Snapshot,
};
use celeriac::sink::RemoteWrite;
use celeriac::telemetry::metrics::{Published, Telemetry};
use celeriac::telemetry::readiness::Readiness;
use celeriac::timestamp::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::wait_for;
use strict_receiver::Receiver;

const INTERVAL: Duration = Duration::from_secs(15);

/// Counters, and the sink that receives their snapshots.
pub(super) struct Simulated {
    series: SeriesTable,
    counters: Vec<(SeriesId, f64)>,
    /// The time of each snapshot, and the value of each counter in it.
    pub(super) history: Vec<(i64, Vec<f64>)>,
    at: Timestamp,
    snapshots: watch::Sender<Arc<Snapshot>>,
    metrics: Metrics,
    hurry: CancellationToken,
    sink: JoinHandle<()>,
    #[expect(dead_code, reason = "the sink reports to it")]
    readiness: Readiness,
}

/// The metrics of the sink, read as on a page.
struct Metrics {
    telemetry: Telemetry,
    series: SeriesTable,
    published: Published,
}

impl Simulated {
    /// Starts a sink with `counters` counters that started ten minutes ago. `keys` are keys of the receiver's
    /// configuration.
    pub(super) fn start(counters: usize, receiver: &Receiver, keys: &str, queue: Queue) -> Self {
        let text = format!(
            "brokers: [{{url: \"redis://localhost\"}}]\nremote_write: [{{name: r, url: {:?}, {keys}}}]\n",
            receiver.url()
        );
        let nothing = std::iter::empty::<(std::ffi::OsString, std::ffi::OsString)>();
        let config = Config::parse(&text, Path::new("simulated.yaml"), nothing);
        let mut config = config.expect("a valid configuration");
        let at = clock::now().before(Duration::from_secs(600));
        let mut series = SeriesTable::new(usize::MAX, at);
        let family = series.family(Family {
            name: "simulated_total".into(),
            kind: MetricKind::Counter,
            help: "Counts snapshots.",
            labels: vec!["n"],
        });
        let empty = Arc::new(series.snapshot(at, false));
        let (snapshots, taken) = watch::channel(empty);
        let name = LabelName::parse("n").expect("a label name");
        let open = |n: usize| {
            let labels = LabelSet::new([(name.clone(), Arc::from(n.to_string()))]);
            let id = series.open(family, labels, Room::Reserved);
            (id.expect("the reserve has no limit"), 0.0)
        };
        let counters = (0..counters).map(open).collect();

        let mut telemetry = Telemetry::new(at);
        let mut readiness = Readiness::default();
        let sink = config.remote_write.remove(0);
        let reports = (
            telemetry.sink(&"r".into(), &sink.url.as_str().into()),
            readiness.stage("remote_write r", "nothing sent yet"),
        );
        let external = config.global.external_labels;
        let hurry = CancellationToken::new();
        let sink = RemoteWrite::new(
            sink,
            external,
            queue,
            (taken, mpsc::channel(1).1),
            hurry.clone(),
            reports,
        );
        let sink = tokio::spawn(sink.expect("a client").run());
        let mut own = SeriesTable::new(usize::MAX, at);
        let published = telemetry.open(&mut own);
        Self {
            series,
            counters,
            history: Vec::new(),
            at,
            snapshots,
            metrics: Metrics {
                telemetry,
                series: own,
                published,
            },
            hurry,
            sink,
            readiness,
        }
    }

    /// Makes the next snapshot, and waits until the sink has queued it.
    pub(super) async fn tick(&mut self) {
        self.at = self.at.after(INTERVAL);
        let tick = self.history.len();
        for (n, (id, value)) in self.counters.iter_mut().enumerate() {
            // Sometimes, some do not change.
            let more = if (n + tick).is_multiple_of(4) {
                0
            } else {
                n % 5
            };
            let more = f64::from(u32::try_from(more).expect("a digit"));
            *value += more;
            self.series.add(*id, more);
        }
        let snapshot = self.series.snapshot(self.at, false);
        let values = self.counters.iter().map(|(_, value)| *value);
        self.history.push((snapshot.at.millis(), values.collect()));
        self.snapshots.send_replace(Arc::new(snapshot));
        // Each has a zero before its first value.
        let expected = (self.counters.len() * (self.history.len() + 1)) as f64;
        wait_for("the snapshot to be taken", 60, async || {
            let taken = self.samples("in_total", "");
            if taken == expected {
                Ok(())
            } else {
                Err(format!("{taken} of {expected}"))
            }
        })
        .await;
    }

    pub(super) async fn ticks(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.tick().await;
        }
    }

    /// Returns one of the sink's sample counts, summed over its labels.
    pub(super) fn samples(&mut self, word: &str, label: &str) -> f64 {
        let name = format!("celeriac_remote_storage_samples_{word}");
        self.metric(&name, label)
    }

    pub(super) fn metric(&mut self, name: &str, label: &str) -> f64 {
        let readings = self.metrics.telemetry.read();
        let Metrics {
            series, published, ..
        } = &mut self.metrics;
        published.publish(&readings, series);
        let snapshot = series.snapshot(clock::now(), false);
        let rows = snapshot.rows.iter().filter(|row| {
            *snapshot.family(row).name == *name
                && (label.is_empty() || row.info.labels.iter().any(|(_, value)| value == label))
        });
        let labels = rows.map(|row| row.info.labels.iter().collect::<Vec<_>>());
        let numbers = labels.map(|labels| snapshot.number_of(name, &labels));
        numbers.map(|number| number.expect("a number")).sum()
    }

    /// Waits until nothing is pending and all queued samples are accounted for.
    pub(super) async fn settled(&mut self, seconds: u64) {
        wait_for("the queue to be empty", seconds, async || {
            let [taken, sent, failed, dropped, pending] = [
                "in_total",
                "total",
                "failed_total",
                "dropped_total",
                "pending",
            ]
            .map(|word| self.samples(word, ""));
            if pending == 0.0 && taken == sent + failed + dropped {
                Ok(())
            } else {
                Err(format!(
                    "{taken} taken, {sent} sent, {failed} failed, {dropped} dropped, {pending} wait"
                ))
            }
        })
        .await;
    }

    /// Stops the sink as at the end of the grace period.
    pub(super) async fn hurry(&mut self) {
        self.hurry.cancel();
        (&mut self.sink).await.expect("no panic");
    }

    /// Returns the indexes of the snapshots that the receiver has for every series.
    ///
    /// Panics if series differ in that, if a value does not match its time, or if a zero is missing.
    pub(super) fn stored(&self, receiver: &Receiver) -> Vec<usize> {
        let places: BTreeMap<i64, usize> =
            self.history.iter().map(|(at, _)| *at).zip(0..).collect();
        let all = receiver.with(|received| received.series.clone());
        assert_eq!(all.len(), self.counters.len(), "a series is missing");
        let mut stored: Option<Vec<usize>> = None;
        for (key, samples) in &all {
            let n = key
                .split("n=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            let n: usize = n.and_then(|n| n.parse().ok()).expect("its number");
            let (zeros, values): (Vec<_>, Vec<_>) =
                samples.iter().partition(|(at, _)| !places.contains_key(at));
            let of_series: Vec<usize> = values.iter().map(|(at, _)| places[at]).collect();
            for ((at, value), place) in values.iter().zip(&of_series) {
                assert_eq!(*value, self.history[*place].1[n], "{key} at {at}");
            }
            // The zero is sent with the first snapshot, with an earlier timestamp.
            let has_first = of_series.first() == Some(&0);
            assert_eq!(zeros.len(), usize::from(has_first), "{key}: {samples:?}");
            assert!(
                zeros
                    .iter()
                    .all(|(at, value)| *value == 0.0 && *at < self.history[0].0)
            );
            match &stored {
                None => stored = Some(of_series),
                Some(stored) => assert_eq!(*stored, of_series, "{key}"),
            }
        }
        stored.expect("at least one series")
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.sink.abort();
    }
}
