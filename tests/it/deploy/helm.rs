//! The chart, rendered by Helm itself.

mod values;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::copies::{dashboards, rules};
use super::manifests::{Manifests, documented, helm, items, named, repository, said, text};
use super::pods::{self, Except};

/// Returns the values that every release needs.
fn values() -> Value {
    json!({
        "config": {
            "brokers": [{
                "url": "amqp://${BROKER_USERNAME}@rabbitmq:5672//",
                "password_file": "/run/secrets/broker/password",
            }],
            "remote_write": [{"url": "http://prometheus-operated.monitoring:9090/api/v1/write"}],
        },
        "secretFiles": [{"name": "broker", "secret": "celeriac-broker"}],
        "env": [{
            "name": "BROKER_USERNAME",
            "valueFrom": {"secretKeyRef": {"name": "celeriac-broker", "key": "username"}},
        }],
    })
}

/// Merges values, as Helm does with several values files.
fn with(mut base: Value, more: &Value) -> Value {
    if let (Some(base), Some(more)) = (base.as_object_mut(), more.as_object()) {
        for (key, value) in more {
            let under = base.remove(key).unwrap_or(Value::Null);
            base.insert(key.clone(), with(under, value));
        }
        return Value::Object(base.clone());
    }
    more.clone()
}

fn render(values: &Value, arguments: &[&str]) -> Result<String, String> {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, values.to_string()).expect("a writable folder");
    let mut template = helm();
    template
        .args(["template", "celeriac"])
        .arg(repository("deploy/helm/celeriac"))
        .args(["--namespace", "monitoring", "--values"])
        .arg(&file)
        .args(arguments);
    said(&mut template, "")
}

fn rendered(more: &Value, arguments: &[&str]) -> Manifests {
    let rendered = render(&with(values(), more), arguments);
    let yaml = rendered.unwrap_or_else(|problems| panic!("{more}:\n{problems}"));
    Manifests::check(&yaml).unwrap_or_else(|problems| panic!("{more}:\n{problems}"))
}

fn kinds(manifests: &Manifests) -> BTreeSet<&str> {
    let kinds = manifests.0.iter().map(|manifest| text(&manifest["kind"]));
    kinds.collect()
}

const ALWAYS: [&str; 6] = [
    "ConfigMap",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Service",
    "ServiceAccount",
    "StatefulSet",
];

#[test]
fn the_chart_is_clean() {
    let chart = repository("deploy/helm/celeriac");
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, values().to_string()).expect("a writable folder");
    let mut lint = helm();
    lint.args(["lint", "--strict", "--values"])
        .arg(file)
        .arg(chart);
    let said = said(&mut lint, "").expect("no warning");
    assert!(
        said.contains("1 chart(s) linted, 0 chart(s) failed"),
        "{said}"
    );
}

#[test]
fn a_release_with_a_broker_and_a_receiver_has_all_it_needs() {
    let manifests = rendered(&json!({}), &[]);
    pods::check(&manifests, Except::default());
    assert_eq!(kinds(&manifests), BTreeSet::from(ALWAYS));
    let set = manifests.one("StatefulSet");
    let claim = &set["spec"]["volumeClaimTemplates"][0];
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "1Gi");
}

#[test]
fn each_variant_is_valid_and_runs_celeriac_as_it_has_to_be() {
    let any_uid = Except {
        any_uid: true,
        ..Except::default()
    };
    let closed = Except {
        closed: true,
        ..Except::default()
    };
    let plain = Except::default();
    let cases = [
        (json!({"kind": "Deployment"}), plain),
        (
            json!({"kind": "Deployment", "persistence": {"existingClaim": "theirs"}}),
            plain,
        ),
        (
            json!({"kind": "Deployment", "persistence": {"enabled": false}}),
            plain,
        ),
        (json!({"persistence": {"enabled": false}}), plain),
        (json!({"platform": "openshift"}), any_uid),
        (
            json!({"config": {"data_dir": "/data", "http": {"listen": "0.0.0.0:8888"}}}),
            plain,
        ),
        (
            json!({"config": {"http": {"basic_auth_users": {
                "prometheus": "$2y$10$zwbaiDZXPYXBIlhJmOLrpujPQ0L1gPPFJbBn9MEOUmvBDQA5Bm9ha",
            }}}}),
            closed,
        ),
        // Numbers from a million up, which a careless template writes as 2e+06.
        (
            json!({"config": {"metrics": {"max_tasks": 2_000_000}}}),
            plain,
        ),
        (
            json!({"serviceMonitor": {"enabled": true, "labels": {"release": "x"}}}),
            plain,
        ),
        (
            json!({"podMonitor": {"enabled": true, "honorLabels": true, "metricRelabelings": [
                {"action": "drop", "sourceLabels": ["__name__"], "regex": "process_.*"},
            ]}}),
            plain,
        ),
        (
            json!({"config": {"global": {"grace_period": "1m"}}, "terminationGracePeriodSeconds": 65}),
            plain,
        ),
        (pair(), plain),
        (everything(), plain),
    ];
    for (more, except) in cases {
        pods::check(&rendered(&more, &[]), except);
    }
}

/// Returns the values for two daemons that read one stream.
fn pair() -> Value {
    json!({"replicas": 2, "config": {
        "brokers": [{"url": "amqp://u@h//", "delivery": "stream"}],
        "remote_write": [{"url": "http://mimir/push", "replica": {
            "cluster": "celery", "replica": "${CELERIAC_INSTANCE}",
        }}],
        "global": {"external_labels": {"instance": "celeriac"}},
    }})
}

/// Returns values that set everything that is off or empty by default.
fn everything() -> Value {
    json!({
        "image": {"repository": "registry.example.com/celeriac", "digest": format!("sha256:{}", "0".repeat(64))},
        "imagePullSecrets": [{"name": "registry"}],
        "nameOverride": "watcher",
        "fullnameOverride": "celery-watcher",
        "envFrom": [{"secretRef": {"name": "more"}}],
        "podAnnotations": {"a": "b"},
        "podLabels": {"team": "platform"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "monitoring", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]},
        ]}}},
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "watcher"}},
        }],
        "priorityClassName": "high",
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/ours", "readOnly": true}],
        "serviceAccount": {"annotations": {"a": "b"}},
        "service": {"annotations": {"a": "b"}},
        "persistence": {"storageClass": "fast"},
        "serviceMonitor": {
            "enabled": true,
            "relabelings": [{"action": "labeldrop", "regex": "pod"}],
            "tlsConfig": {"serverName": "watcher.example.com"},
            "basicAuth": {"username": {"name": "page", "key": "username"}},
            "authorization": {"credentials": {"name": "page", "key": "token"}},
        },
        "prometheusRule": {
            "enabled": true, "labels": {"release": "x"}, "runbooks": "https://wiki/celeriac/runbooks",
        },
        "dashboards": {"enabled": true, "annotations": {"grafana_folder": "Celery"}},
        "networkPolicy": {
            "brokers": {"to": [{"podSelector": {"matchLabels": {"app": "rabbitmq"}}}]},
            "receivers": {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
            "extraEgress": [{"ports": [{"protocol": "TCP", "port": 8080}]}],
        },
    })
}

#[test]
fn every_value_shows_in_what_is_rendered() {
    let all = Value::Array(rendered(&everything(), &[]).0).to_string();
    for word in [
        "registry.example.com/celeriac@sha256:0",
        r#""imagePullSecrets":[{"name":"registry"}]"#,
        r#""app.kubernetes.io/name":"watcher""#,
        r#""name":"celery-watcher""#,
        r#""secretRef":{"name":"more"}"#,
        r#""team":"platform""#,
        r#""nodeSelector":{"kubernetes.io/os":"linux"}"#,
        r#""key":"monitoring""#,
        "nodeSelectorTerms",
        "ScheduleAnyway",
        r#""priorityClassName":"high""#,
        "/etc/ssl/ours",
        r#""storageClassName":"fast""#,
        "labeldrop",
        r#""serverName":"watcher.example.com""#,
        r#""basicAuth":{"username":{"key":"username","name":"page"}}"#,
        r#""authorization":{"credentials":{"key":"token","name":"page"}}"#,
        r#""release":"x""#,
        r#""base":"https://wiki/celeriac/runbooks""#,
        r#""grafana_folder":"Celery""#,
        r#""app":"rabbitmq""#,
        "10.0.0.0/8",
        "8080",
    ] {
        assert!(all.contains(word), "{word}");
    }
}

#[test]
fn what_is_off_is_not_rendered() {
    let none = json!({
        "networkPolicy": {"enabled": false},
        "podDisruptionBudget": {"enabled": false},
        "serviceAccount": {"create": false},
        "existingConfigMap": "theirs",
    });
    let manifests = rendered(&none, &[]);
    assert_eq!(
        kinds(&manifests),
        BTreeSet::from(["Service", "StatefulSet"])
    );
    let pod = &manifests.one("StatefulSet")["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "default");
    let config = named(&pod["volumes"], "config").expect("its volume");
    assert_eq!(config["configMap"]["name"], "theirs");
}

/// Without any setting, if the cluster reports that it is OpenShift.
#[test]
fn on_openshift_the_cluster_chooses_the_uid() {
    let openshift = ["--api-versions", "security.openshift.io/v1"];
    let manifests = rendered(&json!({}), &openshift);
    let any_uid = Except {
        any_uid: true,
        ..Except::default()
    };
    pods::check(&manifests, any_uid);
    let manifests = rendered(&json!({"platform": "kubernetes"}), &openshift);
    pods::check(&manifests, Except::default());
}

#[test]
fn with_tls_probes_and_scrapes_use_it() {
    let tls =
        json!({"cert_file": "/run/secrets/tls/tls.crt", "key_file": "/run/secrets/tls/tls.key"});
    let more = json!({"config": {"http": {"tls": tls}}, "serviceMonitor": {"enabled": true}});
    let manifests = rendered(&more, &[]);
    let container = &manifests.one("StatefulSet")["spec"]["template"]["spec"]["containers"][0];
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["scheme"], "HTTPS", "{probe}");
    }
    let endpoint = &manifests.one("ServiceMonitor")["spec"]["endpoints"][0];
    assert_eq!(endpoint["scheme"], "https");
}

/// Scraped series keep one `instance`, however often the pod is recreated.
#[test]
fn what_is_pulled_is_named_as_what_is_pushed() {
    let instance = |more: &Value| {
        let monitored = with(json!({"podMonitor": {"enabled": true}}), more);
        let manifests = rendered(&monitored, &[]);
        manifests.one("PodMonitor")["spec"]["podMetricsEndpoints"][0]["relabelings"][0].clone()
    };
    assert_eq!(
        instance(&json!({})),
        json!({"targetLabel": "instance", "sourceLabels": ["__meta_kubernetes_pod_name"]})
    );
    assert_eq!(
        instance(&json!({"kind": "Deployment"})),
        json!({"targetLabel": "instance", "replacement": "celeriac"})
    );
}

#[test]
fn a_changed_configuration_is_a_rollout() {
    let sum = |more: &Value| {
        let manifests = rendered(more, &[]);
        let template = &manifests.one("StatefulSet")["spec"]["template"];
        text(&template["metadata"]["annotations"]["checksum/config"]).to_owned()
    };
    let before = sum(&json!({}));
    assert_eq!(before, sum(&json!({"image": {"tag": "2"}})));
    assert_ne!(
        before,
        sum(&json!({"config": {"global": {"interval": "30s"}}}))
    );
}

#[test]
fn dashboards_and_rules_come_whole() {
    let on = json!({"dashboards": {"enabled": true}, "prometheusRule": {"enabled": true}});
    let manifests = rendered(&on, &[]);
    let originals = dashboards();
    let maps: Vec<_> = manifests
        .of_kind("ConfigMap")
        .filter(|map| map["metadata"]["labels"]["grafana_dashboard"] == "1")
        .collect();
    assert_eq!(maps.len(), originals.len());
    for map in maps {
        for (file, content) in map["data"].as_object().expect("a file") {
            assert_eq!(text(content).trim_end(), originals[file].trim_end());
        }
    }
    assert_eq!(manifests.of_kind("PrometheusRule").count(), rules().len());
    for rule in manifests.of_kind("PrometheusRule") {
        let folder = TempDir::new().expect("a temporary folder");
        let file = folder.path().join("rules.yaml");
        std::fs::write(&file, rule["spec"].to_string()).expect("a writable folder");
        let mut promtool = std::process::Command::new("promtool");
        let check = said(promtool.args(["check", "rules"]).arg(file), "");
        assert!(check.expect("promtool takes it").contains("SUCCESS"));
    }
}
