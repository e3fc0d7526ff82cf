use super::*;

#[test]
fn a_restart_loses_no_workflow() {
    let mut cluster = Cluster::new();
    cluster.runs(ROOT, "r", (0, 1));
    cluster.comes(Received, ("c", "child"), "r", 1);
    cluster.comes(Sent, ("u", CHORD_UNLOCK), "r", 2);
    cluster.comes(Received, ("f", "child"), "r", 2);
    cluster.goes(Failed, "f", 3);
    cluster.comes(Sent, ("d", "child"), "s", 3);
    cluster.runs(("e", "first"), "e", (3, 4));
    cluster.runs(("g", "second"), "e", (4, 5));
    assert_eq!(cluster.ended(16), ["completed first 2"]);
    let open = ["root 1 since 0, chords 1 since 2", "unknown 1 since 3"];
    assert_eq!(cluster.open(), open);

    let mut next = cluster.restarted(40);
    assert_eq!(next.open(), open);
    // The root of one is still unknown, and the counted one is not counted again.
    next.runs(("s", "late"), "s", (1, 2));
    next.runs(("h", "third"), "e", (41, 42));
    next.goes(Succeeded, "u", 43);
    next.goes(Succeeded, "d", 43);
    assert_eq!(next.open()[1..], ["root 1 since 0"]);
    assert_eq!(next.ended(54), ["completed late 42"]);
    // An end that repeats changes nothing, and one that reports a success after all does.
    next.goes(Failed, "f", 3);
    next.goes(Succeeded, "c", 55);
    assert_eq!(next.restarted(60).ended(71), ["failed root 55"]);
}

#[test]
fn what_is_stored_and_makes_no_sense_is_ignored() {
    let workflow = || saved::Workflow {
        root: vec![7; 16],
        name: 1,
        began: at(0).micros(),
        ..saved::Workflow::default()
    };
    let cases = [
        (workflow(), 1),
        (
            saved::Workflow {
                root: vec![7; 15],
                ..workflow()
            },
            0,
        ),
        (
            saved::Workflow {
                began: 0,
                ..workflow()
            },
            0,
        ),
        (
            saved::Workflow {
                began: at(5_000).micros(),
                ..workflow()
            },
            0,
        ),
        (
            saved::Workflow {
                latest: i64::MAX,
                name: 99,
                ..workflow()
            },
            1,
        ),
        (
            saved::Workflow {
                failed: u32::MAX,
                silent: u32::MAX,
                ..workflow()
            },
            1,
        ),
    ];
    for (workflow, expected) in cases {
        let task = |id| saved::Task {
            id: Some(saved::task::Id::Uuid(vec![id; 16])),
            stage: saved::Stage::Started.into(),
            workflow: Some(saved::Member {
                root: workflow.root.clone(),
                chord: u32::MAX,
                ..saved::Member::default()
            }),
            ..saved::Task::default()
        };
        let mut cluster = Cluster::new();
        let saved = saved::Cluster {
            texts: vec!["t".to_owned()],
            tasks: vec![task(1), task(2)],
            workflows: vec![workflow.clone(), workflow.clone()],
            ..saved::Cluster::default()
        };
        cluster.state.restore(&saved, at(10), &mut cluster.changes);
        let open: u64 = cluster
            .state
            .workflows()
            .values()
            .map(|level| level.open)
            .sum();
        assert_eq!(open, expected, "{workflow:?}");
        random::check(&cluster.state);
    }
}
