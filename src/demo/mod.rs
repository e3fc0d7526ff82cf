//! Runs the daemon with a simulated shop in place of a broker and its workers. Needs nothing
//! installed.
//!
//! Only the environment of the daemon is simulated: the cluster publishes event messages, byte for
//! byte as Celery's workers would, and unless a real receiver is named, one in this process accepts
//! the pushes. In between runs the daemon itself.

mod cluster;
mod messages;
mod receiver;
mod shop;
mod summary;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tokio::task::JoinSet;

use self::cluster::Cluster;
use crate::app::{App, Simulation};
use crate::clock;
use crate::config::{Config, Flags};
use crate::profile::ProfileName;

/// How often a snapshot is taken and pushed: often enough to watch.
const INTERVAL: Duration = Duration::from_secs(1);

/// Options of the demo.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to serve the pages on.
    #[arg(long, default_value = "127.0.0.1:9808", value_name = "ADDR")]
    listen: SocketAddr,
    /// Push to your own receiver, such as http://127.0.0.1:9090/api/v1/write.
    #[arg(long, value_name = "URL")]
    remote_write: Option<String>,
    /// Push to your own Pushgateway, such as http://127.0.0.1:9091.
    #[arg(long, value_name = "URL")]
    pushgateway: Option<String>,
    /// Time to run, such as 10s [default: until stopped].
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
}

/// Runs the demo until it is stopped or its time is up.
pub async fn run(args: Args) -> ExitCode {
    match try_run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the demo ended");
            ExitCode::FAILURE
        }
    }
}

async fn try_run(args: Args) -> Result<(), String> {
    // Its tasks end with this function.
    let mut tasks = JoinSet::new();
    let own = match (&args.remote_write, &args.pushgateway) {
        (None, None) => Some(receiver::start(&mut tasks).await.map_err(text)?),
        (_, _) => None,
    };
    let config = configuration(&args, own)?;
    let targets = config.push_targets().join(" and ");
    let simulation = Simulation::new(|inputs| Cluster::new(clock::now()).run(inputs));
    let app = App::simulate(config, simulation).await.map_err(text)?;
    let address = app.address().unwrap_or(args.listen);
    let snapshots = app.snapshots(ProfileName::Native);
    let snapshots = snapshots.ok_or("stopped before it started")?;
    summary::greet(address, &targets);
    let stop = app.stopper();
    let over = async {
        match args.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
        stop.cancel();
        std::future::pending::<()>().await;
    };
    let shown = summary::run(snapshots.clone());
    let ended = tokio::select! {
        ended = app.run() => ended.map_err(text),
        () = over => Ok(()),
        () = shown => Ok(()),
    };
    summary::part(&snapshots.borrow());
    ended
}

/// The configuration that a user would write, except for the simulated broker.
fn configuration(args: &Args, own: Option<String>) -> Result<Config, String> {
    let flags = Flags {
        broker: Some("amqp://simulated".to_owned()),
        remote_write: args.remote_write.clone().or(own),
        pushgateway: args.pushgateway.clone(),
        listen: Some(args.listen.to_string()),
        ..Flags::default()
    };
    let mut config = Config::from_flags(&flags).map_err(text)?;
    config.global.interval = INTERVAL;
    Ok(config)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
