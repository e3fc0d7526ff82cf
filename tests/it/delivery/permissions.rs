//! With the documented permissions everything works; with less, the error names what is missing.

use std::fmt::Write;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::celeriac::Celeriac;
use crate::support::rabbitmq::{Options, RabbitMq, Release};
use crate::support::wait_for;

/// Returns the documented permission, found by the comment after it.
fn allowed(comment: &str) -> &'static str {
    let page = include_str!("../../../docs/rabbitmq.md");
    let lines = page.lines().filter_map(|line| line.strip_prefix("allow '"));
    let mut patterns = lines.filter_map(|line| line.split_once("' "));
    let found = patterns.find(|(_, behind)| behind.trim() == format!("# {comment}"));
    found.expect("a line of that comment").0
}

/// A user who lacks one permission, or none.
struct User {
    name: String,
    vhost: String,
    keys: String,
    permissions: [String; 3],
    /// The words that the reason must contain.
    missing: Option<Vec<String>>,
}

/// Returns the users for one configuration: one with all documented permissions, and one for each permission that can
/// be removed.
fn users_of(delivery: &str, is_sharded: bool, comment: &str) -> Vec<User> {
    let (vhost, keys, queue) = if is_sharded {
        let keys = format!("delivery: {delivery}, shard: {{index: 0, count: 4}}");
        (format!("{delivery}-shards"), keys, "celeriac.main.0-of-4")
    } else {
        let keys = format!("delivery: {delivery}");
        (delivery.to_owned(), keys, "celeriac.main")
    };
    // The name of a transient queue is different each time.
    let (queue, queue_pattern) = if delivery == "transient" {
        ("celeriac.", r"celeriac\.[0-9a-f]{16}")
    } else {
        (queue, queue)
    };
    let shards = "celeriac.main.of-4";
    let [configure, write, read] = [0, 1, 2];
    let mut lacking = vec![
        (
            configure,
            queue_pattern,
            vec![format!("configure on {}", queue.trim_end_matches('.'))],
        ),
        (write, queue_pattern, vec![format!("write on {queue}")]),
        (read, "celeryev", vec!["read on celeryev".to_owned()]),
        (read, queue_pattern, vec![format!("read on {queue}")]),
    ];
    if is_sharded {
        lacking.extend([
            (configure, shards, vec![format!("configure on {shards}")]),
            (write, shards, vec![format!("write on {shards}")]),
            (
                read,
                shards,
                vec![format!("write on {queue}"), format!("read on {shards}")],
            ),
        ]);
    }
    let pattern = allowed(comment);
    let full = [
        pattern.to_owned(),
        pattern.to_owned(),
        format!("^celeryev$|{pattern}"),
    ];
    let without = lacking
        .into_iter()
        .enumerate()
        .map(|(n, (which, name, missing))| {
            let mut permissions = full.clone();
            permissions[which] = format!("^(?!{name}$)(?:{})", permissions[which]);
            (format!("{vhost}-without-{n}"), permissions, Some(missing))
        });
    let all = std::iter::once((format!("{vhost}-full"), full.clone(), None));
    all.chain(without)
        .map(|(name, permissions, missing)| User {
            name,
            vhost: vhost.clone(),
            keys: keys.clone(),
            permissions,
            missing,
        })
        .collect()
}

fn users() -> Vec<User> {
    let cases = [
        ("transient", false, "transient"),
        ("durable", false, "durable, stream"),
        ("stream", false, "durable, stream"),
        ("transient", true, "transient with shards"),
        ("durable", true, "durable, stream with shards"),
        ("stream", true, "durable, stream with shards"),
    ];
    let users =
        cases.map(|(delivery, is_sharded, comment)| users_of(delivery, is_sharded, comment));
    users.into_iter().flatten().collect()
}

/// Returns the definitions of virtual hosts where a worker has run, and of the users.
fn definitions(users: &[User]) -> Value {
    let mut vhosts: Vec<&str> = users.iter().map(|user| user.vhost.as_str()).collect();
    vhosts.dedup();
    let exchange = |vhost: &&str| {
        json!({"name": "celeryev", "vhost": vhost, "type": "topic", "durable": true,
               "auto_delete": false, "internal": false, "arguments": {}})
    };
    let login = |user: &User| json!({"name": user.name, "password": "s3cret", "tags": []});
    let permission = |user: &User| {
        let [configure, write, read] = &user.permissions;
        json!({"user": user.name, "vhost": user.vhost,
               "configure": configure, "write": write, "read": read})
    };
    json!({
        "vhosts": vhosts.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "exchanges": vhosts.iter().map(exchange).collect::<Vec<_>>(),
        "users": users.iter().map(login).collect::<Vec<_>>(),
        "permissions": users.iter().map(permission).collect::<Vec<_>>(),
    })
}

/// Returns a configuration with one broker per user.
fn config(users: &[User], rabbitmq: &RabbitMq, data: &TempDir) -> String {
    let mut config = format!("data_dir: {:?}\nbrokers:\n", data.path());
    for User {
        name, vhost, keys, ..
    } in users
    {
        let port = rabbitmq.port;
        writeln!(
            config,
            "  - {{name: {name}, url: 'amqp://{name}:s3cret@127.0.0.1:{port}/{vhost}', queue: celeriac.main, \
             queue_interval: 0s, control_interval: 0s, {keys}}}"
        )
        .expect("memory");
    }
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_says_is_enough_and_what_is_missing_is_named() {
    let users = users();
    for release in Release::BOTH {
        let rabbitmq = RabbitMq::start_as(Options::of(release)).await;
        let data = TempDir::new().expect("a temporary folder");
        let file = data.path().join("definitions.json");
        std::fs::write(&file, definitions(&users).to_string()).expect("a writable folder");
        rabbitmq.ctl(&[
            "import_definitions",
            file.to_str().expect("a path in UTF-8"),
        ]);
        let celeriac = Celeriac::start(&config(&users, &rabbitmq, &data)).await;
        wait_for("each user's due", 60, async || {
            let (_, reasons) = celeriac.get("/-/ready").await;
            let reason = |name: &str| {
                let start = format!("broker {name}: ");
                reasons.lines().find(|line| line.starts_with(&start))
            };
            let wrong: Vec<_> = users
                .iter()
                .filter(|user| match (&user.missing, reason(&user.name)) {
                    (None, None) => false,
                    (Some(missing), Some(reason)) => {
                        let named = reason.contains("the user needs ");
                        !named
                            || missing
                                .iter()
                                .any(|missing| !reason.contains(missing.as_str()))
                    }
                    (Some(_), None) | (None, Some(_)) => true,
                })
                .map(|user| format!("{} should lack {:?}", user.name, user.missing))
                .collect();
            if wrong.is_empty() {
                Ok(())
            } else {
                Err(format!("{release:?}: {}\n{reasons}", wrong.join("\n")))
            }
        })
        .await;
        let log = celeriac.process.output();
        for text in users
            .iter()
            .filter_map(|user| user.missing.as_ref())
            .flatten()
        {
            assert!(log.contains(text.as_str()), "{text} in {log}");
        }
        assert!(!log.contains("s3cret"), "{log}");
    }
}
