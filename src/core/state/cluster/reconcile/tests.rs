use std::borrow::Cow;

use super::super::{Limits, WorkerTimeout};
use super::*;
use crate::event::{Detail, Event, TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use crate::state::{Answers, QueueLevel, RegisteredTask, TaskAnswer};

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + second * 1_000)
}

fn state() -> State {
    State::new(Limits {
        tasks_max: 100,
        task_timeout: Duration::from_secs(86_400),
        worker_timeout: WorkerTimeout::Missed(3),
        worker_retention: Duration::from_secs(600),
        long_running_factor: 3.0,
        periodic: Vec::new(),
        awaits_periodic: false,
        queue_ttl: Duration::from_secs(86_400),
        broker_drops_expired: true,
        broker_holds_events: false,
        keep_foreign: false,
        asks_workers: false,
        shard: None,
    })
}

/// A cluster with a worker `w@h` that sends a heartbeat with each round.
struct Cluster {
    state: State,
    changes: Vec<Change>,
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Self {
            state: state(),
            changes: Vec::new(),
        };
        cluster.beat("w@h", 0);
        cluster
    }

    fn beat(&mut self, hostname: &str, second: i64) {
        let detail = Detail::Worker(WorkerEvent {
            freq: Some(2.0),
            ..WorkerEvent::new(WorkerKind::Online)
        });
        self.apply(hostname, Some(7), detail, second);
    }

    fn apply(&mut self, hostname: &str, pid: Option<i64>, detail: Detail<'_>, second: i64) {
        let event = Event {
            timestamp: at(second),
            hostname: Cow::Owned(hostname.to_owned()),
            pid,
            detail,
        };
        self.state.apply(&event, at(second), &mut self.changes);
    }

    fn task(&mut self, kind: TaskKind, second: i64) {
        self.task_due(kind, second, None);
    }

    fn task_due(&mut self, kind: TaskKind, second: i64, eta: Option<i64>) {
        let sent = kind == TaskKind::Sent;
        let event = TaskEvent {
            name: Some("t".into()),
            queue: sent.then(|| "q".into()),
            retries: Some(0),
            eta: eta.map(at),
            ..TaskEvent::new(kind, "a")
        };
        let hostname = if sent { "gen1@h" } else { "w@h" };
        self.apply(hostname, None, Detail::Task(event), second);
    }

    /// Applies a round of workers' answers, and returns the tasks that it takes out of flight.
    fn round(&mut self, second: i64, answers: Vec<WorkerAnswer>) -> Vec<Unreported> {
        self.beat("w@h", second);
        self.changes.clear();
        let answers = Answers::Workers(answers);
        self.state
            .report(&answers, at(second), at(second), &mut self.changes);
        let is_lost = |change: &Change| matches!(change, Change::Lost { .. });
        assert!(!self.changes.iter().any(is_lost));
        let reasons = self.changes.iter().filter_map(|change| {
            let Change::Unreported { reason, .. } = change else {
                return None;
            };
            Some(*reason)
        });
        reasons.collect()
    }

    fn levels(&mut self, second: i64, length: u64, unacked: Option<u64>, consumers: Option<u64>) {
        let level = QueueLevel {
            queue: "q".to_owned(),
            length,
            unacked,
            consumers,
        };
        let levels = Answers::Queues(vec![level]);
        self.state
            .report(&levels, at(second), at(second), &mut self.changes);
    }
}

/// These tasks, and one with a rate limit.
fn registered(names: &[&str]) -> Vec<RegisteredTask> {
    let task = |name: &str| RegisteredTask {
        name: name.to_owned(),
        rate_pause: (name == "limited").then_some(Duration::from_secs(1)),
        ..RegisteredTask::default()
    };
    names
        .iter()
        .chain(&["limited"])
        .map(|name| task(name))
        .collect()
}

/// A complete answer of `w@h` without any tasks.
fn nothing() -> WorkerAnswer {
    WorkerAnswer {
        worker: "w@h".to_owned(),
        pid: Some(7),
        queues: Some(vec!["q".to_owned()]),
        active: Some(Vec::new()),
        reserved: Some(Vec::new()),
        scheduled: Some(Vec::new()),
        complete: true,
        ..WorkerAnswer::default()
    }
}

fn listed() -> Vec<TaskAnswer> {
    vec![TaskAnswer {
        uuid: "a".to_owned(),
        ..TaskAnswer::default()
    }]
}

#[test]
fn a_task_that_its_worker_no_longer_lists_has_ended() {
    let mut cluster = Cluster::new();
    cluster.task(TaskKind::Received, 1);
    cluster.task(TaskKind::Started, 2);
    assert_eq!(cluster.round(10, vec![nothing()]), []);
    assert_eq!(cluster.round(14, vec![nothing()]), [], "too soon after");
    assert_eq!(cluster.round(15, vec![nothing()]), [Unreported::Ended]);
    assert_eq!(cluster.state.tasks_alive(), 0);
    assert_eq!(cluster.round(30, vec![nothing()]), []);
}

#[test]
fn a_task_that_is_listed_anywhere_or_heard_of_is_there() {
    let list: [fn(&mut WorkerAnswer); 3] = [
        |answer| answer.active = Some(listed()),
        |answer| answer.reserved = Some(listed()),
        |answer| answer.scheduled = Some(listed()),
    ];
    for list in list {
        let mut cluster = Cluster::new();
        cluster.task(TaskKind::Started, 2);
        let mut answer = nothing();
        list(&mut answer);
        for second in [10, 30] {
            assert_eq!(cluster.round(second, vec![nothing()]), []);
            assert_eq!(cluster.round(second + 10, vec![answer.clone()]), []);
        }
        // Missing in a round, with an event after it, and missing in another round.
        let mut cluster = Cluster::new();
        cluster.task(TaskKind::Received, 2);
        assert_eq!(cluster.round(10, vec![nothing()]), []);
        cluster.task(TaskKind::Started, 11);
        assert_eq!(cluster.round(20, vec![nothing()]), []);
    }
}

#[test]
fn what_proves_nothing_concludes_nothing() {
    let spoil: [fn(&mut WorkerAnswer); 3] = [
        |answer| answer.complete = false,
        |answer| answer.worker = "other@h".to_owned(),
        |answer| answer.pid = Some(8),
    ];
    for spoil in spoil {
        let mut cluster = Cluster::new();
        cluster.task(TaskKind::Started, 2);
        let mut answer = nothing();
        spoil(&mut answer);
        for second in [10, 20, 30] {
            assert_eq!(cluster.round(second, vec![answer.clone()]), []);
            assert_eq!(cluster.round(second + 5, Vec::new()), []);
        }
    }
}

#[test]
fn events_that_wait_in_the_broker_are_waited_for() {
    let mut cluster = Cluster::new();
    cluster.task(TaskKind::Started, 2);
    let round = |cluster: &mut Cluster, second| {
        // No event arrives along with it.
        let answers = Answers::Workers(vec![nothing()]);
        cluster.changes.clear();
        cluster
            .state
            .report(&answers, at(second), at(second), &mut cluster.changes);
        cluster.changes.len()
    };
    assert_eq!(round(&mut cluster, 10), 0);
    assert_eq!(
        round(&mut cluster, 20),
        0,
        "the newest event is of second 2"
    );
    assert!(round(&mut cluster, 63) > 0, "none waits any more");
}

#[test]
fn a_task_that_waits_for_its_rate_limit_is_in_no_list() {
    let mut cluster = Cluster::new();
    cluster.task(TaskKind::Received, 2);
    assert!(!cluster.state.suspects.rates_wanted);
    assert_eq!(cluster.round(10, vec![nothing()]), []);
    assert!(cluster.state.suspects.rates_wanted);
    let limited = WorkerAnswer {
        registered: Some(registered(&["other"])),
        ..nothing()
    };
    for second in [20, 30, 40] {
        assert_eq!(cluster.round(second, vec![limited.clone()]), []);
    }
    let unlimited = WorkerAnswer {
        registered: Some(registered(&["t"])),
        ..nothing()
    };
    assert_eq!(cluster.round(50, vec![unlimited.clone()]), []);
    assert_eq!(cluster.round(60, vec![unlimited]), [Unreported::Ended]);
}

#[test]
fn a_task_that_was_sent_and_is_nowhere_is_gone() {
    let mut cluster = Cluster::new();
    cluster.task(TaskKind::Sent, 1);
    cluster.levels(9, 0, Some(0), Some(1));
    assert_eq!(cluster.round(10, vec![nothing()]), []);
    assert_eq!(cluster.round(20, vec![nothing()]), [Unreported::Gone]);
}

#[test]
fn a_queue_without_workers_can_be_purged_too() {
    let mut cluster = Cluster::new();
    cluster.task(TaskKind::Sent, 1);
    cluster.levels(9, 0, None, Some(0));
    let elsewhere = WorkerAnswer {
        queues: Some(vec!["other".to_owned()]),
        ..nothing()
    };
    assert_eq!(cluster.round(10, vec![elsewhere.clone()]), []);
    assert_eq!(cluster.round(20, vec![elsewhere]), [Unreported::Gone]);
}

/// The events before the round, and the workers' answers.
type Case = (&'static str, fn(&mut Cluster), Vec<WorkerAnswer>);

#[test]
fn a_task_that_may_be_in_its_queue_or_in_a_worker_is_not_gone() {
    let cases: [Case; 8] = [
        ("no level", |_| {}, vec![nothing()]),
        (
            "a message",
            |it| it.levels(9, 1, None, None),
            vec![nothing()],
        ),
        (
            "a message that a worker has",
            |it| it.levels(9, 0, Some(1), None),
            vec![nothing()],
        ),
        (
            "a consumer that nobody knows",
            |it| it.levels(9, 0, None, Some(2)),
            vec![nothing()],
        ),
        (
            "asked before it was sent",
            |it| it.levels(0, 0, None, None),
            vec![nothing()],
        ),
        (
            "an incomplete answer",
            |it| it.levels(9, 0, None, None),
            vec![WorkerAnswer {
                complete: false,
                ..nothing()
            }],
        ),
        (
            "a worker that does not answer",
            |it| {
                it.beat("silent@h", 8);
                it.levels(9, 0, None, None);
            },
            vec![nothing()],
        ),
        (
            "not due",
            |it| {
                it.task_due(TaskKind::Sent, 2, Some(1_000));
                it.levels(9, 0, Some(0), None);
            },
            vec![nothing()],
        ),
    ];
    for (case, before, answers) in cases {
        let mut cluster = Cluster::new();
        cluster.task(TaskKind::Sent, 1);
        before(&mut cluster);
        for second in [10, 20, 30] {
            assert_eq!(cluster.round(second, answers.clone()), [], "{case}");
        }
    }
}

#[test]
fn a_retry_whose_due_time_nobody_told_is_not_gone() {
    let mut cluster = Cluster::new();
    cluster.task(TaskKind::Sent, 1);
    cluster.task(TaskKind::Received, 2);
    cluster.task(TaskKind::Started, 3);
    cluster.task(TaskKind::Retried, 4);
    cluster.levels(9, 0, Some(0), Some(1));
    for second in [10, 20, 30] {
        assert_eq!(cluster.round(second, vec![nothing()]), []);
    }
}

#[test]
fn a_task_that_only_its_worker_told_of_ends_with_its_answers() {
    let mut cluster = Cluster::new();
    let active = WorkerAnswer {
        active: Some(listed()),
        ..nothing()
    };
    assert_eq!(cluster.round(10, vec![active]), []);
    assert_eq!(cluster.state.tasks_alive(), 1);
    let unlimited = WorkerAnswer {
        registered: Some(Vec::new()),
        ..nothing()
    };
    assert_eq!(cluster.round(20, vec![unlimited.clone()]), []);
    assert_eq!(cluster.round(30, vec![unlimited]), []);
    // It has no name, so its rate limit is unknown.
    assert_eq!(cluster.state.tasks_alive(), 1);
}
