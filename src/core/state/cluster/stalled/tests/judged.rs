//! Why a worker that runs no task is not stalled.

use super::*;

/// Answers that show that it is not idle, or leave it open.
fn not_idle() -> Vec<(&'static str, WorkerAnswer)> {
    let later = || tasks(3, None, Some(9_000));
    vec![
        (
            "busy",
            WorkerAnswer {
                active: tasks(4, Some(0), None),
                ..idle()
            },
        ),
        (
            "prefetch is full",
            WorkerAnswer {
                active: tasks(1, Some(0), None),
                scheduled: later(),
                prefetch_count: Some(7),
                ..idle()
            },
        ),
        (
            "incomplete",
            WorkerAnswer {
                complete: false,
                ..idle()
            },
        ),
        (
            "another process",
            WorkerAnswer {
                pid: Some(8),
                ..idle()
            },
        ),
        (
            "other queue",
            WorkerAnswer {
                queues: Some(vec!["p".to_owned()]),
                ..idle()
            },
        ),
        (
            "unknown queues",
            WorkerAnswer {
                queues: None,
                ..idle()
            },
        ),
        (
            "static prefetch count",
            WorkerAnswer {
                scheduled: tasks(4, None, Some(9_000)),
                prefetch_count: Some(8),
                ..idle()
            },
        ),
        (
            "passive",
            WorkerAnswer {
                passive_queues: vec!["q".to_owned()],
                ..idle()
            },
        ),
    ]
}

#[test]
fn a_round_that_finds_it_not_idle_ends_it() {
    for (case, answer) in not_idle() {
        let mut cluster = Cluster::stalled();
        assert_eq!(cluster.round(120, answer), [""; 0], "{case}");
        assert_eq!(cluster.shown(179), [""; 0], "{case}");
    }
}

#[test]
fn a_round_without_its_answer_says_nothing() {
    let mut cluster = Cluster::stalled();
    for answers in [
        Vec::new(),
        vec![WorkerAnswer {
            worker: "x@h".to_owned(),
            ..idle()
        }],
    ] {
        cluster.answers(answers, 62);
        assert_eq!(cluster.shown(62), ["w@h q 0"]);
    }
}

#[test]
fn a_worker_that_is_never_found_idle_is_never_shown() {
    let unknown = WorkerAnswer {
        slots: None,
        ..idle()
    };
    for (case, answer) in not_idle().into_iter().chain([("slots", unknown)]) {
        let mut cluster = Cluster::new();
        for second in [0, 60, 120] {
            assert_eq!(cluster.round(second, answer.clone()), [""; 0], "{case}");
        }
    }
}

#[test]
fn a_worker_that_shuts_down_is_not_judged_although_it_answers() {
    let mut cluster = Cluster::stalled();
    let goodbye = WorkerEvent::new(WorkerKind::Offline);
    cluster.event("w@h", 7, Detail::Worker(goodbye), 70, 70);
    cluster.levels(&[("q", 5)], 119);
    cluster.answers(vec![idle()], 120);
    // It stays after all.
    assert_eq!(cluster.round(180, idle()), [""; 0]);
    assert_eq!(cluster.round(240, idle()), ["w@h q 180"]);
}

#[test]
fn a_worker_with_some_tasks_and_room_for_more_is_idle() {
    let later = || tasks(3, None, Some(9_000));
    let busy = || tasks(3, Some(0), None);
    let cases = [
        (
            "active",
            WorkerAnswer {
                active: busy(),
                ..idle()
            },
        ),
        (
            "scheduled",
            WorkerAnswer {
                scheduled: later(),
                prefetch_count: Some(7),
                ..idle()
            },
        ),
        (
            "unlimited",
            WorkerAnswer {
                scheduled: later(),
                prefetch_count: Some(0),
                ..idle()
            },
        ),
        (
            "unknown",
            WorkerAnswer {
                scheduled: later(),
                prefetch_count: None,
                ..idle()
            },
        ),
    ];
    for (case, answer) in cases {
        let mut cluster = Cluster::new();
        cluster.round(0, answer.clone());
        assert_eq!(cluster.round(60, answer), ["w@h q 0"], "{case}");
    }
}

/// A rate limit of one an hour.
const HOURLY: Option<Duration> = Some(Duration::from_secs(3_600));

#[test]
fn a_received_task_that_is_in_no_list_may_be_held_back_by_a_rate_limit() {
    let mut cluster = Cluster::new();
    let answer = |second: i64| limited(HOURLY, 100 + second.unsigned_abs());
    cluster.task(TaskKind::Received, -10);
    for second in [0, 60, 120, 180] {
        assert_eq!(cluster.round(second, answer(second)), [""; 0], "{second}");
    }
    cluster.task(TaskKind::Succeeded, 190);
    assert_eq!(cluster.round(240, answer(240)), [""; 0]);
    assert_eq!(cluster.round(300, answer(300)), ["w@h q 240"]);
}

#[test]
fn a_received_task_for_later_is_not_held_back_until_it_is_due() {
    let mut cluster = Cluster::new();
    cluster.task_due(TaskKind::Received, Some(100), -10);
    assert_eq!(cluster.round(0, limited(HOURLY, 100)), [""; 0]);
    assert_eq!(cluster.round(60, limited(HOURLY, 160)), ["w@h q 0"]);
    assert_eq!(cluster.round(120, limited(HOURLY, 220)), [""; 0]);
}

#[test]
fn what_a_rate_limit_may_hold_back_is_known_only_if_all_events_were_received() {
    // Whether there is a rate limit, whether it sends task events, and whether some were missed.
    let seconds = |seconds| Some(Some(Duration::from_secs(seconds)));
    let cases = [
        (Some(HOURLY), true, false, true),
        (Some(HOURLY), true, true, false),
        (Some(HOURLY), false, false, false),
        // It would have started one by now.
        (seconds(55), true, true, true),
        (seconds(55), false, false, true),
        (seconds(56), false, false, false),
        (None, true, false, true),
        (None, false, false, false),
        (Some(None), false, true, true),
    ];
    for (limit, speaks, gap, is_shown) in cases {
        let mut cluster = Cluster::new();
        let answer = |second: i64| WorkerAnswer {
            registered: limit.and_then(|limit| limited(limit, 0).registered),
            ..limited(None, 100 + second.unsigned_abs())
        };
        if gap {
            cluster.state.not_subscribed(at(-50));
        }
        if speaks {
            cluster.task(TaskKind::Succeeded, -10);
        }
        cluster.round(0, answer(0));
        let shown = !cluster.round(60, answer(60)).is_empty();
        assert_eq!(shown, is_shown, "{limit:?} {speaks} {gap}");
    }
}

#[test]
fn a_restart_makes_rate_limits_unknown() {
    let mut cluster = Cluster::stalled();
    for second in [120, 180, 240] {
        cluster.levels(&[("q", 5)], second - 1);
        cluster.beat("w@h", 8, second);
        let answer = WorkerAnswer {
            pid: Some(8),
            registered: None,
            ..idle()
        };
        cluster.answers(vec![answer], second);
        assert_eq!(cluster.shown(second), [""; 0], "{second}");
    }
}

#[test]
fn a_worker_without_task_events_is_judged_by_its_count_and_lists() {
    for reserved in [0, 1] {
        let mut cluster = Cluster::new();
        // It starts tasks, and no event reports them.
        for second in [-8, -6, -4] {
            cluster.processed += 1;
            cluster.beat("w@h", 7, second);
        }
        cluster.beat("w@h", 7, -2);
        let worker = cluster.state.workers().next().expect("known");
        assert_eq!(worker.events(), Some(false));
        let answer = || WorkerAnswer {
            reserved: tasks(reserved, None, None),
            ..idle()
        };
        cluster.round(0, answer());
        let shown = !cluster.round(60, answer()).is_empty();
        assert_eq!(shown, reserved == 0);
    }
}

#[test]
fn a_queue_that_was_empty_in_between_ends_it() {
    for levels in [&[("q", 0)][..], &[("p", 5)], &[]] {
        let mut cluster = Cluster::stalled();
        cluster.levels(levels, 70);
        cluster.levels(&[("q", 5)], 80);
        assert_eq!(cluster.shown(80), [""; 0], "{levels:?}");
        assert_eq!(cluster.round(120, idle()), [""; 0], "{levels:?}");
        assert_eq!(cluster.round(180, idle()), ["w@h q 120"], "{levels:?}");
    }
}

#[test]
fn an_empty_or_generated_queue_is_no_backlog() {
    let generated = "00000000-0000-4000-8000-000000000000";
    for (queue, length, is_shown) in [("p", 1, true), ("p", 0, false), (generated, 1, false)] {
        let mut cluster = Cluster::new();
        let answer = WorkerAnswer {
            queues: Some(vec![queue.to_owned()]),
            ..idle()
        };
        for second in [0, 60] {
            cluster.levels(&[(queue, length)], second - 1);
            cluster.beat("w@h", 7, second);
            cluster.answers(vec![answer.clone()], second);
        }
        assert_eq!(!cluster.shown(60).is_empty(), is_shown, "{queue} {length}");
    }
}

#[test]
fn levels_that_are_not_read_again_confirm_nothing() {
    let mut cluster = Cluster::new();
    cluster.levels(&[("q", 5)], -1);
    for second in [0, 60] {
        cluster.beat("w@h", 7, second);
        cluster.answers(vec![idle()], second);
        assert_eq!(cluster.shown(second), [""; 0]);
    }
    assert_eq!(cluster.round(120, idle()), ["w@h q 0"]);
}

#[test]
fn outdated_answers_are_not_shown() {
    // The levels of 59 are believed for three times their interval, and so is the round of 60.
    let mut cluster = Cluster::stalled();
    assert_eq!(cluster.shown(59 + 180), ["w@h q 0"]);
    assert_eq!(cluster.shown(60 + 180), [""; 0], "levels");
    cluster.levels(&[("q", 5)], 200);
    assert_eq!(cluster.shown(60 + 180), ["w@h q 0"]);
    assert_eq!(cluster.shown(60 + 181), [""; 0], "rounds");

    let mut cluster = Cluster::stalled();
    cluster.beat("w@h", 7, 240);
    cluster.answers(vec![idle()], 240);
    cluster.levels(&[("q", 5)], 241);
    assert_eq!(
        cluster.shown(241),
        [""; 0],
        "a round without current levels"
    );
}

#[test]
fn events_must_have_been_read_since_the_first_round() {
    let mut cluster = Cluster::new();
    let mut round = |lag: i64, second: i64| {
        cluster.levels(&[("q", 5)], second - 1);
        cluster.late_beat("w@h", 7, second - lag, second);
        cluster.answers(vec![idle()], second);
        cluster.shown(second)
    };
    assert_eq!(round(30, 0), [""; 0]);
    assert_eq!(round(30, 34), [""; 0]);
    assert_eq!(round(30, 35), ["w@h q 0"]);
    assert_eq!(round(120, 160), ["w@h q 0"]);
    // Another two minutes later, and no newer event was read.
    assert_eq!(round(200, 206), [""; 0]);
    assert_eq!(round(0, 207), [""; 0]);
    assert_eq!(round(0, 212), ["w@h q 207"]);
}

#[test]
fn events_that_may_have_been_missed_start_it_over() {
    let mut cluster = Cluster::stalled();
    cluster.state.not_subscribed(at(70));
    assert_eq!(cluster.round(120, idle()), [""; 0]);
    assert_eq!(cluster.round(180, idle()), ["w@h q 120"]);
}

#[test]
fn a_worker_whose_heartbeats_do_not_arrive_is_not_judged() {
    let mut cluster = Cluster::new();
    let mut round = |worker: &str, second| {
        cluster.levels(&[("q", 5)], second - 1);
        cluster.beat(worker, 7, second);
        cluster.answers(vec![idle()], second);
        cluster.shown(second)
    };
    for second in [0, 60] {
        assert_eq!(round("x@h", second), [""; 0]);
    }
    assert_eq!(round("w@h", 120), [""; 0]);
    assert_eq!(round("x@h", 130), [""; 0]);
    assert_eq!(round("w@h", 140), ["w@h q 120"]);
    assert_eq!(round("x@h", 260), ["w@h q 120"]);
    assert_eq!(round("x@h", 261), [""; 0]);
}

#[test]
fn a_shard_does_not_judge() {
    let shard = Shard { index: 0, count: 2 };
    let mut cluster = Cluster::new();
    cluster.state = State::new(Limits {
        shard: Some(shard),
        ..limits()
    });
    for second in [0, 60] {
        assert_eq!(cluster.round(second, idle()), [""; 0]);
    }
}
