//! The values of the chart: their schema, their errors, and those in the documentation.

use super::*;

#[test]
fn wrong_values_fail_and_say_where() {
    let pair = pair();
    let cases = [
        (
            json!({"config": {"brokers": []}}),
            "config.brokers: give at least one",
        ),
        (json!({"config": {"brokers": [{"name": "x"}]}}), "url"),
        (json!({"config": {"http": {"listen": "9808"}}}), "listen"),
        (json!({"config": {"http": null}}), "http"),
        (json!({"replicas": 2}), "config.brokers[0].delivery"),
        (
            with(
                pair.clone(),
                &json!({"config": {"global": {"external_labels": {"instance": "${CELERIAC_INSTANCE}"}}}}),
            ),
            "external_labels.instance",
        ),
        (
            with(pair, &json!({"podMonitor": {"enabled": true}})),
            "push them instead",
        ),
        (
            json!({"config": {"http": {"listen": "127.0.0.1:9808"}}}),
            "leave the host out",
        ),
        (
            json!({"config": {"http": {"listen": "[::1]:9808"}}}),
            "leave the host out",
        ),
        (
            json!({"config": {"global": {"grace_period": "1m5s"}}, "terminationGracePeriodSeconds": 65}),
            "more than config.global.grace_period",
        ),
        (
            json!({"terminationGracePeriodSeconds": 20}),
            "more than config.global.grace_period",
        ),
        (
            json!({"replicas": 2, "kind": "Deployment", "existingConfigMap": "x"}),
            "StatefulSet",
        ),
        (json!({"replicas": "1"}), "replicas"),
        (json!({"kind": "DaemonSet"}), "kind"),
        (json!({"platform": "nomad"}), "platform"),
        (json!({"repliacs": 1}), "repliacs"),
        (json!({"image": {"digest": "latest"}}), "digest"),
        (json!({"secretFiles": [{"name": "broker"}]}), "secret"),
        (json!({"persistence": {"size": "much"}}), "size"),
        (json!({"serviceMonitor": {"interval": "soon"}}), "interval"),
        (
            json!({"networkPolicy": {"brokers": {"ports": [70_000]}}}),
            "ports",
        ),
        (
            json!({"serviceMonitor": {"enabled": true}, "podMonitor": {"enabled": true}}),
            "enable one of them",
        ),
        (
            json!({"kind": "Sidecar", "serviceMonitor": {"enabled": true}}),
            "enable podMonitor",
        ),
    ];
    for (more, words) in cases {
        let errors = render(&with(values(), &more), &[]).expect_err(words);
        assert!(errors.contains(words), "{more}: {errors}");
    }
}

/// The example from docs/deploy.md.
#[test]
fn the_values_in_the_documentation_work() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, documented("# values.yaml")).expect("a writable folder");
    let mut template = helm();
    template
        .args(["template", "celeriac"])
        .arg(repository("deploy/helm/celeriac"))
        .arg("--values")
        .arg(file);
    let yaml = said(&mut template, "").expect("it renders");
    pods::check(
        &Manifests::check(&yaml).expect("it is valid"),
        Except::default(),
    );
}

/// Every default matches the schema, and the schema covers every value.
#[test]
fn the_schema_knows_every_value() {
    let chart = repository("deploy/helm/celeriac");
    let schema = std::fs::read_to_string(chart.join("values.schema.json")).expect("a schema");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let file = std::fs::read_to_string(chart.join("values.yaml")).expect("values");
    let in_file: BTreeSet<_> = file
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
        .filter_map(|line| line.split(':').next())
        .collect();
    let in_schema = schema["properties"].as_object().expect("properties");
    // `global` belongs to Helm.
    let in_schema = in_schema.keys().map(String::as_str);
    let in_schema: BTreeSet<_> = in_schema.filter(|key| *key != "global").collect();
    assert_eq!(in_file, in_schema);
    assert_eq!(schema["additionalProperties"], false);
}

/// Another chart that depends on this one, and adds the container to a pod of its own.
#[test]
fn another_chart_takes_it_as_a_sidecar() {
    let folder = TempDir::new().expect("a temporary folder");
    let chart = folder.path();
    std::fs::create_dir_all(chart.join("templates")).expect("a writable folder");
    std::fs::create_dir_all(chart.join("charts")).expect("a writable folder");
    let mut package = helm();
    package
        .arg("package")
        .arg(repository("deploy/helm/celeriac"));
    said(package.arg("--destination").arg(chart.join("charts")), "").expect("it is packaged");
    let about = "{apiVersion: v2, name: beat, version: 1.0.0, dependencies: [{name: celeriac, version: 0.1.0}]}";
    std::fs::write(chart.join("Chart.yaml"), about).expect("a writable folder");
    let deployment = r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: beat
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector:
    matchLabels: {app: beat}
  template:
    metadata:
      labels: {app: beat, celeriac: sidecar}
    spec:
      containers:
        - name: beat
          image: registry.example.com/beat
          args: [celery, beat]
        {{- include "celeriac.sidecar.container" .Subcharts.celeriac | nindent 8 }}
      volumes:
        {{- include "celeriac.sidecar.volumes" .Subcharts.celeriac | nindent 8 }}
"#;
    std::fs::write(chart.join("templates/deployment.yaml"), deployment).expect("a writable folder");
    let more = json!({"kind": "Sidecar", "podMonitor": {"enabled": true}});
    let values = json!({"celeriac": with(values(), &more), "global": {"theirs": 1}});
    std::fs::write(chart.join("values.yaml"), values.to_string()).expect("a writable folder");

    let yaml = said(helm().args(["template", "ours"]).arg(chart), "").expect("it renders");
    let manifests = Manifests::check(&yaml).unwrap_or_else(|problems| panic!("{problems}\n{yaml}"));

    assert_eq!(
        kinds(&manifests),
        BTreeSet::from(["ConfigMap", "Deployment", "PodMonitor"])
    );
    let sidecar = Except {
        sidecar: true,
        ..Except::default()
    };
    pods::check(&manifests, sidecar);
    let pod = &manifests.one("Deployment")["spec"]["template"]["spec"];
    assert_eq!(items(&pod["containers"]).len(), 2);
}
