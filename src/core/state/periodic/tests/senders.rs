//! Which processes count as two beats, and which do not.

use super::{DAY, HOUR, Random, SECOND, START, at, name, only};
use crate::state::periodic::senders::Senders;
use crate::state::periodic::{PeriodicTasks, ProcessId};

const MINUTE: i64 = 60 * SECOND;
const YEAR: i64 = 365 * DAY;

fn process(n: i64) -> ProcessId {
    ProcessId::of(&format!("gen{n}@host"))
}

/// Sends of one process at the same rhythm.
fn every(gap: i64, from: i64, sends: i64, of: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..sends).map(move |n| (from + n * gap, of))
}

/// Records sends in order, and returns the results that differ from the one before, with the time
/// since the start.
fn results(sends: impl IntoIterator<Item = (i64, i64)>) -> Vec<(i64, Option<u64>)> {
    let mut sends: Vec<_> = sends.into_iter().collect();
    sends.sort_unstable();
    let mut senders = Senders::default();
    let mut results = vec![(0, None)];
    for (micros, of) in sends {
        senders.sent(process(of), at(micros));
        let result = senders.in_rhythm(at(micros));
        if results.last().is_some_and(|(_, before)| *before != result) {
            results.push((micros - START, result));
        }
    }
    results.remove(0);
    results
}

/// Two processes with the same gap, the second of which is later by `shift`.
fn two(gap: i64, shift: i64, sends: i64) -> Vec<(i64, Option<u64>)> {
    let first = every(gap, START, sends, 1);
    results(first.chain(every(gap, START + shift, sends, 2)))
}

#[test]
fn two_beats_are_found_once_the_second_has_repeated_the_gap_often_enough() {
    for (gap, repeated) in [
        (10 * SECOND, 12),
        (MINUTE, 12),
        (20 * MINUTE, 12),
        (30 * MINUTE, 12),
        (HOUR, 6),
        (2 * HOUR, 3),
        // The fifth day.
        (DAY, 3),
        (30 * DAY, 3),
    ] {
        for shift in [0, SECOND / 5, gap / 3] {
            let found = (repeated + 1) * gap + shift;
            assert_eq!(two(gap, shift, repeated + 1), [], "{gap} {shift}");
            assert_eq!(two(gap, shift, 50), [(found, Some(2))], "{gap} {shift}");
        }
    }
    // Sends that follow one another more closely are one occurrence.
    assert_eq!(two(7 * SECOND, 0, 1_000), []);
}

#[test]
fn every_beat_is_counted_as_far_as_senders_are_remembered() {
    for beats in [2, 3, 8, 9, 60] {
        let of = (1..=beats).flat_map(|of| every(5 * MINUTE, START, 30, of));
        let last = results(of).last().map(|(_, count)| *count);
        let remembered = u64::try_from(beats.min(8)).expect("few");
        assert_eq!(last, Some(Some(remembered)), "{beats}");
    }
}

#[test]
fn other_rhythms_are_not_the_same() {
    for (gap, other) in [(5, 6), (10, 11), (60, 61)] {
        let first = every(gap * MINUTE, START, 200, 1);
        let second = every(other * MINUTE, START, 200, 2);
        assert_eq!(results(first.chain(second)), [], "{gap} {other}");
    }
    // Two entries of one beat.
    let first = every(5 * MINUTE, START, 2_000, 1);
    let second = every(7 * MINUTE, START, 2_000, 1);
    assert_eq!(results(first.chain(second)), []);
}

#[test]
fn two_entries_of_one_beat_do_not_hide_that_there_are_two() {
    let beat = |of| every(5 * MINUTE, START, 100, of).chain(every(HOUR, START + SECOND, 9, of));
    let found = (65 * MINUTE, Some(2));
    assert_eq!(results(beat(1).chain(beat(2))), [found]);
    assert_eq!(results(beat(1).chain(beat(1))), []);
}

#[test]
fn a_beat_that_replaces_another_is_not_a_second_one() {
    let gap = HOUR;
    let old = || every(gap, START, 40, 1);
    // The old one's last send is the 40th. The new one starts before that.
    for (overlap, is_found) in [(-1, false), (0, false), (6, false), (7, true), (10, true)] {
        let new = every(gap, START + (40 - overlap) * gap + MINUTE, 40, 2);
        let found = results(old().chain(new));
        assert_eq!(!found.is_empty(), is_found, "{overlap} {found:?}");
        if is_found {
            // It is over after two gaps.
            let over = (39 + 2) * gap + MINUTE;
            assert_eq!(found.last(), Some(&(over, None)), "{overlap}");
        }
    }
    // Beats that are replaced each day leave no room taken.
    let daily = (0..30).flat_map(|day| every(gap, START + day * DAY, 24, day));
    assert_eq!(results(daily), []);
    let daily = (0..30).flat_map(|day| every(gap, START + day * DAY, 24, day));
    let second = every(gap, START + MINUTE, 30 * 24, 99);
    let found = results(daily.chain(second));
    assert!(found.len() > 50, "{found:?}");
}

#[test]
fn beats_that_take_over_from_each_other_are_never_two() {
    for gap in [10 * SECOND, MINUTE, 10 * MINUTE, HOUR, 2 * HOUR, DAY] {
        let spells = (0..6).map(|n| (n * 40, n % 2));
        let sends = spells.flat_map(|(from, of)| every(gap, START + from * gap, 40, of));
        assert_eq!(results(sends), [], "{gap}");
    }
}

#[test]
fn it_ends_when_one_of_them_stays_silent() {
    let mut senders = Senders::default();
    for n in 0..20 {
        senders.sent(process(1), at(START + n * HOUR));
        senders.sent(process(2), at(START + n * HOUR));
    }
    let last = START + 19 * HOUR;
    for (later, count) in [
        (0, Some(2)),
        (2 * HOUR + 30 * SECOND, Some(2)),
        (2 * HOUR + 31 * SECOND, None),
    ] {
        assert_eq!(senders.in_rhythm(at(last + later)), count, "{later}");
    }
    // The other one goes on.
    for n in 20..23 {
        senders.sent(process(1), at(START + n * HOUR));
    }
    assert_eq!(senders.in_rhythm(at(START + 22 * HOUR)), None);
}

#[test]
fn late_and_missing_sends_and_nights_do_not_end_a_rhythm() {
    let mut random = Random(7);
    // From 9 to 17 o'clock, every ten minutes, and each of two hundred is late or missing.
    let hours = (0..20).flat_map(|day| (54..102).map(move |n| day * DAY + n * 10 * MINUTE));
    let mut sends = Vec::new();
    for of_schedule in hours {
        for of in [1, 2] {
            let late = match random.below(200) {
                0 => 50 * SECOND,
                1 => continue,
                _ => random.below(2 * SECOND),
            };
            sends.push((START + of_schedule + late, of));
        }
    }
    let found = results(sends);
    let [(first, Some(2)), rest @ ..] = &found[..] else {
        panic!("{found:?}")
    };
    assert!((11 * HOUR..13 * HOUR).contains(first), "{found:?}");
    // Only the first send of a day ends it, until both have sent for a while.
    let over = rest.iter().filter(|(_, count)| count.is_none()).count();
    assert!(over <= 24, "{found:?}");
    let daytime = |micros: i64| (8 * HOUR..11 * HOUR).contains(&(micros % DAY));
    assert!(rest.iter().all(|(at, _)| daytime(*at)), "{found:?}");
}

#[test]
fn an_unusual_first_gap_is_corrected() {
    let gap = 300 * SECOND;
    let early = every(gap, START + gap, 30, 1).chain([(START + 25 * SECOND, 1)]);
    let late = every(gap, START + gap, 30, 2).chain([(START - 25 * SECOND, 2)]);
    let found = results(early.chain(late));
    assert_eq!(found, [(13 * gap, Some(2))]);
}

#[test]
fn repeated_and_older_sends_change_nothing() {
    let mut senders = Senders::default();
    for n in 0..20 {
        for of in [1, 2] {
            senders.sent(process(of), at(START + n * HOUR));
        }
    }
    let before = format!("{senders:?}");
    for n in 0..20 {
        for of in [1, 2] {
            senders.sent(process(of), at(START + n * HOUR));
            senders.sent(process(of), at(START + n * HOUR - 20 * MINUTE));
        }
    }
    assert_eq!(format!("{senders:?}"), before);
}

#[test]
fn users_do_not_push_out_a_beat_with_a_rhythm() {
    let beats = |of| every(HOUR, START, 100, of);
    let mut random = Random(8);
    let users = (0..2_000).map(|n| (START + 10 * HOUR + random.below(80 * HOUR), 100 + n));
    let sends = beats(1).chain(beats(2)).chain(users);
    assert_eq!(results(sends), [(7 * HOUR, Some(2))]);
}

#[test]
fn web_processes_that_take_turns_are_not_beats() {
    let mut random = Random(9);
    for processes in 2..=8 {
        for (slot, late_max) in [(MINUTE, 1), (5 * MINUTE, 1), (HOUR, 15)] {
            let sends = (0..5_000).map(|n| {
                let late = random.below(late_max * SECOND);
                (START + n * slot + late, n % processes)
            });
            assert_eq!(results(sends), [], "{processes} {slot}");
        }
    }
}

/// Replays a year of sends, or as many as given, of one name.
fn detections(sends: &mut dyn FnMut(&mut Random) -> i64, seed: u64, beat: i64, most: u32) -> u32 {
    let mut random = Random(seed);
    let mut senders = Senders::default();
    let (mut now, mut due, mut detections) = (START, START, 0);
    for _ in 0..most {
        now += sends(&mut random);
        if now > START + YEAR {
            break;
        }
        while due <= now {
            senders.sent(process(9), at(due + random.below(SECOND)));
            due += beat;
        }
        senders.sent(process(random.below(4)), at(now));
        detections += u32::from(senders.in_rhythm(at(now)).is_some());
    }
    detections
}

#[test]
fn web_processes_that_send_at_random_are_not_beats() {
    let seconds = [1, 2, 3, 4, 6, 9, 14, 20, 40, 90, 300, 1_200, 7_200, 86_400];
    for mean in seconds.map(|seconds| seconds * SECOND) {
        for beat in [30 * SECOND, 5 * MINUTE, HOUR, DAY] {
            for seed in 0..3 {
                let mut sends = |random: &mut Random| random.exponential(mean);
                let found = detections(&mut sends, seed, beat.max(mean / 4), 60_000);
                assert_eq!(found, 0, "{mean} {beat} {seed}");
            }
        }
    }
}

#[test]
fn web_processes_that_send_at_whole_minutes_are_not_beats() {
    // Each slot is used with this probability, in percent.
    for (slot, percent, beat) in [
        (MINUTE, 100, MINUTE),
        (MINUTE, 50, MINUTE),
        (MINUTE, 5, MINUTE),
        (10 * MINUTE, 100, 10 * MINUTE),
        (10 * MINUTE, 30, HOUR),
        (HOUR, 10, HOUR),
        (HOUR, 100, DAY),
    ] {
        for seed in 0..4 {
            let mut late = 0;
            let mut sends = |random: &mut Random| {
                let mut slots = 1;
                while random.below(100) >= percent {
                    slots += 1;
                }
                let before = late;
                late = random.below(SECOND);
                slots * slot + late - before
            };
            let found = detections(&mut sends, seed, beat, 100_000);
            assert_eq!(found, 0, "{slot} {percent} {seed}");
        }
    }
}

#[test]
fn processes_that_each_send_at_many_whole_minutes_are_not_beats() {
    let mut random = Random(11);
    let mut senders = Senders::default();
    for minute in 0..YEAR / MINUTE {
        let now = at(START + minute * MINUTE);
        for of in 0..4 {
            if random.below(5) < 2 {
                senders.sent(process(of), now);
            }
        }
        assert_eq!(senders.in_rhythm(now), None, "{minute}");
    }
}

#[test]
fn beats_are_found_among_many_processes_that_send_once() {
    let mut random = Random(10);
    let once = (0..60 * 24 * 30).map(|n| (START + n * MINUTE + random.below(MINUTE), 100 + n));
    let beats = |of| every(HOUR, START + 2 * DAY, 28 * 24, of);
    let found = results(once.chain(beats(1)).chain(beats(2)));
    let [(first, Some(2))] = found[..] else {
        panic!("{found:?}")
    };
    assert!(first < 10 * DAY, "{first}");
}

#[test]
fn a_burst_of_one_process_does_not_hide_another_one() {
    let mut tasks = PeriodicTasks::default();
    let task = name(1);
    for n in 0..20 {
        for part in 0..50 {
            for of in [1, 2] {
                let sent = at(START + n * HOUR + part * SECOND / 10);
                tasks.sent(task, sent);
                tasks.sent_by(process(of), task, sent);
            }
        }
    }
    let now = START + 20 * HOUR;
    assert_eq!(only(&tasks, now).senders, Some(2));
    // They are forgotten with the name, and are unknown without one.
    tasks.retain_if(|_, _| false);
    tasks.sent_by(process(1), task, at(now));
    assert!(tasks.senders.is_empty());
}
