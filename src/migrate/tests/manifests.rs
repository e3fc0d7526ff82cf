//! Manifests as charts render them and as people write them.

use super::*;

const HELM: &str = r#"
# Source: celery-exporter/templates/serviceaccount.yaml
apiVersion: v1
kind: ServiceAccount
metadata: {name: release-celery-exporter}
---
# Source: celery-exporter/templates/service.yaml
apiVersion: v1
kind: Service
metadata: {name: release-celery-exporter}
spec:
  ports: [{port: 9808, targetPort: http}]
---
# Source: celery-exporter/templates/deployment.yaml
apiVersion: apps/v1
kind: Deployment
metadata: {name: release-celery-exporter}
spec:
  replicas: 1
  template:
    spec:
      serviceAccountName: release-celery-exporter
      containers:
        - name: celery-exporter
          image: "danihodovic/celery-exporter:0.12.0"
          ports: [{name: http, containerPort: 9808}]
          readinessProbe:
            httpGet: {path: /health, port: http}
          env:
            - name: CE_BROKER_URL
              value: redis://redis-master:6379/0
"#;

const SECRET: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: monitoring}
spec:
  template:
    spec:
      initContainers:
        - {name: wait, image: busybox, command: [sh, -c, "until nc -z redis 6379; do sleep 1; done"]}
      containers:
        - name: nginx
          image: nginx
        - name: exporter
          image: registry.example.com/mirror/celery-exporter@sha256:0123
          command: ["python", "/app/cli.py"]
          args:
            - --broker-url=redis://:$(PASSWORD)@$(HOST):6379/0
            - --port
            - "9100"
          env:
            - name: HOST
              value: redis
            - name: PASSWORD
              valueFrom: {secretKeyRef: {name: redis, key: password}}
            - name: POD
              valueFrom: {fieldRef: {fieldPath: metadata.name}}
"#;

const CONFIG_MAP: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {CE_BROKER_URL: "redis://from-map/0", CE_PORT: "9200"}
---
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Pod
    metadata: {name: exporter}
    spec:
      containers:
        - name: main
          image: danihodovic/celery-exporter
          envFrom: [{configMapRef: {name: settings}}]
          env:
            - name: CE_QUEUES
              valueFrom: {configMapKeyRef: {name: queues, key: all}}
"#;

const ENV_FROM: &str = r#"
kind: Deployment
metadata: {name: exporter}
spec:
  template:
    spec:
      containers:
        - name: main
          image: danihodovic/celery-exporter
          envFrom: [{secretRef: {name: broker}}]
"#;

const COMPOSE: &str = r#"
version: "3.8"
x-logging: &logging
  restart: unless-stopped
  environment: &environment
    TZ: UTC
services:
  redis:
    image: redis:7
  worker:
    image: app
    command: celery -A app worker --loglevel=info
  celery-exporter:
    <<: *logging
    image: danihodovic/celery-exporter:latest
    entrypoint: ["python", "/app/cli.py"]
    command: --broker-url=redis://:${REDIS_PASSWORD:?not set}@redis:6379/0
    environment:
      <<: *environment
      CE_PORT: 9901
      CE_STATIC_LABEL: price=$$5
    ports: ["9808:9901"]
  flower:
    image: mher/flower
    command: ["celery", "flower", "--broker=redis://redis:6379/0", "--port=5556"]
    environment:
      - FLOWER_URL_PREFIX=flower
      - FLOWER_BASIC_AUTH
"#;

const COMPOSE_APP: &str = r#"
services:
  dashboard:
    build: .
    command: sh -c "celery -A app --broker=$${CELERY_BROKER_URL} flower --port=5555"
    env_file:
      - .env
      - {path: other.env, required: false}
  exporter:
    image: zerok/celery-prometheus-exporter
    environment:
      - BROKER_URL=amqp://guest:guest@rabbitmq:5672//
      - QUEUE_LIST=celery,high
  metrics:
    image: app
    command: celery -A app prometheus --port 9700
    environment: {CELERY_BROKER_URL: "redis://redis/1"}
"#;

const OVALMONEY: &str = r#"
kind: Deployment
metadata: {name: celery-exporter}
spec:
  template:
    spec:
      containers:
        - name: celery-exporter
          image: "ovalmoney/celery-exporter:1.5.1"
          env:
            - {name: CELERY_EXPORTER_BROKER_URL, value: redis://redis:6379/0}
            - {name: CELERY_EXPORTER_NAMESPACE, value: shop}
          livenessProbe: {httpGet: {path: /, port: http}}
"#;

fn of_file(exporter: Exporter, text: &str) -> Result<String, Vec<String>> {
    let input = Input {
        manifest: Some(text.to_owned()),
        ..Input::default()
    };
    migrate(exporter, &input, |_| panic!("another environment"))
}

#[test]
fn the_container_of_the_exporter_is_found_and_read() {
    for (exporter, text, url, port) in [
        (
            Exporter::CeleryExporter,
            HELM,
            "redis://redis-master:6379/0",
            9808,
        ),
        (
            Exporter::CeleryExporter,
            SECRET,
            "\"redis://:${PASSWORD}@redis:6379/0\"",
            9100,
        ),
        (
            Exporter::CeleryExporter,
            CONFIG_MAP,
            "redis://from-map/0",
            9200,
        ),
        (
            Exporter::CeleryExporter,
            ENV_FROM,
            "\"${CE_BROKER_URL}\"",
            9808,
        ),
        (
            Exporter::CeleryExporter,
            COMPOSE,
            "\"redis://:${REDIS_PASSWORD}@redis:6379/0\"",
            9901,
        ),
        (Exporter::Flower, COMPOSE, "redis://redis:6379/0", 5556),
        (
            Exporter::Flower,
            COMPOSE_APP,
            "\"${CELERY_BROKER_URL}\"",
            5555,
        ),
        (
            Exporter::CeleryPrometheusExporter,
            COMPOSE_APP,
            "\"amqp://guest:guest@rabbitmq:5672//\"",
            8888,
        ),
        (Exporter::Zeit, COMPOSE_APP, "redis://redis/1", 9700),
        (Exporter::Ovalmoney, OVALMONEY, "redis://redis:6379/0", 9540),
    ] {
        let made = of_file(exporter, text);
        let made = made.unwrap_or_else(|problems| panic!("{exporter:?} {url}: {problems:?}"));
        accepted(text, &made, (exporter, url, port));
    }
}

#[test]
fn the_file_says_where_its_variables_come_from() {
    for (text, expected) in [
        (SECRET, "#   PASSWORD: key password of secret redis\n"),
        (CONFIG_MAP, "#   --queues: its value is a variable"),
        (ENV_FROM, "#   variables from secret broker: "),
        (COMPOSE, "#   REDIS_PASSWORD: its value was not given\n"),
        (COMPOSE, "      replacement: \"$$5\"\n"),
    ] {
        let made = of_file(Exporter::CeleryExporter, text).expect("it can be used");
        assert!(made.contains(expected), "{expected}: {made}");
    }
}

#[test]
fn options_and_environment_files_come_on_top() {
    let input = Input {
        arguments: vec!["--broker-url=redis://mine".to_owned()],
        manifest: Some(ENV_FROM.to_owned()),
        env_files: vec!["CE_PORT=9300".to_owned()],
    };
    let text = migrate(Exporter::CeleryExporter, &input, |_| None).expect("it can be used");
    accepted("", &text, (Exporter::CeleryExporter, "redis://mine", 9300));
}

#[test]
fn a_file_without_the_exporter_or_with_several_is_refused() {
    let told = |exporter, text: &str| of_file(exporter, text).expect_err("it cannot be used");
    assert_eq!(
        told(Exporter::Flower, SECRET),
        [
            "found no container that runs flower, only:",
            "  Deployment monitoring, container nginx",
            "  Deployment monitoring, container exporter",
        ]
    );
    assert_eq!(
        told(Exporter::CeleryExporter, &format!("{SECRET}---{ENV_FROM}")),
        [
            "several containers run celery-exporter; leave only one in the file:",
            "  Deployment monitoring, container exporter",
            "  Deployment exporter, container main",
        ]
    );
    assert_eq!(
        told(Exporter::Zeit, "a: 1"),
        ["found no container that runs zeit, and no other containers either"]
    );
    let problems = told(
        Exporter::Flower,
        "labels:\n  {{- include \"x\" . | nindent 4 }}\n",
    );
    let hint = "; render the chart first, with `helm template`";
    assert!(problems[0].ends_with(hint), "{problems:?}");
}
