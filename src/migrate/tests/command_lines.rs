//! Command lines as in READMEs, systemd units, shell scripts and `docker run`.

use super::*;

/// A command line, and what the file has: the broker's URL and the port.
struct Case(Exporter, &'static str, &'static str, u16);

const CELERY_EXPORTER: &[Case] = &[
    Case(
        Exporter::CeleryExporter,
        "celery-exporter --broker-url=redis://redis:6379/0",
        "redis://redis:6379/0",
        9808,
    ),
    Case(
        Exporter::CeleryExporter,
        "python cli.py --broker-url redis://localhost:6379/1 --port 9999",
        "redis://localhost:6379/1",
        9999,
    ),
    Case(
        Exporter::CeleryExporter,
        "python3 /app/cli.py --broker-url=amqp://guest:guest@rabbitmq:5672// --accept-content json",
        "\"amqp://guest:guest@rabbitmq:5672//\"",
        9808,
    ),
    Case(
        Exporter::CeleryExporter,
        "/usr/local/bin/celery-exporter --broker-url redis://r:6379 --retry-interval 5 --buckets 1,9",
        "redis://r:6379",
        9808,
    ),
    Case(
        Exporter::CeleryExporter,
        "docker run -p 9808:9808 danihodovic/celery-exporter --broker-url=redis://redis.consul/1",
        "redis://redis.consul/1",
        9808,
    ),
    Case(
        Exporter::CeleryExporter,
        "docker run -d --name celery-exporter --restart=always -p 9808:9808 \
         -e CE_BROKER_URL=redis://redis danihodovic/celery-exporter:0.10.8",
        "redis://redis",
        9808,
    ),
    Case(
        Exporter::CeleryExporter,
        "docker container run --rm -it --network host --env CE_PORT=9900 \
         ghcr.io/danihodovic/celery-exporter --broker-url='redis://:${REDIS_PASSWORD}@redis/0'",
        "\"redis://:${REDIS_PASSWORD}@redis/0\"",
        9900,
    ),
    Case(
        Exporter::CeleryExporter,
        "podman run --env-file /etc/exporter.env -p 9808:9808 docker.io/danihodovic/celery-exporter",
        "\"${CE_BROKER_URL}\"",
        9808,
    ),
    Case(
        Exporter::CeleryExporter,
        "docker run danihodovic/celery-exporter --broker-url=sentinel://s:26379/1 \
         --broker-transport-option master_name=my_master \
         --broker-transport-option sentinel_kwargs=\"{\\\"password\\\": \\\"secret\\\"}\"",
        "sentinel://s:26379/1",
        9808,
    ),
    Case(
        Exporter::CeleryExporter,
        "ExecStart=/opt/venv/bin/python -u /opt/exporter/cli.py --broker-url=$BROKER \\\n --port=$PORT",
        "\"${BROKER}\"",
        1,
    ),
    Case(
        Exporter::CeleryExporter,
        "/bin/sh -ec 'cd /app && exec celery-exporter --broker-url=$(BROKER)'",
        "\"${BROKER}\"",
        9808,
    ),
    Case(
        Exporter::CeleryExporter,
        "sudo -u celery CE_BROKER_URL=redis://h /usr/bin/celery-exporter --port=9810",
        "redis://h",
        9810,
    ),
    Case(
        Exporter::CeleryExporter,
        "tini -g -- celery-exporter --broker-url ${SCHEME}://h:${PORT:-6379} --host ::",
        "\"${SCHEME}://h:${PORT:-6379}\"",
        9808,
    ),
];

const OTHERS: &[Case] = &[
    Case(
        Exporter::CeleryPrometheusExporter,
        "celery-prometheus-exporter --broker redis://redis:6379/0 --queue-list celery high",
        "redis://redis:6379/0",
        8888,
    ),
    Case(
        Exporter::CeleryPrometheusExporter,
        "docker run -d -p 8888:8888 zerok/celery-prometheus-exporter:1.7.0-celery4 \
         --broker=redis://redis:6379/1 --enable-events",
        "redis://redis:6379/1",
        8888,
    ),
    Case(
        Exporter::CeleryPrometheusExporter,
        "python /app/celery_prometheus_exporter.py --broker amqp://rabbit --addr 0.0.0.0:9540 --tz UTC",
        "amqp://rabbit",
        9540,
    ),
    Case(
        Exporter::CeleryPrometheusExporter,
        "BROKER_URL=redis://h/3 celery-prometheus-exporter --addr 127.0.0.1:8889",
        "redis://h/3",
        8889,
    ),
    Case(
        Exporter::Ovalmoney,
        "celery-exporter -b redis://redis:6379/0 -l 0.0.0.0:9541 -n shop",
        "redis://redis:6379/0",
        9541,
    ),
    Case(
        Exporter::Ovalmoney,
        "python3 -m celery_exporter --broker-url=amqp://rabbit --listen-address=0.0.0.0:9540 -m 1000",
        "amqp://rabbit",
        9540,
    ),
    Case(
        Exporter::Ovalmoney,
        "docker run -it --rm -p 9540:9540 ovalmoney/celery-exporter -b redis://h:6380/0 --use-ssl \
         --ssl-verify CERT_NONE --ssl-ca-certs /ca.pem",
        "rediss://h:6380/0",
        9540,
    ),
    Case(
        Exporter::Flower,
        "celery -A proj flower --port=5566 --broker=amqp://guest:guest@localhost/v",
        "\"amqp://guest:guest@localhost/v\"",
        5566,
    ),
    Case(
        Exporter::Flower,
        "celery --broker=redis://localhost:6379/0 flower",
        "redis://localhost:6379/0",
        5555,
    ),
    Case(
        Exporter::Flower,
        "flower --broker=redis://h --url_prefix=flower --address=0.0.0.0 --basic_auth=user:pass",
        "redis://h",
        5555,
    ),
    Case(
        Exporter::Flower,
        "docker run -p 5555:5555 mher/flower:2.0 celery --broker=redis://redis flower",
        "redis://redis",
        5555,
    ),
    Case(
        Exporter::Flower,
        "celery --app=config.celery_app --broker=\"${BROKER}\" --workdir=/app/x flower \
         --persistent=True --db=/data/flower.db --task_runtime_metric_buckets=1,5,inf",
        "\"${BROKER}\"",
        5555,
    ),
    Case(
        Exporter::Flower,
        "sh -c 'celery inspect ping && celery -A app flower --port=5557 -b amqp://rabbit'",
        "amqp://rabbit",
        5557,
    ),
    Case(
        Exporter::Flower,
        "poetry run celery -A app.worker -b redis://redis:6379 flower --loglevel=info",
        "redis://redis:6379",
        5555,
    ),
    Case(
        Exporter::Zeit,
        "bin/celery -b redis://h prometheus --host=127.0.0.1 --port=9692",
        "redis://h",
        9692,
    ),
    Case(
        Exporter::Zeit,
        "celery -A app --broker redis://h/2 prometheus --queuelength-interval=5",
        "redis://h/2",
        9691,
    ),
];

#[test]
fn a_command_line_becomes_a_file_for_the_same_broker_and_port() {
    for Case(exporter, line, url, port) in CELERY_EXPORTER.iter().chain(OTHERS) {
        let made = whole(*exporter, line, &[]);
        let text = made.unwrap_or_else(|problems| panic!("{line}: {problems:?}"));
        accepted(line, &text, (*exporter, url, *port));
    }
}

#[test]
fn a_single_argument_is_a_whole_line() {
    let line = "celery-exporter --broker-url redis://h";
    let input = Input {
        arguments: vec![line.to_owned()],
        ..Input::default()
    };
    let text = migrate(Exporter::CeleryExporter, &input, |_| None).expect("it can be used");
    accepted(line, &text, (Exporter::CeleryExporter, "redis://h", 9808));
}

#[test]
fn an_option_that_the_exporter_does_not_have_is_listed_without_its_value() {
    let line = "celery-exporter --broker-url redis://h -Qhigh,low --frobnicate secret --prot=1 x \
                --redbeat-redis-url redis://h/1";
    let text = whole(Exporter::CeleryExporter, line, &[]).expect("it can be used");
    for expected in [
        "#   --frobnicate: unknown option of this exporter\n",
        "#   --prot: unknown option of this exporter; did you mean --port?\n",
        "#   x: not an option of this exporter\n",
        "#   --redbeat-redis-url: ",
        "    queues: [high, low]\n",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn buckets_are_carried_over() {
    for (exporter, line, expected) in [
        (
            Exporter::CeleryExporter,
            "--broker-url redis://h --buckets 0.5,1,+Inf --queue-wait-buckets 2,3",
            "  exporter_buckets:\n    runtime: [0.5, 1]\n    wait: [2, 3]\n",
        ),
        (
            Exporter::CeleryPrometheusExporter,
            "RUNTIME_HISTOGRAM_BUCKETS=1,2 LATENCY_HISTOGRAM_BUCKETS=3 celery-prometheus-exporter",
            "  exporter_buckets:\n    runtime: [1, 2]\n    wait: [3]\n",
        ),
        (
            Exporter::Flower,
            "-b redis://h --task-runtime-metric-buckets=5,10",
            "  exporter_buckets:\n    runtime: [5, 10]\n",
        ),
    ] {
        let file = made(exporter, line, &[]);
        assert!(file.contains(expected), "{file}");
    }
    let line = "--broker-url redis://h --buckets 1,x";
    let problems = whole(Exporter::CeleryExporter, line, &[]).expect_err("not a number");
    let expected = "--buckets: expected numbers separated by commas, found `1,x`";
    assert_eq!(problems, [expected]);
}

#[test]
fn the_paths_of_probes_are_those_of_the_exporter() {
    for (exporter, line, expected) in [
        (
            Exporter::CeleryExporter,
            "--broker-url redis://h",
            "  healthy_paths: [/]\n  ready_paths: [/health]\n",
        ),
        (
            Exporter::Flower,
            "-b redis://h",
            "  healthy_paths: [/, /healthcheck]\n",
        ),
        (
            Exporter::Flower,
            "-b redis://h --url_prefix=/flower/",
            "  healthy_paths: [/flower/, /flower/healthcheck]\n",
        ),
        (Exporter::Zeit, "-b redis://h", "    - path: /\n"),
    ] {
        let file = made(exporter, line, &[]);
        assert!(file.contains(expected), "{file}");
    }
}

#[test]
fn a_value_is_inserted_and_a_reference_to_another_is_kept() {
    let env_file = "# Broker\nexport HOST=redis\nCE_BROKER_URL='redis://$(HOST)/${DB}'\n\nX\n";
    let input = Input {
        env_files: vec![env_file.to_owned()],
        ..Input::default()
    };
    let text = migrate(Exporter::CeleryExporter, &input, |_| None).expect("it can be used");
    assert!(text.contains("#   DB: its value was not given\n"), "{text}");
    let url = "\"redis://redis/${DB}\"";
    accepted(env_file, &text, (Exporter::CeleryExporter, url, 9808));
}

#[test]
fn a_rule_refers_to_no_variable() {
    let line = "--broker-url redis://h --static-label env=$ENV --metric-prefix $PREFIX";
    let text = whole(Exporter::CeleryExporter, line, &[]).expect("it can be used");
    for option in ["--static-label", "--metric-prefix"] {
        let expected = format!("#   {option}: its value is a variable");
        assert!(text.contains(&expected), "{text}");
    }
    let line = "ENV=live celery-exporter --broker-url redis://h --static-label env=$ENV";
    let file = made(Exporter::CeleryExporter, line, &[]);
    assert!(file.contains("replacement: live"), "{file}");
}
