//! Receivers, folders, certificates and ports.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_take_nothing_are_found() {
    let redis = Redis::start().await;
    let guarded = Options {
        web_config: Some(format!("basic_auth_users: {{ann: {HASH}}}\n")),
        ..Options::default()
    };
    let without = Options {
        is_no_receiver: true,
        ..Options::default()
    };
    let (guarded, without, fine) = tokio::join!(
        Prometheus::start_with(guarded),
        Prometheus::start_with(without),
        Prometheus::start()
    );
    let elsewhere = fine.write_url().replace("/api/v1/write", "/api/v1/push");
    let config = format!(
        "{}remote_write:\n- {{name: unauthorized, url: {:?}}}\n- {{name: nowhere, url: {elsewhere:?}}}\n\
         - {{name: without, url: {:?}}}\n- {{name: fine, url: {:?}}}\n- {{name: away, url: \"http://127.0.0.1:1/api/v1/write\"}}\n\
         pushgateway: [{{name: none, url: {:?}}}]\n",
        broker(&redis.url(0), ""),
        guarded.write_url(),
        without.write_url(),
        fine.write_url(),
        fine.write_url().replace("/api/v1/write", ""),
    );
    let said = doctor(&config, 3).await;
    let of = |name: &str| {
        let from = said.text.find(&format!("{name} (")).expect("its section");
        let rest = &said.text[from..];
        let next = [" remote_write ", " pushgateway ", " data_dir "];
        let end = next.iter().filter_map(|next| rest.find(next)).min();
        Said {
            text: format!("{} 1 thing to fix.", &rest[..end.expect("another section")]),
            status: said.status,
        }
    };
    of("unauthorized").wrong(
        "response",
        &["401 Unauthorized", "→ credentials are missing or wrong"],
    );
    of("nowhere").wrong(
        "response",
        &[
            "404 Not Found",
            "→ remote write is not served at this path",
            "/api/v1/write (Prometheus",
        ],
    );
    of("without").wrong(
        "response",
        &[
            "404 Not Found",
            "→ this Prometheus does not accept remote write yet",
            "start it with --web.enable-remote-write-receiver",
        ],
    );
    of("fine").has("response ok 204", &["accepts prometheus.WriteRequest"]);
    of("away").wrong("response", &["no response", "→ check host and port"]);
    of("none").wrong("response", &["404", "→ this is not a Pushgateway"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_dir_that_cannot_be_written_is_found() {
    let redis = Redis::start().await;
    let above = TempDir::new().expect("a temporary folder");
    let closed = above.path().join("closed");
    fs::create_dir(&closed).expect("writable");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).expect("ours");
    let file = above.path().join("file");
    fs::write(&file, "").expect("writable");
    let config =
        |path: &std::path::Path| format!("data_dir: {path:?}\n{}", broker(&redis.url(0), ""));

    let said = doctor(&config(&file), 3).await;
    said.wrong(
        "writable",
        &["Not a directory", "→ `data_dir` must be a folder"],
    );
    // Root may write everywhere, so run in a namespace where it is mapped to another user.
    let said = doctor_through(
        &config(&closed),
        3,
        &["unshare", "--map-user=10001", "--map-group=10001"],
    );
    let said = said.await.expect("no panic");
    said.wrong(
        "writable",
        &[
            "Permission denied",
            "→ celeriac runs as user 10001 and group 10001 here: `chown -R 10001:10001",
        ],
    );
    // As left by a daemon that ran as another user.
    let left = above.path().join("left");
    fs::create_dir(&left).expect("writable");
    fs::write(left.join("lock"), "").expect("writable");
    fs::set_permissions(left.join("lock"), fs::Permissions::from_mode(0o400)).expect("ours");
    let said = doctor_through(
        &config(&left),
        3,
        &["unshare", "--map-user=10001", "--map-group=10001"],
    );
    let said = said.await.expect("no panic");
    said.wrong("writable", &["/left/lock: Permission denied"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_other_arguments_bindings_and_a_broker_that_blocks_are_found() {
    let rabbitmq = RabbitMq::start().await;
    let celery = Celery::new("5.7", &rabbitmq.url(""), "");
    let _worker = celery.worker("w", &["-c", "1"]).await;
    let durable = |more: &str| {
        let folder = TempDir::new().expect("a temporary folder").keep();
        let broker = broker(
            &rabbitmq.url(""),
            &format!(", delivery: durable, queue_max_bytes: {more}"),
        );
        format!("data_dir: {folder:?}\n{broker}")
    };
    let mut celeriac = Celeriac::start(&durable("64MiB")).await;
    celeriac.ready().await;
    celeriac.terminate();
    let (same, other) = (durable("64MiB"), durable("128MiB"));
    let few = broker(&rabbitmq.url(""), ", bindings: [\"task.succeeded\"]");
    let (same, other, few) = tokio::join!(doctor(&same, 3), doctor(&other, 3), doctor(&few, 3));
    same.has("permissions ok", &[]);
    other.wrong(
        "permissions",
        &["a queue of this name exists with other arguments"],
    );
    few.has(
        "bindings ? not received: worker.heartbeat, task.sent",
        &["→ add them to `bindings`"],
    );
    few.has("workers ok", &[]);

    // From now on it blocks publishers, and does not reply to later requests on their connections.
    rabbitmq.ctl(&["set_vm_memory_high_watermark", "absolute", "1"]);
    let said = doctor(&broker(&rabbitmq.url(""), ""), 3).await;
    said.wrong("permissions", &["no reply to a poll"]);
    said.has("event exchange ok", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_allowed_and_what_is_meant_so_is_no_fault() {
    let (rabbitmq, redis) = (
        RabbitMq::start().await,
        Redis::start_with(&["--rename-command", "INFO", ""]).await,
    );
    let celery = Celery::new("5.6", &redis.url(3), &redis.url(1)).with("TASK_EVENTS", "off");
    let _worker = celery.worker_of("proj", "w", &["-c", "1"]).await;
    let rabbit = Celery::new("5.7", &rabbitmq.url(""), &redis.url(1));
    let _other = rabbit.worker("w", &["-c", "1"]).await;
    let own = r"^celeriac\.main$";
    rabbitmq.ctl(&["add_user", "less", "s3cret"]);
    rabbitmq.ctl(&[
        "set_permissions",
        "less",
        own,
        own,
        &format!("^celeryev$|{own}"),
    ]);
    let events = "queue_interval: 0s, control_interval: 0s";
    // The ACL in docs/redis.md for events alone.
    let mut connection = redis.connection().await;
    redis::cmd("ACL")
        .arg(&["SETUSER", "less", "on", ">s3cret", "resetchannels"])
        .arg(&["&/3.celeryev/*", "+psubscribe", "+ping"])
        .exec_async(&mut connection)
        .await
        .expect("a user");
    let of_less = redis.url(3).replace("redis://", "redis://less:s3cret@");
    let cases = [
        format!(
            "data_dir: /tmp\n{}",
            broker(
                &rabbitmq.url_of("less", "s3cret"),
                &format!(", delivery: durable, {events}")
            )
        ),
        broker(&of_less, &format!(", {events}")),
        broker(&redis.url(3), ", enable_events: true"),
    ];
    let [rabbit, less, enabled] = cases
        .each_ref()
        .map(|config| doctor_through(config, 5, &[]));
    let said = rabbit.await.expect("no panic");
    said.has(
        "permissions ? cannot listen for events: ",
        &["→ the daemon itself does not need this queue"],
    );
    said.fine(&["connection ok"]);
    less.await.expect("no panic").fine(&[
        "connection ok Redis at",
        "permissions ok",
        "workers ok 1: w@",
    ]);
    enabled.await.expect("no panic").fine(&[
        "connection ok Redis at",
        "task events ok none from w@",
        "`enable_events` will turn them on",
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_told_from_firewalls_and_keys_in_urls_are_not_shown() {
    let (redis, prometheus) = (Redis::start().await, Prometheus::start().await);
    let folder = TempDir::new().expect("a temporary folder");
    certificates::write(folder.path());
    let to = |url: &str| {
        let (_, address) = url.split_once("//").expect("a URL");
        let end = address.find('/').unwrap_or(address.len());
        address[..end].parse().expect("an address")
    };
    let behind = [
        tls::front(folder.path(), to(&redis.url(0))).await,
        tls::front(folder.path(), to(&prometheus.write_url())).await,
    ];
    let config = format!(
        "{}remote_write:\n- {{name: strange, url: 'https://localhost:{}/api/v1/write'}}\n\
         - {{name: key, url: '{}?key=hunter2'}}\n",
        broker(&format!("rediss://localhost:{}/0", behind[0]), ""),
        behind[1],
        prometheus.write_url(),
    );
    let said = doctor(&config, 3).await;
    said.wrong(
        "connection",
        &["certificate", "→ set `tls.ca_file` to the CA"],
    );
    said.wrong(
        "response",
        &["certificate", "→ set `tls_config.ca_file` to the authority"],
    );
    said.has("key (http", &["?key=<secret>", "response ok 204"]);
    assert!(!said.text.contains("hunter2"), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_spoken_to_a_plain_port_and_a_port_in_use_are_named() {
    // A plain Redis waits for the end of a line, and says nothing.
    let (rabbitmq, prometheus) = tokio::join!(RabbitMq::start(), Prometheus::start());
    let plain = prometheus.write_url();
    let address = plain.trim_start_matches("http://");
    let (listen, _) = address.split_once('/').expect("a path");
    let broker = rabbitmq.url("").replace("amqp://", "amqps://");
    let receiver = format!("https://{address}");
    let listen = listen.to_owned();
    let said = spawn_blocking(move || {
        let output = Command::new(env!("CARGO_BIN_EXE_celeriac"))
            .args(["doctor", "--wait", "3", "--broker", &broker])
            .args(["--remote-write", &receiver, "--listen", &listen])
            .output();
        Said::read(&output.expect("it starts"))
    });
    let said = said.await.expect("no panic");
    said.wrong(
        "connection",
        &["the server does not speak TLS on this port"],
    );
    said.wrong("response", &["the server does not speak TLS on this port"]);
    said.has("address ? in use", &["→ fine if the daemon is running"]);
}
