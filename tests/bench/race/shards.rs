//! One daemon and four shards empty the durable queues of the same cluster, in turns: events per second and CPU time.
//!
//! The events wait in the queues before the daemons start, so publishing does not take part. RabbitMQ and all daemons
//! share the machine's cores.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tempfile::TempDir;

use crate::report::{Row, Section};
use crate::support::celeriac::Celeriac;
use crate::support::cluster::Cluster;
use crate::support::load::{Confirmed, Way, burst};
use crate::support::rabbitmq::{Options, RabbitMq, Release};
use crate::usage::Cpu;

const ROUNDS: usize = 5;
const COUNTS: [usize; 2] = [1, 4];

/// Most workers send events in lists, as under load.
const EVENTS: u64 = 200_000;
const WORKERS: usize = 64;

/// Pages are this old on average: half of an interval.
const AGE: f64 = 0.5;

/// Some daemons that share the events, with their own virtual host.
struct Team {
    configs: Vec<String>,
    cluster: Cluster,
    way: Way,
    /// Events per second, and microseconds of CPU time per event.
    rates: Vec<f64>,
    costs: Vec<f64>,
    _folders: Vec<TempDir>,
}

pub async fn run() -> Section {
    let rabbitmq = RabbitMq::start_as(Options::of(Release::Debian)).await;
    let mut teams = Vec::new();
    for count in COUNTS {
        let vhost = format!("of-{count}");
        rabbitmq.ctl(&["add_vhost", &vhost]);
        rabbitmq.ctl(&["set_permissions", "-p", &vhost, "guest", ".*", ".*", ".*"]);
        teams.push(Team::new(&rabbitmq.url(&vhost), count).await);
    }
    for _ in 0..ROUNDS {
        for team in &mut teams {
            team.drain().await;
        }
    }
    let row = |measure: &str, unit: &str, values: fn(&Team) -> &Vec<f64>| {
        let rows = teams.iter().map(|team| {
            let name = match team.configs.len() {
                1 => "one daemon".to_owned(),
                count => format!("{count} shards"),
            };
            Row::new(measure, &name, unit, values(team).clone())
        });
        rows.collect::<Vec<_>>()
    };
    let rates = row("throughput from a backlog, RabbitMQ", "events/s", |team| {
        &team.rates
    });
    let costs = row("CPU per event from a backlog, all daemons", "µs", |team| {
        &team.costs
    });
    Section::new([rates, costs].concat())
}

impl Team {
    /// Starts the daemons once, so that they declare their queues.
    async fn new(url: &str, count: usize) -> Self {
        let folder = || TempDir::new().expect("a folder");
        let folders: Vec<_> = std::iter::repeat_with(folder).take(count).collect();
        let config = |(index, folder): (usize, &TempDir)| {
            let shard = format!(", shard: {{index: {index}, count: {count}}}");
            let shard = if count > 1 { shard } else { String::new() };
            format!(
                "data_dir: {:?}\nbrokers: [{{url: {url:?}, delivery: durable{shard}}}]\n",
                folder.path()
            )
        };
        let team = Self {
            configs: folders.iter().enumerate().map(config).collect(),
            cluster: Cluster::new(WORKERS, 1),
            way: Way::RabbitMq(Confirmed::new(url)),
            rates: Vec::new(),
            costs: Vec::new(),
            _folders: folders,
        };
        for celeriac in &mut team.start().await {
            celeriac.subscribed("default").await;
            celeriac.terminate();
        }
        team
    }

    async fn start(&self) -> Vec<Celeriac> {
        let configs = self.configs.iter();
        join_all(configs.map(|config| Celeriac::start(config))).await
    }

    /// Publishes events, and starts the daemons until they have counted all.
    async fn drain(&mut self) {
        let before = self.cluster.told.total();
        burst(&mut self.cluster, &mut self.way, EVENTS).await;
        let total = self.cluster.told.total();
        let begin = Instant::now();
        let mut celeriacs = self.start().await;
        loop {
            let mut counted = 0.0;
            for celeriac in &celeriacs {
                counted += celeriac.page().await.events();
            }
            if counted >= total as f64 {
                break;
            }
            let late = begin.elapsed() > Duration::from_secs(120);
            assert!(!late, "{counted} of {total}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seconds = begin.elapsed().as_secs_f64() - AGE;
        let pids = celeriacs.iter().map(|celeriac| celeriac.process.pid());
        let cpu: f64 = pids.map(Cpu::since_start).sum();
        let events = (total - before) as f64;
        self.rates.push(events / seconds);
        self.costs.push(1e6 * cpu / events);
        for celeriac in &mut celeriacs {
            celeriac.terminate();
        }
    }
}
