//! The stages of outputs: one for each remote-write receiver and each Pushgateway.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error_span};

use super::error::StartError;
use super::instruments::Instruments;
use super::stages::Stages;
use crate::aggregator::Views;
use crate::config::{Config, PushgatewayConfig, RemoteWriteConfig, SinkId};
use crate::queue::Queue;
use crate::sink::client::BuildError;
use crate::sink::{Pushgateway, Reconfigured, RemoteWrite};
use crate::telemetry::readiness::Reporter;
use crate::telemetry::sink::{PushMetrics, SinkMetrics};

/// The parts built for all outputs.
pub(super) struct Outputs {
    sinks: Vec<SinkParts>,
    gateways: Vec<GatewayParts>,
}

impl Outputs {
    /// Builds the parts of all outputs.
    pub(super) fn new(config: &Config, queues: Vec<(SinkId, Queue)>, to: &mut Instruments) -> Self {
        let sinks = queues.into_iter().map(|(id, queue)| {
            let config = config.remote_write[id.index()].clone();
            SinkParts::new(config, queue, to)
        });
        let sinks = sinks.collect();
        let gateways = config.pushgateway.iter().cloned();
        let gateways = gateways.map(|gateway| GatewayParts::new(gateway, to));
        Self {
            sinks,
            gateways: gateways.collect(),
        }
    }

    /// Returns the channels that deliver a changed configuration to remote-write receivers, by
    /// sink.
    pub(super) fn spawn(
        self,
        external: &[(String, String)],
        views: &Views,
        stages: &mut Stages,
        drain_deadline: &CancellationToken,
    ) -> Result<Vec<mpsc::Sender<Reconfigured>>, StartError> {
        let sinks = self.sinks.into_iter();
        let channels = sinks.map(|sink| sink.spawn(external, views, stages, drain_deadline));
        let channels = channels.collect::<Result<_, _>>()?;
        for gateway in self.gateways {
            gateway.spawn(views, stages, drain_deadline)?;
        }
        Ok(channels)
    }
}

/// The parts built for one remote-write receiver.
struct SinkParts {
    config: RemoteWriteConfig,
    queue: Queue,
    report: (SinkMetrics, Reporter),
}

impl SinkParts {
    fn new(config: RemoteWriteConfig, queue: Queue, to: &mut Instruments) -> Self {
        let name: Arc<str> = config.name.as_str().into();
        let metrics = to.telemetry.sink(&name, &config.shown_url().into());
        let stage = format!("remote_write {name}");
        let latch = to.readiness.stage(stage, "nothing sent yet");
        Self {
            config,
            queue,
            report: (metrics, latch),
        }
    }

    /// Returns the channel that delivers a changed configuration to the receiver.
    fn spawn(
        self,
        external: &[(String, String)],
        views: &Views,
        stages: &mut Stages,
        drain_deadline: &CancellationToken,
    ) -> Result<mpsc::Sender<Reconfigured>, StartError> {
        let name = self.config.name.clone();
        let (changing, changes) = mpsc::channel(1);
        let inputs = (views.of(self.config.profile), changes);
        let (external, drain_deadline) = (external.to_vec(), drain_deadline.clone());
        let built = RemoteWrite::new(
            self.config,
            external,
            self.queue,
            inputs,
            drain_deadline,
            self.report,
        );
        let sink = built.map_err(client_error(&name))?;
        let span = error_span!("sink", sink = %name);
        stages.spawn(format!("remote_write {name}"), sink.run().instrument(span));
        Ok(changing)
    }
}

/// The parts built for one Pushgateway.
struct GatewayParts {
    config: PushgatewayConfig,
    metrics: PushMetrics,
    latch: Reporter,
}

impl GatewayParts {
    fn new(config: PushgatewayConfig, to: &mut Instruments) -> Self {
        let name: Arc<str> = config.name.as_str().into();
        let metrics = to.telemetry.pushgateway(&name);
        let stage = format!("pushgateway {name}");
        Self {
            latch: to.readiness.stage(stage, "nothing pushed yet"),
            config,
            metrics,
        }
    }

    fn spawn(
        self,
        views: &Views,
        stages: &mut Stages,
        drain_deadline: &CancellationToken,
    ) -> Result<(), StartError> {
        let name = self.config.name.clone();
        let snapshots = views.of(self.config.profile);
        let built = Pushgateway::new(
            self.config,
            snapshots,
            drain_deadline.clone(),
            self.metrics,
            self.latch,
        );
        let sink = built.map_err(client_error(&name))?;
        let span = error_span!("sink", sink = %name);
        stages.spawn(format!("pushgateway {name}"), sink.run().instrument(span));
        Ok(())
    }
}

fn client_error(name: &str) -> impl FnOnce(BuildError) -> StartError + use<> {
    let name = name.to_owned();
    |source| StartError::Client { name, source }
}
