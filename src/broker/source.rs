//! A source: keeps one broker subscribed through any failure, and hands its messages to the
//! aggregator.

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::context::{Checkpointed, SourceContext};
use super::error::LinkError;
use super::{amqp, redis, thread};
use crate::config::{BrokerConfig, Transport};
use crate::event::{Batch, BrokerId};
use crate::telemetry::metrics::BrokerMetrics;
use crate::telemetry::readiness::Reporter;

/// The source of one broker's events.
#[derive(Debug)]
pub struct Source {
    config: BrokerConfig,
    context: SourceContext,
}

impl Source {
    /// Creates the source of a broker.
    pub fn new(
        broker: BrokerId,
        config: BrokerConfig,
        batches: mpsc::Sender<Batch>,
        (metrics, readiness): (BrokerMetrics, Reporter),
        stop: CancellationToken,
        checkpointed: Checkpointed,
    ) -> Self {
        let queue_bytes_max = config.queue_bytes_max;
        let context = SourceContext::new(
            (broker, queue_bytes_max),
            batches,
            (metrics, readiness),
            stop,
            checkpointed,
        );
        Self { config, context }
    }

    /// Runs until shutdown.
    ///
    /// # Panics
    ///
    /// Panics if no thread can be started for it, or if that thread panicked.
    pub async fn run(self) {
        match self.config.transport {
            Transport::Amqp(_) => {
                let (ends, ended) = oneshot::channel();
                let work = async move {
                    self.keep_subscribed().await;
                    // Whoever waits for it may be gone.
                    let _ = ends.send(());
                };
                thread::spawn("amqp reader", work.in_current_span())
                    .expect("a thread can be started");
                ended.await.expect("the thread does not panic");
            }
            // Only its reader has a thread of its own.
            Transport::Redis(_) => self.keep_subscribed().await,
        }
    }

    async fn keep_subscribed(mut self) {
        loop {
            let ended = match &self.config.transport {
                Transport::Amqp(amqp) => amqp::run(&self.config, amqp, &mut self.context).await,
                Transport::Redis(redis) => redis::run(&self.config, redis, &mut self.context).await,
            };
            match ended {
                Ok(()) | Err(LinkError::Abandoned) => break,
                Err(error) => {
                    let delay = self.context.failed(&self.config, &error);
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = self.context.stop.cancelled() => break,
                    }
                }
            }
        }
        self.context.ended();
    }
}
