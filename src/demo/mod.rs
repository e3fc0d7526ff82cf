//! Runs a simulated cluster, the real pipeline and a receiver in one process, without external
//! services.
//!
//! Only the environment of the daemon is simulated: the cluster publishes event messages, byte for
//! byte as Celery's workers would, and the receiver accepts the pushes. Everything in between is
//! the regular daemon code.

mod cluster;
mod receiver;
mod summary;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::cluster::Cluster;
use self::receiver::Receiver;
use crate::aggregator::{Aggregator, BATCHES_WAITING, Inputs, Outlet};
use crate::clock;
use crate::config::{Config, Flags, LoadError};
use crate::event::Accept;
use crate::http::{Page, Server};
use crate::pipeline::{BrokerRetention, ClusterConfig, Pipeline, ViewConfig};
use crate::profile::ProfileName;
use crate::queue::{Limits, Queue};
use crate::series::Snapshot;
use crate::shutdown::Signals;
use crate::sink::RemoteWrite;
use crate::telemetry::metrics::{EventMetrics, Telemetry};
use crate::telemetry::readiness::Readiness;

/// How often a snapshot is taken and pushed: often enough to watch.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often the summary is printed.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(2);

/// Options of the demo.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to serve the pages on.
    #[arg(long, default_value = "127.0.0.1:9808", value_name = "ADDR")]
    listen: SocketAddr,
    /// Time to run, such as 10s [default: until stopped].
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
}

/// Runs the demo until it is stopped or its time is up.
pub async fn run(args: Args) -> ExitCode {
    match Demo::build(&args).await {
        Ok(demo) => demo.run(args.duration).await,
        Err(error) => {
            tracing::error!(%error, "starting the demo failed");
            ExitCode::FAILURE
        }
    }
}

struct Demo {
    stop: CancellationToken,
    tasks: JoinSet<()>,
    receiver: Receiver,
}

impl Demo {
    #[expect(
        clippy::disallowed_methods,
        reason = "the demo spawns the stages in the app's place"
    )]
    async fn build(args: &Args) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let listen_error = |error| listen_error(args.listen, &error);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(
            Signals::new()
                .map_err(|error| text(&error))?
                // There is no file to reload.
                .watch(stop.clone(), || {}),
        );
        let receiver = Receiver::start(&mut tasks)
            .await
            .map_err(|error| text(&error))?;

        let mut config = configuration(args, &receiver).map_err(|error| text(&error))?;
        let start = clock::now();
        let mut readiness = Readiness::default();
        let mut telemetry = Telemetry::new(start);
        let broker: Arc<str> = "simulated".into();
        let (broker_metrics, metrics) = telemetry.broker(&broker);
        broker_metrics.connected.set(1.0);
        let sink = config.remote_write.remove(0);
        let name: Arc<str> = sink.name.as_str().into();
        let sink_metrics = telemetry.sink(&name, &sink.url.as_str().into());
        let latch = readiness.stage("remote_write demo", "nothing sent yet");
        let cluster = cluster_config(broker, metrics);
        let shown = [ViewConfig::classic(ProfileName::Native)];
        let pipeline = Pipeline::new(&config.metrics, vec![cluster], &shown, telemetry, start);
        let (batches, waiting) = mpsc::channel(BATCHES_WAITING);
        let inputs = Inputs {
            batches: waiting,
            // Nothing to poll: the simulated cluster only sends events.
            reports: mpsc::channel(1).1,
            settings: mpsc::channel(1).1,
            questions: mpsc::channel(1).1,
        };
        let hints = readiness.hints();
        let (aggregator, views) =
            Aggregator::new(pipeline, INTERVAL, inputs, hints, Outlet::Direct);
        let snapshots = views.of(ProfileName::Native);
        let pages = vec![page(snapshots.clone())];
        let server = Server::bind(args.listen, pages, readiness);
        let server = server.map_err(listen_error)?;
        let address = server.address().map_err(listen_error)?;
        // Nothing is sent at shutdown: the receiver stops as well.
        let queue = Queue::in_memory(Limits {
            bytes_max: sink.queue.bytes_max,
            age_max: None,
        });
        let inputs = (snapshots.clone(), mpsc::channel(1).1);
        let report = (sink_metrics, latch);
        let sink = RemoteWrite::new(sink, Vec::new(), queue, inputs, stop.clone(), report);
        let sink = sink.map_err(|error| text(&error))?;
        let pushed_to = Url::parse(&receiver.url()).map_err(|error| text(&error))?;
        summary::greet(address, &pushed_to);
        tasks.spawn(Cluster::new().run(batches, stop.clone()));
        tasks.spawn(aggregator.run());
        tasks.spawn(sink.run());
        tasks.spawn(server.run(stop.clone()));
        let received = receiver.received();
        let summary = summary::run(snapshots, received, SUMMARY_INTERVAL, stop.clone());
        tasks.spawn(summary);
        Ok(Self {
            stop,
            tasks,
            receiver,
        })
    }

    async fn run(mut self, duration: Option<Duration>) -> ExitCode {
        let over = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        let panicked = tokio::select! {
            () = self.stop.cancelled() => false,
            () = over => false,
            ended = self.tasks.join_next() => ended.is_some_and(|ended| ended.is_err()),
        };
        self.stop.cancel();
        summary::part(&self.receiver.received());
        if panicked {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}

/// The configuration that a user would write, except for the simulated broker.
fn configuration(args: &Args, receiver: &Receiver) -> Result<Config, LoadError> {
    let flags = Flags {
        broker: Some("amqp://simulated".to_owned()),
        remote_write: Some(receiver.url()),
        listen: Some(args.listen.to_string()),
        ..Flags::default()
    };
    let mut config = Config::from_flags(&flags)?;
    config.global.interval = INTERVAL;
    Ok(config)
}

fn page(snapshots: watch::Receiver<Arc<Snapshot>>) -> Page {
    Page {
        path: "/metrics".to_owned(),
        snapshots,
        native_histograms: false,
        created_series: false,
    }
}

/// The pipeline's configuration for the simulated cluster.
fn cluster_config(broker: Arc<str>, metrics: EventMetrics) -> ClusterConfig {
    ClusterConfig {
        broker,
        label: None,
        drops_expired: true,
        asks_workers: false,
        holds: BrokerRetention::Nothing,
        shard: None,
        accept: Accept::default(),
        metrics,
    }
}

fn listen_error(listen: SocketAddr, error: &std::io::Error) -> String {
    format!(
        "--listen: cannot listen on {listen}: {error}; choose another port, such as --listen \
         127.0.0.1:0"
    )
}
