//! docs/configuration.md: keys, accepted values and defaults come from the code, descriptions from
//! config/example.yaml.

use std::collections::BTreeMap;
use std::fmt::Write;

use celeriac::config::{Config, KeyReference};

use super::holds;

const HEAD: &str = "# Configuration

<!-- Generated from the code and config/example.yaml by `make docs`; a test checks that it is up to date. -->

Every key of the configuration file, the values it accepts, and its default. `[]` is an entry of a list. A key without a
default is off unless its description says otherwise; a key marked *required* must be set if its section is present.
`celeriac check-config FILE` reports all problems of a file at once, each with its key; `--print` shows the effective
configuration.

`${NAME}` and `${NAME:-default}` inside a string are replaced with the value of the environment variable.
`CELERIAC__GLOBAL__INTERVAL=30s` overrides `global.interval`; every key outside a list can be overridden this way.
";

/// The description of each key by its path: the comment above it. Includes keys that are commented out.
fn meanings(example: &str, keys: &[KeyReference]) -> BTreeMap<String, String> {
    let is_known = |path: &str| {
        let below = [format!("{path}."), format!("{path}[]")];
        let is_below = |key: &KeyReference| below.iter().any(|below| key.path.starts_with(below));
        keys.iter().any(|key| key.path == path || is_below(key))
    };
    let mut meanings = BTreeMap::new();
    // The column and path of each open map.
    let mut open: Vec<(usize, String)> = Vec::new();
    // The comment lines above a key with their columns.
    let mut comment: Vec<(usize, &str)> = Vec::new();
    for line in example.lines() {
        let words = line.trim_start_matches(['#', ' ']);
        let entry = words.strip_prefix("- ").unwrap_or(words);
        let entry = entry.trim_start_matches(['#', ' ']);
        // The column that the key would have if it were not commented out.
        let prefix = &line[..line.len() - entry.len()];
        let column = prefix.len() - 2 * prefix.matches("# ").count();
        let path = entry.split_once(':').and_then(|(key, _)| {
            let above = open.iter().rev().find(|(at, _)| *at < column);
            let paths = match above {
                Some((_, above)) => vec![
                    format!("{above}[].{key}"),
                    format!("{above}.{key}"),
                    format!("{above}.NAME"),
                ],
                None => vec![key.to_owned()],
            };
            paths.into_iter().find(|path| is_known(path))
        });
        if let Some(path) = path {
            open.retain(|(at, _)| *at < column);
            open.push((column, path.clone()));
            // Lines indented further belong to the section that ends here.
            let lines = std::mem::take(&mut comment).into_iter();
            let lines = lines.filter(|(at, _)| *at <= column);
            let lines: Vec<_> = lines.map(|(_, line)| line).collect();
            meanings.entry(path).or_insert(lines.join(" "));
        } else if prefix.contains('#') && !entry.is_empty() {
            // Lines below a key whose value is a map are its entries, not comments.
            let above = open.iter().rev().find(|(at, _)| *at < column);
            if !above.is_some_and(|(_, above)| keys.iter().any(|key| key.path == *above)) {
                comment.push((column, entry.trim_end()));
            }
        } else {
            comment.clear();
        }
    }
    meanings
}

/// The keys grouped by section.
fn sections(keys: &[KeyReference]) -> Vec<(&str, Vec<(&str, &KeyReference)>)> {
    let mut sections: Vec<(&str, Vec<_>)> = Vec::new();
    for key in keys {
        let (section, name) = key.path.rsplit_once('.').unwrap_or(("", &key.path));
        match sections.iter_mut().find(|(known, _)| *known == section) {
            Some((_, keys)) => keys.push((name, key)),
            None => sections.push((section, vec![(name, key)])),
        }
    }
    sections
}

/// The section with the same keys that has the shortest path.
fn alike<'s>(
    section: &(&str, Vec<(&str, &KeyReference)>),
    sections: &'s [(&'s str, Vec<(&'s str, &'s KeyReference)>)],
) -> &'s str {
    let rows = |section: &(&str, Vec<(&str, &KeyReference)>)| -> Vec<_> {
        let rows = section.1.iter();
        rows.map(|(name, key)| (name.to_string(), key.expected.clone(), key.default.clone()))
            .collect()
    };
    let same = sections.iter().filter(|other| rows(other) == rows(section));
    same.map(|(path, _)| *path)
        .min_by_key(|path| (path.matches('.').count(), path.starts_with("pushgateway")))
        .expect("it is like itself")
}

fn title(section: &str) -> String {
    match section {
        "" => "Top level".to_owned(),
        section => format!("`{section}`"),
    }
}

#[test]
fn the_reference_of_keys_is_what_the_code_reads() {
    let keys = Config::reference();
    let meanings = meanings(include_str!("../../../config/example.yaml"), &keys);
    let sections = sections(&keys);
    let mut text = HEAD.to_owned();
    for section in &sections {
        let (path, keys) = section;
        write!(text, "\n## {}\n\n", title(path)).expect("a string");
        // The comment of a list is above the list, not above each entry.
        let meaning = meanings.get(path.trim_end_matches("[]"));
        if let Some(meaning) = meaning.filter(|meaning| !meaning.is_empty()) {
            write!(text, "{meaning}\n\n").expect("a string");
        }
        let like = alike(section, &sections);
        if like != *path {
            writeln!(text, "The keys are those of {}.", title(like)).expect("a string");
            continue;
        }
        text.push_str("| key | value | default | description |\n| --- | --- | --- | --- |\n");
        for (name, key) in keys {
            let default = key.default.as_ref();
            let default = match default {
                _ if key.is_needed => "required".to_owned(),
                Some(default) => format!("`{default}`"),
                None => String::new(),
            };
            let meaning = meanings.get(&key.path).map_or("", String::as_str);
            writeln!(
                text,
                "| `{name}` | {} | {default} | {meaning} |",
                key.expected
            )
            .expect("a string");
        }
    }
    assert!(text.lines().all(|line| line.matches(" | ").count() <= 3));
    holds("docs/configuration.md", &text);
}
