//! Tasks that expire before a worker receives them.

use super::*;

/// A task-sent at 0 whose task expires at 10, and how many tasks are in flight afterwards at each
/// of these seconds.
fn alive(change: impl FnOnce(&mut Limits), seconds: &[i64]) -> Vec<usize> {
    let mut state = state();
    change(&mut state.limits);
    let mut sent = task(TaskKind::Sent, "a", Some("t"), Some("q"), 0);
    if let Detail::Task(task) = &mut sent.detail {
        task.expires = Some(at(10));
    }
    steps(&mut state, &[sent]);
    let alive = seconds.iter().map(|second| {
        state.expire(at(*second), &mut Vec::new());
        state.tasks_alive()
    });
    alive.collect()
}

#[test]
fn a_task_that_expired_on_its_way_is_given_up_after_a_grace() {
    assert_eq!(alive(|_| {}, &[25, 26]), [1, 0]);
}

#[test]
fn a_broker_that_reports_expired_messages_decides_by_its_events() {
    let alive = alive(
        |limits| limits.broker_drops_expired = false,
        &[26, 100, 101],
    );
    assert_eq!(alive, [1, 1, 0]);
}

#[test]
fn events_that_wait_in_the_broker_are_awaited() {
    // The newest event was sent at 0, and then none arrives for a minute.
    let alive = alive(|limits| limits.broker_holds_events = true, &[26, 59, 60]);
    assert_eq!(alive, [1, 1, 0]);
}
