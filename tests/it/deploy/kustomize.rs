//! The plain manifests, as `kubectl apply -k` builds them.

use std::path::Path;

use super::copies::{dashboards, rules};
use super::manifests::{Manifests, documented, items, kubectl, repository, said, selects, text};
use super::pods::{self, Except};

fn build(folder: &Path) -> Result<Manifests, String> {
    let built = said(kubectl().arg("kustomize").arg(folder), "")?;
    Manifests::check(&built)
}

fn built(folder: &str) -> Manifests {
    build(&repository("deploy/kubernetes").join(folder))
        .unwrap_or_else(|problems| panic!("{folder}:\n{problems}"))
}

/// Builds an overlay that a user might write, outside the repository.
fn overlay(lines: &str) -> Manifests {
    let folder = tempfile::TempDir::new_in(repository("deploy/kubernetes/overlays"))
        .expect("a temporary folder");
    let head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
    let file = folder.path().join("kustomization.yaml");
    std::fs::write(file, head.to_owned() + lines).expect("a writable folder");
    build(folder.path()).unwrap_or_else(|problems| panic!("{lines}\n{problems}"))
}

#[test]
fn each_overlay_is_valid_and_runs_celeriac_as_it_has_to_be() {
    let sidecar = Except {
        sidecar: true,
        ..Except::default()
    };
    let cases = [
        ("base", "StatefulSet", Except::default()),
        ("overlays/deployment", "Deployment", Except::default()),
        ("overlays/monitoring", "StatefulSet", Except::default()),
        ("overlays/pair", "StatefulSet", Except::default()),
        ("overlays/sidecar", "StatefulSet", sidecar),
    ];
    for (folder, kind, except) in cases {
        let manifests = built(folder);
        manifests.one(kind);
        pods::check(&manifests, except);
    }
    let folders = std::fs::read_dir(repository("deploy/kubernetes/overlays")).expect("a folder");
    let lasting = folders.filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        !name.to_string_lossy().starts_with('.')
    });
    assert_eq!(lasting.count() + 1, cases.len(), "every overlay is there");
}

#[test]
fn components_go_together_with_the_base() {
    let manifests = overlay(
        "namespace: celery
resources: [../../base]
components: [../../components/openshift, ../../components/service-monitor]
images: [{name: celeriac, newName: registry.example.com/celeriac, newTag: v1}]
",
    );
    let openshift = Except {
        any_uid: true,
        ..Except::default()
    };
    pods::check(&manifests, openshift);
    let pod = &manifests.one("StatefulSet")["spec"]["template"]["spec"];
    assert_eq!(
        pod["containers"][0]["image"],
        "registry.example.com/celeriac:v1"
    );
    manifests.one("ServiceMonitor");
    for manifest in &manifests.0 {
        assert_eq!(manifest["metadata"]["namespace"], "celery", "{manifest}");
    }
}

#[test]
fn dashboards_and_rules_come_whole() {
    let manifests = built("overlays/monitoring");
    let maps: Vec<_> = manifests
        .of_kind("ConfigMap")
        .filter(|map| map["metadata"]["labels"]["grafana_dashboard"] == "1")
        .collect();
    let originals = dashboards();
    assert_eq!(maps.len(), originals.len());
    for map in maps {
        for (file, content) in map["data"].as_object().expect("a file") {
            assert_eq!(text(content), originals[file], "{file}");
        }
    }
    assert_eq!(manifests.of_kind("PrometheusRule").count(), rules().len());
    for rule in manifests.of_kind("PrometheusRule") {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let file = folder.path().join("rules.yaml");
        std::fs::write(&file, rule["spec"].to_string()).expect("a writable folder");
        let mut promtool = std::process::Command::new("promtool");
        let check = said(promtool.args(["check", "rules"]).arg(file), "");
        assert!(check.expect("promtool takes it").contains("SUCCESS"));
    }
}

#[test]
fn a_patch_sets_the_url_of_the_runbooks() {
    let manifests = overlay(
        "components: [../../components/rules]
patches:
  - target: {kind: PrometheusRule, name: celeriac-settings}
    patch: |
      - {op: replace, path: /spec/groups/0/rules/0/labels/base, value: \"https://wiki/celeriac/runbooks\"}
",
    );
    let runbooks = manifests
        .of_kind("PrometheusRule")
        .flat_map(|rule| items(&rule["spec"]["groups"]))
        .flat_map(|group| items(&group["rules"]))
        .find(|rule| rule["record"] == "celery:runbooks:info");
    let base = &runbooks.expect("a rule")["labels"]["base"];
    assert_eq!(text(base), "https://wiki/celeriac/runbooks");
}

#[test]
fn the_sidecar_is_one_more_container_and_leaves_the_pod_as_it_is() {
    let manifests = built("overlays/sidecar");
    let pod = &manifests.one("StatefulSet")["spec"]["template"];
    let containers = items(&pod["spec"]["containers"]);
    assert_eq!(containers.len(), 2);
    let theirs = containers
        .iter()
        .find(|container| container["name"] == "rabbitmq")
        .expect("the pod's own");
    assert_eq!(theirs["image"], "rabbitmq:4");
    assert_eq!(items(&theirs["volumeMounts"]).len(), 1);
    assert!(theirs["securityContext"].is_null());
    // Series that are pushed are not scraped too.
    assert_eq!(manifests.of_kind("PodMonitor").count(), 0);
    let manifests = overlay(
        "resources: [../sidecar]
components: [../../components/pod-monitor]
",
    );
    let monitor = manifests.one("PodMonitor");
    let selector = &monitor["spec"]["selector"]["matchLabels"];
    assert!(selects(selector, &pod["metadata"]["labels"]));
}

#[test]
fn both_of_a_pair_push_the_same_series() {
    let manifests = built("overlays/pair");
    assert_eq!(manifests.one("StatefulSet")["spec"]["replicas"], 2);
    let config = text(&manifests.one("ConfigMap")["data"]["celeriac.yaml"]);
    assert!(config.contains("delivery: stream"));
    assert!(config.contains("instance: celeriac\n"));
    assert!(config.contains("replica: ${CELERIAC_INSTANCE}"));
}

/// The example from docs/deploy.md.
#[test]
fn the_overlay_in_the_documentation_works() {
    let folder = tempfile::TempDir::new_in(repository("deploy/kubernetes/overlays"))
        .expect("a temporary folder");
    let block = documented("# deploy/kubernetes/overlays/ours/kustomization.yaml");
    std::fs::write(folder.path().join("kustomization.yaml"), block).expect("a writable folder");
    let config = repository("deploy/kubernetes/base/celeriac.yaml");
    let config = std::fs::read_to_string(config).expect("a file");
    let config = config.replace("rabbitmq:5672", "ours:5672");
    std::fs::write(folder.path().join("celeriac.yaml"), config).expect("a writable folder");

    let manifests = build(folder.path()).expect("it is built");
    pods::check(&manifests, Except::default());
    let config = text(&manifests.one("ConfigMap")["data"]["celeriac.yaml"]);
    assert!(config.contains("ours:5672"));
}

/// The schema check can fail.
#[test]
fn what_does_not_fit_is_refused() {
    let base = said(
        kubectl()
            .arg("kustomize")
            .arg(repository("deploy/kubernetes/base")),
        "",
    );
    let base = base.expect("it is built");
    let monitor = "apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: x}
spec: {selector: {}, endpoints: [{prot: http}]}
";
    for (yaml, words) in [
        (
            base.replace("podManagementPolicy", "podManagmentPolicy"),
            "podManagmentPolicy",
        ),
        (base.replace("replicas: 1", "replicas: one"), "integer"),
        (base.replace("apps/v1", "apps/v9"), "SchemaNotFound"),
        (
            base.replace("kind: Service\n", "kind: Service\nkind: Secret\n"),
            "twice",
        ),
        (monitor.to_owned(), "prot"),
    ] {
        let problems = Manifests::check(&yaml).expect_err(words);
        assert!(problems.contains(words), "{words}: {problems}");
    }
}
