//! The queues as declared on the broker, and what must not be declared.

use serde_json::{Value, json};

use super::not_ready_because;
use crate::support::rabbitmq::{Options, RabbitMq, Release};
use crate::survival::Agent;

/// Returns the broker's description of our queues, without random names.
fn queues(rabbitmq: &RabbitMq) -> Value {
    let columns = ["name", "durable", "exclusive", "auto_delete", "arguments"];
    let command = ["--quiet", "--formatter", "json", "list_queues"];
    let text = rabbitmq.ctl(&[&command[..], &columns[..]].concat());
    let mut queues: Value = serde_json::from_str(&text).expect("JSON");
    for queue in queues.as_array_mut().expect("a list") {
        // Each argument is a name, a type and a value.
        let arguments = queue["arguments"].as_array().cloned();
        let by_name = arguments.into_iter().flatten().map(|argument| {
            let name = argument[0].as_str().expect("a name").to_owned();
            (name, argument[2].clone())
        });
        queue["arguments"] = by_name.collect();
        // The field is empty for some queue types.
        queue["exclusive"] = json!(queue["exclusive"] == true);
    }
    queues
}

const BYTES: u64 = 8 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn queues_have_the_arguments_of_the_page() {
    let quorum = json!({"x-queue-type": "quorum", "x-max-length-bytes": BYTES,
                        "x-delivery-limit": 1_000_000, "x-overflow": "drop-head", "x-single-active-consumer": true});
    let stream = json!({"x-queue-type": "stream", "x-max-length-bytes": BYTES,
                        "x-stream-max-segment-size-bytes": BYTES / 8});
    let transient = json!({"x-max-length-bytes": BYTES});
    let cases = [
        ("transient", None, transient),
        ("durable", Some("celeriac.main"), quorum),
        ("stream", Some("celeriac.main"), stream),
    ];
    for release in Release::BOTH {
        let rabbitmq = RabbitMq::start_as(Options::of(release)).await;
        for (delivery, name, arguments) in &cases {
            let mut arguments = arguments.clone();
            if name.is_none() && release == Release::Four {
                // The broker's own default, which it adds.
                arguments["x-queue-type"] = json!("classic");
            }
            let keys = format!("delivery: {delivery}, queue_max_bytes: {BYTES}");
            let agent = Agent::new(&rabbitmq.url(""), &keys);
            let mut celeriac = agent.start().await;
            celeriac.ready().await;
            let stays = name.is_some();
            let mut found = queues(&rabbitmq);
            if name.is_none() {
                let name = found[0]["name"].as_str().expect("a name");
                assert_eq!(name.len(), "celeriac.".len() + 16, "{name}");
                found[0]["name"] = Value::Null;
            }
            let expected = json!([{"name": name, "durable": stays, "exclusive": !stays,
                                   "auto_delete": !stays, "arguments": arguments}]);
            assert_eq!(found, expected, "{release:?} {delivery}");
            assert!(celeriac.terminate().success());
            if let Some(name) = name {
                rabbitmq.ctl(&["delete_queue", name]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_is_left_alone_and_the_error_says_what_to_do() {
    for release in Release::BOTH {
        let rabbitmq = RabbitMq::start_as(Options::of(release)).await;
        let url = rabbitmq.url("");
        for (delivery, other) in [
            ("durable", "durable"),
            ("stream", "stream"),
            ("durable", "stream"),
        ] {
            let before = format!("delivery: {delivery}, queue_max_bytes: {BYTES}");
            let mut celeriac = Agent::new(&url, &before).start().await;
            celeriac.ready().await;
            assert!(celeriac.terminate().success());
            let found = queues(&rabbitmq);
            let after = format!("delivery: {other}, queue_max_bytes: {}", 2 * BYTES);
            let mut celeriac = Agent::new(&url, &after).start().await;
            let argument = if delivery == other {
                "x-max-length-bytes"
            } else {
                "x-"
            };
            let argument = format!("inequivalent arg '{argument}");
            let texts = [argument.as_str(), "rabbitmqctl delete_queue celeriac.main"];
            not_ready_because(&celeriac, &texts).await;
            assert_eq!(queues(&rabbitmq), found);
            assert_eq!(found[0]["name"], "celeriac.main");
            assert!(celeriac.terminate().success());
            rabbitmq.ctl(&["delete_queue", "celeriac.main"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_plugin_for_shards_the_error_names_it() {
    for release in Release::BOTH {
        let options = Options {
            release,
            ..Options::default()
        };
        let rabbitmq = RabbitMq::start_as(options).await;
        let keys = "delivery: durable, shard: {index: 0, count: 2}";
        let celeriac = Agent::new(&rabbitmq.url(""), keys).start().await;
        let hint = "rabbitmq-plugins enable rabbitmq_consistent_hash_exchange";
        not_ready_because(&celeriac, &[hint]).await;
    }
}
