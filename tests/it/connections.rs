//! Every way to reach a broker: Kombu's channel names, TLS, sockets, logins, permissions.

use tempfile::TempDir;

use super::support::amqp::Publisher;
use super::support::celeriac::Celeriac;
use super::support::celery::Celery;
use super::support::certificates;
use super::support::events::life;
use super::support::free_port;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;
use super::support::wait_for;

#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_whatever_the_options_of_kombus_redis_transport() {
    let redis = Redis::start().await;
    // The transport options of a worker, and the equivalent keys in our configuration.
    let cases = [
        (0, "{}", ""),
        (3, "{}", ""),
        (3, r#"{"fanout_prefix": false}"#, "fanout_prefix: false"),
        (
            3,
            r#"{"fanout_prefix": "/my{db}."}"#,
            "fanout_prefix: '/my{db}.'",
        ),
        (3, r#"{"fanout_patterns": false}"#, "fanout_patterns: false"),
        (
            3,
            r#"{"fanout_patterns": false, "fanout_prefix": false}"#,
            "fanout_patterns: false, fanout_prefix: false",
        ),
        (
            3,
            r#"{"global_keyprefix": "pfx:"}"#,
            "global_keyprefix: 'pfx:'",
        ),
        (
            5,
            r#"{"global_keyprefix": "pfx:", "fanout_prefix": false, "fanout_patterns": false}"#,
            "global_keyprefix: 'pfx:', fanout_prefix: false, fanout_patterns: false",
        ),
        // Events of a worker with the opposite setting are received all the same.
        (6, r#"{"fanout_patterns": false}"#, ""),
    ];
    for version in ["5.6", "5.7"] {
        for (database, options, keys) in cases {
            let config = format!("brokers: [{{url: {:?}, {keys}}}]\n", redis.url(database));
            let celeriac = Celeriac::start(&config).await;
            celeriac.ready().await;
            let celery = Celery::new(version, &redis.url(database), "").with("OPTIONS", options);
            celery.script("emit.py", 30).await;
            let page = celeriac
                .page_when(options, 10, |page| {
                    page.sum("celery_task_started_total", &["name=\"t\""]) >= 1.0
                })
                .await;
            assert_eq!(page.events(), 3.0, "{options}");
            assert_eq!(
                page.sum("celery_task_started_total", &["name=\"t\""]),
                1.0,
                "{options}"
            );
        }
    }
    let celeriac = Celeriac::start(&format!(
        "brokers: [{{url: {:?}, event_exchange: myev}}]\n",
        redis.url(0)
    ))
    .await;
    celeriac.ready().await;
    let celery = Celery::new("5.7", &redis.url(0), "")
        .with("OPTIONS", "{}")
        .with("EVENT_EXCHANGE", "myev");
    celery.script("emit.py", 30).await;
    celeriac
        .page_when("events of another exchange", 10, |page| {
            page.events() == 3.0
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_reached_by_socket_by_tls_and_with_a_login() {
    let folder = TempDir::new().expect("a temporary folder");
    certificates::write(folder.path());
    let tls_port = free_port();
    let path = folder.path().display();
    let tls = format!(
        "--tls-port {tls_port} --tls-cert-file {path}/server.pem --tls-key-file {path}/server.key \
         --tls-ca-cert-file {path}/ca.pem --tls-auth-clients optional"
    );
    let redis = Redis::start_with(&tls.split(' ').collect::<Vec<_>>()).await;
    let mut connection = redis.connection().await;
    let mut user = redis::cmd("ACL");
    user.arg(&[
        "SETUSER",
        "monitor",
        "on",
        ">s3cret",
        "&/0.celeryev/*",
        "+psubscribe",
        "+ping",
    ]);
    user.query_async::<()>(&mut connection)
        .await
        .expect("a user");
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, "s3cret\n").expect("a writable folder");
    let cases = [
        format!("url: 'redis+socket://{}'", redis.socket().display()),
        format!("url: 'redis://monitor:s3cret@127.0.0.1:{}/0'", redis.port),
        format!(
            "url: 'redis://monitor@127.0.0.1:{}/0', password_file: {password_file:?}",
            redis.port
        ),
        format!("url: 'rediss://localhost:{tls_port}/0', tls: {{ca_file: {path}/ca.pem}}"),
        format!(
            "url: 'rediss://localhost:{tls_port}/0?ssl_cert_reqs=required&ssl_ca_certs={path}/ca.pem'"
        ),
        format!(
            "url: 'rediss://127.0.0.1:{tls_port}/0', tls: {{ca_file: {path}/ca.pem, server_name: broker.test}}"
        ),
        format!("url: 'rediss://127.0.0.1:{tls_port}/0', tls: {{insecure_skip_verify: true}}"),
        format!(
            "url: 'rediss://localhost:{tls_port}/0', \
             tls: {{ca_file: {path}/ca.pem, cert_file: {path}/client.pem, key_file: {path}/client.key}}"
        ),
    ];
    for case in cases {
        let celeriac = Celeriac::start(&format!("brokers: [{{{case}}}]\n")).await;
        celeriac.ready().await;
        redis.publish_lives(1..2, "t").await;
        celeriac
            .page_when(&case, 10, |page| page.events() == 4.0)
            .await;
    }
    let refused = [
        (
            format!("url: 'rediss://127.0.0.1:{tls_port}/0', tls: {{ca_file: {path}/ca.pem}}"),
            "certificate",
        ),
        (
            format!("url: 'redis://monitor:wrong@127.0.0.1:{}/0'", redis.port),
            "log in",
        ),
        (
            format!("url: 'redis://monitor:s3cret@127.0.0.1:{}/7'", redis.port),
            "the user needs the command psubscribe and the channel pattern &/7.celeryev/*",
        ),
    ];
    for (case, why) in refused {
        not_ready(&format!("brokers: [{{{case}}}]\n"), why, "s3cret").await;
    }
}

/// Starts with a configuration that cannot work, and asserts that the page and the log contain the reason but not the
/// secret.
async fn not_ready(config: &str, why: &str, secret: &str) {
    let celeriac = Celeriac::start(config).await;
    wait_for("the reason", 15, async || {
        match celeriac.get("/-/ready").await {
            (503, reasons) if reasons.contains(why) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let log = celeriac.process.output();
    assert!(
        log.contains("connection to broker failed; retrying") && log.contains(why),
        "{log}"
    );
    assert!(!log.contains(secret), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_is_reached_by_tls_and_with_few_permissions() {
    let folder = TempDir::new().expect("a temporary folder");
    certificates::write(folder.path());
    let path = folder.path().display().to_string();
    let tls = "listeners.ssl.1 = 127.0.0.1:{tls_port}\nssl_options.cacertfile = {folder}/ca.pem\n\
               ssl_options.certfile = {folder}/server.pem\nssl_options.keyfile = {folder}/server.key\n\
               ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = false\n";
    let rabbitmq = RabbitMq::start_in(folder, tls).await;
    rabbitmq.ctl(&["add_user", "monitor", "s3cret"]);
    let permissions = [
        "^celeriac\\..*",
        "^celeriac\\..*",
        "^(celeryev|celeriac\\..*)$",
    ];
    rabbitmq.ctl(&[&["set_permissions", "-p", "/", "monitor"], &permissions[..]].concat());

    // No worker has run yet, and the user may not declare the exchange.
    let monitor = format!(
        "brokers: [{{url: {:?}}}]\n",
        rabbitmq.url_of("monitor", "s3cret")
    );
    not_ready(&monitor, "the user needs configure on celeryev", "s3cret").await;
    let publisher = Publisher::new(&rabbitmq.url("")).await;
    let port = rabbitmq.tls_port;
    let login = "amqps://guest:guest";
    let cases = [
        format!("url: {:?}", rabbitmq.url_of("monitor", "s3cret")),
        format!("url: '{login}@localhost:{port}', tls: {{ca_file: {path}/ca.pem}}"),
        format!("url: '{login}@localhost:{port}//', tls: {{insecure_skip_verify: true}}"),
        format!(
            "url: '{login}@127.0.0.1:{port}/%2F', tls: {{ca_file: {path}/ca.pem, server_name: broker.test}}"
        ),
        format!(
            "url: 'pyamqp://127.0.0.1:{}/', bindings: ['task.#']",
            rabbitmq.port
        ),
    ];
    for case in cases {
        let celeriac = Celeriac::start(&format!("brokers: [{{{case}}}]\n")).await;
        celeriac.ready().await;
        for body in life(1, "t", 1_795_344_000.0) {
            publisher.publish(body.as_bytes()).await;
        }
        celeriac
            .page_when(&case, 10, |page| page.events() == 4.0)
            .await;
    }
    rabbitmq.ctl(&["set_permissions", "-p", "/", "monitor", "^$", "^$", "^$"]);
    not_ready(&monitor, "the user needs configure on celeriac", "s3cret").await;
    let wrong = format!(
        "brokers: [{{url: 'amqp://guest:hunter2@127.0.0.1:{}//'}}]\n",
        rabbitmq.port
    );
    not_ready(&wrong, "connect", "hunter2").await;
}
