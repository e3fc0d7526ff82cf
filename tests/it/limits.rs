//! Every limit on external input: when it is reached, its counter increases and the log has a line.

mod constants;

use std::collections::BTreeSet;
use std::path::Path;

use celeriac::bounds::{Bounds, Limit};
use celeriac::config::Config;
use celeriac::event::{Accept, Batch, BrokerId, ContentType, Form, Payload, Position};
use celeriac::pipeline::{BrokerRetention, ClusterConfig, Pipeline, ViewConfig};
use celeriac::profile::ProfileName;
use celeriac::state::{Answers, Binding, ExchangeKind, Report};
use celeriac::telemetry::metrics::Telemetry;
use celeriac::timestamp::Timestamp;

use super::support::celeriac::{Celeriac, Page};
use super::support::events::{life, uuid};
use super::support::redis::Redis;

const NOW: Timestamp = Timestamp::from_millis(1_795_344_000_000);

/// How to reach a limit: keys of `metrics`, events and their number, and the last one within the limit.
struct Case {
    limit: Limit,
    metrics: &'static str,
    event: fn(u64) -> String,
    count: u64,
}

const fn case(limit: Limit, metrics: &'static str, event: fn(u64) -> String, count: u64) -> Case {
    Case {
        limit,
        metrics,
        event,
        count,
    }
}

fn named(n: u64, name: &str) -> String {
    life(n, name, NOW.seconds())[1].clone()
}

fn received(n: u64) -> String {
    named(n, "t")
}

fn of_a_name_each(n: u64) -> String {
    named(n, &format!("name_{n}"))
}

fn of_a_long_name(n: u64) -> String {
    named(
        n,
        &format!("{}{n}", "x".repeat(if n == 0 { 199 } else { 200 })),
    )
}

fn of_a_long_id(n: u64) -> String {
    let id = "x".repeat(if n == 0 { 121 } else { 122 });
    received(n).replace(&uuid(n), &id)
}

fn of_long_names(n: u64) -> String {
    named(n, &format!("{n:0190}"))
}

fn of_a_root_each(n: u64) -> String {
    let root = |n| format!("\"root_id\": \"{}\"", uuid(n));
    received(n).replace(&root(n), &root(1_000_000 + n))
}

fn succeeded(n: u64) -> String {
    life(n, "t", NOW.seconds())[3].clone()
}

fn sent_to_a_queue_each(n: u64) -> String {
    life(n, "t", NOW.seconds())[0].replace("\"celery\"", &format!("\"q{n}\""))
}

fn failed_in_a_way_each(n: u64) -> String {
    let common = format!("\"uuid\": \"{}\", \"hostname\": \"w@h\"", uuid(n));
    format!("{{\"type\": \"task-failed\", {common}, \"exception\": \"Error{n}()\"}}")
}

fn heartbeat(n: u64) -> String {
    format!("{{\"type\": \"worker-heartbeat\", \"hostname\": \"w@h{n}\", \"freq\": 2.0}}")
}

const FAMILIES: &str =
    "{relabel_configs: [{source_labels: [name], regex: '(.+)', target_label: __name__}]}";

/// The limits that events can reach. The counts are the limit and one more.
const CASES: [Case; 16] = [
    case(Limit::TextBytes, "{}", of_a_long_name, 2),
    case(Limit::Series, "{max_series: 100}", of_a_name_each, 8),
    case(
        Limit::Exceptions,
        "{max_exceptions: 1}",
        failed_in_a_way_each,
        2,
    ),
    case(Limit::Queues, "{max_queues: 1}", sent_to_a_queue_each, 2),
    case(Limit::Tasks, "{max_tasks: 3}", received, 4),
    case(Limit::Workflows, "{}", of_a_root_each, 20_001),
    case(Limit::EndedTasks, "{}", succeeded, 32_769),
    case(Limit::Workers, "{}", heartbeat, 100_001),
    case(Limit::HeldEvents, "{}", received, 65_537),
    case(Limit::WatchedQueues, "{}", sent_to_a_queue_each, 10_001),
    case(Limit::ExemplarBytes, "{}", of_a_long_id, 2),
    case(Limit::RelabelledFamilies, FAMILIES, of_a_name_each, 1_001),
    case(Limit::TextMemory, "{}", of_long_names, 100_000),
    case(Limit::TaskMemory, "{}", received, 200_000),
    case(Limit::WorkerMemory, "{}", heartbeat, 50_000),
    case(Limit::SeriesMemory, "{}", of_a_name_each, 10_000),
];

fn is_of_memory(limit: Limit) -> bool {
    limit.name().ends_with("_memory")
}

fn pipeline(case: &Case) -> Pipeline {
    let file = format!(
        "brokers: [{{url: 'redis://h'}}]\nhttp: {{listen: ':0'}}\nmetrics: {}",
        case.metrics
    );
    let config = Config::parse(&file, Path::new("x.yaml"), []).expect("a good configuration");
    let memory = if is_of_memory(case.limit) {
        64 << 20
    } else {
        u64::MAX
    };
    let mut telemetry = Telemetry::new(NOW).within(Bounds::new(memory, false, 0));
    let (_, metrics) = telemetry.broker(&"main".into());
    let cluster = ClusterConfig {
        broker: "main".into(),
        label: None,
        drops_expired: false,
        asks_workers: case.limit == Limit::HeldEvents,
        holds: BrokerRetention::Nothing,
        shard: None,
        accept: Accept::default(),
        metrics,
    };
    let views = [ViewConfig::classic(ProfileName::Native)];
    Pipeline::new(&config.metrics, vec![cluster], &views, telemetry, NOW)
}

fn take(pipeline: &mut Pipeline, events: impl Iterator<Item = String>) {
    let payloads = events.map(|event| Payload {
        bytes: event.into_bytes(),
        form: Form::Body {
            content_type: ContentType::Json,
            compression: None,
        },
    });
    pipeline.apply_batch(&Batch {
        broker: BrokerId::new(0),
        received: NOW,
        payloads: payloads.collect(),
        position: Position::Transient,
    });
}

fn counted(pipeline: &mut Pipeline, limit: Limit, seconds: i64) -> f64 {
    let at = Timestamp::from_millis(NOW.millis() + seconds * 1_000);
    let snapshot = pipeline.snapshots(at, false).remove(0);
    let labels = [("limit", limit.name())];
    snapshot
        .number_of("celeriac_limit_reached_total", &labels)
        .expect("a counter from the start")
}

#[test]
fn a_limit_that_events_reach_is_counted() {
    for case in CASES {
        let (limit, mut pipeline) = (case.limit, pipeline(&case));
        let within = match is_of_memory(limit) {
            true => case.count / 100,
            false => case.count - 1,
        };
        take(&mut pipeline, (0..within).map(case.event));
        assert_eq!(pipeline.bounds().times(limit), 0, "{limit:?} within it");
        take(&mut pipeline, (within..case.count).map(case.event));
        assert!(counted(&mut pipeline, limit, 1) > 0.0, "{limit:?}");
    }
}

#[test]
fn bindings_beyond_the_limit_are_counted() {
    let limit = Limit::Bindings;
    let mut pipeline = pipeline(&case(limit, "{}", received, 0));
    for (bindings, expected) in [(10_000, 0.0), (10_001, 1.0)] {
        let bindings = (0..bindings).map(|n| Binding {
            exchange: "tasks".to_owned(),
            kind: ExchangeKind::Direct,
            routing_key: n.to_string(),
            queue: "q".to_owned(),
        });
        pipeline.report(&Report {
            broker: BrokerId::new(0),
            answers: Answers::Bindings(bindings.collect()),
            asked: NOW,
            received: NOW,
        });
        let later = if expected > 0.0 { 2 } else { 1 };
        assert_eq!(counted(&mut pipeline, limit, later), expected);
    }
}

/// One loop logs all limits, so a few of them represent the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_reached_again_and_again_has_one_line_in_the_log() {
    let redis = Redis::start().await;
    let celeriac = Celeriac::start(&format!(
        "brokers: [{{url: {:?}}}]\nmetrics: {{max_series: 100, max_tasks: 1000}}\n",
        redis.url(0)
    ))
    .await;
    celeriac.subscribed("default").await;
    let mut published = 0.0;
    for round in 0..3 {
        for n in 0..20 {
            let task = round * 20 + n;
            let name = format!("{}{task}", "x".repeat(200));
            redis.publish_lives(task..task + 1, &name).await;
            published += 4.0;
        }
        celeriac
            .page_when("the events", 20, |page| page.events() == published)
            .await;
    }
    let page = celeriac.page().await;
    let log = celeriac.process.output();
    for limit in ["text_bytes", "max_series"] {
        let field = format!("limit=\"{limit}\"");
        let lines = log.lines().filter(|line| line.contains(&field));
        assert_eq!(lines.count(), 1, "{limit}: {log}");
        let times = page.sum("celeriac_limit_reached_total", &[&field]);
        assert!(times > 2.0, "{limit}: {times}");
    }
    assert!(!log.contains("limit=\"max_tasks\""), "{log}");
}

#[test]
fn every_limit_is_documented() {
    let page = include_str!("../../docs/security.md");
    let missing = Limit::ALL.map(Limit::name).into_iter();
    let missing: Vec<_> = missing
        .filter(|name| !page.contains(&format!("| `{name}` |")))
        .collect();
    assert!(missing.is_empty(), "not in docs/security.md: {missing:?}");
    let names: BTreeSet<_> = Limit::ALL.map(Limit::name).into();
    assert_eq!(names.len(), Limit::ALL.len());
    // The table above has those that events can reach. The others have their own tests, in this file and elsewhere.
    let own = [
        Limit::Bindings,
        Limit::BufferMemory,
        Limit::PeriodicTasks,
        Limit::PolledQueues,
        Limit::Replies,
        Limit::ReplyItems,
    ];
    let tested = CASES.iter().map(|case| case.limit).chain(own);
    let tested: BTreeSet<_> = tested.map(Limit::name).collect();
    assert_eq!(tested, names);
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_on_redis_beyond_the_limit_are_counted() {
    let redis = Redis::start().await;
    let mut connection = redis.connection().await;
    // One set of bindings per exchange. The set of Celery's default exchange is always read.
    for (exchanges, expected) in [(0..999, 0.0), (999..1_200, 1.0)] {
        let mut pipe = redis::pipe();
        for n in exchanges {
            let member = format!("q{n}\u{6}\u{16}\u{6}\u{16}q{n}");
            pipe.sadd(format!("_kombu.binding.e{n}"), member).ignore();
        }
        let bound: Result<(), _> = pipe.query_async(&mut connection).await;
        bound.expect("bindings");
        // A search starts over after twenty rounds, or at startup.
        let celeriac = Celeriac::start(&format!(
            "brokers: [{{url: {:?}, queue_interval: 1s}}]\n",
            redis.url(0)
        ))
        .await;
        let reached =
            |page: &Page| page.sum("celeriac_limit_reached_total", &["limit=\"bindings\""]);
        let polled = |page: &Page| page.sum("celeriac_polls_total", &["kind=\"queues\""]) > 2.0;
        let page = celeriac.page_when("three rounds", 20, polled).await;
        assert_eq!(reached(&page), expected);
    }
}
