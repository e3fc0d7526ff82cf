mod problems;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::Duration;

use super::*;
use crate::config::{Authorization, RedisAddress, Transport};
use crate::event::ContentType;
use crate::secret::Secret;

fn parse_with(text: &str, environment: &[(&str, &str)]) -> Result<Config, LoadError> {
    let environment = environment
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::parse(text, Path::new("x.yaml"), environment)
}

/// The problems of a file, one per line.
fn problems(text: &str) -> Vec<String> {
    match parse_with(text, &[]) {
        Ok(_) => Vec::new(),
        Err(LoadError::Problems(_, problems)) => problems.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
    }
}

fn good(text: &str) -> Config {
    parse_with(text, &[]).unwrap_or_else(|error| panic!("{error}"))
}

const LISTEN: &str = "http: {listen: ':9808'}\n";

/// A configuration whose first broker has the given keys.
fn broker(keys: &str) -> BrokerConfig {
    good(&format!("{LISTEN}brokers: [{{{keys}}}]"))
        .brokers
        .remove(0)
}

const EXAMPLE: &str = include_str!("../../../config/example.yaml");
const MINIMAL: &str = include_str!("../../../config/minimal.yaml");

#[test]
fn the_example_has_every_key_and_every_default() {
    let host = [("HOSTNAME", "web-1")];
    let example = parse_with(EXAMPLE, &host).unwrap_or_else(|error| panic!("{error}"));
    // The configuration from a minimal file.
    let default = parse_with(MINIMAL, &host).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(example.shown.to_string(), default.shown.to_string());

    // Keys without a default are comments: the example must stay valid when they are uncommented.
    let mut all = String::new();
    for line in EXAMPLE.lines() {
        let trimmed = line.trim_start();
        let commented = trimmed.strip_prefix("# ").filter(|rest| {
            let key = rest.trim_start().trim_start_matches("- ");
            let key = key.split(':').next().unwrap_or_default();
            let one_word = !key.is_empty()
                && key
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            one_word && rest.contains(": ") != rest.ends_with(':')
        });
        let indent = line.len() - trimmed.len();
        // A line of prose ends with a full stop or comma; a key has a value or keys below it.
        match commented.filter(|rest| !rest.ends_with('.') && !rest.ends_with(',')) {
            Some(key) => all.extend([&" ".repeat(indent), key, "\n"]),
            None => all.extend([line, "\n"]),
        }
    }
    let mentioned: BTreeSet<String> = all
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| {
            Some(
                line.trim_start()
                    .trim_start_matches("- ")
                    .split_once(':')?
                    .0
                    .to_owned(),
            )
        })
        .collect();
    for key in known_keys() {
        assert!(
            mentioned.contains(&key),
            "config/example.yaml does not mention `{key}`"
        );
    }
    for key in &mentioned {
        assert!(
            known_keys().contains(key),
            "config/example.yaml mentions `{key}`, which is no key"
        );
    }
}

/// Every known key, collected from the problems about unknown ones.
fn known_keys() -> BTreeSet<String> {
    let text = "
x: 1
global: {x: 1}
limits: {x: 1}
brokers: [{x: 1, url: 'amqps://h', tls: {x: 1}, sentinel: {x: 1}}]
metrics: {x: 1, buckets: {x: 1, overrides: [{x: 1, match: a}]}, task_filter: {x: 1}, relabel_configs: [{x: 1, target_label: a}]}
remote_write:
  - {x: 1, url: 'http://h', tls_config: {x: 1}, metadata_config: {x: 1}, queue_config: {x: 1}, basic_auth: {x: 1}, replica: {x: 1, cluster: a, replica: b}}
  - {url: 'http://i', authorization: {x: 1}, http_headers: {a: {x: 1}}}
  - {url: 'http://i', oauth2: {x: 1, tls_config: {x: 1}}, sigv4: {x: 1}}
pushgateway: [{x: 1, url: 'http://h'}]
http: {x: 1, listen: ':1', tls: {x: 1}, scrape: [{x: 1, path: /x}]}
";
    let problems = problems(text).into_iter();
    let lists = problems.filter_map(|line| Some(line.split_once("valid keys: ")?.1.to_owned()));
    let keys: BTreeSet<_> = lists
        .flat_map(|list| list.split(", ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(keys.len() > 50, "{keys:?}");
    // User-defined label names, which the example mentions.
    keys.into_iter()
        .chain(["job".to_owned(), "instance".to_owned()])
        .collect()
}

#[test]
fn unquoted_numbers_and_words_of_yaml_are_not_taken_for_others() {
    // YAML reads `on` as true, and the loader converts 1.7 to 2 if asked for a whole number.
    for text in [
        "metrics: {max_tasks: 1.7}",
        "metrics: {max_tasks: on}",
        "metrics: {prefix: 5}",
    ] {
        let found = problems(&format!("{LISTEN}brokers: [{{url: 'redis://h'}}]\n{text}"));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
    }
}

#[test]
fn variables_are_replaced_and_overrides_win() {
    let text = format!(
        "{LISTEN}brokers: [{{url: 'redis://${{HOST}}:${{PORT:-7000}}/1'}}]\nglobal: {{interval: 30s}}"
    );
    let environment = [
        ("HOST", "redis.example"),
        ("CELERIAC__GLOBAL__INTERVAL", "5s"),
        ("CELERIAC__METRICS__MAX_TASKS", "17"),
    ];
    let config = parse_with(&text, &environment).unwrap_or_else(|error| panic!("{error}"));

    assert_eq!(config.brokers[0].address(0), "redis.example:7000/1");
    assert_eq!(config.global.interval, Duration::from_secs(5));
    assert_eq!(config.metrics.limits.tasks_max, 17);
}

#[test]
fn wrong_overrides_are_told() {
    let text = format!("{LISTEN}brokers: [{{url: 'redis://h'}}]");
    let told = |name: &str, value: &str| {
        let error = parse_with(&text, &[(name, value)]).expect_err("a problem");
        error.to_string()
    };
    let unknown = told("CELERIAC__GLOBAL__INTERVALL", "5s");
    assert!(
        unknown.contains("global.intervall: unknown key (from the environment); did you mean"),
        "{unknown}"
    );
    let list = told("CELERIAC__BROKERS__0__URL", "redis://i");
    assert!(
        list.contains("an environment variable cannot override an entry of a list"),
        "{list}"
    );
}

#[test]
fn serializers_are_accepted_by_name_and_by_content_type() {
    let cases = [
        ("", "[json]"),
        ("accept_content: [msgpack, json]", "[msgpack, json]"),
        (
            "accept_content: [application/json, application/x-python-serialize, pickle]",
            "[json, pickle]",
        ),
        ("accept_content: [application/x-yaml]", "[yaml]"),
    ];
    for (keys, expected) in cases {
        let config = good(&format!("{LISTEN}brokers: [{{url: 'redis://h', {keys}}}]"));
        let shown = format!("accept_content: {expected}\n");
        assert!(config.shown.to_string().contains(&shown), "{keys}");
        for one in ContentType::READ {
            let named = expected.contains(one.name());
            assert_eq!(config.brokers[0].accept.has(one), named, "{keys} {one:?}");
        }
    }
}

#[test]
fn vhosts_are_those_of_celery() {
    let cases = [
        ("amqp://h", "/"),
        ("amqp://h/", "/"),
        ("amqp://h//", "/"),
        ("amqp://h/%2F", "/"),
        ("amqp://h/foo", "foo"),
        ("amqp://h//foo", "/foo"),
        ("amqp://h/foo%2Fbar", "foo/bar"),
    ];
    for (url, vhost) in cases {
        let Transport::Amqp(amqp) = broker(&format!("url: '{url}'")).transport else {
            panic!("{url}")
        };
        let server = amqp.server(0);
        assert_eq!(server.vhost, vhost, "{url}");
        assert_eq!(
            (server.port, server.username.as_str()),
            (5672, "guest"),
            "{url}"
        );
    }
    let Transport::Amqp(amqp) = broker("url: 'amqps://h/'").transport else {
        panic!("amqps")
    };
    let server = amqp.server(0);
    assert_eq!(
        (server.port, server.tls.as_ref()),
        (5671, Some(&crate::config::TlsConfig::default()))
    );
}

#[test]
fn several_servers_of_a_broker_are_kept_in_their_order() {
    let several = broker("url: 'amqp://u:p@a//;amqps://b:1/v'");
    let addresses: Vec<_> = (0..3).map(|at| several.address(at)).collect();
    assert_eq!(addresses, ["a:5672//", "b:1/v", "a:5672//"]);
    assert_eq!(several.servers(), 2);

    let sentinels = broker(
        "url: 'sentinel://:pw@a/2;sentinel://b:7', sentinel: {master_name: m, password: s}, queue_interval: 0",
    );
    assert_eq!(sentinels.address(0), "m@a:26379,b:7/2");
    assert_eq!(sentinels.poll.queue_interval, None);
    let Transport::Redis(redis) = sentinels.transport else {
        panic!("redis")
    };
    assert_eq!(redis.password, Some(Secret::Inline("pw".into())));
    let RedisAddress::Sentinel(sentinel) = redis.address else {
        panic!("sentinel")
    };
    assert_eq!(sentinel.password, Some(Secret::Inline("s".into())));
}

#[test]
fn redis_urls_are_those_of_celery() {
    let redis = |keys: &str| match broker(keys).transport {
        Transport::Redis(redis) => *redis,
        Transport::Amqp(_) => panic!("{keys}"),
    };
    let plain = redis("url: 'redis://ann:p%40w@h/3'");
    assert_eq!(
        plain.address,
        RedisAddress::Tcp {
            host: "h".into(),
            port: 6379,
            tls: None
        }
    );
    assert_eq!(
        (plain.database, plain.username.as_deref()),
        (3, Some("ann"))
    );
    assert_eq!(plain.password, Some(Secret::Inline("p@w".into())));

    let socket = redis("url: 'redis+socket:///tmp/r.sock?virtual_host=5'");
    assert_eq!(
        (socket.address, socket.database),
        (RedisAddress::Socket("/tmp/r.sock".into()), 5)
    );

    let secure = redis("url: 'rediss://h?ssl_cert_reqs=CERT_NONE'");
    let RedisAddress::Tcp { tls: Some(tls), .. } = secure.address else {
        panic!("TLS")
    };
    assert!(tls.insecure_skip_verify);
}

#[test]
fn a_block_of_prometheus_yml_works_when_pasted() {
    let config = good(
        "
brokers: [{url: 'redis://h'}]
remote_write:
  - url: https://mimir.example/api/v1/push
    name: mimir
    remote_timeout: 10s
    headers:
      X-Scope-OrgID: team-a
    basic_auth:
      username: '123'
      password_file: /run/secrets/mimir
    tls_config:
      insecure_skip_verify: true
    metadata_config:
      send: false
    queue_config:
      max_samples_per_send: 500
      min_backoff: 100ms
      max_backoff: 1m
",
    );
    let sink = &config.remote_write[0];
    assert_eq!(
        (sink.name.as_str(), sink.metadata_interval),
        ("mimir", None)
    );
    assert_eq!(sink.client.timeout, Duration::from_secs(10));
    assert_eq!(sink.queue.samples_max, Some(500));
    let password = Some(Secret::File("/run/secrets/mimir".into()));
    let username = Secret::Inline("123".into());
    assert_eq!(
        sink.client.authorization,
        Authorization::Basic { username, password }
    );
}

#[test]
fn a_login_in_a_url_is_basic_auth_and_goes_no_further() {
    let config = good(
        "{brokers: [{url: 'redis://h'}], remote_write: [{url: 'https://a%40b:hunter%3A2@h/w'}]}",
    );
    let sink = &config.remote_write[0];
    assert_eq!(sink.url.as_str(), "https://h/w");
    assert_eq!(
        sink.client.authorization,
        Authorization::Basic {
            username: Secret::Inline("a@b".into()),
            password: Some(Secret::Inline("hunter:2".into())),
        }
    );
    assert!(!config.shown.to_string().contains("hunter"));
}

#[test]
fn signatures_for_aws_take_their_keys_from_the_file_or_the_environment() {
    let text = format!(
        "{LISTEN}brokers: [{{url: 'redis://h'}}]\nremote_write: [{{url: 'http://h', sigv4: {{}}}}]"
    );
    let environment = [
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_SESSION_TOKEN", "lent"),
    ];
    let read = parse_with(&text, &environment);
    if cfg!(not(feature = "sigv4")) {
        let error = read.expect_err("not built in").to_string();
        let why = "remote_write[0].sigv4: this celeriac was built without AWS signatures; build it with `--features sigv4`";
        assert!(error.contains(why), "{error}");
        return;
    }
    let config = read.unwrap_or_else(|error| panic!("{error}"));
    let Authorization::SigV4(sigv4) = &config.remote_write[0].client.authorization else {
        panic!("sigv4");
    };
    assert_eq!(sigv4.region, "eu-west-1");
    let inline = |text: &str| Secret::Inline(text.into());
    assert_eq!(
        (&sigv4.access_key, &sigv4.secret_key, &sigv4.session_token),
        (&inline("AKID"), &inline("hunter2"), &Some(inline("lent")))
    );
}

#[test]
fn defaults_of_external_labels_can_be_changed_and_taken_away() {
    let labels = |text: &str| {
        let text = format!(
            "{LISTEN}brokers: [{{url: 'redis://h'}}]\nglobal: {{external_labels: {{{text}}}}}"
        );
        parse_with(&text, &[("HOSTNAME", "web-1")])
            .expect("good")
            .global
            .external_labels
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    assert_eq!(
        labels(""),
        pairs(&[("instance", "web-1"), ("job", "celery")])
    );
    assert_eq!(
        labels("job: shop, instance: '', region: eu"),
        pairs(&[("job", "shop"), ("region", "eu")])
    );
}

#[test]
fn only_yaml_and_toml_are_read_and_syntax_errors_say_where() {
    let read = |name: &str, text: &str| {
        Config::parse(text, Path::new(name), [])
            .expect_err("a problem")
            .to_string()
    };
    assert!(
        read("x.json", "{}").contains("expected a file name that ends in .yaml, .yml or .toml")
    );
    assert!(
        read("x.yaml", "a: [").contains("line"),
        "{}",
        read("x.yaml", "a: [")
    );
    assert!(
        read("x.toml", "a = ").contains("line"),
        "{}",
        read("x.toml", "a = ")
    );
}

#[test]
fn what_a_file_makes_of_little_text_is_limited() {
    // A variable can expand to much more than its name.
    let long = "x".repeat(100_000);
    let text = format!(
        "{LISTEN}brokers: [{{url: 'redis://h'}}]\nglobal: {{external_labels: {{a: '{}'}}}}",
        "${LONG}".repeat(1_000)
    );
    let error = parse_with(&text, &[("LONG", &long)]).expect_err("a limit");
    let expected = "global.external_labels.a: the variables in this file expand to more than 4 MiB";
    assert!(error.to_string().contains(expected), "{error}");

    // A message is longer than the key that it is about.
    let keys: String = (0..40_000).map(|key| format!("k{key}: x\n")).collect();
    let told = problems(&keys);
    assert_eq!(told.len(), 101);
    assert!(
        told[100].contains("further problems are omitted"),
        "{}",
        told[100]
    );
    let told = problems(&format!("? {}\n: x\n", "k".repeat(500_000)));
    assert!(told.iter().all(|problem| problem.len() < 5_000));

    // A compiled expression is larger than its text.
    let told = problems(&rules(1, "[a-z]{1000}{1000}"));
    assert!(
        told[0].contains("exceeds size limit of 1048576 bytes"),
        "{told:?}"
    );
    // A few expressions exist by default.
    assert_eq!(problems(&rules(990, "a")), [""; 0]);
    let told = problems(&rules(1_001, "a"));
    let expected =
        "metrics.relabel_configs[1000].regex: more than 1000 regular expressions in one file";
    assert_eq!(told.last().map(String::as_str), Some(expected));
}

/// A configuration with `count` relabeling rules.
fn rules(count: usize, regex: &str) -> String {
    let rule = format!("{{action: drop, source_labels: [a], regex: '{regex}'}}, ");
    format!(
        "{LISTEN}brokers: [{{url: 'redis://h'}}]\nmetrics: {{relabel_configs: [{}]}}",
        rule.repeat(count)
    )
}

#[test]
fn a_key_is_no_path_and_toml_has_its_limits_too() {
    // The library would create a list with that many entries.
    let told = problems(&format!(
        "{LISTEN}brokers: [{{url: 'redis://h'}}]\n'x[4000000000]': y"
    ));
    assert!(
        told[0].starts_with("x[4000000000]: unknown key"),
        "{told:?}"
    );
    let text = format!("{LISTEN}brokers: [{{url: 'redis://h'}}]");
    let deep = format!("CELERIAC__{}", "A__".repeat(20_000));
    for name in ["CELERIAC__BROKERS[4000000000]", &deep] {
        let error = parse_with(&text, &[(name, "x")]).expect_err("a problem");
        assert!(error.to_string().contains("unknown key"), "{error:.200}");
    }

    let read = |text: &str| {
        let error = Config::parse(text, Path::new("x.toml"), []).expect_err("a problem");
        error.to_string()
    };
    let nested = |open: &str| format!("x = {}", open.repeat(50_000));
    for text in [nested("["), nested("{a=")] {
        let error = read(&text);
        assert!(error.contains("line 1"), "{error:.200}");
    }
    let dotted = read(&format!("{}x = 1", "a.".repeat(50_000)));
    assert!(dotted.contains("recursion limit"), "{dotted:.200}");
    let indexed = read("'x[4000000000]' = 1");
    assert!(indexed.contains("x[4000000000]: unknown key"), "{indexed}");
}
