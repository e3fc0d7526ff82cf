//! The events of several workers in every order in which they may arrive.

use super::*;

/// Returns the waits, runtimes, attempts and final stage that a sequence of events leads to.
fn added_up(events: &[(usize, &str)]) -> (Vec<String>, Option<TaskStage>) {
    let mut names = crate::state::Names::default();
    let workers = [names.intern("w@h"), names.intern("x@h")];
    let mut task = Task::default();
    let mut told = Vec::new();
    for (worker, word) in events {
        let (event, second) = parse(word);
        let worker = Some(workers[*worker]).filter(|_| event.kind != TaskKind::Sent);
        if task.is_replaced_by(&event, at(second)) {
            task.replace();
        }
        let taken = task.apply(&event, at(second), worker);
        let (Taken::Step(it) | Taken::Earlier { intervals: it, .. }) = taken else {
            continue;
        };
        assert_eq!(it.clamped, 0, "{events:?}");
        told.extend(it.queue_wait.map(|seconds| format!("q{seconds}")));
        told.extend(it.prefetch_wait.map(|seconds| format!("p{seconds}")));
        let outcome = |(outcome, seconds): (Outcome, f64)| format!("{}{seconds}", outcome.name());
        told.extend(it.ran.map(outcome));
        told.extend(it.turnaround.map(|it| format!("t-{}", outcome(it))));
        told.extend(it.attempts.map(|(_, attempts)| format!("n{attempts}")));
    }
    told.sort();
    (told, task.stage)
}

/// Returns every interleaving of several senders' events that keeps each sender's order.
fn interleaved(senders: &[&[(usize, &'static str)]]) -> Vec<Vec<(usize, &'static str)>> {
    if senders.iter().all(|events| events.is_empty()) {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, events) in senders.iter().enumerate() {
        let Some((first, rest)) = events.split_first() else {
            continue;
        };
        let mut senders = senders.to_vec();
        senders[at] = rest;
        for behind in interleaved(&senders) {
            all.push([&[*first][..], &behind].concat());
        }
    }
    all
}

#[test]
fn a_retry_on_another_worker_adds_up_the_same_in_any_order() {
    let client: &[(usize, &str)] = &[(0, "s@0")];
    let first: &[(usize, &str)] = &[(0, "r@1"), (0, "st@3"), (0, "rt@7")];
    let child: &[(usize, &str)] = &[(0, "s1@6")];
    let second: &[(usize, &str)] = &[(1, "r1@8"), (1, "st@12"), (1, "ok@20")];
    let orders = interleaved(&[client, first, child, second]);
    assert_eq!(orders.len(), 1_120);
    // Queue waits 3 and 6, prefetch waits 2 and 4.
    let expected = [
        "n2",
        "p2",
        "p4",
        "q3",
        "q6",
        "retried4",
        "succeeded8",
        "t-succeeded20",
    ];
    let position = |order: &[(usize, &str)], word| order.iter().position(|it| it.1 == word);
    for order in orders {
        // A task-sent that arrives after the end of its attempt is too late for the queue wait.
        if position(&order, "s@0") > position(&order, "rt@7") {
            assert_eq!(added_up(&order).1, None, "{order:?}");
            continue;
        }
        let (told, stage) = added_up(&order);
        assert_eq!(
            (told, stage),
            (expected.map(str::to_owned).into(), None),
            "{order:?}"
        );
    }
}

#[test]
fn a_message_that_two_workers_get_adds_up_the_same_in_any_order() {
    let first: &[(usize, &str)] = &[(0, "r@1"), (0, "st@3"), (0, "ok@30")];
    let second: &[(usize, &str)] = &[(1, "r@11"), (1, "st@15"), (1, "ok@40")];
    let expected = ["n1", "n1", "p2", "p4", "succeeded25", "succeeded27"];
    for order in interleaved(&[first, second]) {
        let (told, stage) = added_up(&order);
        assert_eq!(
            (told, stage),
            (expected.map(str::to_owned).into(), None),
            "{order:?}"
        );
    }
}

#[test]
fn a_task_that_is_replaced_keeps_the_waits_of_both_in_any_order() {
    let client: &[(usize, &str)] = &[(0, "s@0")];
    let first: &[(usize, &str)] = &[
        (0, "r@1"),
        (0, "st@3"),
        (0, "r@6"),
        (0, "st@9"),
        (0, "ok@10"),
    ];
    let child: &[(usize, &str)] = &[(0, "s@5")];
    let expected = ["n1", "p2", "p3", "q3", "q4", "succeeded1", "t-succeeded10"];
    let sent_first: Vec<_> = interleaved(&[first, child]);
    for order in sent_first {
        let order = [client, &order].concat();
        let (told, stage) = added_up(&order);
        assert_eq!(
            (told, stage),
            (expected.map(str::to_owned).into(), None),
            "{order:?}"
        );
    }
}

#[test]
fn a_client_that_says_late_that_it_sent_a_task_leaves_nothing_in_flight() {
    let first: &[(usize, &str)] = &[(0, "r@1"), (0, "st@3"), (0, "rt@7")];
    let child: &[(usize, &str)] = &[(0, "s1@6")];
    let second: &[(usize, &str)] = &[(1, "r1@8"), (1, "st@12"), (1, "ok@20")];
    // After the retry was sent, and after the task has ended.
    let orders = ["s@9", "s@21"].map(|sent| interleaved(&[&[(0, sent)], first, child, second]));
    for order in orders.concat() {
        let mut task = Task::default();
        let mut names = crate::state::Names::default();
        let workers = [names.intern("w@h"), names.intern("x@h")];
        for (worker, word) in &order {
            let (event, second) = parse(word);
            let worker = Some(workers[*worker]).filter(|_| event.kind != TaskKind::Sent);
            assert!(!task.is_replaced_by(&event, at(second)), "{order:?}");
            task.apply(&event, at(second), worker);
        }
        assert_eq!(task.stage, None, "{order:?}");
    }
}

/// The stage after events in that order.
fn stage_after(events: &[(usize, &str)]) -> Option<TaskStage> {
    let mut names = crate::state::Names::default();
    let workers = [names.intern("w@h"), names.intern("x@h")];
    let mut task = Task::default();
    for (worker, word) in events {
        let (event, second) = parse(word);
        let worker = Some(workers[*worker]).filter(|_| event.kind != TaskKind::Sent);
        if task.is_replaced_by(&event, at(second)) {
            task.replace();
        }
        task.apply(&event, at(second), worker);
    }
    task.stage
}

/// The events of each sender, with their stamps: three attempts in quick succession, each on one of two workers. A worker's
/// events are in the order of their stamps, and the task-sent of a retry comes from the process that runs the attempt.
fn quick_retries(workers: [usize; 3], stamps: [[usize; 4]; 3]) -> Vec<Vec<(usize, usize, String)>> {
    let mut streams: Vec<Vec<(usize, usize, String)>> = vec![Vec::new(); 5];
    for (n, (worker, [sent, received, started, ended])) in
        workers.into_iter().zip(stamps).enumerate()
    {
        let retries = if n == 0 { String::new() } else { n.to_string() };
        streams[2 + n].push((sent, worker, format!("s{retries}@{sent}")));
        let main = &mut streams[worker];
        main.push((received, worker, format!("r{retries}@{received}")));
        main.push((started, worker, format!("st@{started}")));
        let end = if n == 2 { "ok" } else { "rt" };
        main.push((ended, worker, format!("{end}@{ended}")));
    }
    streams.iter_mut().for_each(|stream| stream.sort());
    streams
}

#[test]
fn quick_retries_leave_nothing_in_flight_in_any_order() {
    let mut random = 1_u64;
    let mut below = |end: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % end
    };
    // One after the other, a worker that is slow to report its first attempt, and two that are slow to report the first two;
    // each sender is late by less than that.
    let cases = [
        ([[0, 1, 2, 4], [3, 5, 6, 8], [7, 9, 10, 12]], 30),
        ([[0, 5, 13, 14], [7, 8, 9, 12], [10, 11, 15, 16]], 30),
        ([[0, 1, 4, 20], [12, 13, 22, 24], [15, 16, 25, 27]], 10),
    ];
    for (stamps, late_max) in cases {
        for workers in 0..8 {
            let workers = [workers & 1, workers >> 1 & 1, workers >> 2];
            if stamps[0][2] > stamps[1][2] && workers[0] == workers[1] {
                // One worker reports starts in order.
                continue;
            }
            let streams = quick_retries(workers, stamps);
            for _ in 0..4_000 {
                let late = streams.iter().map(|_| below(late_max));
                let late: Vec<_> = late.collect();
                let mut order: Vec<_> = streams
                    .iter()
                    .zip(late)
                    .flat_map(|(stream, late)| stream.iter().map(move |it| (it.0 + late, it)))
                    .collect();
                order.sort_by_key(|(arrival, _)| *arrival);
                let order = order
                    .iter()
                    .map(|(_, (_, worker, word))| (*worker, word.as_str()));
                let order: Vec<_> = order.collect();
                assert_eq!(stage_after(&order), None, "{order:?}");
            }
        }
    }
}
