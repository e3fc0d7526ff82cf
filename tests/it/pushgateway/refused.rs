//! Pushes that are refused, late or left out.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_refused_is_explained_once_and_counted_each_time() {
    let redis = Redis::start().await;
    for gateway in [Pushgateway::start().await, Pushgateway::start_1_11().await] {
        let other = "# TYPE celery_workers counter\ncelery_workers 1\n";
        assert_eq!(
            gateway.ask(Method::PUT, "/metrics/job/other", other).await,
            200
        );
        let celeriac = start(&redis, &gateway.url(), "").await;
        let page = celeriac
            .page_when("some refusals", 20, |page| pushes(page, "refused") >= 4.0)
            .await;
        assert_eq!(pushes(&page, "delivered") + pushes(&page, "failed"), 0.0);
        let log = celeriac.process.output();
        let lines = told(&log, "push refused");
        assert_eq!(lines.len(), 1, "{log}");
        for part in [
            "HTTP 400",
            "celery_workers",
            "with another type",
            "delete that group",
        ] {
            assert!(lines[0].contains(part), "{part}: {}", lines[0]);
        }
        let (status, reasons) = celeriac.get("/-/ready").await;
        assert_eq!(status, 503);
        assert!(reasons.contains("pushgateway g: HTTP 400"), "{reasons}");

        let gone = gateway.ask(Method::DELETE, "/metrics/job/other", "").await;
        assert_eq!(gone, 202);
        celeriac.ready().await;
        gateway
            .has("celery_workers", &[("state", "online")], Some(0.0))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_of_the_group_that_series_have_too_is_told_before_the_gateway_refuses_it() {
    let (redis, gateway) = (Redis::start().await, Pushgateway::start().await);
    let celeriac = start(&redis, &gateway.url(), "grouping_key: {state: x, shard: a}").await;
    celeriac
        .page_when("a refusal", 20, |page| pushes(page, "refused") >= 1.0)
        .await;
    let log = celeriac.process.output();
    let warned = told(&log, "a grouping-key label overwrites");
    assert_eq!(warned.len(), 1, "{log}");
    assert!(warned[0].contains("label=\"state\""), "{}", warned[0]);
    let refused = told(&log, "push refused");
    assert!(
        refused[0].contains("remove it from `grouping_key`"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_tried_again_is_tried_with_the_newest_snapshot_and_not_too_soon() {
    let (redis, double) = (Redis::start().await, Double::start().await);
    let keys = "remote_timeout: 1s, basic_auth: {username: ann, password: secret}, grouping_key: {instance: a}";
    let celeriac = start(&redis, &format!("{}/below/", double.url()), keys).await;
    celeriac.ready().await;
    let before = double.got().len();
    double.answer(&[
        Answer::RetryAfter(503, 3),
        Answer::Status(429),
        Answer::Silence,
        Answer::Status(408),
    ]);
    let got = double.got_at_least(before + 1).await;
    let asked = got[before].at;
    redis.publish_lives(0..10, "t").await;
    let got = double.got_at_least(before + 5).await;
    assert!(got[before + 1].at - asked >= Duration::from_secs(3));
    // The postponed push was from before the events, and is never repeated.
    let series = "celery_task_succeeded_total{name=\"t\"";
    assert_eq!(got[before].value(series), None);
    assert_eq!(got[before + 1].value(series), Some(10.0));
    for request in &got {
        assert_eq!(request.method, Method::PUT);
        assert_eq!(request.path, "/below/metrics/job/celery/instance/a");
        let header = |name: &str| request.headers[name].to_str().expect("text").to_owned();
        assert_eq!(
            header("content-type"),
            "text/plain; version=0.0.4; charset=utf-8"
        );
        assert_eq!(header("authorization"), "Basic YW5uOnNlY3JldA==");
        assert!(header("user-agent").starts_with("celeriac/"));
        // A value without a timestamp.
        let lines = request.body.lines().filter(|line| !line.starts_with('#'));
        for line in lines {
            let behind = line.rsplit_once(['}', ' ']).map(|(_, value)| value);
            assert!(
                behind.is_some_and(|value| value.parse::<f64>().is_ok()),
                "{line}"
            );
            let name = line.split(['{', ' ']).next().expect("a name");
            let fields = line[name.len()..]
                .rsplit_once('}')
                .map_or(&line[name.len()..], |(_, rest)| rest);
            assert_eq!(fields.split_whitespace().count(), 1, "{line}");
        }
        assert!(request.body.ends_with('\n'));
    }
    celeriac.ready().await;
    let page = celeriac
        .page_when("the tries to be counted", 10, |page| {
            pushes(page, "failed") == 4.0
        })
        .await;
    assert_eq!(pushes(&page, "refused"), 0.0);
    let log = celeriac.process.output();
    assert_eq!(told(&log, "push failed").len(), 1, "{log}");
    assert!(!log.contains("secret"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_of_its_own_passes_over_the_snapshots_between() {
    let (redis, double) = (Redis::start().await, Double::start().await);
    let _celeriac = start(&redis, &double.url(), "interval: 3s").await;
    let got = double.got_at_least(4).await;
    // The first one was made at startup, whenever that was.
    for pair in got[1..].windows(2) {
        let between = pair[1].at - pair[0].at;
        assert!(between > Duration::from_millis(2_500), "{between:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_away_or_silent_does_not_hold_up_the_end_and_it_is_said_what_stays() {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    let (silent, mut away) = (Double::start().await, Pushgateway::start().await);
    let config = format!(
        "global: {{interval: 1s, grace_period: 5s}}\nbrokers: [{{url: {:?}}}]\nremote_write: [{{url: {:?}}}]\n\
         pushgateway:\n- {{name: silent, url: {:?}}}\n- {{name: away, url: {:?}, grouping_key: {{instance: one}}}}\n",
        redis.url(0),
        receiver.url(),
        silent.url(),
        away.url()
    );
    let mut celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    redis.publish_lives(0..10, "t").await;
    celeriac
        .page_when("the events", 10, |page| page.events() == 40.0)
        .await;
    silent.answer_always(Answer::Silence);
    away.stop();
    let start = std::time::Instant::now();
    assert!(celeriac.terminate().success());
    assert!(
        start.elapsed() < Duration::from_secs(7),
        "{:?}",
        start.elapsed()
    );
    // Remote write has sent everything, including stale markers.
    let series = receiver.series("celery_task_succeeded_total", &["name=\"t\""]);
    assert_eq!(series[series.len() - 2].1, 10.0);
    let log = celeriac.process.output();
    let warned = told(&log, "deleting the group failed");
    assert_eq!(warned.len(), 2, "{log}");
    let of = |sink: &str| {
        warned.iter().find(|line| {
            line.contains(&format!("sink=\"{sink}\"")) || line.contains(&format!("sink={sink}"))
        })
    };
    let (silent, away) = (of("silent").expect("a line"), of("away").expect("a line"));
    assert!(silent.contains("shutdown grace period expired"), "{silent}");
    assert!(
        away.contains("no response") && away.contains("instance=\"one\""),
        "{away}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_not_needed_and_a_gateway_may_be_served_below_a_path() {
    let (redis, gateway) = (
        Redis::start().await,
        Pushgateway::start_below("/push").await,
    );
    let folder = TempDir::new().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
    let url = format!("{}/push/", gateway.url());
    command.args(["run", "--broker", &redis.url(0), "--pushgateway", &url]);
    command.env("HOSTNAME", "web-1");
    let mut process = Process::start("celeriac", &mut command, folder.path());
    let page = format!("{}/push/metrics", gateway.url());
    let shown = async |expected: bool| {
        wait_for("the group", 20, async || {
            let answer = reqwest::get(&page)
                .await
                .map_err(|error| error.to_string())?;
            let text = answer.text().await.map_err(|error| error.to_string())?;
            let found = text.contains("push_time_seconds{instance=\"web-1\",job=\"celery\"}");
            if found == expected { Ok(()) } else { Err(text) }
        })
        .await;
    };
    shown(true).await;
    assert!(process.terminate(10).success());
    shown(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_sees_the_labels_of_the_group_and_not_those_of_the_gateway() {
    let (redis, gateway) = (Redis::start().await, Pushgateway::start().await);
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: pushgateway\n  honor_labels: true\n  \
         static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
        gateway.port
    );
    let prometheus = Prometheus::start_with(Options::of(&config)).await;
    let celeriac = start(&redis, &gateway.url(), "job: shop, grouping_key: {}").await;
    celeriac.ready().await;
    redis.publish_lives(0..10, "t").await;
    let expression = "celery_task_succeeded_total{name=\"t\"}";
    prometheus.has(expression, 10.0).await;
    let series = prometheus.query(expression, None).await;
    let metric = &series[0].0;
    assert_eq!(metric["job"], "shop");
    assert!(metric.get("instance").is_none(), "{metric}");
    // The alert expression from docs/receivers.md.
    let age = "timestamp(push_time_seconds{job=\"shop\"}) - push_time_seconds < 30";
    assert_eq!(prometheus.query(age, None).await.len(), 1);
}
