//! Problems with work that does not happen or does not end: beat, periodic tasks, tasks that run too long or are retried
//! too often, and workflows.

use std::collections::BTreeMap;

use super::document::{
    BeatRow, LongRunningRow, PeriodicRow, Problem, Severity, Status, TaskRow, WorkflowRow,
};
use super::format::{duration, grouped, percent};
use super::number::{float, whole};
use super::problem::{EACH_MAX, problem};

/// Share of attempts that end in a retry above which a task needs attention, if at least this many did.
const RETRIED_RATIO_MAX: f64 = 0.5;
const RETRIES_MIN: u64 = 20;

/// Number of tasks of one name that may fail after their last retry within the window.
const EXHAUSTED_MAX: u64 = 5;

/// How long a worker may accept nothing while messages wait, in seconds.
const STALLED_MAX: f64 = 300.0;

/// Age of an open workflow, and time that a chord may wait, in seconds.
const WORKFLOW_AGE_MAX: f64 = 21_600.0;
const CHORD_AGE_MAX: f64 = 1_800.0;

/// Returns the problems of a document.
pub(super) fn problems(status: &Status) -> Vec<Problem> {
    let mut problems: Vec<_> = beats(status).collect();
    problems.extend(stalled(status).take(EACH_MAX));
    problems.extend(status.periodic.iter().filter_map(overdue).take(EACH_MAX));
    problems.extend(status.periodic.iter().filter_map(doubled).take(EACH_MAX));
    problems.extend(status.long_running.iter().map(long_running).take(EACH_MAX));
    problems.extend(storms(status).take(EACH_MAX));
    problems.extend(exhausted(status).take(EACH_MAX));
    problems.extend(status.workflows.iter().filter_map(stuck).take(EACH_MAX));
    problems
}

/// The newest beat of each broker, if it stopped and no other runs: one that was replaced, as in a
/// rollout, is no problem.
fn beats(status: &Status) -> impl Iterator<Item = Problem> {
    let mut newest: BTreeMap<_, &BeatRow> = BTreeMap::new();
    for beat in &status.beats {
        let rank = |beat: &BeatRow| (beat.online, beat.since_timestamp_seconds);
        let known = newest.entry(beat.broker.as_deref()).or_insert(beat);
        if rank(beat) > rank(known) {
            *known = beat;
        }
    }
    let down = newest.into_values().filter(|beat| !beat.online);
    down.map(|beat| {
        let name = &beat.name;
        let text = format!("Beat {name} does not answer, so its periodic tasks may not be sent.");
        let advice = "Restart celery beat; its log says why it stopped or what it waits for.";
        let found = problem(Severity::Critical, "beat_down", text, advice).of(name);
        let since = Some(beat.last_seen_timestamp_seconds);
        found.since(since).explained_by("CeleryBeatDown")
    })
}

/// The workers that leave messages in their queues.
fn stalled(status: &Status) -> impl Iterator<Item = Problem> {
    status.workers.iter().filter_map(move |worker| {
        let since = worker.stalled_since_timestamp_seconds?;
        let seconds = status.at_timestamp_seconds - since;
        let queue = worker.stalled_queues.first()?;
        let name = &worker.name;
        let text = format!(
            "Worker {name} has accepted no task for {}, although it has free slots and queue {queue} has messages.",
            duration(seconds)
        );
        let advice = "Restart it. It probably stopped consuming when it lost its connection to the broker.";
        let found = problem(Severity::Warning, "worker_stalled", text, advice).of(name);
        let found = found.since(Some(since)).explained_by("CeleryWorkerStalled");
        (seconds > STALLED_MAX).then_some(found)
    })
}

fn doubled(task: &PeriodicRow) -> Option<Problem> {
    let (senders, name) = (task.senders?, &task.name);
    let text = format!(
        "Periodic task {name} is sent by {senders} processes at the same interval, so it runs more than once."
    );
    let advice = "Stop all celery beat processes but one.";
    let found = problem(Severity::Warning, "periodic_task_sent_twice", text, advice).of(name);
    Some(found.explained_by("CeleryPeriodicTaskSentTwice"))
}

fn overdue(task: &PeriodicRow) -> Option<Problem> {
    let seconds = task.overdue_seconds.filter(|seconds| *seconds > 0.0)?;
    let name = &task.name;
    let text = format!(
        "Periodic task {name} has not been sent and is overdue by {}.",
        duration(seconds)
    );
    let advice = "Check that celery beat runs and that its schedule still has this task.";
    let found = problem(Severity::Warning, "periodic_task_overdue", text, advice).of(name);
    let since = task.next_due_timestamp_seconds;
    Some(found.since(since).explained_by("CeleryPeriodicTaskOverdue"))
}

fn long_running(task: &LongRunningRow) -> Problem {
    let LongRunningRow { name, count, .. } = task;
    let allowed = duration(task.allowed_seconds);
    let on = task.worker.as_deref().map(|worker| format!(" on {worker}"));
    let on = on.unwrap_or_default();
    let why = if task.time_limit {
        format!("its time limit is {allowed}")
    } else {
        format!("up to {allowed} is usual")
    };
    let text = if *count == 1 {
        format!("Task {name} has been running for too long{on}: {why}.")
    } else {
        format!(
            "{} tasks {name} have been running for too long, the oldest{on}: {why}.",
            grouped(*count)
        )
    };
    let advice = "Look at what it waits for, such as a lock or a connection without a timeout. Give it a time limit.";
    let found = problem(Severity::Warning, "task_running_long", text, advice).of(name);
    found
        .since(Some(task.since_timestamp_seconds))
        .explained_by("CeleryTaskRunningLong")
}

/// The tasks that are mostly retried.
fn storms(status: &Status) -> impl Iterator<Item = Problem> {
    let minutes = status.rated_seconds / 60.0;
    let storms = move |task: &TaskRow| {
        let ratio = task
            .retried_ratio
            .filter(|ratio| *ratio > RETRIED_RATIO_MAX)?;
        let retried = task.retried_per_minute? * minutes;
        (retried >= float(RETRIES_MIN) - 0.5).then_some(ratio)
    };
    status.tasks.iter().filter_map(move |task| {
        let ratio = storms(task)?;
        let most = task.exceptions.iter().max_by_key(|one| one.retried);
        let most = most.filter(|one| one.retried > 0);
        let most = most.map(|one| format!(", mostly with {}", one.exception));
        let name = &task.name;
        let text = format!("{} % of the attempts of task {name} are retried{}.", percent(ratio), most.unwrap_or_default());
        let advice = "Find out what it depends on and does not get. Until then, a longer retry delay spares the workers.";
        let found = problem(Severity::Warning, "retry_storm", text, advice).of(name);
        Some(found.explained_by("CeleryRetryStorm"))
    })
}

/// The tasks that fail although they were retried, by name.
fn exhausted(status: &Status) -> impl Iterator<Item = Problem> {
    let minutes = status.rated_seconds / 60.0;
    let mut counts: BTreeMap<_, f64> = BTreeMap::new();
    for task in &status.tasks {
        let count = task.retries_exhausted_per_minute.unwrap_or(0.0) * minutes;
        *counts.entry((&task.broker, &task.name)).or_default() += count;
    }
    let window = duration(status.rated_seconds);
    counts.into_iter().filter_map(move |((_, name), count)| {
        let count = whole(count);
        let text = format!(
            "{} {name} tasks ran out of retries in the last {window}.",
            grouped(count)
        );
        let advice = "They will not run again. Fix the cause, then send them again.";
        let found = problem(Severity::Warning, "retries_exhausted", text, advice).of(name);
        let found = found.explained_by("CeleryRetriesExhausted");
        (count > EXHAUSTED_MAX).then_some(found)
    })
}

fn stuck(workflow: &WorkflowRow) -> Option<Problem> {
    let name = &workflow.name;
    let chord = workflow
        .oldest_chord_age_seconds
        .filter(|age| *age > CHORD_AGE_MAX);
    let oldest = workflow
        .oldest_age_seconds
        .filter(|age| *age > WORKFLOW_AGE_MAX);
    let (text, advice) = match (chord, oldest) {
        (Some(age), _) => (
            format!(
                "A chord of workflow {name} has been waiting for {}.",
                duration(age)
            ),
            "A task of its header failed, or its result is gone: look at the tasks before it.",
        ),
        (None, Some(age)) => (
            format!("A workflow {name} has been open for {}.", duration(age)),
            "Look for its tasks that wait, run or are retried.",
        ),
        (None, None) => return None,
    };
    let found = problem(Severity::Warning, "workflow_stuck", text, advice).of(name);
    Some(found.explained_by("CeleryWorkflowStuck"))
}
