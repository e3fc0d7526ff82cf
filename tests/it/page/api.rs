//! The API on a real workload: its answers match the schema, as an independent validator reads it.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::support::made_by_setup;
use crate::support::prometheus::Prometheus;

/// Validates a document from standard input against a definition of the schema.
const VALIDATE: &str = "
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
if len(sys.argv) > 3:
    schema = {'$ref': '#/$defs/' + sys.argv[3], '$defs': schema['$defs']}
problems = jsonschema.Draft202012Validator(schema).iter_errors(json.load(open(sys.argv[2])))
print('\\n'.join(f'{problem.json_path}: {problem.message}' for problem in problems), end='')
";

fn problems(document: &Value, definition: Option<&str>) -> String {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.schema.json");
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), document.to_string()).expect("a writable file");
    let output = Command::new(made_by_setup("venvs/kubernetes/bin/python"))
        .args(["-c", VALIDATE])
        .arg(schema)
        .arg(file.path())
        .args(definition)
        .output()
        .expect("Python");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_documented() {
    let prometheus = Prometheus::start().await;
    let receivers = format!(
        "remote_write: [{{url: {:?}, name: main}}]\npushgateway: [{{url: 'http://127.0.0.1:9'}}]\n",
        prometheus.write_url()
    );
    let redis = Redis::start().await;
    let url = redis.url(0);
    let config = format!("brokers: [{{url: {url:?}, queue_interval: 1s}}]\n{receivers}");
    let celeriac = Celeriac::start(&config).await;
    celeriac.subscribed("default").await;
    let celery = Celery::new("5.7", &url, &redis.url(1));
    let _worker = celery
        .worker("one", &["-c", "2", "-Q", "celery,prefork,green"])
        .await;
    celery.script("workload.py", 120).await;
    let status = celeriac.status().await;
    assert_eq!(problems(&status, None), "");
    let (code, queue) = celeriac.get("/api/v1/queues/celery").await;
    assert_eq!(code, 200, "{queue}");
    let queue: Value = serde_json::from_str(&queue).expect("JSON");
    assert_eq!(problems(&queue, Some("queue_figures")), "");
    for section in [
        "queues",
        "tasks",
        "workers",
        "periodic",
        "brokers",
        "receivers",
    ] {
        let rows = status[section].as_array().expect(section);
        assert!(!rows.is_empty(), "no {section}");
    }
    let mut wrong = status.clone();
    wrong["tasks"][0]["failed"] = "many".into();
    assert!(problems(&wrong, None).contains("$.tasks[0].failed"));
    // Other sites get nothing.
    let url = celeriac.url("/api/v1/status");
    let foreign = reqwest::Client::new().get(url);
    let foreign = foreign.header("Sec-Fetch-Site", "cross-site").send().await;
    assert_eq!(foreign.expect("an answer").status(), 403);
}
