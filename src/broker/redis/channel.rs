//! Builds Kombu's names of fanout channels and patterns.
//!
//! On Redis the event exchange is a fanout exchange: PUBLISH to a channel whose name depends on the
//! transport options, `<global_keyprefix><fanout prefix><exchange>[/<routing key>]`. The database
//! number is only part of the name: pub/sub itself is not scoped to a database.
//!
//! Source: kombu 4.6 to 5.7, `transport/redis.py` (`_get_publish_topic`, `_get_subscribe_topic`),
//! checked against the recordings in `tests/golden/events/redis-channel-variants.jsonl`.

use crate::config::{FanoutPrefix, RedisAddress, RedisConfig};

/// The patterns for PSUBSCRIBE, the configured one first.
///
/// The others are for workers with the opposite `fanout_patterns` setting, and for workers under
/// sentinels that do not expand the prefix. A published message matches exactly one of them.
pub(super) fn patterns(config: &RedisConfig, exchange: &str) -> Vec<String> {
    let mut patterns = Vec::new();
    for channel in channels(config, exchange) {
        let channel = escape(&channel);
        let with_keys = format!("{channel}/*");
        if config.fanout_patterns {
            patterns.extend([with_keys, channel]);
        } else {
            patterns.extend([channel, with_keys]);
        }
    }
    patterns
}

/// The channels of an exchange without routing keys, the configured one first.
///
/// Under sentinels, kombu before 5.4 leaves `{db}` in the prefix unexpanded.
pub(super) fn channels(config: &RedisConfig, exchange: &str) -> Vec<String> {
    let template = match &config.fanout_prefix {
        FanoutPrefix::Default => "/{db}.",
        FanoutPrefix::None => "",
        FanoutPrefix::Template(template) => template,
    };
    let filled = template.replace("{db}", &config.database.to_string());
    let channel = |prefix: &str| format!("{}{prefix}{exchange}", config.global_keyprefix);
    let mut channels = vec![channel(&filled)];
    if matches!(config.address, RedisAddress::Sentinel(_)) && filled != template {
        channels.push(channel(template));
    }
    channels
}

/// Whether we receive what is published on a channel.
pub(super) fn is_subscribed(config: &RedisConfig, exchange: &str, channel: &str) -> bool {
    let mut ours = channels(config, exchange).into_iter();
    ours.any(|own| {
        let behind = channel.strip_prefix(&own);
        behind.is_some_and(|behind| behind.is_empty() || behind.starts_with('/'))
    })
}

/// Escapes glob characters so that they match literally.
pub(super) fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SentinelConfig;

    fn config(
        database: i64,
        fanout_prefix: FanoutPrefix,
        fanout_patterns: bool,
        global_keyprefix: &str,
    ) -> RedisConfig {
        RedisConfig {
            address: RedisAddress::Socket("/nowhere".into()),
            database,
            username: None,
            password: None,
            global_keyprefix: global_keyprefix.into(),
            fanout_prefix,
            fanout_patterns,
            priority_steps: vec![0],
            sep: RedisConfig::SEP.into(),
            unacked_key: "unacked".into(),
        }
    }

    #[test]
    fn every_combination_of_options_has_its_channel() {
        let template = || FanoutPrefix::Template("/my{db}.".into());
        let cases = [
            (
                config(0, FanoutPrefix::Default, true, ""),
                ["/0.celeryev/*", "/0.celeryev"],
            ),
            (
                config(3, FanoutPrefix::Default, true, ""),
                ["/3.celeryev/*", "/3.celeryev"],
            ),
            (
                config(3, FanoutPrefix::None, true, ""),
                ["celeryev/*", "celeryev"],
            ),
            (
                config(3, FanoutPrefix::Default, false, ""),
                ["/3.celeryev", "/3.celeryev/*"],
            ),
            (
                config(3, FanoutPrefix::None, false, ""),
                ["celeryev", "celeryev/*"],
            ),
            (
                config(3, template(), true, ""),
                ["/my3.celeryev/*", "/my3.celeryev"],
            ),
            (
                config(3, FanoutPrefix::Default, true, "pfx:"),
                ["pfx:/3.celeryev/*", "pfx:/3.celeryev"],
            ),
            (
                config(3, FanoutPrefix::None, false, "pfx:"),
                ["pfx:celeryev", "pfx:celeryev/*"],
            ),
        ];
        for (config, expected) in cases {
            assert_eq!(patterns(&config, "celeryev"), expected, "{config:?}");
        }
    }

    #[test]
    fn under_sentinels_the_prefix_may_stand_as_it_is() {
        let mut config = config(3, FanoutPrefix::Default, true, "");
        config.address = RedisAddress::Sentinel(SentinelConfig {
            servers: Vec::new(),
            master_name: "m".into(),
            username: None,
            password: None,
            tls: None,
        });
        let expected = [
            "/3.celeryev/*",
            "/3.celeryev",
            "/{db}.celeryev/*",
            "/{db}.celeryev",
        ];
        assert_eq!(patterns(&config, "celeryev"), expected);
        for channel in ["/3.celeryev", "/3.celeryev/task.multi", "/{db}.celeryev/x"] {
            assert!(is_subscribed(&config, "celeryev", channel), "{channel}");
        }
        for channel in ["/0.celeryev/x", "/3.celeryev2", "celeryev/x"] {
            assert!(!is_subscribed(&config, "celeryev", channel), "{channel}");
        }
        config.fanout_prefix = FanoutPrefix::None;
        assert_eq!(patterns(&config, "celeryev"), ["celeryev/*", "celeryev"]);
    }

    #[test]
    fn glob_characters_in_names_are_escaped() {
        let config = config(0, FanoutPrefix::Default, true, "a*[b]?");

        assert_eq!(patterns(&config, "my^ev")[0], r"a\*\[b\]\?/0.my\^ev/*");
    }
}
