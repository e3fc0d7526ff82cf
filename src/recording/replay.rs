//! `celeriac replay`: computes the metrics of recorded messages with the daemon's own pipeline.
//!
//! Without `--serve`, the recorded times are the clock, so the result is the same at any speed.
//! With it, the daemon runs on its own clock, with the recording in place of its brokers.
#![expect(clippy::print_stderr, reason = "the output of the command")]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::read::{ReadError, Recordings, Tally};
use crate::app::{App, Simulation};
use crate::blocking::blocking;
use crate::clock;
use crate::config::{BrokerConfig, Config, Flags, LoadError};
use crate::escape::printable;
use crate::event::{Accept, Batch};
use crate::output;
use crate::pipeline::{BrokerRetention, ClusterConfig, Pipeline, ViewConfig};
use crate::profile::ProfileName;
use crate::series::Snapshot;
use crate::telemetry::metrics::Telemetry;
use crate::timestamp::Timestamp;
use crate::wire::text;

/// How far messages may be apart for all snapshots between them to be made. One snapshot shows the
/// passing of any longer time just as well.
const PAUSE_MAX: Duration = Duration::from_hours(24);

/// Maximum number of skipped lines that are reported one by one.
const COMPLAINTS_MAX: u64 = 20;

/// The families about the daemon that depend only on messages. All others are left out.
const OWN: [&str; 9] = [
    "celeriac_messages_total",
    "celeriac_messages_undecodable_total",
    "celeriac_events_repeated_total",
    "celeriac_events_missing_total",
    "celeriac_intervals_clamped_total",
    "celeriac_values_refused_total",
    "celeriac_tasks_evicted_total",
    "celeriac_series_limited_total",
    "celeriac_series_relabelled_total",
];

/// Options of the replay.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recordings of `celeriac record`; `-` is standard input. Those of several files are merged by time.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Configuration file whose `metrics` and `global.interval` to use; the rest is ignored.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Names and labels to use, such as flower.
    #[arg(long, value_name = "NAME", default_value = "native", value_parser = profile)]
    profile: ProfileName,
    /// How fast to replay: max, or a multiple of the recorded speed such as 1x or 60x.
    #[arg(long, default_value = "max", value_parser = speed)]
    speed: Speed,
    /// Serve the pages on this address until stopped, instead of printing the metrics. Messages count as received
    /// when they are replayed, so durations that include the time of receipt differ from the recorded ones.
    #[arg(long, value_name = "ADDR")]
    serve: Option<SocketAddr>,
}

/// How fast messages are replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    Max,
    Times(f64),
}

impl Args {
    /// Loads the configuration: of a file, or the defaults.
    pub fn load(&self) -> Result<Config, LoadError> {
        self.config.as_ref().map_or_else(
            || Config::from_flags(&self.flags("amqp://recorded")),
            |path| Config::load(path),
        )
    }

    fn flags(&self, broker: &str) -> Flags {
        let listen = self
            .serve
            .map_or("127.0.0.1:0".to_owned(), |address| address.to_string());
        Flags {
            broker: Some(broker.to_owned()),
            listen: Some(listen),
            ..Flags::default()
        }
    }
}

/// Why nothing can be replayed.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0}")]
    Config(#[from] LoadError),
    #[error("cannot write to standard output: {0}")]
    Write(#[from] std::io::Error),
    #[error(transparent)]
    Start(#[from] crate::app::StartError),
    #[error(transparent)]
    Run(#[from] crate::app::RunError),
}

/// Replays recordings: prints their metrics, or serves them until stopped.
pub async fn run(config: Config, args: Args) -> ExitCode {
    match try_run(config, args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", printable(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

async fn try_run(config: Config, args: Args) -> Result<(), ReplayError> {
    let player = Player::open(&args)?;
    if args.serve.is_some() {
        return serve(config, &args, player).await;
    }
    let snapshot = player.metrics(&config, args.profile).await;
    Ok(output::put(text::render(&snapshot).as_bytes())?)
}

/// Replays messages at a speed.
struct Player {
    recordings: Recordings,
    speed: Speed,
    /// The first message's time, and when it was replayed.
    begun: Option<(Timestamp, Instant)>,
    complaints: Complaints,
}

/// Reports skipped lines, up to a limit.
#[derive(Debug, Default)]
struct Complaints(u64);

impl Complaints {
    fn add(&mut self, text: &str) {
        self.0 += 1;
        if self.0 <= COMPLAINTS_MAX {
            eprintln!("{}", printable(text));
        }
    }
}

impl Player {
    fn open(args: &Args) -> Result<Self, ReadError> {
        let mut complaints = Complaints::default();
        let recordings = Recordings::open(&args.files, &mut |text| complaints.add(&text))?;
        Ok(Self {
            recordings,
            speed: args.speed,
            begun: None,
            complaints,
        })
    }

    /// The next messages, when they are due.
    async fn next(&mut self) -> Option<Batch> {
        let Self {
            recordings,
            complaints,
            ..
        } = self;
        let batch = blocking(|| recordings.next_batch(&mut |text| complaints.add(&text)))?;
        if let Speed::Times(times) = self.speed {
            let now = clock::monotonic();
            let (first, begun) = *self.begun.get_or_insert((batch.received, now));
            let after = batch.received.since(first).as_secs_f64() / times;
            let due = Duration::try_from_secs_f64(after).ok();
            if let Some(due) = due.and_then(|after| begun.checked_add(after)) {
                tokio::time::sleep_until(due.into()).await;
            }
        }
        Some(batch)
    }

    /// Accepted serializers of a broker.
    fn accept(&self, broker: usize) -> Accept {
        if self.recordings.scrubbed[broker] {
            Accept::default()
        } else {
            self.recordings.brokers[broker].accept()
        }
    }

    /// Computes the metrics as of the end of the recording.
    async fn metrics(mut self, config: &Config, profile: ProfileName) -> Snapshot {
        let mut pipeline = self.pipeline(config, profile);
        let mut now = self.recordings.started;
        pipeline.unchanged_snapshots(now, false);
        while let Some(batch) = self.next().await {
            pass(
                &mut pipeline,
                &mut now,
                batch.received,
                config.global.interval,
            );
            pipeline.apply_batch(&batch);
        }
        let end = self.recordings.tally.newest.max(now);
        pass(&mut pipeline, &mut now, end, config.global.interval);
        pipeline.release_held(end);
        let mut snapshots = pipeline.snapshots(end, false);
        let mut snapshot = snapshots.pop().expect("there is one profile");
        let families = Arc::clone(&snapshot.families);
        snapshot
            .rows
            .retain(|row| is_of_messages(&families[row.info.family.index()].name));
        report(self.recordings.tally);
        snapshot
    }

    fn pipeline(&self, config: &Config, profile: ProfileName) -> Pipeline {
        let start = self.recordings.started;
        let mut telemetry = Telemetry::new(start);
        let brokers = self.recordings.brokers.iter().enumerate();
        let clusters = brokers.map(|(at, broker)| {
            let name: Arc<str> = broker.name.as_deref().unwrap_or("default").into();
            let (source, metrics) = telemetry.broker(&name);
            source.connected.set(1.0);
            ClusterConfig {
                broker: name,
                label: broker.name.as_deref().map(Into::into),
                accept: self.accept(at),
                drops_expired: broker.drops_expired,
                // Replies to polls are not recorded.
                asks_workers: false,
                holds: BrokerRetention::Nothing,
                shard: None,
                metrics,
            }
        });
        let clusters = clusters.collect();
        let views = [ViewConfig::classic(profile)];
        Pipeline::new(&config.metrics, clusters, &views, telemetry, start)
    }
}

/// Lets time pass up to `until`, with a snapshot at each interval as in the daemon, because tasks
/// and workers expire in snapshots.
fn pass(pipeline: &mut Pipeline, now: &mut Timestamp, until: Timestamp, interval: Duration) {
    let step = i64::try_from(interval.as_micros())
        .unwrap_or(i64::MAX)
        .max(1);
    if until.since(*now) > PAUSE_MAX {
        *now = Timestamp::from_micros(until.micros().saturating_sub(step));
        pipeline.snapshots(*now, false);
    }
    loop {
        let next = Timestamp::from_micros(now.micros().saturating_add(step));
        if next > until {
            return;
        }
        *now = next;
        pipeline.snapshots(next, false);
    }
}

/// Whether a family depends on messages alone, and not on this process.
fn is_of_messages(family: &str) -> bool {
    let is_own = family.starts_with("celeriac_") || family.starts_with("process_");
    !is_own || OWN.contains(&family)
}

fn report(tally: Tally) {
    let Tally {
        messages,
        skipped,
        omitted,
        lost,
        newest: _,
    } = tally;
    let mut text = format!("messages replayed: {messages}");
    for (count, what) in [
        (skipped, "lines skipped"),
        (omitted, "messages recorded without their content"),
        (lost, "lines about missing messages"),
    ] {
        if count > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "; {what}: {count}");
        }
    }
    eprintln!("{text}\nleft out: process_*, and celeriac_* about the process and its connections");
}

/// Runs the daemon with the recording in place of its brokers, until stopped.
async fn serve(config: Config, args: &Args, mut player: Player) -> Result<(), ReplayError> {
    let mut served = Config::from_flags(&args.flags("amqp://recorded"))?;
    served.metrics = config.metrics;
    served.brokers = (0..player.recordings.brokers.len())
        .map(|at| broker(args, &player, at))
        .collect::<Result<_, _>>()?;
    if args.config.is_some() {
        served.global.interval = config.global.interval;
    }
    for page in served.http.iter_mut().flat_map(|http| &mut http.scrape) {
        page.profile = args.profile;
    }
    let simulation = Simulation::new(|inputs| async move {
        let replay = async {
            while let Some(batch) = player.next().await {
                let received = clock::now();
                let batch = Batch { received, ..batch };
                if inputs.batches.send(batch).await.is_err() {
                    return;
                }
            }
            report(player.recordings.tally);
            std::future::pending().await
        };
        tokio::select! {
            () = replay => {}
            () = inputs.stop.cancelled() => {}
        }
    });
    let app = App::simulate(served, simulation).await?;
    if let Some(address) = app.address() {
        eprintln!("serving http://{address}/ and http://{address}/metrics; press Ctrl-C to stop");
    }
    Ok(app.run().await?)
}

/// The configuration of a recorded broker, which is not polled.
fn broker(args: &Args, player: &Player, at: usize) -> Result<BrokerConfig, LoadError> {
    let recorded = &player.recordings.brokers[at];
    let url = if recorded.drops_expired {
        "amqp://recorded"
    } else {
        "redis://recorded"
    };
    let config = Config::from_flags(&args.flags(url))?;
    let mut broker = config
        .brokers
        .into_iter()
        .next()
        .expect("the flag's broker");
    broker.name.clone_from(&recorded.name);
    broker.accept = player.accept(at);
    broker.poll.queue_interval = None;
    broker.poll.control_interval = None;
    Ok(broker)
}

fn profile(text: &str) -> Result<ProfileName, String> {
    let mut all = ProfileName::ALL.into_iter();
    let names = ProfileName::ALL.map(ProfileName::name).join(", ");
    let named = all.find(|profile| profile.name() == text);
    named.ok_or_else(|| format!("expected one of {names}"))
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let times = text.strip_suffix('x').and_then(|times| times.parse().ok());
    let times = times.filter(|times: &f64| times.is_finite() && *times > 0.0);
    let times = times.map(Speed::Times);
    times.ok_or_else(|| "expected max, or a multiple such as 1x or 60x".to_owned())
}
