//! The events of tasks with a known outcome and runtime, and a daemon that has received a workload of them.

use std::collections::{BTreeMap, BTreeSet};

use super::celeriac::Celeriac;
use super::events::{envelope, uuid};
use super::exposition::Exposition;
use super::redis::Redis;

/// How a task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Succeeded,
    /// With an exception of this class.
    Failed(&'static str),
    /// With a retry after an exception of this class; the retry succeeds at once.
    Retried(&'static str),
}

impl End {
    /// Returns the label `outcome` of the runtime of its first attempt.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed(_) => "failed",
            Self::Retried(_) => "retried",
        }
    }
}

/// One task.
#[derive(Clone, Debug)]
pub struct Task {
    pub n: u64,
    pub name: String,
    pub queue: String,
    /// Runtime of its first attempt, in seconds.
    pub runtime: f64,
    pub end: End,
}

/// Runtime of the attempt after a retry.
pub const SECOND_RUNTIME: f64 = 0.003;

impl Task {
    /// Returns its events, starting at this time.
    pub fn events(&self, timestamp: f64) -> Vec<String> {
        let event = |kind: &str, at: f64, more: String| {
            format!(
                r#"{{"type": "{kind}", "uuid": "{}", "hostname": "w{}@host", "utcoffset": 0, "pid": 4242, "clock": 1, "timestamp": {at}{more}}}"#,
                uuid(self.n),
                self.n % 3
            )
        };
        let Self { name, queue, .. } = self;
        let about = format!(
            r#", "name": "{name}", "args": "[]", "kwargs": "{{}}", "retries": 0, "eta": null, "expires": null"#
        );
        let sent =
            format!(r#"{about}, "queue": "{queue}", "exchange": "", "routing_key": "{queue}""#);
        let raised =
            |class: &str| format!(r#", "exception": "{class}('x')", "traceback": "Traceback""#);
        let ran = |runtime: f64| format!(r#", "result": "3", "runtime": {runtime}"#);
        let (received, started) = (timestamp + 0.25, timestamp + 0.75);
        let ended = started + self.runtime;
        let mut events = vec![
            event("task-sent", timestamp, sent),
            event("task-received", received, about.clone()),
            event("task-started", started, String::new()),
        ];
        match self.end {
            End::Succeeded => events.push(event("task-succeeded", ended, ran(self.runtime))),
            End::Failed(class) => events.push(event("task-failed", ended, raised(class))),
            End::Retried(class) => events.extend([
                event("task-retried", ended, raised(class)),
                event("task-received", ended + 0.5, about),
                event("task-started", ended + 0.75, String::new()),
                event("task-succeeded", ended + 1.0, ran(SECOND_RUNTIME)),
            ]),
        }
        events
    }
}

/// Publishes the events of tasks, one per message, and returns their number.
pub async fn publish(redis: &Redis, tasks: &[Task], timestamp: f64) -> usize {
    let events = tasks.iter().flat_map(|task| task.events(timestamp));
    let messages: Vec<String> = events.map(|body| envelope(&body)).collect();
    redis.publish(messages.iter().map(String::as_bytes)).await;
    messages.len()
}

/// When the first task was sent.
const BEGIN: f64 = 1_795_344_000.0;

/// In several classic and native buckets, and not on a bound of either.
const RUNTIMES: [f64; 7] = [0.0037, 0.0123, 0.06, 0.3, 0.31, 1.7, 47.0];

/// A task name whose counters are 5 when they are first sent.
pub const FIRST: &str = "first.task";

/// 84 tasks of three names in two queues, of which some fail and some are retried, and five of another name.
pub fn workload() -> Vec<Task> {
    let ends = [
        End::Succeeded,
        End::Succeeded,
        End::Failed("ValueError"),
        End::Succeeded,
        End::Retried("TimeoutError"),
        End::Failed("KeyError"),
    ];
    let mixed = (0..84).map(|n| {
        let at = usize::try_from(n).expect("few");
        Task {
            n,
            name: format!("task.{}", n % 3),
            queue: ["fast", "slow"][at / 3 % 2].to_owned(),
            runtime: RUNTIMES[at % RUNTIMES.len()],
            end: ends[at / 5 % ends.len()],
        }
    });
    let first = (84..89).map(|n| Task {
        n,
        name: FIRST.to_owned(),
        queue: "fast".to_owned(),
        runtime: 0.3,
        end: End::Succeeded,
    });
    mixed.chain(first).collect()
}

/// Returns the sorted runtimes of attempts by name, queue and outcome.
pub fn runtimes(tasks: &[Task]) -> BTreeMap<[String; 3], Vec<f64>> {
    let mut runtimes = BTreeMap::<_, Vec<f64>>::new();
    for task in tasks {
        let mut ran = |outcome: &str, runtime: f64| {
            let key = [task.name.clone(), task.queue.clone(), outcome.to_owned()];
            runtimes.entry(key).or_default().push(runtime);
        };
        ran(task.end.outcome(), task.runtime);
        if matches!(task.end, End::Retried(_)) {
            ran("succeeded", SECOND_RUNTIME);
        }
    }
    for runtimes in runtimes.values_mut() {
        runtimes.sort_by(f64::total_cmp);
    }
    runtimes
}

/// Returns a broker's configuration without polling, so that the page stays the same once everything is counted.
pub fn broker(redis: &Redis) -> String {
    format!(
        "brokers: [{{url: {:?}, queue_interval: 0s, control_interval: 0s}}]\n",
        redis.url(0)
    )
}

/// A daemon that has sent the workload to some receivers.
pub struct Told {
    pub celeriac: Celeriac,
    pub redis: Redis,
    pub tasks: Vec<Task>,
}

impl Told {
    /// Starts it with the given receivers: their URLs and keys. Each is named `r` plus its index.
    pub async fn start(receivers: &[(String, &str)]) -> Self {
        let redis = Redis::start().await;
        let sinks = receivers
            .iter()
            .enumerate()
            .map(|(n, (url, keys))| format!("- {{name: r{n}, url: {url:?}, {keys}}}\n"));
        let sinks = sinks.collect::<String>();
        let config = format!("{}remote_write:\n{sinks}", broker(&redis));
        let celeriac = Celeriac::start(&config).await;
        celeriac.ready().await;
        let tasks = workload();
        let events = publish(&redis, &tasks, BEGIN).await as f64;
        celeriac
            .page_when("all events", 30, |page| page.events() == events)
            .await;
        Self {
            celeriac,
            redis,
            tasks,
        }
    }

    pub async fn exposition(&self) -> Exposition {
        Exposition::parse(&self.celeriac.get("/metrics").await.1)
    }

    /// Publishes the same number of tasks of the first name again.
    pub async fn again(&mut self) {
        let more = (89..94).map(|n| Task {
            n,
            ..self.tasks[84].clone()
        });
        let more: Vec<Task> = more.collect();
        publish(&self.redis, &more, BEGIN + 600.0).await;
        self.tasks.extend(more);
    }

    /// Returns the remote-write version in use with the n-th receiver.
    pub async fn version(&self, n: usize) -> f64 {
        let remote = format!("remote_name=\"r{n}\"");
        let page = self.celeriac.page().await;
        page.sum("celeriac_remote_storage_protocol_version", &[&remote])
    }

    pub fn ids(&self) -> BTreeSet<String> {
        self.tasks.iter().map(|task| uuid(task.n)).collect()
    }
}
