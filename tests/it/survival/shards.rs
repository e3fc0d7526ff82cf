//! Four daemons that share one cluster's events, compared with one that receives all of them.

use std::collections::BTreeMap;

use super::{Agent, counted, is_long};
use crate::support::celeriac::Celeriac;
use crate::support::cluster::Cluster;
use crate::support::load::{Confirmed, Way, burst};
use crate::support::rabbitmq::{Options, RabbitMq, Release};
use crate::support::wait_for;

const COUNT: usize = 4;

/// Adds up the counters and buckets of several pages. Sums of seconds are rounded to microseconds, because they
/// depend on the order of addition.
async fn added_up(agents: &[Celeriac]) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for celeriac in agents {
        for (line, value) in counted(&celeriac.page().await) {
            let family = line.split('{').next().unwrap_or_default();
            let adds_up = ["_total", "_count", "_sum", "_bucket"];
            if adds_up.iter().any(|end| family.ends_with(end)) {
                *sums.entry(line).or_insert(0.0) += value;
            }
        }
    }
    // Counters at 0 are ignored: a shard whose workers never ran a task does not have them.
    let told = sums.into_iter().filter(|(_, value)| *value != 0.0);
    told.map(|(line, value)| (line, (value * 1e6).round()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sums_over_four_shards_are_those_of_one_daemon_with_all_events() {
    for release in Release::BOTH {
        let rabbitmq = RabbitMq::start_as(Options::of(release)).await;
        let url = rabbitmq.url("");
        let mut agents: Vec<_> = (0..COUNT)
            .map(|index| {
                let shard = format!("shard: {{index: {index}, count: {COUNT}}}");
                Agent::new(&url, &format!("delivery: durable, {shard}"))
            })
            .collect();
        agents.push(Agent::new(&url, "delivery: durable, queue: celeriac.whole"));
        let mut daemons = Vec::new();
        for agent in &agents {
            let celeriac = agent.start().await;
            celeriac.ready().await;
            daemons.push(celeriac);
        }
        let mut cluster = Cluster::new(50, fastrand::u64(..));
        let mut way = Way::RabbitMq(Confirmed::new(&url));
        let events = if is_long() { 500_000 } else { 40_000 };
        burst(&mut cluster, &mut way, events / 2).await;
        daemons[1].process.kill();
        burst(&mut cluster, &mut way, events / 2).await;
        daemons[1] = agents[1].start().await;
        let told = &cluster.told;
        let whole = &daemons[COUNT..];
        whole[0]
            .page_when("all events", 60, |page| {
                page.events() == told.total() as f64
            })
            .await;
        let expected = added_up(whole).await;
        wait_for("the sums to be equal", 60, async || {
            let sums = added_up(&daemons[..COUNT]).await;
            let lines = sums.keys().chain(expected.keys());
            let differ = |line: &&String| {
                let (of_shards, of_one) = (sums.get(*line), expected.get(*line));
                let apart = of_shards.unwrap_or(&0.0) - of_one.unwrap_or(&0.0);
                // Seconds were rounded up to five times.
                apart.abs() > if line.contains("_sum{") { 5.0 } else { 0.0 }
            };
            let differences: Vec<_> = lines
                .filter(differ)
                .map(|line| format!("{line}: {:?}, not {:?}", sums.get(line), expected.get(line)))
                .collect();
            if differences.is_empty() {
                Ok(())
            } else {
                Err(format!("{release:?}: {}", differences.join("\n")))
            }
        })
        .await;
        for (index, celeriac) in daemons[..COUNT].iter().enumerate() {
            let page = celeriac.page().await;
            let started = page.sum("celery_task_started_total", &[]);
            println!(
                "shard {index} counted {started} of {}",
                told.of("task-started")
            );
            assert!(started > 0.0);
        }
    }
}
