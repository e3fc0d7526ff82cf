//! `celeriac record`: writes the messages of the configured brokers to a file or a pipe.
//!
//! The daemon's own [`Source`]s read them, always with the transient delivery: over an exclusive
//! queue on RabbitMQ and over pub/sub on Redis. Messages that a source loses are recorded as such.
#![expect(
    clippy::print_stderr,
    reason = "read by the operator, next to the recording on standard output"
)]

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::line::{Broker, Content, Header, Line, VERSION};
use super::scrub::Scrubber;
use crate::blocking::blocking;
use crate::bounds::Bounds;
use crate::broker::{Checkpointed, Source};
use crate::cgroup;
use crate::clock;
use crate::config::{BrokerConfig, Config, Delivery, Transport};
use crate::escape::printable;
use crate::event::{Accept, Batch, BrokerId, Form, Mark, Payload};
use crate::shutdown::Signals;
use crate::telemetry::metrics::{BrokerMetrics, Telemetry};
use crate::telemetry::readiness::Readiness;
use crate::timestamp::Timestamp;

/// Maximum number of batches waiting to be written; each holds up to 1 MiB.
const BATCHES_WAITING: usize = 16;

/// How often losses are looked for while no message arrives.
const LOSSES_INTERVAL: Duration = Duration::from_secs(1);

/// Options of the recording.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to write to; an existing one is replaced [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Time to record, such as 10m [default: until stopped].
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Replace arguments, results, exception texts and custom fields by text of the same length; names of tasks,
    /// workers and queues stay.
    #[arg(long)]
    scrub: bool,
}

/// Records until stopped, and reports what was written.
pub async fn run(config: Config, args: Args) -> ExitCode {
    match try_run(config, &args).await {
        Ok(recorder) => recorder.report(&args),
        Err(error) => {
            eprintln!("recording failed: {}", printable(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command spawns its own tasks"
)]
async fn try_run(config: Config, args: &Args) -> io::Result<Recorder> {
    let stop = CancellationToken::new();
    // Its tasks end with this function.
    let mut tasks = JoinSet::new();
    let signals = Signals::new()?;
    tasks.spawn(signals.watch(stop.clone(), || {}));
    let out = output(args)?;
    let started = clock::now();
    let header = Header {
        celeriac_recording: VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: started.seconds(),
        scrubbed: args.scrub,
        brokers: config.brokers.iter().map(Broker::of).collect(),
    };
    let (sender, mut batches) = mpsc::channel(BATCHES_WAITING);
    let mut recorder = Recorder {
        out,
        scrubber: args.scrub.then(Scrubber::default),
        brokers: sources(config, started, &sender, &stop, &mut tasks),
        messages: 0,
        omitted: 0,
        losses: 0,
    };
    // The channel closes when the last source ends.
    drop(sender);
    if let Some(duration) = args.duration {
        let stop = stop.clone();
        tasks.spawn(async move {
            tokio::time::sleep(duration).await;
            stop.cancel();
        });
    }
    let written = recorder.record(&header, &mut batches, &stop).await;
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(recorder),
        Err(error) => Err(error),
        Ok(()) => Ok(recorder),
    }
}

/// Opens the output. Messages contain arguments of tasks, so a new file is readable by its owner
/// only.
fn output(args: &Args) -> io::Result<BufWriter<Box<dyn Write + Send>>> {
    let out: Box<dyn Write + Send> = match &args.output {
        None => Box::new(io::stdout()),
        Some(path) => {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let file = options.open(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            Box::new(file)
        }
    };
    Ok(BufWriter::new(out))
}

/// Spawns the source of each broker.
#[expect(
    clippy::disallowed_methods,
    reason = "the command spawns its own tasks"
)]
fn sources(
    config: Config,
    started: Timestamp,
    batches: &mpsc::Sender<Batch>,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Vec<Recorded> {
    let memory = config.limits.memory.unwrap_or_else(cgroup::memory_budget);
    let mut telemetry = Telemetry::new(started).within(Bounds::new(memory, false, 0));
    let mut readiness = Readiness::default();
    let mut recorded = Vec::new();
    for (at, broker) in config.brokers.into_iter().enumerate() {
        let broker = with_own_subscription(broker);
        let name: Arc<str> = broker.name.as_deref().unwrap_or("default").into();
        let (metrics, _) = telemetry.broker(&name);
        recorded.push(Recorded::new(name, broker.accept, metrics.clone()));
        let reporter = readiness.stage(format!("broker {at}"), "not subscribed yet");
        let checkpointed = Checkpointed {
            kept: watch::Sender::new(Mark::default()).subscribe(),
            offset: None,
        };
        let (batches, stop) = (batches.clone(), stop.clone());
        let id = BrokerId::new(at);
        let source = Source::new(id, broker, batches, (metrics, reporter), stop, checkpointed);
        tasks.spawn(source.run());
    }
    recorded
}

/// Whatever the daemon's delivery, a recording neither creates nor reads a queue that outlives it.
fn with_own_subscription(mut broker: BrokerConfig) -> BrokerConfig {
    if let Transport::Amqp(amqp) = &mut broker.transport {
        amqp.delivery = Delivery::Transient;
        amqp.shard = None;
    }
    broker
}

struct Recorder {
    out: BufWriter<Box<dyn Write + Send>>,
    scrubber: Option<Scrubber>,
    brokers: Vec<Recorded>,
    messages: u64,
    /// Messages of which only the length and a reason were written.
    omitted: u64,
    /// Lines that say what is missing.
    losses: u64,
}

/// A recorded broker, and the losses that have been written.
struct Recorded {
    name: Arc<str>,
    accept: Accept,
    metrics: BrokerMetrics,
    subscribed: bool,
    was_subscribed: bool,
    reconnects: u64,
    buffer_full: u64,
    shutdown: u64,
}

impl Recorder {
    async fn record(
        &mut self,
        header: &Header,
        batches: &mut mpsc::Receiver<Batch>,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        self.put(header)?;
        self.out.flush()?;
        let mut ticks = tokio::time::interval(LOSSES_INTERVAL);
        loop {
            // A slow reader of the pipe blocks the writes.
            tokio::select! {
                batch = batches.recv() => match batch {
                    Some(batch) => blocking(|| self.batch(batch))?,
                    None => break,
                },
                _ = ticks.tick() => blocking(|| self.losses(!stop.is_cancelled()))?,
            }
        }
        self.losses(false)?;
        self.line(clock::now(), 0, Content::End { end: self.messages })?;
        self.out.flush()
    }

    fn batch(&mut self, batch: Batch) -> io::Result<()> {
        self.losses(false)?;
        let broker = batch.broker.index();
        for payload in batch.payloads {
            let content = self.content(payload, broker);
            self.messages += 1;
            self.line(batch.received, broker, content)?;
        }
        self.out.flush()
    }

    fn content(&mut self, payload: Payload, broker: usize) -> Content {
        let length = payload.bytes.len();
        let omitted = |error: &dyn std::fmt::Display| Content::Omitted {
            omitted: error.to_string(),
            length,
        };
        let content = match &self.scrubber {
            _ if matches!(payload.form, Form::Refused(_)) => Content::of(payload),
            None => Content::of(payload),
            Some(scrubber) => match scrubber.scrub(&payload, self.brokers[broker].accept) {
                Ok(scrubbed) => Content::of(scrubbed),
                Err(error) => omitted(&error),
            },
        };
        self.omitted += u64::from(matches!(content, Content::Omitted { .. }));
        content
    }

    /// Writes what was lost since the last call. `while_running`: a lost connection is a loss too;
    /// at the end, each source closes its own.
    fn losses(&mut self, while_running: bool) -> io::Result<()> {
        for at in 0..self.brokers.len() {
            for lost in self.brokers[at].losses(while_running) {
                eprintln!("broker {}: lost {lost}", printable(&self.brokers[at].name));
                self.losses += 1;
                self.line(clock::now(), at, Content::Lost { lost })?;
            }
        }
        self.out.flush()
    }

    fn line(&mut self, at: Timestamp, broker: usize, content: Content) -> io::Result<()> {
        let t = at.seconds();
        self.put(&Line { t, broker, content })
    }

    fn put(&mut self, line: &impl serde::Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }

    /// Reports what was written. It is a failure if a broker was never subscribed.
    fn report(&self, args: &Args) -> ExitCode {
        let output = args.output.as_ref();
        let output = output.map_or("standard output".into(), |path| path.to_string_lossy());
        let mut text = format!(
            "messages recorded: {}, to {}",
            self.messages,
            printable(&output)
        );
        if self.omitted > 0 {
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "; of {}, only the length, because they could not be read",
                self.omitted
            );
        }
        if self.losses > 0 {
            let _ = write!(
                text,
                "; messages are missing in {} places, see the lines with `lost`",
                self.losses
            );
        }
        eprintln!("{text}");
        let mut code = ExitCode::SUCCESS;
        for broker in self.brokers.iter().filter(|broker| !broker.was_subscribed) {
            let name = printable(&broker.name);
            eprintln!("broker {name}: never connected; run `celeriac doctor` to find out why");
            code = ExitCode::FAILURE;
        }
        code
    }
}

impl Recorded {
    const fn new(name: Arc<str>, accept: Accept, metrics: BrokerMetrics) -> Self {
        Self {
            name,
            accept,
            metrics,
            subscribed: false,
            was_subscribed: false,
            reconnects: 0,
            buffer_full: 0,
            shutdown: 0,
        }
    }

    /// What was lost since the last call.
    fn losses(&mut self, while_running: bool) -> Vec<String> {
        let mut losses = Vec::new();
        let metrics = &self.metrics;
        let reconnects = metrics.reconnects.get();
        let subscribed = metrics.connected.get() > 0.0;
        self.was_subscribed |= subscribed;
        if while_running && self.subscribed && !subscribed {
            losses.push("the connection; further messages may be missing".to_owned());
        }
        if while_running || subscribed {
            self.subscribed = subscribed;
        }
        if reconnects > self.reconnects {
            losses.push("the messages published while there was no connection".to_owned());
        }
        let mut dropped = |counter: u64, known: &mut u64, why: &str| {
            if counter > *known {
                losses.push(format!("{} messages: {why}", counter - *known));
                *known = counter;
            }
        };
        let buffer_full = metrics.dropped_buffer_full.get();
        dropped(buffer_full, &mut self.buffer_full, "the buffer was full");
        let shutdown = metrics.dropped_shutdown.get();
        dropped(shutdown, &mut self.shutdown, "the recording was stopped");
        self.reconnects = reconnects;
        losses
    }
}
