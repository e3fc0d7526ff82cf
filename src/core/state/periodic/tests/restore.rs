//! What is restored from a checkpoint.

use super::*;
use crate::saved;
use crate::state::texts::{Restored, Texts};

/// Stores and restores everything, as with a restart at that time.
fn restored(tasks: &PeriodicTasks, names: &mut Names, micros: i64) -> PeriodicTasks {
    let mut texts = Texts::default();
    let stored = tasks.capture().stored(&mut texts);
    let texts = texts.stored(names);
    let mut tasks = PeriodicTasks::default();
    tasks.restore(&stored, &mut Restored::new(&texts, names), at(micros));
    tasks
}

#[test]
fn a_restart_in_between_changes_nothing() {
    let mut names = Names::default();
    let task = names.intern("task");
    let mut tasks = PeriodicTasks::default();
    // Every half an hour in office hours, for 60 days.
    let sends = (0..60).filter(|day| day % 7 < 5).flat_map(|day| {
        let of_day = (18..36).map(move |half| half * HOUR / 2);
        of_day.map(move |of_day| START + day * DAY + of_day)
    });
    let mut compared = 0;
    let mut again = PeriodicTasks::default();
    for (n, sent) in sends.enumerate() {
        for tasks in [&mut tasks, &mut again] {
            tasks.sent(task, at(sent));
            tasks.observed(at(sent + SECOND));
        }
        if n % 97 == 0 {
            again = restored(&tasks, &mut names, sent + SECOND);
        }
        for later in [0, HOUR, DAY, 4 * DAY] {
            let (before, after) = (only(&tasks, sent + later), only(&again, sent + later));
            assert_eq!(before, after, "{n} {later}");
            compared += usize::from(before.overdue.is_some());
        }
    }
    assert!(compared > 1_000, "{compared}");
    assert_eq!(tasks.tasks, again.tasks);
    assert_eq!(tasks.unseen, again.unseen);
}

#[test]
fn implausible_histories_are_left_out() {
    let end = START + 10 * DAY;
    let mut names = Names::default();
    names.intern("0");
    names.intern("1");
    let mut texts = Texts::default();
    let good = learned().capture().stored(&mut texts);
    let texts = texts.stored(&names);
    let count = |change: &dyn Fn(&mut saved::PeriodicTask)| {
        let mut stored = good.clone();
        change(&mut stored.tasks[0]);
        let mut tasks = PeriodicTasks::default();
        let mut names = Names::default();
        tasks.restore(&stored, &mut Restored::new(&texts, &mut names), at(end));
        // Neither panics, whatever is stored.
        for later in [0, HOUR, 100 * DAY] {
            tasks.sent(names.intern("1"), at(end + later + SECOND));
            tasks.not_observed(at(end + later + 2 * SECOND));
            assert_eq!(tasks.iter(at(end + later + DAY)).count(), 1);
        }
        let task = tasks.tasks.into_values().next().expect("a task");
        task.recent.times().len()
    };
    assert_eq!(count(&|_| ()), 16);
    let last = u32::try_from(end / SECOND).expect("a time");
    // Everything is learned again.
    assert_eq!(count(&|task| task.last_sent = end + DAY), 3);
    assert_eq!(count(&|task| task.last_sent = 0), 3);
    assert_eq!(count(&|task| task.recent = vec![last, last - 300]), 3);
    assert_eq!(count(&|task| task.recent = vec![last + 1]), 3);
    assert_eq!(count(&|task| task.recent.clear()), 3);
    // Only parts are wrong.
    let run = |first, length, gaps| saved::SendRun {
        first,
        length,
        gaps,
        unobserved: false,
    };
    assert_eq!(
        count(&|task| task.runs = vec![run(u32::MAX, 1, 1), run(5, 0, 9), run(9, 9, 0)]),
        16
    );
    assert_eq!(
        count(&|task| task.runs = vec![run(last, 0, 0), run(0, 10, 1 << 20)]),
        16
    );
    assert_eq!(count(&|task| task.period = u32::MAX), 16);
    assert_eq!(count(&|task| task.weekly_due = u32::MAX), 16);
    assert_eq!(count(&|task| task.shifts = u32::MAX), 16);
    assert_eq!(count(&|task| task.probation = u32::MAX), 16);
    let share = |true_share| saved::Predictions {
        count: u32::MAX,
        true_share,
    };
    assert_eq!(count(&|task| task.uniform = Some(share(f32::NAN))), 16);
    assert_eq!(count(&|task| task.weekly = Some(share(2.0))), 16);
}
