//! Takes events and answers from simulated clusters, in place of connections to brokers.

use std::fmt;
use std::pin::Pin;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::event::Batch;
use crate::state::Report;

type Stage = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A simulated cluster, which runs until it is stopped.
pub struct Simulation(Box<dyn FnOnce(Inputs) -> Stage + Send>);

/// Where a simulated cluster delivers its events and answers.
#[derive(Debug)]
pub struct Inputs {
    pub batches: mpsc::Sender<Batch>,
    pub reports: mpsc::Sender<Report>,
    pub stop: CancellationToken,
}

impl Simulation {
    pub fn new<F: Future<Output = ()> + Send + 'static>(
        run: impl FnOnce(Inputs) -> F + Send + 'static,
    ) -> Self {
        Self(Box::new(|inputs| Box::pin(run(inputs))))
    }

    pub(super) fn run(self, inputs: Inputs) -> Stage {
        (self.0)(inputs)
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Simulation")
    }
}
