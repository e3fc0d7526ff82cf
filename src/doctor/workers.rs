//! Checks the workers: whether any are running, whether they send events, and whether their clocks
//! agree.

use std::collections::BTreeSet;
use std::time::Duration;

use super::finding::Finding;
use super::observed::{ObservedEvents, ObservedWorker};
use crate::broker::probe::{Look, Settings};
use crate::config::BrokerConfig;

/// Tolerated clock difference in seconds; beyond it, waits measured with two clocks are useless.
const SKEW_MAX: f64 = 2.0;

/// Maximum number of names to list.
const NAMES_MAX: usize = 5;

/// Number of received tasks without a task-sent event that cannot be a coincidence.
const WITHOUT_SENT: u64 = 10;

/// The oldest Celery version that celeriac is tested with.
const OLDEST: (u32, u32) = (4, 4);

/// The oldest Celery version whose beat can be asked whether it is alive.
const BEAT_ANSWERS: (u32, u32) = (5, 7);

/// Turns the workers' events and replies into findings.
pub(super) fn judge(
    config: &BrokerConfig,
    look: &Look,
    observed: &ObservedEvents,
    listened: Duration,
) -> Vec<Finding> {
    if !look.listened && look.workers.is_none() {
        return Vec::new();
    }
    let answered = look.workers.iter().flatten().map(|(name, _)| name.as_str());
    let names: BTreeSet<&str> = observed
        .workers
        .keys()
        .map(String::as_str)
        .chain(answered)
        .collect();
    let mut findings = vec![workers(look, observed, &names, listened)];
    if let Some((count, why)) = &look.unreadable {
        findings.push(Finding::wrong(
            "replies",
            format!("{count} replies of workers cannot be decoded: {why}"),
            "workers reply in their `task_serializer`: add it to `accept_content`",
        ));
    }
    // Without listening, nothing is known about their events.
    if names.is_empty() || !look.listened {
        return findings;
    }
    findings.extend(twins(observed));
    findings.push(task_events(
        look,
        observed,
        &names,
        (listened, config.poll.enable_events),
    ));
    findings.push(task_sent(look, observed, listened));
    findings.extend(versions(observed));
    findings.extend(beat(look, observed));
    findings.extend(clocks(observed));
    findings
}

/// Checks whether beat can be asked whether it is alive.
fn beat(look: &Look, observed: &ObservedEvents) -> Option<Finding> {
    const CHECK: &str = "beat";
    if !look.beats.is_empty() {
        let found = format!("replied: {}", some(look.beats.iter().map(String::as_str)));
        return Some(Finding::fine(CHECK, found));
    }
    let mut workers = observed.workers.values();
    let can = workers.any(|worker| {
        let version = worker.version.as_deref().and_then(numbers_of);
        version.is_some_and(|it| it >= BEAT_ANSWERS)
    });
    (can && look.workers.is_some()).then(|| {
        let advice = "if you run `celery beat`, set beat_enable_remote_control = True in its \
                      settings: without it, celeriac cannot know whether beat is alive";
        Finding::open(CHECK, "no beat replied", advice)
    })
}

fn workers(
    look: &Look,
    observed: &ObservedEvents,
    names: &BTreeSet<&str>,
    listened: Duration,
) -> Finding {
    const CHECK: &str = "workers";
    let seconds = listened.as_secs();
    let asked = look.workers.as_ref();
    if names.is_empty() {
        let found = match (asked.is_some(), look.listened) {
            (true, true) => format!("no worker replied, and no event arrived within {seconds} s"),
            (true, false) => "no worker replied".to_owned(),
            (false, _) => format!("no event arrived within {seconds} s"),
        };
        return Finding::wrong(
            CHECK,
            found,
            "start a worker, or compare this broker's `url` and `event_exchange` with broker_url \
             and event_exchange in the output of `celery -A APP report`",
        );
    }
    let found = format!("{}: {}", names.len(), some(names.iter().copied()));
    let beats = |name: &&&str| {
        let worker = observed.workers.get(**name);
        worker.is_some_and(|worker| !worker.processed.is_empty())
    };
    let silent: Vec<&str> = names.iter().filter(|name| !beats(name)).copied().collect();
    if look.listened && observed.workers.is_empty() {
        return Finding::wrong(
            CHECK,
            format!("{found}; they reply, but no event arrived within {seconds} s"),
            "their events go elsewhere: compare `event_exchange`; or they run with \
             --without-heartbeat, so they never count as offline: start them without that option",
        );
    }
    if look.listened && !silent.is_empty() {
        return Finding::open(
            CHECK,
            format!(
                "{found}; no heartbeat from {} within {seconds} s",
                some(silent.into_iter())
            ),
            "listen for longer than their --heartbeat-interval (--wait 60); workers that run \
             with --without-heartbeat never count as offline: start them without that option",
        );
    }
    if asked.is_some_and(std::collections::BTreeMap::is_empty) {
        return Finding::open(
            CHECK,
            format!("{found}; they send events, but none replied"),
            "queues and prefetched tasks are known only from replies: compare `control_exchange`, \
             and check that `worker_enable_remote_control` is on",
        );
    }
    Finding::fine(CHECK, found)
}

fn settings(look: &Look) -> impl Iterator<Item = &Settings> {
    let workers = look.workers.iter().flatten();
    workers.filter_map(|(_, settings)| settings.as_ref())
}

/// Reports names that several processes share.
fn twins(observed: &ObservedEvents) -> Option<Finding> {
    let workers = observed.workers.iter();
    let names: Vec<&str> = workers
        .filter(|(_, worker)| worker.processed.len() > 1)
        .map(|(name, _)| name.as_str())
        .collect();
    let found = format!(
        "several processes share a name: {}",
        some(names.iter().copied())
    );
    let advice = "workers with the same name cannot be told apart: give each its own (-n name@%h). \
                  A worker that was just restarted looks the same";
    (!names.is_empty()).then(|| Finding::open("node names", found, advice))
}

/// Checks whether workers send task events. A worker's settings do not show `-E`, so the result is
/// undetermined for an idle worker without the setting.
fn task_events(
    look: &Look,
    observed: &ObservedEvents,
    names: &BTreeSet<&str>,
    (listened, enable_events): (Duration, bool),
) -> Finding {
    const CHECK: &str = "task events";
    const ADVICE: &str = "start workers with -E, or set worker_send_task_events = True in Celery's \
                          settings; or let celeriac turn them on whenever a worker starts: \
                          `enable_events: true` in this broker, or --enable-events";
    let of = |name: &str| observed.workers.get(name);
    let set = |name: &str| look.workers.as_ref()?.get(name)?.as_ref()?.task_events;
    let mut silent = Vec::new();
    let mut unknown = Vec::new();
    for name in names {
        if of(name).is_some_and(|worker| worker.task_events > 0) {
            continue;
        }
        if of(name).map_or(0, ObservedWorker::ran) > 0 {
            silent.push(*name);
        } else if set(name) != Some(true) {
            unknown.push(*name);
        }
    }
    let seconds = listened.as_secs();
    if enable_events && silent.len() + unknown.len() > 0 {
        silent.append(&mut unknown);
        let found = format!(
            "none from {}; `enable_events` will turn them on",
            some(silent.into_iter())
        );
        return Finding::fine(CHECK, found);
    }
    if !silent.is_empty() {
        let ran: u64 = silent
            .iter()
            .filter_map(|name| of(name))
            .map(ObservedWorker::ran)
            .sum();
        let found = format!(
            "off: {} ran {ran} tasks in {seconds} s and sent no events",
            some(silent.into_iter())
        );
        return Finding::wrong(CHECK, found, ADVICE);
    }
    if !unknown.is_empty() {
        let why = if unknown.iter().any(|name| set(name) == Some(false)) {
            "worker_send_task_events is off"
        } else {
            "did not report its settings"
        };
        let found = format!(
            "{} ran no task in {seconds} s, and {why}; no events are sent without -E",
            some(unknown.into_iter())
        );
        return Finding::open(
            CHECK,
            found,
            format!(
                "run the doctor again while tasks run (--wait 60). To turn events on: {ADVICE}"
            ),
        );
    }
    Finding::fine(CHECK, "on")
}

fn task_sent(look: &Look, observed: &ObservedEvents, listened: Duration) -> Finding {
    const CHECK: &str = "task-sent";
    const ADVICE: &str = "set task_send_sent_event = True in the settings of every process that \
                          publishes tasks: without it, queue wait times are unknown and a task's \
                          queue is a guess";
    if observed.sent > 0 {
        return Finding::fine(CHECK, format!("on: {} received", observed.sent));
    }
    let seconds = listened.as_secs();
    let received = observed.received;
    let set: Vec<bool> = settings(look)
        .filter_map(|settings| settings.sent_event)
        .collect();
    let is_off = set.contains(&false);
    // Tasks published before the doctor started may still be in the queue.
    let is_on = !set.is_empty() && !is_off;
    if received > 0 && (is_off || (set.is_empty() && received >= WITHOUT_SENT)) {
        let found = format!(
            "off: {received} tasks were received in {seconds} s, but no task-sent event arrived"
        );
        Finding::wrong(CHECK, found, ADVICE)
    } else if is_off {
        let found = "task_send_sent_event is off in the workers' settings, which publishers \
                     usually share";
        Finding::wrong(CHECK, found, ADVICE)
    } else if is_on && received == 0 {
        Finding::fine(
            CHECK,
            "on in the workers' settings; no task was published while listening",
        )
    } else {
        let found = if is_on {
            format!(
                "on in the workers' settings, but no task-sent event arrived for the {received} \
                 tasks received in {seconds} s; they may have been published earlier"
            )
        } else {
            format!(
                "none arrived within {seconds} s while {received} tasks were received, and no \
                 worker reported its settings"
            )
        };
        Finding::open(
            CHECK,
            found,
            format!(
                "run the doctor again while tasks are published (--wait 60). To turn it on: \
                     {ADVICE}"
            ),
        )
    }
}

/// The first two numbers of a version.
fn numbers_of(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn versions(observed: &ObservedEvents) -> Option<Finding> {
    const CHECK: &str = "Celery";
    let versions = observed.workers.values();
    let versions: BTreeSet<&str> = versions
        .filter_map(|worker| worker.version.as_deref())
        .collect();
    let old = |version: &&&str| numbers_of(version).is_some_and(|it| it < OLDEST);
    let all = versions.iter().copied().collect::<Vec<_>>().join(", ");
    if versions.is_empty() {
        None
    } else if let Some(old) = versions.iter().find(old) {
        let (major, minor) = OLDEST;
        let advice = format!(
            "celeriac is tested with {major}.{minor} and later; events from {old} may be \
             misinterpreted"
        );
        Some(Finding::open(CHECK, all, advice))
    } else {
        Some(Finding::fine(CHECK, all))
    }
}

fn clocks(observed: &ObservedEvents) -> Option<Finding> {
    const CHECK: &str = "clocks";
    let lates = observed.workers.iter();
    let lates: Vec<(&str, f64)> = lates
        .filter_map(|(name, worker)| Some((name.as_str(), worker.late?)))
        .collect();
    let most = lates.iter().map(|(_, late)| late.abs()).reduce(f64::max)?;
    let wrong = lates.iter().filter(|(_, late)| late.abs() > SKEW_MAX);
    let skewed: Vec<String> = wrong
        .map(|(name, late)| {
            let how = if *late > 0.0 {
                "behind ours"
            } else {
                "ahead of ours"
            };
            format!("{name} is {:.1} s {how}", late.abs())
        })
        .collect();
    Some(if skewed.is_empty() {
        Finding::fine(CHECK, format!("within {most:.1} s of ours"))
    } else {
        Finding::wrong(
            CHECK,
            some(skewed.iter().map(String::as_str)),
            "synchronize the clocks of all hosts with NTP: durations measured across two hosts, \
             such as queue waits, are as wrong as their clocks. A broker or network that always \
             delays heartbeats looks the same",
        )
    })
}

/// Lists up to `NAMES_MAX` names.
fn some<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(NAMES_MAX);
    let mut text = names.take(NAMES_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text = format!("{text} and {more} more");
    }
    text
}
