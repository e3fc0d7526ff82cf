use super::*;

impl Workflows {
    /// Checks the number of tasks in flight of each workflow.
    pub(in crate::state) fn check(&self, in_flight: &HashMap<RootId, u32>) {
        for (id, workflow) in &self.table {
            let known = in_flight.get(id).copied().unwrap_or(0);
            assert_eq!(workflow.in_flight, known, "{workflow:?}");
        }
        let unrooted = self.table.values().filter(|it| !it.has_root).count();
        assert_eq!(unrooted, self.unrooted);
        let bytes = self.table.len() as u64 * WORKFLOW_BYTES;
        assert!(self.bounds.used(Part::Tasks) >= bytes);
    }

    pub(in crate::state) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + second * 1_000)
}

#[test]
fn an_id_is_the_same_in_every_process() {
    let uuid = "0b6f1a52-5a5e-4a55-9d7c-2f5a4c3b1d07";
    let bytes = 0x0b6f_1a52_5a5e_4a55_9d7c_2f5a_4c3b_1d07_u128.to_be_bytes();
    assert_eq!(RootId::of(uuid), RootId(bytes));
    // It is stored, so another release must not change it.
    let bytes = 0x06b0_5ab6_733a_6185_78af_5f94_892f_3950_u128.to_be_bytes();
    assert_eq!(RootId::of("abc"), RootId(bytes));
}

#[test]
fn counted_workflows_make_room_before_open_ones() {
    let mut workflows = Workflows::default();
    let member = |workflow, standing| Member {
        workflow,
        chord: 0,
        standing,
        is_root: false,
    };
    let ids: Vec<_> = (0..16).map(|n| RootId::of(&n.to_string())).collect();
    for (n, id) in (0..).zip(&ids) {
        workflows.open(*id, at(n), at(n));
        // The last two end.
        let standing = if n < 14 {
            Standing::InFlight
        } else {
            Standing::Ended
        };
        workflows.join(&member(*id, standing), at(n), at(n));
    }
    let mut changes = Vec::new();
    workflows.settle(at(100), &mut changes);
    assert_eq!(changes.len(), 2);
    workflows.evict();
    let known = |workflows: &Workflows| -> Vec<_> {
        let known = (0..16).filter(|n| workflows.contains(ids[*n]));
        known.collect()
    };
    assert_eq!(known(&workflows), (0..14).collect::<Vec<_>>());
    workflows.step(
        &member(ids[0], Standing::InFlight),
        Standing::InFlight,
        at(101),
    );
    workflows.evict();
    assert_eq!(
        known(&workflows),
        [0].into_iter().chain(2..14).collect::<Vec<_>>()
    );
}

#[test]
fn an_implausible_duration_is_refused() {
    let mut workflows = Workflows::default();
    workflows.open(RootId::of("r"), at(0), at(400 * 86_400));
    let member = Member {
        workflow: RootId::of("r"),
        chord: 0,
        standing: Standing::Ended,
        is_root: false,
    };
    let newest = at(400 * 86_400);
    workflows.event(&member, Standing::Ended, (newest, false), newest);
    let mut changes = Vec::new();
    workflows.settle(at(400 * 86_400 + 11), &mut changes);
    let ended = Change::Workflow {
        outcome: WorkflowOutcome::Completed,
        root: None,
        seconds: 0.0,
    };
    assert_eq!(changes, [Change::Refused(Refusal::Duration), ended]);
}

#[test]
fn a_workflow_settles_for_as_long_whenever_the_clock_is_set() {
    let mut workflows = Workflows::default();
    let id = RootId::of("r");
    workflows.open(id, at(0), at(0));
    let step = ClockStep::between(at(5), at(1_000), Duration::ZERO).expect("a step");
    workflows.clock_set(step);
    let mut changes = Vec::new();
    workflows.settle(at(1_005), &mut changes);
    assert!(changes.is_empty());
    workflows.settle(at(1_006), &mut changes);
    assert_eq!(changes.len(), 1);
}
