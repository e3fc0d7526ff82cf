use config::{Value, ValueKind};

use super::super::problem::Problem;
use super::super::section::Reading;
use super::super::yaml;
use super::*;
use crate::series::Relabelled;

const GOLDEN: &str = include_str!("../../../tests/golden/relabel.yaml");

/// Reads the text of a file with a function for its root section.
fn read<T>(text: &str, top: impl FnOnce(&mut Section<'_>) -> T) -> (T, Shown, Vec<Problem>) {
    let root = yaml::load(text).expect("YAML");
    let mut reading = Reading::default();
    let (result, shown) = Section::read_root(&mut reading, root, top);
    (result, shown, reading.problems)
}

/// A map of strings, sorted by name in byte order.
fn pairs(section: &mut Section<'_>, key: &'static str) -> Vec<(String, String)> {
    let pairs = section.scalar(key, "a map of strings", |value| {
        let ValueKind::Table(table) = &value.kind else {
            return None;
        };
        let text = |value: &Value| {
            let ValueKind::String(text) = &value.kind else {
                return None;
            };
            Some(text.clone())
        };
        let pairs = table.iter();
        pairs
            .map(|(name, value)| Some((name.clone(), text(value)?)))
            .collect::<Option<Vec<_>>>()
    });
    let mut pairs = pairs.unwrap_or_default();
    pairs.sort_unstable();
    pairs
}

fn problems(rule: &str) -> Vec<String> {
    let (_, _, problems) = read(&format!("rules: [{rule}]"), |top| relabel(top, "rules"));
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_golden_cases_become_what_prometheus_makes_of_them() {
    let mut cases = 0;
    let (_, _, problems) = read(GOLDEN, |top| {
        top.sections("cases", |case| {
            cases += 1;
            let name = case.text("name", "");
            let rules = relabel(case, "rules");
            let outcome = case.word("outcome", "kept", &["kept", "dropped", "invalid"]);
            let expected = match &*outcome {
                "kept" => Relabelled::Kept(pairs(case, "becomes")),
                "dropped" => Relabelled::Dropped,
                _ => Relabelled::Invalid,
            };
            case.text("not_on", "");
            assert_eq!(rules.apply(pairs(case, "labels")), expected, "{name}");
        })
    });
    assert_eq!(problems, []);
    assert!(cases > 60, "{cases}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_prometheus_refuses_is_told_with_its_key() {
    let cases: [(&str, &[&str]); 17] = [
        (
            "{}",
            &["rules[0].target_label: is missing; the action `replace` requires it"],
        ),
        (
            "{action: labeldorp, regex: a}",
            &[
                "rules[0].action: expected one of replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase, uppercase, found `labeldorp`; did you mean `labeldrop`?",
            ],
        ),
        (
            "{action: ''}",
            &[
                "rules[0].action: expected one of replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase, uppercase, found ``",
            ],
        ),
        (
            "{action: hashmod}",
            &[
                "rules[0].modulus: is missing; `hashmod` requires it",
                "rules[0].target_label: is missing; the action `hashmod` requires it",
            ],
        ),
        (
            "{action: hashmod, target_label: '$1', modulus: -1}",
            &[
                "rules[0].modulus: expected a whole number from 0 to 9223372036854775807, found `-1`",
                "rules[0].modulus: is missing; `hashmod` requires it",
                "rules[0].target_label: `$1` is not a valid label name; use letters, digits and _, not starting with a digit",
            ],
        ),
        (
            "{target_label: a-b}",
            &[
                "rules[0].target_label: `a-b` is not a valid label name; use letters, digits and _, not starting with a digit",
            ],
        ),
        (
            "{source_labels: [a, b-c], target_label: a}",
            &[
                "rules[0].source_labels: `b-c` is not a valid label name; use letters, digits and _, not starting with a digit",
            ],
        ),
        (
            "{source_labels: a, target_label: a}",
            &["rules[0].source_labels: expected a list of strings, found `a`"],
        ),
        (
            "{action: keep, regex: '('}",
            &["rules[0].regex: `(`: unclosed group"],
        ),
        (
            "{action: lowercase, target_label: '$1'}",
            &[
                "rules[0].target_label: `$1` is not a valid label name; use letters, digits and _, not starting with a digit",
            ],
        ),
        (
            "{action: uppercase, target_label: a, replacement: b}",
            &["rules[0].replacement: remove it: `uppercase` has no `replacement`"],
        ),
        (
            "{action: keepequal, source_labels: [a], target_label: b, regex: c, separator: '-'}",
            &[
                "rules[0].separator: remove it: `keepequal` uses only `source_labels` and `target_label`",
                "rules[0].regex: remove it: `keepequal` uses only `source_labels` and `target_label`",
            ],
        ),
        (
            "{action: dropequal, source_labels: [a]}",
            &["rules[0].target_label: is missing; the action `dropequal` requires it"],
        ),
        (
            "{action: labeldrop, source_labels: [a], target_label: b, regex: c, modulus: 2, replacement: d}",
            &[
                "rules[0].source_labels: remove it: `labeldrop` uses only `regex`",
                "rules[0].target_label: remove it: `labeldrop` uses only `regex`",
                "rules[0].modulus: remove it: `labeldrop` uses only `regex`",
                "rules[0].replacement: remove it: `labeldrop` uses only `regex`",
            ],
        ),
        (
            "{action: labelmap, regex: a, replacement: '-'}",
            &[
                "rules[0].replacement: `-` is not a valid label name; use letters, digits and _, not starting with a digit",
            ],
        ),
        (
            "{target_label: a, replacement: [b]}",
            &["rules[0].replacement: expected a string, found a list"],
        ),
        (
            "{target_label: a, replace: b}",
            &["rules[0].replace: unknown key; did you mean `replacement`?"],
        ),
    ];
    for (rule, expected) in cases {
        let mut found = problems(rule);
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{rule}");
    }
    let (_, _, found) = read("rules: {target_label: a}", |top| relabel(top, "rules"));
    assert_eq!(
        found[0].to_string(),
        "rules: expected a list of maps, found a map; an environment variable cannot override an entry of a list"
    );
}

#[test]
fn what_is_shown_is_read_back() {
    let written = r#"
rules:
  - {source_labels: [name, queue], regex: '(?P<a>.*);"(.*)', target_label: c, replacement: "${a} $$ ${2}"}
  - {target_label: number, replacement: 7}
  - {action: labeldrop, regex: "worker|"}
  - {action: hashmod, source_labels: [name], modulus: 8, target_label: shard}
  - {action: dropequal, source_labels: [name], target_label: b}
  - {action: UpperCase, source_labels: [a], target_label: b}
"#;
    let (rules, shown, found) = read(written, |top| relabel(top, "rules"));
    assert_eq!(found, []);
    let (again, shown_again, found) = read(&shown.to_string(), |top| relabel(top, "rules"));
    assert_eq!(found, [], "{shown}");
    assert_eq!(shown.to_string(), shown_again.to_string());

    let labels = || {
        let labels = [
            ("__name__", "x"),
            ("name", "n"),
            ("queue", "\"q"),
            ("worker", "w"),
        ];
        labels.map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let becomes = rules.apply(labels().to_vec());
    assert_eq!(becomes, again.apply(labels().to_vec()));
    let Relabelled::Kept(becomes) = becomes else {
        panic!("{becomes:?}")
    };
    assert!(
        becomes.contains(&("c".to_owned(), "n $ q".to_owned())),
        "{becomes:?}"
    );
}
