//! The documented schema: what the API returns matches it, and it documents every field.

use serde_json::{Value, json};

use super::answers::show;
use super::fixture::{hostile, usual};
use crate::config::StatusConfig;
use crate::status::document::*;

const SCHEMA: &str = include_str!("../../../../docs/api.schema.json");
const PAGE: &str = include_str!("../../../../docs/api.md");

/// Checks a value against the part of JSON Schema that ours uses. Properties that are not in the schema are errors here,
/// because all of them have to be documented.
fn check(schema: &Value, at: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
    if let Some(reference) = at["$ref"].as_str() {
        let name = reference.strip_prefix("#/$defs/").expect("a definition");
        return check(schema, &schema["$defs"][name], value, path, problems);
    }
    if let Some(choices) = at["anyOf"].as_array() {
        let fits = choices.iter().any(|choice| {
            let mut problems = Vec::new();
            check(schema, choice, value, path, &mut problems);
            problems.is_empty()
        });
        if !fits {
            problems.push(format!("{path}: no alternative fits {value}"));
        }
        return;
    }
    let kinds = at["type"].as_array().cloned();
    let kinds = kinds.unwrap_or_else(|| vec![at["type"].clone()]);
    let is = |kind: &Value| match kind.as_str().expect("a type") {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{path}: unknown type {other}"),
    };
    if !kinds.iter().any(is) {
        problems.push(format!("{path}: {value} is not {kinds:?}"));
    }
    if let Some(allowed) = at["enum"].as_array()
        && !allowed.contains(value)
    {
        problems.push(format!("{path}: {value} is not one of {allowed:?}"));
    }
    if let Some(only) = at.get("const").filter(|only| *only != value) {
        problems.push(format!("{path}: {value} is not {only}"));
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        check(
            schema,
            &at["items"],
            item,
            &format!("{path}[{n}]"),
            problems,
        );
    }
    let Some(fields) = value.as_object() else {
        return;
    };
    for (name, field) in fields {
        match at["properties"].get(name) {
            Some(at) => check(schema, at, field, &format!("{path}.{name}"), problems),
            None => problems.push(format!("{path}.{name} is not documented")),
        }
    }
    for name in at["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().expect("a name")) {
            problems.push(format!("{path}.{name} is missing"));
        }
    }
}

fn problems(at: Option<&str>, value: &Value) -> Vec<String> {
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    let mut problems = Vec::new();
    let at = at.map_or(&schema, |name| &schema["$defs"][name]);
    check(&schema, at, value, "", &mut problems);
    problems
}

/// Rows of which nothing is known.
fn unknown() -> Status {
    Status {
        version: VERSION,
        queues: vec![QueueRow::default()],
        tasks: vec![TaskRow::default()],
        workers: vec![WorkerRow::default()],
        periodic: vec![PeriodicRow::default()],
        workflows: vec![WorkflowRow::default()],
        long_running: vec![LongRunningRow::default()],
        beats: vec![BeatRow::default()],
        brokers: vec![BrokerRow::default()],
        receivers: vec![ReceiverRow::default()],
        ..Status::default()
    }
}

#[tokio::test]
async fn every_answer_of_the_api_matches_its_schema() {
    for status in [
        usual(),
        hostile(),
        unknown(),
        Status {
            version: VERSION,
            ..Status::default()
        },
    ] {
        let shown = show(status, StatusConfig::default(), &[]);
        let document = shown.get("/api/v1/status", "").await.json();
        assert_eq!(problems(None, &document), [""; 0]);
        let queue = shown.get("/api/v1/queues/legacy", "").await;
        let name = if queue.status.is_success() {
            "queue_figures"
        } else {
            "error"
        };
        assert_eq!(problems(Some(name), &queue.json()), [""; 0]);
    }
}

#[test]
fn the_schema_rejects_what_is_not_documented() {
    let mut document = serde_json::to_value(usual()).expect("JSON");
    document["queues"][0]["waiting"] = json!("many");
    document["tasks"][0]["colour"] = json!(1);
    document["instance"]["mode"] = json!("asleep");
    document["version"] = json!(2);
    document["trust"]
        .as_object_mut()
        .expect("an object")
        .remove("missing");
    let found = problems(None, &document);
    assert_eq!(found.len(), 5, "{found:?}");
}

#[test]
fn the_page_lists_every_field() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    let parts = schema["$defs"].as_object().expect("definitions").values();
    for part in parts.chain([&schema]) {
        for (name, field) in part["properties"].as_object().into_iter().flatten() {
            let meaning = field["description"].as_str().expect("a description");
            let listed = PAGE.lines().any(|line| {
                line.starts_with(&format!("| `{name}` |"))
                    && line.ends_with(&format!("| {meaning} |"))
            });
            assert!(listed || name == "error", "{name}: {meaning}");
        }
    }
}
