use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::event::{Detail, Event, WorkerEvent, WorkerKind};
use crate::state::{Change, Limits, Shard, WorkerTimeout};

mod ends;
mod random;
mod restart;

use TaskKind::{Failed, Received, Rejected, Retried, Revoked, Sent, Started, Succeeded};

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + second * 1_000)
}

fn limits() -> Limits {
    Limits {
        tasks_max: 1_000_000,
        task_timeout: Duration::from_secs(100),
        worker_timeout: WorkerTimeout::Missed(3),
        worker_retention: Duration::from_secs(60),
        long_running_factor: 3.0,
        periodic: Vec::new(),
        awaits_periodic: false,
        queue_ttl: Duration::from_secs(86_400),
        broker_drops_expired: true,
        broker_holds_events: false,
        keep_foreign: false,
        asks_workers: false,
        shard: None,
    }
}

/// A cluster whose events are received when they are sent.
struct Cluster {
    state: State,
    changes: Vec<Change>,
}

impl Cluster {
    fn new() -> Self {
        Self::with(limits())
    }

    fn with(limits: Limits) -> Self {
        Self {
            state: State::new(limits),
            changes: Vec::new(),
        }
    }

    fn apply(&mut self, event: TaskEvent<'_>, stamped: i64, received: i64) {
        let is_sent = event.kind == Sent;
        let event = Event {
            timestamp: at(stamped),
            hostname: if is_sent { "gen1@h" } else { "w@h" }.into(),
            pid: None,
            detail: Detail::Task(event),
        };
        self.state.apply(&event, at(received), &mut self.changes);
    }

    /// A task-sent or task-received.
    fn comes(&mut self, kind: TaskKind, (id, name): (&str, &str), root: &str, second: i64) {
        let event = TaskEvent {
            name: Some(name.into()),
            root_id: Some(root.into()),
            ..TaskEvent::new(kind, id)
        };
        self.apply(event, second, second);
    }

    /// Any other event.
    fn goes(&mut self, kind: TaskKind, id: &str, second: i64) {
        self.apply(TaskEvent::new(kind, id), second, second);
    }

    /// Runs a task.
    fn runs(&mut self, task: (&str, &str), root: &str, (from, to): (i64, i64)) {
        self.comes(Received, task, root, from);
        self.goes(Started, task.0, from);
        self.goes(Succeeded, task.0, to);
    }

    fn heartbeat(&mut self, pid: i64, second: i64) {
        let event = Event {
            timestamp: at(second),
            hostname: "w@h".into(),
            pid: Some(pid),
            detail: Detail::Worker(WorkerEvent {
                freq: Some(2.0),
                active: Some(0),
                processed: Some(0),
                ..WorkerEvent::new(WorkerKind::Heartbeat)
            }),
        };
        self.state.apply(&event, at(second), &mut self.changes);
    }

    /// The workflows that ended until this second, such as `completed root 5`.
    fn ended(&mut self, second: i64) -> Vec<String> {
        self.state.expire(at(second), &mut self.changes);
        let changes = std::mem::take(&mut self.changes);
        let ended = changes.into_iter().filter_map(|change| {
            let Change::Workflow {
                outcome,
                root,
                seconds,
            } = change
            else {
                return None;
            };
            let root = self.name_of(root);
            Some(format!("{} {root} {seconds}", outcome.name()))
        });
        ended.collect()
    }

    /// The open workflows, such as `root 1 since 0`, with the chords that wait.
    fn open(&self) -> Vec<String> {
        let second = |since: Timestamp| (since.millis() - at(0).millis()) / 1_000;
        let levels = self.state.workflows().into_iter();
        let levels = levels.map(|(root, level)| {
            let root = self.name_of(root);
            let oldest = second(level.oldest.expect("one is open"));
            let open = format!("{root} {} since {oldest}", level.open);
            match level.oldest_chord {
                None => open,
                Some(since) => format!("{open}, chords {} since {}", level.chords, second(since)),
            }
        });
        let mut levels: Vec<_> = levels.collect();
        levels.sort_unstable();
        levels
    }

    fn name_of(&self, root: Option<Symbol>) -> std::sync::Arc<str> {
        root.map_or("unknown".into(), |root| self.state.names().text(root))
    }

    fn restarted(&mut self, second: i64) -> Self {
        let mut next = Self::new();
        let captured = self.state.capture();
        for part in captured.into_saved("main".to_owned(), saved::Position::default()) {
            let part = prost::Message::encode_to_vec(&part);
            let part: saved::Cluster = prost::Message::decode(&*part).expect("as encoded");
            next.state.restore(&part, at(second), &mut next.changes);
        }
        next
    }
}

const ROOT: (&str, &str) = ("r", "root");

#[test]
fn a_chain_is_open_until_its_last_step_has_ended() {
    let mut cluster = Cluster::new();
    cluster.comes(Sent, ROOT, "r", 0);
    cluster.comes(Received, ROOT, "r", 3);
    cluster.goes(Started, "r", 3);
    assert_eq!(cluster.open(), [""; 0], "a task alone");
    cluster.comes(Sent, ("b", "step"), "r", 5);
    cluster.goes(Succeeded, "r", 5);
    assert_eq!(cluster.open(), ["root 1 since 0"]);
    assert_eq!(cluster.ended(30), [""; 0]);
    cluster.runs(("b", "step"), "r", (31, 35));
    // The next step is sent before this one ends, but its event may be late.
    assert_eq!(cluster.ended(45), [""; 0]);
    cluster.runs(("c", "step"), "r", (45, 50));
    assert_eq!(cluster.ended(60), [""; 0]);
    assert_eq!(cluster.open(), ["root 1 since 0"]);
    assert_eq!(cluster.ended(61), ["completed root 50"]);
    assert_eq!((cluster.open(), cluster.ended(99)), (vec![], vec![]));
}

#[test]
fn a_group_has_failed_once_one_of_its_tasks_has() {
    let mut cluster = Cluster::new();
    cluster.comes(Received, ROOT, "r", 0);
    cluster.goes(Started, "r", 0);
    for id in ["a", "b", "c"] {
        cluster.comes(Sent, (id, "part"), "r", 1);
    }
    cluster.goes(Succeeded, "r", 1);
    cluster.runs(("a", "part"), "r", (1, 2));
    cluster.comes(Received, ("b", "part"), "r", 2);
    cluster.goes(Started, "b", 2);
    cluster.goes(Failed, "b", 3);
    assert_eq!(cluster.ended(20), [""; 0]);
    cluster.runs(("c", "part"), "r", (20, 22));
    assert_eq!(cluster.ended(40), ["failed root 22"]);
}

#[test]
fn a_chord_that_the_backend_counts_goes_on_with_its_body() {
    let mut cluster = Cluster::new();
    cluster.comes(Received, ROOT, "r", 0);
    cluster.goes(Started, "r", 0);
    for id in ["a", "b"] {
        cluster.comes(Sent, (id, "header"), "r", 1);
    }
    cluster.goes(Succeeded, "r", 1);
    cluster.runs(("a", "header"), "r", (1, 2));
    cluster.comes(Received, ("b", "header"), "r", 2);
    cluster.goes(Started, "b", 2);
    cluster.comes(Sent, ("body", "body"), "r", 4);
    cluster.goes(Succeeded, "b", 4);
    assert_eq!(
        (cluster.ended(30), cluster.open()),
        (vec![], vec!["root 1 since 0".to_owned()])
    );
    cluster.runs(("body", "body"), "r", (31, 32));
    assert_eq!(cluster.ended(50), ["completed root 32"]);
}

#[test]
fn a_chord_that_is_polled_for_waits_through_all_retries() {
    let mut cluster = Cluster::new();
    cluster.comes(Received, ROOT, "r", 0);
    cluster.goes(Started, "r", 0);
    cluster.comes(Sent, ("a", "header"), "r", 1);
    cluster.comes(Sent, ("u", CHORD_UNLOCK), "r", 1);
    cluster.goes(Succeeded, "r", 1);
    for (retries, second) in (2..6).enumerate() {
        let retries = u32::try_from(retries).expect("small");
        let event = TaskEvent {
            name: Some(CHORD_UNLOCK.into()),
            root_id: Some("r".into()),
            has_parent: true,
            retries: Some(retries),
            ..TaskEvent::new(Received, "u")
        };
        cluster.apply(event, second, second);
        cluster.goes(Started, "u", second);
        assert_eq!(cluster.open(), ["root 1 since 0, chords 1 since 1"]);
        if retries < 3 {
            cluster.goes(Retried, "u", second);
            assert_eq!(cluster.open(), ["root 1 since 0, chords 1 since 1"]);
        }
    }
    cluster.comes(Sent, ("body", "body"), "r", 5);
    cluster.goes(Succeeded, "u", 5);
    assert_eq!(cluster.open(), ["root 1 since 0"]);
    cluster.runs(("body", "body"), "r", (6, 7));
    assert_eq!(cluster.ended(90), [""; 0], "the header has not ended");
    cluster.runs(("a", "header"), "r", (90, 91));
    assert_eq!(cluster.ended(102), ["completed root 91"]);
}

#[test]
fn a_chord_of_a_client_is_a_workflow_of_the_task_that_polls() {
    let mut cluster = Cluster::new();
    let unlock = ("u", CHORD_UNLOCK);
    cluster.runs(("a", "header"), "a", (0, 1));
    cluster.comes(Received, unlock, "u", 1);
    cluster.goes(Started, "u", 2);
    let open = "celery.chord_unlock 1 since 1, chords 1 since 1";
    assert_eq!(cluster.open(), [open]);
    cluster.comes(Sent, ("body", "body"), "u", 2);
    cluster.goes(Succeeded, "u", 2);
    cluster.runs(("body", "body"), "u", (3, 4));
    assert_eq!(cluster.ended(20), ["completed celery.chord_unlock 3"]);
}

#[test]
fn workflows_in_a_workflow_are_part_of_it() {
    let mut cluster = Cluster::new();
    cluster.comes(Received, ROOT, "r", 0);
    cluster.goes(Started, "r", 0);
    cluster.comes(Sent, ("child", "outer"), "r", 1);
    cluster.goes(Succeeded, "r", 1);
    cluster.comes(Received, ("child", "outer"), "r", 1);
    cluster.goes(Started, "child", 1);
    cluster.comes(Sent, ("grandchild", "inner"), "r", 2);
    cluster.goes(Succeeded, "child", 2);
    assert_eq!(cluster.open(), ["root 1 since 0"]);
    cluster.runs(("grandchild", "inner"), "r", (3, 4));
    assert_eq!(cluster.ended(20), ["completed root 4"]);
}

#[test]
fn a_task_that_retries_stays_in_its_workflow() {
    let mut cluster = Cluster::new();
    cluster.runs(ROOT, "r", (0, 1));
    cluster.comes(Received, ("b", "step"), "r", 1);
    for second in [2, 30, 60] {
        cluster.goes(Started, "b", second);
        cluster.goes(Retried, "b", second + 1);
        assert_eq!(cluster.ended(second + 25), [""; 0]);
    }
    cluster.goes(Started, "b", 90);
    cluster.goes(Succeeded, "b", 91);
    assert_eq!(cluster.ended(110), ["completed root 91"]);
}

#[test]
fn order_and_repetition_do_not_matter() {
    let root = |kind| (kind, "r");
    let child = |kind| (kind, "c");
    let orders = [
        [
            child(Sent),
            root(Sent),
            root(Received),
            root(Succeeded),
            child(Received),
            child(Failed),
        ],
        // The root's name is learned last.
        [
            child(Received),
            child(Failed),
            root(Succeeded),
            child(Sent),
            root(Received),
            root(Sent),
        ],
        [
            root(Sent),
            root(Received),
            root(Succeeded),
            child(Received),
            child(Failed),
            child(Sent),
        ],
    ];
    for order in orders {
        for times in 1..=2 {
            let mut cluster = Cluster::new();
            for (kind, id) in order {
                for _ in 0..times {
                    // By their own clocks, all orders are the same.
                    let second = match (id, kind) {
                        ("r", Sent) => 0,
                        ("r", Received) => 1,
                        ("r", _) | (_, Sent) => 2,
                        (_, Received) => 3,
                        _ => 4,
                    };
                    let named = matches!(kind, Sent | Received);
                    let event = TaskEvent {
                        name: named.then(|| format!("{id}-name").into()),
                        root_id: named.then(|| "r".into()),
                        ..TaskEvent::new(kind, id)
                    };
                    cluster.apply(event, second, 5);
                }
            }
            assert_eq!(cluster.ended(20), ["failed r-name 4"], "{order:?}");
        }
    }
}

#[test]
fn a_task_sent_by_a_root_that_has_ended_continues_its_workflow() {
    let mut cluster = Cluster::new();
    cluster.runs(ROOT, "r", (0, 2));
    // Without task-sent, the first sign of the child is its receipt.
    cluster.comes(Received, ("c", "child"), "r", 40);
    assert_eq!(cluster.open(), ["root 1 since 0"]);
    cluster.goes(Started, "c", 41);
    cluster.goes(Succeeded, "c", 42);
    assert_eq!(cluster.ended(60), ["completed root 42"]);
    // A further one after the workflow was counted opens it again, and it is not counted twice.
    cluster.comes(Received, ("d", "child"), "r", 61);
    assert_eq!(cluster.open(), ["root 1 since 0"]);
    cluster.goes(Started, "d", 62);
    cluster.goes(Failed, "d", 63);
    assert_eq!((cluster.ended(90), cluster.open()), (vec![], vec![]));
}

#[test]
fn the_name_of_a_root_may_become_known_late_or_never() {
    let mut cluster = Cluster::new();
    cluster.goes(Started, "r", 0);
    cluster.comes(Sent, ("c", "child"), "r", 1);
    assert_eq!(cluster.open(), ["unknown 1 since 0"]);
    cluster.comes(Received, ROOT, "r", 0);
    assert_eq!(cluster.open(), ["root 1 since 0"]);

    cluster.comes(Sent, ("d", "child"), "s", 3);
    assert_eq!(cluster.open(), ["root 1 since 0", "unknown 1 since 3"]);
    cluster.runs(("d", "child"), "s", (4, 5));
    assert_eq!(cluster.ended(20), ["completed unknown 2"]);
}

#[test]
fn tasks_alone_leave_no_trace_and_shards_follow_nothing() {
    let mut cluster = Cluster::new();
    for n in 0..100 {
        let id = format!("t{n}");
        cluster.comes(Sent, (&id, "t"), &id, n);
        cluster.runs((&id, "t"), &id, (n, n));
    }
    assert_eq!(cluster.state.tasks.members().count(), 0);
    assert_eq!((cluster.open(), cluster.ended(200)), (vec![], vec![]));

    let shard = Some(Shard { index: 0, count: 2 });
    let mut cluster = Cluster::with(Limits { shard, ..limits() });
    cluster.runs(ROOT, "r", (0, 1));
    cluster.runs(("c", "child"), "r", (1, 2));
    assert_eq!((cluster.open(), cluster.ended(20)), (vec![], vec![]));
}

#[test]
fn the_least_recently_active_workflows_make_room() {
    let reached = |cluster: &Cluster| cluster.state.bounds.times(Limit::Workflows);
    let mut cluster = Cluster::new();
    cluster.comes(Sent, ("active", "child"), "first", 0);
    for n in 0..19_999 {
        let (id, root) = (format!("c{n}"), format!("r{n}"));
        cluster.comes(Sent, (&id, "child"), &root, 1);
    }
    cluster.goes(Started, "active", 2);
    assert_eq!(
        (cluster.open(), reached(&cluster)),
        (vec!["unknown 20000 since 0".to_owned()], 0)
    );
    cluster.comes(Sent, ("more", "child"), "more", 3);
    assert_eq!(reached(&cluster), 0, "a task alone");
    cluster.comes(Sent, ("one more", "child"), "last", 3);
    assert_eq!(
        (cluster.open(), reached(&cluster)),
        (vec!["unknown 17501 since 0".to_owned()], 1)
    );
    random::check(&cluster.state);
    assert_eq!(cluster.state.tasks.members().count(), 17_501);
}
