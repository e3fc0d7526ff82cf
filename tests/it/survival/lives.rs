//! Tasks that continue across a restart, and workers that are known after it.

use super::Agent;
use crate::support::celeriac::{Celeriac, Page};
use crate::support::cluster::Message;
use crate::support::events::life;
use crate::support::load::{Confirmed, now};
use crate::support::rabbitmq::RabbitMq;

async fn publish(confirmed: &mut Confirmed, bodies: impl IntoIterator<Item = String>) {
    let messages = bodies.into_iter().map(|body| Message {
        hostname: "w1@host".to_owned(),
        routing_key: "task.multi".to_owned(),
        body,
    });
    confirmed.publish(messages.collect()).await;
    confirmed.confirmed().await;
}

fn heartbeat(timestamp: f64, kind: &str) -> String {
    format!(
        r#"{{"hostname": "w1@host", "utcoffset": 0, "pid": 4242, "clock": 9, "freq": 2.0, "active": 3, "processed": 7, "loadavg": [0.1, 0.2, 0.3], "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux", "timestamp": {timestamp}, "type": "{kind}"}}"#
    )
}

/// Moves an event to another time.
fn at(body: &str, from: f64, to: f64) -> String {
    body.replace(
        &format!("\"timestamp\": {from}"),
        &format!("\"timestamp\": {to}"),
    )
}

async fn restarted(agent: &Agent, mut celeriac: Celeriac, crash: bool) -> Celeriac {
    if crash {
        // Messages that are not in a checkpoint are redelivered.
        celeriac.process.kill();
    } else {
        assert!(celeriac.terminate().success());
    }
    agent.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_was_received_before_a_restart_and_started_after_it_waited_as_long_as_it_did() {
    for (delivery, crash) in [("durable", true), ("durable", false), ("stream", true)] {
        let rabbitmq = RabbitMq::start().await;
        let agent = Agent::new(&rabbitmq.url(""), &format!("delivery: {delivery}"));
        let celeriac = agent.start().await;
        celeriac.ready().await;
        let mut confirmed = Confirmed::new(&rabbitmq.url(""));
        let sent = now().floor() - 10.0;
        let [told, received, started, succeeded] = life(1, "t", sent);
        let received = at(&received, sent + 0.001, sent + 1.0);
        let other = life(2, "t", sent)[..3].to_vec();
        let before = [heartbeat(sent, "worker-online"), told, received];
        publish(&mut confirmed, before.into_iter().chain(other)).await;
        let known = |page: &Page| page.events() == 6.0;
        celeriac.page_when("the first events", 20, known).await;

        let celeriac = restarted(&agent, celeriac, crash).await;
        let in_flight = |page: &Page, state: &str| {
            page.sum(
                "celery_tasks_in_flight",
                &[&format!("state=\"{state}\""), "name=\"t\""],
            )
        };
        let both = |page: &Page| {
            page.events() == 6.0
                && in_flight(page, "received") == 1.0
                && in_flight(page, "started") == 1.0
        };
        let page = celeriac.page_when("tasks in flight", 20, both).await;
        assert_eq!(page.sum("celery_worker_up", &["w1@host"]), 1.0);
        assert_eq!(page.sum("celery_worker_tasks_active", &["w1@host"]), 3.0);
        assert_eq!(page.sum("celery_worker_info", &["5.7.0"]), 1.0);

        let started = at(&started, sent + 0.002, sent + 7.5);
        let succeeded = at(&succeeded, sent + 0.003, sent + 7.6);
        let other = life(2, "t", sent)[3].clone();
        publish(&mut confirmed, [started, succeeded, other]).await;
        let page = celeriac
            .page_when("all events", 20, |page| page.events() == 9.0)
            .await;
        let waits = |family: &str| {
            let part = |part: &str| page.sum(&format!("celery_task_{family}_seconds_{part}"), &[]);
            (part("count"), (part("sum") * 1e3).round() / 1e3)
        };
        assert_eq!(waits("queue_wait"), (2.0, 7.502), "{delivery} {crash}");
        assert_eq!(waits("prefetch_wait"), (2.0, 6.501), "{delivery} {crash}");
        assert_eq!(waits("turnaround"), (2.0, 7.603), "{delivery} {crash}");
        assert_eq!(page.sum("celery_tasks_in_flight", &[]), 0.0);
        assert_eq!(page.sum("celery_task_lost_total", &[]), 0.0);
    }
}
