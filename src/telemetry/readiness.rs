//! Collects the readiness of each stage of the daemon, with the reason if it is not ready.

use std::sync::Arc;

use tokio::sync::watch;

use crate::clock;
use crate::escape::printable;
use crate::timestamp::Timestamp;

/// A stage's handle for reporting its state.
#[derive(Debug)]
pub struct Reporter {
    state: watch::Sender<Since>,
    hint: watch::Sender<Option<String>>,
}

/// The state of a stage, and since when it is ready or not.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Since {
    state: ComponentState,
    at: Timestamp,
}

/// The state of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ComponentState {
    Ready,
    /// Not ready. The reason completes the sentence "broker main: …".
    Waiting(Arc<str>),
}

impl Reporter {
    /// Reports that the stage works.
    pub fn ready(&self) {
        self.state.send_if_modified(|since| {
            let changed = since.state != ComponentState::Ready;
            if changed {
                *since = Since::now(ComponentState::Ready);
            }
            changed
        });
    }

    /// Reports that the stage is waiting.
    pub fn waiting(&self, why: impl Into<Arc<str>>) {
        let state = ComponentState::Waiting(why.into());
        self.state.send_modify(|since| {
            if since.state == ComponentState::Ready {
                *since = Since::now(state);
            } else {
                since.state = state;
            }
        });
    }

    /// Reports a problem that does not keep the stage from working.
    pub fn hint(&self, hint: Option<String>) {
        self.hint.send_if_modified(|before| {
            let changed = *before != hint;
            *before = hint;
            changed
        });
    }
}

impl Since {
    fn now(state: ComponentState) -> Self {
        Self {
            state,
            at: clock::now(),
        }
    }
}

/// What a stage last reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageReport {
    /// Such as `broker main`.
    pub name: Arc<str>,
    /// Why it is not ready; `None` if it is.
    pub reason: Option<Arc<str>>,
    /// Since when it is ready, or not.
    pub since: Timestamp,
}

#[derive(Clone, Debug)]
struct Component {
    name: Arc<str>,
    state: watch::Receiver<Since>,
    hint: watch::Receiver<Option<String>>,
}

/// The reports of all stages. Each is a single line, even if it quotes a broker, worker or
/// receiver.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    stages: Vec<Component>,
    hints: Option<watch::Receiver<Vec<String>>>,
}

impl Readiness {
    /// Adds a stage with a name such as `broker main`. Its initial state is waiting.
    pub fn stage(&mut self, name: impl Into<Arc<str>>, why: &str) -> Reporter {
        let (reporter, state) = watch::channel(Since::now(ComponentState::Waiting(why.into())));
        let (hinter, hint) = watch::channel(None);
        self.stages.push(Component {
            name: name.into(),
            state,
            hint,
        });
        Reporter {
            state: reporter,
            hint: hinter,
        }
    }

    /// Returns a channel for hints about settings that prevent events. They do not affect
    /// readiness.
    pub fn hints(&mut self) -> watch::Sender<Vec<String>> {
        let (sender, hints) = watch::channel(Vec::new());
        self.hints = Some(hints);
        sender
    }

    /// Returns the newest hints, one line each.
    pub fn newest_hints(&self) -> Vec<String> {
        let hints = self.hints.as_ref().map(|hints| hints.borrow().clone());
        let of_stages = self
            .stages
            .iter()
            .filter_map(|Component { name, hint, .. }| {
                let hint = hint.borrow();
                hint.as_ref().map(|hint| format!("{name}: {hint}"))
            });
        let hints = hints.into_iter().flatten().chain(of_stages);
        hints.map(|hint| printable(&hint).into_owned()).collect()
    }

    /// Returns what each stage last reported.
    pub fn reports(&self) -> impl Iterator<Item = StageReport> {
        self.stages.iter().map(|Component { name, state, .. }| {
            let since = state.borrow();
            StageReport {
                name: Arc::clone(name),
                reason: match &since.state {
                    ComponentState::Ready => None,
                    ComponentState::Waiting(why) => Some(printable(why).into()),
                },
                since: since.at,
            }
        })
    }

    /// Returns the number of stages.
    pub fn stages(&self) -> usize {
        self.stages.len()
    }

    /// Returns why stages are not ready, one line each; empty if all are.
    pub fn reasons(&self) -> Vec<String> {
        let waiting = self
            .stages
            .iter()
            .filter_map(
                |Component { name, state, .. }| match &state.borrow().state {
                    ComponentState::Ready => None,
                    ComponentState::Waiting(why) => Some(format!("{name}: {why}")),
                },
            );
        waiting
            .map(|reason| printable(&reason).into_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_every_stage_is_and_says_which_is_not() {
        let mut readiness = Readiness::default();
        let broker = readiness.stage("broker main", "not connected yet");
        let sink = readiness.stage("remote write main", "nothing sent yet");
        assert_eq!(readiness.reasons().len(), 2);

        broker.ready();
        sink.ready();
        assert!(readiness.reasons().is_empty());

        broker.waiting("connection refused");
        assert_eq!(readiness.reasons(), ["broker main: connection refused"]);
    }
}
