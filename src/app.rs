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
use crate::config::{Config, Delivery, HttpConfig, PushgatewayConfig, ReloadRequest, Transport};
use crate::event::Mark;
use crate::http::{Page, Server};
use crate::pipeline::{ClusterConfig, Holds, Left, Pipeline, ViewConfig};
use crate::shutdown::Signals;
use crate::sink::client::BuildError;
use crate::sink::{Pushgateway, RemoteWrite, queues};
use crate::telemetry::metrics::Telemetry;
use crate::telemetry::readiness::{Readiness, Reporter};
use crate::telemetry::sink::PushMetrics;
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
    #[expect(dead_code, reason = "it is held")]
    folder: Option<Arc<CheckpointFolder>>,
    reloader: Option<Reloader>,
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
        let hurry = CancellationToken::new();
        let mut stages = Stages::default();
        let signals = Signals::new().map_err(StartError::Signals)?;
        let (asking, reloads) = mpsc::channel(1);
        let watch_signals = signals.watch(stop.clone(), asking.clone());
        stages.spawn("signals".to_owned(), watch_signals);
        let current = config.clone();
        let folder = match &config.data_dir {
            None => None,
            Some(path) => match standby::take(path, config.http.as_ref(), &stop).await? {
                Some(folder) => Some(Arc::new(folder)),
                // It was stopped before there was anything to do.
                None => {
                    return Ok(Self {
                        stages,
                        stop,
                        hurry,
                        reloads,
                        reloader: None,
                        folder: None,
                        grace_period: config.global.grace_period,
                    });
                }
            },
        };
        let mut queues = queues::open(&config)?;
        let restored = match (&folder, &config.data_dir) {
            (Some(folder), Some(path)) => {
                folder.newest().map_err(|source| StartError::DataDir {
                    folder: path.clone(),
                    source,
                })?
            }
            _ => None,
        };
        let stored = restored.as_ref().map(Restored::at);
        let start = queues::start_behind(&queues, stored, clock::now());
        let mut readiness = Readiness::default();
        let mut telemetry = Telemetry::new(start);
        let shown = view_configs(&config);

        let (batches, waiting) = mpsc::channel(BATCHES_WAITING);
        let mut sources = Vec::new();
        let mut pollers = Vec::new();
        let mut clusters = Vec::new();
        for (at, broker) in config.brokers.into_iter().enumerate() {
            let label: Option<Arc<str>> = broker.name.as_deref().map(Into::into);
            let name = label.clone().unwrap_or_else(|| ONLY_BROKER.into());
            let (broker_metrics, metrics) = telemetry.broker(&name);
            let latch = readiness.stage(format!("broker {name}"), "not subscribed yet");
            clusters.push(ClusterConfig {
                broker: Arc::clone(&name),
                label,
                drops_expired: broker.transport.drops_expired(),
                holds: holds(&broker.transport),
                shard: broker.transport.shard(),
                accept: broker.accept,
                metrics,
            });
            if broker.poll.is_on() {
                let metrics = telemetry.poll(&name);
                pollers.push((Arc::clone(&name), at, broker.clone(), metrics));
            }
            sources.push((name, broker, broker_metrics, latch));
        }
        let mut sinks = Vec::new();
        for sink in config.remote_write {
            let name: Arc<str> = sink.name.as_str().into();
            let metrics = telemetry.sink(&name, &sink.shown_url().into());
            let latch = readiness.stage(format!("remote_write {name}"), "nothing sent yet");
            sinks.push((name, sink, metrics, latch));
        }
        let gateways = gateways(config.pushgateway, &mut telemetry, &mut readiness);
        let (writing, reloading) = (telemetry.checkpoint(), telemetry.reload(start));
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
        let (reports, reported) = mpsc::channel(REPORTS_WAITING);
        let (settings, set) = mpsc::channel(1);
        let inputs = Inputs {
            batches: waiting,
            reports: reported,
            settings: set,
        };
        let hints = readiness.hints();
        let interval = config.global.interval;
        let (keeping, kept): (Vec<_>, Vec<_>) = sources
            .iter()
            .map(|_| watch::channel(Mark::default()))
            .unzip();
        let outlet = |publisher| match folder.clone() {
            None => Outlet::Direct(publisher),
            Some(folder) => {
                let (jobs, waiting) = mpsc::channel(1);
                let writer = Writer::new(folder, waiting, publisher, keeping, writing);
                stages.spawn("checkpoint".to_owned(), writer.run());
                Outlet::Checkpointed(jobs)
            }
        };
        let (aggregator, views) = Aggregator::new(pipeline, interval, inputs, hints, outlet);

        if let Some(http) = config.http {
            let asking = http.reload.then_some(asking);
            let mut server = listen(http, &views, readiness).await?;
            if let Some(asking) = asking {
                server = server.with_reloads(asking);
            }
            stages.spawn("http".to_owned(), server.run(stop.clone()));
        }
        let mut sinks_told = Vec::new();
        for (name, config_of_sink, metrics, latch) in sinks {
            let external = config.global.external_labels.clone();
            let (snapshots, hurry) = (views.of(config_of_sink.profile), hurry.clone());
            let queue = queues.remove(0);
            let report = (metrics, latch);
            let (changing, changes) = mpsc::channel(1);
            sinks_told.push(changing);
            let inputs = (snapshots, changes);
            let built = RemoteWrite::new(config_of_sink, external, queue, inputs, hurry, report);
            let client_error = |source| StartError::Client {
                name: name.to_string(),
                source,
            };
            let sink = built.map_err(client_error)?;
            let span = error_span!("sink", sink = %name);
            stages.spawn(format!("remote_write {name}"), sink.run().instrument(span));
        }
        stages.push_to(gateways, &views, &hurry)?;
        stages.spawn("aggregator".to_owned(), aggregator.run());
        for (name, at, broker, metrics) in pollers {
            let (reports, known) = (reports.clone(), views.known[at].clone());
            let poller = Poller::new(at, broker, reports, known, metrics, stop.clone());
            let span = error_span!("poller", broker = %name);
            stages.spawn(format!("poller {name}"), poller.run().instrument(span));
        }
        let known = kept.into_iter().zip(resume);
        for (at, ((name, broker, metrics, latch), (kept, resume))) in
            sources.into_iter().zip(known).enumerate()
        {
            let checkpointed = Checkpointed { kept, resume };
            let report = (metrics, latch);
            let (batches, stop) = (batches.clone(), stop.clone());
            let source = Source::new(at, broker, batches, report, stop, checkpointed);
            let span = error_span!("broker", broker = %name);
            stages.spawn(format!("broker {name}"), source.run().instrument(span));
        }
        Ok(Self {
            stages,
            stop,
            hurry,
            reloads,
            folder,
            reloader: Some(Reloader {
                file,
                current,
                settings,
                sinks: sinks_told,
                metrics: reloading,
            }),
            grace_period: config.global.grace_period,
        })
    }

    /// Stops the daemon as a signal does.
    pub fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs until it is stopped, then drains for as long as the grace period lasts.
    pub async fn run(mut self) -> Result<(), RunError> {
        let ended = loop {
            tokio::select! {
                // A stage that ends because of the signal must not look like one that ended by itself.
                biased;
                () = self.stop.cancelled() => break None,
                ended = self.stages.next() => break ended,
                Some(asked) = self.reloads.recv() => self.reload(asked).await,
            }
        };
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
        let reloaded = reloader.reload().await;
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
async fn listen(
    http: HttpConfig,
    views: &Views,
    readiness: Readiness,
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
    let bound = Server::bind(address, pages, readiness).await;
    let server = bound.map_err(|source| StartError::Listen { address, source })?;
    let tls = http.tls.as_ref();
    let server = server.guarded(tls, http.login).map_err(StartError::Tls)?;
    let address = server.address().unwrap_or(address);
    info!(%address, tls = tls.is_some(), pages = paths.join(" "), "listening; /-/healthy and /-/ready too");
    Ok(server)
}

impl Stages {
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    fn spawn(&mut self, name: String, stage: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(stage).id();
        self.names.insert(id, name);
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
