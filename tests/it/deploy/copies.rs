//! Dashboards and rules, where Helm and kustomize find them.
//!
//! They are written in `deploy/grafana` and `deploy/prometheus`, and nothing here knows their names. Helm takes no file
//! from outside of a chart, and rules become PrometheusRules: so there are copies, which `UPDATE_DEPLOY=1` writes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::manifests::{helm, repository, said};

const MADE: &str = "# Made by `make deploy`; a test holds that it is up to date.\n";

/// Files of a folder, by their names.
fn files(folder: &str, ending: &str) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(repository(folder)).expect(folder);
    entries
        .map(|entry| entry.expect("a folder that can be read"))
        .filter_map(|entry| {
            let name = entry.file_name().into_string().expect("a plain name");
            let content = std::fs::read_to_string(entry.path()).ok()?;
            name.ends_with(ending).then_some((name, content))
        })
        .collect()
}

pub(super) fn dashboards() -> BTreeMap<String, String> {
    files("deploy/grafana", ".json")
}

pub(super) fn rules() -> BTreeMap<String, String> {
    files("deploy/prometheus", ".rules.yaml")
}

/// What an object made of a file is called.
fn object(file: &str) -> String {
    let name = file.split('.').next().expect("a first part");
    format!("celeriac-{}", name.to_lowercase().replace('_', "-"))
}

fn prometheus_rule(file: &str, content: &str) -> String {
    let mut text = format!(
        "{MADE}apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {}
  labels: {{app.kubernetes.io/name: celeriac}}
spec:
",
        object(file)
    );
    for line in content.lines() {
        text += if line.is_empty() { "" } else { "  " };
        text += line;
        text += "\n";
    }
    text
}

fn component(list: &str) -> String {
    format!("{MADE}apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n{list}")
}

/// Each folder with all that it has to hold.
fn made() -> BTreeMap<&'static str, BTreeMap<String, String>> {
    let kustomization = "kustomization.yaml".to_owned();
    let mut of_rules = BTreeMap::new();
    let mut list = "resources:\n".to_owned();
    for (file, content) in rules() {
        writeln!(list, "  - {file}").expect("a string");
        let rule = prometheus_rule(&file, &content);
        of_rules.insert(file, rule);
    }
    of_rules.insert(kustomization.clone(), component(&list));

    let mut list = "configMapGenerator:\n".to_owned();
    for file in dashboards().keys() {
        write!(
            list,
            "  - name: {}
    files: [{file}]
    options:
      disableNameSuffixHash: true
      labels: {{grafana_dashboard: \"1\"}}
",
            object(file)
        )
        .expect("a string");
    }
    let mut of_dashboards = dashboards();
    of_dashboards.insert(kustomization, component(&list));
    BTreeMap::from([
        ("deploy/grafana", of_dashboards),
        ("deploy/helm/celeriac/dashboards", dashboards()),
        ("deploy/helm/celeriac/rules", rules()),
        ("deploy/kubernetes/components/rules", of_rules),
    ])
}

fn update(folder: &Path, made: &BTreeMap<String, String>, there: &BTreeMap<String, String>) {
    for name in there.keys().filter(|name| !made.contains_key(*name)) {
        std::fs::remove_file(folder.join(name)).expect("a writable folder");
    }
    for (name, content) in made {
        std::fs::write(folder.join(name), content).expect("a writable folder");
    }
}

#[test]
fn are_equal_to_their_originals() {
    assert!(!dashboards().is_empty());
    assert!(!rules().is_empty());
    for (folder, made) in made() {
        // Beside dashboards, others may put what belongs to them.
        let ours = |name: &str| folder != "deploy/grafana" || made.contains_key(name);
        let there = || {
            let mut there = files(folder, "");
            there.retain(|name, _| ours(name));
            there
        };
        if std::env::var_os("UPDATE_DEPLOY").is_some() {
            update(&repository(folder), &made, &there());
        }

        assert!(there() == made, "{folder} is stale: run `make deploy`");
    }
}

/// What a user who packages the chart hands on has them too.
#[test]
fn are_in_the_packaged_chart() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let mut package = helm();
    package
        .arg("package")
        .arg(repository("deploy/helm/celeriac"));
    said(package.arg("--destination").arg(folder.path()), "").expect("it is packaged");
    let archive = folder.path().join("celeriac-0.1.0.tgz");
    let mut tar = std::process::Command::new("tar");
    let list = said(tar.arg("-tzf").arg(archive), "").expect("an archive");
    for name in dashboards().keys() {
        let path = format!("celeriac/dashboards/{name}");
        assert!(list.lines().any(|line| line == path), "{path}");
    }
    for name in rules().keys() {
        let path = format!("celeriac/rules/{name}");
        assert!(list.lines().any(|line| line == path), "{path}");
    }
}
