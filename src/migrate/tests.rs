mod command_lines;
mod manifests;

use super::words::split;
use super::*;

/// The file for a command line, without its header.
fn made(exporter: Exporter, line: &str, environment: &[(&str, &str)]) -> String {
    let whole = whole(exporter, line, environment).expect("it can be used");
    let lines = whole.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

fn whole(
    exporter: Exporter,
    line: &str,
    environment: &[(&str, &str)],
) -> Result<String, Vec<String>> {
    let input = Input {
        arguments: split(line),
        ..Input::default()
    };
    migrate(exporter, &input, |name| {
        let set = environment.iter().find(|(known, _)| *known == name);
        set.map(|(_, value)| (*value).to_owned())
    })
}

/// Checks that a file is accepted once its variables are set, and what it has.
fn accepted(of: &str, text: &str, (exporter, url, port): (Exporter, &str, u16)) {
    let variables = [
        ("BROKER", "redis://h"),
        ("CE_BROKER_URL", "redis://h"),
        ("CELERY_BROKER_URL", "redis://h"),
        ("SCHEME", "redis"),
        ("PORT", "1"),
        ("DB", "2"),
        ("PASSWORD", "x"),
        ("REDIS_PASSWORD", "x"),
        ("CE_QUEUES", "a"),
        ("FLOWER_BASIC_AUTH", "x"),
    ];
    let variables = variables.map(|(name, value)| (name.into(), value.into()));
    let config = Config::parse(text, Path::new("x.yaml"), variables);
    let config = config.unwrap_or_else(|error| panic!("{of}: {error}\n{text}"));
    assert!(text.contains(&format!("  - url: {url}\n")), "{of}: {text}");
    let http = config.http.expect("a listener");
    assert_eq!(http.listen.port(), port, "{of}: {text}");
    for page in &http.scrape {
        assert_eq!(page.profile.name(), exporter.name(), "{of}: {text}");
    }
}

#[test]
fn what_celery_exporter_is_told_becomes_keys() {
    let line = "--broker-url=sentinel://s1:26379/0;sentinel://s2:26379/0 \
        --broker-transport-option master_name=mymaster --broker-transport-option global_keyprefix=app. \
        --broker-transport-option fanout_patterns=False --broker-transport-option priority_steps=[0,5] --broker-transport-option sep=: \
        --broker-ssl-option ssl_ca_certs=/ca.pem --broker-ssl-option ssl_cert_reqs=CERT_NONE \
        -Q high,low --worker-timeout 60 --purge-offline-worker-metrics 660 --accept-content json,pickle \
        --generic-hostname-task-sent-metric --metric-prefix=app_ --static-label team=a$b --port 9000";
    let expected = r#"brokers:
  - url: "sentinel+tls://s1:26379/0;sentinel+tls://s2:26379/0"
    master: x
"#;
    let file = made(Exporter::CeleryExporter, line, &[]);
    let expected = expected.replace(
        "    master: x\n",
        r#"    fanout_patterns: false
    global_keyprefix: app.
    priority_steps: [0,5]
    sep: ":"
    accept_content: [json, pickle]
    queues: [high, low]
    tls:
      ca_file: /ca.pem
      insecure_skip_verify: true
    sentinel:
      master_name: mymaster
metrics:
  worker_timeout: "60s"
  worker_retention: "600s"
  relabel_configs:
    - source_labels: [__name__]
      regex: celery_task_sent_total
      target_label: hostname
      replacement: generic
    - target_label: team
      replacement: "a$$b"
    - source_labels: [__name__]
      regex: "celery_(.*)"
      target_label: __name__
      replacement: "app_$1"
http:
  listen: "0.0.0.0:9000"
  healthy_paths: [/]
  ready_paths: [/health]
  scrape:
    - path: /metrics
      profile: celery-exporter
"#,
    );
    assert_eq!(file, expected);
}

#[test]
fn what_stands_in_the_environment_counts_behind_the_command_line() {
    let environment = [
        ("CE_BROKER_URL", "redis://r"),
        ("CE_PORT", "1"),
        ("CE_STATIC_LABEL", "a=1 b=2"),
    ];
    let file = made(Exporter::CeleryExporter, "--port 2", &environment);
    assert!(file.contains("listen: \"0.0.0.0:2\""), "{file}");
    assert!(file.contains("url: redis://r"), "{file}");
    assert_eq!(file.matches("target_label").count(), 2, "{file}");
}

#[test]
fn a_worker_that_never_ends_stays_as_long_as_can_be_said() {
    let line = "--broker-url redis://r --worker-timeout 0 --purge-offline-worker-metrics 0";
    let file = made(Exporter::CeleryExporter, line, &[]);
    assert!(file.contains("worker_timeout: \"365d\""), "{file}");
    assert!(file.contains("worker_retention: \"365d\""), "{file}");
    let file = made(Exporter::CeleryExporter, "--broker-url redis://r", &[]);
    assert!(file.contains("worker_timeout: \"300s\""), "{file}");
    assert!(!file.contains("worker_retention"), "{file}");
}

#[test]
fn without_a_word_the_others_watch_their_default() {
    for (exporter, port) in [
        (Exporter::CeleryPrometheusExporter, 8888),
        (Exporter::Ovalmoney, 9540),
    ] {
        let expected = format!(
            "brokers:\n  - url: redis://redis:6379/0\nhttp:\n  listen: \"0.0.0.0:{port}\"\n  scrape:\n    - path: /metrics\n      profile: {0}\n    - path: /\n      profile: {0}\n",
            exporter.name()
        );
        assert_eq!(made(exporter, "", &[]), expected);
    }
}

#[test]
fn queues_come_as_words_or_with_commas() {
    let expected = "queues: [celery, high]";
    let exporter = Exporter::CeleryPrometheusExporter;
    let file = made(exporter, "--queue-list celery high --enable-events", &[]);
    assert!(file.contains(expected), "{file}");
    assert!(file.contains("enable_events: true"), "{file}");
    let file = made(exporter, "", &[("QUEUE_LIST", "celery,high")]);
    assert!(file.contains(expected), "{file}");
}

#[test]
fn a_namespace_is_a_rule() {
    let line = r#"-b redis://r -n shop --transport-options '{"fanout_prefix":"/x."}'"#;
    let file = made(Exporter::Ovalmoney, line, &[]);
    assert!(file.contains("fanout_prefix: /x."), "{file}");
    assert!(file.contains("replacement: shop"), "{file}");
}

#[test]
fn flower_stands_behind_celery() {
    let line = "celery -A app --broker=amqp://h// flower --url_prefix=flower --address=127.0.0.1 \
        --purge_offline_workers=60 --certfile=/c --keyfile=/k --persistent --max-tasks=5";
    let text = whole(Exporter::Flower, line, &[]).expect("it can be used");
    let expected = "brokers:
  - url: amqp://h//
    enable_events: true
metrics:
  worker_retention: \"60s\"
http:
  listen: \"127.0.0.1:5555\"
  tls:
    cert_file: /c
    key_file: /k
  healthy_paths: [/flower/, /flower/healthcheck]
  scrape:
    - path: /flower/metrics
      profile: flower
";
    assert!(text.ends_with(expected), "{text}");
    for option in ["--app", "--persistent", "--max-tasks"] {
        assert!(text.contains(&format!("#   {option}: ")), "{text}");
    }
    let file = made(
        Exporter::Flower,
        "flower --enable-events=False",
        &[("CELERY_BROKER_URL", "redis://r")],
    );
    assert!(!file.contains("enable_events"), "{file}");
}

#[test]
fn what_cannot_be_used_is_told_all_at_once() {
    let told = |exporter, line: &str| whole(exporter, line, &[]).expect_err("it cannot be used");
    assert_eq!(
        told(
            Exporter::CeleryExporter,
            "--broker-ulr redis://r --port 1 --host"
        ),
        [
            "--host: requires a value",
            "--broker-ulr: unknown option of this exporter; did you mean --broker-url?",
        ]
    );
    assert_eq!(
        told(Exporter::CeleryExporter, ""),
        ["--broker-url: missing; set it or CE_BROKER_URL"]
    );
    let problems = told(Exporter::CeleryExporter, "--broker-url http://h");
    assert!(problems[0].starts_with("brokers[0].url: "), "{problems:?}");
    assert_eq!(
        told(
            Exporter::CeleryExporter,
            "--broker-url redis://:a${b@h --static-label x"
        ),
        [
            "--static-label: expected key=value, found `x`",
            "a value contains `${`, which marks a variable in a celeriac file; pass the value \
             through an environment variable"
        ]
    );
    let problems = told(Exporter::Ovalmoney, "--transport-options [1");
    let expected = "--transport-options: expected a JSON object: ";
    assert!(problems[0].starts_with(expected), "{problems:?}");
}
