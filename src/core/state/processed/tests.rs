use super::*;

const FREQ: f64 = 2.0;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

/// Applies `b<processed>@<millis>` and `s@<millis>`. Returns the number of missing events after
/// each heartbeat, and whether the worker sends events.
fn played(script: &str) -> (Vec<u64>, Option<bool>) {
    let mut count = Processed::default();
    let mut missing = Vec::new();
    for word in script.split(' ') {
        let (what, millis) = word.split_once('@').expect("what@when");
        let stamped = at(millis.parse().expect("millis"));
        match what.strip_prefix('b') {
            Some(processed) => {
                let processed = processed.parse().expect("a count");
                missing.push(count.heartbeat((processed, None), stamped, FREQ, false));
            }
            None => count.started(stamped),
        }
    }
    missing.push(count.end());
    (missing, count.events)
}

#[test]
fn what_is_missing_is_found_when_the_next_heartbeat_comes() {
    let cases = [
        (
            "all heard",
            "b7@0 s@10 s@20 b9@2000 s@2500 b10@4000",
            vec![0, 0, 0, 0],
        ),
        (
            "one missing",
            "b7@0 s@10 b9@2000 b9@4000 b9@6000",
            vec![0, 0, 0, 1, 0],
        ),
        (
            "one more later",
            "b0@0 b1@2000 b2@4000 b2@6000",
            vec![0, 0, 0, 1, 1],
        ),
        (
            "overtaken by its heartbeat",
            "b0@0 b1@2000 s@1999 b1@4000",
            vec![0, 0, 0, 0],
        ),
        (
            "before the first heartbeat",
            "s@-5 b1@0 s@-1 b1@2000 b1@4000",
            vec![0, 0, 0, 0],
        ),
        ("at the end", "b0@0 b3@2000 s@1000", vec![0, 0, 2]),
        (
            "a gap",
            "b0@0 s@1 b1@2000 b500@60000 b500@62000",
            vec![0, 0, 0, 0, 499],
        ),
    ];
    for (case, script, expected) in cases {
        assert_eq!(played(script).0, expected, "{case}");
    }
}

/// Applies `b<processed>/<active>@<millis>` and `s@<millis>`. Returns the number of missing events
/// before the end, and including it.
fn judged(script: &str) -> (u64, u64) {
    let mut count = Processed::default();
    let mut missing = 0;
    for word in script.split_whitespace() {
        let (what, millis) = word.split_once('@').expect("what@when");
        let stamped = at(millis.parse().expect("millis"));
        if let Some((processed, active)) = what
            .strip_prefix('b')
            .and_then(|counts| counts.split_once('/'))
        {
            let counts = (
                processed.parse().expect("a count"),
                Some(active.parse().expect("a count")),
            );
            missing += count.heartbeat(counts, stamped, FREQ, false);
        } else {
            count.started(stamped);
        }
    }
    (missing, missing + count.count_missing())
}

#[test]
fn a_task_that_is_counted_before_it_is_stamped_is_not_missing() {
    let cases = [
        (
            "one",
            "b0/0@0 b1/1@2000 s@2001 b1/0@4000 b1/0@6000 b1/0@8000",
            0,
            0,
        ),
        (
            "at every heartbeat",
            "b0/0@0 b1/1@2000 s@2001 b3/2@4000 s@4001 s@4002 b4/1@6000 s@6001 b5/1@8000 s@8001 b6/1@10000 s@10001 \
             b8/2@12000 s@12001 s@12002 b9/1@14000 s@14001 b10/1@16000 s@16001 b10/0@18000",
            0,
            0,
        ),
        ("at the end", "b0/0@0 s@1 b3/2@2000 s@2001 s@2002", 0, 0),
        (
            "at the first heartbeat, and one is missing later",
            "b2/2@0 s@1 s@2 b2/0@2000 b2/0@4000 b3/0@6000 b3/0@8000 b3/0@10000",
            1,
            1,
        ),
        (
            "beside one that is missing",
            "b0/0@0 b2/1@2000 s@2001 b3/1@4000 s@4001 b3/0@6000 b3/0@8000",
            1,
            1,
        ),
        (
            "missing while others run all the time",
            "b0/0@0 s@1 b1/1@2000 s@2001 b3/1@4000 s@4001 b4/1@6000 s@6001 b5/1@8000 s@8001 b6/1@10000 s@10001 \
             b7/1@12000 s@12001 b8/1@14000 s@14001 b9/1@16000",
            1,
            1,
        ),
        (
            "missing while others run, at the end",
            "b0/0@0 b9/3@2000 s@2001",
            0,
            8,
        ),
    ];
    for (case, script, before_end, in_all) in cases {
        assert_eq!(judged(script), (before_end, in_all), "{case}");
    }
}

/// Applies a script without the end of a process, which would reset `events`.
fn events(script: &str) -> Option<bool> {
    let mut count = Processed::default();
    for word in script.split(' ') {
        let (what, millis) = word.split_once('@').expect("what@when");
        let stamped = at(millis.parse().expect("millis"));
        match what.strip_prefix('b') {
            Some(processed) => {
                let processed = processed.parse().expect("a count");
                count.heartbeat((processed, None), stamped, FREQ, false);
            }
            None => count.started(stamped),
        }
    }
    count.events
}

#[test]
fn what_a_process_started_that_nobody_saw_begin_is_missing_too() {
    // `e` ends a process, `o` is the heartbeat of a process that comes online.
    let cases = [
        // Four tasks before its first heartbeat, of which one event arrived.
        ("in a gap", "b7@0 s@30000 e@0 b4@31000 b4@33000 b4@35000", 3),
        // Its only deficit may still be a task that is counted before it is stamped.
        (
            "in a gap, and stamped after the heartbeat",
            "b7@0 e@0 b1@2000 s@2001 b1@4000 b1@6000",
            0,
        ),
        ("heard whole", "b7@0 s@100 s@200 e@0 b2@2000 b2@4000", 0),
        (
            "seen to begin",
            "b7@0 e@0 o0@1000 s@1100 b1@2000 b1@4000",
            0,
        ),
        (
            "seen to begin, and one missing",
            "b7@0 s@1 e@0 o0@1000 b1@2000 b1@4000 b1@6000",
            1,
        ),
        // Events of the previous process, received before its end was known.
        (
            "the tail of the one before",
            "b7@0 s@10 e@0 o0@1000 s@1100 b1@2000 b1@4000",
            0,
        ),
        (
            "two at once",
            "b7@0 e@0 b5000@1000 a@0 b5000@3000 b5000@5000",
            0,
        ),
    ];
    for (case, script, expected) in cases {
        let mut count = Processed::default();
        let mut missing = 0;
        for word in script.split(' ') {
            let (what, millis) = word.split_once('@').expect("what@when");
            let stamped = at(millis.parse().expect("millis"));
            let (kind, processed) = what.split_at(1);
            let processed = processed.parse().unwrap_or(0);
            missing += match kind {
                "b" => count.heartbeat((processed, None), stamped, FREQ, false),
                "o" => count.heartbeat((processed, None), stamped, FREQ, true),
                "e" => count.end(),
                _ => {
                    if kind == "a" {
                        count.abandon();
                    } else {
                        count.started(stamped);
                    }
                    0
                }
            };
        }
        assert_eq!(missing, expected, "{case}");
    }
}

#[test]
fn a_worker_that_only_beats_sends_no_task_events() {
    let cases = [
        ("nothing to tell it by", "b7@0 b7@2000 b7@4000", None),
        (
            "it moves and is silent",
            "b7@0 b8@2000 b8@4000",
            Some(false),
        ),
        ("not before the next heartbeat", "b7@0 b8@2000", None),
        ("late but there", "b7@0 b8@2000 s@1999 b8@4000", Some(true)),
        ("switched on", "b7@0 b8@2000 b9@4000 s@4500", Some(true)),
        (
            "switched off",
            "b7@0 s@1 b8@2000 b9@4000 b9@6000",
            Some(false),
        ),
        (
            "a gap proves nothing",
            "b7@0 s@1 b8@2000 b50@60000 b50@62000",
            Some(true),
        ),
    ];
    for (case, script, expected) in cases {
        assert_eq!(events(script), expected, "{case}");
    }
}
