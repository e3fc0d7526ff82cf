//! Which shard owns a task, and where its waits count.

use super::*;

#[test]
fn each_id_has_one_owner_and_keeps_it() {
    // The check value of CRC-32C, which is that of "123456789", is 0xe3069283.
    let cases = [
        ("123456789", 4, 3),
        ("123456789", 16, 3),
        ("123456789", 1, 0),
        ("", 7, 0),
    ];
    for (uuid, count, owner) in cases {
        for index in 0..count {
            let owns = Shard { index, count }.owns(uuid);
            assert_eq!(owns, index == owner, "{uuid} of {count}: {index}");
        }
    }
}

#[test]
fn the_owners_of_many_ids_are_spread_evenly() {
    let mut owned = [0; 4];
    for n in 0..4_000_u32 {
        let uuid = format!("{:08x}-0000-4000-8000-{n:012}", n.wrapping_mul(0x9e37_79b9));
        for (index, owned) in (0..).zip(&mut owned) {
            *owned += u32::from(Shard { index, count: 4 }.owns(&uuid));
        }
    }
    assert_eq!(owned.iter().sum::<u32>(), 4_000);
    assert!(
        owned.iter().all(|owned| (800..1_200).contains(owned)),
        "{owned:?}"
    );
}

#[test]
fn waits_are_those_of_the_attempt_whatever_ran_elsewhere() {
    // Attempts are sent at 0, 10 and 20 seconds. The events that reach the shard, and the waits
    // that it reports.
    let [s0, s1, s2] = [0, 1, 2].map(|n| sent("a", n, None, i64::from(n) * 10_000));
    let run = |retries: u32, millis| {
        let started = of_worker(TaskKind::Started, "a", 1, millis + 1_000);
        [received("a", 1, retries, millis), started]
    };
    let retried = |millis| of_worker(TaskKind::Retried, "a", 1, millis);
    let cases: [(&str, Vec<Event<'_>>, &[&str]); 7] = [
        (
            "the second attempt runs here",
            [vec![s0.clone(), s1.clone()], run(1, 12_000).to_vec()].concat(),
            &["3"],
        ),
        (
            "its task-sent comes behind it",
            [vec![s0.clone()], run(1, 12_000).to_vec(), vec![s1.clone()]].concat(),
            &["3"],
        ),
        (
            "the third, two of them behind it",
            [
                vec![s0.clone()],
                run(2, 22_000).to_vec(),
                vec![s2.clone(), s1.clone()],
            ]
            .concat(),
            &["3"],
        ),
        (
            "the third, of which the task-sent came, and that of the second late",
            [
                vec![s0.clone(), s2.clone(), s1.clone()],
                run(2, 22_000).to_vec(),
            ]
            .concat(),
            &["3"],
        ),
        (
            "the third, whose task-sent is late",
            [
                vec![s0.clone(), s1.clone()],
                run(2, 22_000).to_vec(),
                vec![s2.clone()],
            ]
            .concat(),
            &["3"],
        ),
        (
            "the first and the third",
            [
                vec![s0.clone()],
                run(0, 3_000).to_vec(),
                vec![retried(9_000), s1.clone(), s2.clone()],
                run(2, 22_000).to_vec(),
            ]
            .concat(),
            &["3", "4"],
        ),
        (
            "the second, whose events waited until the third was sent",
            [
                vec![s0.clone(), s1.clone(), s2.clone()],
                run(1, 12_000).to_vec(),
                vec![retried(19_000)],
                run(2, 22_000).to_vec(),
            ]
            .concat(),
            &["3", "3"],
        ),
    ];
    for (case, events, expected) in cases {
        let (_, sums) = told_by(0, 9, &events);
        let waits = sums.told.iter().filter_map(|(told, times)| {
            let seconds = told.strip_prefix("queue ")?.split(' ').next()?;
            Some(std::iter::repeat_n(seconds, *times as usize))
        });
        let waits: Vec<_> = waits.flatten().collect();
        assert_eq!(waits, expected, "{case}: {sums:?}");
    }
}
