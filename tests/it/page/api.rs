//! The API is what its schema and its documentation say.

use std::path::Path;

use super::*;
use crate::support::prometheus::Prometheus;

fn documentation(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(file);
    std::fs::read_to_string(path).expect("documentation")
}

/// Adds what is wrong with a value. A field that the schema lacks is wrong too: it is not documented.
fn check(root: &Value, schema: &Value, value: &Value, place: &str, wrong: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.trim_start_matches("#/$defs/");
        return check(root, &root["$defs"][name], value, place, wrong);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let fits = |schema: &&Value| {
            let mut wrong = Vec::new();
            check(root, schema, value, place, &mut wrong);
            wrong.is_empty()
        };
        if !any.iter().any(|schema| fits(&schema)) {
            wrong.push(format!("{place}: {value} fits none of {schema}"));
        }
        return;
    }
    if let Some(words) = schema["enum"].as_array() {
        if !words.contains(value) {
            wrong.push(format!("{place}: {value} is none of {words:?}"));
        }
        return;
    }
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{place}: unknown type {other}"),
    };
    let kinds = schema["type"].as_array().cloned();
    let kinds = kinds.unwrap_or_else(|| vec![schema["type"].clone()]);
    if !kinds.iter().any(|kind| is(kind.as_str().expect("a type"))) {
        wrong.push(format!("{place}: {value} is not {kinds:?}"));
        return;
    }
    for (at, element) in value.as_array().into_iter().flatten().enumerate() {
        check(
            root,
            &schema["items"],
            element,
            &format!("{place}[{at}]"),
            wrong,
        );
    }
    if let Some(members) = value.as_object() {
        let properties = schema["properties"].as_object().expect(place);
        for (name, member) in members {
            match properties.get(name) {
                Some(schema) => check(root, schema, member, &format!("{place}.{name}"), wrong),
                None => wrong.push(format!("{place}.{name}: not in the schema")),
            }
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().expect("a name");
            if !members.contains_key(name) {
                wrong.push(format!("{place}.{name}: missing"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_documented() {
    let prometheus = Prometheus::start().await;
    let receiver = format!(
        "remote_write: [{{url: {:?}, name: main}}]\npushgateway: [{{url: 'http://127.0.0.1:9'}}]\n",
        prometheus.write_url()
    );
    let redis = Redis::start().await;
    let config = format!(
        "brokers: [{{url: {:?}, queue_interval: 1s}}]\n{receiver}",
        redis.url(0)
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.subscribed("default").await;
    let celery = Celery::new("5.7", &redis.url(0), &redis.url(1));
    let _worker = celery
        .worker("one", &["-c", "2", "-Q", "celery,prefork,green"])
        .await;
    celery.script("workload.py", 120).await;
    let schema: Value = serde_json::from_str(&documentation("api.schema.json")).expect("JSON");
    let status = celeriac.status().await;
    let mut wrong = Vec::new();
    check(&schema, &schema, &status, "status", &mut wrong);
    let (code, queue) = celeriac.get("/api/v1/queues/celery").await;
    assert_eq!(code, 200, "{queue}");
    let queue: Value = serde_json::from_str(&queue).expect("JSON");
    check(
        &schema,
        &schema["$defs"]["Queue"],
        &queue,
        "queue",
        &mut wrong,
    );
    assert_eq!(wrong, Vec::<String>::new());
    for section in [
        "queues",
        "tasks",
        "workers",
        "periodic",
        "brokers",
        "receivers",
    ] {
        assert!(
            !status[section].as_array().expect(section).is_empty(),
            "no {section}"
        );
    }
    // And the text names every field of the schema.
    let text = documentation("api.md");
    for (name, definition) in schema["$defs"].as_object().expect("definitions") {
        for field in definition["properties"]
            .as_object()
            .into_iter()
            .flat_map(|all| all.keys())
        {
            let named =
                text.contains(&format!("`{field}`")) || text.contains(&format!("\"{field}\""));
            assert!(named, "{name}.{field} is not in docs/api.md");
        }
    }
    // A wrong query is an error, and other sites get nothing.
    let (code, error) = celeriac.get("/api/v1/status?window=2m").await;
    assert_eq!(code, 400, "{error}");
    assert!(error.contains("\"error\""), "{error}");
    let url = celeriac.url("/api/v1/status");
    let foreign = reqwest::Client::new()
        .get(url)
        .header("Sec-Fetch-Site", "cross-site");
    assert_eq!(foreign.send().await.expect("an answer").status(), 403);
}
