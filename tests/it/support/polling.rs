//! A poller in the test process, and its reports.

use std::sync::Arc;
use std::time::Duration;

use celeriac::broker::Poller;
use celeriac::config::Config;
use celeriac::event::BrokerId;
use celeriac::state::{Answers, PollTargets, QueueLevel, Report, WorkerAnswer};
use celeriac::telemetry::metrics::{Gauge, PollMetrics, Telemetry};
use celeriac::timestamp::Timestamp;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub struct Polling {
    pub metrics: PollMetrics,
    pub known: watch::Sender<Arc<PollTargets>>,
    reports: mpsc::Receiver<Report>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Returns the level of one queue.
pub fn level<'a>(levels: &'a [QueueLevel], queue: &str) -> Option<&'a QueueLevel> {
    levels.iter().find(|level| level.queue == queue)
}

/// Returns a queue's length, and its number of unacknowledged messages.
pub fn length_unacked(levels: &[QueueLevel], queue: &str) -> (u64, u64) {
    level(levels, queue).map_or((0, 0), |level| (level.length, level.unacked.unwrap_or(0)))
}

/// Converts names to the form used in `PollTargets`.
pub fn names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Vec<Arc<str>> {
    names.into_iter().map(|name| name.as_ref().into()).collect()
}

impl Polling {
    /// Starts a poller with the given keys of a broker.
    pub fn start(keys: &str) -> Self {
        Self::start_knowing(keys, PollTargets::default())
    }

    pub fn start_knowing(keys: &str, known: PollTargets) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let file = folder.path().join("celeriac.yaml");
        let text = format!("http: {{listen: ':1'}}\nbrokers: [{{{keys}}}]\n");
        std::fs::write(&file, text).expect("a writable folder");
        let config = Config::load(&file).unwrap_or_else(|error| panic!("{error}"));
        let broker = config.brokers.into_iter().next().expect("a broker");
        let metrics =
            Telemetry::new(Timestamp::default()).poll(&"default".into(), Gauge::default());
        let (to_us, reports) = mpsc::channel(16);
        let (known, knowing) = watch::channel(Arc::new(known));
        let stop = CancellationToken::new();
        let poller = Poller::new(
            BrokerId::new(0),
            broker,
            to_us,
            knowing,
            metrics.clone(),
            stop.clone(),
        );
        let task = tokio::spawn(poller.run());
        Self {
            metrics,
            known,
            reports,
            stop,
            task,
        }
    }

    /// Waits for a report of a certain kind that satisfies a condition.
    async fn report<T>(
        &mut self,
        what: &str,
        seconds: u64,
        mut wanted: impl FnMut(Answers) -> Result<T, String>,
    ) -> T {
        let mut state = "no report".to_owned();
        let looking = async {
            loop {
                let report = self.reports.recv().await.expect("the poller runs");
                match wanted(report.answers) {
                    Ok(found) => return found,
                    Err(other) if other.is_empty() => {}
                    Err(other) => state = other,
                }
            }
        };
        let found = timeout(Duration::from_secs(seconds), looking).await;
        found.unwrap_or_else(|_| panic!("waited {seconds} s for {what}; in the end: {state}"))
    }

    /// Waits for a round of queue lengths that satisfies a condition.
    pub async fn queues(
        &mut self,
        what: &str,
        seconds: u64,
        holds: impl Fn(&[QueueLevel]) -> bool,
    ) -> Vec<QueueLevel> {
        self.report(what, seconds, |answers| match answers {
            Answers::Queues(levels) if holds(&levels) => Ok(levels),
            Answers::Queues(levels) => Err(format!("{levels:#?}")),
            Answers::Workers(_)
            | Answers::Beats(_)
            | Answers::Bindings(_)
            | Answers::Elsewhere(_) => Err(String::new()),
        })
        .await
    }

    /// Waits for a round of remote control that satisfies a condition.
    pub async fn workers(
        &mut self,
        what: &str,
        seconds: u64,
        holds: impl Fn(&[WorkerAnswer]) -> bool,
    ) -> Vec<WorkerAnswer> {
        self.report(what, seconds, |answers| match answers {
            Answers::Workers(workers) if holds(&workers) => Ok(workers),
            Answers::Workers(workers) => Err(format!("{workers:#?}")),
            Answers::Queues(_)
            | Answers::Beats(_)
            | Answers::Bindings(_)
            | Answers::Elsewhere(_) => Err(String::new()),
        })
        .await
    }

    pub async fn elsewhere(&mut self, seconds: u64) -> Vec<String> {
        self.report("events elsewhere", seconds, |answers| match answers {
            Answers::Elsewhere(channels) => Ok(channels),
            Answers::Queues(_) | Answers::Workers(_) | Answers::Beats(_) | Answers::Bindings(_) => {
                Err(String::new())
            }
        })
        .await
    }

    /// Stops it, which takes at most two seconds.
    pub async fn stop(self) {
        self.stop.cancel();
        let stopped = timeout(Duration::from_secs(3), self.task).await;
        stopped.expect("it stops").expect("it does not panic");
    }
}
