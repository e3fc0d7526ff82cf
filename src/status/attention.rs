//! What is wrong, worst first: the problems that the shipped alerts fire on, as far as one daemon sees them at once.
//!
//! The limits are the defaults of `deploy/prometheus/settings.rules.yaml`.

use std::sync::Arc;

use super::compose::Sources;
use super::document::{BrokerRow, Problem, QueueRow, ReceiverRow, Severity, Status};
use super::facts::Counted;
use super::format::{bytes, count, duration, grouped, percent};
use super::late;
use super::number::float;
use super::own::counters;
use super::problem::{EACH_MAX, problem};
use super::query::Window;
use crate::bounds::Limit;
use crate::state::HintReason;

/// Share of failures of a task above which it needs attention, if at least [`FAILURES_MIN`] failed.
const FAILED_RATIO_MAX: f64 = 0.1;
const FAILURES_MIN: u64 = 3;

/// Number of waiting messages above which a queue needs attention, and number from which one that does not drain does.
const BACKLOG_MAX: u64 = 1000;
const BACKLOG_MIN: u64 = 100;

/// The longest time that a queue may take to drain, in seconds.
const DRAIN_MAX: f64 = 1800.0;

/// How far a receiver may be behind, and how old a checkpoint may become, in seconds.
const BEHIND_MAX: f64 = 120.0;
const CHECKPOINT_AGE_MAX: f64 = 60.0;

impl Sources<'_> {
    /// Returns the problems that a document shows, worst first.
    pub(super) fn problems(&self, status: &Status) -> Vec<Problem> {
        let mut problems = Vec::new();
        for broker in &status.brokers {
            problems.extend(disconnected(broker));
        }
        for receiver in &status.receivers {
            problems.extend(failing(receiver));
        }
        problems.extend(self.checkpoint());
        problems.extend(self.lost());
        problems.extend(status.queues.iter().filter_map(queue).take(EACH_MAX));
        problems.extend(failures(status));
        problems.extend(gone(status));
        problems.extend(late::problems(status));
        problems.extend(self.setup_problems());
        problems.extend(self.limits());
        problems.sort_by_key(|problem| problem.severity);
        problems
    }

    /// The sums of an hour ago, or of the start.
    fn an_hour_ago(&self) -> Option<&Counted> {
        let before = self.history.before(Window::OneHour, self.overview.at);
        before.map(Arc::as_ref)
    }

    fn checkpoint(&self) -> Option<Problem> {
        let mut values = self.overview.own.iter();
        let written = values.find(|value| value.name == "celeriac_checkpoint_timestamp_seconds")?;
        let age = self.overview.at.seconds() - written.value;
        let old = age > CHECKPOINT_AGE_MAX;
        old.then(|| {
            let age = duration(age);
            let text = format!("The newest checkpoint is {age} old, because none can be written.");
            let advice = "Free space in data_dir, or repair its disk. Until then, nothing is pushed or acknowledged.";
            problem(Severity::Critical, "checkpoint_failing", text, advice)
                .since(Some(written.value))
                .explained_by("CeleriacCheckpointOld")
        })
    }

    /// What was lost within the last hour.
    fn lost(&self) -> Vec<Problem> {
        const LOSSES: [(&str, &str, &str, &str, &str); 5] = [
            (
                "celeriac_messages_dropped_total",
                "messages_dropped",
                "messages were dropped before they were read",
                "Give the daemon more CPU time, raise queue_max_bytes, or use delivery: durable.",
                "CeleriacMessagesLost",
            ),
            (
                "celeriac_messages_undecodable_total",
                "messages_undecodable",
                "messages or events could not be decoded",
                "The log names the reason. Add the serializer to accept if you trust the publishers.",
                "CeleriacMessagesLost",
            ),
            (
                "celeriac_events_missing_total",
                "events_missing",
                "tasks ran whose events did not arrive",
                "Check the broker's limits and the workers' logs. Thread and gevent pools before Celery 5.7 lose events.",
                "CeleryEventsMissing",
            ),
            (
                "celeriac_remote_storage_samples_failed_total",
                "samples_refused",
                "samples were refused by the receiver",
                "The log quotes the receiver's reason.",
                "CeleriacSamplesLost",
            ),
            (
                "celeriac_remote_storage_samples_dropped_total",
                "samples_dropped",
                "samples were dropped before they were sent",
                "Raise max_bytes of the receiver's queue, or set data_dir to queue on disk.",
                "CeleriacSamplesLost",
            ),
        ];
        let Some(before) = self.an_hour_ago() else {
            return Vec::new();
        };
        let now = counters(&self.overview.own);
        let mut problems = Vec::new();
        for (family, kind, what, advice, alert) in LOSSES {
            for ((_, of), total) in now.iter().filter(|((name, _), _)| *name == family) {
                let earlier = before.own.get(&(family, Arc::clone(of)));
                let lost = total.saturating_sub(earlier.copied().unwrap_or_default());
                if lost > 0 {
                    let text = format!("{of}: {} {what} in the last hour.", grouped(lost));
                    let found = problem(Severity::Warning, kind, text, advice);
                    problems.push(found.of(of).explained_by(alert));
                }
            }
        }
        problems
    }

    fn setup_problems(&self) -> Vec<Problem> {
        let clusters = self.overview.clusters.iter();
        let problems = clusters.flat_map(|cluster| {
            cluster.hints.iter().map(|hint| {
                let severity = match hint.reason {
                    HintReason::TaskSentDisabled => Severity::Info,
                    HintReason::NoEvents
                    | HintReason::WrongChannel
                    | HintReason::EventsDisabled
                    | HintReason::DuplicateNodename => Severity::Warning,
                };
                let text = hint.to_string();
                let (text, advice) = text.split_once("; ").unwrap_or((&text, ""));
                let advice = sentence(advice);
                let text = format!("{}: {}", cluster.broker, sentence_part(text));
                problem(severity, hint.reason.name(), text, &advice)
                    .of(&cluster.broker)
                    .explained_by("CeleryEventsOff")
            })
        });
        problems.collect()
    }

    /// The limits that were reached within the last hour.
    fn limits(&self) -> Vec<Problem> {
        let before = self.an_hour_ago();
        let now = counters(&self.overview.own);
        let problems = Limit::ALL.into_iter().filter_map(|limit| {
            let id = ("celeriac_limit_reached_total", Arc::from(limit.name()));
            let earlier = before.and_then(|before| before.own.get(&id));
            let reached = now
                .get(&id)?
                .checked_sub(earlier.copied().unwrap_or_default())?;
            let name = limit.name();
            let effect = limit.effect();
            let advice = if name.starts_with("max_") {
                format!(
                    "Raise metrics.{name} if you need them apart, or find out what creates so many."
                )
            } else if name.ends_with("_memory") {
                "Raise limits.memory, or find out what creates so many.".to_owned()
            } else {
                "Find out what creates so many.".to_owned()
            };
            (reached > 0).then(|| {
                let text = format!("The limit {name} was reached in the last hour: {effect}.");
                problem(Severity::Warning, "limit_reached", text, &advice).of(name)
            })
        });
        problems.collect()
    }
}

fn disconnected(broker: &BrokerRow) -> Option<Problem> {
    if broker.connected {
        return None;
    }
    let name = &broker.name;
    let why = broker.reason.as_deref().unwrap_or("not connected yet");
    let advice = match &*broker.delivery {
        "transient" | "pubsub" => {
            "Events published meanwhile are lost and counted as a gap. Check the broker and its URL; `celeriac doctor` tests both."
        }
        _ => {
            "The broker keeps the events meanwhile. Check the broker and its URL; `celeriac doctor` tests both."
        }
    };
    let text = format!("Broker {name} is not connected: {why}.");
    let found = problem(Severity::Critical, "broker_disconnected", text, advice);
    Some(
        found
            .of(name)
            .since(broker.since_timestamp_seconds)
            .explained_by("CeleriacBrokerDisconnected"),
    )
}

fn failing(receiver: &ReceiverRow) -> Option<Problem> {
    let name = &receiver.name;
    let alert = if receiver.kind == "pushgateway" {
        "CeleriacPushgatewayBehind"
    } else {
        "CeleriacRemoteWriteBehind"
    };
    let since = receiver.since_timestamp_seconds;
    if receiver.disk_failing {
        let text = format!("The queue of receiver {name} cannot be written to disk.");
        let advice =
            "Free space in data_dir, or repair its disk. Samples are queued in memory meanwhile.";
        let found = problem(Severity::Critical, "disk_failing", text, advice);
        return Some(found.of(name).explained_by(alert));
    }
    let behind = receiver.pending_age_seconds.filter(|age| *age > BEHIND_MAX);
    if receiver.working && behind.is_none() {
        return None;
    }
    // Nothing has been pushed yet.
    if receiver.last_push_timestamp_seconds.is_none() && receiver.pending == 0 {
        return None;
    }
    let why = match (&receiver.last_error, behind) {
        (Some(why), _) => why.clone(),
        (None, Some(age)) => format!("it is {} behind", duration(age)),
        (None, None) => "it accepts nothing".to_owned(),
    };
    let text = format!("Receiver {name} is failing: {why}.");
    let mut advice = match (receiver.pending, receiver.lasts_seconds) {
        (0, _) => "Check the receiver and its URL.".to_owned(),
        (pending, None) => format!(
            "{} samples are pending. Check the receiver and its URL.",
            count(pending)
        ),
        (pending, Some(seconds)) => format!(
            "{} samples are pending; at this rate, the queue lasts for {}. Check the receiver and its URL.",
            count(pending),
            duration(seconds)
        ),
    };
    if let Some(limit) = receiver.queue_limit_bytes.filter(|_| receiver.pending > 0) {
        let queue = if receiver.on_disk { "disk" } else { "memory" };
        advice = format!("{advice} It may use {} of {queue}.", bytes(limit));
    }
    let soon = receiver
        .lasts_seconds
        .is_some_and(|seconds| seconds < 3600.0);
    let severity = if soon {
        Severity::Critical
    } else {
        Severity::Warning
    };
    let found = problem(severity, "receiver_failing", text, &advice);
    Some(found.of(name).since(since).explained_by(alert))
}

fn queue(queue: &QueueRow) -> Option<Problem> {
    let name = &queue.name;
    let waiting = queue.waiting.filter(|waiting| *waiting > 0)?;
    let shown = count(waiting);
    if queue.workers == Some(0) && queue.consumers.unwrap_or(0) == 0 {
        let text = format!("Queue {name} has no workers, and {shown} messages wait in it.");
        let advice = "Start a worker that consumes it, or find out why none does.";
        let found = problem(Severity::Critical, "queue_without_workers", text, advice);
        return Some(found.of(name).explained_by("CeleryQueueWithoutWorkers"));
    }
    if waiting > BACKLOG_MAX {
        let text = format!("Queue {name} has a backlog of {shown} messages.");
        let advice = "Add workers, or find out what became slower.";
        let found = problem(Severity::Warning, "queue_backlog", text, advice);
        return Some(found.of(name).explained_by("CeleryQueueBacklog"));
    }
    let slow = queue.drain_seconds.filter(|seconds| *seconds > DRAIN_MAX);
    if waiting >= BACKLOG_MIN && (queue.growing || slow.is_some()) {
        let when = slow.map_or_else(
            || "does not drain: tasks arrive as fast as they are processed".to_owned(),
            |seconds| format!("takes {} to drain", duration(seconds)),
        );
        let text = format!("Queue {name} has {shown} waiting messages and {when}.");
        let advice = "Add workers, or find out what became slower.";
        let found = problem(Severity::Warning, "queue_drains_slowly", text, advice);
        return Some(found.of(name).explained_by("CeleryQueueDrainTimeLong"));
    }
    None
}

/// The tasks with the highest share of failures.
fn failures(status: &Status) -> Vec<Problem> {
    let minutes = status.rated_seconds / 60.0;
    let mut tasks: Vec<_> = status
        .tasks
        .iter()
        .filter_map(|task| {
            let ratio = task
                .failed_ratio
                .filter(|ratio| *ratio > FAILED_RATIO_MAX)?;
            let failed = task.done_per_minute? * minutes * ratio;
            (failed >= float(FAILURES_MIN) - 0.5).then_some((task, ratio))
        })
        .collect();
    tasks.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let tasks = tasks.into_iter().take(EACH_MAX).map(|(task, ratio)| {
        let most = task.exceptions.iter().max_by_key(|one| one.failed);
        let most = most.filter(|one| one.failed > 0);
        let most = most.map(|one| format!(", mostly with {}", one.exception));
        let text = format!(
            "{} % of task {} fail{}.",
            percent(ratio),
            task.name,
            most.unwrap_or_default()
        );
        let advice = "Read the workers' logs for the exception.";
        problem(Severity::Warning, "task_failures", text, advice)
            .of(&task.name)
            .since(task.last_failure_timestamp_seconds)
            .explained_by("CeleryTaskFailureRatioHigh")
    });
    tasks.collect()
}

/// The workers that went offline.
fn gone(status: &Status) -> Option<Problem> {
    let gone: Vec<_> = status
        .workers
        .iter()
        .filter(|worker| !worker.online)
        .collect();
    let newest = gone.iter().map(|worker| worker.since_timestamp_seconds);
    let newest = newest.fold(None, |newest: Option<f64>, since| {
        Some(newest.map_or(since, |newest| newest.max(since)))
    })?;
    let names: Vec<&str> = gone
        .iter()
        .take(EACH_MAX)
        .map(|worker| &*worker.name)
        .collect();
    let more = gone.len().saturating_sub(EACH_MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let text = match names.as_slice() {
        [only] => format!("Worker {only} is offline."),
        names => format!(
            "{} workers are offline: {}{more}.",
            gone.len(),
            names.join(", ")
        ),
    };
    let advice = "Restart it, or ignore this if it was stopped on purpose: an offline worker is forgotten after metrics.worker_retention.";
    let found = problem(Severity::Warning, "workers_offline", text, advice);
    let found = found.since(Some(newest)).explained_by("CeleryWorkerDown");
    Some(match gone.as_slice() {
        [only] => found.of(&only.name),
        _ => found,
    })
}

/// A text that continues after a colon.
fn sentence_part(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

/// A text as a sentence of its own.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        let first: String = first.to_uppercase().collect();
        format!("{first}{}.", letters.as_str().trim_end_matches('.'))
    })
}
