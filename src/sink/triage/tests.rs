use std::collections::BTreeMap;
use std::rc::Rc;

use super::*;
use crate::clock;

const INTERVAL: Duration = Duration::from_secs(15);
const REQUEST: usize = 100;

/// Why a series is refused.
type Refuses = Rc<dyn Fn(&Labels) -> Option<Cause>>;

/// Some series with one sample a snapshot, and a receiver that refuses some of them.
struct Cluster {
    all: Vec<Labels>,
    refuses: Refuses,
    /// Whether an answer names what it refuses.
    names: bool,
    triage: Triage,
    now: Instant,
    snapshot: u64,
    /// The times that were stored, by series.
    stored: BTreeMap<Key, Vec<u64>>,
    taken: u64,
    delivered: u64,
    failed: u64,
    held: u64,
    extra: usize,
    /// Up to that time, all is too old.
    too_old: i64,
    /// Samples are sent again after a crash.
    again: bool,
}

impl Cluster {
    fn new(names: bool, refuses: impl Fn(&Labels) -> Option<Cause> + 'static) -> Self {
        let all = (0..300).map(|n| {
            let (task, le) = (format!("task.{}", n / 10), format!("{}.0", n % 10));
            Labels::of(&[("__name__", "x_bucket"), ("name", &task), ("le", &le)])
        });
        Self {
            all: all.collect(),
            refuses: Rc::new(refuses),
            names,
            triage: Triage::default(),
            now: clock::monotonic(),
            snapshot: 0,
            stored: BTreeMap::new(),
            taken: 0,
            delivered: 0,
            failed: 0,
            held: 0,
            extra: 0,
            too_old: 0,
            again: false,
        }
    }

    /// What the receiver answers: nothing, or why it refuses and which series it names.
    fn post(&mut self, series: &[Series]) -> Result<(), (Cause, HashSet<Key>)> {
        let is_old = |one: &Series| one.oldest().is_some_and(|at| at <= self.too_old);
        let cause = |one: &Series| {
            let old = is_old(one).then_some(Cause::OutOfBounds);
            (self.refuses)(&one.labels).or(old)
        };
        let bad: Vec<_> = series
            .iter()
            .filter_map(|one| Some((cause(one)?, one.labels.key)))
            .collect();
        if let Some((cause, first)) = bad.first() {
            let named = self.names.then_some(*first).into_iter().collect();
            return Err((*cause, named));
        }
        for one in series {
            let stored = self.stored.entry(one.labels.key).or_default();
            for at in one.timestamps() {
                let at = u64::try_from(at).expect("a time");
                assert!(stored.last().is_none_or(|last| *last < at), "in order");
                stored.push(at);
            }
        }
        Ok(())
    }

    fn account(&mut self, sorted: &Sorted) {
        self.delivered += sorted.delivered.samples;
        self.failed += sorted.failed.samples;
        self.held += sorted.held.samples;
    }

    fn snapshot(&mut self) {
        self.now += INTERVAL;
        self.triage.begin_snapshot(INTERVAL, self.now);
        self.records();
        self.send_apart();
        let waiting = self.taken - self.delivered - self.failed;
        assert_eq!((self.held, self.triage.points()), (waiting, waiting));
    }

    fn records(&mut self) {
        self.snapshot += 1;
        let at = i64::try_from(self.snapshot).expect("few") * 1_000;
        let all = self.all.clone().into_iter();
        let all: Vec<_> = all
            .map(|labels| Series::of_sample(labels, 1.0, at))
            .collect();
        self.taken += all.len() as u64;
        for record in all.chunks(REQUEST) {
            let sorted = self.triage.sort(record.to_vec(), self.snapshot, self.again);
            self.account(&sorted);
            let mut ordinary = sorted.ordinary;
            while !ordinary.is_empty() {
                match self.post(&ordinary) {
                    Ok(()) => {
                        self.delivered += ordinary.len() as u64;
                        break;
                    }
                    Err((cause, named)) => {
                        self.extra += 1;
                        let origin = (self.snapshot, self.again);
                        let sorted = self
                            .triage
                            .refused(ordinary, origin, cause, &named, self.now);
                        self.account(&sorted);
                        ordinary = sorted.ordinary;
                    }
                }
            }
        }
    }

    fn send_apart(&mut self) {
        let mut requests = 0;
        while let Some(parcel) = self.triage.next(REQUEST, Protocol::V2, true, self.now) {
            requests += 1;
            assert!(requests < 1_000, "it comes to an end");
            let body = parcel.body.clone();
            assert!(body.counts.points() <= REQUEST as u64);
            let series = wire::apart(&body).expect("what was written");
            match self.post(&series) {
                Ok(()) => self.triage.delivered(self.now),
                Err((cause, named)) => self.triage.parcel_refused(cause, &named, self.now),
            }
            let settled = self.triage.take_settled();
            let parts: u64 = settled.parts.iter().map(|part| part.counts.samples).sum();
            assert_eq!(
                parts,
                settled.delivered.samples + settled.failed.samples,
                "each part is settled once"
            );
            self.held -= parts;
            self.delivered += settled.delivered.samples;
            self.failed += settled.failed.samples;
        }
        self.extra += requests;
    }

    fn run(&mut self, snapshots: usize) {
        (0..snapshots).for_each(|_| self.snapshot());
    }

    /// That every good series has every sample, and that the others are known.
    fn assert_separated(&self) {
        let mut bad = 0;
        for labels in &self.all {
            let stored = self.stored.get(&labels.key).map_or(0, Vec::len) as u64;
            match (self.refuses)(labels) {
                None => assert_eq!(stored, self.snapshot, "{labels}"),
                Some(_) => bad += 1,
            }
        }
        assert_eq!(self.triage.quarantined(), bad);
        assert_eq!(self.triage.points(), 0);
    }
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
            // Not tried again within a minute.
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
        // The clock caught up.
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
    // After an outage: many snapshots of which the first are too old.
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
    cluster.again = true;
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
    let sorted = triage.refused(series(1), (1, false), Cause::Series, &named, now);
    assert_eq!(sorted.held.samples, 20);
    let sorted = triage.sort(series(2), 2, false);
    assert_eq!((sorted.held.samples, triage.points()), (20, 40));
    assert_eq!(triage.give_up(1).samples, 20);
    assert_eq!(triage.points(), 20);
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
        .refused(all, (1, false), Cause::Series, &named, cluster.now);
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
    triage.refused(series(1), (1, false), Cause::Series, &named, now);
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
