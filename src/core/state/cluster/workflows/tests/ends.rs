//! How a workflow ends, by the ends of its tasks.

use super::*;

#[test]
fn a_task_that_ends_without_success_fails_its_workflow() {
    let cases = [
        (TaskEvent::new(Failed, "c"), "failed"),
        (TaskEvent::new(Revoked, "c"), "failed"),
        (
            TaskEvent {
                expired: true,
                ..TaskEvent::new(Revoked, "c")
            },
            "failed",
        ),
        (TaskEvent::new(Rejected, "c"), "failed"),
        (TaskEvent::new(Succeeded, "c"), "completed"),
    ];
    for (event, expected) in cases {
        let mut cluster = Cluster::new();
        cluster.runs(ROOT, "r", (0, 1));
        cluster.comes(Sent, ("c", "child"), "r", 1);
        cluster.apply(event.clone(), 3, 3);
        assert_eq!(
            cluster.ended(20),
            [format!("{expected} root 3")],
            "{event:?}"
        );
    }
    // A task that expired in the queue is given up 15 seconds later.
    let mut cluster = Cluster::new();
    cluster.runs(ROOT, "r", (0, 1));
    let event = TaskEvent {
        root_id: Some("r".into()),
        expires: Some(at(5)),
        ..TaskEvent::new(Sent, "c")
    };
    cluster.apply(event, 1, 1);
    assert_eq!(cluster.ended(20), [""; 0]);
    assert_eq!(cluster.ended(21), [""; 0]);
    assert_eq!(cluster.ended(32), ["failed root 1"]);
}

#[test]
fn a_lost_worker_fails_a_workflow_unless_its_task_runs_again() {
    for again in [false, true] {
        let mut cluster = Cluster::new();
        cluster.heartbeat(1, 0);
        cluster.runs(ROOT, "r", (0, 1));
        cluster.comes(Received, ("c", "child"), "r", 2);
        cluster.goes(Started, "c", 3);
        cluster.heartbeat(1, 4);
        cluster.heartbeat(2, 6);
        if again {
            cluster.runs(("c", "child"), "r", (7, 8));
        }
        let expected = if again {
            "completed root 8"
        } else {
            "failed root 3"
        };
        assert_eq!(cluster.ended(20), [expected]);
    }
}

#[test]
fn a_workflow_that_falls_silent_is_abandoned() {
    let mut cluster = Cluster::new();
    cluster.runs(ROOT, "r", (0, 1));
    cluster.comes(Sent, ("c", "child"), "r", 1);
    assert_eq!(cluster.ended(101), [""; 0]);
    assert_eq!(cluster.ended(102), [""; 0]);
    assert_eq!(cluster.ended(113), ["abandoned root 1"]);
}

#[test]
fn an_evicted_task_leaves_its_workflow_without_failing_it() {
    let mut cluster = Cluster::with(Limits {
        tasks_max: 2,
        ..limits()
    });
    cluster.runs(ROOT, "r", (0, 1));
    cluster.comes(Sent, ("c", "child"), "r", 1);
    cluster.comes(Sent, ("x", "other"), "x", 2);
    cluster.comes(Sent, ("y", "other"), "y", 3);
    assert_eq!(cluster.ended(20), ["completed root 1"]);
}

#[test]
fn a_task_that_replaces_itself_stays_in_its_workflow() {
    let mut cluster = Cluster::new();
    cluster.runs(ROOT, "r", (0, 1));
    cluster.comes(Sent, ("c", "child"), "r", 1);
    cluster.comes(Received, ("c", "child"), "r", 2);
    cluster.goes(Started, "c", 3);
    cluster.comes(Sent, ("c", "replacement"), "r", 4);
    assert_eq!(cluster.ended(30), [""; 0]);
    cluster.comes(Received, ("c", "replacement"), "r", 31);
    cluster.goes(Started, "c", 31);
    cluster.goes(Succeeded, "c", 32);
    assert_eq!(cluster.ended(50), ["completed root 32"]);
}
