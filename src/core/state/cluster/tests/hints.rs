//! What is said about the cluster's setup.

use super::*;

#[test]
fn silence_is_hinted_at_until_something_comes() {
    let mut state = state();
    let mut changes = Vec::new();
    let reasons = |state: &State, second| -> Vec<_> {
        let hints = state.hints(at(second)).into_iter();
        hints.map(|hint| hint.reason.name()).collect()
    };
    state.expire(at(0), &mut changes);
    assert_eq!(reasons(&state, 60), [""; 0]);
    assert_eq!(reasons(&state, 61), ["no_events"]);
    let elsewhere = Answers::Elsewhere(vec!["/3.celeryev/worker.heartbeat".to_owned()]);
    state.report(&elsewhere, at(61), at(61), &mut changes);
    assert_eq!(reasons(&state, 61), ["no_events", "wrong_channel"]);
    // Nothing is found there any more.
    state.report(
        &Answers::Elsewhere(Vec::new()),
        at(62),
        at(62),
        &mut changes,
    );
    assert_eq!(reasons(&state, 62), ["no_events"]);
    state.report(&elsewhere, at(63), at(63), &mut changes);
    steps(&mut state, &[beat(7, 0, 70)]);
    // Found before an event arrived, and reported after it.
    state.report(&elsewhere, at(71), at(71), &mut changes);
    assert_eq!(reasons(&state, 80), [""; 0]);
    for n in 0..10 {
        let received = task(TaskKind::Received, "a", Some("t"), Some("q"), 30 + n);
        steps(&mut state, &[received]);
    }
    assert_eq!(reasons(&state, 40), ["task_sent_disabled"]);
}

#[test]
fn a_burst_that_is_sent_before_it_is_received_needs_no_hint() {
    let mut state = state();
    let uuids = ["a", "b", "c"];
    let burst = |kind, second: i64| {
        let events = (0..4).flat_map(move |_| uuids);
        events.map(move |uuid| task(kind, uuid, Some("t"), Some("q"), second))
    };
    let events = burst(TaskKind::Sent, 1).chain(burst(TaskKind::Received, 2));
    let events: Vec<_> = events.collect();
    steps(&mut state, &events);
    assert_eq!(state.hints(at(3)), []);
}
