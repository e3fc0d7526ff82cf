//! Holds for any events in any order.

use super::*;

/// Checks that each workflow has as many tasks in flight as it counts.
pub(super) fn check(state: &State) {
    let mut in_flight: HashMap<RootId, u32> = HashMap::new();
    for (at, _, task) in state.tasks.places() {
        if let Some(member) = state.tasks.member(at) {
            assert_eq!(member.standing, Standing::InFlight, "{task:?}");
            *in_flight.entry(member.workflow).or_default() += 1;
        }
    }
    state.workflows.check(&in_flight);
    let members = state.tasks.members();
    let in_flight: u32 = in_flight.values().sum();
    let standing = members.filter(|member| member.standing == Standing::InFlight);
    assert_eq!(u32::try_from(standing.count()), Ok(in_flight));
}

const KINDS: [TaskKind; 9] = [
    Sent,
    Received,
    Started,
    Succeeded,
    Failed,
    Retried,
    Rejected,
    Revoked,
    TaskKind::Cancelled,
];

fn event(kind: TaskKind, task: u8, retries: u32) -> TaskEvent<'static> {
    let named = matches!(kind, Sent | Received);
    TaskEvent {
        name: named.then(|| if task == 7 { CHORD_UNLOCK } else { "t" }.into()),
        // Tasks 0 and 1 are roots, and task 2 belongs to one that is not known.
        root_id: named.then(|| ["0", "1", "none"][usize::from(task % 3)].into()),
        retries: named.then_some(retries),
        requeue: kind == Rejected && retries == 1,
        ..TaskEvent::new(kind, task.to_string())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn counts_are_right_and_nothing_is_open_once_all_tasks_have_ended(
        events in prop::collection::vec((0..12_usize, 0..9_u8, 0..2_u32, 0..30_i64, 0..8_i64), 0..60)
    ) {
        let mut cluster = Cluster::with(Limits { tasks_max: 6, ..limits() });
        let mut now = 0;
        let mut counted = 0;
        for (what, task, retries, later, back) in events {
            now += later;
            match KINDS.get(what) {
                Some(&kind) => cluster.apply(event(kind, task, retries), now - back, now),
                None if what == 9 => cluster.heartbeat(i64::from(task), now),
                None if what == 10 => counted += cluster.ended(now).len(),
                None => cluster = Cluster { changes: cluster.changes.clone(), ..cluster.restarted(now) },
            }
            check(&cluster.state);
        }
        for task in 0..9 {
            for (kind, second) in [(Started, now + 10), (Succeeded, now + 11)] {
                cluster.apply(event(kind, task, 0), second, second);
                check(&cluster.state);
            }
        }
        // What still seems to run, because an end counts for an earlier attempt, is given up.
        counted += cluster.ended(now + 200).len();
        check(&cluster.state);
        counted += cluster.ended(now + 220).len();
        prop_assert_eq!(cluster.state.tasks_alive(), 0);
        prop_assert_eq!(cluster.open(), [""; 0]);
        prop_assert!(counted <= 60, "{counted}");
        cluster.ended(now + 1_000);
        check(&cluster.state);
        prop_assert!(cluster.state.workflows.is_empty());
    }
}
