//! The alerts of celery-mixin, and whether the comparison itself finds differences.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_of_the_celery_exporter_mixin_has_an_answer() {
    let (redis, prometheus) = (Redis::start().await, Prometheus::start_3().await);
    let config = format!(
        "global: {{interval: 1s, external_labels: {{job: celery, namespace: shop, cluster: main}}}}\n\
         brokers: [{{url: {:?}, control_interval: 2s, queue_interval: 1s, queues: [celery, high]}}]\n\
         metrics: {{worker_timeout: 5s}}\n\
         remote_write:\n  - {{url: {url:?}, name: exporter, profile: celery-exporter}}\n  \
         - {{url: {url:?}, name: flower, profile: flower}}\n",
        redis.url(0),
        url = prometheus.write_url()
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    let celery = Celery::new("5.6", &redis.url(0), &redis.url(1));
    celery.script("gentle.py", 30).await;
    // Without a pool, no child process outlives the worker.
    let mut worker = celery
        .worker("w1", &["-P", "solo", "-Q", "celery,high"])
        .await;
    celery.script("settle.py", 40).await;

    let ratio = format!("{FAILED} / ({FAILED} + {SUCCEEDED}) * 100 > 5");
    let failing = |queue: &str| {
        let labels = [("queue_name", queue), ("name", "proj.fail")];
        (with_globals(&labels), 100.0)
    };
    answers(&prometheus, &ratio, &[failing("celery"), failing("high")]).await;

    worker.kill();
    celery.script("gentle.py", 30).await;
    let length = |queue: &str, tasks| (with_globals(&[("queue_name", queue)]), tasks);
    let lengths = [length("celery", 24.0), length("high", 16.0)];
    answers(&prometheus, QUEUE_LENGTH, &lengths).await;

    for (query, label, value) in [
        (WORKER_DOWN, "hostname", ""),
        (FLOWER_WORKER_DOWN, "worker", "w1@"),
    ] {
        let down = wait_for(query, 30, async || {
            match prometheus.query(query, None).await.as_slice() {
                [(labels, _)] => Ok(labels.clone()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        let named = down[label]
            .as_str()
            .expect("the label of the one that is down");
        assert!(!named.is_empty() && named.starts_with(value), "{down}");
        for (label, value) in [
            ("job", "celery"),
            ("namespace", "shop"),
            ("cluster", "main"),
        ] {
            assert_eq!(down[label], value, "{down}");
        }
    }
}

type Labels = BTreeMap<String, String>;

fn with_globals(labels: &[(&str, &str)]) -> Labels {
    let globals = [("job", "celery"), ("namespace", "shop")];
    let all = globals.iter().chain(labels);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Waits until a query gives these series with these values, and no others.
async fn answers(prometheus: &Prometheus, query: &str, expected: &[(Labels, f64)]) {
    wait_for(query, 30, async || {
        let series = prometheus.query(query, None).await;
        let found = |(labels, value): &(Labels, f64)| {
            series.iter().any(|(found, number)| {
                let same = serde_json::to_value(labels).is_ok_and(|labels| labels == *found);
                same && (number - value).abs() < 1e-6
            })
        };
        if series.len() == expected.len() && expected.iter().all(found) {
            Ok(())
        } else {
            Err(format!("{series:?}"))
        }
    })
    .await;
}

#[test]
fn what_differs_is_found_where_no_row_allows_it() {
    let text = "# TYPE t_total counter\nt_total{name=\"a\\\"b\",queue=\"q\"} 3.0\n\
                # TYPE g gauge\ng 1.0\n# TYPE h histogram\nh_bucket{le=\"1.0\"} 1.0\n\
                h_bucket{le=\"+Inf\"} 2.0\nh_count 2.0\nh_sum 1.5\nh_created 7\n";
    let row = |family, rule| Difference {
        family,
        labels: &[],
        rule,
        why: "",
    };
    // A replacement made on their page to get ours, the allowed differences, and the reported ones.
    let cases: [(&str, &str, Vec<Difference>, &[&str]); 13] = [
        ("", "", vec![], &[]),
        ("le=\"1.0\"", "le=\"1\"", vec![], &[]),
        ("h_created 7\n", "python_info{} 1\n", vec![], &[]),
        ("g 1.0", "g 2", vec![], &["g{}: theirs 1, ours 2"]),
        ("g 1.0", "g 2", vec![row("g", Rule::Within(1.0))], &[]),
        ("g 1.0", "g 0", vec![row("g", Rule::OursIs(0.0))], &[]),
        (
            "g 1.0",
            "g 1",
            vec![row("g", Rule::OursIs(1.0))],
            &["g{}: theirs 1, ours 1 (OursIs(1.0): )"],
        ),
        (
            "g 1.0",
            "g 1\no{} 1",
            vec![row("o", Rule::OursAtZero)],
            &["only on ours: o{} 1"],
        ),
        ("g 1.0", "g 1\no{} 0", vec![row("o", Rule::OursAtZero)], &[]),
        ("g 1.0\n", "", vec![], &["missing on ours: g{} 1"]),
        (
            "gauge",
            "counter",
            vec![],
            &["type of g: theirs Some(\"gauge\"), ours Some(\"counter\")"],
        ),
        (
            "queue=\"q\"",
            "queue=\"r\"",
            vec![row("t_total", Rule::SumOver("queue"))],
            &[],
        ),
        (
            "h_sum 1.5",
            "h_sum 1.6",
            vec![],
            &["h_sum{}: theirs 1.5, ours 1.6"],
        ),
    ];
    for (from, to, rows, told) in cases {
        let (theirs, ours) = (
            Exposition::parse(text),
            Exposition::parse(&text.replace(from, to)),
        );
        assert_eq!(
            compare(&theirs, &ours, &rows, Durations::Same),
            told,
            "{from:?} → {to:?}"
        );
    }
    let slower = Exposition::parse(&text.replace("h_sum 1.5", "h_sum 1.6"));
    let told = compare(
        &Exposition::parse(text),
        &slower,
        &[],
        Durations::OfAnotherRun,
    );
    assert_eq!(told, Vec::<String>::new());
    let read = Exposition::parse(&slower.to_string());
    assert_eq!(
        read.samples, slower.samples,
        "what is written is read again"
    );
}
