//! The native profile: celeriac's own families.

use std::sync::Arc;

use super::config::NativeConfig;
use super::gauges::Gauges;
use super::group::{Counter, CounterFamily, Distribution, InFlightStage, Target};
use super::groups::Groups;
use super::vector::{Part, Vector, part};
use super::workflows::Workflows;
use super::{Context, Keep, Limited, UNKNOWN, label_set, reserved};
use crate::event::EventKind;
use crate::series::{Family, FamilyId, LabelSet, MetricKind, SeriesId, SeriesTable};
use crate::state::{Change, Outcome, State, Step, Symbol, TaskKey};
use crate::timestamp::Timestamp;

/// The native series of one cluster.
#[derive(Debug)]
pub struct Native {
    events: Events,
    groups: Groups,
    /// The last update, by task name and outcome.
    last: Vector<2>,
    workflows: Workflows,
    gauges: Gauges,
}

/// The series of `celery_events_total`, one for each kind that was received.
#[derive(Debug)]
struct Events {
    family: FamilyId,
    broker: Option<Arc<str>>,
    series: [Option<SeriesId>; EventKind::ALL.len()],
}

impl Native {
    pub(super) fn new(
        config: NativeConfig,
        broker: Option<Arc<str>>,
        series: &mut SeriesTable,
    ) -> Self {
        let name = |name: &str| format!("{}{name}", config.prefix);
        let events = Events {
            family: series.family(Family {
                name: name("events_total").into(),
                kind: MetricKind::Counter,
                help: "Total number of events received, by type.",
                labels: vec!["type"],
            }),
            broker: broker.clone(),
            series: [None; EventKind::ALL.len()],
        };
        let groups = Groups::new(config.clone(), broker.clone(), series);
        let last = (
            name("task_last_timestamp_seconds"),
            "Time at which a task of this name was last sent, succeeded or failed.",
        );
        let last = (last.0.as_str(), MetricKind::Gauge, last.1);
        let last = Vector::new(series, broker.as_ref(), last, ["name", "outcome"]);
        let workflows = Workflows::new(&config, broker.as_ref(), series);
        let gauges = Gauges::new(&config, broker.as_ref(), series);
        Self {
            events,
            groups,
            last,
            workflows,
            gauges,
        }
    }

    pub(super) fn apply(&mut self, change: Change, context: &mut Context<'_>) {
        let groups = &mut self.groups;
        match change {
            Change::Event(seen) => self.events.count(seen.kind, context),
            Change::Duplicate | Change::Clamped | Change::Refused(_) | Change::Missing(_) => {}
            Change::Task { step, of, at, .. } => {
                match Target::from(step) {
                    Target::Plain(counter) => groups.count(counter, of, context),
                    Target::Failed(class) => {
                        groups.count_class(CounterFamily::Failed, class, of, context);
                    }
                    Target::Retried(class) => {
                        groups.count_class(CounterFamily::Retried, class, of, context);
                    }
                }
                self.note(step, of, at, context);
            }
            Change::Ran {
                outcome,
                seconds,
                of,
            } => groups.observe(Distribution::runtime(outcome), seconds, of, context),
            Change::QueueWaited { seconds, of } => {
                groups.observe(Distribution::QueueWait, seconds, of, context);
            }
            Change::PrefetchWaited { seconds, of, .. } => {
                groups.observe(Distribution::PrefetchWait, seconds, of, context);
            }
            Change::TurnedAround {
                outcome,
                seconds,
                of,
            } => groups.observe(Distribution::turnaround(outcome), seconds, of, context),
            Change::Finished {
                outcome,
                attempts,
                exhausted,
                of,
            } => {
                if exhausted {
                    groups.count(Counter::RetriesExhausted, of, context);
                }
                let distribution = Distribution::attempts(outcome);
                groups.observe(distribution, f64::from(attempts), of, context);
            }
            Change::Moved { from, to } => {
                if let Some(from) = from {
                    groups.adjust_in_flight(
                        InFlightStage::from(from.stage),
                        from.of,
                        -1.0,
                        context,
                    );
                }
                if let Some(to) = to {
                    groups.adjust_in_flight(InFlightStage::from(to.stage), to.of, 1.0, context);
                }
            }
            Change::Lost { reason, of } => groups.count(reason.into(), of, context),
            Change::Unreported { reason, of } => groups.count(reason.into(), of, context),
            Change::Workflow { outcome, root, .. } => self.workflows.count(outcome, root, context),
        }
    }

    /// See [`Profile::after_restore`](super::Profile::after_restore).
    pub(super) fn after_restore(&mut self, state: &State, context: &mut Context<'_>) {
        self.events.open_restored(context);
        self.groups.zero_restored(context.series);
        self.gauges.open_restored(state, context);
    }

    /// Adds the tasks that workers have processed since the last snapshot.
    pub(super) fn before_capture(&mut self, state: &State, context: &mut Context<'_>) {
        self.gauges.level_processed(state, context);
    }

    pub(super) fn level(&mut self, state: &State, context: &mut Context<'_>) {
        self.gauges.level(state, context);
    }

    /// Sets the gauges by task name.
    pub(super) fn level_tasks(
        &mut self,
        state: &State,
        context: &mut Context<'_>,
        shows: &mut dyn FnMut(Symbol) -> bool,
    ) {
        self.gauges.level_tasks(state, context, shows);
        self.workflows.level(state, context, shows);
    }

    pub(super) fn expire(&mut self, keep: &Keep, series: &mut SeriesTable) {
        self.groups.expire(keep, series);
        self.last.expire(keep, series);
        self.workflows.expire(keep, series);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        let others = self.last.names().chain(self.gauges.names());
        let others = others.chain(self.workflows.names());
        self.groups.names().chain(others)
    }

    pub(super) fn limited(&self) -> Limited {
        let mut limited = self.groups.limited();
        limited.series += self.last.limited() + self.gauges.limited() + self.workflows.limited();
        limited
    }

    /// Records when a task of a name was last updated.
    fn note(&mut self, step: Step, of: TaskKey, at: Timestamp, context: &mut Context<'_>) {
        let outcome = match step {
            Step::Sent => "sent",
            Step::Succeeded => Outcome::Succeeded.name(),
            Step::Failed(_) => Outcome::Failed.name(),
            Step::Received
            | Step::Started
            | Step::Retried(_)
            | Step::Rejected { .. }
            | Step::Revoked(_)
            | Step::Cancelled => return,
        };
        let key = [part(of.name, UNKNOWN), Part::Word(outcome)];
        self.last.raise(key, at.seconds(), context);
    }
}

impl Events {
    fn count(&mut self, kind: EventKind, context: &mut Context<'_>) {
        let id = match self.series[kind.index()] {
            Some(id) => id,
            None => {
                let id = reserved(context.series, self.family, self.labels(kind));
                self.series[kind.index()] = Some(id);
                id
            }
        };
        context.series.add(id, 1.0);
    }

    /// Opens the restored series, because they never end, however rare their events are.
    fn open_restored(&mut self, context: &mut Context<'_>) {
        for kind in EventKind::ALL {
            let labels = self.labels(kind);
            let series = &mut self.series[kind.index()];
            *series = series.or_else(|| context.series.open_restored(self.family, labels, None));
        }
    }

    fn labels(&self, kind: EventKind) -> LabelSet {
        label_set(self.broker.as_ref(), [("type", kind.name().into())])
    }
}
