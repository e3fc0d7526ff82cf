use std::path::Path;

use super::*;
use crate::config::{Config, LoadError};

const GLOBAL: &str = "global: {external_labels: {instance: web-1, region: 'eu west'}}\n";

fn read(text: &str) -> Result<Config, LoadError> {
    let text = format!("{GLOBAL}brokers: [{{url: 'redis://h'}}]\n{text}");
    Config::parse(&text, Path::new("x.yaml"), [])
}

fn gateway(keys: &str) -> PushgatewayConfig {
    let config = read(&format!("pushgateway: [{{url: 'http://pg:9091', {keys}}}]"));
    let mut config = config.unwrap_or_else(|error| panic!("{keys}: {error}"));
    config.pushgateway.remove(0)
}

#[test]
fn the_group_is_made_of_the_external_labels_unless_it_is_given() {
    let cases = [
        ("", r#"{job="celery",instance="web-1",region="eu west"}"#),
        (
            "job: shop",
            r#"{job="shop",instance="web-1",region="eu west"}"#,
        ),
        ("grouping_key: {shard: a}", r#"{job="celery",shard="a"}"#),
        ("grouping_key: {}", r#"{job="celery"}"#),
        (
            "grouping_key: null",
            r#"{job="celery",instance="web-1",region="eu west"}"#,
        ),
        (
            "job: 'a/b', grouping_key: {instance: ''}",
            r#"{job="a/b",instance=""}"#,
        ),
    ];
    for (keys, expected) in cases {
        assert_eq!(gateway(keys).group.to_string(), expected, "{keys}");
    }
}

#[test]
fn what_is_not_said_has_a_default() {
    let gateway = gateway("");
    assert_eq!(gateway.name, "pg");
    assert_eq!(gateway.interval, None);
    assert_eq!(gateway.on_shutdown, OnShutdown::Delete);
    assert_eq!(gateway.format, PushFormat::Text);
    assert_eq!(gateway.profile, ProfileName::Native);
}

#[test]
fn what_is_said_is_taken() {
    let gateway =
        gateway("name: g, interval: 1m, on_shutdown: keep, profile: flower, remote_timeout: 5s");
    assert_eq!(gateway.name, "g");
    assert_eq!(gateway.interval, Some(Duration::from_secs(60)));
    assert_eq!(gateway.on_shutdown, OnShutdown::Keep);
    assert_eq!(gateway.profile, ProfileName::Flower);
    assert_eq!(gateway.client.timeout, Duration::from_secs(5));
}

#[test]
fn what_no_gateway_takes_is_a_problem() {
    let cases = [
        (
            "{}",
            "pushgateway[0].url: is required (example: http://pushgateway:9091)",
        ),
        (
            "{url: 'http://h/metrics/job/x'}",
            "pushgateway[0].url: contains a group; use the gateway's base URL, and set the group with `job` and `grouping_key`",
        ),
        (
            "{url: 'http://h', job: ''}",
            "pushgateway[0].job: is empty, and so is the external label `job`; set it, for example to celery, because a Pushgateway requires one",
        ),
        (
            "{url: 'http://h', grouping_key: {job: x}}",
            "pushgateway[0].grouping_key.job: is not allowed here; set `job` next to \
             `grouping_key` instead",
        ),
        (
            "{url: 'http://h', grouping_key: {le: x}}",
            "pushgateway[0].grouping_key.le: is the label of a histogram's buckets; choose another name",
        ),
        (
            "{url: 'http://h', grouping_key: {__x: x}}",
            "pushgateway[0].grouping_key.__x: not a valid label name; use letters, digits and _, not starting with a digit or __",
        ),
        (
            "{url: 'http://h', grouping_key: {shard: [7]}}",
            "pushgateway[0].grouping_key.shard: expected a string, found a list",
        ),
        (
            "{url: 'http://h', interval: 0}",
            "pushgateway[0].interval: expected a duration with a unit, such as 15s, from 1s to 1h, found `0`",
        ),
        (
            "{url: 'http://h', on_shutdown: wipe}",
            "pushgateway[0].on_shutdown: expected delete or keep, found `wipe`",
        ),
        (
            "{url: 'http://h', send_native_histograms: true}",
            "pushgateway[0].send_native_histograms: requires `format: protobuf`",
        ),
        (
            "{url: 'http://h', name: a}, {url: 'http://h/', name: b}",
            "pushgateway: two entries push the group {job=\"celery\",instance=\"web-1\",region=\"eu west\"} to the same gateway and would overwrite each other; give one of them a different `job` or `grouping_key`",
        ),
        (
            "{url: 'http://h'}, {url: 'http://h', job: b}",
            "pushgateway: two entries have the name `h`; give each its own `name`",
        ),
    ];
    for (gateways, expected) in cases {
        let Err(LoadError::Problems(_, problems)) = read(&format!("pushgateway: [{gateways}]"))
        else {
            panic!("{gateways} is no problem");
        };
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, [expected], "{gateways}");
    }
}

#[test]
fn two_groups_in_one_gateway_are_fine() {
    let gateways =
        "{url: 'http://h', name: a}, {url: 'http://h', name: b, job: flower, profile: flower}";
    let config =
        read(&format!("pushgateway: [{gateways}]")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.pushgateway.len(), 2);
}
