//! The templates, processed as `oc process` does.

use std::process::Command;

use serde_json::Value;

use super::manifests::{Manifests, items, named, python, repository, said, text};
use super::pods::{self, Except};

const NEW: &str = "template.yaml";
const OLD: &str = "template-deploymentconfig.yaml";

fn process(template: &str, file: &str, parameters: &[&str]) -> Result<String, String> {
    let folder = repository("deploy/openshift");
    let mut oc = python("oc_process.py");
    oc.arg(folder.join(template))
        .arg("--param-file")
        .arg(folder.join(file));
    for parameter in parameters {
        oc.args(["--param", parameter]);
    }
    said(&mut oc, "")
}

/// Processes the ConfigMap template and another one that uses it.
fn processed(template: &str, parameters: &[&str]) -> Manifests {
    let namespace = "NAMESPACE=monitoring";
    let parameters = [&[namespace], parameters].concat();
    let map = process("configmap-template.yaml", "configmap.env", &[namespace]);
    let rest = process(template, "celeriac.env", &parameters);
    let all = map.expect("it is processed") + "---\n" + &rest.expect("it is processed");
    Manifests::check(&all).unwrap_or_else(|problems| panic!("{template}:\n{problems}"))
}

#[test]
fn templates_are_templates() {
    for template in [NEW, OLD, "configmap-template.yaml"] {
        let path = repository("deploy/openshift").join(template);
        let yaml = std::fs::read_to_string(path).expect("a template");
        let manifests = Manifests::check(&yaml).expect("it fits its schema");
        for parameter in items(&manifests.one("Template")["parameters"]) {
            let described = text(&parameter["description"]);
            assert!(described.len() > 15, "{template}: {parameter}");
        }
    }
}

#[test]
fn what_they_make_runs_under_the_clusters_rules() {
    let new = Except {
        any_uid: true,
        ..Except::default()
    };
    let old = Except { old: true, ..new };
    for (template, workload, except) in [(NEW, "Deployment", new), (OLD, "DeploymentConfig", old)] {
        let manifests = processed(template, &[]);
        pods::check(&manifests, except);
        let kinds = [
            "ConfigMap",
            "ImageStream",
            "BuildConfig",
            "PersistentVolumeClaim",
            "Service",
            workload,
        ];
        for kind in kinds {
            let manifest = manifests.one(kind);
            assert_eq!(manifest["metadata"]["namespace"], "monitoring", "{kind}");
        }
        assert_eq!(manifests.0.len(), kinds.len());
        let all = Value::Array(manifests.0).to_string();
        let variables: Vec<_> = all.split("${").skip(1).collect();
        let known = [
            "DATA_DIR",
            "CELERIAC_INSTANCE",
            "POD_NAMESPACE",
            "BROKER_",
            "REMOTE_WRITE_URL",
        ];
        for variable in variables {
            // The variables in celeriac's own file, which must not share a name with a parameter.
            assert!(
                known.iter().any(|name| variable.starts_with(name)),
                "{variable}"
            );
        }
    }
}

/// Follows an image from the build to the rollout.
#[test]
fn a_build_is_rolled_out() {
    let manifests = processed(NEW, &["NAME=watcher", "CONTEXT_DIR=vendor/celeriac"]);
    let build = &manifests.one("BuildConfig")["spec"];
    assert_eq!(build["output"]["to"]["name"], "watcher:latest");
    assert_eq!(build["source"]["contextDir"], "vendor/celeriac");
    let file = &build["strategy"]["dockerStrategy"]["dockerfilePath"];
    assert_eq!(file, "deploy/container/Containerfile");
    let deployment = manifests.one("Deployment");
    let triggers = &deployment["metadata"]["annotations"]["image.openshift.io/triggers"];
    let triggers: Value = serde_json::from_str(text(triggers)).expect("JSON");
    assert_eq!(triggers[0]["from"]["name"], "watcher:latest");
    let field = text(&triggers[0]["fieldPath"]);
    assert!(
        field.contains(r#"containers[?(@.name=="celeriac")].image"#),
        "{field}"
    );

    let manifests = processed(OLD, &["NAME=watcher"]);
    let spec = &manifests.one("DeploymentConfig")["spec"];
    let change = items(&spec["triggers"])
        .iter()
        .find(|trigger| trigger["type"] == "ImageChange")
        .expect("a trigger");
    let from = &change["imageChangeParams"]["from"]["name"];
    assert_eq!(from, "watcher:latest");
}

#[test]
fn both_forms_differ_in_what_runs_and_in_nothing_else() {
    let [new, old] = [NEW, OLD].map(|template| {
        let path = repository("deploy/openshift").join(template);
        let yaml = std::fs::read_to_string(path).expect("a template");
        Manifests::check(&yaml)
            .expect("it fits its schema")
            .0
            .remove(0)
    });
    assert_eq!(new["parameters"], old["parameters"]);
    let rest = |template: &Value| {
        let mut objects = items(&template["objects"]).to_vec();
        objects.retain(|object| !text(&object["kind"]).starts_with("Deployment"));
        assert!(objects.len() > 3);
        objects
    };
    assert_eq!(rest(&new), rest(&old));
}

#[test]
fn parameters_reach_what_they_are_for() {
    let manifests = processed(
        NEW,
        &[
            "CPU_REQUEST=123m",
            "CPU_LIMIT=2",
            "MEMORY_REQUEST=99Mi",
            "MEMORY_LIMIT=777Mi",
            "REMOTE_WRITE_URL=https://receiver.example.com/push",
            "SOURCE_REPOSITORY_REF=v1",
            "CONFIG_FILE=pull.yaml",
        ],
    );
    let pod = &manifests.one("Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let resources = &container["resources"];
    assert_eq!(resources["requests"]["cpu"], "123m");
    assert_eq!(resources["limits"]["cpu"], "2");
    assert_eq!(resources["requests"]["memory"], "99Mi");
    assert_eq!(resources["limits"]["memory"], "777Mi");
    let url = named(&container["env"], "REMOTE_WRITE_URL").expect("the variable");
    assert_eq!(url["value"], "https://receiver.example.com/push");
    assert_eq!(
        manifests.one("BuildConfig")["spec"]["source"]["git"]["ref"],
        "v1"
    );
    assert_eq!(container["args"][2], "/etc/celeriac/pull.yaml");
}

#[test]
fn wrong_and_missing_parameters_fail() {
    let namespace = "NAMESPACE=monitoring";
    let cases: [(&[&str], &str); 5] = [
        (&[], "parameter NAMESPACE is required"),
        (&[namespace, "NAME="], "parameter NAME is required"),
        (
            &[namespace, "SOURCE_REPOSITORY_URL="],
            "parameter SOURCE_REPOSITORY_URL is required",
        ),
        (&[namespace, "NAEM=x"], "unknown parameter name 'NAEM'"),
        (&[namespace, "NAME"], "invalid parameter assignment"),
    ];
    for (parameters, words) in cases {
        let errors = process(NEW, "celeriac.env", parameters).expect_err("it has to fail");
        assert!(errors.contains(words), "{parameters:?}: {errors}");
    }
    // The processed template is checked, too.
    let yaml = process(NEW, "celeriac.env", &[namespace]).expect("it is processed");
    let broken = yaml.replace("readOnlyRootFilesystem", "readOnlyRootFileSystem");
    let problems = Manifests::check(&broken).expect_err("an unknown field");
    assert!(problems.contains("readOnlyRootFileSystem"), "{problems}");
}

/// For scraping: the address in the scrape configuration is that of the Service, and the page is that of the old
/// exporter.
#[test]
fn prometheus_finds_the_service_by_its_name() {
    let path = repository("deploy/openshift/prometheus.yaml");
    let check = said(
        Command::new("promtool")
            .args(["check", "config"])
            .arg(&path),
        "",
    );
    let check = check.expect("promtool takes it");
    assert!(check.contains("SUCCESS"), "{check}");

    let manifests = processed(NEW, &[]);
    let service = manifests.one("Service");
    let (name, namespace) = (
        &service["metadata"]["name"],
        &service["metadata"]["namespace"],
    );
    let port = &service["spec"]["ports"][0]["port"];
    let address = format!(
        "{}.{}.svc.cluster.local:{port}",
        text(name),
        text(namespace)
    );
    assert_eq!(address, "celeriac.monitoring.svc.cluster.local:8888");
    let scrape = std::fs::read_to_string(path).expect("a file");
    assert!(scrape.contains(&format!("[\"{address}\"]")), "{scrape}");
    let files = &manifests.one("ConfigMap")["data"];
    for file in ["celeriac.yaml", "pull.yaml"] {
        let file = text(&files[file]);
        let words: Vec<_> = file.split_whitespace().collect();
        let page = "- path: /metrics profile: celery-prometheus-exporter";
        assert!(words.join(" ").contains(page), "{file}");
    }
}
