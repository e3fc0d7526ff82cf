mod judged;

use super::super::{Limits, WorkerTimeout};
use super::*;
use crate::event::{Detail, Event, TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use crate::state::{Answers, Change, QueueLevel, RegisteredTask, Shard, TaskAnswer};
use crate::timestamp::ClockStep;

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + second * 1_000)
}

fn limits() -> Limits {
    Limits {
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
        asks_workers: true,
        shard: None,
    }
}

/// A cluster in which the worker `w@h` consumes `q`.
struct Cluster {
    state: State,
    changes: Vec<Change>,
    /// The tasks that `w@h` has started.
    processed: u64,
}

impl Cluster {
    fn new() -> Self {
        Self {
            state: State::new(limits()),
            changes: Vec::new(),
            processed: 3,
        }
    }

    /// A cluster whose worker is known to be stalled since 0.
    fn stalled() -> Self {
        let mut cluster = Self::new();
        assert_eq!(cluster.round(0, idle()), [""; 0]);
        assert_eq!(cluster.round(60, idle()), ["w@h q 0"]);
        cluster
    }

    fn event(&mut self, worker: &str, pid: i64, detail: Detail<'_>, stamped: i64, second: i64) {
        let event = Event {
            timestamp: at(stamped),
            hostname: worker.into(),
            pid: Some(pid),
            detail,
        };
        self.state.apply(&event, at(second), &mut self.changes);
    }

    /// A heartbeat that arrives at once.
    fn beat(&mut self, worker: &str, pid: i64, second: i64) {
        self.late_beat(worker, pid, second, second);
    }

    fn late_beat(&mut self, worker: &str, pid: i64, stamped: i64, second: i64) {
        let event = WorkerEvent {
            freq: Some(2.0),
            active: Some(0),
            processed: Some(self.processed),
            ..WorkerEvent::new(WorkerKind::Heartbeat)
        };
        self.event(worker, pid, Detail::Worker(event), stamped, second);
    }

    fn task(&mut self, kind: TaskKind, second: i64) {
        self.task_due(kind, None, second);
    }

    fn task_due(&mut self, kind: TaskKind, eta: Option<i64>, second: i64) {
        let event = TaskEvent {
            name: Some("t".into()),
            eta: eta.map(at),
            ..TaskEvent::new(kind, "a")
        };
        self.event("w@h", 7, Detail::Task(event), second, second);
    }

    fn report(&mut self, answers: &Answers, second: i64) {
        let now = at(second);
        self.state.report(answers, now, now, &mut self.changes);
    }

    fn levels(&mut self, levels: &[(&str, u64)], second: i64) {
        let levels = levels.iter().map(|(queue, length)| QueueLevel {
            queue: (*queue).to_owned(),
            length: *length,
            unacked: None,
            consumers: None,
        });
        self.report(&Answers::Queues(levels.collect()), second);
    }

    fn answers(&mut self, answers: Vec<WorkerAnswer>, second: i64) {
        self.report(&Answers::Workers(answers), second);
    }

    /// Levels of `q`, a second later a heartbeat and an answer. Returns the stalled workers.
    fn round(&mut self, second: i64, answer: WorkerAnswer) -> Vec<String> {
        self.levels(&[("q", 5)], second - 1);
        self.beat("w@h", 7, second);
        self.answers(vec![answer], second);
        self.shown(second)
    }

    /// The stalled workers as `worker queue since`.
    fn shown(&self, second: i64) -> Vec<String> {
        let text = |name| self.state.names().text(name);
        let shown = self.state.stalled(at(second)).into_iter().map(|one| {
            let since = one.since.seconds_since(at(0));
            format!("{} {} {since}", text(one.worker), text(one.queue))
        });
        shown.collect()
    }
}

/// A complete answer of `w@h` without any tasks. None of those it can run has a rate limit.
fn idle() -> WorkerAnswer {
    WorkerAnswer {
        worker: "w@h".to_owned(),
        pid: Some(7),
        slots: Some(4),
        prefetch_count: Some(16),
        queues: Some(vec!["q".to_owned()]),
        active: Some(Vec::new()),
        reserved: Some(Vec::new()),
        scheduled: Some(Vec::new()),
        complete: true,
        registered: Some(vec![RegisteredTask {
            name: "t".to_owned(),
            ..RegisteredTask::default()
        }]),
        ..WorkerAnswer::default()
    }
}

/// Something that ends a stall.
type End = fn(&mut Cluster);

/// The same from a process that started that many seconds ago and may have a rate limit.
fn limited(rate_pause: Option<Duration>, uptime: u64) -> WorkerAnswer {
    WorkerAnswer {
        uptime: Some(uptime),
        registered: Some(vec![RegisteredTask {
            name: "t".to_owned(),
            rate_pause,
            ..RegisteredTask::default()
        }]),
        ..idle()
    }
}

/// Tasks of a list, running or for later.
fn tasks(count: usize, started: Option<i64>, eta: Option<i64>) -> Option<Vec<TaskAnswer>> {
    let one = |n| TaskAnswer {
        uuid: format!("{n} {started:?}"),
        name: Some("t".to_owned()),
        queue: None,
        started: started.map(at),
        eta: eta.map(at),
    };
    Some((0..count).map(one).collect())
}

#[test]
fn a_worker_that_accepts_nothing_beside_a_backlog_is_shown_after_two_rounds() {
    let mut cluster = Cluster::stalled();
    assert_eq!(cluster.round(120, idle()), ["w@h q 0"]);
    let overview = cluster.state.overview(at(120));
    let [worker] = &overview.workers[..] else {
        panic!("{overview:?}")
    };
    assert_eq!(worker.stalled, [("q".into(), at(0))]);
}

#[test]
fn two_rounds_close_together_count_as_one() {
    let mut cluster = Cluster::new();
    for (second, shown) in [(0, &[][..]), (4, &[]), (5, &["w@h q 0"])] {
        assert_eq!(cluster.round(second, idle()), shown, "{second}");
    }
}

#[test]
fn whatever_a_worker_does_ends_it() {
    let ends: [(&str, End); 8] = [
        ("received", |it| it.task(TaskKind::Received, 70)),
        ("started", |it| it.task(TaskKind::Started, 70)),
        ("succeeded", |it| it.task(TaskKind::Succeeded, 70)),
        ("processed", |it| {
            it.processed += 1;
            it.beat("w@h", 7, 70);
        }),
        ("restarted", |it| {
            it.processed = 0;
            it.beat("w@h", 8, 70);
        }),
        ("went back", |it| {
            it.processed = 0;
            it.beat("w@h", 7, 70);
        }),
        ("said goodbye", |it| {
            let goodbye = WorkerEvent::new(WorkerKind::Offline);
            it.event("w@h", 7, Detail::Worker(goodbye), 70, 70);
        }),
        ("fell silent", |it| {
            it.state.expire(at(70), &mut Vec::new());
        }),
    ];
    for (case, ends) in ends {
        let mut cluster = Cluster::stalled();
        cluster.beat("w@h", 7, 62);
        assert_eq!(cluster.shown(70), ["w@h q 0"], "{case}");
        ends(&mut cluster);
        assert_eq!(cluster.shown(70), [""; 0], "{case}");
        if case == "restarted" {
            continue;
        }
        // Its task ends, if it has one.
        cluster.task(TaskKind::Succeeded, 71);
        assert_eq!(cluster.round(120, idle()), [""; 0], "{case}");
        assert_eq!(cluster.round(180, idle()), ["w@h q 120"], "{case}");
    }
}

#[test]
fn a_worker_that_works_between_all_rounds_is_never_shown() {
    let mut cluster = Cluster::new();
    for second in [0, 60, 120, 180] {
        assert_eq!(cluster.round(second, idle()), [""; 0]);
        cluster.task(TaskKind::Received, second + 20);
        cluster.task(TaskKind::Succeeded, second + 21);
    }
}

#[test]
fn levels_from_before_its_last_task_prove_nothing() {
    let mut cluster = Cluster::new();
    cluster.levels(&[("q", 5)], 0);
    cluster.task(TaskKind::Succeeded, 1);
    cluster.beat("w@h", 7, 2);
    cluster.answers(vec![idle()], 2);
    assert_eq!(cluster.round(60, idle()), [""; 0]);
    assert_eq!(cluster.round(120, idle()), ["w@h q 60"]);
}

#[test]
fn each_queue_is_judged_by_itself() {
    let mut cluster = Cluster::new();
    let both = || WorkerAnswer {
        queues: Some(vec!["q".to_owned(), "p".to_owned(), "q".to_owned()]),
        ..idle()
    };
    let mut round = |levels: &[(&str, u64)], second| {
        cluster.levels(levels, second - 1);
        cluster.beat("w@h", 7, second);
        cluster.answers(vec![both()], second);
        let mut shown = cluster.shown(second);
        shown.sort_unstable();
        shown
    };
    assert_eq!(round(&[("q", 5), ("p", 0)], 0), [""; 0]);
    assert_eq!(round(&[("q", 5), ("p", 1)], 60), ["w@h q 0"]);
    let two = ["w@h p 60", "w@h q 0"];
    assert_eq!(round(&[("q", 5), ("p", 1)], 120), two);
    assert_eq!(round(&[("q", 0), ("p", 1)], 180), ["w@h p 60"]);
    assert_eq!(round(&[("q", 5)], 240), [""; 0]);
    assert_eq!(round(&[("q", 5), ("p", 1)], 300), ["w@h q 240"]);
}

#[test]
fn each_worker_is_judged_by_itself() {
    let mut cluster = Cluster::new();
    let of = |worker: &str, queue: &str| WorkerAnswer {
        worker: worker.to_owned(),
        queues: Some(vec![queue.to_owned()]),
        ..idle()
    };
    for second in [0, 60] {
        cluster.levels(&[("q", 5), ("p", 0)], second - 1);
        for worker in ["w@h", "other@h", "elsewhere@h"] {
            cluster.beat(worker, 7, second);
        }
        let answers = vec![of("w@h", "q"), of("other@h", "q"), of("elsewhere@h", "p")];
        cluster.answers(answers, second);
    }
    assert_eq!(cluster.shown(60), ["w@h q 0", "other@h q 0"]);
    cluster.task(TaskKind::Received, 61);
    assert_eq!(cluster.shown(61), ["other@h q 0"]);
}

#[test]
fn two_workers_under_one_name_are_not_judged() {
    let mut cluster = Cluster::new();
    let either = || WorkerAnswer {
        pid: None,
        ..idle()
    };
    cluster.round(0, either());
    for second in [10, 20, 30, 40] {
        cluster.beat("w@h", 8, second - 1);
        assert_eq!(cluster.round(second, either()), [""; 0], "{second}");
    }
    // The other one is gone.
    assert_eq!(cluster.round(80, either()), [""; 0]);
    assert_eq!(cluster.round(90, either()), ["w@h q 80"]);
}

#[test]
fn a_step_of_the_clock_does_not_change_how_long_it_has_been_stalled() {
    for (by, since) in [(3_600, 3_600), (-3_600, -3_539)] {
        let mut cluster = Cluster::stalled();
        let now = 61 + by;
        let elapsed = Duration::from_secs(1);
        let step = ClockStep::between(at(60), at(now), elapsed).expect("a step");
        cluster.state.clock_set(step);
        let shown = [format!("w@h q {since}")];
        assert_eq!(cluster.shown(now), shown);
        if by > 0 {
            assert_eq!(cluster.round(120 + by, idle()), shown);
        }
    }
}
