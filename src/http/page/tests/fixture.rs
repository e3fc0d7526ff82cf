//! Documents to render: a usual cluster, a hostile one, a large one, and states that a page explains.

use std::sync::Arc;

use crate::status::document::*;

/// 2023-11-14 22:13:20 UTC.
pub(super) const NOW: f64 = 1_700_000_000.0;

fn text(text: &str) -> Option<Arc<str>> {
    Some(text.into())
}

/// A history that goes up and down.
fn wave(height: u32, seed: u32) -> Vec<Option<u32>> {
    let points = 0..60_u32;
    let value = |n: u32| {
        let noise = (n.wrapping_add(seed)).wrapping_mul(2_654_435_761) >> 24;
        height * (100 + noise) / 300 + height * (n * (seed % 7) % 60) / 120
    };
    points.map(|n| Some(value(n))).collect()
}

/// A cluster as in the demo, with a few things that are wrong.
pub(super) fn usual() -> Status {
    Status {
        version: VERSION,
        instance: Instance {
            name: "celeriac-0".to_owned(),
            version: "0.1.0".to_owned(),
            started_timestamp_seconds: NOW - 273_000.0,
            ..Instance::default()
        },
        at_timestamp_seconds: NOW,
        window_seconds: 300,
        rated_seconds: 0.0,
        attention: vec![
            Problem {
                severity: Severity::Critical,
                kind: "receiver_failing".to_owned(),
                subject: Some("mimir".to_owned()),
                text: "Receiver mimir is failing: 503 Service Unavailable.".to_owned(),
                advice: "48,210 samples are pending; at this rate, the queue lasts for 6 h 10 min. \
                         Check the receiver and its URL."
                    .to_owned(),
                since_timestamp_seconds: Some(NOW - 740.0),
                runbook: Some("runbooks/CeleriacRemoteWriteBehind.md".to_owned()),
            },
            Problem {
                severity: Severity::Warning,
                kind: "queue_drains_slowly".to_owned(),
                subject: Some("reports".to_owned()),
                text: "Queue reports has 8,412 waiting messages and does not drain: tasks arrive as fast \
                       as they are processed."
                    .to_owned(),
                advice: "Add workers, or find out what became slower.".to_owned(),
                since_timestamp_seconds: None,
                runbook: Some("runbooks/CeleryQueueDrainTimeLong.md".to_owned()),
            },
        ],
        summary: Summary {
            completed_per_minute: Some(1834.2),
            completed_history: wave(320, 3),
            failed_ratio: Some(0.0123),
            waiting: Some(8570),
            waiting_history: wave(8600, 5),
            oldest_age_seconds: Some(1503.0),
            running: 37,
            slots: Some(56),
            workers_online: 6,
            workers_offline: 1,
        },
        trust: Trust {
            counting_since_timestamp_seconds: Some(NOW - 3_456_000.0),
            duplicate: 12,
            gap_seconds: 4.2,
            lag_seconds: Some(0.21),
            last_push_age_seconds: Some(3.0),
            receivers_working: 1,
            receivers_total: 2,
            ..Trust::default()
        },
        queues: queues(),
        tasks: tasks(),
        workers: workers(),
        beats: beats(),
        periodic: periodic(),
        workflows: workflows(),
        long_running: long_running(),
        brokers: vec![broker()],
        receivers: receivers(),
    }
}

fn queues() -> Vec<QueueRow> {
    let row =
        |name: &str, waiting: u64, input: f64, output: f64, slots: u64, active: u64| QueueRow {
            name: name.into(),
            waiting: Some(waiting),
            unacked: Some(active),
            oldest_age_seconds: (waiting > 0)
                .then_some(f64::from(u32::try_from(waiting).unwrap()) / 6.0),
            in_per_minute: Some(input),
            out_per_minute: Some(output),
            drain_seconds: (output > input)
                .then(|| f64::from(u32::try_from(waiting).unwrap()) / (output - input) * 60.0),
            growing: waiting > 0 && output <= input,
            wait_p50_seconds: Some(0.04),
            wait_p95_seconds: Some(if waiting > 1000 { 1240.0 } else { 0.8 }),
            slots: Some(slots),
            active: Some(active),
            saturation: Some(0.5),
            workers: Some(slots / 8),
            history: wave(
                u32::try_from(waiting).unwrap(),
                u32::try_from(name.len()).unwrap(),
            ),
            ..QueueRow::default()
        };
    vec![
        row("celery", 112, 903.4, 911.0, 24, 13),
        row("reports", 8412, 120.0, 112.2, 8, 8),
        row("emails", 46, 622.0, 640.5, 16, 9),
        row("thumbnails", 0, 188.0, 188.0, 8, 7),
        QueueRow {
            name: "legacy".into(),
            ..QueueRow::default()
        },
    ]
}

fn tasks() -> Vec<TaskRow> {
    let names = [
        ("shop.orders.place", "celery", 412.0, 0.0),
        ("shop.orders.charge", "celery", 398.5, 0.061),
        ("shop.mail.receipt", "emails", 395.0, 0.002),
        ("shop.mail.newsletter", "emails", 221.7, 0.0),
        ("media.thumbnail", "thumbnails", 188.0, 0.0),
        ("reports.daily.build", "reports", 84.2, 0.011),
        ("reports.export_csv", "reports", 28.0, 0.25),
        ("search.index.update", "celery", 61.3, 0.0),
        ("shop.stock.sync", "celery", 31.2, 0.0),
        ("billing.invoices.render", "reports", 8.4, 0.0),
        ("accounts.sessions.expire", "celery", 1.0, 0.0),
        ("maintenance.vacuum", "celery", 0.02, 0.0),
    ];
    let row = |(seed, &(name, queue, rate, failed)): (u32, &(&str, &str, f64, f64))| TaskRow {
        name: name.into(),
        queue: text(queue),
        done_per_minute: Some(rate),
        failed_ratio: Some(failed),
        retried_ratio: Some(failed / 2.0),
        runtime_p50_seconds: Some(0.12 * f64::from(seed + 1)),
        runtime_p95_seconds: Some(0.9 * f64::from(seed + 1)),
        wait_p50_seconds: Some(0.03),
        wait_p95_seconds: Some(0.4),
        running: u64::from(seed % 5),
        last_failure_timestamp_seconds: (failed > 0.0).then_some(NOW - 12.0),
        last_run_timestamp_seconds: Some(NOW - f64::from(seed) * 4.0),
        sent: 812_333,
        received: 812_330,
        started: 812_310,
        succeeded: 805_110,
        failed: 7_190,
        retried: 3_120,
        exceptions: vec![
            ExceptionCount {
                exception: "ConnectionError".into(),
                failed: 7_000,
                retried: 3_120,
            },
            ExceptionCount {
                exception: "KeyError".into(),
                failed: 190,
                retried: 0,
            },
        ],
        history: wave(70, seed),
        hour_history: wave(420, seed + 1),
        ..TaskRow::default()
    };
    (0..).zip(&names).map(row).collect()
}

fn workers() -> Vec<WorkerRow> {
    let row = |n: u32| WorkerRow {
        name: format!("celery@worker-{n}").into(),
        online: n != 4,
        since_timestamp_seconds: NOW - 86_400.0 * f64::from(n + 1),
        last_seen_timestamp_seconds: NOW - 1.0,
        active: Some(u64::from(n) + 2),
        pool_size: Some(8),
        prefetched: 4,
        done_per_minute: Some(250.0 + f64::from(n)),
        processed: Some(1_204_112),
        load: Some([1.24, 1.1, 0.9]),
        software: Some("py-celery 5.6.3".to_owned()),
        clock_offset_seconds: Some(0.012),
        sends_events: Some(n != 2),
        queues: Some(vec![
            "celery".into(),
            if n > 3 { "reports" } else { "emails" }.into(),
        ]),
        stalled_since_timestamp_seconds: (n == 5).then_some(NOW - 900.0),
        stalled_queues: (0..u32::from(n == 5)).map(|_| "reports".into()).collect(),
        ..WorkerRow::default()
    };
    (0..7).map(row).collect()
}

fn beats() -> Vec<BeatRow> {
    vec![BeatRow {
        name: "celerybeat@beat".into(),
        online: true,
        since_timestamp_seconds: NOW - 86_400.0,
        last_seen_timestamp_seconds: NOW - 12.0,
        processes: 1,
        ..BeatRow::default()
    }]
}

fn periodic() -> Vec<PeriodicRow> {
    let row = |name: &str, age: f64, period: f64| PeriodicRow {
        name: name.into(),
        period_seconds: Some(period),
        next_due_timestamp_seconds: Some(NOW - age + period),
        overdue_seconds: Some((age - period).max(0.0)),
        last_sent_timestamp_seconds: Some(NOW - age),
        last_succeeded_timestamp_seconds: Some(NOW - age + 2.0),
        ..PeriodicRow::default()
    };
    vec![
        row("accounts.sessions.expire", 41.0, 60.0),
        row("maintenance.vacuum", 4500.0, 3600.0),
        row("reports.daily.build", 30_000.0, 86_400.0),
    ]
}

fn workflows() -> Vec<WorkflowRow> {
    vec![WorkflowRow {
        name: "reports.daily.build".into(),
        open: 3,
        oldest_age_seconds: Some(754.0),
        chords_waiting: 1,
        oldest_chord_age_seconds: Some(61.0),
        ..WorkflowRow::default()
    }]
}

fn long_running() -> Vec<LongRunningRow> {
    vec![LongRunningRow {
        name: "media.images.transcode".into(),
        count: 2,
        since_timestamp_seconds: NOW - 3700.0,
        worker: text("celery@media-1"),
        allowed_seconds: 600.0,
        time_limit: true,
        ..LongRunningRow::default()
    }]
}

fn broker() -> BrokerRow {
    BrokerRow {
        name: "rabbitmq".into(),
        connected: true,
        since_timestamp_seconds: Some(NOW - 273_000.0),
        delivery: "durable".to_owned(),
        events_per_second: Some(142.3),
        lag_seconds: Some(0.21),
        gap_seconds: 4.2,
        reconnects: 1,
        messages: 38_203_112,
        ..BrokerRow::default()
    }
}

fn receivers() -> Vec<ReceiverRow> {
    let row = |name: &str| ReceiverRow {
        name: name.into(),
        kind: "remote_write".to_owned(),
        url: "https://example.com/api/v1/write".to_owned(),
        protocol: Some("2.0".to_owned()),
        working: true,
        since_timestamp_seconds: Some(NOW - 273_000.0),
        samples_per_second: Some(210.5),
        queue_bytes: 12 << 10,
        queue_limit_bytes: Some(512 << 20),
        on_disk: true,
        last_push_timestamp_seconds: Some(NOW - 3.0),
        ..ReceiverRow::default()
    };
    vec![
        row("prometheus"),
        ReceiverRow {
            working: false,
            since_timestamp_seconds: Some(NOW - 740.0),
            last_error: Some("503 Service Unavailable: no healthy upstream".to_owned()),
            pending: 48_210,
            pending_age_seconds: Some(740.0),
            queue_bytes: 11 << 20,
            lasts_seconds: Some(22_200.0),
            ..row("mimir")
        },
    ]
}

/// Names that try to break out of where they are shown.
pub(super) const HOSTILE: [&str; 7] = [
    "<script>alert(1)</script>",
    "\" onmouseover=alert(1) x=\"",
    "a/b%2Fc?d#e&f=g",
    "\u{202e}gpj.exe\u{0}\n\u{1b}[31m",
    "Προμηθεύς ☂ 日本",
    "']]>--></style><!--",
    "a b+c;d",
];

/// The same with names that try to break out.
pub(super) fn hostile() -> Status {
    let mut status = usual();
    let long = "n".repeat(900);
    for name in HOSTILE.into_iter().chain([&*long]) {
        status.tasks.push(TaskRow {
            name: name.into(),
            queue: text(name),
            done_per_minute: Some(1.0),
            exceptions: vec![ExceptionCount {
                exception: name.into(),
                ..ExceptionCount::default()
            }],
            ..TaskRow::default()
        });
        status.queues.push(QueueRow {
            name: name.into(),
            ..QueueRow::default()
        });
        status.workers.push(WorkerRow {
            name: name.into(),
            queues: Some(vec![name.into(); 20]),
            software: Some(name.to_owned()),
            ..WorkerRow::default()
        });
        status.receivers.push(ReceiverRow {
            name: name.into(),
            last_error: Some(name.to_owned()),
            since_timestamp_seconds: Some(NOW),
            ..ReceiverRow::default()
        });
        status.attention.push(Problem {
            severity: Severity::Info,
            kind: name.to_owned(),
            subject: None,
            text: name.to_owned(),
            advice: name.to_owned(),
            since_timestamp_seconds: None,
            runbook: Some(name.to_owned()),
        });
    }
    status
}

/// 5,000 tasks, 200 queues and 1,000 workers.
pub(super) fn large() -> Status {
    let mut status = usual();
    let (task, queue, worker) = (&status.tasks[1], &status.queues[1], &status.workers[1]);
    let tasks = (0..5000).map(|n| TaskRow {
        name: format!("app.module_{}.task_{n}", n % 50).into(),
        history: if n < 200 {
            task.history.clone()
        } else {
            Vec::new()
        },
        hour_history: Vec::new(),
        ..task.clone()
    });
    let queues = (0..200).map(|n| QueueRow {
        name: format!("queue-{n}").into(),
        ..queue.clone()
    });
    let workers = (0..1000).map(|n| WorkerRow {
        name: format!("celery@worker-{n}").into(),
        ..worker.clone()
    });
    (status.tasks, status.queues, status.workers) =
        (tasks.collect(), queues.collect(), workers.collect());
    status
}

/// A daemon that has received nothing.
pub(super) fn first_start() -> Status {
    Status {
        summary: Summary::default(),
        trust: Trust::default(),
        attention: Vec::new(),
        queues: Vec::new(),
        tasks: Vec::new(),
        workers: Vec::new(),
        periodic: Vec::new(),
        receivers: Vec::new(),
        brokers: vec![BrokerRow {
            messages: 0,
            reconnects: 0,
            ..broker()
        }],
        ..usual()
    }
}
