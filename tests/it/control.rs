//! Remote control, with real workers and with many simulated ones.

mod many;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use celeriac::state::{PollTargets, WorkerAnswer};
use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties, ExchangeKind};
use rustix::process::Signal;

use super::support::amqp::Publisher;
use super::support::celeriac::Celeriac;
use super::support::celery::Celery;
use super::support::events::life;
use super::support::free_port;
use super::support::polling::{Polling, names};
use super::support::process::{Process, resident};
use super::support::rabbitmq::RabbitMq;
use super::support::redis::{Redis, connect};
use super::support::wait_for;

const SEND: &str = r#"[[5, 60, {"queue": "celery"}], [1, 60, {"queue": "high"}], [1, 60, {"queue": "topicq", "routing_key": "t.x"}]]"#;

/// Asserts which of the eight tasks above a worker with three slots has, on any broker.
fn assert_busy(worker: &WorkerAnswer) {
    assert_eq!(worker.pool_size, Some(3), "{worker:#?}");
    assert_eq!(worker.processes, Some(3));
    assert!(worker.pid.is_some() && worker.prefetch_count.is_some());
    let queues = worker.queues.as_ref().expect("queues");
    for queue in ["celery", "high", "topicq"] {
        assert!(queues.iter().any(|own| own == queue), "{queues:?}");
    }
    let active = worker.active.as_ref().expect("tasks");
    assert_eq!(active.len(), 3);
    let reserved = worker.reserved.as_ref().expect("tasks");
    let mut of_queues: Vec<_> = active
        .iter()
        .chain(reserved)
        .map(|task| {
            assert_eq!(task.name.as_deref(), Some("polled.sleep"));
            assert_eq!(task.uuid.len(), 36);
            task.queue.clone().expect("a queue")
        })
        .collect();
    of_queues.sort();
    let mut expected = vec!["celery"; 5];
    expected.extend(["high", "topicq"]);
    assert_eq!(of_queues, expected);
    assert!(active.iter().all(|task| task.started.is_some()));
    assert!(reserved.iter().all(|task| task.started.is_none()));
}

/// Starts a worker that runs some of the tasks, and polls it.
async fn ask_a_busy_worker(version: &str, url: &str, queues: &[&str]) {
    let celery = Celery::new(version, url, "").with("SEND", SEND);
    let arguments = ["-c", "3", "--prefetch-multiplier", "10"];
    let mut worker = celery.worker_of("polled", "w1", &arguments).await;
    celery.script("send.py", 30).await;
    let keys = format!("url: {url:?}, control_interval: 1s, queue_interval: 1s");
    let mut polling = Polling::start(&keys);
    let everything = |workers: &[WorkerAnswer]| {
        workers.len() == 1
            && workers[0]
                .active
                .as_ref()
                .is_some_and(|tasks| tasks.len() == 3)
            && workers[0]
                .reserved
                .as_ref()
                .is_some_and(|tasks| tasks.len() == 4)
    };
    let workers = polling.workers("a busy worker", 30, everything).await;
    assert_busy(&workers[0]);
    // The queues that it consumes are watched from then on.
    let levels = polling
        .queues("its queues", 10, |levels| {
            queues
                .iter()
                .all(|queue| levels.iter().any(|level| level.queue == *queue))
        })
        .await;
    let found: BTreeSet<_> = levels.iter().map(|level| level.queue.as_str()).collect();
    assert_eq!(found, queues.iter().copied().collect());
    assert_eq!(polling.metrics.control.failures.get(), 0);
    polling.stop().await;
    end(&mut worker);
}

/// Shuts a worker down cold, so that its tasks return to their queues.
fn end(worker: &mut Process) {
    worker.signal(Signal::QUIT);
    worker.ended(30);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_on_rabbitmq_answer_and_nothing_is_left() {
    let rabbitmq = RabbitMq::start().await;
    for (version, vhost) in [("5.6", "a"), ("5.7", "b")] {
        rabbitmq.ctl(&["add_vhost", vhost]);
        rabbitmq.ctl(&["set_permissions", "-p", vhost, "guest", ".*", ".*", ".*"]);
        let url = rabbitmq.url(vhost);
        ask_a_busy_worker(version, &url, &["celery", "high", "quorumq", "topicq"]).await;
        // Nothing of ours remains, and of the worker only its durable queues.
        wait_for("nothing to be left", 20, async || {
            let list = rabbitmq.ctl(&["list_queues", "-q", "-p", vhost, "name"]);
            let queues: Vec<_> = list.lines().map(str::trim).collect();
            let ours = queues.iter().any(|queue| queue.starts_with("celeriac"));
            let connections = rabbitmq.ctl(&["list_connections", "-q", "vhost"]);
            if !ours && !connections.lines().any(|line| line.trim() == vhost) {
                Ok(())
            } else {
                Err(format!("{queues:?} {connections}"))
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_on_redis_answer_and_nothing_is_left() {
    let redis = Redis::start().await;
    for (version, database) in [("5.6", 1), ("5.7", 2)] {
        let url = redis.url(database);
        ask_a_busy_worker(version, &url, &["celery", "high", "topicq"]).await;
        let mut connection = connect(&redis::Client::open(url).expect("a URL")).await;
        let keys: Vec<String> = redis::cmd("KEYS")
            .arg("*reply*")
            .query_async(&mut connection)
            .await
            .expect("redis answers");
        assert_eq!(keys, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_reply_in_msgpack_are_understood() {
    let (rabbitmq, redis) = (RabbitMq::start().await, Redis::start().await);
    for url in [rabbitmq.url(""), redis.url(0)] {
        let send = r#"[[6, 60, {"queue": "celery"}]]"#;
        let celery = Celery::new("5.7", &url, "").with("SEND", send);
        let celery = celery.with("TASK_SERIALIZER", "msgpack");
        let arguments = ["-c", "2", "--prefetch-multiplier", "2"];
        let mut worker = celery.worker_of("polled", "w1", &arguments).await;
        celery.script("send.py", 30).await;
        let keys = format!(
            "url: {url:?}, accept_content: [json, msgpack], control_interval: 1s, queue_interval: 0"
        );
        let mut polling = Polling::start(&keys);
        let length = |tasks: Option<&Vec<_>>| tasks.map_or(0, Vec::len);
        let everything = |workers: &[WorkerAnswer]| {
            workers.len() == 1
                && length(workers[0].active.as_ref()) == 2
                && length(workers[0].reserved.as_ref()) > 0
        };
        let workers = polling.workers("a busy worker", 30, everything).await;
        let worker_answer = &workers[0];
        assert!(worker_answer.worker.starts_with("w1@"));
        assert!(worker_answer.pid.is_some());
        assert_eq!(worker_answer.pool_size, Some(2));
        assert_eq!(worker_answer.processes, Some(2));
        assert_eq!(worker_answer.prefetch_count, Some(4));
        let queues: BTreeSet<_> = worker_answer.queues.iter().flatten().collect();
        assert!(queues.contains(&"celery".to_owned()), "{queues:?}");
        for task in worker_answer.active.iter().flatten() {
            assert_eq!(task.name.as_deref(), Some("polled.sleep"));
            assert_eq!(task.queue.as_deref(), Some("celery"));
            assert!(task.started.is_some());
        }
        polling.stop().await;
        end(&mut worker);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_worker_asking_costs_nothing_and_is_no_failure() {
    let (rabbitmq, redis) = (RabbitMq::start().await, Redis::start().await);
    for url in [rabbitmq.url(""), redis.url(0)] {
        let keys = format!("url: {url:?}, control_interval: 1s");
        let mut polling = Polling::start(&keys);
        let workers = polling.workers("a round", 20, |_| true).await;
        assert_eq!(workers, []);
        let workers = polling.workers("another round", 20, |_| true).await;
        assert_eq!(workers, []);
        assert_eq!(polling.metrics.control.failures.get(), 0);
        assert!(polling.metrics.control.duration.get() < 0.5);
        polling.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_without_events_are_told_to_send_them() {
    let (rabbitmq, redis) = (RabbitMq::start().await, Redis::start().await);
    for (version, url) in [("5.6", redis.url(0)), ("5.7", rabbitmq.url(""))] {
        let send = r#"[[3, 0, {"queue": "celery"}]]"#;
        let celery = Celery::new(version, &url, "").with("SEND", send);
        let arguments = ["-c", "1", "-P", "threads"];
        let _silent = celery.worker_of("polled", "silent", &arguments).await;
        let celeriac = Celeriac::start(&format!("brokers: [{{url: {url:?}}}]\n")).await;
        celeriac.ready().await;
        let page = celeriac
            .page_when("its heartbeats", 20, |page| page.events() >= 1.0)
            .await;
        let up = page
            .0
            .keys()
            .find(|line| line.starts_with("celery_worker_up"));
        let worker = up
            .and_then(|line| line.split('"').nth(1))
            .expect("a worker");
        let known = PollTargets {
            workers: names([worker]),
            silent: names([worker]),
            events_arrive: true,
            ..PollTargets::default()
        };
        let keys =
            format!("url: {url:?}, enable_events: true, control_interval: 0, queue_interval: 0");
        let polling = Polling::start_knowing(&keys, known);
        // Send tasks until an event arrives: the worker executes the command only when it gets to it.
        wait_for("task events", 30, async || {
            celery.script("send.py", 30).await;
            let page = celeriac.page().await;
            match page.sum("celery_task_succeeded_total", &["polled.sleep"]) {
                0.0 => Err(format!("{:#?}", page.0)),
                _ => Ok(()),
            }
        })
        .await;
        polling.stop().await;
    }
}

const QUEUES: usize = 500;
const WORKERS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_ask_on_rabbitmq_is_refused_and_then_not_without_a_new_connection() {
    let rabbitmq = RabbitMq::start().await;
    rabbitmq.ctl(&["add_user", "monitor", "s3cret"]);
    let permit = |write: &str| {
        let permissions = ["^celeriac\\..*", write, "^celeriac\\..*"];
        rabbitmq.ctl(&[&["set_permissions", "-p", "/", "monitor"], &permissions[..]].concat());
    };
    permit("^celeriac\\..*");
    let simulating = tokio::spawn(many::simulate_on_rabbitmq(rabbitmq.url("")));
    let url = rabbitmq.url_of("monitor", "s3cret");
    let mut polling = Polling::start(&format!("url: {url:?}, control_interval: 1s"));
    wait_for("a refusal", 20, async || {
        let failures = polling.metrics.control.failures.get();
        let queues = polling.metrics.queues.failures.get();
        assert_eq!(queues, 0);
        if failures > 1 {
            Ok(())
        } else {
            Err(failures.to_string())
        }
    })
    .await;
    permit("^(celeriac\\..*|celery\\.pidbox)$");
    let everybody = |workers: &[WorkerAnswer]| workers.len() == WORKERS;
    polling.workers("everybody", 20, everybody).await;
    polling.stop().await;
    simulating.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_hangs_costs_a_deadline_three_times_and_then_nothing() {
    let redis = Redis::start().await;
    let celery = Celery::new("5.7", &redis.url(0), "");
    let arguments = ["-c", "1", "-P", "threads"];
    let _good = celery.worker_of("polled", "good", &arguments).await;
    let hangs = celery.worker_of("polled", "hangs", &arguments).await;
    let keys = format!(
        "url: {:?}, control_interval: 1s, queue_interval: 0",
        redis.url(0)
    );
    let mut polling = Polling::start(&keys);
    let workers = polling
        .workers("both", 20, |workers| workers.len() == 2)
        .await;
    polling.known.send_replace(
        PollTargets {
            workers: names(workers.iter().map(|answer| &answer.worker)),
            events_arrive: true,
            ..PollTargets::default()
        }
        .into(),
    );
    hangs.signal(Signal::STOP);
    for _ in 0..5 {
        polling
            .workers("the good one", 20, |workers| workers.len() == 1)
            .await;
    }
    let began = Instant::now();
    polling
        .workers("the good one", 20, |workers| workers.len() == 1)
        .await;
    assert!(
        began.elapsed() < Duration::from_millis(1_900),
        "{:?}",
        began.elapsed()
    );
    assert!(polling.metrics.control.duration.get() < 1.0);
    // It resumes, and replies again in the next round that addresses all workers.
    hangs.signal(Signal::CONT);
    polling
        .workers("both again", 40, |workers| workers.len() == 2)
        .await;
    polling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_hosts_is_taken_when_the_first_is_dead() {
    let rabbitmq = RabbitMq::start().await;
    let publisher = Publisher::new(&rabbitmq.url("")).await;
    let (dead, port) = (free_port(), rabbitmq.port);
    let urls = [
        format!("amqp://127.0.0.1:{dead}//;amqp://guest:guest@127.0.0.1:{port}//"),
        format!("amqp://guest:guest@127.0.0.1:{dead},127.0.0.1:{port}/"),
    ];
    for url in urls {
        let celeriac = Celeriac::start(&format!("brokers: [{{url: '{url}'}}]\n")).await;
        celeriac.ready().await;
        for body in life(1, "t", 1_795_344_000.0) {
            publisher.publish(body.as_bytes()).await;
        }
        celeriac
            .page_when(&url, 10, |page| page.events() == 4.0)
            .await;
        let log = celeriac.process.output();
        assert!(log.contains(&format!("127.0.0.1:{dead}//")), "{log}");
        assert!(log.contains(&format!("127.0.0.1:{port}//")), "{log}");
        let mut polling = Polling::start(&format!("url: '{url}', queue_interval: 1s"));
        polling.queues("a round", 10, |_| true).await;
        polling.stop().await;
    }
}
