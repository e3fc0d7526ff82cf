//! A year of schedules: what Celery's own schedules send, with the delays of a real beat.
//!
//! The occurrences in `tests/golden/periodic/year.txt` are computed by Celery 5.6.3: see
//! `tests/it/python/periodic_schedules.py`.

use super::{Random, at, name};
use crate::state::periodic::PeriodicTasks;
use crate::state::periodic::calendar::{DAY, HOUR, clock_change};

const SECOND: i64 = 1_000_000;

/// The occurrences of one schedule, in microseconds since the epoch.
pub(in crate::state::periodic) fn year(schedule: &str) -> Vec<i64> {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/periodic/year.txt"
    );
    let text = std::fs::read_to_string(file).expect("a readable file");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(schedule)?.strip_prefix(' '));
    let mut words = line.expect("a schedule").split(' ');
    let micros = |word: &str| {
        let (whole, part) = word.split_once('.').unwrap_or((word, ""));
        let part = format!("{part:0<6}");
        let [whole, part] = [whole, &part].map(|digits| digits.parse::<i64>().expect("digits"));
        whole * SECOND + part
    };
    let mut at = micros(words.next().expect("the first occurrence"));
    let mut times = vec![at];
    for word in words {
        let (gap, count) = word.split_once('x').unwrap_or((word, "1"));
        for _ in 0..count.parse().expect("a count") {
            at += micros(gap);
            times.push(at);
        }
    }
    times
}

/// What happens to occurrences on their way.
#[derive(Clone, Copy)]
struct Disturbance {
    /// Beat is restarted about this often, which takes two minutes.
    restarts: Option<i64>,
    /// Users send the task about this often.
    users: Option<i64>,
}

/// The sends of a schedule and the occurrence that each belongs to, in order.
fn sends(
    times: &[i64],
    disturbance: Disturbance,
    random: &mut Random,
) -> Vec<(i64, Option<usize>)> {
    let mut sends = Vec::new();
    let mut restart = times[0];
    for (n, at) in times.iter().enumerate() {
        let late = if random.below(200) == 0 {
            20 * SECOND
        } else {
            0
        };
        let mut sent = at + late + random.below(2 * SECOND);
        if let Some(every) = disturbance.restarts {
            while restart + 120 * SECOND < *at {
                restart += every * SECOND / 2 + random.below(every * SECOND);
            }
            if *at >= restart {
                sent = sent.max(restart + 120 * SECOND);
            }
        }
        let batch = if random.below(10) == 0 { 5 } else { 1 };
        for part in 0..batch {
            sends.push((sent + part * SECOND / 5, Some(n)));
        }
    }
    if let Some(every) = disturbance.users {
        let mut at = times[0];
        loop {
            at += random.exponential(every * SECOND);
            if at > times[times.len() - 1] {
                break;
            }
            sends.push((at, None));
        }
    }
    sends.sort_unstable();
    sends
}

/// What is reported in a year.
#[derive(Debug, Default)]
struct Outcome {
    /// Days until the first expectation.
    learned: Option<i64>,
    /// How late the sends were that were reported overdue before they arrived, in seconds.
    alarms: Vec<i64>,
    /// The numbers of occurrences since then after which a stop would be found in time, or not.
    found: Vec<usize>,
    missed: Vec<usize>,
}

/// Replays sends. After each occurrence it looks whether it would be found in time if nothing were
/// sent from then on.
fn replay(times: &[i64], sends: &[(i64, Option<usize>)]) -> Outcome {
    let mut tasks = PeriodicTasks::default();
    let task = name(1);
    let mut outcome = Outcome::default();
    let overdue = |tasks: &PeriodicTasks, micros: i64| {
        let found = tasks.iter(at(micros)).next().and_then(|task| task.overdue);
        found.map(|overdue| !overdue.is_zero())
    };
    for (index, (sent, occurrence)) in sends.iter().enumerate() {
        if overdue(&tasks, *sent) == Some(true) {
            let delay = occurrence.map_or(0, |n| sent - times[n]);
            outcome.alarms.push(delay / SECOND);
        }
        tasks.sent(task, at(*sent));
        let is_last = sends
            .get(index + 1)
            .is_none_or(|(_, next)| next != occurrence);
        let Some(n) = occurrence.filter(|n| is_last && n + 1 < times.len()) else {
            continue;
        };
        let state = overdue(&tasks, deadline(times, n, *sent));
        if state.is_some() && outcome.learned.is_none() {
            outcome.learned = Some((sent - times[0]) / SECOND / DAY);
        }
        if outcome.learned.is_some() {
            let stops = match state {
                Some(true) => &mut outcome.found,
                _ => &mut outcome.missed,
            };
            stops.push(n);
        }
    }
    outcome
}

/// When it must be known that nothing followed an occurrence: a tenth of the gap after the next one,
/// and around changes of clocks, an hour later.
fn deadline(times: &[i64], n: usize, sent: i64) -> i64 {
    let (gap, delay) = (times[n + 1] - times[n], sent - times[n]);
    let due = times[n + 1] + delay;
    let by = due + (gap / 10).max(30 * SECOND) + 5 * SECOND;
    if clock_change(sent / SECOND, by / SECOND).is_none() {
        return by;
    }
    by + (HOUR + HOUR / 10) * SECOND
}

/// The schedules, in how many days they are learned, and the share of stops in 1,000 that is found
/// in time. Nothing is learned about some.
const SCHEDULES: [(&str, Option<i64>, usize); 23] = [
    ("every_10_seconds", Some(8), 999),
    ("every_30_seconds", Some(8), 999),
    ("every_minute", Some(8), 1_000),
    ("every_5_minutes", Some(8), 1_000),
    ("hourly", Some(8), 1_000),
    ("office_hours", Some(15), 1_000),
    ("nightly", Some(11), 1_000),
    ("nightly_new_york", Some(11), 1_000),
    ("weekly", Some(21), 1_000),
    ("monthly", Some(89), 1_000),
    ("twice_a_month", Some(59), 1_000),
    ("end_of_month", Some(61), 1_000),
    ("every_7_hours", Some(8), 1_000),
    // For two weeks after changes of clocks in Europe and America, it is often not known.
    ("every_7th_hour", Some(16), 970),
    ("every_90_minutes", Some(8), 1_000),
    ("every_4th_hour", Some(8), 1_000),
    ("every_6th_hour", Some(8), 1_000),
    ("weekdays", Some(18), 1_000),
    ("quarterly", None, 0),
    ("first_week", None, 0),
    ("office_hours_sydney", Some(15), 1_000),
    ("drifting", Some(8), 1_000),
    // When both stop before the nightly one, that is found when the other one is late.
    ("two_entries", Some(8), 990),
];

/// The year of a schedule, or the part of it around a change of clocks if it has many occurrences.
fn part(schedule: &str) -> Vec<i64> {
    let times = year(schedule);
    // 26 October.
    let changed = times.partition_point(|at| *at < 1_792_972_800 * SECOND);
    let from = if times.len() > 110_000 {
        changed - 95_000
    } else {
        0
    };
    let to = if times.len() > 110_000 {
        changed + 15_000
    } else {
        times.len()
    };
    times[from..to].to_vec()
}

#[test]
fn a_year_has_no_false_alarm_and_each_stop_is_found_in_time() {
    let mut random = Random(7);
    for (schedule, learned, share) in SCHEDULES {
        let times = part(schedule);
        let calm = Disturbance {
            restarts: None,
            users: None,
        };
        let sends = sends(&times, calm, &mut random);
        let outcome = replay(&times, &sends);
        let (found, missed) = (outcome.found.len(), &outcome.missed);
        let at: Vec<_> = missed.iter().map(|n| times[*n] / SECOND).take(9).collect();
        let context = format!(
            "{schedule} {:?} {found} {} {at:?}",
            outcome.learned,
            missed.len()
        );
        assert_eq!(outcome.alarms, [0_i64; 0], "{context}");
        assert_eq!(outcome.learned, learned, "{context}");
        assert!(found * 1_000 >= share * (found + missed.len()), "{context}");
    }
}

#[test]
fn restarts_of_beat_are_reported_when_they_delay_a_send_and_cost_nothing_else() {
    let mut random = Random(8);
    for (schedule, learned, share) in SCHEDULES {
        let times = part(schedule);
        let restarted = Disturbance {
            restarts: Some(5 * DAY),
            users: None,
        };
        let outcome = replay(&times, &sends(&times, restarted, &mut random));
        let (found, missed) = (outcome.found.len(), outcome.missed.len());
        let context = format!(
            "{schedule} {:?} {found} {missed} {:?}",
            outcome.learned, outcome.alarms
        );
        assert!(outcome.alarms.iter().all(|delay| *delay >= 30), "{context}");
        assert_eq!(outcome.learned.is_some(), learned.is_some(), "{context}");
        assert!(
            found * 1_000 >= share.saturating_sub(10) * (found + missed),
            "{context}"
        );
    }
}

#[test]
fn sends_by_users_on_top_of_a_schedule_cause_no_alarm() {
    let mut random = Random(9);
    for (schedule, every, learned) in [
        ("every_5_minutes", 12 * HOUR, true),
        ("hourly", 12 * HOUR, true),
        ("office_hours", 12 * HOUR, false),
        ("office_hours", 7 * DAY, true),
        ("weekdays", 5 * DAY, false),
        ("nightly", 3 * DAY, false),
        ("weekly", 7 * DAY, true),
        ("monthly", 20 * DAY, false),
    ] {
        let times = part(schedule);
        let used = Disturbance {
            restarts: None,
            users: Some(every),
        };
        let outcome = replay(&times, &sends(&times, used, &mut random));
        assert_eq!(outcome.alarms, [0_i64; 0], "{schedule} {every}");
        assert_eq!(outcome.learned.is_some(), learned, "{schedule} {every}");
    }
}
