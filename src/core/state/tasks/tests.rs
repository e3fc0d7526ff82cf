use super::*;
use crate::state::TaskStage;
use crate::state::names::TEXT_BYTES_MAX;

fn uuid(n: u32) -> String {
    format!("{n:08x}-0000-4000-8000-000000000000")
}

fn put(tasks: &mut Tasks, uuid: &str, stage: Option<TaskStage>, millis: i64) {
    let at = tasks.find_or_insert(&tasks.key(uuid));
    tasks.get_mut(at).stage = stage;
    tasks.file(at, Timestamp::from_millis(millis));
}

#[test]
fn ids_that_look_alike_are_different_tasks() {
    let mut tasks = Tasks::default();
    let upper = uuid(10).to_uppercase();
    for id in [
        uuid(10),
        upper,
        uuid(11),
        "a".into(),
        "A".into(),
        " a".into(),
    ] {
        put(&mut tasks, &id, Some(TaskStage::Sent), 1);
        put(&mut tasks, &id, Some(TaskStage::Sent), 2);
    }

    assert_eq!(tasks.alive(), 6);
}

#[test]
fn the_one_heard_of_longest_ago_goes_first() {
    let mut tasks = Tasks::default();
    for n in 0..3 {
        put(
            &mut tasks,
            &uuid(n),
            Some(TaskStage::Sent),
            i64::from(n) * 1_000,
        );
    }
    put(&mut tasks, &uuid(0), Some(TaskStage::Started), 3_000);

    assert_eq!(
        tasks.evict(2).and_then(|removed| removed.task.stage),
        Some(TaskStage::Sent)
    );
    assert!(tasks.evict(2).is_none());
    let second = Duration::from_secs(1);
    assert!(
        tasks
            .expire(second, Timestamp::from_millis(3_001))
            .is_some()
    );
    assert!(
        tasks
            .expire(second, Timestamp::from_millis(4_000))
            .is_none()
    );
    assert!(
        tasks
            .expire(second, Timestamp::from_millis(4_001))
            .is_some()
    );
    assert_eq!(tasks.alive(), 0);
}

#[test]
fn ended_tasks_are_bounded_by_number_and_age() {
    let mut tasks = Tasks::default();
    let many = u32::try_from(ENDED_MAX).expect("small") + 10;
    for n in 0..many {
        put(&mut tasks, &uuid(n), None, 1);
    }
    assert_eq!(tasks.iter().count(), ENDED_MAX);

    // The time of a task's last event is kept in whole seconds, rounded up.
    tasks.forget(Duration::MAX, Timestamp::from_millis(61_000));
    assert_eq!(tasks.iter().count(), ENDED_MAX);
    tasks.forget(Duration::MAX, Timestamp::from_millis(61_001));
    assert_eq!(tasks.iter().count(), 0);
}

#[test]
fn a_timeout_counts_from_the_due_time() {
    let hour = Duration::from_secs(3_600);
    let due_at = |tasks: &mut Tasks, n: u32, heard: i64, due: i64| {
        let at = tasks.find_or_insert(&tasks.key(&uuid(n)));
        let eta = Timestamp::from_millis(due * 1_000);
        let event = crate::event::TaskEvent {
            eta: Some(eta),
            retries: Some(0),
            ..crate::event::TaskEvent::new(crate::event::TaskKind::Sent, "")
        };
        let sent = Timestamp::from_millis(heard * 1_000);
        tasks.get_mut(at).apply(&event, sent, None);
        tasks.file(at, sent);
    };
    let mut tasks = Tasks::default();
    let year = 366 * 86_400;
    due_at(&mut tasks, 0, 1, 86_400);
    due_at(&mut tasks, 1, 2, 10 * year);
    due_at(&mut tasks, 2, 3, 1_800);
    put(&mut tasks, &uuid(3), Some(TaskStage::Started), 4_000);
    let mut expired = Vec::new();
    for second in [
        3_604,
        3_605,
        5_400,
        5_401,
        90_000,
        90_001,
        year + 3_602,
        year + 3_603,
    ] {
        let now = Timestamp::from_millis(second * 1_000);
        while tasks.expire(hour, now).is_some() {
            expired.push(second);
        }
    }
    assert_eq!(expired, [3_605, 5_401, 90_001, year + 3_603]);
    assert_eq!(tasks.alive(), 0);
}

#[test]
fn a_task_that_is_due_later_is_in_flight_until_it_is_heard_of_or_evicted() {
    let mut tasks = Tasks::default();
    let at = tasks.find_or_insert(&tasks.key(&uuid(0)));
    let event = crate::event::TaskEvent {
        eta: Some(Timestamp::from_millis(1_000_000)),
        ..crate::event::TaskEvent::new(crate::event::TaskKind::Sent, "")
    };
    tasks
        .get_mut(at)
        .apply(&event, Timestamp::from_millis(1_000), None);
    tasks.file(at, Timestamp::from_millis(1_000));
    let second = Duration::from_secs(1);
    assert!(
        tasks
            .expire(second, Timestamp::from_millis(9_000))
            .is_none()
    );
    assert_eq!((tasks.alive(), tasks.places().count()), (1, 1));
    put(&mut tasks, &uuid(1), Some(TaskStage::Sent), 9_000);
    assert!(tasks.evict(2).is_none());
    // It starts early, and its timeout counts from then on.
    put(&mut tasks, &uuid(0), Some(TaskStage::Started), 9_500);
    assert_eq!(
        tasks.evict(1).and_then(|removed| removed.task.stage),
        Some(TaskStage::Sent)
    );
    let now = Timestamp::from_millis(12_000);
    assert!(tasks.expire(second, now).is_some());
    assert!(
        tasks
            .expire(second, Timestamp::from_millis(9_000_000))
            .is_none()
    );
    assert_eq!(tasks.alive(), 0);
}

#[test]
fn a_task_without_room_takes_the_place_of_the_oldest_that_ended_or_else_is_alive() {
    // 42 MiB are shared, of which tasks may use 18.
    let bounds = Bounds::new(64 << 20, false, 0);
    let mut tasks = Tasks::new(None, bounds.clone());
    put(&mut tasks, &uuid(0), None, 1);
    let long = |n: u32| format!("{}{n:06}", "x".repeat(500));
    let mut evicted = 0;
    for n in 1..100_000 {
        // Some ids are UUIDs, and some are truncated.
        let id = if n % 2 == 0 { uuid(n) } else { long(n) };
        put(
            &mut tasks,
            &id,
            Some(TaskStage::Received),
            1_000 + i64::from(n),
        );
        while tasks.evict(usize::MAX).is_some() {
            evicted += 1;
        }
    }
    let used = bounds.used(Part::Tasks);
    let least = 17 << 20;
    assert!((least..least + (2 << 20)).contains(&used), "{used}");
    assert!(tasks.find(&uuid(0)).is_none() && tasks.find(&long(1)).is_none());
    assert!(tasks.find(&uuid(99_998)).is_some() && tasks.find(&long(99_999)).is_some());
    assert_eq!(tasks.alive() + evicted, 99_999);
    // The first task without room replaced the ended one.
    assert_eq!(bounds.times(Limit::TaskMemory), evicted as u64 + 1);
}

#[test]
fn an_id_is_a_uuid_only_in_canonical_form() {
    let uuid = [
        0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32,
        0x10,
    ];
    let text = "01234567-89ab-cdef-fedc-ba9876543210";
    assert_eq!(parse_uuid(text), Some(uuid));
    for other in [
        &text.to_uppercase(),
        &text.replace('-', "_"),
        &text.replacen("0123", "012g", 1),
        &text.replacen("0123", "012/", 1),
        &text[1..],
        &format!("{text}0"),
    ] {
        assert_eq!(parse_uuid(other), None, "{other}");
    }
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    for (at, was) in text.char_indices() {
        for c in (0..=127).map(char::from) {
            let other = format!("{}{c}{}", &text[..at], &text[at + 1..]);
            let is_canonical = if was == '-' { c == '-' } else { is_digit(c) };
            let hex = other.replace('-', "");
            let naive = u128::from_str_radix(&hex, 16).map(u128::to_be_bytes);
            assert_eq!(
                parse_uuid(&other),
                naive.ok().filter(|_| is_canonical),
                "{other}"
            );
        }
    }
}

#[test]
fn tasks_that_were_loaded_are_found_even_if_others_were_freed() {
    let mut tasks = Tasks::default();
    for n in 0..3_000 {
        let stage = (n == 1_500).then_some(TaskStage::Sent);
        put(&mut tasks, &uuid(n), stage, 1_000);
    }
    tasks.forget(Duration::from_secs(3_600), Timestamp::from_millis(62_000));
    assert!(tasks.slots.get(0).is_none());
    let ids: Vec<_> = (1_495..1_511).map(uuid).collect();
    let keys: Vec<_> = ids.iter().map(|id| Some(tasks.key(id))).collect();
    tasks.load(&keys);
    tasks.load(&[None, Some(tasks.key("other"))]);
    let found = ids.iter().filter(|id| tasks.find(id).is_some());
    assert!(found.eq([&uuid(1_500)]));
}

/// A table of one of two shards, in which tasks on their way are listed apart.
fn sharded(bounds: Bounds) -> Tasks {
    Tasks::new(Some(Shard { index: 0, count: 2 }), bounds)
}

#[test]
fn a_task_on_its_way_is_forgotten_once_it_was_silent_and_is_due() {
    let mut tasks = sharded(Bounds::default());
    let due = |tasks: &mut Tasks, n, eta: i64| {
        let event = crate::event::TaskEvent {
            eta: Some(Timestamp::from_millis(eta)),
            ..crate::event::TaskEvent::new(crate::event::TaskKind::Sent, "")
        };
        let at = tasks.find_or_insert(&tasks.key(&uuid(n)));
        let sent = Timestamp::from_millis(1_000);
        tasks.get_mut(at).apply(&event, sent, None);
        tasks.file(at, sent);
    };
    due(&mut tasks, 0, 1_000);
    due(&mut tasks, 1, 12_000);
    due(&mut tasks, 2, 11_001);
    put(&mut tasks, &uuid(3), Some(TaskStage::Started), 1_000);
    let timeout = Duration::from_secs(10);
    let left = |tasks: &mut Tasks, millis| {
        tasks.forget(timeout, Timestamp::from_millis(millis));
        let left = (0..4).filter(|n| tasks.find(&uuid(*n)).is_some());
        left.collect::<Vec<_>>()
    };
    assert_eq!(left(&mut tasks, 11_000), [0, 1, 2, 3]);
    // The one that is not due yet is silent for as long again.
    assert_eq!(left(&mut tasks, 11_001), [1, 3]);
    assert_eq!(left(&mut tasks, 22_000), [1, 3]);
    assert_eq!(left(&mut tasks, 22_001), [3]);
    assert_eq!((tasks.alive(), tasks.on_the_way.length), (1, 0));
}

#[test]
fn tasks_on_their_way_make_room_before_those_that_a_worker_has() {
    let bounds = Bounds::default();
    let mut tasks = sharded(bounds.clone());
    for (n, stage) in [
        (0, TaskStage::Started),
        (1, TaskStage::Sent),
        (2, TaskStage::Retry),
    ] {
        put(&mut tasks, &uuid(n), Some(stage), 1_000);
    }
    for (max, left, reached) in [(3, 2, 0), (2, 1, 1), (1, 0, 2)] {
        assert!(tasks.evict(max).is_none());
        assert_eq!((tasks.on_the_way.length, tasks.alive()), (left, 1));
        assert_eq!(bounds.times(Limit::Tasks), reached, "{max}");
    }
    assert_eq!(
        tasks.evict(0).and_then(|removed| removed.task.stage),
        Some(TaskStage::Started)
    );
    assert_eq!(bounds.times(Limit::Tasks), 3);
}

#[test]
fn a_task_that_is_given_up_is_over_and_one_that_goes_back_is_on_its_way() {
    let mut tasks = sharded(Bounds::default());
    for n in 0..3 {
        put(&mut tasks, &uuid(n), Some(TaskStage::Received), 1_000);
    }
    let now = Timestamp::from_millis(5_000);
    let [lost, back] = [0, 1].map(|n| tasks.find(&uuid(n)).expect("known"));
    tasks.give_up(now, |at, task| {
        if at == back {
            task.stage = Some(TaskStage::Sent);
        }
        at == lost
    });
    assert_eq!((tasks.alive(), tasks.on_the_way.length), (1, 1));
    assert_eq!((tasks.ended.length, tasks.get(lost).stage), (1, None));
    assert_eq!(tasks.in_flight().count(), 2);
    let places: Vec<_> = tasks.places().map(|(_, heard, _)| heard.millis()).collect();
    assert_eq!(places, [1_000]);
}

#[test]
fn a_task_that_is_rescheduled_again_and_again_is_remembered_once() {
    let mut tasks = Tasks::default();
    let second = Duration::from_secs(1);
    for n in 1..3_000 {
        let event = crate::event::TaskEvent {
            eta: Some(Timestamp::from_millis(1_000_000 + n)),
            retries: Some(0),
            ..crate::event::TaskEvent::new(crate::event::TaskKind::Sent, "")
        };
        let at = tasks.find_or_insert(&tasks.key(&uuid(0)));
        let sent = Timestamp::from_millis(n);
        tasks.get_mut(at).apply(&event, sent, None);
        tasks.file(at, sent);
        let now = Timestamp::from_millis(10_000 + n);
        assert!(tasks.expire(second, now).is_none());
        assert_eq!(tasks.alive(), 1);
    }
    assert!(
        tasks.due.len() <= 2 + later::STALE_MAX,
        "{}",
        tasks.due.len()
    );
}

#[test]
fn an_id_that_is_no_uuid_takes_its_room_until_the_task_is_removed() {
    let bounds = Bounds::default();
    let mut tasks = Tasks::new(None, bounds.clone());
    let used = |count: u64| count * SLOT_BYTES;
    put(&mut tasks, &uuid(0), Some(TaskStage::Sent), 1_000);
    assert_eq!(bounds.used(Part::Tasks), used(1));
    assert_eq!(SLOT_BYTES, size_of::<Slot>() as u64 + 80);
    put(&mut tasks, "other", Some(TaskStage::Sent), 2_000);
    assert_eq!(bounds.used(Part::Tasks), used(2) + 160 + 2 * 5);
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    put(&mut tasks, &long, Some(TaskStage::Sent), 3_000);
    assert_eq!(bounds.times(Limit::TextBytes), 1);
    assert!(tasks.find(&long).is_some() && tasks.find(&(long + "y")).is_none());
    // Its slot is kept for the next task.
    for left in [2, 1, 0] {
        assert!(tasks.evict(left).is_some());
    }
    assert_eq!(bounds.used(Part::Tasks), used(3));
    put(&mut tasks, &uuid(1), Some(TaskStage::Sent), 4_000);
    assert_eq!(bounds.used(Part::Tasks), used(3));
}

#[test]
fn a_slot_is_120_bytes_and_membership_is_kept_outside() {
    assert_eq!((size_of::<Slot>(), align_of::<Slot>()), (120, 8));
    assert_eq!(size_of::<(At, Member)>(), 28);
}

#[test]
fn after_a_burst_the_table_is_small_again_and_knows_what_is_left() {
    const BURST: u32 = 20_000;
    let bounds = Bounds::default();
    let mut tasks = Tasks::new(None, bounds.clone());
    let stage = |n: u32| n.is_multiple_of(5_000).then_some(TaskStage::Sent);
    let id = |n: u32| {
        if n == 5_000 {
            "other".to_owned()
        } else {
            uuid(n)
        }
    };
    for n in 0..BURST {
        put(&mut tasks, &id(n), stage(n), 1_000);
    }
    let full = bounds.used(Part::Tasks);
    let (timeout, at) = (Duration::from_secs(3_600), Timestamp::from_millis);
    tasks.forget(timeout, at(61_000));
    assert_eq!(bounds.used(Part::Tasks), full);

    tasks.forget(timeout, at(63_000));
    let left = bounds.used(Part::Tasks);
    assert!(left < full / 15, "{left} of {full}");
    assert!(tasks.index.capacity() < 100);
    let known = |tasks: &Tasks| (0..BURST).filter(|n| tasks.find(&id(*n)).is_some()).count();
    assert_eq!(known(&tasks), 4);
    for n in 0..BURST {
        put(&mut tasks, &id(n), stage(n), 64_000);
    }
    assert_eq!(known(&tasks), BURST as usize);
    assert_eq!(bounds.used(Part::Tasks), full);
    // Nothing is looked for again in the same minute.
    tasks.forget(timeout, at(122_900));
    assert_eq!(bounds.used(Part::Tasks), full);
}

#[test]
fn memory_is_freed_after_the_clock_was_set_back() {
    let (timeout, at) = (Duration::from_secs(3_600), Timestamp::from_millis);
    let bounds = Bounds::default();
    let mut tasks = Tasks::new(None, bounds.clone());
    let mut burst = |now: i64, clock: Option<ClockStep>| {
        clock.into_iter().for_each(|step| tasks.clock_set(step));
        for n in 0..3_000 {
            put(&mut tasks, &uuid(n), None, now);
        }
        tasks.forget(timeout, at(now + 62_000));
        bounds.used(Part::Tasks)
    };
    assert_eq!(burst(10_000_000, None), 0);
    let back = ClockStep::between(at(10_062_000), at(1_062_000), Duration::ZERO);
    assert_eq!(burst(1_062_000, back), 0);
}

#[test]
fn a_due_time_of_a_task_whose_memory_was_freed_is_stale() {
    let mut tasks = Tasks::default();
    let (second, at) = (Duration::from_secs(1), Timestamp::from_millis);
    for n in 0..3_000 {
        put(&mut tasks, &uuid(n), None, 1_000);
    }
    let event = crate::event::TaskEvent {
        eta: Some(at(500_000)),
        ..crate::event::TaskEvent::new(crate::event::TaskKind::Sent, "")
    };
    let late = tasks.find_or_insert(&tasks.key(&uuid(3_000)));
    tasks.get_mut(late).apply(&event, at(1_000), None);
    tasks.file(late, at(1_000));
    assert!(tasks.expire(second, at(10_000)).is_none());
    assert_eq!(tasks.due.len(), 1);
    let _ = tasks.remove(late);
    tasks.forget(second, at(62_500));
    assert!(tasks.slots.get(late as usize).is_none());

    assert!(tasks.expire(second, at(600_000)).is_none());
    assert_eq!(tasks.due.len(), 0);
}
