//! Generates events as Celery's workers would send them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The uuid of the n-th task.
pub fn uuid(n: u64) -> String {
    format!(
        "{:08x}-{:04x}-4000-8000-{:012x}",
        n & 0xffff_ffff,
        (n >> 32) & 0xffff,
        n
    )
}

/// Returns the four events of a task that succeeds, about as long as real ones.
pub fn life(n: u64, name: &str, timestamp: f64) -> [String; 4] {
    let uuid = uuid(n);
    let common = |kind: &str, at: f64| {
        format!(
            r#""hostname": "w{}@host", "utcoffset": 0, "pid": 4242, "clock": {n}, "uuid": "{uuid}", "timestamp": {at}, "type": "{kind}""#,
            n % 4
        )
    };
    [
        format!(
            r#"{{"name": "{name}", "args": "[1, 2]", "kwargs": "{{}}", "root_id": "{uuid}", "parent_id": null, "retries": 0, "eta": null, "expires": null, "queue": "celery", "exchange": "", "routing_key": "celery", {}}}"#,
            common("task-sent", timestamp)
        ),
        format!(
            r#"{{"name": "{name}", "args": "[1, 2]", "kwargs": "{{}}", "root_id": "{uuid}", "parent_id": null, "retries": 0, "eta": null, "expires": null, {}}}"#,
            common("task-received", timestamp + 0.001)
        ),
        format!("{{{}}}", common("task-started", timestamp + 0.002)),
        format!(
            r#"{{"result": "3", "runtime": 0.0012345, {}}}"#,
            common("task-succeeded", timestamp + 0.003)
        ),
    ]
}

/// Wraps a body in Kombu's envelope, as published on Redis.
pub fn envelope(body: &str) -> String {
    format!(
        r#"{{"body": "{}", "content-encoding": "utf-8", "content-type": "application/json", "headers": {{"hostname": "w1@host"}}, "properties": {{"delivery_mode": 1, "priority": 0, "body_encoding": "base64", "delivery_info": {{"exchange": "celeryev", "routing_key": "task.multi"}}, "delivery_tag": "3f2b8f2e-0d2f-4c6e-9d61-0c5a5c1f6b11"}}}}"#,
        STANDARD.encode(body)
    )
}
