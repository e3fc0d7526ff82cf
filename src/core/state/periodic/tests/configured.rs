//! Tasks whose schedule is configured.

use super::*;
use crate::state::texts::{Restored, Texts};

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

/// A daemon that has observed some other task since [`START`], and expects one by that schedule.
fn awaiting(schedule: Schedule) -> PeriodicTasks {
    let mut tasks = PeriodicTasks::default();
    tasks.configure(name(0), schedule);
    tasks.await_first();
    tasks.sent(name(1), at(START - DAY));
    tasks.observed(at(START));
    tasks
}

fn configured(tasks: &PeriodicTasks, micros: i64) -> PeriodicTask {
    let mut found = tasks.iter(at(START + micros));
    found.find(|task| task.name == name(0)).expect("a task")
}

fn overdue(tasks: &PeriodicTasks, micros: i64) -> Option<u64> {
    let overdue = configured(tasks, micros).overdue;
    overdue.map(|overdue| overdue.as_secs())
}

const DUE: i64 = 2 * HOUR + 30 * MINUTE;

#[test]
fn a_crontab_needs_no_learning_and_no_send() {
    let mut tasks = awaiting(crontab("30 2 * * mon-fri"));
    let task = configured(&tasks, DUE);
    assert_eq!(
        (task.last_sent, task.next_due, task.overdue),
        (None, Some(at(START + DUE)), Some(Duration::ZERO))
    );
    for (micros, seconds) in [(DUE + 5 * MINUTE, 0), (DUE + 5 * MINUTE + SECOND, 301)] {
        assert_eq!(overdue(&tasks, micros), Some(seconds), "{micros}");
    }

    // A user sends it, which does not replace the next scheduled send.
    tasks.sent(name(0), at(START + DAY + DUE - MINUTE));
    let next = configured(&tasks, DAY + DUE).next_due;
    assert_eq!(next, Some(at(START + DAY + DUE)));
    assert_eq!(overdue(&tasks, DAY + DUE + HOUR), Some(3_600));
    // After Friday comes Monday.
    tasks.sent(name(0), at(START + 4 * DAY + DUE));
    assert_eq!(overdue(&tasks, 7 * DAY + DUE + 5 * MINUTE), Some(0));
    assert_eq!(overdue(&tasks, 7 * DAY + DUE + 6 * MINUTE), Some(360));
}

#[test]
fn a_send_may_be_stamped_a_little_early() {
    for early in [0, 1, SECOND, 29 * SECOND] {
        let mut tasks = awaiting(crontab("30 2 * * *"));
        tasks.sent(name(0), at(START + DUE - early));
        assert_eq!(overdue(&tasks, DUE + HOUR), Some(0), "{early}");
        assert_eq!(overdue(&tasks, DAY + DUE + HOUR), Some(3_600), "{early}");
    }
    // Beat's send so soon after that of a user is not recorded.
    let mut tasks = awaiting(crontab("30 2 * * *"));
    tasks.sent(name(0), at(START + DUE - SECOND / 2));
    tasks.sent(name(0), at(START + DUE + SECOND / 10));
    assert_eq!(overdue(&tasks, DUE + HOUR), Some(0));
}

#[test]
fn a_configured_task_may_have_been_sent_unseen() {
    for (from, to, next) in [
        (DUE - HOUR, DUE - MINUTE, DUE),
        (DUE - MINUTE, DUE + MINUTE, DAY + DUE),
        // Beat may have been a little late.
        (DUE + MINUTE, DUE + 2 * MINUTE, DAY + DUE),
        (DUE + HOUR, DUE + 2 * HOUR, DUE),
        (DUE - MINUTE, 3 * DAY, 3 * DAY + DUE),
    ] {
        let mut tasks = awaiting(crontab("30 2 * * *"));
        tasks.observed(at(START + from));
        tasks.not_observed(at(START + to));
        let next_due = configured(&tasks, 4 * DAY).next_due;
        assert_eq!(next_due, Some(at(START + next)), "{from} {to}");
    }
}

#[test]
fn nothing_is_expected_where_no_send_was_seen_or_another_cluster_may_send_it() {
    let count = |tasks: &PeriodicTasks| tasks.iter(at(START + 10 * DAY)).count();
    let mut tasks = awaiting(crontab("30 2 * * *"));
    assert_eq!(count(&tasks), 2);
    tasks.awaited = false;
    assert_eq!(count(&tasks), 1);
    tasks.awaited = true;
    tasks.retain_if(|_, _| false);
    assert_eq!(count(&tasks), 0);
    // Nothing was observed yet.
    let mut tasks = PeriodicTasks::default();
    tasks.configure(name(0), crontab("30 2 * * *"));
    tasks.await_first();
    tasks.sent(name(1), at(START));
    assert_eq!(count(&tasks), 1);
}

#[test]
fn a_schedule_counts_from_when_it_was_configured_first() {
    let mut tasks = awaiting(crontab("30 2 * * *"));
    tasks.sent(name(0), at(START + HOUR));
    for (schedule, due) in [
        (crontab("30 2 * * *"), DUE),
        (crontab("30 3 * * *"), 20 * DAY + DUE + HOUR),
        (Schedule::Every(Duration::from_secs(3_600)), 20 * DAY + HOUR),
    ] {
        let mut names = Names::default();
        names.intern("0");
        names.intern("1");
        let mut texts = Texts::default();
        let stored = tasks.capture().stored(&mut texts);
        let texts = texts.stored(&names);
        let mut again = PeriodicTasks::default();
        again.configure(name(0), schedule);
        let now = at(START + 20 * DAY);
        again.restore(&stored, &mut Restored::new(&texts, &mut names), now);
        again.observed(now);
        let next_due = configured(&again, 20 * DAY).next_due;
        assert_eq!(next_due, Some(at(START + due)));
    }
}

#[test]
fn a_send_without_room_is_a_send() {
    let bounds = Bounds::new(64 << 20, false, 0);
    let mut tasks = PeriodicTasks::within(bounds.clone());
    tasks.configure(name(0), Schedule::Every(Duration::from_secs(3_600)));
    tasks.await_first();
    tasks.sent(name(1), at(START));
    tasks.observed(at(START));
    bounds.claim(Part::Tasks, 64 << 20);
    tasks.sent(name(0), at(START + HOUR));
    let due = configured(&tasks, HOUR).next_due;
    assert_eq!(due, Some(at(START + 2 * HOUR)));
}
