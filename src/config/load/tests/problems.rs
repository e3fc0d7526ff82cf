//! What is wrong in a file, and what is said of it.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_problem_is_told_with_its_key_what_is_wrong_and_what_would_do() {
    let cases = [
        (
            "brokers: [{urls: 'redis://h'}]",
            "brokers[0].urls: unknown key; did you mean `url`?",
        ),
        (
            "brokers: [{}]",
            "brokers[0].url: is required (example: amqp://user:password@host:5672/vhost)",
        ),
        ("brokers: 7", "brokers: expected a list of maps, found `7`"),
        (
            "brokers: []",
            "brokers: is missing; at least one broker with a `url` is required",
        ),
        ("brokers: [7]", "brokers[0]: expected a map, found `7`"),
        (
            "brokers: [{url: 'redis://h'}, {url: 'redis://i'}]",
            "brokers: there is more than one, so each requires a `name`",
        ),
        (
            "brokers: [{name: a, url: 'redis://h'}, {name: a, url: 'redis://i'}]",
            "brokers: two entries have the name `a`; give each its own `name`",
        ),
        (
            "brokers: [{url: 'sqs://h'}]",
            "brokers[0].url: Celery sends no events over SQS, which has no fanout; celeriac reads events from RabbitMQ and Redis",
        ),
        (
            "brokers: [{url: 'sqla+sqlite:///x'}]",
            "brokers[0].url: Celery sends no events over a database, which has no fanout; celeriac reads events from RabbitMQ and Redis",
        ),
        (
            "brokers: [{url: 'rediscluster://h'}]",
            "brokers[0].url: Celery has no Redis Cluster transport that carries events; celeriac reads events from RabbitMQ and Redis",
        ),
        (
            "brokers: [{url: 'mqtt://h'}]",
            "brokers[0].url: expected amqp, amqps, redis, rediss, redis+socket or sentinel, found the scheme `mqtt`",
        ),
        (
            "brokers: [{url: 'redis://a;redis://b'}]",
            "brokers[0].url: several Redis servers require sentinels, because Celery uses one at a time; use one server or sentinel://",
        ),
        (
            "brokers: [{url: 'amqp://a;redis://b'}]",
            "brokers[0].url: all servers of a broker must be of the same kind",
        ),
        (
            "brokers: [{url: 'sentinel://a'}]",
            "brokers[0].sentinel.master_name: is required (example: mymaster)",
        ),
        (
            "brokers: [{url: 'sentinel://a', sentinel: {password: x}}]",
            "brokers[0].sentinel.master_name: is required (example: mymaster)",
        ),
        (
            "brokers: [{url: 'redis://a', sentinel: {master_name: x}}]",
            "brokers[0].sentinel: has no effect without sentinels; use sentinel://host:26379 in `url`",
        ),
        (
            "brokers: [{url: 'redis://a', sep: ''}]",
            r#"brokers[0].sep: is empty; Kombu's default is "\x06\x16""#,
        ),
        (
            "brokers: [{url: 'redis://a', priority_steps: [0, 1.5]}]",
            "brokers[0].priority_steps: expected whole numbers from 0 to 255, such as [0, 3, 6, 9]",
        ),
        (
            "brokers: [{url: 'redis://a', queue_interval: 15}]",
            "brokers[0].queue_interval: expected a duration with a unit, such as 15s, from 1s to 1h, or 0 to disable it, found `15`",
        ),
        (
            "brokers: [{url: 'redis://h', accept_content: [json, msgpak]}]",
            "brokers[0].accept_content: expected json, msgpack, yaml or pickle, found `msgpak`; did you mean `msgpack`?",
        ),
        (
            "brokers: [{url: 'redis://h', accept_content: []}]",
            "brokers[0].accept_content: is empty, so no event could be decoded; use [json], Celery's default",
        ),
        (
            "brokers: [{url: 'redis://h/x'}]",
            "brokers[0].url: expected a database number, found `x`",
        ),
        (
            "brokers: [{url: 'redis://h', delivery: durable}]",
            "brokers[0].delivery: not supported with Redis, which does not keep events for absent readers; use `transient`",
        ),
        (
            "brokers: [{url: 'amqp://h', delivery: stream}]",
            "brokers[0].delivery: requires `data_dir`: events must be on disk before the broker deletes them",
        ),
        (
            "brokers: [{url: 'amqp://h', delivery: permanent}]",
            "brokers[0].delivery: expected transient or durable or stream, found `permanent`",
        ),
        (
            "brokers: [{url: 'amqp://h', queue: amq.mine}]",
            "brokers[0].queue: expected 1 to 200 bytes, not starting with `amq.`",
        ),
        (
            "brokers: [{url: 'amqp://h', shard: {index: 4, count: 4}}]",
            "brokers[0].shard.index: with a `count` of 4, the highest index is 3",
        ),
        (
            "brokers: [{url: 'redis://h', shard: {index: 0, count: 2}}]",
            "brokers[0].shard: not supported with Redis; only RabbitMQ can divide events among daemons",
        ),
        (
            "brokers: [{url: 'redis://h', prefetch: '12'}]",
            "brokers[0].prefetch: expected a whole number from 1 to 65535, found `12`",
        ),
        (
            "brokers: [{url: 'redis://h', tls: {}}]",
            "brokers[0].tls: has no effect on a connection without TLS; use rediss:// in `url`",
        ),
        (
            "brokers: [{url: 'rediss://h', tls: {cert_file: x}}]",
            "brokers[0].tls.key_file: is missing; `cert_file` requires its key",
        ),
        (
            "global: {interval: 15}",
            "global.interval: expected a duration with a unit, such as 15s, from 1s to 1h, found `15`",
        ),
        (
            "global: {external_labels: {my-label: x}}",
            "global.external_labels.my-label: not a valid label name; use letters, digits and _, not starting with a digit or __",
        ),
        (
            "global: {external_labels: {shard: [7]}}",
            "global.external_labels.shard: expected a string, found a list",
        ),
        (
            "metrics: {task_labels: [name, queues]}",
            "metrics.task_labels: expected name, queue or worker, found `queues`; did you mean `queue`?",
        ),
        (
            "metrics: {buckets: {runtime: [1, 1]}}",
            "metrics.buckets.runtime: expected increasing, non-negative bounds, such as [0.1, 1, 10]",
        ),
        (
            "metrics: {worker_timeout: soon}",
            "metrics.worker_timeout: expected a number of missed heartbeats from 1 to 1000, or a duration such as 30s, found `soon`",
        ),
        (
            "metrics: {periodic_tasks: [{name: t, crontab: '0 25 * * *'}]}",
            "metrics.periodic_tasks[0].crontab: `25` is not an hour; expected 0 to 23, `*`, ranges such as 1-5, steps such as */2, or a list of these",
        ),
        (
            "metrics: {periodic_tasks: [{name: t, crontab: '0 3 * * *', timezone: CET1}]}",
            "metrics.periodic_tasks[0].timezone: `CET1` is not a time zone; expected a name such as Europe/Berlin",
        ),
        (
            "metrics: {periodic_tasks: [{name: t, every: 1h, timezone: UTC}]}",
            "metrics.periodic_tasks[0].timezone: has an effect only with `crontab`",
        ),
        (
            "metrics: {periodic_tasks: [{name: t, every: 1h}, {name: t, every: 2h}]}",
            "metrics.periodic_tasks[1].name: `t` has an entry already; if it has several schedules, give the longest time between two sends",
        ),
        (
            "metrics: {periodic_tasks: [{name: t, every: 1h, crontab: '0 3 * * *'}]}",
            "metrics.periodic_tasks[0].crontab: either this or `every`, not both",
        ),
        (
            "zzz: /x",
            "zzz: unknown key; valid keys: data_dir, global, limits, brokers, metrics, remote_write, pushgateway, http",
        ),
        (
            "http: {listen: ':1', tls: {cert_file: /x}}",
            "http.tls.key_file: is required (example: /etc/ssl/celeriac.key)",
        ),
        (
            "http: {listen: ':1', basic_auth_users: {prometheus: hunter2}}",
            "http.basic_auth_users.prometheus: expected a bcrypt password hash, as printed by `htpasswd -nBC 10 NAME`",
        ),
        (
            "http: {listen: ':1', basic_auth_users: {prometheus: $2y$15$abcdefghijklmnopqrstuu7gIUFBKrYXdzQy8HrouzMJyZ4cijAb2}}",
            "http.basic_auth_users.prometheus: the bcrypt cost 15 is too high, because each login would take seconds; use at most 14, as in `htpasswd -nBC 10 NAME`",
        ),
        (
            "http: {listen: ':1', basic_auth_users: {prometheus: $2y$31$abcdefghijklmnopqrstuu7gIUFBKrYXdzQy8HrouzMJyZ4cijAb2}}",
            "http.basic_auth_users.prometheus: the bcrypt cost 31 is too high, because each login would take seconds; use at most 14, as in `htpasswd -nBC 10 NAME`",
        ),
        (
            "http: {listen: ':1', basic_auth_users: {prometheus: $2y$03$abcdefghijklmnopqrstuu7gIUFBKrYXdzQy8HrouzMJyZ4cijAb2}}",
            "http.basic_auth_users.prometheus: expected a bcrypt password hash, as printed by `htpasswd -nBC 10 NAME`",
        ),
        (
            "http: {listen: nowhere}",
            "http.listen: expected an address and a port such as 127.0.0.1:9808, or :9808 for all addresses, found `nowhere`",
        ),
        (
            "remote_write: [{url: 'http://h', authorization: {type: Bearer}}]",
            "remote_write[0].authorization.credentials: is missing; set it or `credentials_file`",
        ),
        (
            "remote_write: [{url: 'http://h', basic_auth: {password: a, password_file: b}}]",
            "remote_write[0].basic_auth.password_file: either this or `password`, not both",
        ),
        (
            "remote_write: [{url: 'http://h', headers: {Content-Type: x}}]",
            "remote_write[0].headers.Content-Type: celeriac sets this header itself; remove it",
        ),
        (
            "remote_write: [{url: 'http://u:p@h', basic_auth: {username: u}}]",
            "remote_write[0].basic_auth: either this or the credentials in `url`, not both",
        ),
        (
            "remote_write: [{url: 'http://u:p%FF@h'}]",
            "remote_write[0].url: the credentials are not valid UTF-8 after percent-decoding",
        ),
        (
            "remote_write: [{url: 'http://h', authorization: {credentials: x}, oauth2: {}}]",
            "remote_write[0].oauth2: either this or `authorization`, not both",
        ),
        (
            "remote_write: [{url: 'http://h', authorization: {type: BASIC, credentials: x}}]",
            "remote_write[0].authorization.type: cannot be basic; use `basic_auth` for a user name and password",
        ),
        (
            "remote_write: [{url: 'http://h', basic_auth: {username: a, username_file: b}}]",
            "remote_write[0].basic_auth.username_file: either this or `username`, not both",
        ),
        (
            "remote_write: [{url: 'http://h', oauth2: {client_id: a}}]",
            "remote_write[0].oauth2.token_url: is required (example: https://login.example.com/oauth2/token)",
        ),
        (
            "remote_write: [{url: 'http://h', oauth2: {client_id: a, token_url: 'http://a:b@c'}}]",
            "remote_write[0].oauth2.token_url: the URL contains credentials; use `client_id` and `client_secret` instead",
        ),
        (
            "remote_write: [{url: 'http://h', oauth2: {endpoint_params: {grant_type: password}}}]",
            "remote_write[0].oauth2.endpoint_params.grant_type: celeriac sets this itself; remove it",
        ),
        (
            "remote_write: [{url: 'http://h', sigv4: {region: r, access_key: a}}]",
            "remote_write[0].sigv4.secret_key: is missing; `access_key` requires it",
        ),
        (
            "remote_write: [{url: 'http://h', sigv4: {}}]",
            "remote_write[0].sigv4.access_key: is missing, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set; \
             roles of pods and machines are not supported",
        ),
        (
            "remote_write: [{url: 'http://h', sigv4: {role_arn: a}}]",
            "remote_write[0].sigv4.role_arn: assuming roles is not supported; set the keys of a user, or pass the role's keys in the environment",
        ),
        (
            "remote_write: [{url: 'http://h', proxy_url: 'socks5://u:p@h'}]",
            "remote_write[0].proxy_url: expected an http or https URL such as http://proxy:3128, found the scheme `socks5`",
        ),
        (
            "remote_write: [{url: 'http://h', proxy_url: 'http://h', proxy_from_environment: true}]",
            "remote_write[0].proxy_from_environment: either this or `proxy_url`, not both",
        ),
        (
            "remote_write: [{url: 'http://h', no_proxy: h}]",
            "remote_write[0].no_proxy: has no effect without `proxy_url`; with `proxy_from_environment`, set NO_PROXY",
        ),
        (
            "remote_write: [{url: 'http://h', tls_config: {min_version: TLS11}}]",
            "remote_write[0].tls_config.min_version: TLS11 is insecure and not supported; use TLS12 or TLS13",
        ),
        (
            "remote_write: [{url: 'http://h', tls_config: {min_version: TLS13, max_version: TLS12}}]",
            "remote_write[0].tls_config.max_version: is lower than `min_version`",
        ),
        (
            "remote_write: [{url: 'http://h', tls_config: {cert: x}}]",
            "remote_write[0].tls_config.key: is missing; `cert` requires its key",
        ),
        (
            "remote_write: [{url: 'http://h', http_headers: {Authorization: {secrets: [x]}}}]",
            "remote_write[0].http_headers.Authorization: celeriac sets this header itself; use `basic_auth`, `authorization` or `oauth2`",
        ),
        (
            "remote_write: [{url: 'http://h', http_headers: {X-A: {}}}]",
            "remote_write[0].http_headers.X-A: is empty; set `values`, `secrets` or `files`",
        ),
        (
            "remote_write: [{url: 'http://h', headers: {x-a: b}, http_headers: {X-A: {values: [c]}}}]",
            "remote_write[0].http_headers.X-A: is also in `headers`; remove one of the two",
        ),
        (
            "metrics: {default_queue: '${NOT_SET}'}",
            "metrics.default_queue: the environment variable NOT_SET is not set; set it, or write ${NOT_SET:-default}",
        ),
        (
            "metrics: {default_queue: '${NOT'}",
            "metrics.default_queue: `${` without a matching `}`",
        ),
    ];
    for (text, expected) in cases {
        let found = problems(text);
        assert!(
            found.iter().any(|problem| problem == expected),
            "{text}: {found:#?}"
        );
    }
}
