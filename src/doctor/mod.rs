//! Tests a configuration against the real brokers and receivers, and advises on how to fix what
//! fails.
//!
//! Every broker and receiver in the configuration is contacted just as the daemon would contact it,
//! and nothing is changed: queues declared on a broker are deleted with the connection, and
//! requests to a receiver contain no series. Probing is separate from judging: each file here
//! interprets the results for one subject, without IO (except `data_dir`).

mod finding;

mod broker;
mod observed;
mod transport;
mod workers;

mod data_dir;
mod listener;
mod receiver;

use std::time::Duration;

use futures_util::future::join_all;

pub use self::finding::{Finding, Report, Section, Verdict};
use self::observed::ObservedEvents;
use crate::broker::probe;
use crate::clock;
use crate::config::{BrokerConfig, Config, PushgatewayConfig, RemoteWriteConfig};
use crate::sink;

/// Checks every broker, receiver and folder in the configuration, and listens for events for the
/// duration `listen`.
pub async fn doctor(config: &Config, listen: Duration) -> Report {
    let brokers = join_all(config.brokers.iter().map(|one| broker(one, listen)));
    let receivers = join_all(config.remote_write.iter().map(remote_write));
    let gateways = join_all(config.pushgateway.iter().map(pushgateway));
    let (brokers, receivers, gateways) = tokio::join!(brokers, receivers, gateways);
    let data_dir = Section {
        subject: match &config.data_dir {
            Some(folder) => format!("data_dir {}", folder.display()),
            None => "data_dir".to_owned(),
        },
        findings: data_dir::check(config),
    };
    let listener = config.http.as_ref().map(|http| Section {
        subject: format!("http {}", http.listen),
        findings: listener::check(http),
    });
    let sections = brokers.into_iter().chain(receivers).chain(gateways);
    Report(sections.chain(listener).chain([data_dir]).collect())
}

async fn broker(config: &BrokerConfig, listen: Duration) -> Section {
    let mut observed = ObservedEvents::new(config.accept);
    let mut observe = |payload| observed.observe(&payload, clock::now());
    let look = probe::look(config, listen, &mut observe).await;
    let mut findings = broker::judge(config, &look, &observed);
    findings.extend(transport::judge(config, &look));
    findings.extend(workers::judge(config, &look, &observed, listen));
    let subject = match &config.name {
        Some(name) => format!("broker {name}"),
        None => "broker".to_owned(),
    };
    Section { subject, findings }
}

async fn remote_write(config: &RemoteWriteConfig) -> Section {
    let probed = sink::probe::remote_write(config).await;
    Section {
        subject: format!("remote_write {} ({})", config.name, config.shown_url()),
        findings: vec![receiver::remote_write(&probed)],
    }
}

async fn pushgateway(config: &PushgatewayConfig) -> Section {
    let answer = sink::probe::pushgateway(config).await;
    Section {
        subject: format!("pushgateway {} ({})", config.name, config.shown_url()),
        findings: vec![receiver::pushgateway(&answer)],
    }
}
