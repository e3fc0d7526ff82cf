//! Checks Kombu's transport options: whether keys on Redis have the configured format.

use super::finding::Finding;
use crate::broker::probe::{Look, TransportOptions};
use crate::config::{BrokerConfig, RedisConfig, Transport};
use crate::event::json::quote;

const CHECK: &str = "transport";

/// Compares the configuration of this broker with the workers' `broker_transport_options`, or with
/// the bindings on the server if no worker reports any.
pub(super) fn judge(config: &BrokerConfig, look: &Look) -> Vec<Finding> {
    let Transport::Redis(redis) = &config.transport else {
        return Vec::new();
    };
    let workers = look.workers.iter().flatten();
    let mut options: Vec<&TransportOptions> = workers
        .filter_map(|(_, settings)| settings.as_ref()?.transport.as_ref())
        .collect();
    options.dedup();
    let mut findings: Vec<Finding> = options
        .iter()
        .flat_map(|options| of_workers(redis, options))
        .collect();
    if options.is_empty() {
        findings.extend(of_bindings(redis, look));
    }
    let mut seen = Vec::new();
    findings.retain(|finding| {
        let first = !seen.contains(&finding.found);
        seen.push(finding.found.clone());
        first
    });
    findings
}

fn of_workers(redis: &RedisConfig, options: &TransportOptions) -> Vec<Finding> {
    let mut findings = Vec::new();
    let sep = options.sep.as_deref().unwrap_or(RedisConfig::SEP);
    if sep != redis.sep {
        findings.push(separator(redis, sep));
    }
    let mut ours: Vec<u64> = redis
        .priority_steps
        .iter()
        .map(|&step| step.into())
        .collect();
    let mut theirs = options.priority_steps.clone();
    let theirs = theirs.get_or_insert_with(|| RedisConfig::PRIORITY_STEPS.map(Into::into).into());
    ours.sort_unstable();
    theirs.sort_unstable();
    if ours != *theirs {
        findings.push(Finding::wrong(
            CHECK,
            format!(
                "`priority_steps` is {theirs:?} in Celery's broker_transport_options, and \
                     {ours:?} here: messages with other priorities are not counted"
            ),
            format!("set `priority_steps: {theirs:?}` in this broker"),
        ));
    }
    if options.ack_emulation == Some(false) {
        findings.push(Finding::open(
            CHECK,
            "`ack_emulation` is off in Celery's broker_transport_options, which is not supported",
            "without it, Redis stores no unacknowledged messages, so celery_queue_unacked is \
             always 0",
        ));
    }
    if options.sentinel_fanout_compat == Some(true) {
        findings.push(Finding::wrong(
            CHECK,
            "`sentinel_fanout_compat` is on in Celery's broker_transport_options, which is not supported",
            "workers publish every event twice, and some are counted twice: turn the option off \
             once all workers run Kombu 5.4 or later",
        ));
    }
    findings
}

/// Inspects the bindings on the server; used if no worker reports its options.
fn of_bindings(redis: &RedisConfig, look: &Look) -> Option<Finding> {
    let sep = look.separators.first()?;
    if look.has_bindings {
        // Bindings made before the option was changed remain on the server.
        return Some(Finding::open(
            CHECK,
            format!(
                "some bindings use the separator {}, others {}",
                yaml(sep),
                yaml(&redis.sep)
            ),
            "compare `sep` with Celery's broker_transport_options; sets named _kombu.binding.* \
             keep bindings from before `sep` was changed",
        ));
    }
    Some(separator(redis, sep))
}

fn separator(redis: &RedisConfig, theirs: &str) -> Finding {
    Finding::wrong(
        CHECK,
        format!(
            "`sep` is {} in Celery's broker_transport_options, and {} here: messages with a priority are not counted",
            yaml(theirs),
            yaml(&redis.sep)
        ),
        format!("set `sep: {}` in this broker", yaml(theirs)),
    )
}

/// Quotes a string for YAML.
fn yaml(text: &str) -> String {
    let mut quoted = String::new();
    quote(&mut quoted, text);
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis(sep: &str) -> RedisConfig {
        RedisConfig {
            address: crate::config::RedisAddress::Socket("/nowhere".into()),
            database: 0,
            username: None,
            password: None,
            global_keyprefix: String::new(),
            fanout_prefix: crate::config::FanoutPrefix::Default,
            fanout_patterns: true,
            priority_steps: RedisConfig::PRIORITY_STEPS.into(),
            sep: sep.to_owned(),
            unacked_key: "unacked".to_owned(),
        }
    }

    fn found(redis: &RedisConfig, options: &TransportOptions) -> Vec<String> {
        let findings = of_workers(redis, options).into_iter();
        findings.filter_map(|finding| finding.advice).collect()
    }

    #[test]
    fn options_that_change_keys_are_compared_and_the_others_named() {
        let default = TransportOptions::default();
        assert_eq!(found(&redis("\x06\x16"), &default), [""; 0]);
        let advice = found(&redis(":"), &default);
        assert_eq!(advice, ["set `sep: \"\\u0006\\u0016\"` in this broker"]);
        let same = TransportOptions {
            sep: Some(":".to_owned()),
            priority_steps: Some(vec![9, 6, 3, 0]),
            ack_emulation: Some(true),
            sentinel_fanout_compat: Some(false),
        };
        assert_eq!(found(&redis(":"), &same), [""; 0]);
        let other = TransportOptions {
            sep: Some(":".to_owned()),
            priority_steps: Some(vec![0, 5]),
            ack_emulation: Some(false),
            sentinel_fanout_compat: Some(true),
        };
        let advice = found(&redis("|"), &other);
        assert_eq!(advice.len(), 4, "{advice:?}");
        assert_eq!(advice[0], "set `sep: \":\"` in this broker");
        assert_eq!(advice[1], "set `priority_steps: [0, 5]` in this broker");
    }
}
