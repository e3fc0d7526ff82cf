//! Everything countable in an overview, by task, worker, broker and receiver.

use std::collections::HashMap;
use std::sync::Arc;

use super::document::ExceptionCount;
use super::number::whole;
use super::own::{OwnCounts, counters};
use super::percentiles::Observed;
use super::setup::Setup;
use crate::pipeline::Overview;
use crate::series::{LabelSet, Row, Value};
use crate::timestamp::Timestamp;

/// The label value of a task whose name no event reported, and of one whose outcome is unknown.
const UNKNOWN: &str = "unknown";

/// The identity of a row of tasks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    pub broker: Option<Arc<str>>,
    pub name: Arc<str>,
    pub queue: Option<Arc<str>>,
}

/// Sums since counting began, of which differences are shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TaskCounts {
    pub sent: u64,
    pub received: u64,
    pub started: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub retried: u64,
    pub exhausted: u64,
    pub runtime: Observed,
    pub wait: Observed,
}

/// The other values of a row of tasks.
#[derive(Clone, Debug, Default)]
pub(super) struct TaskLevels {
    pub rejected: u64,
    pub revoked: u64,
    pub lost: u64,
    /// Tasks in flight: sent, received, started.
    pub in_flight: [u64; 3],
    pub exceptions: Vec<ExceptionCount>,
}

/// When something of a task name last happened, in seconds since the epoch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastTimes {
    pub sent: Option<f64>,
    pub succeeded: Option<f64>,
    pub failed: Option<f64>,
}

/// The sums at one time, kept to compute rates.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub at: Timestamp,
    pub tasks: HashMap<TaskId, Arc<TaskCounts>>,
    /// Tasks started, by broker label and node name.
    pub workers: HashMap<(Option<Arc<str>>, Arc<str>), u64>,
    /// The daemon's own counters.
    pub own: OwnCounts,
}

/// Everything in an overview but what is only copied.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub counted: Counted,
    pub levels: HashMap<TaskId, TaskLevels>,
    pub last: HashMap<(Option<Arc<str>>, Arc<str>), LastTimes>,
    /// When the oldest series began.
    pub counting_since: Option<Timestamp>,
}

/// The families that are read.
#[derive(Clone, Copy)]
enum Kind {
    Events,
    Sent,
    Received,
    Started,
    Succeeded,
    Failed,
    Retried,
    RetriesExhausted,
    Rejected,
    Revoked,
    Lost,
    InFlight,
    Runtime,
    QueueWait,
    Last,
}

const FAMILIES: [(&str, Kind); 15] = [
    ("events_total", Kind::Events),
    ("task_sent_total", Kind::Sent),
    ("task_received_total", Kind::Received),
    ("task_started_total", Kind::Started),
    ("task_succeeded_total", Kind::Succeeded),
    ("task_failed_total", Kind::Failed),
    ("task_retried_total", Kind::Retried),
    ("task_retries_exhausted_total", Kind::RetriesExhausted),
    ("task_rejected_total", Kind::Rejected),
    ("task_revoked_total", Kind::Revoked),
    ("task_lost_total", Kind::Lost),
    ("tasks_in_flight", Kind::InFlight),
    ("task_runtime_seconds", Kind::Runtime),
    ("task_queue_wait_seconds", Kind::QueueWait),
    ("task_last_timestamp_seconds", Kind::Last),
];

/// The labels that tell rows apart.
#[derive(Default)]
struct Labels<'a> {
    name: Option<&'a str>,
    queue: Option<&'a str>,
    broker: Option<&'a str>,
    /// Any other one: the exception, the outcome, the state or the reason.
    own: Option<&'a str>,
}

impl Facts {
    /// Reads an overview.
    pub(super) fn new(overview: &Overview, setup: &Setup) -> Self {
        let mut facts = Self::default();
        let mut sums = HashMap::new();
        let families = overview.series.families.iter();
        let kinds: Vec<Option<Kind>> = families
            .map(|family| {
                let name = family.name.strip_prefix(&*setup.prefix)?;
                let known = FAMILIES.iter().find(|(known, _)| *known == name);
                known.map(|(_, kind)| *kind)
            })
            .collect();
        let mut texts = Texts::default();
        for row in &overview.series.rows {
            if let Some(kind) = kinds[row.info.family.index()] {
                facts.add(kind, row, &mut sums, &mut texts);
            }
        }
        let tasks = sums.into_iter();
        facts.counted.tasks = tasks.map(|(id, counts)| (id, Arc::new(counts))).collect();
        facts.counted.at = overview.at;
        for broker in &overview.clusters {
            for worker in &broker.cluster.workers {
                if let Some(processed) = worker.worker.processed() {
                    let id = (broker.label.clone(), Arc::clone(&worker.name));
                    facts.counted.workers.insert(id, processed);
                }
            }
        }
        facts.counted.own = counters(&overview.own);
        for levels in facts.levels.values_mut() {
            levels
                .exceptions
                .sort_by_key(|one| std::cmp::Reverse(one.failed + one.retried));
        }
        facts
    }

    fn add(
        &mut self,
        kind: Kind,
        row: &Row,
        sums: &mut HashMap<TaskId, TaskCounts>,
        texts: &mut Texts,
    ) {
        let labels = Labels::of(&row.info.labels);
        let value = match &row.value {
            Value::Number(number) => *number,
            Value::Histogram(_) => 0.0,
        };
        if matches!(kind, Kind::Events) {
            return self.began(row.info.after);
        }
        if matches!(kind, Kind::Last) {
            return self.note_last(&labels, value, texts);
        }
        let id = TaskId {
            broker: labels.broker.map(|broker| texts.get(broker)),
            name: texts.get(labels.name.unwrap_or(UNKNOWN)),
            queue: labels.queue.map(|queue| texts.get(queue)),
        };
        let n = whole(value);
        match kind {
            Kind::Events | Kind::Last => {}
            Kind::Sent => sums.entry(id).or_default().sent += n,
            Kind::Received => sums.entry(id).or_default().received += n,
            Kind::Started => sums.entry(id).or_default().started += n,
            Kind::Succeeded => sums.entry(id).or_default().succeeded += n,
            Kind::Failed => {
                sums.entry(id.clone()).or_default().failed += n;
                self.exception(id, labels.own, texts).failed += n;
            }
            Kind::Retried => {
                sums.entry(id.clone()).or_default().retried += n;
                self.exception(id, labels.own, texts).retried += n;
            }
            Kind::RetriesExhausted => sums.entry(id).or_default().exhausted += n,
            Kind::Rejected => self.levels.entry(id).or_default().rejected += n,
            Kind::Revoked => self.levels.entry(id).or_default().revoked += n,
            Kind::Lost => self.levels.entry(id).or_default().lost += n,
            Kind::InFlight => {
                let states = ["sent", "received", "started"];
                let state = states.iter().position(|state| labels.own == Some(state));
                if let Some(state) = state {
                    self.levels.entry(id).or_default().in_flight[state] += n;
                }
            }
            Kind::Runtime => {
                if let Value::Histogram(histogram) = &row.value {
                    sums.entry(id).or_default().runtime.add(histogram);
                }
            }
            Kind::QueueWait => {
                if let Value::Histogram(histogram) = &row.value {
                    sums.entry(id).or_default().wait.add(histogram);
                }
            }
        }
    }

    /// Notes when a series began to count.
    fn began(&mut self, at: Timestamp) {
        if at > Timestamp::default() {
            self.counting_since = Some(self.counting_since.map_or(at, |oldest| oldest.min(at)));
        }
    }

    fn note_last(&mut self, labels: &Labels<'_>, at: f64, texts: &mut Texts) {
        let broker = labels.broker.map(|broker| texts.get(broker));
        let name = texts.get(labels.name.unwrap_or(UNKNOWN));
        let last = self.last.entry((broker, name)).or_default();
        match labels.own {
            Some("sent") => last.sent = Some(at),
            Some("succeeded") => last.succeeded = Some(at),
            Some("failed") => last.failed = Some(at),
            Some(_) | None => {}
        }
    }

    fn exception(
        &mut self,
        id: TaskId,
        exception: Option<&str>,
        texts: &mut Texts,
    ) -> &mut ExceptionCount {
        let exceptions = &mut self.levels.entry(id).or_default().exceptions;
        let exception = exception.unwrap_or(UNKNOWN);
        let at = exceptions
            .iter()
            .position(|known| *known.exception == *exception);
        let at = at.unwrap_or_else(|| {
            exceptions.push(ExceptionCount {
                exception: texts.get(exception),
                ..ExceptionCount::default()
            });
            exceptions.len() - 1
        });
        &mut exceptions[at]
    }
}

impl<'a> Labels<'a> {
    fn of(labels: &'a LabelSet) -> Self {
        let mut found = Self::default();
        for (label, value) in labels.iter() {
            match label {
                "name" => found.name = Some(value),
                "queue" => found.queue = Some(value),
                "broker" => found.broker = Some(value),
                "worker" => {}
                _ => found.own = Some(value),
            }
        }
        found
    }
}

/// Texts that are shared by the rows of an overview.
#[derive(Default)]
struct Texts(std::collections::HashSet<Arc<str>>);

impl Texts {
    fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.0.insert(Arc::clone(&text));
        text
    }
}
