//! Builds the stages from a configuration, spawns and joins them, and drains them in the order of the data.
//!
//! A shutdown is the data flow, closed from the left: the sources and the listener are told to stop; the
//! aggregator ends when its channel closes, and makes the last snapshot; the sinks end when that is sent, or
//! when there is no time left.

mod reload;
mod standby;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error_span, info, warn};

use self::reload::Reloader;
use crate::aggregator::{Aggregator, BATCHES_WAITING, Inputs, Outlet, REPORTS_WAITING, Views};
use crate::broker::{Checkpointed, Poller, Source};
use crate::checkpoint::{CheckpointFolder, Restored, Writer};
use crate::clock;
use crate::config::{
    BrokerConfig, Config, Delivery, HttpConfig, PushgatewayConfig, ReloadRequest,
    RemoteWriteConfig, Transport,
};
use crate::event::Mark;
use crate::http::{Page, Server};
use crate::pipeline::{ClusterConfig, Holds, Left, Pipeline, ViewConfig};
use crate::queue::Queue;
use crate::shutdown::Signals;
use crate::sink::client::BuildError;
use crate::sink::{Pushgateway, Reconfigured, RemoteWrite, queues};
use crate::supervisor::{Question, Supervisor};
use crate::telemetry::metrics::{BrokerMetrics, PollMetrics, Telemetry};
use crate::telemetry::readiness::{Readiness, Reporter};
use crate::telemetry::sink::{PushMetrics, SinkMetrics};
use crate::tls::TlsError;

/// The label of a broker that has no name, where the daemon speaks of itself.
const ONLY_BROKER: &str = "default";

/// The share of the grace period after which the sinks give up, so that they can count what they could not send.
const HURRY: f64 = 0.9;

/// The daemon, built and not yet running.
#[derive(Debug)]
pub struct App {
    stages: Stages,
    stop: CancellationToken,
    hurry: CancellationToken,
    /// Who asks for the configuration to be read again; `None`: there is nothing to tell of it.
    reloads: mpsc::Receiver<ReloadRequest>,
    /// Held until every stage has let go of what is in it: then another daemon may have it.
    folder: Option<Arc<CheckpointFolder>>,
    reloader: Option<Reloader>,
    supervisor: Supervisor,
    /// How the stages do, and how the aggregator is asked whether it does.
    readiness: Readiness,
    questions: Option<mpsc::Sender<Question>>,
    grace_period: Duration,
}

/// The tasks of the daemon, by name.
#[derive(Debug, Default)]
struct Stages {
    tasks: JoinSet<()>,
    names: HashMap<Id, String>,
}

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {source}; is the port in use?")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot listen with TLS: {0}")]
    Tls(#[source] TlsError),
    #[error("cannot make the client of {name}: {source}")]
    Client { name: String, source: BuildError },
    #[error(transparent)]
    Queue(#[from] queues::QueuesError),
    #[error("cannot use data_dir {}: {source}", folder.display())]
    DataDir {
        folder: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot catch signals: {0}")]
    Signals(#[source] std::io::Error),
}

/// Why the daemon stopped that nobody stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0} panicked; this is a defect of celeriac, please report it")]
    Panicked(String),
    #[error("{0} ended by itself; this is a defect of celeriac, please report it")]
    Ended(String),
}

impl App {
    /// Builds and spawns all stages; `file` is where the configuration can be read again. While another daemon has the
    /// `data_dir`, it waits.
    pub async fn build(config: Config, file: Option<PathBuf>) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let mut stages = Stages::default();
        let signals = Signals::new().map_err(StartError::Signals)?;
        let (asking, reloads) = mpsc::channel(1);
        let watch_signals = signals.watch(stop.clone(), asking.clone());
        stages.spawn("signals".to_owned(), watch_signals);
        let mut app = Self {
            stages,
            stop,
            hurry: CancellationToken::new(),
            reloads,
            reloader: None,
            folder: None,
            supervisor: Supervisor::from_environment(),
            readiness: Readiness::default(),
            questions: None,
            grace_period: config.global.grace_period,
        };
        if let Some(path) = &config.data_dir {
            let taken =
                standby::take(path, config.http.as_ref(), &app.stop, app.supervisor).await?;
            // It was stopped before there was anything to do.
            let Some(folder) = taken else { return Ok(app) };
            app.folder = Some(Arc::new(folder));
        }
        app.assemble(config, file, asking)?;
        Ok(app)
    }

    /// Builds the stages in the order of the data, and spawns them from the other end.
    fn assemble(
        &mut self,
        config: Config,
        file: Option<PathBuf>,
        asking: mpsc::Sender<ReloadRequest>,
    ) -> Result<(), StartError> {
        let current = config.clone();
        let queues = queues::open(&config)?;
        let restored = self.restored(&config)?;
        let stored = restored.as_ref().map(Restored::at);
        let start = queues::start_behind(&queues, stored, clock::now());
        let mut readiness = Readiness::default();
        let mut telemetry = Telemetry::new(start);
        let shown = view_configs(&config);
        let brokers = Brokers::new(config.brokers, &mut telemetry, &mut readiness);
        let sinks = config.remote_write.into_iter().map(|sink| {
            let name: Arc<str> = sink.name.as_str().into();
            let metrics = telemetry.sink(&name, &sink.shown_url().into());
            let latch = readiness.stage(format!("remote_write {name}"), "nothing sent yet");
            (name, sink, metrics, latch)
        });
        let sinks: Vec<Sink> = sinks.collect();
        let gateways = gateways(config.pushgateway, &mut telemetry, &mut readiness);
        let (writing, reloading) = (telemetry.checkpoint(), telemetry.reload(start));
        let serving = telemetry.http();
        let clusters = brokers.clusters;
        let mut pipeline = Pipeline::new(&config.metrics, clusters, &shown, telemetry, start);
        if let Some(restored) = restored {
            let left = pipeline.restore(restored.parts(), start, clock::now());
            if left != Left::default() {
                let Left { unknown, full } = left;
                info!(
                    unknown,
                    full, "some series do not go on: the configuration has no place for them"
                );
            }
        }
        let resume: Vec<_> = pipeline.resume().collect();
        let (batches, waiting) = mpsc::channel(BATCHES_WAITING);
        let (reports, reported) = mpsc::channel(REPORTS_WAITING);
        let (settings, set) = mpsc::channel(1);
        let (questions, asked) = mpsc::channel(1);
        let inputs = Inputs {
            batches: waiting,
            reports: reported,
            settings: set,
            questions: asked,
        };
        let (keeping, kept): (Vec<_>, Vec<_>) = resume
            .iter()
            .map(|_| watch::channel(Mark::default()))
            .unzip();
        let stages = &mut self.stages;
        let outlet = |publisher| match self.folder.clone() {
            None => Outlet::Direct(publisher),
            Some(folder) => {
                let (jobs, waiting) = mpsc::channel(1);
                let writer = Writer::new(folder, waiting, publisher, keeping, writing);
                stages.spawn("checkpoint".to_owned(), writer.run());
                Outlet::Checkpointed(jobs)
            }
        };
        let (interval, hints) = (config.global.interval, readiness.hints());
        let (aggregator, views) = Aggregator::new(pipeline, interval, inputs, hints, outlet);
        self.readiness = readiness.clone();
        self.questions = Some(questions);
        if let Some(http) = config.http {
            let asking = http.reload.then_some(asking);
            let server = listen(http, &views, readiness, asking)?.counted(serving);
            stages.spawn("http".to_owned(), server.run(self.stop.clone()));
        }
        let external = &config.global.external_labels;
        let told = stages.send_to(sinks, queues, external, &views, &self.hurry)?;
        stages.push_to(gateways, &views, &self.hurry)?;
        stages.spawn("aggregator".to_owned(), aggregator.run());
        for (name, at, broker, metrics) in brokers.pollers {
            let (reports, known) = (reports.clone(), views.known[at].clone());
            let poller = Poller::new(at, broker, reports, known, metrics, self.stop.clone());
            let span = error_span!("poller", broker = %name);
            stages.spawn(format!("poller {name}"), poller.run().instrument(span));
        }
        let checkpointed = kept.into_iter().zip(resume);
        let checkpointed = checkpointed.map(|(kept, resume)| Checkpointed { kept, resume });
        for (at, (source, checkpointed)) in
            brokers.sources.into_iter().zip(checkpointed).enumerate()
        {
            let (name, broker, report) = source;
            let (batches, stop) = (batches.clone(), self.stop.clone());
            let source = Source::new(at, broker, batches, report, stop, checkpointed);
            let span = error_span!("broker", broker = %name);
            stages.spawn(format!("broker {name}"), source.run().instrument(span));
        }
        self.reloader = Some(Reloader {
            file,
            current,
            settings,
            sinks: told,
            metrics: reloading,
        });
        Ok(())
    }

    /// The checkpoint to go on from.
    fn restored(&self, config: &Config) -> Result<Option<Restored>, StartError> {
        let (Some(folder), Some(path)) = (&self.folder, &config.data_dir) else {
            return Ok(None);
        };
        folder.newest().map_err(|source| StartError::DataDir {
            folder: path.clone(),
            source,
        })
    }

    /// Stops the daemon as a signal does.
    pub fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs until it is stopped, then drains for as long as the grace period lasts.
    pub async fn run(mut self) -> Result<(), RunError> {
        self.supervisor.ready();
        let (readiness, questions) = (self.readiness.clone(), self.questions.take());
        let told = self.supervisor.keep_told(Some(readiness), questions);
        tokio::select! {
            ended = self.run_to_end() => ended,
            never = told => match never {},
        }
    }

    async fn run_to_end(&mut self) -> Result<(), RunError> {
        let ended = loop {
            tokio::select! {
                // A stage that ends because of the signal must not look like one that ended by itself.
                biased;
                () = self.stop.cancelled() => break None,
                ended = self.stages.next() => break ended,
                Some(asked) = self.reloads.recv() => self.reload(asked).await,
            }
        };
        self.supervisor.stopping();
        // Nobody waits for an answer any more.
        self.reloads.close();
        if let Some(error) = ended {
            self.stop.cancel();
            self.drain().await;
            return Err(error);
        }
        self.drain().await;
        Ok(())
    }

    async fn reload(&mut self, asked: ReloadRequest) {
        let Some(reloader) = &mut self.reloader else {
            return;
        };
        self.supervisor.reloading();
        let reloaded = reloader.reload().await;
        self.supervisor.ready();
        self.grace_period = reloader.current.global.grace_period;
        // Who asked by a signal reads the log.
        let _ = asked.send(reloaded);
    }

    async fn drain(&mut self) {
        let drained = async {
            // The watch over signals is the one that stays.
            while self.stages.tasks.len() > 1 {
                if let Some(RunError::Panicked(stage)) = self.stages.next().await {
                    warn!(stage, "panicked while stopping");
                }
            }
        };
        let hurry = async {
            tokio::time::sleep(self.grace_period.mul_f64(HURRY)).await;
            self.hurry.cancel();
            tokio::time::sleep(self.grace_period.mul_f64(1.0 - HURRY)).await;
        };
        let in_time = tokio::select! {
            () = drained => true,
            () = hurry => false,
        };
        if in_time {
            info!("stopped");
        } else {
            let stages = self.stages.running();
            warn!(
                ?stages,
                "the grace period is over, these stages were still at work"
            );
        }
    }
}

/// What is made of the brokers of a configuration.
struct Brokers {
    clusters: Vec<ClusterConfig>,
    sources: Vec<(Arc<str>, BrokerConfig, (BrokerMetrics, Reporter))>,
    pollers: Vec<(Arc<str>, usize, BrokerConfig, PollMetrics)>,
}

impl Brokers {
    fn new(
        configs: Vec<BrokerConfig>,
        telemetry: &mut Telemetry,
        readiness: &mut Readiness,
    ) -> Self {
        let mut brokers = Self {
            clusters: Vec::new(),
            sources: Vec::new(),
            pollers: Vec::new(),
        };
        for (at, broker) in configs.into_iter().enumerate() {
            let label: Option<Arc<str>> = broker.name.as_deref().map(Into::into);
            let name = label.clone().unwrap_or_else(|| ONLY_BROKER.into());
            let (broker_metrics, metrics) = telemetry.broker(&name);
            let latch = readiness.stage(format!("broker {name}"), "not subscribed yet");
            brokers.clusters.push(ClusterConfig {
                broker: Arc::clone(&name),
                label,
                drops_expired: broker.transport.drops_expired(),
                asks_workers: broker.poll.control_interval.is_some(),
                holds: holds(&broker.transport),
                shard: broker.transport.shard(),
                accept: broker.accept,
                metrics,
            });
            if broker.poll.is_on() {
                let metrics = telemetry.poll(&name);
                let poller = (Arc::clone(&name), at, broker.clone(), metrics);
                brokers.pollers.push(poller);
            }
            brokers
                .sources
                .push((name, broker, (broker_metrics, latch)));
        }
        brokers
    }
}

/// A receiver of remote write by its name, with what its sink reports to.
type Sink = (Arc<str>, RemoteWriteConfig, SinkMetrics, Reporter);

/// A Pushgateway by its name, with what its sink reports to.
type Gateway = (Arc<str>, PushgatewayConfig, PushMetrics, Reporter);

/// What the broker holds of events while nobody reads them.
fn holds(transport: &Transport) -> Holds {
    match transport {
        Transport::Redis(_) => Holds::Nothing,
        Transport::Amqp(amqp) => match amqp.delivery {
            Delivery::Transient => Holds::Nothing,
            Delivery::Durable => Holds::Unacknowledged(amqp.prefetch.into()),
            Delivery::Stream => Holds::Stream(amqp.queue_name(), amqp.prefetch.into()),
        },
    }
}

fn gateways(
    configs: Vec<PushgatewayConfig>,
    telemetry: &mut Telemetry,
    readiness: &mut Readiness,
) -> Vec<Gateway> {
    let gateways = configs.into_iter().map(|config| {
        let name: Arc<str> = config.name.as_str().into();
        let metrics = telemetry.pushgateway(&name);
        let latch = readiness.stage(format!("pushgateway {name}"), "nothing pushed yet");
        (name, config, metrics, latch)
    });
    gateways.collect()
}

/// The profiles that an output names. Where one of these takes native histograms, they are kept.
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
    let views = views
        .into_iter()
        .map(|(profile, native_histograms)| ViewConfig {
            profile,
            native_histograms,
        });
    views.collect()
}

/// Binds the listener, with the pages that it is to have.
fn listen(
    http: HttpConfig,
    views: &Views,
    readiness: Readiness,
    reloads: Option<mpsc::Sender<ReloadRequest>>,
) -> Result<Server, StartError> {
    let address = http.listen;
    let pages = http.scrape.into_iter().map(|page| Page {
        snapshots: views.of(page.profile),
        path: page.path,
        native_histograms: page.native_histograms,
        created_series: page.created_series,
    });
    let pages: Vec<Page> = pages.collect();
    let paths: Vec<_> = pages.iter().map(|page| page.path.clone()).collect();
    let bound = Server::bind(address, pages, readiness);
    let server = bound.map_err(|source| StartError::Listen { address, source })?;
    let tls = http.tls.as_ref();
    let server = server.guarded(tls, http.login).map_err(StartError::Tls)?;
    let address = server.address().unwrap_or(address);
    let server = match reloads {
        Some(reloads) => server.with_reloads(reloads),
        None => server,
    };
    info!(%address, tls = tls.is_some(), pages = paths.join(" "), "listening; /-/healthy and /-/ready too");
    Ok(server)
}

impl Stages {
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    fn spawn(&mut self, name: String, stage: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(stage).id();
        self.names.insert(id, name);
    }

    /// Spawns the sinks of remote write. Returns the ends by which they are told of another configuration.
    fn send_to(
        &mut self,
        sinks: Vec<Sink>,
        queues: Vec<Queue>,
        external: &[(String, String)],
        views: &Views,
        hurry: &CancellationToken,
    ) -> Result<Vec<mpsc::Sender<Reconfigured>>, StartError> {
        let mut told = Vec::new();
        for ((name, config, metrics, latch), queue) in sinks.into_iter().zip(queues) {
            let (changing, changes) = mpsc::channel(1);
            told.push(changing);
            let inputs = (views.of(config.profile), changes);
            let report = (metrics, latch);
            let (external, hurry) = (external.to_vec(), hurry.clone());
            let built = RemoteWrite::new(config, external, queue, inputs, hurry, report);
            let client_error = |source| StartError::Client {
                name: name.to_string(),
                source,
            };
            let sink = built.map_err(client_error)?;
            let span = error_span!("sink", sink = %name);
            self.spawn(format!("remote_write {name}"), sink.run().instrument(span));
        }
        Ok(told)
    }

    /// Spawns the sinks of Pushgateways.
    fn push_to(
        &mut self,
        gateways: Vec<Gateway>,
        views: &Views,
        hurry: &CancellationToken,
    ) -> Result<(), StartError> {
        for (name, config, metrics, latch) in gateways {
            let snapshots = views.of(config.profile);
            let built = Pushgateway::new(config, snapshots, hurry.clone(), metrics, latch);
            let client_error = |source| StartError::Client {
                name: name.to_string(),
                source,
            };
            let sink = built.map_err(client_error)?;
            let span = error_span!("sink", sink = %name);
            self.spawn(format!("pushgateway {name}"), sink.run().instrument(span));
        }
        Ok(())
    }

    /// The next stage that ends, and how.
    async fn next(&mut self) -> Option<RunError> {
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

    fn running(&self) -> Vec<&str> {
        self.names
            .values()
            .map(String::as_str)
            .filter(|name| *name != "signals")
            .collect()
    }
}
