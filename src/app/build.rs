//! Builds the stages of a configuration: the parts for each broker and sink, and the channels
//! between them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error_span, info};

use super::App;
use super::error::StartError;
use super::instruments::{Instruments, ONLY_BROKER};
use super::listener::Listener;
use super::outputs::Outputs;
use super::reload::Reloader;
use super::simulation::{self, Simulation};
use super::stages::Stages;
use crate::aggregator::{Aggregator, BATCHES_WAITING, Inputs, Outlet, REPORTS_WAITING, Views};
use crate::bounds::Bounds;
use crate::broker::{Checkpointed, Poller, Source};
use crate::cgroup;
use crate::checkpoint::{Publisher, Restored, Writer};
use crate::clock;
use crate::config::{BrokerConfig, Config, Delivery, MetricsConfig, Transport};
use crate::event::{Batch, BrokerId, Mark};
use crate::http::ReloadRequest;
use crate::pipeline::{
    BrokerRetention, ClusterConfig, NotRestored, Overview, Pipeline, ViewConfig,
};
use crate::profile::ProfileName;
use crate::saved::Offset;
use crate::sink::queues;
use crate::state::Report;
use crate::supervisor::LivenessPing;
use crate::telemetry::metrics::{
    BrokerMetrics, CheckpointMetrics, EventMetrics, PollMetrics, Telemetry,
};
use crate::telemetry::readiness::{Readiness, Reporter};
use crate::timestamp::Timestamp;

impl App {
    /// Builds the stages in data-flow order, and spawns them in reverse.
    pub(super) fn assemble(
        &mut self,
        config: Config,
        file: Option<PathBuf>,
        reload_requests: mpsc::Sender<ReloadRequest>,
    ) -> Result<(), StartError> {
        let queues = queues::open(&config)?;
        let restored = self.restored(&config)?;
        let stored = restored.as_ref().map(Restored::at);
        let queued = queues.iter().map(|(_, queue)| queue);
        let start = queues::start_behind(queued, stored, clock::now());
        let memory = config.limits.memory.unwrap_or_else(cgroup::memory_budget);
        info!(mebibytes = memory >> 20, "memory budget set");
        let bounds = Bounds::new(memory, config.data_dir.is_some(), config.remote_write.len());
        let mut instruments = Instruments {
            telemetry: Telemetry::new(start).within(bounds),
            readiness: Readiness::default(),
        };
        let brokers = config.brokers.iter().cloned().enumerate();
        let brokers = brokers
            .map(|(at, broker)| BrokerParts::new(BrokerId::new(at), broker, &mut instruments));
        let mut brokers: Vec<BrokerParts> = brokers.collect();
        let outputs = Outputs::new(&config, queues, &mut instruments);
        let Instruments {
            mut telemetry,
            mut readiness,
        } = instruments;
        let (checkpoints, reloads) = (telemetry.checkpoint(), telemetry.reload(start));
        let pages = telemetry.http();
        let shown = view_configs(&config);
        let clusters = brokers.iter().map(BrokerParts::cluster).collect();
        let mut pipeline = Pipeline::new(&config.metrics, clusters, &shown, telemetry, start);
        if let Some(restored) = restored {
            restore(&mut pipeline, restored, start);
        }
        for broker in &mut brokers {
            broker.offset = pipeline.offset(broker.id);
        }
        let (ends, inputs, settings) = Ends::new(&self.stop);
        self.questions = Some(ends.questions.clone());
        let kept = brokers.iter().map(|broker| broker.kept.clone()).collect();
        let outlet = |publisher| self.outlet(publisher, kept, checkpoints);
        let (interval, hints) = (config.global.interval, readiness.hints());
        let (aggregator, views) = Aggregator::new(pipeline, interval, inputs, hints, outlet);
        self.readiness = readiness.clone();
        if let Some(http) = config.http.clone() {
            let listener = Listener {
                config: &config,
                views: &views,
                readiness,
                overviews: ends.overviews.clone(),
                start,
            };
            let requests = http.reload.then_some(reload_requests);
            self.listen(http, listener, requests, pages)?;
        }
        let external = &config.global.external_labels;
        let sinks = outputs.spawn(external, &views, &mut self.stages, &self.drain_deadline)?;
        self.stages.spawn("aggregator".to_owned(), aggregator.run());
        self.spawn_brokers(brokers, &views, &ends);
        self.views = Some(views);
        self.reloader = Some(Reloader {
            file,
            current: config,
            settings,
            sinks,
            metrics: reloads,
        });
        Ok(())
    }

    /// How snapshots are published: with a `data_dir`, once the checkpoint is on disk.
    fn outlet(
        &mut self,
        publisher: Publisher,
        kept: Vec<watch::Sender<Mark>>,
        metrics: CheckpointMetrics,
    ) -> Outlet {
        let Some(folder) = self.folder.clone() else {
            return Outlet::Direct(publisher);
        };
        let (jobs, waiting) = mpsc::channel(1);
        let writer = Writer::new(folder, waiting, publisher, kept, metrics);
        self.stages.spawn("checkpoint".to_owned(), writer.run());
        Outlet::Checkpointed(jobs)
    }

    fn spawn_brokers(&mut self, brokers: Vec<BrokerParts>, views: &Views, ends: &Ends) {
        let is_simulated = self.simulation.is_some();
        for broker in brokers {
            if is_simulated {
                broker.simulate(self.simulation.take(), ends, &mut self.stages);
            } else {
                broker.connect(views, ends, &mut self.stages);
            }
        }
    }

    /// Loads the checkpoint to restore, if any.
    fn restored(&self, config: &Config) -> Result<Option<Restored>, StartError> {
        let (Some(folder), Some(path)) = (&self.folder, &config.data_dir) else {
            return Ok(None);
        };
        folder.newest().map_err(|source| StartError::DataDir {
            folder: path.clone(),
            source,
        })
    }
}

/// The sending ends of the aggregator's input channels, for brokers and the supervisor.
struct Ends {
    batches: mpsc::Sender<Batch>,
    reports: mpsc::Sender<Report>,
    questions: mpsc::Sender<LivenessPing>,
    overviews: mpsc::Sender<oneshot::Sender<Overview>>,
    stop: CancellationToken,
}

impl Ends {
    fn new(stop: &CancellationToken) -> (Self, Inputs, mpsc::Sender<MetricsConfig>) {
        let (batches, waiting) = mpsc::channel(BATCHES_WAITING);
        let (reports, reported) = mpsc::channel(REPORTS_WAITING);
        let (settings, set) = mpsc::channel(1);
        let (questions, asked) = mpsc::channel(1);
        let (overviews, wanted) = mpsc::channel(1);
        let inputs = Inputs {
            batches: waiting,
            reports: reported,
            settings: set,
            questions: asked,
            overviews: wanted,
        };
        let ends = Self {
            batches,
            reports,
            questions,
            overviews,
            stop: stop.clone(),
        };
        (ends, inputs, settings)
    }
}

/// The parts built for one broker.
struct BrokerParts {
    id: BrokerId,
    name: Arc<str>,
    config: BrokerConfig,
    source: (BrokerMetrics, Reporter),
    events: EventMetrics,
    /// `None`: the broker is not polled.
    poller: Option<PollMetrics>,
    /// The newest message covered by a checkpoint.
    kept: watch::Sender<Mark>,
    /// Where to continue in the stream that an earlier process read.
    offset: Option<Offset>,
}

impl BrokerParts {
    fn new(id: BrokerId, config: BrokerConfig, to: &mut Instruments) -> Self {
        let name: Arc<str> = config.name.as_deref().unwrap_or(ONLY_BROKER).into();
        let (metrics, events) = to.telemetry.broker(&name);
        let latch = to
            .readiness
            .stage(format!("broker {name}"), "not subscribed yet");
        let polls = config.poll.is_on();
        Self {
            id,
            poller: polls.then(|| to.telemetry.poll(&name, metrics.connected.clone())),
            name,
            config,
            source: (metrics, latch),
            events,
            kept: watch::Sender::new(Mark::default()),
            offset: None,
        }
    }

    /// Returns the pipeline's settings for the broker.
    fn cluster(&self) -> ClusterConfig {
        let config = &self.config;
        ClusterConfig {
            broker: Arc::clone(&self.name),
            label: config.name.as_deref().map(Into::into),
            drops_expired: config.transport.drops_expired(),
            asks_workers: config.poll.control_interval.is_some(),
            holds: holds(&config.transport),
            shard: config.transport.shard(),
            accept: config.accept,
            metrics: self.events.clone(),
        }
    }

    /// Marks the broker as connected, and spawns the simulation, which stands in for all brokers.
    fn simulate(self, simulation: Option<Simulation>, ends: &Ends, stages: &mut Stages) {
        let (metrics, latch) = self.source;
        metrics.connected.set(1.0);
        latch.ready();
        let Some(simulation) = simulation else { return };
        let inputs = simulation::Inputs {
            batches: ends.batches.clone(),
            reports: ends.reports.clone(),
            stop: ends.stop.clone(),
        };
        stages.spawn(format!("broker {}", self.name), simulation.run(inputs));
    }

    /// Spawns the source and the poller.
    fn connect(self, views: &Views, ends: &Ends, stages: &mut Stages) {
        let (id, name) = (self.id, self.name);
        if let Some(metrics) = self.poller {
            let (reports, stop) = (ends.reports.clone(), ends.stop.clone());
            let known = views.known(id);
            let poller = Poller::new(id, self.config.clone(), reports, known, metrics, stop);
            let span = error_span!("poller", broker = %name);
            stages.spawn(format!("poller {name}"), poller.run().instrument(span));
        }
        let (batches, stop) = (ends.batches.clone(), ends.stop.clone());
        let checkpointed = Checkpointed {
            kept: self.kept.subscribe(),
            offset: self.offset,
        };
        let source = Source::new(id, self.config, batches, self.source, stop, checkpointed);
        let span = error_span!("broker", broker = %name);
        stages.spawn(format!("broker {name}"), source.run().instrument(span));
    }
}

/// Restores a checkpoint.
fn restore(pipeline: &mut Pipeline, restored: Restored, start: Timestamp) {
    let left = pipeline.restore(restored.parts(), start, clock::now());
    if left != NotRestored::default() {
        let NotRestored { unknown, full } = left;
        info!(
            unknown,
            full, "some stored series do not fit the configuration and were dropped"
        );
    }
}

/// Returns which events the broker retains while celeriac is not reading.
fn holds(transport: &Transport) -> BrokerRetention {
    match transport {
        Transport::Redis(_) => BrokerRetention::Nothing,
        Transport::Amqp(amqp) => match amqp.delivery {
            Delivery::Transient => BrokerRetention::Nothing,
            Delivery::Durable => BrokerRetention::Unacknowledged(amqp.prefetch.into()),
            Delivery::Stream => BrokerRetention::Stream(amqp.queue_name(), amqp.prefetch.into()),
        },
    }
}

/// Returns the profiles used by outputs. Native histograms are kept if any output of a profile uses
/// them.
fn view_configs(config: &Config) -> Vec<ViewConfig> {
    let pages = config.http.iter().flat_map(|http| &http.scrape);
    let pages = pages.map(|page| (page.profile, page.native_histograms));
    let sinks = config.remote_write.iter();
    let sinks = sinks.map(|sink| (sink.profile, sink.send_native_histograms));
    let gateways = config.pushgateway.iter();
    let gateways = gateways.map(|gateway| (gateway.profile, gateway.sends_native()));
    let mut views = BTreeMap::new();
    for (profile, native_histograms) in pages.chain(sinks).chain(gateways) {
        *views.entry(profile).or_default() |= native_histograms;
    }
    // The status page is made from it.
    let http = config.http.as_ref();
    if http.is_some_and(|http| http.status.is_some()) {
        views.entry(ProfileName::Native).or_default();
    }
    let views = views
        .into_iter()
        .map(|(profile, native_histograms)| ViewConfig {
            profile,
            native_histograms,
        });
    views.collect()
}
