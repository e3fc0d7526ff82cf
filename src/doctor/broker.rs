//! A broker: whether it can be used, and whether events are published where they are looked for.

use super::finding::Finding;
use super::heard::Heard;
use crate::broker::probe::{Look, Trouble, TroubleKind};
use crate::config::{BrokerConfig, Transport};

/// What a look at a broker means, but for its workers.
pub(super) fn judge(config: &BrokerConfig, look: &Look, heard: &Heard) -> Vec<Finding> {
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
    findings.extend(channels(config, look, heard));
    findings.extend(serializers(heard));
    findings
}

fn connection(config: &BrokerConfig, address: &str, answer: &Result<String, Trouble>) -> Finding {
    const CHECK: &str = "connection";
    let trouble = match answer {
        Ok(version) => return Finding::fine(CHECK, format!("{version} at {address}")),
        Err(trouble) => trouble,
    };
    let advice = match (trouble.kind, &config.transport) {
        (TroubleKind::Files, _) => {
            "see that the file is there, mounted, and readable for the user that celeriac runs as"
                .to_owned()
        }
        (TroubleKind::Unreachable, _) => {
            "check host and port in `url`, that the server runs, and that nothing between here and there (a firewall, a \
             NetworkPolicy, TLS on one side only) forbids it"
                .to_owned()
        }
        (TroubleKind::Trust, _) => {
            "give `tls.ca_file` the authority that signed the broker's certificate, or `tls.server_name` the name that \
             stands in it"
                .to_owned()
        }
        (TroubleKind::Sentinel, _) => {
            "compare `sentinel.master_name` with what SENTINEL MASTERS says at one of them; the sentinels' own user and \
             password, where they want one, stand under `sentinel` too"
                .to_owned()
        }
        (TroubleKind::Login, Transport::Amqp(_)) => {
            "check the user and the password in `url` (special characters in it are %-encoded) or `password_file`; \
             `rabbitmqctl authenticate_user USER PASSWORD` tells whether they are right; `guest` may log in from the \
             broker's own host only"
                .to_owned()
        }
        (TroubleKind::Login, Transport::Redis(_)) => {
            "check the user and the password in `url` (special characters in it are %-encoded) or `password_file`; \
             without ACLs Redis knows no user, so the part before the colon stays empty"
                .to_owned()
        }
        (TroubleKind::Vhost, _) => {
            "take the vhost that Celery's `broker_url` has behind its last slash (none, or //, is the vhost /); \
             `rabbitmqctl list_vhosts` names them all, and `rabbitmqctl set_permissions -p VHOST` lets a user in"
                .to_owned()
        }
        (TroubleKind::Permission | TroubleKind::Other, _) => {
            "what it says has to be mended at the broker, or in the keys of this broker".to_owned()
        }
    };
    Finding::wrong(CHECK, format!("{address}: {}", trouble.text), advice)
}

fn permissions(config: &BrokerConfig, look: &Look) -> Vec<Finding> {
    const CHECK: &str = "permissions";
    if let Some(trouble) = &look.not_listened {
        let advice = "the daemon needs no such queue. To have workers and their events looked at, give the user what \
                      `delivery: transient` needs, for as long as that takes";
        return vec![Finding::open(
            CHECK,
            format!("not listened: {}", trouble.text),
            advice,
        )];
    }
    if look.refused.is_empty() {
        return vec![Finding::fine(CHECK, "all that is needed")];
    }
    let findings = look.refused.iter().map(|trouble| {
        let advice = match trouble.kind {
            TroubleKind::Permission => match config.transport {
                Transport::Amqp(_) => {
                    "give the user the permissions it needs: docs/rabbitmq.md has the command for each `delivery`"
                }
                Transport::Redis(_) => {
                    "give the user the permissions it needs: docs/redis.md has the ACLs"
                }
            },
            TroubleKind::Files
            | TroubleKind::Unreachable
            | TroubleKind::Trust
            | TroubleKind::Sentinel
            | TroubleKind::Login
            | TroubleKind::Vhost
            | TroubleKind::Other => "the daemon will be told the same: mend it at the broker",
        };
        Finding::wrong(CHECK, &trouble.text, advice)
    });
    findings.collect()
}

/// Events that are needed and not bound.
fn bindings(look: &Look) -> Option<Finding> {
    let unbound = look.unbound.join(", ");
    let advice = "add them to `bindings`, or leave that out: what is not bound is never counted";
    let found = || format!("{unbound}: not received");
    (!unbound.is_empty()).then(|| Finding::open("bindings", found(), advice))
}

/// Where the workers publish by their own word, and whether that is where events are looked for.
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
        let found = format!("`{ours}` is read, and workers publish to `{other}`");
        return vec![Finding::wrong(
            CHECK,
            found,
            format!("set `event_exchange: {other}`, or Celery's event_exchange to {ours}"),
        )];
    }
    match look.has_exchange {
        Some(true) => vec![Finding::fine(CHECK, format!("`{ours}` is there"))],
        Some(false) => vec![Finding::wrong(
            CHECK,
            format!(
                "there is no exchange `{ours}` in this vhost: no worker has ever run there, or not with this name"
            ),
            "take the vhost of Celery's `broker_url`, and its `event_exchange` where that is set; a worker makes the \
             exchange when it starts",
        )],
        None => Vec::new(),
    }
}

/// Redis: whether events are published on channels like ours.
fn channels(config: &BrokerConfig, look: &Look, heard: &Heard) -> Vec<Finding> {
    const CHECK: &str = "channels";
    if look.elsewhere.is_empty() {
        return Vec::new();
    }
    let found = format!("events are published on {}", look.elsewhere.join(", "));
    if !heard.workers.is_empty() {
        let advice = "other workers use this Redis too: to watch them, they need a broker of their own in the configuration";
        return vec![Finding::open(CHECK, found, advice)];
    }
    let place = look
        .elsewhere
        .iter()
        .find_map(|channel| place(channel, &config.event_exchange));
    let advice = match place {
        Some((prefix, database)) => {
            let mut keys = Vec::new();
            if let Transport::Redis(redis) = &config.transport {
                if redis.global_keyprefix != prefix {
                    let or = if database.is_some() { "" } else { " or `fanout_prefix`" };
                    keys.push(format!("`global_keyprefix: {prefix:?}`{or}"));
                }
                if database.is_some_and(|database| database != redis.database) {
                    let database = database.unwrap_or_default();
                    keys.push(format!("the database /{database} in `url`"));
                }
            }
            format!(
                "nothing is published where it is looked for. Set {}, as Celery's broker_transport_options and \
                 broker_url have it",
                if keys.is_empty() { "`fanout_prefix`".to_owned() } else { keys.join(" and ") }
            )
        }
        None => "nothing is published where it is looked for. Compare `global_keyprefix`, `fanout_prefix` and the \
                 database in `url` with Celery's broker_transport_options and broker_url"
            .to_owned(),
    };
    vec![Finding::wrong(CHECK, found, advice)]
}

/// The prefix of all keys, and the database, in the name of a channel as Kombu makes it.
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

fn serializers(heard: &Heard) -> Vec<Finding> {
    let findings = heard.unreadable.iter().map(|(why, count)| {
        Finding::wrong(
            "serializer",
            format!("{count} messages cannot be read: {why}"),
            "add the serializer to `accept_content`, as Celery's accept_content has it; what is broken is counted in \
             celeriac_messages_undecodable_total while the daemon runs",
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
