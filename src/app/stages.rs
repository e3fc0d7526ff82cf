//! The daemon's tasks by name, and how they end.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};

/// Why the daemon stopped without a signal.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0} panicked; this is a bug in celeriac, please report it")]
    Panicked(String),
    #[error("{0} stopped unexpectedly; this is a bug in celeriac, please report it")]
    Ended(String),
}

/// The tasks of the daemon, by name.
#[derive(Debug, Default)]
pub(super) struct Stages {
    tasks: JoinSet<()>,
    names: HashMap<Id, String>,
}

impl Stages {
    /// Returns whether only the signal watcher is left, which never ends.
    pub(super) fn are_drained(&self) -> bool {
        self.tasks.len() <= 1
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub(super) fn spawn(&mut self, name: String, stage: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(stage).id();
        self.names.insert(id, name);
    }

    /// Waits until a stage ends, and returns how it ended; `None` if none is left.
    pub(super) async fn next(&mut self) -> Option<RunError> {
        let ended = self.tasks.join_next_with_id().await?;
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let name = self.names.remove(&id).unwrap_or_default();
        Some(if ended.is_ok() {
            RunError::Ended(name)
        } else {
            RunError::Panicked(name)
        })
    }

    pub(super) fn running(&self) -> Vec<&str> {
        self.names
            .values()
            .map(String::as_str)
            .filter(|name| *name != "signals")
            .collect()
    }
}
