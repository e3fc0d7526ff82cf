//! Random faults under load, after which all totals must be exact: `make chaos`.
//!
//! `CHAOS_SECONDS` sets the duration, 25 by default. The seed is printed first: setting `CHAOS_SEED` to it repeats
//! the same faults in the same order and at the same intervals, although timing still depends on the machine.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::support::celeriac::Celeriac;
use super::support::cluster::Cluster;
use super::support::disk::SmallDisk;
use super::support::load::{Confirmed, Load, Way};
use super::support::prometheus::Prometheus;
use super::support::proxy::{Fault, Proxy};
use super::support::rabbitmq::{Options, RabbitMq, Release};
use super::survival::{Agent, each_message_once, exact};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// The daemon is killed and restarted.
    Agent,
    /// A server is stopped or killed, and restarted.
    Broker {
        kill: bool,
    },
    Receiver {
        kill: bool,
    },
    /// A fault in the network to the broker.
    ToBroker(Fault),
    ToReceiver(Fault),
    Disk,
}

impl Trouble {
    fn any(random: &mut fastrand::Rng) -> Self {
        let kill = random.bool();
        match random.u8(..12) {
            0..=3 => Self::Agent,
            4 => Self::Broker { kill },
            5 => Self::Receiver { kill },
            6 | 7 => Self::ToBroker(fault(random)),
            8 | 9 => Self::ToReceiver(fault(random)),
            _ => Self::Disk,
        }
    }
}

fn fault(random: &mut fastrand::Rng) -> Fault {
    match random.u8(..4) {
        0 => Fault::Refuse,
        1 => Fault::Stall,
        2 => Fault::CutAfter(random.usize(1_000..100_000)),
        _ => Fault::Throttle(random.usize(20_000..500_000)),
    }
}

/// The processes that the faults affect.
struct Scene {
    agent: Agent,
    celeriac: Celeriac,
    disk: Option<SmallDisk>,
    rabbitmq: RabbitMq,
    prometheus: Prometheus,
    to_broker: Proxy,
    to_receiver: Proxy,
    load: Load,
}

/// Starts a daemon, on the small disk if there is one.
async fn daemon(agent: &Agent, disk: Option<&SmallDisk>) -> Celeriac {
    let Some(disk) = disk else {
        return agent.start().await;
    };
    let folder = agent.data.path().display().to_string();
    let config = agent
        .config()
        .replace(&folder, &disk.data().display().to_string());
    let through = disk.through();
    let through: Vec<&str> = through.iter().map(String::as_str).collect();
    Celeriac::start_through(&config, &[], &through).await
}

impl Scene {
    async fn new(seed: u64, keys: &str, release: Release) -> Self {
        let rabbitmq = RabbitMq::start_as(Options::of(release)).await;
        let prometheus = Prometheus::start_3().await;
        let to_broker = Proxy::start((Ipv4Addr::LOCALHOST, rabbitmq.port).into()).await;
        let receiver = url::Url::parse(&prometheus.write_url()).expect("a URL");
        let port = receiver.port().expect("a port");
        let to_receiver = Proxy::start((Ipv4Addr::LOCALHOST, port).into()).await;
        let agent = Agent::new(&to_broker.in_front_of(&rabbitmq.url("")), keys);
        let agent = agent.pushing_to(to_receiver.in_front_of(receiver.as_str()));
        let disk = SmallDisk::new(64).await;
        if disk.is_none() {
            println!("this machine allows no name spaces: no disk is filled");
        }
        let celeriac = daemon(&agent, disk.as_ref()).await;
        celeriac.ready().await;
        let way = Way::RabbitMq(Confirmed::new(&rabbitmq.url("")));
        Self {
            agent,
            celeriac,
            disk,
            load: Load::start(Cluster::new(8, seed), way, 4_000.0),
            rabbitmq,
            prometheus,
            to_broker,
            to_receiver,
        }
    }

    async fn has(&mut self, trouble: Trouble, lasts: Duration) {
        match trouble {
            Trouble::Agent => {
                self.celeriac.process.kill();
                tokio::time::sleep(lasts / 2).await;
                self.celeriac = daemon(&self.agent, self.disk.as_ref()).await;
            }
            Trouble::Broker { kill } => {
                // A publisher without a confirmation cannot know what the broker has received, so wait for that
                // first.
                self.load.hold().await;
                if kill {
                    self.rabbitmq.stop();
                } else {
                    self.rabbitmq.terminate();
                }
                self.rabbitmq.start_again().await;
                self.load.go_on();
            }
            Trouble::Receiver { kill } => {
                if kill {
                    self.prometheus.kill();
                } else {
                    self.prometheus.stop();
                }
                tokio::time::sleep(lasts).await;
                self.prometheus.start_again().await;
            }
            Trouble::ToBroker(fault) => during(&self.to_broker, fault, lasts).await,
            Trouble::ToReceiver(fault) => during(&self.to_receiver, fault, lasts).await,
            Trouble::Disk => {
                if let Some(disk) = &self.disk {
                    disk.fill();
                    tokio::time::sleep(lasts).await;
                    disk.free();
                }
            }
        }
    }
}

async fn during(proxy: &Proxy, fault: Fault, lasts: Duration) {
    proxy.set(fault);
    tokio::time::sleep(lasts).await;
    proxy.set(Fault::None);
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a whole number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_queue_is_counted_exactly_whatever_happens() {
    happens("delivery: durable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_counted_exactly_whatever_happens() {
    happens("delivery: stream").await;
}

async fn happens(keys: &str) {
    let seed = number("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let seconds = number("CHAOS_SECONDS").unwrap_or(25);
    println!("CHAOS_SEED={seed} for {seconds} s, {keys}");
    let mut random = fastrand::Rng::with_seed(seed);
    let release = random.choice(Release::BOTH).expect("one of two");
    println!("{release:?}");
    let mut scene = Scene::new(seed, keys, release).await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        let pause = Duration::from_millis(random.u64(500..3_000));
        let trouble = Trouble::any(&mut random);
        let lasts = Duration::from_millis(random.u64(500..4_000));
        tokio::time::sleep(pause).await;
        println!(
            "{:7.3} s: {trouble:?} {lasts:?}",
            start.elapsed().as_secs_f64()
        );
        scene.has(trouble, lasts).await;
    }
    scene.celeriac.ready().await;
    let (told, _) = scene.load.end().await;
    println!("{} events", told.total());
    exact(&scene.prometheus, &told, 120).await;
    each_message_once(&scene.celeriac.page().await, &told);
}
