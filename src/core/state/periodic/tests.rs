use super::*;
use crate::state::Names;

mod configured;
mod restore;
mod senders;
pub(super) mod year;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// A Monday in June 2026, 00:00 UTC.
const START: i64 = 1_780_272_000 * SECOND;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn name(n: usize) -> Symbol {
    let mut names = Names::default();
    let mut last = names.intern("0");
    for n in 1..=n {
        last = names.intern(&n.to_string());
    }
    last
}

/// A sequence of numbers that is the same in each run.
///
/// Source: Sebastiano Vigna, "SplitMix64".
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: i64) -> i64 {
        i64::try_from(self.next() >> 1).expect("63 bits") % end
    }

    /// A gap between independent events.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "gaps are far below 2^53 microseconds"
    )]
    fn exponential(&mut self, mean: i64) -> i64 {
        let uniform = (self.below(1 << 40) + 1) as f64 / (1_i64 << 40) as f64;
        (-uniform.ln() * mean as f64) as i64
    }
}

/// The only task.
fn only(tasks: &PeriodicTasks, micros: i64) -> PeriodicTask {
    let mut found = tasks.iter(at(micros));
    let task = found.next().expect("a task");
    assert_eq!(found.next(), None);
    task
}

fn is_overdue(tasks: &PeriodicTasks, micros: i64) -> bool {
    let overdue = only(tasks, micros).overdue;
    overdue.is_some_and(|overdue| !overdue.is_zero())
}

/// A task that was sent every five minutes for ten days, until `START + 10 * DAY`.
fn learned() -> PeriodicTasks {
    let mut tasks = PeriodicTasks::default();
    for n in 0..=2_880 {
        tasks.sent(name(1), at(START + n * 300 * SECOND));
    }
    tasks
}

#[test]
fn a_late_task_is_overdue_since_it_was_due() {
    let tasks = learned();
    let end = START + 10 * DAY;
    let due = end + 300 * SECOND;
    for (now, overdue) in [
        (end, 0),
        (due, 0),
        (due + 30 * SECOND, 0),
        (due + 31 * SECOND, 31),
        (due + HOUR, 3_600),
    ] {
        let expected = PeriodicTask {
            name: name(1),
            last_sent: Some(at(end)),
            period: Some(Duration::from_secs(300)),
            next_due: Some(at(due)),
            overdue: Some(Duration::from_secs(overdue)),
            senders: None,
        };
        assert_eq!(only(&tasks, now), expected, "{now}");
    }
}

#[test]
fn nothing_is_known_before_nights_and_a_weekend_were_seen() {
    let mut tasks = PeriodicTasks::default();
    for n in 0..8 * 288 {
        tasks.sent(name(1), at(START + n * 300 * SECOND));
        let task = only(&tasks, START + n * 300 * SECOND + DAY);
        assert_eq!(
            (task.period, task.next_due, task.overdue),
            (None, None, None),
            "{n}"
        );
    }
}

#[test]
fn tasks_sent_at_random_are_never_overdue() {
    let mut random = Random(1);
    let seconds = [1, 3, 8, 12, 40, 300, 1_200, 7_200, 43_200, 86_400, 300_000];
    for mean in seconds.map(|seconds| seconds * SECOND) {
        for office_hours in [false, true] {
            let mut tasks = PeriodicTasks::default();
            let mut now = START;
            for n in 0..30_000 {
                now += random.exponential(mean);
                let (day, of_day) = ((now - START) / DAY, (now - START) % DAY);
                let is_open = day % 7 < 5 && (9 * HOUR..17 * HOUR).contains(&of_day);
                if office_hours && !is_open {
                    now = START + (day + i64::from(of_day >= 9 * HOUR)) * DAY + 9 * HOUR;
                    continue;
                }
                if n > 0 && tasks.names().next().is_some() {
                    assert!(!is_overdue(&tasks, now), "{mean} {office_hours} {n}");
                }
                tasks.sent(name(1), at(now));
            }
        }
    }
}

#[test]
fn repeated_and_older_sends_change_nothing() {
    let mut tasks = learned();
    let end = START + 10 * DAY;
    let before = format!("{:?}", tasks.tasks);
    for older in [0, 1, 300, 301, 86_400] {
        tasks.sent(name(1), at(end - older * SECOND));
    }
    assert_eq!(format!("{:?}", tasks.tasks), before);
}

#[test]
fn a_task_is_sent_late_once_and_then_on_probation_for_twice_the_gap() {
    let mut tasks = learned();
    let sent = START + 10 * DAY + HOUR;
    assert!(is_overdue(&tasks, sent));
    tasks.sent(name(1), at(sent));
    assert_eq!(only(&tasks, sent + 2 * HOUR - SECOND).overdue, None);
    assert!(is_overdue(&tasks, sent + 2 * HOUR + SECOND));
}

#[test]
fn a_schedule_that_becomes_irregular_is_no_longer_known() {
    let (mut tasks, mut random) = (learned(), Random(3));
    let mut now = START + 10 * DAY;
    for _ in 0..100 {
        now += random.exponential(300 * SECOND);
        tasks.sent(name(1), at(now));
    }
    assert_eq!(only(&tasks, now + DAY).overdue, None);
}

#[test]
fn a_send_may_have_been_missed_while_nothing_was_observed() {
    let end = START + 10 * DAY;
    let cases = [
        // Before anything was due: it is overdue as usual.
        ((10, 200), Some(300)),
        // While it was due: it may have been sent at the end.
        ((10, 290), Some(290 + 300)),
        ((200, 4_000), Some(4_000 + 300)),
        // It was already overdue.
        ((400, 4_000), Some(300)),
    ];
    for ((from, to), due) in cases {
        let mut tasks = learned();
        tasks.observed(at(end + from * SECOND));
        tasks.not_observed(at(end + (from + to) / 2 * SECOND));
        tasks.not_observed(at(end + to * SECOND));
        let task = only(&tasks, end + 10_000 * SECOND);
        assert_eq!(
            task.next_due,
            due.map(|due| at(end + due * SECOND)),
            "{from} {to}"
        );

        // The long gap is not learned from, and puts nothing on probation.
        tasks.sent(name(1), at(end + 4_100 * SECOND));
        let next_due = only(&tasks, end + 4_200 * SECOND).next_due;
        assert!(next_due.is_some(), "{from} {to}");
    }
}

#[test]
fn daily_restarts_do_not_hide_that_a_monthly_task_is_late() {
    let mut tasks = PeriodicTasks::default();
    let mut last = START;
    for days in [0, 30, 31, 31, 30] {
        for day in 0..days {
            tasks.observed(at(last + day * DAY + HOUR));
            tasks.not_observed(at(last + day * DAY + HOUR + 60 * SECOND));
        }
        last += days * DAY;
        tasks.sent(name(1), at(last));
    }
    // The last one was on 1 October.
    for day in 0..=32 {
        tasks.observed(at(last + day * DAY + 5 * HOUR));
        tasks.not_observed(at(last + day * DAY + 5 * HOUR + 60 * SECOND));
        let now = last + day * DAY + 6 * HOUR;
        assert_eq!(is_overdue(&tasks, now), day >= 31, "{day}");
    }
}

#[test]
fn a_step_of_our_clock_is_not_a_late_task() {
    let end = START + 10 * DAY;
    let mut tasks = learned();
    let elapsed = Duration::from_secs(10);
    let step = ClockStep::between(at(end), at(end + HOUR), elapsed).expect("a step");
    tasks.clock_set(step);
    assert!(!is_overdue(&tasks, end + HOUR + 320 * SECOND));
    assert!(is_overdue(&tasks, end + HOUR + 340 * SECOND));

    // Times in the future are wrong.
    let step = ClockStep::between(at(end), at(end - HOUR), elapsed).expect("a step");
    tasks.clock_set(step);
    assert_eq!(tasks.iter(at(end - HOUR)).count(), 0);
}

#[test]
fn too_many_names_cost_the_least_recently_sent_and_memory_is_returned() {
    let bounds = Bounds::new(64 << 20, false, 0);
    let mut tasks = PeriodicTasks::within(bounds.clone());
    let mut random = Random(4);
    let mut now = START;
    let mut names = Names::default();
    let names: Vec<_> = (0..NAMES_MAX + 1)
        .map(|n| names.intern(&n.to_string()))
        .collect();
    for round in 0..40 {
        for name in &names[..NAMES_MAX] {
            now += random.below(20 * SECOND) + 3 * SECOND;
            tasks.sent(*name, at(now + round));
        }
    }
    assert_eq!(bounds.times(Limit::PeriodicTasks), 0);
    let used = bounds.used(Part::Tasks);
    assert!(used < 5_000_000, "{used}");

    tasks.sent(names[NAMES_MAX], at(now + DAY));
    assert_eq!(bounds.times(Limit::PeriodicTasks), 1);
    let left: Vec<_> = tasks.names().collect();
    assert_eq!(left.len(), NAMES_MAX + 1 - ROOM);
    assert!(!left.contains(&names[0]) && left.contains(&names[NAMES_MAX]));
    tasks.retain_if(|name, _| name == names[NAMES_MAX]);
    assert!(bounds.used(Part::Tasks) < 2_000);
    tasks.retain_if(|_, _| false);
    assert_eq!(bounds.used(Part::Tasks), 0);
}

#[test]
fn a_task_that_nobody_sends_any_more_is_forgotten_after_a_period() {
    const HOUR: i64 = 3_600 * SECOND;
    let mut tasks = PeriodicTasks::default();
    for n in 0..24 * 10 {
        tasks.sent(name(0), at(START + n * HOUR));
    }
    let last = START + (24 * 10 - 1) * HOUR;
    let ttl = Duration::from_secs(7_200);
    tasks.expire(ttl, at(last + 3 * HOUR));
    let overdue = tasks.iter(at(last + 3 * HOUR)).map(|it| it.overdue);
    assert_eq!(overdue.collect::<Vec<_>>(), [Some(ttl)]);
    tasks.expire(ttl, at(last + 3 * HOUR + SECOND));
    assert_eq!(tasks.names().count(), 0);
}

#[test]
fn without_memory_no_name_is_added() {
    let bounds = Bounds::new(64 << 20, false, 0);
    bounds.claim(Part::Tasks, 64 << 20);
    let mut tasks = PeriodicTasks::within(bounds.clone());
    tasks.sent(name(1), at(START));
    assert_eq!(
        (tasks.names().count(), bounds.times(Limit::PeriodicTasks)),
        (0, 1)
    );
}
