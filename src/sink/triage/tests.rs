mod cluster;

use std::collections::BTreeMap;
use std::rc::Rc;

use super::parcels::Fault;
use super::*;
use crate::clock;
use crate::sink::flight::Failure;
use crate::wire::{self, Protocol};
use cluster::Cluster;

const INTERVAL: Duration = Duration::from_secs(15);
const REQUEST: usize = 100;

/// Returns why a series is refused.
type Refuses = Rc<dyn Fn(&Labels) -> Option<Cause>>;

fn time(at: i64) -> u64 {
    u64::try_from(at).expect("a time")
}

fn is_task(task: &'static str) -> impl Fn(&Labels) -> Option<Cause> {
    move |labels| (labels.value("name") == task).then_some(Cause::Series)
}

#[test]
fn good_series_miss_nothing_and_refused_ones_are_quarantined() {
    let scattered = |labels: &Labels| labels.key.is_multiple_of(17).then_some(Cause::Series);
    let most = |labels: &Labels| (labels.value("le") < "7.0").then_some(Cause::Series);
    let all = |_: &Labels| Some(Cause::Series);
    let cases: [(&str, Refuses); 4] = [
        ("task", Rc::new(is_task("task.7"))),
        ("scattered", Rc::new(scattered)),
        ("most", Rc::new(most)),
        ("all", Rc::new(all)),
    ];
    for (case, refuses) in cases {
        for names in [false, true] {
            let refuses = Rc::clone(&refuses);
            let mut cluster = Cluster::new(names, move |labels| refuses(labels));
            cluster.run(if names { 8 } else { 4 });
            cluster.assert_separated();
            let extra = cluster.extra;
            let failed = cluster.failed;
            // No retry within a minute.
            cluster.run(1);
            assert!(cluster.extra - extra <= 4, "{case}");
            assert_eq!(cluster.failed - failed, cluster.triage.quarantined() as u64);
        }
    }
}

#[test]
fn what_is_accepted_again_is_sent_again() {
    for names in [false, true] {
        let mut cluster = Cluster::new(names, |labels| {
            labels.key.is_multiple_of(3).then_some(Cause::Series)
        });
        cluster.run(8);
        assert!(cluster.triage.quarantined() > 50);
        let lost = cluster.failed;
        cluster.refuses = Rc::new(|_| None);
        cluster.run(40);
        assert!(
            cluster.triage.is_clear(),
            "{}",
            cluster.triage.quarantined()
        );
        let failed = cluster.failed;
        assert!(failed > lost, "until it is tried");
        cluster.run(2);
        assert_eq!(cluster.failed, failed);
    }
}

#[test]
fn series_of_which_there_are_later_values_are_not_quarantined() {
    for names in [false, true] {
        let mut cluster = Cluster::new(names, |labels| {
            (labels.value("le") == "3.0").then_some(Cause::AlreadyThere)
        });
        cluster.run(6);
        assert_eq!(cluster.triage.quarantined(), 0);
        assert!(cluster.failed > 0);
        let extra = cluster.extra;
        cluster.run(10);
        assert!(cluster.extra - extra <= 80, "{}", cluster.extra - extra);
        // The clock has caught up.
        cluster.refuses = Rc::new(|_| None);
        let failed = cluster.failed;
        cluster.run(1);
        assert_eq!(cluster.failed, failed);
        assert!(cluster.triage.is_clear());
    }
}

#[test]
fn of_what_waited_for_too_long_only_that_is_lost() {
    for names in [false, true] {
        let mut cluster = Cluster::new(names, |_| Some(Cause::OutOfBounds));
        cluster.run(3);
        cluster.refuses = Rc::new(|_| None);
        cluster.run(1);
        assert_eq!(cluster.triage.quarantined(), 0);
        assert_eq!((cluster.failed, cluster.delivered), (900, 300), "{names}");
        assert!(cluster.triage.is_clear());
    }
    // After an outage: many snapshots, the first of which are too old.
    let mut cluster = Cluster::new(false, |_| None);
    cluster.too_old = 40_000;
    cluster.triage.begin_snapshot(INTERVAL, cluster.now);
    (0..100).for_each(|_| cluster.records());
    cluster.send_apart();
    cluster.run(1);
    assert_eq!((cluster.failed, cluster.delivered), (40 * 300, 61 * 300));
    assert!(cluster.extra < 450, "{}", cluster.extra);
    assert!(cluster.triage.is_clear());
}

#[test]
fn what_may_be_stored_and_is_there_is_delivered() {
    let mut cluster = Cluster::new(false, |_| Some(Cause::AlreadyThere));
    cluster.tried = Tried::Unanswered;
    cluster.run(3);
    assert_eq!((cluster.failed, cluster.delivered), (0, 900));
    assert!(cluster.extra < 60, "{}", cluster.extra);
}

#[test]
fn series_that_end_while_they_are_suspects_or_quarantined_are_forgotten() {
    let mut cluster = Cluster::new(false, is_task("task.7"));
    cluster.run(4);
    let ended = cluster.all.clone();
    cluster
        .all
        .retain(|labels| is_task("task.7")(labels).is_none());
    assert_eq!(
        ended.len() - cluster.all.len(),
        cluster.triage.quarantined()
    );
    cluster.run(10);
    assert_eq!(cluster.triage.quarantined(), 0);
    assert!(cluster.triage.is_clear());
}

#[test]
fn what_is_given_up_leaves_the_books_in_balance() {
    let mut triage = Triage::default();
    let now = clock::monotonic();
    let series = |at| {
        let names = (0..20).map(|n| Labels::of(&[("__name__", &format!("x{n}"))]));
        let all = names.map(|labels| Series::of_sample(labels, 1.0, at));
        all.collect::<Vec<_>>()
    };
    let named = HashSet::new();
    let sorted = triage.refused(series(1), (1, Tried::Never), Cause::Series, &named, now);
    assert_eq!(sorted.held.samples, 20);
    let sorted = triage.sort(series(2), (2, Tried::Never));
    assert_eq!((sorted.held.samples, triage.waiting().samples), (20, 40));
    assert_eq!(triage.give_up(1).samples, 20);
    assert_eq!(triage.waiting().samples, 20);
}

#[test]
fn one_request_that_is_too_large_leads_to_smaller_ones() {
    let mut cluster = Cluster::new(false, is_task("task.7"));
    cluster.triage.begin_snapshot(INTERVAL, cluster.now);
    let all = cluster.all.clone().into_iter();
    let all: Vec<_> = all
        .map(|labels| Series::of_sample(labels, 1.0, 1))
        .collect();
    let named = HashSet::new();
    let sorted = cluster
        .triage
        .refused(all, (1, Tried::Never), Cause::Series, &named, cluster.now);
    assert_eq!(sorted.held.samples, 300);
    let mut sizes = Vec::new();
    while let Some(parcel) = cluster.triage.next(200, Protocol::V1, true, cluster.now) {
        let size = parcel.body.counts.samples;
        sizes.push(size);
        if size > 20 {
            cluster.triage.too_large(cluster.now);
        } else {
            cluster.triage.delivered(cluster.now);
        }
    }
    assert!(
        sizes.iter().filter(|size| **size > 20).count() <= 4,
        "{sizes:?}"
    );
}

#[test]
fn exemplars_that_are_refused_do_not_cost_the_series() {
    let mut triage = Triage::default();
    let now = clock::monotonic();
    triage.begin_snapshot(INTERVAL, now);
    let series = |at| {
        let all = (0..4).map(|n| Labels::of(&[("__name__", &format!("x{n}"))]));
        let all = all.map(|labels| Series::of_sample(labels, 1.0, at));
        let mut all: Vec<_> = all.collect();
        all[2] = all[2].clone().with_exemplar(at);
        all
    };
    let named = HashSet::new();
    triage.refused(series(1), (1, Tried::Never), Cause::Series, &named, now);
    let mut failed = Counts::default();
    while let Some(parcel) = triage.next(100, Protocol::V2, true, now) {
        if parcel.body.counts.exemplars > 0 {
            triage.parcel_refused(Cause::Series, &named, now);
        } else {
            triage.delivered(now);
        }
        failed += triage.take_settled().failed;
    }
    assert_eq!((failed.samples, failed.exemplars), (0, 1));
    assert!(triage.is_clear());
}

#[test]
fn what_a_receiver_stored_of_a_refused_request_counts_as_delivered() {
    let scattered = |labels: &Labels| labels.key.is_multiple_of(17).then_some(Cause::Series);
    let cases: [Refuses; 2] = [Rc::new(is_task("task.7")), Rc::new(scattered)];
    for refuses in cases {
        for names in [false, true] {
            let refuses = Rc::clone(&refuses);
            let mut cluster = Cluster::new(names, move |labels| refuses(labels));
            cluster.stores_in_part = true;
            cluster.run(8);
            // Another series is refused while others catch up.
            let before = Rc::clone(&cluster.refuses);
            cluster.refuses = Rc::new(move |labels| {
                let is_late = labels.value("name") == "task.8";
                is_late.then_some(Cause::Series).or_else(|| before(labels))
            });
            cluster.run(8);
            let stored: usize = cluster.stored.values().map(Vec::len).sum();
            let bad = cluster
                .all
                .iter()
                .filter(|labels| (cluster.refuses)(labels).is_some());
            let bad = bad.count();
            assert_eq!(cluster.triage.quarantined(), bad);
            // With two values of a refused series in one request, the outcome of each is unknown.
            let unknown = if names { 2 * bad as u64 } else { 0 };
            let more = cluster.delivered - stored as u64;
            assert!(more <= unknown, "{more}");
            for labels in &cluster.all {
                let stored = cluster.stored.get(&labels.key).map_or(0, Vec::len);
                let is_good = (cluster.refuses)(labels).is_none();
                let all = 16 + usize::from(names);
                assert!(!is_good || stored == all, "{labels}: {stored}");
            }
        }
    }
}

#[test]
fn series_refused_for_their_time_are_not_quarantined_among_others() {
    for names in [false, true] {
        let mut cluster = Cluster::new(names, |labels| {
            let is_late = labels.value("le") == "3.0";
            let late = is_late.then_some(Cause::AlreadyThere);
            late.or_else(|| is_task("task.7")(labels))
        });
        cluster.run(12);
        assert_eq!(cluster.triage.quarantined(), 9, "{names}");
        let labels = cluster.triage.examples().join(" ");
        assert!(labels.contains("task.7"), "{labels}");
    }
}

#[test]
fn one_that_is_accepted_again_does_not_wait_for_those_that_never_are() {
    let mut cluster = Cluster::new(false, |_| Some(Cause::AlreadyThere));
    cluster.run(4);
    let never = |labels: &Labels| labels.key.is_multiple_of(17).then_some(Cause::AlreadyThere);
    cluster.refuses = Rc::new(never);
    cluster.run(12);
    let failed = cluster.failed;
    let bad = cluster.all.iter().filter(|labels| never(labels).is_some());
    let bad = bad.count() as u64;
    cluster.run(6);
    assert_eq!((cluster.failed - failed, cluster.waiting()), (6 * bad, 0));
}

#[test]
fn a_receiver_that_takes_nothing_for_a_while_does_not_condemn_good_series() {
    for names in [false, true] {
        let mut cluster = Cluster::new(false, is_task("task.7"));
        cluster.triage.begin_snapshot(INTERVAL, cluster.now);
        cluster.records();
        let mut rejected = 0;
        while let Some(parcel) = cluster
            .triage
            .next(REQUEST, Protocol::V2, true, cluster.now)
        {
            let series = wire::apart(&parcel.body.clone()).expect("what was written");
            if rejected < 5 {
                rejected += 1;
                cluster.triage.rejected();
            } else if let Err((cause, _)) = cluster.post(&series) {
                cluster
                    .triage
                    .parcel_refused(cause, &HashSet::new(), cluster.now);
            } else {
                cluster.triage.delivered(cluster.now);
            }
        }
        let settled = cluster.triage.take_settled();
        cluster.delivered += settled.delivered.samples;
        cluster.failed += settled.failed.samples;
        cluster.held = cluster.waiting();
        cluster.names = names;
        cluster.run(4);
        assert_eq!(cluster.triage.quarantined(), 10);
    }
}

#[test]
fn errors_are_believed_only_when_others_are_accepted_in_between() {
    let breaks = |labels: &Labels| is_task("task.7")(labels).filter(|_| labels.value("le") < "3.0");
    let mut cluster = Cluster::new(false, |_| None);
    cluster.breaks_on = Rc::new(breaks);
    cluster.run(12);
    assert_eq!(cluster.triage.quarantined(), 3);
    assert_eq!(cluster.waiting(), 0);
    // Repeated outages that start during the search, right after something was accepted.
    for number in 0..20 {
        let mut cluster = Cluster::new(false, |_| None);
        cluster.breaks_on = Rc::new(breaks);
        cluster.run(1 + number % 3);
        cluster.breaks_on = Rc::new(|_| None);
        cluster.triage.begin_snapshot(INTERVAL, cluster.now);
        cluster.records();
        cluster.tick();
        cluster.is_out = true;
        let parcel = cluster
            .triage
            .next(REQUEST, Protocol::V2, true, cluster.now);
        if parcel.is_some() {
            cluster.tick();
            cluster.triage.accepted(cluster.now);
        }
        for _ in 0..4 {
            cluster.send_apart();
            cluster.now += INTERVAL;
        }
        let quarantined = cluster.triage.quarantined();
        cluster.is_out = false;
        cluster.run(3);
        assert!(quarantined <= 3, "{quarantined}");
        assert_eq!(cluster.waiting(), 0);
    }
}

#[test]
fn another_receiver_is_searched_anew() {
    let scattered = |labels: &Labels| labels.key.is_multiple_of(17).then_some(Cause::Series);
    for snapshots in 0..4 {
        let mut cluster = Cluster::new(false, scattered);
        cluster.run(snapshots);
        cluster.triage.begin_snapshot(INTERVAL, cluster.now);
        cluster.records();
        cluster.refuses = Rc::new(is_task("task.9"));
        cluster.triage.restart(cluster.now);
        cluster.run(12);
        assert_eq!(cluster.triage.quarantined(), 10);
        assert_eq!(cluster.waiting(), 0);
    }
}

#[test]
fn an_outage_that_ends_while_all_series_are_suspects_is_noticed() {
    for series in [10, 300] {
        let mut cluster = Cluster::new(false, |_| None);
        cluster.all.truncate(series);
        cluster.is_out = true;
        cluster.run(12);
        cluster.is_out = false;
        cluster.run(12);
        assert_eq!((cluster.waiting(), cluster.triage.quarantined()), (0, 0));
        assert_eq!((cluster.failed, cluster.delivered), (0, cluster.taken));
    }
}

#[test]
fn one_refusal_for_another_cause_quarantines_none_that_is_refused_for_its_time() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let others: HashSet<Key> = {
            let all = Cluster::new(false, |_| None).all;
            let some = all.iter().filter(|_| random.u8(..) < 25);
            some.map(|labels| labels.key).collect()
        };
        let expected = others.clone();
        let mut cluster = Cluster::new(false, move |labels| {
            let is_other = others.contains(&labels.key);
            Some(if is_other {
                Cause::Series
            } else {
                Cause::AlreadyThere
            })
        });
        cluster.run(8);
        let quarantined: Vec<_> = cluster
            .triage
            .states
            .iter()
            .filter(|(_, state)| **state == Suspicion::Quarantined)
            .map(|(key, _)| *key)
            .collect();
        assert!(
            quarantined.iter().all(|key| expected.contains(key)),
            "{seed}"
        );
    }
}

#[test]
fn one_value_that_is_too_large_does_not_slow_others_down() {
    let mut cluster = Cluster::new(false, |_| None);
    cluster.triage.begin_snapshot(INTERVAL, cluster.now);
    let large = cluster.all[150].key;
    let mut requests = Vec::new();
    for _ in 0..6 {
        cluster.now += INTERVAL;
        cluster.triage.begin_snapshot(INTERVAL, cluster.now);
        cluster.snapshot += 1;
        let at = i64::try_from(cluster.snapshot).expect("few") * 1_000;
        let all = cluster.all.clone().into_iter();
        let all: Vec<_> = all
            .map(|labels| Series::of_sample(labels, 1.0, at))
            .collect();
        let origin = (cluster.snapshot, Tried::Never);
        let sorted = cluster.triage.sort(all, origin);
        if !sorted.ordinary.is_empty() && cluster.snapshot == 1 {
            let named = HashSet::new();
            cluster
                .triage
                .refused(sorted.ordinary, origin, Cause::Series, &named, cluster.now);
        }
        let mut count = 0;
        while let Some(parcel) = cluster.triage.next(100, Protocol::V1, true, cluster.now) {
            count += 1;
            let series = wire::apart(&parcel.body.clone()).expect("what was written");
            if series.iter().any(|one| one.labels.key == large) {
                cluster.triage.too_large(cluster.now);
            } else {
                cluster.triage.delivered(cluster.now);
            }
        }
        requests.push(count);
    }
    assert_eq!(cluster.triage.quarantined(), 1, "{requests:?}");
    assert_eq!(cluster.waiting(), 0, "{requests:?}");
    assert!(requests[5] <= 2, "{requests:?}");
}

#[test]
fn values_of_a_long_outage_that_conflict_do_not_cost_a_request_each() {
    let mut cluster = Cluster::new(false, |_| None);
    cluster.all.truncate(10);
    cluster.refuses = Rc::new(|_| Some(Cause::AlreadyThere));
    cluster.triage.begin_snapshot(INTERVAL, cluster.now);
    (0..240).for_each(|_| cluster.records());
    let mut extra = cluster.extra;
    cluster.send_apart();
    for _ in 0..20 {
        assert!(cluster.extra - extra <= 50, "{}", cluster.extra - extra);
        extra = cluster.extra;
        cluster.snapshot();
    }
    assert_eq!(cluster.waiting(), 0);
}
