//! `celeriac doctor` finds twelve faults planted on real servers and advises on each. It reports a correct setup as
//! fine, and leaves nothing behind.

mod receivers;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use tempfile::TempDir;
use tokio::task::{JoinHandle, spawn_blocking};

use super::support::celeriac::Celeriac;
use super::support::celery::Celery;
use super::support::certificates;
use super::support::prometheus::{Options, Prometheus};
use super::support::pushgateway::Pushgateway;
use super::support::rabbitmq::{self, RabbitMq, Release};
use super::support::redis::Redis;
use super::support::tls;

/// The hash of a password.
const HASH: &str = "$2b$04$LROJY9Q1eZ.kW8Vx2gHDxeMrz6OClKXIs9U/doDUUhn1ew3wVT9TW";

/// Its output, with white space collapsed, and its exit status.
struct Said {
    text: String,
    status: Option<i32>,
}

impl Said {
    fn read(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let problems = String::from_utf8_lossy(&output.stderr);
        assert_eq!(problems, "", "a report says all itself");
        Self {
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            status: output.status.code(),
        }
    }

    /// Asserts that a check failed, with all these words in the finding or its advice.
    fn wrong(&self, check: &str, words: &[&str]) {
        self.has(&format!("{check} WRONG "), words);
        assert_eq!(self.status, Some(1), "{}", self.text);
        assert!(self.text.contains(" to fix."), "{}", self.text);
    }

    fn has(&self, begins: &str, words: &[&str]) {
        let text = &self.text;
        let at = text
            .find(begins)
            .unwrap_or_else(|| panic!("{begins}: {text}"));
        for word in words {
            assert!(text[at..].contains(word), "{word}: {text}");
        }
    }

    fn fine(&self, words: &[&str]) {
        for word in words {
            assert!(self.text.contains(word), "{word}: {}", self.text);
        }
        assert!(self.text.ends_with("Nothing to fix."), "{}", self.text);
        assert_eq!(self.status, Some(0));
    }
}

/// Runs it with a configuration, listening for `seconds`, optionally through another program.
fn doctor_through(config: &str, seconds: u32, through: &[&str]) -> JoinHandle<Said> {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("celeriac.yaml");
    fs::write(
        &file,
        format!("{config}\nhttp: {{listen: \"127.0.0.1:0\"}}\n"),
    )
    .expect("writable");
    let words: Vec<String> = through
        .iter()
        .copied()
        .chain([env!("CARGO_BIN_EXE_celeriac"), "doctor", "--config"])
        .map(str::to_owned)
        .collect();
    let seconds = seconds.to_string();
    spawn_blocking(move || {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(&file);
        let output = command
            .args(["--wait", &seconds])
            .output()
            .expect("it starts");
        drop(folder);
        Said::read(&output)
    })
}

async fn doctor(config: &str, seconds: u32) -> Said {
    doctor_through(config, seconds, &[])
        .await
        .expect("no panic")
}

fn broker(url: &str, more: &str) -> String {
    format!("brokers: [{{url: {url:?}{more}}}]\n")
}

/// Publishes tasks that a worker runs while the doctor listens.
async fn tasks(celery: &Celery) {
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let tasks = r#"[["proj.add", [1, 1], {}], ["proj.add", [2, 2], {}]]"#;
    celery
        .script_with("publish.py", 30, &[("TASKS", tasks)])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_wrong_it_says_so_and_leaves_nothing_behind() {
    let (prometheus, pushgateway) = (Prometheus::start_3().await, Pushgateway::start().await);
    let (debian, four, redis) = (
        RabbitMq::start().await,
        RabbitMq::start_as(rabbitmq::Options::of(Release::Four)).await,
        Redis::start().await,
    );
    let data = TempDir::new().expect("a temporary folder");
    let backend = redis.url(1);
    let urls = [debian.url(""), four.url(""), redis.url(0)];
    let fleets = urls.each_ref().map(|url| Celery::new("5.6", url, &backend));
    let mut workers = Vec::new();
    for celery in &fleets {
        workers.push(celery.worker("w", &["-c", "1"]).await);
    }
    let queues = |server: &RabbitMq| {
        let text = server.ctl(&["--quiet", "list_queues", "name", "durable"]);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let before = [&debian, &four].map(queues);
    let config = format!(
        "data_dir: {:?}\nbrokers:\n- {{name: debian, url: {:?}, delivery: durable}}\n\
         - {{name: four, url: {:?}, delivery: stream}}\n- {{name: redis, url: {:?}}}\n\
         remote_write: [{{name: p, url: {:?}}}]\npushgateway: [{{name: g, url: {:?}}}]\n",
        data.path().join("made"),
        urls[0],
        urls[1],
        urls[2],
        prometheus.write_url(),
        pushgateway.url(),
    );
    let examined = doctor_through(&config, 8, &[]);
    for celery in &fleets {
        let tasks = r#"[["proj.add", [1, 1], {}]]"#;
        celery
            .script_with("publish.py", 30, &[("TASKS", tasks)])
            .await;
    }
    let said = examined.await.expect("no panic");
    let workers_fine = "workers ok 1: w@";
    said.fine(&[
        "broker debian connection ok RabbitMQ 3.10",
        "broker four connection ok RabbitMQ 4.",
        "broker redis connection ok Redis ",
        "output buffer ok Redis holds 32 MiB, or 8 MiB for 60 s for a subscriber",
        "permissions ok",
        "`celeryev` exists",
        workers_fine,
        "task events ok on",
        "task-sent ok on: 1 received",
        "Celery ok 5.6",
        "clocks ok within ",
        "response ok 204 No Content, accepts io.prometheus.write.v2.Request",
        "a Pushgateway",
        "the daemon will create it",
    ]);
    assert_eq!(said.text.matches(workers_fine).count(), 3, "{}", said.text);
    assert_eq!([&debian, &four].map(queues), before);
    let keys = redis.connection().await;
    let left: Vec<String> = redis::cmd("KEYS")
        .arg("celeriac*")
        .query_async(&mut keys.clone())
        .await
        .expect("keys");
    assert_eq!((left.len(), data.path().join("made").exists()), (0, false));
    let families = prometheus
        .query("count({__name__=~\"celery.*\"})", None)
        .await;
    assert!(families.is_empty(), "nothing was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_output_buffer_of_redis_is_named() {
    let redis = Redis::start_with(&["--client-output-buffer-limit", "pubsub 1mb 0 0"]).await;
    let said = doctor(&broker(&redis.url(0), ", control_interval: 0s"), 3).await;
    said.has(
        "output buffer ? Redis holds 1 MiB for a subscriber",
        &["→ raise it, for example with CONFIG SET client-output-buffer-limit \"pubsub 32mb 8mb 60\""],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_vhosts_permissions_and_exchanges_are_found() {
    let rabbitmq = RabbitMq::start().await;
    let redis = Redis::start().await;
    let celery = Celery::new("5.7", &rabbitmq.url(""), &redis.url(1));
    let _worker = celery.worker("w", &["-c", "1"]).await;
    rabbitmq.ctl(&["add_vhost", "empty"]);
    rabbitmq.ctl(&["set_permissions", "-p", "empty", "guest", ".*", ".*", ".*"]);
    rabbitmq.ctl(&["add_user", "less", "s3cret"]);
    let own = r"^celeriac\.";
    rabbitmq.ctl(&["set_permissions", "less", own, own, own]);
    let less = rabbitmq.url_of("less", "s3cret");
    let cases = [
        broker(&rabbitmq.url_of("guest", "wrong"), ""),
        broker(&rabbitmq.url("nowhere"), ""),
        broker(&rabbitmq.url("empty"), ""),
        broker(&less, ""),
        broker(&rabbitmq.url(""), ", event_exchange: another"),
        format!(
            "data_dir: /tmp\n{}",
            broker(&less, ", delivery: durable, queue: celery.events")
        ),
    ];
    let said = cases
        .each_ref()
        .map(|config| doctor_through(config, 3, &[]));
    let [password, nowhere, empty, permission, exchange, durable] = said;
    let said = async |handle: JoinHandle<Said>| handle.await.expect("no panic");
    said(password).await.wrong(
        "connection",
        &[
            "ACCESS_REFUSED",
            "→ check the user and the password in `url`",
        ],
    );
    said(nowhere).await.wrong(
        "connection",
        &["vhost nowhere not found", "→ use the vhost"],
    );
    let empty = said(empty).await;
    empty.wrong(
        "event exchange",
        &[
            "there is no exchange `celeryev` in this vhost",
            "→ use the vhost",
        ],
    );
    empty.wrong("workers", &["no worker replied", "→ start a worker"]);
    let permission = said(permission).await;
    permission.wrong(
        "permissions",
        &[
            "the user needs",
            "read on celeryev",
            "→ give the user the permissions it needs",
        ],
    );
    permission.wrong("permissions", &["write on celery.pidbox"]);
    said(exchange).await.wrong(
        "event exchange",
        &[
            "celeriac reads `another`, but workers publish to `celeryev`",
            "→ set `event_exchange: celeryev`",
        ],
    );
    said(durable)
        .await
        .wrong("permissions", &["configure on celery.events"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_prefixes_and_no_workers_are_found_on_redis() {
    let (redis, guarded, idle) = (
        Redis::start().await,
        Redis::start_with(&["--requirepass", "s3cret"]).await,
        Redis::start().await,
    );
    let celery = Celery::new("5.7", &redis.url(0), &redis.url(1));
    let _worker = celery.worker("w", &["-c", "1"]).await;
    let cases = [
        broker(&redis.url(0), ", global_keyprefix: \"app:\""),
        broker(&redis.url(3), ""),
        broker(&redis.url(0), ", event_exchange: another"),
        broker(&idle.url(0), ""),
        broker(&guarded.url(0), ""),
        broker("redis://127.0.0.1:1/0", ""),
    ];
    let said = cases
        .each_ref()
        .map(|config| doctor_through(config, 6, &[]));
    let [prefix, database, exchange, idle, password, nobody] = said;
    let said = async |handle: JoinHandle<Said>| handle.await.expect("no panic");
    said(prefix).await.wrong(
        "channels",
        &[
            "published on /0.celeryev",
            "→ nothing is published where",
            "`global_keyprefix: \"\"`",
        ],
    );
    said(database).await.wrong(
        "channels",
        &["published on /0.celeryev", "the database /0 in `url`"],
    );
    said(exchange).await.wrong(
        "event exchange",
        &[
            "workers publish to `celeryev`",
            "→ set `event_exchange: celeryev`",
        ],
    );
    said(idle).await.wrong(
        "workers",
        &[
            "no worker replied, and no event arrived",
            "→ start a worker",
        ],
    );
    said(password).await.wrong(
        "connection",
        &["NOAUTH", "→ check the user and the password"],
    );
    said(nobody)
        .await
        .wrong("connection", &["refused", "→ check host and port"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_task_sent_that_are_off_are_found() {
    let (redis, rabbitmq) = (Redis::start().await, RabbitMq::start().await);
    let silent = Celery::new("5.6", &redis.url(0), &redis.url(1)).with("TASK_EVENTS", "off");
    let unsent = Celery::new("5.7", &rabbitmq.url(""), &redis.url(1)).with("SENT_EVENT", "off");
    let _silent = silent.worker_of("proj", "silent", &["-c", "1"]).await;
    let _unsent = unsent.worker("unsent", &["-c", "1"]).await;
    let (off, without) = (broker(&redis.url(0), ""), broker(&rabbitmq.url(""), ""));

    // While no task runs, it is undetermined whether a worker was started with -E.
    let (idle, quiet) = tokio::join!(doctor(&off, 3), doctor(&without, 3));
    idle.has(
        "task events ? silent@",
        &[
            "ran no task in 3 s",
            "→ run the doctor again while tasks run",
        ],
    );
    quiet.wrong(
        "task-sent",
        &[
            "task_send_sent_event is off",
            "→ set task_send_sent_event = True",
        ],
    );

    let (off, without) = (
        doctor_through(&off, 10, &[]),
        doctor_through(&without, 10, &[]),
    );
    tokio::join!(tasks(&silent), tasks(&unsent));
    let said = off.await.expect("no panic");
    said.wrong(
        "task events",
        &[
            "off: silent@",
            "ran 2 tasks",
            "→ start workers with -E",
            "enable_events",
        ],
    );
    let said = without.await.expect("no panic");
    said.has("task events ok on", &[]);
    said.wrong(
        "task-sent",
        &[
            "2 tasks were received",
            "no task-sent event arrived",
            "→ set task_send_sent_event",
        ],
    );
}

#[test]
fn a_bad_file_ends_it_as_it_ends_a_run() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("celeriac.yaml");
    fs::write(&file, "brokers: []\n").expect("writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
    let output = command
        .args(["doctor", "--config"])
        .arg(&file)
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}
