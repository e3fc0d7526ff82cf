//! Finds the exporter's container in a compose or Kubernetes file, and reads its command line and
//! environment.

use std::collections::BTreeMap;

use yaml_rust2::{Yaml, YamlLoader};

use super::exporter::Exporter;
use super::variables::{ENV_FILE, Variables};
use super::words::split;
use crate::config::check_yaml;

/// Data of the config maps in the file, by name.
type ConfigMaps = BTreeMap<String, BTreeMap<String, String>>;

/// A container of the file.
#[derive(Debug, Default)]
pub(super) struct Container {
    /// Where it is in the file.
    label: String,
    image: String,
    /// Its command and arguments.
    pub(super) words: Vec<String>,
    pub(super) variables: Variables,
}

/// Returns the only container that runs the exporter.
pub(super) fn find(text: &str, exporter: Exporter) -> Result<Container, Vec<String>> {
    let documents = check_yaml(text)
        .and_then(|()| YamlLoader::load_from_str(text).map_err(|error| error.to_string()));
    let documents = documents.map_err(|error| {
        let hint = if text.contains("{{") {
            "; render the chart first, with `helm template`"
        } else {
            ""
        };
        vec![format!("not valid YAML: {error}{hint}")]
    })?;
    let mut config_maps = ConfigMaps::new();
    let mut containers = Vec::new();
    for document in &documents {
        collect_config_maps(document, &mut config_maps);
    }
    for document in &documents {
        collect(document, "", &config_maps, &mut containers);
    }
    let labels = |containers: &[Container]| {
        let labels = containers
            .iter()
            .map(|container| format!("  {}", container.label));
        labels.collect::<Vec<_>>()
    };
    let (mut matching, others): (Vec<_>, Vec<_>) = containers
        .into_iter()
        .partition(|container| exporter.is_image(&container.image, &container.words));
    match (matching.pop(), matching.is_empty()) {
        (Some(container), true) => Ok(container),
        (Some(last), false) => {
            matching.push(last);
            let name = exporter.name();
            let what = format!("several containers run {name}; leave only one in the file:");
            Err([vec![what], labels(&matching)].concat())
        }
        (None, _) => {
            let found = if others.is_empty() {
                "and no other containers either"
            } else {
                "only:"
            };
            let what = format!("found no container that runs {}, {found}", exporter.name());
            Err([vec![what], labels(&others)].concat())
        }
    }
}

fn collect_config_maps(node: &Yaml, into: &mut ConfigMaps) {
    for item in get(node, "items").as_vec().into_iter().flatten() {
        collect_config_maps(item, into);
    }
    if get(node, "kind").as_str() == Some("ConfigMap")
        && let Some(name) = get(get(node, "metadata"), "name").as_str()
    {
        let data = entries(get(node, "data")).into_iter();
        let data = data.filter_map(|(key, value)| Some((key, text(value)?)));
        into.insert(name.to_owned(), data.collect());
    }
}

/// Adds the containers in a node. `owner` is the object that contains it.
fn collect(node: &Yaml, owner: &str, config_maps: &ConfigMaps, into: &mut Vec<Container>) {
    if let Yaml::Array(items) = node {
        items
            .iter()
            .for_each(|item| collect(item, owner, config_maps, into));
    }
    let Yaml::Hash(hash) = node else {
        return;
    };
    let kind = get(node, "kind").as_str();
    let name = get(get(node, "metadata"), "name").as_str();
    let owner = match (kind, name) {
        (Some(kind), Some(name)) => format!("{kind} {name}, "),
        _ => owner.to_owned(),
    };
    for (key, below) in hash {
        match (key.as_str(), below) {
            (Some("containers"), Yaml::Array(containers)) => {
                let containers = containers.iter();
                into.extend(containers.map(|node| of_pod(node, &owner, config_maps)));
            }
            (Some("services"), Yaml::Hash(_)) => {
                let services = entries(below).into_iter();
                into.extend(services.map(|(name, node)| of_compose(node, &name)));
            }
            _ => collect(below, &owner, config_maps, into),
        }
    }
}

/// Reads a container of a pod.
fn of_pod(node: &Yaml, owner: &str, config_maps: &ConfigMaps) -> Container {
    let string = |node: &Yaml, key| text(get(node, key)).unwrap_or_default();
    let mut variables = Variables::of_manifest();
    for source in get(node, "envFrom").as_vec().into_iter().flatten() {
        let prefix = string(source, "prefix");
        let map = string(get(source, "configMapRef"), "name");
        let secret = string(get(source, "secretRef"), "name");
        match config_maps.get(&map) {
            Some(data) => {
                for (key, value) in data {
                    variables.set(format!("{prefix}{key}"), value);
                }
            }
            None if map.is_empty() => variables.opaque.push(format!("secret {secret}")),
            None => variables.opaque.push(format!("config map {map}")),
        }
    }
    for variable in get(node, "env").as_vec().into_iter().flatten() {
        let name = string(variable, "name");
        let from = get(variable, "valueFrom");
        let (secret, map) = (get(from, "secretKeyRef"), get(from, "configMapKeyRef"));
        let reference = |node| (string(node, "name"), string(node, "key"));
        if from.is_badvalue() {
            variables.set(name, string(variable, "value"));
        } else if !secret.is_badvalue() {
            let (secret, key) = reference(secret);
            variables.set_elsewhere(name, format!("key {key} of secret {secret}"));
        } else if !map.is_badvalue() {
            let (map, key) = reference(map);
            match config_maps.get(&map).and_then(|data| data.get(&key)) {
                Some(value) => variables.set(name, value),
                None => variables.set_elsewhere(name, format!("key {key} of config map {map}")),
            }
        } else {
            variables.set_elsewhere(name, "a field of the pod");
        }
    }
    Container {
        label: format!("{owner}container {}", string(node, "name")),
        image: string(node, "image"),
        words: [words(get(node, "command")), words(get(node, "args"))].concat(),
        variables,
    }
}

/// Reads a service of a compose file.
fn of_compose(node: &Yaml, name: &str) -> Container {
    let mut variables = Variables::of_manifest();
    let files = get(node, "env_file");
    for file in files
        .as_vec()
        .map_or(std::slice::from_ref(files), Vec::as_slice)
    {
        if let Some(path) = text(file).or_else(|| text(get(file, "path"))) {
            let source = format!("{ENV_FILE}{path}");
            variables.opaque.push(source);
        }
    }
    let environment = get(node, "environment");
    let listed = environment.as_vec().into_iter().flatten().filter_map(text);
    let listed = listed.map(|entry| match entry.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (entry, None),
    });
    let mapped = entries(environment).into_iter();
    let mapped = mapped.map(|(name, value)| (name, text(value)));
    for (name, value) in listed.chain(mapped) {
        match value {
            Some(value) => variables.set(name, value),
            None => variables.set_elsewhere(name, "environment of docker compose"),
        }
    }
    let words = [words(get(node, "entrypoint")), words(get(node, "command"))].concat();
    Container {
        label: format!("service {name}"),
        image: text(get(node, "image")).unwrap_or_default(),
        words,
        variables,
    }
}

/// Reads a command: a list, or a text for a shell.
fn words(node: &Yaml) -> Vec<String> {
    match node.as_vec() {
        Some(items) => items.iter().filter_map(text).collect(),
        None => text(node).map_or_else(Vec::new, |text| split(&text)),
    }
}

/// Returns the value of a key, following `<<`.
fn get<'y>(node: &'y Yaml, key: &str) -> &'y Yaml {
    let own = std::iter::once(&node[key]);
    let mut values = own.chain(merged(node).map(|node| get(node, key)));
    values
        .find(|value| !value.is_badvalue())
        .unwrap_or(&Yaml::BadValue)
}

/// Returns the entries of a map, with those from `<<`.
fn entries(node: &Yaml) -> BTreeMap<String, &Yaml> {
    let mut all: BTreeMap<String, &Yaml> = merged(node).flat_map(entries).collect();
    let own = node.as_hash().into_iter().flatten();
    all.extend(own.filter_map(|(key, value)| Some((text(key)?, value))));
    all.remove("<<");
    all
}

/// The maps that `<<` merges into a map.
fn merged(node: &Yaml) -> impl Iterator<Item = &Yaml> {
    let from = &node["<<"];
    from.as_vec()
        .map_or(std::slice::from_ref(from), Vec::as_slice)
        .iter()
        .filter(|node| node.is_hash())
}

/// Returns a scalar as text.
fn text(node: &Yaml) -> Option<String> {
    match node {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(number) => Some(number.to_string()),
        Yaml::Boolean(is) => Some(is.to_string()),
        Yaml::Null | Yaml::BadValue | Yaml::Array(_) | Yaml::Hash(_) | Yaml::Alias(_) => None,
    }
}
