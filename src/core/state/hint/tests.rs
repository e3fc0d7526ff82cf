use super::*;
use crate::event::{WorkerEvent, WorkerKind};

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000 + second * 1_000)
}

/// The reasons of the hints about a cluster without workers.
fn reasons(evidence: &SetupEvidence, second: i64) -> Vec<&'static str> {
    let (workers, names) = (Workers::default(), Names::default());
    let hints = evidence.hints(&workers, &names, at(second)).into_iter();
    hints.map(|hint| hint.reason.name()).collect()
}

fn elsewhere(evidence: &mut SetupEvidence, second: i64) {
    evidence.elsewhere(&["/0.celeryev".to_owned()], at(second));
}

#[test]
fn silence_counts_from_the_last_event_or_from_when_one_could_arrive() {
    let mut evidence = SetupEvidence::default();
    evidence.look(at(0));
    evidence.look(at(50));
    assert_eq!(reasons(&evidence, 60), [""; 0]);
    assert_eq!(reasons(&evidence, 61), ["no_events"]);
    evidence.not_subscribed(at(30));
    assert_eq!(reasons(&evidence, 90), [""; 0]);
    assert_eq!(reasons(&evidence, 91), ["no_events"]);
    assert!(!evidence.has_events());
    assert_eq!(evidence.last_event_or_epoch(), Timestamp::default());
    evidence.event(at(100));
    assert!(evidence.has_events());
    assert_eq!(evidence.last_event_or_epoch(), at(100));
    assert_eq!(reasons(&evidence, 160), [""; 0]);
    assert_eq!(reasons(&evidence, 161), ["no_events"]);
}

#[test]
fn another_channel_counts_while_nothing_arrives_and_until_the_finding_is_old() {
    for (second, is_hinted) in [(60, false), (61, true)] {
        let mut evidence = SetupEvidence::default();
        evidence.event(at(0));
        elsewhere(&mut evidence, second);
        let hinted = reasons(&evidence, second).contains(&"wrong_channel");
        assert_eq!(hinted, is_hinted, "{second}");
    }
    let mut evidence = SetupEvidence::default();
    evidence.not_subscribed(at(200));
    elsewhere(&mut evidence, 100);
    assert_eq!(reasons(&evidence, 249), ["wrong_channel"]);
    assert_eq!(reasons(&evidence, 250), [""; 0]);
    evidence.event(at(110));
    assert_eq!(reasons(&evidence, 110), [""; 0]);
}

#[test]
fn an_age_survives_a_step_of_the_clock() {
    let mut evidence = SetupEvidence::default();
    evidence.look(at(0));
    elsewhere(&mut evidence, 10);
    let hour = ClockStep::between(at(20), at(3_620), Duration::ZERO).expect("a step");
    evidence.clock_set(hour);
    assert_eq!(reasons(&evidence, 3_660), ["wrong_channel"]);
    assert_eq!(reasons(&evidence, 3_661), ["no_events", "wrong_channel"]);
    assert_eq!(reasons(&evidence, 3_760), ["no_events"]);
    evidence.event(at(3_700));
    let hour = ClockStep::between(at(3_710), at(7_310), Duration::ZERO).expect("a step");
    evidence.clock_set(hour);
    assert_eq!(evidence.last_event_or_epoch(), at(7_300));
}

#[test]
fn ten_tasks_without_a_task_sent_show_that_none_is_sent() {
    let mut evidence = SetupEvidence::default();
    evidence.event(at(0));
    (0..9).for_each(|_| evidence.received());
    assert_eq!(reasons(&evidence, 0), [""; 0]);
    evidence.received();
    assert_eq!(reasons(&evidence, 0), ["task_sent_disabled"]);
    evidence.sent();
    assert_eq!(reasons(&evidence, 0), [""; 0]);
}

/// Sends three heartbeats that count a task each, whose events never arrive.
fn beat_without_events(worker: &mut Worker) {
    for processed in 0..3 {
        let event = WorkerEvent {
            freq: Some(2.0),
            active: Some(0),
            processed: Some(processed),
            ..WorkerEvent::new(WorkerKind::Heartbeat)
        };
        let stamped = at(2 * i64::try_from(processed).expect("small"));
        worker.beat(&event, None, stamped, stamped);
    }
}

#[test]
fn hints_about_workers_name_those_that_are_online() {
    let (mut workers, mut names) = (Workers::default(), Names::default());
    for (name, events, is_online, twofold) in [
        ("c@h", Some(false), true, true),
        ("a@h", Some(false), true, false),
        ("b@h", None, true, false),
        ("d@h", Some(true), true, false),
        ("e@h", Some(false), false, true),
    ] {
        let name = names.intern(name);
        let worker = workers.find_or_insert(name, at(0)).expect("room");
        match events {
            Some(true) => worker.task_event(None),
            Some(false) => beat_without_events(worker),
            None => {}
        }
        assert_eq!(worker.events(), events);
        worker.twofold = twofold;
        if !is_online {
            worker.go_offline(at(0));
        }
    }
    let mut evidence = SetupEvidence::default();
    evidence.event(at(0));
    let hints = evidence.hints(&workers, &names, at(0));
    let shown = |at: usize| (hints[at].reason.name(), hints[at].about.as_str());
    assert_eq!(hints.len(), 2);
    assert_eq!(shown(0), ("events_disabled", "a@h, c@h"));
    assert_eq!(shown(1), ("duplicate_nodename", "c@h"));
}

#[test]
fn a_hint_says_what_to_do_and_names_at_most_five() {
    let all: Vec<String> = (1..8).map(|n| format!("w{n}@h")).collect();
    for (count, expected) in [
        (1, "w1@h"),
        (5, "w1@h, w2@h, w3@h, w4@h, w5@h"),
        (7, "w1@h, w2@h, w3@h, w4@h, w5@h and 2 more"),
    ] {
        assert_eq!(some_of(&all[..count]), expected);
    }
    let about = some_of(&all[..1]);
    for (reason, begin, end) in [
        (HintReason::NoEvents, "no events are arriving;", "here"),
        (
            HintReason::WrongChannel,
            "events are published on w1@h,",
            "global_keyprefix",
        ),
        (
            HintReason::EventsDisabled,
            "w1@h: heartbeats but",
            "enable_events here",
        ),
        (
            HintReason::TaskSentDisabled,
            "no task-sent events",
            "queues of tasks",
        ),
        (
            HintReason::DuplicateNodename,
            "w1@h: two workers",
            "with -n",
        ),
    ] {
        let about = about.clone();
        let text = Hint { reason, about }.to_string();
        assert!(text.starts_with(begin) && text.ends_with(end), "{text}");
    }
}
