use super::*;

#[test]
fn every_definition_is_published_and_nothing_else() {
    let mut telemetry = Telemetry::new(Timestamp::from_millis(1_000)).within(Bounds::default());
    telemetry.broker(&"main".into());
    telemetry.poll(&"main".into(), Gauge::default());
    telemetry.series(&ProfileName::ALL);
    let sink = telemetry.sink(&"main".into(), &"http://localhost/".into());
    let push = telemetry.pushgateway(&"main".into());
    let checkpoint = telemetry.checkpoint();
    telemetry.reload(Timestamp::from_millis(1_000));
    telemetry.http();
    let times = [
        sink.highest,
        sink.highest_sent,
        push.last,
        checkpoint.timestamp,
    ];
    for time in times {
        time.set(1.0);
    }
    let mut series = SeriesTable::new(0, Timestamp::default());
    let mut published = telemetry.open(&mut series);
    published.publish(&telemetry.read(), &mut series);

    let snapshot = series.snapshot(Timestamp::from_millis(2_000), false);
    for row in &snapshot.rows {
        let family = snapshot.family(row);
        let labels = row.info.labels.iter().map(|(label, _)| label);
        let mut defined = family.labels.clone();
        defined.sort_unstable();
        assert!(labels.eq(defined), "{}", family.name);
    }
    let mut shown: Vec<_> = snapshot
        .rows
        .iter()
        .map(|row| snapshot.family(row).name.to_string())
        .collect();
    shown.dedup();
    let defined: Vec<_> = DEFINITIONS.iter().map(|row| row.name).collect();
    assert_eq!(shown, defined);
    assert_eq!(
        snapshot.number_of("process_start_time_seconds", &[]),
        Some(1.0)
    );
}

#[test]
fn a_time_has_no_series_before_it_is_known() {
    let mut telemetry = Telemetry::new(Timestamp::from_millis(1_000));
    let sink = telemetry.sink(&"r".into(), &"u".into());
    let push = telemetry.pushgateway(&"g".into());
    let checkpoint = telemetry.checkpoint();
    let receiver: Labelled<'_> = &[("remote_name", "r"), ("url", "u")];
    let times = [
        (
            "celeriac_remote_storage_highest_timestamp_in_seconds",
            receiver,
            sink.highest,
        ),
        (
            "celeriac_remote_storage_queue_highest_sent_timestamp_seconds",
            receiver,
            sink.highest_sent,
        ),
        (
            "celeriac_last_push_timestamp_seconds",
            &[("pushgateway", "g")],
            push.last,
        ),
        (
            "celeriac_checkpoint_timestamp_seconds",
            &[],
            checkpoint.timestamp,
        ),
    ];
    let mut series = SeriesTable::new(0, Timestamp::default());
    let mut published = telemetry.open(&mut series);
    let mut at = 1_000;
    let mut show = |family: &str, labels: Labelled<'_>| {
        published.publish(&telemetry.read(), &mut series);
        at += 1_000;
        let snapshot = series.snapshot(Timestamp::from_millis(at), false);
        snapshot.number_of(family, labels)
    };
    for (family, labels, time) in times {
        assert_eq!(show(family, labels), None, "{family}");
        for value in [5.0, 6.0] {
            time.set(value);
            assert_eq!(show(family, labels), Some(value), "{family}");
        }
    }
    // Other gauges exist from the start.
    assert_eq!(show("celeriac_checkpoint_size_bytes", &[]), Some(0.0));
}

#[test]
fn only_counters_last_and_none_of_a_sink_or_of_the_process() {
    for definition in DEFINITIONS {
        let own = [
            "celeriac_remote_storage_",
            "celeriac_push",
            // Values published while there is no checkpoint must not decrease.
            "celeriac_checkpoint_",
            "celeriac_http_",
            "process_",
        ];
        let of_process = own.iter().any(|own| definition.name.starts_with(own));
        let persistent = definition.kind == MetricType::Counter && !of_process;
        assert_eq!(definition.persistent, persistent, "{}", definition.name);
    }
}

/// Pairs of label name and value.
type Labelled<'a> = &'a [(&'a str, &'a str)];

/// All metrics, including a sink, and a table that contains them.
struct Daemon {
    telemetry: Telemetry,
    broker: BrokerMetrics,
    about_series: SeriesMetrics,
    taken: Counter,
    series: SeriesTable,
    published: Published,
}

impl Daemon {
    fn new(start: Timestamp, brokers: &[&str]) -> Self {
        let mut telemetry = Telemetry::new(start);
        let of_brokers: Vec<_> = brokers
            .iter()
            .map(|name| telemetry.broker(&(*name).into()).0)
            .collect();
        let about_series = telemetry.series(&[ProfileName::Native]);
        let taken = telemetry.sink(&"r".into(), &"u".into()).metadata;
        let mut series = SeriesTable::new(0, start);
        Self {
            published: telemetry.open(&mut series),
            telemetry,
            broker: of_brokers[0].clone(),
            about_series,
            taken,
            series,
        }
    }

    fn show(&mut self, at: Timestamp) -> crate::series::Snapshot {
        self.published
            .publish(&self.telemetry.read(), &mut self.series);
        self.series.snapshot(at, false)
    }
}

#[test]
fn counters_go_on_in_the_next_process_and_those_of_sinks_begin_anew() {
    let at = Timestamp::from_millis;
    let mut first = Daemon::new(at(1_000), &["a", "gone"]);
    first.broker.messages.add(5);
    first
        .broker
        .gap
        .grow(Duration::from_millis(1_500), at(2_000));
    first.about_series.limited_series.raise_to(7);
    first.taken.add(9);
    first.show(at(2_000));
    let counts = first.telemetry.capture();
    let view = first
        .series
        .capture()
        .into_saved("native")
        .next()
        .expect("a part");

    let mut next = Daemon::new(at(3_000), &["a", "new"]);
    next.telemetry.restore(&counts);
    let restored = next.series.restore(&view, at(2_000));
    assert_eq!(restored.unknown + restored.full, 0);
    next.broker.messages.add(1);
    next.broker.gap.grow(Duration::from_millis(500), at(4_000));
    // This counter starts from zero elsewhere, and must not stall until that exceeds 7.
    next.about_series.limited_series.raise_to(2);
    next.taken.add(1);
    let snapshot = next.show(at(4_000));
    let sink = [("remote_name", "r"), ("url", "u")];
    // The expected value and start time of each.
    let cases: [(&str, Labelled<'_>, f64, i64); 6] = [
        ("celeriac_messages_total", &[("broker", "a")], 6.0, 1_000),
        ("celeriac_messages_total", &[("broker", "new")], 0.0, 3_000),
        (
            "celeriac_broker_gap_seconds_total",
            &[("broker", "a")],
            2.0,
            1_000,
        ),
        (
            "celeriac_series_limited_total",
            &[("limit", "max_series")],
            9.0,
            1_000,
        ),
        ("celeriac_remote_storage_metadata_total", &sink, 1.0, 3_000),
        ("process_start_time_seconds", &[], 3.0, 3_000),
    ];
    for (family, labels, value, after) in cases {
        assert_eq!(
            snapshot.number_of(family, labels),
            Some(value),
            "{family} {labels:?}"
        );
        let row = snapshot.rows.iter().find(|row| {
            *snapshot.family(row).name == *family
                && row.info.labels.iter().eq(labels.iter().copied())
        });
        let began = row.map(|row| row.info.after);
        assert_eq!(began, Some(at(after)), "{family} {labels:?}");
    }
    // A broker that is no longer configured.
    let gone = &[("broker", "gone")];
    assert_eq!(snapshot.number_of("celeriac_messages_total", gone), None);
    // After another restore, earlier counts are not added twice.
    let again = next.telemetry.capture();
    let messages = again
        .iter()
        .find(|count| count.family == "celeriac_messages_total" && count.labels == ["broker", "a"]);
    assert_eq!(messages.map(|count| count.value), Some(6));
}
