//! Checks a broker: whether celeriac can use it, and whether events are published where celeriac
//! reads them.

use super::finding::Finding;
use super::observed::ObservedEvents;
use crate::broker::probe::{Look, OutputBufferLimit, ProbeFinding, ProbeFindingKind};
use crate::config::{BrokerConfig, Transport};

/// A burst that Redis should be able to hold: 10,000 single events, or a second of 2,500 tasks.
const BURST_BYTES: u64 = 8 << 20;

/// Turns a probe of a broker into findings, except for those about its workers.
pub(super) fn judge(config: &BrokerConfig, look: &Look, observed: &ObservedEvents) -> Vec<Finding> {
    let mut findings: Vec<Finding> = look
        .servers
        .iter()
        .map(|(address, answer)| connection(config, address, answer))
        .collect();
    if look.servers.iter().all(|(_, answer)| answer.is_err()) {
        return findings;
    }
    findings.extend(permissions(config, look));
    findings.extend(bindings(look));
    findings.extend(event_exchange(config, look));
    findings.extend(channels(config, look, observed));
    findings.extend(serializers(observed));
    findings.extend(look.output_buffer.map(output_buffer));
    findings
}

/// Redis: how large a burst may be that celeriac cannot read at once.
fn output_buffer(limit: OutputBufferLimit) -> Finding {
    const CHECK: &str = "output buffer";
    let events = limit.events();
    let events = events.map_or_else(String::new, |events| format!(", about {events} events"));
    let found = format!("Redis holds {limit} for a subscriber that falls behind{events}");
    if limit.is_below(BURST_BYTES) {
        let advice = "raise it, for example with CONFIG SET client-output-buffer-limit \"pubsub 32mb 8mb 60\", which \
                      is the default: events of a burst that exceeds it are lost";
        Finding::open(CHECK, found, advice)
    } else {
        Finding::fine(CHECK, found)
    }
}

fn connection(
    config: &BrokerConfig,
    address: &str,
    answer: &Result<String, ProbeFinding>,
) -> Finding {
    const CHECK: &str = "connection";
    let trouble = match answer {
        Ok(version) => return Finding::fine(CHECK, format!("{version} at {address}")),
        Err(trouble) => trouble,
    };
    let advice = match (trouble.kind, &config.transport) {
        (ProbeFindingKind::Files, _) => {
            "check that the file exists, is mounted, and is readable by the user that celeriac \
             runs as"
                .to_owned()
        }
        (ProbeFindingKind::Unreachable, _) => {
            "check host and port in `url`, that the server is running, and that nothing in between \
             (a firewall, a NetworkPolicy, TLS on one side only) blocks the connection"
                .to_owned()
        }
        (ProbeFindingKind::Trust, _) => {
            "set `tls.ca_file` to the CA that signed the broker's certificate, or \
             `tls.server_name` to the name in the certificate"
                .to_owned()
        }
        (ProbeFindingKind::Sentinel, _) => {
            "compare `sentinel.master_name` with the output of SENTINEL MASTERS on one of the \
             sentinels; if they require a user and password, set those under `sentinel` too"
                .to_owned()
        }
        (ProbeFindingKind::Login, Transport::Amqp(_)) => {
            "check the user and the password in `url` (special characters must be %-encoded) or \
             `password_file`; `rabbitmqctl authenticate_user USER PASSWORD` verifies them; `guest` \
             can log in only from the broker's own host"
                .to_owned()
        }
        (ProbeFindingKind::Login, Transport::Redis(_)) => {
            "check the user and the password in `url` (special characters must be %-encoded) or \
             `password_file`; without ACLs Redis has no users, so leave the part before the colon \
             empty"
                .to_owned()
        }
        (ProbeFindingKind::Vhost, _) => {
            "use the vhost after the last slash of Celery's `broker_url` (none, or //, is the \
             vhost /); `rabbitmqctl list_vhosts` lists all vhosts, and `rabbitmqctl \
             set_permissions -p VHOST` grants a user access"
                .to_owned()
        }
        (ProbeFindingKind::Permission | ProbeFindingKind::Other, _) => {
            "fix the reported problem on the broker, or in this broker's configuration".to_owned()
        }
    };
    Finding::wrong(CHECK, format!("{address}: {}", trouble.text), advice)
}

fn permissions(config: &BrokerConfig, look: &Look) -> Vec<Finding> {
    const CHECK: &str = "permissions";
    if let Some(trouble) = &look.not_listened {
        let advice = "the daemon itself does not need this queue. To check workers and their events, \
                      temporarily give the user the permissions that `delivery: transient` needs";
        return vec![Finding::open(
            CHECK,
            format!("cannot listen for events: {}", trouble.text),
            advice,
        )];
    }
    if look.refused.is_empty() {
        return vec![Finding::fine(CHECK, "sufficient")];
    }
    let findings = look.refused.iter().map(|trouble| {
        let advice = match trouble.kind {
            ProbeFindingKind::Permission => match config.transport {
                Transport::Amqp(_) => {
                    "give the user the permissions it needs: docs/rabbitmq.md has the command for each `delivery`"
                }
                Transport::Redis(_) => {
                    "give the user the permissions it needs: docs/redis.md has the ACLs"
                }
            },
            ProbeFindingKind::Files
            | ProbeFindingKind::Unreachable
            | ProbeFindingKind::Trust
            | ProbeFindingKind::Sentinel
            | ProbeFindingKind::Login
            | ProbeFindingKind::Vhost
            | ProbeFindingKind::Other => "the daemon will get the same error: fix this on the broker",
        };
        Finding::wrong(CHECK, &trouble.text, advice)
    });
    findings.collect()
}

/// Reports events that task metrics need but that no binding matches.
fn bindings(look: &Look) -> Option<Finding> {
    let unbound = look.unbound.join(", ");
    let advice = "add them to `bindings`, or remove that key: events that are not bound are never \
                  counted";
    let found = || format!("not received: {unbound}");
    (!unbound.is_empty()).then(|| Finding::open("bindings", found(), advice))
}

/// Compares the exchange that workers report with the one that celeriac reads.
fn event_exchange(config: &BrokerConfig, look: &Look) -> Vec<Finding> {
    const CHECK: &str = "event exchange";
    let ours = &config.event_exchange;
    let workers = look.workers.iter().flatten();
    let mut theirs: Vec<&String> = workers
        .filter_map(|(_, settings)| settings.as_ref()?.event_exchange.as_ref())
        .filter(|theirs| *theirs != ours)
        .collect();
    theirs.sort();
    theirs.dedup();
    if let Some(other) = theirs.first() {
        let found = format!("celeriac reads `{ours}`, but workers publish to `{other}`");
        return vec![Finding::wrong(
            CHECK,
            found,
            format!("set `event_exchange: {other}`, or Celery's event_exchange to {ours}"),
        )];
    }
    match look.has_exchange {
        Some(true) => vec![Finding::fine(CHECK, format!("`{ours}` exists"))],
        Some(false) => vec![Finding::wrong(
            CHECK,
            format!(
                "there is no exchange `{ours}` in this vhost: no worker has run there, or workers \
                 use another exchange"
            ),
            "use the vhost of Celery's `broker_url`, and its `event_exchange` if that is set; a \
             worker declares the exchange when it starts",
        )],
        None => Vec::new(),
    }
}

/// Redis: compares the channels that events are published on with the configured ones.
fn channels(config: &BrokerConfig, look: &Look, observed: &ObservedEvents) -> Vec<Finding> {
    const CHECK: &str = "channels";
    if look.unsubscribed_channels.is_empty() {
        return Vec::new();
    }
    let found = format!(
        "events are published on {}",
        look.unsubscribed_channels.join(", ")
    );
    if !observed.workers.is_empty() {
        let advice = "other workers also use this Redis: to watch them, add another entry to \
                      `brokers`";
        return vec![Finding::open(CHECK, found, advice)];
    }
    let place = look
        .unsubscribed_channels
        .iter()
        .find_map(|channel| place(channel, &config.event_exchange));
    let advice = match place {
        Some((prefix, database)) => {
            let mut keys = Vec::new();
            if let Transport::Redis(redis) = &config.transport {
                if redis.global_keyprefix != prefix {
                    let or = if database.is_some() {
                        ""
                    } else {
                        " or `fanout_prefix`"
                    };
                    keys.push(format!("`global_keyprefix: {prefix:?}`{or}"));
                }
                if database.is_some_and(|database| database != redis.database) {
                    let database = database.unwrap_or_default();
                    keys.push(format!("the database /{database} in `url`"));
                }
            }
            format!(
                "nothing is published where celeriac listens. Set {}, to match Celery's \
                 broker_transport_options and broker_url",
                if keys.is_empty() {
                    "`fanout_prefix`".to_owned()
                } else {
                    keys.join(" and ")
                }
            )
        }
        None => "nothing is published where celeriac listens. Compare `global_keyprefix`, \
                 `fanout_prefix` and the \
                 database in `url` with Celery's broker_transport_options and broker_url"
            .to_owned(),
    };
    vec![Finding::wrong(CHECK, found, advice)]
}

/// Extracts the key prefix and the database from a channel name in Kombu's format.
fn place<'a>(channel: &'a str, exchange: &str) -> Option<(&'a str, Option<i64>)> {
    let (before, _) = channel.split_once(exchange)?;
    let numbered = before
        .strip_suffix('.')
        .and_then(|before| before.rsplit_once('/'));
    let database = numbered.and_then(|(prefix, number)| Some((prefix, number.parse().ok()?)));
    Some(match database {
        Some((prefix, number)) => (prefix, Some(number)),
        None => (before, None),
    })
}

fn serializers(observed: &ObservedEvents) -> Vec<Finding> {
    let findings = observed.unreadable.iter().map(|(why, count)| {
        Finding::wrong(
            "serializer",
            format!("{count} messages cannot be decoded: {why}"),
            "add the serializer to `accept_content`, as in Celery's accept_content; the daemon \
             counts undecodable messages in celeriac_messages_undecodable_total",
        )
    });
    findings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_tells_its_prefix_and_its_database() {
        let cases = [
            ("/0.celeryev/worker.heartbeat", Some(("", Some(0)))),
            ("app:/3.celeryev", Some(("app:", Some(3)))),
            ("celeryev/x", Some(("", None))),
            ("a/b.celeryev", Some(("a/b.", None))),
            ("other", None),
        ];
        for (channel, expected) in cases {
            assert_eq!(place(channel, "celeryev"), expected, "{channel}");
        }
    }
}
