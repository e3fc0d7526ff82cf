//! The examples that scale workers on a queue.

use serde_json::Value;

use super::manifests::{Manifests, items, repository, text};

fn example(file: &str) -> String {
    let path = repository("deploy/kubernetes/scaling").join(file);
    std::fs::read_to_string(path).expect(file)
}

fn manifest(file: &str, kind: &str) -> Value {
    let manifests =
        Manifests::check(&example(file)).unwrap_or_else(|problems| panic!("{problems}"));
    manifests.one(kind).clone()
}

#[test]
fn the_page_shows_the_example_for_keda() {
    let page = std::fs::read_to_string(repository("docs/api.md")).expect("the page");
    let example = example("keda.yaml");
    let object = example.find("apiVersion:").map(|start| &example[start..]);
    let object = object.expect("an object");
    assert!(page.contains(&format!("```yaml\n{object}```")), "{object}");
}

#[test]
fn keda_reads_a_documented_field_of_the_api() {
    let object = manifest("keda.yaml", "ScaledObject");
    let trigger = &items(&object["spec"]["triggers"])[0];
    assert_eq!(trigger["type"], "metrics-api");
    let url: url::Url = text(&trigger["metadata"]["url"]).parse().expect("a URL");
    assert_eq!(
        (url.port(), url.path()),
        (Some(9808), "/api/v1/queues/reports")
    );
    let schema = std::fs::read_to_string(repository("docs/api.schema.json")).expect("the schema");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let figures = &schema["$defs"]["queue_figures"]["properties"];
    let location = text(&trigger["metadata"]["valueLocation"]);
    assert!(figures.get(location).is_some(), "{location}");
}

#[test]
fn the_autoscaler_asks_for_the_metric_that_the_adapter_provides() {
    let scaler = manifest("hpa.yaml", "HorizontalPodAutoscaler");
    let metric = &items(&scaler["spec"]["metrics"])[0]["external"]["metric"];
    let rules = example("prometheus-adapter.yaml");
    let name = text(&metric["name"]);
    assert!(rules.contains(&format!("seriesQuery: {name}\n")), "{rules}");
    let metrics = std::fs::read_to_string(repository("docs/metrics.md")).expect("the page");
    assert!(metrics.contains(&format!("| `{name}` | gauge | `queue` |")));
    assert!(metric["selector"]["matchLabels"].get("queue").is_some());
}
