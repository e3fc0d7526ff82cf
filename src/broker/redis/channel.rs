//! Kombu's names for fanout channels and patterns.
//!
//! On Redis the event exchange is a fanout exchange, which is PUBLISH to a channel whose name is made of the
//! transport's options: `<global_keyprefix><fanout prefix><exchange>[/<routing key>]`. The number of the
//! database is part of the name only: pub/sub itself knows no databases.
//!
//! Source: kombu 4.6 to 5.7, `transport/redis.py` (`_get_publish_topic`, `_get_subscribe_topic`), checked
//! against the recordings in `tests/golden/events/redis-channel-variants.jsonl`.

use crate::config::{FanoutPrefix, RedisConfig};

/// What to subscribe to: patterns for PSUBSCRIBE, the one that is configured first.
///
/// The other one is for workers whose `fanout_patterns` is the opposite: one publish matches one of the two,
/// and never both.
pub(super) fn patterns(config: &RedisConfig, exchange: &str) -> [String; 2] {
    let channel = escape(&channel(config, exchange));
    let with_keys = format!("{channel}/*");
    if config.fanout_patterns {
        [with_keys, channel]
    } else {
        [channel, with_keys]
    }
}

fn channel(config: &RedisConfig, exchange: &str) -> String {
    let prefix = match &config.fanout_prefix {
        FanoutPrefix::Default => format!("/{}.", config.database),
        FanoutPrefix::None => String::new(),
        FanoutPrefix::Template(template) => template.replace("{db}", &config.database.to_string()),
    };
    format!("{}{prefix}{exchange}", config.global_keyprefix)
}

/// Glob characters in a name stand for themselves.
fn escape(name: &str) -> String {
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
    use crate::config::RedisAddress;

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
    fn glob_characters_in_names_are_escaped() {
        let config = config(0, FanoutPrefix::Default, true, "a*[b]?");

        assert_eq!(patterns(&config, "my^ev")[0], r"a\*\[b\]\?/0.my\^ev/*");
    }
}
