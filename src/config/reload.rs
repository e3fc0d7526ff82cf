//! Compares two configurations, and decides which changes can be applied without a restart.

use super::load::Config;
use super::shown::Shown;
use super::sink::{RemoteWriteConfig, SinkId};

/// Keys that can change without a restart, including all keys below them; `[]` is any entry of a
/// list.
const CHANGEABLE: [&str; 10] = [
    "global.grace_period",
    "metrics.exemplars",
    "metrics.max_series",
    "metrics.max_tasks",
    "metrics.task_timeout",
    "metrics.series_ttl",
    "metrics.worker_timeout",
    "metrics.worker_retention",
    "metrics.long_running_factor",
    "remote_write[]",
];

/// Exceptions among these: a sink is identified by its name and URL, its profile is maintained from
/// the start, and its queue is opened once.
const FIXED: [&str; 6] = [
    "remote_write[].name",
    "remote_write[].url",
    "remote_write[].profile",
    "remote_write[].send_native_histograms",
    "remote_write[].queue_config.max_bytes",
    "remote_write[].queue_config.sample_age_limit",
];

/// Keys that change the series or values that a receiver gets.
const SENDS_OTHER: [&str; 5] = [
    "remote_write[].write_relabel_configs",
    "remote_write[].replica",
    "remote_write[].send_exemplars",
    "remote_write[].send_classic_histograms",
    "remote_write[].draft_created_timestamps",
];

/// The differences between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    keys: Vec<String>,
}

impl Changes {
    /// Compares two configurations. A changed secret is reported as the key of its section that
    /// usually contains it.
    pub fn between(before: &Config, after: &Config) -> Self {
        let mut keys = Vec::new();
        compare("", &before.shown, &after.shown, &mut keys);
        let mut secret = |section: String, differs: bool, key: &str| {
            let shown = keys.iter().any(|known| known.starts_with(&section));
            if differs && !shown {
                keys.push(format!("{section}{key}"));
            }
        };
        for (at, (a, b)) in before.brokers.iter().zip(&after.brokers).enumerate() {
            secret(format!("brokers[{at}]"), a != b, ".url");
        }
        for (at, (a, b)) in pairs(before, after).enumerate() {
            let section = format!("remote_write[{at}]");
            secret(section, a.client != b.client, ".authorization");
        }
        for (at, (a, b)) in before
            .pushgateway
            .iter()
            .zip(&after.pushgateway)
            .enumerate()
        {
            secret(format!("pushgateway[{at}]"), a != b, ".authorization");
        }
        let login = before.http != after.http;
        secret("http".to_owned(), login, ".basic_auth_users");
        Self { keys }
    }

    /// Whether nothing changed.
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Changed keys that require a restart.
    pub fn fixed(&self) -> impl Iterator<Item = &str> {
        let keys = self.keys.iter().map(String::as_str);
        keys.filter(|key| !is_below(key, &CHANGEABLE) || is_below(key, &FIXED))
    }

    /// Whether anything changed in a sink.
    pub fn touch_sink(&self, sink: SinkId) -> bool {
        let section = format!("remote_write[{}].", sink.index());
        self.keys.iter().any(|key| key.starts_with(&section))
    }

    /// Whether a sink now sends different series or values.
    pub fn send_other(&self, sink: SinkId) -> bool {
        let section = format!("remote_write[{}].", sink.index());
        let mut keys = self.keys.iter();
        keys.any(|key| key.starts_with(&section) && is_below(key, &SENDS_OTHER))
    }
}

fn pairs<'a>(
    before: &'a Config,
    after: &'a Config,
) -> impl Iterator<Item = (&'a RemoteWriteConfig, &'a RemoteWriteConfig)> {
    before.remote_write.iter().zip(&after.remote_write)
}

/// Records the keys whose values differ, as deep as both sides have them.
fn compare(path: &str, before: &Shown, after: &Shown, keys: &mut Vec<String>) {
    match (before, after) {
        (Shown::Map(a), Shown::Map(b)) => {
            let names = a.iter().chain(b).map(|(name, _)| name);
            let mut seen: Vec<&String> = Vec::new();
            for name in names {
                if seen.contains(&name) {
                    continue;
                }
                seen.push(name);
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                match (before.get(name), after.get(name)) {
                    (Some(a), Some(b)) => compare(&path, a, b, keys),
                    (Some(_), None) | (None, Some(_)) => keys.push(path),
                    (None, None) => {}
                }
            }
        }
        (Shown::List(a), Shown::List(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{at}]"), a, b, keys);
            }
        }
        (a, b) if a == b => {}
        _ => keys.push(path.to_owned()),
    }
}

/// Whether a key is one of `those`, or below one.
fn is_below(key: &str, those: &[&str]) -> bool {
    let mut general = String::new();
    let mut inside = false;
    for char in key.chars() {
        inside &= char != ']';
        if !inside {
            general.push(char);
        }
        inside |= char == '[';
    }
    those.iter().any(|one| {
        general
            .strip_prefix(one)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BEFORE: &str = "brokers: [{url: 'amqp://u:one@h'}]
http: {listen: ':0', bearer_token_file: /x}
metrics: {max_series: 1000}
remote_write: [{name: a, url: 'http://r/', authorization: {credentials: one}, write_relabel_configs: [{action: drop, source_labels: [__name__], regex: x}]}]
";

    fn config(text: &str) -> Config {
        Config::parse(text, Path::new("x.yaml"), []).expect("a good configuration")
    }

    #[test]
    fn each_key_that_changed_is_named_and_those_that_cannot_are_told_apart() {
        let cases: [(&str, &str, &[&str], bool); 12] = [
            ("x", "x", &[], false),
            ("max_series: 1000", "max_series: 2000", &[], false),
            ("h'", "other'", &["brokers[0].url"], false),
            ("u:one@", "u:two@", &["brokers[0].url"], false),
            ("credentials: one", "credentials: two", &[], false),
            ("regex: x", "regex: y", &[], true),
            (
                "name: a, url",
                "name: a, send_native_histograms: true, url",
                &["remote_write[0].send_native_histograms"],
                false,
            ),
            ("http://r/", "http://s/", &["remote_write[0].url"], false),
            (
                "[{name: a",
                "[{name: b, url: 'http://b/'}, {name: a",
                &["remote_write"],
                false,
            ),
            (":0", ":1", &["http.listen"], false),
            (
                "metrics: {",
                "global: {interval: 1s}\nmetrics: {prefix: x_, ",
                &["global.interval", "metrics.prefix"],
                false,
            ),
            (
                "regex: x}]",
                "regex: x}], remote_timeout: 3s, queue_config: {max_backoff: 1s, max_bytes: 1MiB}",
                &["remote_write[0].queue_config.max_bytes"],
                false,
            ),
        ];
        for (from, to, fixed, sends_other) in cases {
            let after = BEFORE.replace(from, to);
            let changes = Changes::between(&config(BEFORE), &config(&after));
            assert_eq!(changes.fixed().collect::<Vec<_>>(), fixed, "{after}");
            assert_eq!(changes.is_empty(), from == to, "{after}");
            assert_eq!(changes.send_other(SinkId::new(0)), sends_other, "{after}");
        }
    }

    #[test]
    fn a_sink_is_touched_by_what_is_below_it() {
        let after = BEFORE.replace("credentials: one", "credentials: two");
        let changes = Changes::between(&config(BEFORE), &config(&after));
        let touched = [0, 1].map(|at| changes.touch_sink(SinkId::new(at)));
        assert_eq!(touched, [true, false]);
    }
}
