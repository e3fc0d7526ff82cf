//! Tests that each profile shows the same page after a restart as it would have without one.
//!
//! The state is kept as it is. Only the series are stored and restored, and tasks in flight are
//! added again.

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::saved;
use crate::series::LabelSet;
use crate::state::Place;

/// A profile and its series.
struct View {
    profile: Profile,
    series: SeriesTable,
}

/// How to create the views of a run.
#[derive(Clone, Debug)]
struct Setup {
    name: ProfileName,
    config: NativeConfig,
    series_max: usize,
}

impl Setup {
    fn view(&self, start: Timestamp) -> View {
        let mut series = SeriesTable::new(self.series_max, start);
        let profile = Profile::new(
            self.name,
            &self.config,
            &ExporterBuckets::default(),
            None,
            &mut series,
        );
        View { profile, series }
    }
}

/// One cluster in two views: one is never restarted, the other one is.
struct Run {
    setup: Setup,
    state: State,
    now: Timestamp,
    steady: View,
    restarted: View,
    /// Tasks in flight.
    places: Vec<Place>,
    newest: Timestamp,
}

/// Family, labels and value; for counters, also the start time. Gauges get a new start time, which
/// is not exposed.
type Page = Vec<(String, LabelSet, Value, Option<Timestamp>)>;

fn page(snapshot: &Snapshot) -> Page {
    let rows = snapshot.rows.iter().map(|row| {
        let family = snapshot.family(row);
        let began = (family.kind != crate::series::MetricKind::Gauge).then_some(row.info.after);
        let labels = row.info.labels.clone();
        (family.name.to_string(), labels, row.value.clone(), began)
    });
    rows.collect()
}

impl Run {
    fn new(setup: Setup) -> Self {
        let now = Timestamp::from_millis(1_000_000);
        Self {
            state: State::new(limits()),
            now,
            steady: setup.view(now),
            restarted: setup.view(now),
            setup,
            places: Vec::new(),
            newest: now,
        }
    }

    fn event(&mut self, hostname: &str, detail: Detail<'_>) {
        self.now = self.now.after(Duration::from_secs(1));
        let event = Event {
            timestamp: self.now,
            hostname: hostname.into(),
            pid: None,
            detail,
        };
        let mut changes = Vec::new();
        self.state.apply(&event, self.now, &mut changes);
        self.show(&changes);
    }

    fn show(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::Moved { from, to } = change {
                if let Some(from) = from {
                    let at = self.places.iter().position(|place| place == from);
                    self.places.swap_remove(at.expect("it came before it left"));
                }
                self.places.extend(*to);
            }
            for view in [&mut self.steady, &mut self.restarted] {
                view.series.now(self.now);
                apply(view, *change, &self.state, self.now);
            }
        }
    }

    /// Both pages.
    fn pages(&mut self) -> [Page; 2] {
        let mut changes = Vec::new();
        self.state.expire(self.now, &mut changes);
        self.show(&changes);
        let Self {
            state,
            now,
            steady,
            restarted,
            ..
        } = self;
        let keep = Keep::new(state, TTL, *now);
        let pages = [steady, restarted].map(|view| {
            view.series.now(*now);
            view.profile
                .level(state, &mut view.series, *now, &mut |_| true);
            view.profile.expire(&keep, &mut view.series);
            view.series.expire_restored(TTL, *now);
            view.series.snapshot(*now, false)
        });
        self.newest = pages[0].at;
        pages.map(|snapshot| page(&snapshot))
    }

    /// Ends the process and starts another one.
    fn restart(&mut self) {
        let view = &mut self.restarted;
        view.profile
            .before_capture(&self.state, &mut view.series, self.now);
        let bytes = view
            .series
            .capture()
            .into_saved("x")
            .next()
            .expect("a part")
            .encode_to_vec();
        let saved = saved::View::decode(&*bytes).expect("just encoded");
        let mut next = self.setup.view(self.newest);
        let restored = next.series.restore(&saved, self.newest);
        assert_eq!((restored.unknown, restored.full), (0, 0));
        next.profile
            .after_restore(&self.state, &mut next.series, self.now);
        next.series.now(self.now);
        for place in &self.places {
            let came = Change::Moved {
                from: None,
                to: Some(*place),
            };
            apply(&mut next, came, &self.state, self.now);
        }
        self.restarted = next;
    }
}

fn apply(view: &mut View, change: Change, state: &State, now: Timestamp) {
    let mut context = Context {
        names: state.names(),
        series: &mut view.series,
        now,
        origin: None,
    };
    view.profile.apply(change, &mut context);
}

#[derive(Clone, Debug)]
enum Step {
    /// The index of a task, the kind of event, and the index of the worker.
    Task(u8, TaskKind, u8),
    /// A worker's index, and how many tasks it started since its last heartbeat.
    Heartbeat(u8, u64),
    Offline(u8),
    Snapshot,
    Restart,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let kinds = [
        TaskKind::Sent,
        TaskKind::Received,
        TaskKind::Started,
        TaskKind::Succeeded,
        TaskKind::Failed,
        TaskKind::Retried,
        TaskKind::Rejected,
        TaskKind::Revoked,
    ];
    let kind = prop::sample::select(kinds.to_vec());
    prop_oneof![
        12 => (0..8_u8, kind, 0..2_u8).prop_map(|(task, kind, worker)| Step::Task(task, kind, worker)),
        2 => (0..2_u8, 0..4_u64).prop_map(|(worker, more)| Step::Heartbeat(worker, more)),
        1 => (0..2_u8).prop_map(Step::Offline),
        3 => Just(Step::Snapshot),
        2 => Just(Step::Restart),
        1 => (1..30_u64).prop_map(Step::Wait),
    ]
}

fn run(setup: Setup, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut run = Run::new(setup);
    let mut processed = [0; 2];
    for step in steps {
        match step {
            Step::Task(task, kind, worker) => {
                let uuid = format!("uuid-{task}");
                let name = ["t", "u", "slow"][usize::from(task % 3)];
                let class = ["ValueError", "KeyError", "OSError"][usize::from(worker + task % 2)];
                let named = matches!(kind, TaskKind::Sent | TaskKind::Received);
                let failed = matches!(kind, TaskKind::Failed | TaskKind::Retried);
                let detail = Detail::Task(TaskEvent {
                    name: named.then(|| name.into()),
                    queue: (kind == TaskKind::Sent).then(|| "q".into()),
                    runtime: (kind == TaskKind::Succeeded).then_some(2.0),
                    exception: failed.then(|| class.into()),
                    ..TaskEvent::new(kind, uuid.as_str())
                });
                let of_worker = ["w@h", "v@g"][usize::from(worker)];
                let sent = kind == TaskKind::Sent;
                run.event(if sent { "gen1@h" } else { of_worker }, detail);
            }
            Step::Heartbeat(worker, more) => {
                let worker = usize::from(worker);
                processed[worker] += more;
                let detail = Detail::Worker(WorkerEvent {
                    freq: Some(2.0),
                    active: Some(more),
                    processed: Some(processed[worker]),
                    loadavg: Some([1.0, 2.0, 3.0]),
                    sw_ver: Some("5.6".into()),
                    ..WorkerEvent::new(WorkerKind::Heartbeat)
                });
                run.event(["w@h", "v@g"][worker], detail);
            }
            Step::Offline(worker) => {
                let detail = Detail::Worker(WorkerEvent::new(WorkerKind::Offline));
                run.event(["w@h", "v@g"][usize::from(worker)], detail);
            }
            Step::Snapshot => {
                let [steady, restarted] = run.pages();
                prop_assert_eq!(restarted, steady);
            }
            Step::Restart => run.restart(),
            // Keep it short: the end of series is compared in other tests.
            Step::Wait(seconds) => run.now = run.now.after(Duration::from_secs(seconds)),
        }
    }
    run.restart();
    let [steady, restarted] = run.pages();
    prop_assert_eq!(restarted, steady);
    Ok(())
}

const LABELS: [TaskLabels; 3] = [
    NAME_AND_QUEUE,
    TaskLabels {
        worker: true,
        ..NAME_AND_QUEUE
    },
    TaskLabels {
        name: false,
        queue: true,
        worker: true,
    },
];

proptest! {
    #[test]
    fn the_native_page_is_the_same(
        steps in prop::collection::vec(step(), 0..60),
        labels in prop::sample::select(LABELS.to_vec()),
        hostnames in any::<bool>(),
    ) {
        let config = NativeConfig { hostnames, ..config(labels, 100) };
        run(Setup { name: ProfileName::Native, config, series_max: 100_000 }, steps)?;
    }

    #[test]
    fn the_page_of_every_other_profile_is_the_same(
        steps in prop::collection::vec(step(), 0..60),
        name in prop::sample::select(ProfileName::ALL[1..].to_vec()),
    ) {
        run(Setup { name, config: config(NAME_AND_QUEUE, 100), series_max: 100_000 }, steps)?;
    }
}

fn native(labels: TaskLabels, series_max: usize, exceptions_max: usize) -> Run {
    Run::new(Setup {
        name: ProfileName::Native,
        config: config(labels, exceptions_max),
        series_max,
    })
}

impl Run {
    fn task(&mut self, kind: TaskKind, uuid: &str, name: &str, exception: &str) {
        let detail = Detail::Task(TaskEvent {
            name: Some(name.into()),
            exception: (!exception.is_empty()).then(|| exception.into()),
            ..TaskEvent::new(kind, uuid)
        });
        self.event("w@h", detail);
    }

    /// Returns the page, after asserting that both views show the same.
    fn page(&mut self) -> Page {
        let [steady, restarted] = self.pages();
        assert_eq!(restarted, steady);
        restarted
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }
}

/// Returns the value of a family's series whose labels include these values.
fn number(page: &Page, family: &str, values: &[&str]) -> Option<f64> {
    let found = page.iter().find(|(name, labels, ..)| {
        let mut texts = labels.iter().map(|(_, value)| value);
        name == family && values.iter().all(|value| texts.any(|text| text == *value))
    });
    match found?.2 {
        Value::Number(number) => Some(number),
        Value::Histogram(_) => None,
    }
}

#[test]
fn what_a_worker_processed_ends_with_it_over_a_restart() {
    let steps = [
        Step::Heartbeat(0, 0),
        Step::Offline(0),
        Step::Wait(40),
        Step::Restart,
        Step::Wait(21),
    ];
    let config = config(NAME_AND_QUEUE, 100);
    let setup = Setup {
        name: ProfileName::Native,
        config,
        series_max: 10_000,
    };
    run(setup, steps.to_vec()).expect("the same page");
}

#[test]
fn a_rare_counter_stays_with_its_group_over_restarts() {
    let mut run = native(NAME_AND_QUEUE, 10_000, 100);
    run.task(TaskKind::Received, "a", "t", "");
    run.task(TaskKind::Cancelled, "a", "t", "");
    // Run for much longer than unchanged series are kept.
    for at in 0..10 {
        run.wait(TTL.as_secs() / 2);
        run.task(TaskKind::Received, &format!("a{at}"), "t", "");
        run.task(TaskKind::Succeeded, &format!("a{at}"), "t", "");
        run.page();
        run.restart();
    }
    let page = run.page();
    assert_eq!(
        number(&page, "celery_task_cancelled_total", &["t"]),
        Some(1.0)
    );
    // The counter ends with its group.
    run.restart();
    run.wait(TTL.as_secs() + 2);
    let page = run.page();
    assert_eq!(number(&page, "celery_task_cancelled_total", &["t"]), None);
    assert_eq!(number(&page, "celery_task_received_total", &["t"]), None);
}

#[test]
fn the_group_of_a_worker_that_lives_stays_over_restarts() {
    let mut run = native(LABELS[1], 10_000, 100);
    run.task(TaskKind::Received, "a", "t", "");
    run.task(TaskKind::Succeeded, "a", "t", "");
    for _ in 0..6 {
        run.wait(TTL.as_secs() * 2 / 3);
        let beat = WorkerEvent {
            freq: Some(2.0),
            ..WorkerEvent::new(WorkerKind::Heartbeat)
        };
        run.event("w@h", Detail::Worker(beat));
        run.page();
    }
    run.restart();
    let page = run.page();
    assert_eq!(
        number(&page, "celery_task_succeeded_total", &["w@h"]),
        Some(1.0)
    );
}

#[test]
fn a_full_table_is_as_full_as_it_was() {
    // There is room for one group and its counters, but not for another one.
    let mut run = native(NAME_AND_QUEUE, 20, 100);
    for (uuid, name) in [("a", "t"), ("b", "u"), ("c", "t")] {
        run.task(TaskKind::Received, uuid, name, "");
    }
    run.page();
    run.restart();
    for (uuid, name) in [("d", "t"), ("e", "u")] {
        run.task(TaskKind::Received, uuid, name, "");
    }
    let page = run.page();
    let received = |name| number(&page, "celery_task_received_total", &[name]);
    let in_flight = |name| number(&page, "celery_tasks_in_flight", &[name, "received"]);
    assert_eq!(
        [received("t"), received("u"), received(OTHER)],
        [Some(3.0), None, Some(2.0)]
    );
    assert_eq!([in_flight("t"), in_flight(OTHER)], [Some(3.0), Some(2.0)]);
}

#[test]
fn an_exception_class_that_had_its_place_has_it_again() {
    let mut run = native(NAME_AND_QUEUE, 10_000, 1);
    for (uuid, class) in [("a", "KeyError"), ("b", "OSError"), ("c", "KeyError")] {
        run.task(TaskKind::Received, uuid, "t", "");
        run.task(TaskKind::Failed, uuid, "t", class);
    }
    run.page();
    run.restart();
    for (uuid, class) in [("d", "KeyError"), ("e", "OSError")] {
        run.task(TaskKind::Received, uuid, "t", "");
        run.task(TaskKind::Failed, uuid, "t", class);
    }
    let page = run.page();
    let failed = |class| number(&page, "celery_task_failed_total", &[class]);
    let all = ["KeyError", "OSError", OTHER].map(failed);
    assert_eq!(all, [Some(3.0), None, Some(2.0)]);
}

#[test]
fn what_nothing_is_in_after_the_restart_is_empty() {
    for (name, family) in [
        (ProfileName::Native, "celery_tasks_in_flight"),
        (
            ProfileName::CeleryPrometheusExporter,
            "celery_tasks_by_name",
        ),
        (ProfileName::Flower, "flower_worker_prefetched_tasks"),
    ] {
        let mut run = Run::new(Setup {
            name,
            config: config(NAME_AND_QUEUE, 100),
            series_max: 10_000,
        });
        run.task(TaskKind::Received, "a", "t", "");
        assert!(run.page().iter().any(|row| row.0 == family), "{name:?}");
        // The new process may not know the tasks, for example after max_tasks was lowered.
        run.places.clear();
        run.restart();
        let [_, page] = run.pages();
        let values = page.iter().filter(|row| row.0 == family).map(|row| &row.2);
        let values: Vec<_> = values.collect();
        assert!(!values.is_empty(), "{name:?}");
        assert!(
            values.iter().all(|value| **value == Value::Number(0.0)),
            "{name:?}: {values:?}"
        );
    }
}
