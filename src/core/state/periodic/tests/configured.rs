//! Tasks whose schedule is configured.

use super::*;

/// 2026-06-01 is a Monday: see [`START`].
const MINUTE: i64 = 60 * SECOND;

#[test]
fn a_configured_task_is_overdue_without_learning() {
    let (report, other) = (name(0), name(1));
    let mut tasks = PeriodicTasks::default();
    tasks.configure(report, Schedule::Every(Duration::from_secs(3_600)));
    assert_eq!(tasks.iter(at(START)).count(), 0, "never sent");
    tasks.sent(report, at(START));
    tasks.sent(other, at(START));
    let overdue = |tasks: &PeriodicTasks, micros: i64| {
        let all = tasks.iter(at(START + micros));
        let known = all.filter(|task| task.overdue.is_some());
        let known: Vec<_> = known.map(|task| (task.name, task.overdue)).collect();
        let [(name, Some(overdue))] = known[..] else {
            panic!("{known:?}")
        };
        assert_eq!(name, report);
        overdue.as_secs()
    };
    assert_eq!(overdue(&tasks, HOUR + 360 * SECOND), 0);
    assert_eq!(overdue(&tasks, HOUR + 361 * SECOND), 361);
    // It stays for as long as it is configured.
    tasks.expire(Duration::from_secs(60), at(START + 40 * DAY));
    assert_eq!(overdue(&tasks, HOUR + 40 * DAY), 40 * 86_400);
    tasks.sent(report, at(START + 40 * DAY));
    assert_eq!(overdue(&tasks, 40 * DAY + HOUR), 0);
}

fn crontab(expression: &str) -> Schedule {
    let crontab = Crontab::new(expression, "UTC").expect("a schedule");
    Schedule::Crontab(Box::new(crontab))
}

fn overdue(tasks: &PeriodicTasks, micros: i64) -> Option<u64> {
    let overdue = only(tasks, START + micros).overdue;
    overdue.map(|overdue| overdue.as_secs())
}

#[test]
fn a_crontab_needs_no_learning_and_no_send() {
    let mut tasks = PeriodicTasks::default();
    tasks.configure(name(0), crontab("30 2 * * mon-fri"));
    tasks.await_first();
    assert_eq!(tasks.iter(at(START)).count(), 0, "nothing was observed");
    tasks.observed(at(START));
    let due = 2 * HOUR + 30 * MINUTE;
    let task = only(&tasks, START + due);
    assert_eq!(
        (task.last_sent, task.next_due, task.overdue),
        (None, Some(at(START + due)), Some(Duration::ZERO))
    );
    for (micros, seconds) in [(due + 5 * MINUTE, 0), (due + 5 * MINUTE + SECOND, 301)] {
        assert_eq!(overdue(&tasks, micros), Some(seconds), "{micros}");
    }

    // A user sends it, which does not replace the next scheduled send.
    tasks.sent(name(0), at(START + DAY + due - MINUTE));
    let next = only(&tasks, START + DAY + due).next_due;
    assert_eq!(next, Some(at(START + DAY + due)));
    assert_eq!(overdue(&tasks, DAY + due + HOUR), Some(3_600));
    // After Friday comes Monday.
    tasks.sent(name(0), at(START + 4 * DAY + due));
    assert_eq!(overdue(&tasks, 7 * DAY + due + 5 * MINUTE), Some(0));
    assert_eq!(overdue(&tasks, 7 * DAY + due + 6 * MINUTE), Some(360));
}

#[test]
fn a_configured_task_may_have_been_sent_unseen() {
    let due = 2 * HOUR + 30 * MINUTE;
    for (from, to, next) in [
        (due - HOUR, due - MINUTE, due),
        (due - MINUTE, due + MINUTE, DAY + due),
        // Beat may have been a little late.
        (due + MINUTE, due + 2 * MINUTE, DAY + due),
        (due + HOUR, due + 2 * HOUR, due),
        (due - MINUTE, 3 * DAY, 3 * DAY + due),
    ] {
        let mut tasks = PeriodicTasks::default();
        tasks.configure(name(0), crontab("30 2 * * *"));
        tasks.await_first();
        tasks.observed(at(START));
        tasks.observed(at(START + from));
        tasks.not_observed(at(START + to));
        let next_due = only(&tasks, START + 4 * DAY).next_due;
        assert_eq!(next_due, Some(at(START + next)), "{from} {to}");
    }
}

#[test]
fn what_was_forgotten_may_have_been_sent() {
    let mut tasks = PeriodicTasks::default();
    for n in 0..24 * 10 {
        tasks.sent(name(0), at(START + n * HOUR));
    }
    tasks.observed(at(START));
    let last = (24 * 10 - 1) * HOUR;
    tasks.expire(Duration::from_secs(7_200), at(START + last + 4 * HOUR));
    tasks.configure(name(0), Schedule::Every(Duration::from_secs(24 * 3_600)));
    tasks.await_first();
    let due = only(&tasks, START + last).next_due;
    assert_eq!(due, Some(at(START + last + DAY)));

    // With several clusters, only one of them sends it.
    tasks.awaited = false;
    assert_eq!(tasks.iter(at(START + last)).count(), 0);
}
