use super::*;
use crate::state::{Names, Outcome};

fn step(step: Step) -> HeldStep {
    HeldStep {
        step: Some(step),
        at: Timestamp::from_millis(1_000),
        sender: None,
        name: None,
        worker: None,
        ran_by: None,
        eta: false,
        intervals: Intervals::default(),
    }
}

fn steps(changes: &[Change]) -> Vec<Step> {
    let steps = changes.iter().filter_map(|change| {
        if let Change::Task { step, .. } = change {
            Some(*step)
        } else {
            None
        }
    });
    steps.collect()
}

#[test]
fn a_step_counts_under_its_sender_and_its_intervals_under_the_worker_that_ran_the_task() {
    let mut names = Names::default();
    let [name, queue, worker, ran_by] =
        ["t", "q", "w@h", "x@h"].map(|text| Some(names.intern(text)));
    let at = Timestamp::from_millis(7_000);
    let held = HeldStep {
        at,
        sender: worker,
        worker,
        ran_by,
        eta: true,
        intervals: Intervals {
            ran: Some((Outcome::Succeeded, 1.0)),
            queue_wait: Some(2.0),
            prefetch_wait: Some(3.0),
            turnaround: Some((Outcome::Succeeded, 4.0)),
            attempts: Some((Outcome::Succeeded, 5)),
            exhausted: true,
            clamped: 6,
            refused: 7,
        },
        ..step(Step::Succeeded)
    };
    let of = TaskKey {
        name,
        queue,
        worker: ran_by,
    };
    let outcome = Outcome::Succeeded;
    let intervals = [
        Change::Ran {
            outcome,
            seconds: 1.0,
            of,
        },
        Change::QueueWaited { seconds: 2.0, of },
        Change::PrefetchWaited {
            seconds: 3.0,
            of,
            eta: true,
        },
        Change::TurnedAround {
            outcome,
            seconds: 4.0,
            of,
        },
        Change::Finished {
            outcome,
            attempts: 5,
            exhausted: true,
            of,
        },
    ];
    let counted = Change::Task {
        step: Step::Succeeded,
        of: TaskKey { worker, ..of },
        at,
        sender: worker,
    };
    let changes = |held: HeldStep| {
        let mut changes = Vec::new();
        held.count(name, queue, &mut changes);
        changes
    };
    assert_eq!(changes(held), [&[counted][..], &intervals].concat());
    assert!(!held.is_empty());
    // Another shard counts the step.
    let elsewhere = HeldStep { step: None, ..held };
    assert_eq!(changes(elsewhere), intervals);
    assert!(!elsewhere.is_empty());
    let nothing = HeldStep {
        intervals: Intervals::default(),
        ..elsewhere
    };
    assert_eq!((changes(nothing), nothing.is_empty()), (vec![], true));
    assert!(!step(Step::Sent).is_empty());
}

#[test]
fn the_steps_of_a_task_are_released_in_order_under_the_name_that_is_known() {
    let mut names = Names::default();
    let (own, known) = (names.intern("own"), names.intern("known"));
    let mut held = Held::default();
    let named = |name, it: Step| HeldStep { name, ..step(it) };
    let first = held.push(true, 7, named(Some(own), Step::Sent));
    let other = held.push(true, 8, step(Step::Started));
    assert_eq!(held.push(false, 7, named(None, Step::Received)), first);
    assert_eq!(held.push(false, 7, named(None, Step::Succeeded)), first);
    assert_eq!(
        (held.len(), held.chain(7), held.chain(9)),
        (4, Some(first), None)
    );
    assert_eq!((held.name(first), held.name(other)), (Some(own), None));
    let heads: Vec<_> = held
        .heads()
        .iter()
        .map(|(at, head)| (*at, head.task))
        .collect();
    assert_eq!(heads, [(first, 7), (other, 8)]);

    for (name, expected) in [
        (None, [Some(own), None, None]),
        (Some(known), [Some(known); 3]),
    ] {
        let (mut held, mut changes) = (held.clone(), Vec::new());
        assert_eq!(held.take_chain(7), Some(first));
        held.release(first, name, None, &mut changes);
        assert_eq!(
            steps(&changes),
            [Step::Sent, Step::Received, Step::Succeeded]
        );
        let names = changes.iter().map(|change| {
            let Change::Task { of, .. } = change else {
                panic!("{change:?}")
            };
            of.name
        });
        assert_eq!(names.collect::<Vec<_>>(), expected);
        assert_eq!((held.len(), held.chain(7)), (1, None));
        // Its place is used again.
        held.push(true, 9, step(Step::Sent));
        assert_eq!((held.len(), held.slots.len()), (2, 4));
    }
}

#[test]
fn the_names_of_held_steps_stay_in_use() {
    let mut names = Names::default();
    let mut name = |text: &str| names.intern(text);
    let mut held = Held::default();
    let failed = HeldStep {
        sender: Some(name("sender")),
        name: Some(name("name")),
        worker: Some(name("worker")),
        ran_by: Some(name("ran_by")),
        ..step(Step::Failed(Some(name("failed"))))
    };
    let first = held.push(true, 1, failed);
    held.push(false, 1, step(Step::Retried(Some(name("retried")))));
    let published = Published {
        exchange: name("exchange"),
        key: name("key"),
        queue: Some(name("queue")),
    };
    held.head_mut(first).expect("a chain").published = Some(published);
    let used: Vec<Symbol> = held.names().collect();
    let texts: Vec<_> = used
        .iter()
        .map(|symbol| names.text(*symbol).to_string())
        .collect();
    let expected = [
        "sender", "name", "worker", "ran_by", "failed", "retried", "exchange", "key", "queue",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn memory_is_freed_once_nothing_is_held_and_much_was() {
    for (count, is_kept) in [(KEPT, true), (KEPT + 1, false)] {
        let mut held = Held::default();
        let count = At::try_from(count).expect("small");
        for task in 0..count {
            held.push(true, task, step(Step::Sent));
        }
        for task in 0..count {
            let chain = held.take_chain(task).expect("held");
            held.release(chain, None, None, &mut Vec::new());
        }
        assert_eq!(
            (held.len(), held.slots.capacity() > 0),
            (0, is_kept),
            "{count}"
        );
    }
}

#[test]
fn as_many_steps_are_held_as_are_allowed() {
    let mut held = Held::default();
    for task in 0..HELD_MAX {
        assert!(!held.is_full());
        held.push(true, At::try_from(task).expect("small"), step(Step::Sent));
    }
    assert!(held.is_full());
}
