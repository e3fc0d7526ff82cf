//! Whether the stages of the daemon work, and if not, why.

use std::sync::Arc;

use tokio::sync::watch;

/// A stage's end: says how it does.
#[derive(Debug)]
pub struct Reporter(watch::Sender<State>);

/// Whether a stage works.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// Not, and why: the end of the sentence "broker main: …".
    Waiting(Arc<str>),
}

impl Reporter {
    /// The stage works.
    pub fn ready(&self) {
        self.0.send_if_modified(|state| {
            let changed = *state != State::Ready;
            *state = State::Ready;
            changed
        });
    }

    /// The stage waits for something.
    pub fn waiting(&self, why: impl Into<Arc<str>>) {
        self.0.send_replace(State::Waiting(why.into()));
    }
}

/// What all stages say.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    stages: Vec<(Arc<str>, watch::Receiver<State>)>,
    hints: Option<watch::Receiver<Vec<String>>>,
}

impl Readiness {
    /// Adds a stage, by a name such as `broker main`. It waits until it reports otherwise.
    pub fn stage(&mut self, name: impl Into<Arc<str>>, why: &str) -> Reporter {
        let (reporter, state) = watch::channel(State::Waiting(why.into()));
        self.stages.push((name.into(), state));
        Reporter(reporter)
    }

    /// Where hints go: what is set up in a way that keeps events from coming. They do not make it less ready.
    pub fn hints(&mut self) -> watch::Sender<Vec<String>> {
        let (sender, hints) = watch::channel(Vec::new());
        self.hints = Some(hints);
        sender
    }

    /// The newest hints, a line each.
    pub fn newest_hints(&self) -> Vec<String> {
        let hints = self.hints.as_ref().map(|hints| hints.borrow().clone());
        hints.unwrap_or_default()
    }

    /// How many stages there are.
    pub fn stages(&self) -> usize {
        self.stages.len()
    }

    /// What is not ready, a line each. Nothing: all is.
    pub fn reasons(&self) -> Vec<String> {
        let waiting = self
            .stages
            .iter()
            .filter_map(|(name, state)| match &*state.borrow() {
                State::Ready => None,
                State::Waiting(why) => Some(format!("{name}: {why}")),
            });
        waiting.collect()
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
