use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000 + second * 1_000)
}

fn level(queue: &str, length: u64, unacked: Option<u64>, consumers: Option<u64>) -> QueueLevel {
    QueueLevel {
        queue: queue.to_owned(),
        length,
        unacked,
        consumers,
    }
}

fn apply(queues: &mut Queues, names: &mut Names, levels: &[QueueLevel], second: i64) {
    let ttl = Duration::from_secs(86_400);
    queues.apply(levels, names, ttl, at(second), at(second));
}

#[test]
fn levels_are_valid_for_two_minutes_or_three_rounds() {
    let shown = |rounds: &[i64], second| {
        let (mut queues, mut names) = (Queues::default(), Names::default());
        for round in rounds {
            apply(
                &mut queues,
                &mut names,
                &[level("q", 1, None, None)],
                *round,
            );
        }
        queues.expire(at(second));
        queues.levels.len()
    };
    for (rounds, last) in [(&[0_i64][..], 120), (&[0, 10], 130), (&[0, 60], 240)] {
        assert_eq!(shown(rounds, last), 1, "{rounds:?}");
        assert_eq!(shown(rounds, last + 1), 0, "{rounds:?}");
    }
}

#[test]
fn levels_of_generated_queues_add_up_as_far_as_they_are_known() {
    let (mut queues, mut names) = (Queues::default(), Names::default());
    let uuid = |n: u32| format!("{n:08x}-0000-4000-8000-000000000000");
    let levels = [
        level(&uuid(1), 3, None, Some(1)),
        level(&uuid(2), 4, Some(5), None),
        level(&uuid(3), u64::MAX, Some(6), None),
    ];
    apply(&mut queues, &mut names, &levels, 0);
    let all: Vec<Queue> = queues.levels.values().copied().collect();
    let sum = Queue {
        length: Some(u64::MAX),
        unacked: Some(11),
        consumers: Some(1),
        ..Queue::default()
    };
    assert_eq!(all, [sum]);
}

#[test]
fn a_queue_is_empty_if_the_broker_has_no_message_of_it() {
    let (mut queues, mut names) = (Queues::default(), Names::default());
    let levels = [
        level("ready", 1, Some(0), None),
        level("unacked", 0, Some(1), None),
        level("empty", 0, Some(0), Some(2)),
        level("unknown", 0, None, None),
    ];
    apply(&mut queues, &mut names, &levels, 7);
    let mut empty: Vec<_> = queues
        .empty()
        .map(|(name, consumers)| (names.text(name).to_string(), consumers))
        .collect();
    empty.sort();
    let expected = [("empty", Some(2)), ("unknown", None)];
    assert_eq!(
        empty,
        expected.map(|(name, consumers)| (name.to_owned(), consumers))
    );
    assert_eq!(queues.asked(), at(7));
}

#[test]
fn the_consumers_of_a_queue_add_up_over_workers_that_are_online() {
    let (mut queues, mut names) = (Queues::default(), Names::default());
    apply(&mut queues, &mut names, &[level("idle", 0, None, None)], 0);
    let (queue, idle) = (names.intern("q"), names.intern("idle"));
    let worker = |name: &str, online, names: &mut Names| {
        let mut worker = Worker::new(names.intern(name), at(0));
        worker.online = online;
        worker.queues = Some(vec![queue]);
        (worker.slots, worker.processes, worker.active) = (Some(4), Some(2), Some(1));
        worker
    };
    let workers = [
        worker("a@h", true, &mut names),
        worker("b@h", true, &mut names),
        worker("c@h", false, &mut names),
    ];
    let counts = |queue: &Queue| [queue.workers, queue.slots, queue.processes, queue.active];
    let shown = queues.with_workers(workers.iter());
    assert_eq!(counts(&shown[&queue]), [Some(2), Some(8), Some(4), Some(2)]);
    assert_eq!(counts(&shown[&idle]), [None; 4]);
    queues.workers_asked();
    let shown = queues.with_workers(workers.iter());
    assert_eq!(counts(&shown[&idle]), [Some(0); 4]);
}

#[test]
fn levels_stay_valid_if_the_clock_is_set() {
    let (mut queues, mut names) = (Queues::default(), Names::default());
    apply(&mut queues, &mut names, &[level("q", 1, None, None)], 0);
    let hour = ClockStep::between(at(1), at(3_601), Duration::ZERO).expect("a step");
    queues.clock_set(hour);
    assert_eq!(queues.asked(), at(3_600));
    queues.expire(at(3_720));
    assert_eq!(queues.levels.len(), 1);
    // One of the level, and one of the watched queue.
    assert_eq!(queues.names().count(), 2);
}
