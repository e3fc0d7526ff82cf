//! Recording rules, alerts and runbooks: each rule is valid, and each alert fires or stays quiet as it should and has
//! a runbook. `dashboards.rs` tests them on real series.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use tempfile::TempDir;
use yaml_rust2::{Yaml, YamlEmitter, YamlLoader};

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// Returns the files below a folder whose names have this ending, sorted.
pub(crate) fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path(folder)).expect("a folder");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder}");
    files
}

fn yaml(file: &Path) -> Yaml {
    let text = std::fs::read_to_string(file).expect("a file");
    let mut documents = YamlLoader::load_from_str(&text)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    documents.remove(0)
}

/// Returns the rules of all files.
fn rules() -> Vec<Yaml> {
    let documents: Vec<_> = files("deploy/prometheus", ".rules.yaml")
        .iter()
        .map(|file| yaml(file))
        .collect();
    let groups = documents
        .iter()
        .flat_map(|file| file["groups"].as_vec().expect("groups"));
    groups
        .flat_map(|group| group["rules"].as_vec().expect("rules").clone())
        .collect()
}

fn alerts() -> BTreeSet<String> {
    let rules = rules();
    let names = rules.iter().filter_map(|rule| rule["alert"].as_str());
    names.map(str::to_owned).collect()
}

fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let output = Command::new("promtool")
        .args(arguments)
        .args(files)
        .output();
    let output = output.expect("promtool starts: run `make setup`");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("SUCCESS").count(), files.len(), "{said}");
}

#[test]
fn promtool_takes_every_rule() {
    promtool(
        &["check", "rules"],
        &files("deploy/prometheus", ".rules.yaml"),
    );
}

/// Returns the groups of rule files, without the rules on which none of these alerts and series depends.
fn groups_for(rule_files: &[PathBuf], texts: &str) -> Yaml {
    let recorded = Regex::new(r"\b[a-z_]+:[a-z_]+:[a-z0-9_]+").expect("a regex");
    let names = |text: &str| -> BTreeSet<String> {
        let found = recorded
            .find_iter(text)
            .map(|name| name.as_str().to_owned());
        found.collect()
    };
    let mut wanted = names(texts);
    let documents: Vec<_> = rule_files.iter().map(|file| yaml(file)).collect();
    let groups = documents
        .iter()
        .flat_map(|file| file["groups"].as_vec().expect("groups"));
    let mut groups: Vec<Yaml> = groups.cloned().collect();
    let is_wanted = |rule: &Yaml, wanted: &BTreeSet<String>| match rule["record"].as_str() {
        Some(name) => wanted.contains(name),
        None => texts.contains(rule["alert"].as_str().expect("a name")),
    };
    loop {
        let rules = groups
            .iter()
            .flat_map(|group| group["rules"].as_vec().expect("rules"));
        let rules = rules.filter(|rule| is_wanted(rule, &wanted));
        let texts = rules.flat_map(|rule| {
            let annotations = rule["annotations"].as_hash().into_iter().flatten();
            annotations.map(|(_, text)| text).chain([&rule["expr"]])
        });
        let more = texts.flat_map(|text| names(text.as_str().expect("a text")));
        let more: BTreeSet<_> = wanted.iter().cloned().chain(more).collect();
        if more.len() == wanted.len() {
            break;
        }
        wanted = more;
    }
    for group in &mut groups {
        let group = group.as_mut_hash().expect("a group");
        let rules = group.get_mut(&Yaml::String("rules".to_owned()));
        let rules = rules.and_then(Yaml::as_mut_vec).expect("rules");
        rules.retain(|rule| is_wanted(rule, &wanted));
    }
    let groups = std::iter::once((Yaml::String("groups".to_owned()), Yaml::Array(groups)));
    Yaml::Hash(groups.collect())
}

/// promtool evaluates every rule, which takes six times as long as those that a test looks at.
#[test]
fn alerts_fire_when_they_should_and_only_then() {
    let folder = TempDir::new().expect("a temporary folder");
    let copies = files("deploy/prometheus/tests", ".yaml")
        .into_iter()
        .map(|file| {
            let text = std::fs::read_to_string(&file).expect("a file");
            let name = file.file_name().expect("a name").to_string_lossy();
            let used = yaml(&file)["rule_files"].clone();
            let used = used.as_vec().expect("files").iter();
            let used = used.map(|used| file.with_file_name(used.as_str().expect("a name")));
            let rules = groups_for(&used.collect::<Vec<_>>(), &text);
            let mut emitted = String::new();
            YamlEmitter::new(&mut emitted).dump(&rules).expect("rules");
            std::fs::write(folder.path().join(format!("rules-{name}")), emitted).expect("a folder");
            let lines = text
                .lines()
                .map(|line| match line.starts_with("rule_files: ") {
                    true => format!("rule_files: [rules-{name}]\n"),
                    false => format!("{line}\n"),
                });
            let copy = folder.path().join(&*name);
            std::fs::write(&copy, lines.collect::<String>()).expect("a folder");
            copy
        });
    promtool(&["test", "rules"], &copies.collect::<Vec<_>>());
}

#[test]
fn every_alert_has_a_test_that_fires_and_one_that_does_not() {
    let (mut firing, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for file in files("deploy/prometheus/tests", ".yaml") {
        let document = yaml(&file);
        for test in document["tests"].as_vec().expect("tests") {
            let series = test["input_series"].as_vec().expect("series");
            assert!(!series.is_empty(), "{test:?}");
            for check in test["alert_rule_test"].as_vec().expect("checks") {
                let name = check["alertname"].as_str().expect("a name").to_owned();
                match check["exp_alerts"].as_vec().expect("what is expected") {
                    expected if expected.is_empty() => quiet.insert(name),
                    _ => firing.insert(name),
                };
            }
        }
    }
    assert!(alerts().len() >= 14, "{:?}", alerts());
    assert_eq!(firing, alerts());
    assert_eq!(quiet, alerts());
}

#[test]
fn every_alert_says_how_bad_it_is_and_has_a_runbook() {
    for rule in rules() {
        let Some(name) = rule["alert"].as_str() else {
            continue;
        };
        let severity = rule["labels"]["severity"].as_str().expect(name);
        assert!(["warning", "critical"].contains(&severity), "{name}");
        let annotations = &rule["annotations"];
        for annotation in ["summary", "description"] {
            assert!(annotations[annotation].as_str().is_some(), "{name}");
        }
        let url = annotations["runbook_url"].as_str().expect(name);
        assert!(url.ends_with(&format!("/{name}.md")), "{url}");
        let page = path(&format!("docs/runbooks/{name}.md"));
        let page = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        for part in [
            "## What it means",
            "## What to look at",
            "```promql",
            "## What to do",
            "## When it is a false alarm",
        ] {
            assert!(page.contains(part), "{name}: {part}");
        }
    }
    let pages = files("docs/runbooks", ".md");
    let pages = pages.iter().filter_map(|page| page.file_stem()?.to_str());
    let pages: BTreeSet<_> = pages.map(str::to_owned).collect();
    assert_eq!(pages, alerts(), "a runbook for each alert, and no other");
}

/// Returns the series names in a PromQL expression, both ours and recorded ones.
fn asked_for(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\b(?:[a-z_]+:)?(?:celery|celeriac|process)_[a-z_]+(?::[a-z0-9_]+)?\b");
    let name = name.expect("a regex");
    name.find_iter(text)
        .map(|found| found.as_str().to_owned())
        .collect()
}

#[test]
fn rules_dashboards_and_runbooks_ask_for_what_there_is() {
    let reference = std::fs::read_to_string(path("docs/metrics.md")).expect("a file");
    // The rules are not written for the profiles of other exporters.
    let (native, _) = reference
        .split_once("## Profile `celery-exporter`")
        .expect("the first profiles");
    let mut known = BTreeSet::new();
    for line in native.lines().filter(|line| line.starts_with("| `")) {
        let name = line.split('`').nth(1).expect("a name");
        known.insert(name.to_owned());
        if line.contains("| histogram |") {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        }
    }
    let recorded = rules();
    let recorded = recorded.iter().filter_map(|rule| rule["record"].as_str());
    known.extend(recorded.map(str::to_owned));

    let mut texts: Vec<_> = files("docs/runbooks", ".md")
        .iter()
        .map(|file| {
            let page = std::fs::read_to_string(file).expect("a file");
            let (_, page) = page.split_once("```promql").expect("PromQL");
            let (query, _) = page.split_once("```").expect("the end of PromQL");
            (file.display().to_string(), query.to_owned())
        })
        .collect();
    for rule in rules() {
        let name = rule["alert"].as_str().or(rule["record"].as_str());
        let expression = rule["expr"].as_str().expect("an expression");
        texts.push((name.unwrap_or_default().to_owned(), expression.to_owned()));
    }
    for file in files("deploy/grafana", ".json") {
        texts.extend(super::dashboards::queries(&file));
    }
    assert!(texts.len() > 150, "{}", texts.len());
    let own = "celery:periodic_task_interval_seconds:expected";
    for (place, text) in texts {
        let unknown: Vec<_> = asked_for(&text)
            .into_iter()
            .filter(|name| !known.contains(name) && name != own)
            .collect();
        assert_eq!(unknown, Vec::<String>::new(), "{place}: {text}");
    }
}
