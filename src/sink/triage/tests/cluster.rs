//! Series, and a receiver that refuses some of them.

use super::*;

/// Some series with one sample per snapshot, and a receiver that refuses some of them.
pub(super) struct Cluster {
    pub(super) all: Vec<Labels>,
    pub(super) refuses: Refuses,
    /// Whether responses name the refused series.
    pub(super) names: bool,
    pub(super) triage: Triage,
    pub(super) now: Instant,
    pub(super) snapshot: u64,
    /// The stored times of each series.
    pub(super) stored: BTreeMap<Key, Vec<u64>>,
    pub(super) taken: u64,
    pub(super) delivered: u64,
    pub(super) failed: u64,
    pub(super) held: u64,
    pub(super) extra: usize,
    /// Values up to this time are too old.
    pub(super) too_old: i64,
    /// How samples were sent before; after a crash they are sent again.
    pub(super) tried: Tried,
    /// Whether the receiver stores the accepted part of a request, and refuses values older than
    /// its own.
    pub(super) stores_in_part: bool,
    /// Series whose requests get a 5xx; in an outage all requests do.
    pub(super) breaks_on: Refuses,
    pub(super) is_out: bool,
}

impl Cluster {
    pub(super) fn new(names: bool, refuses: impl Fn(&Labels) -> Option<Cause> + 'static) -> Self {
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
            tried: Tried::Never,
            stores_in_part: false,
            breaks_on: Rc::new(|_| None),
            is_out: false,
        }
    }

    /// Returns the receiver's response: success, or the cause of the refusal and the series that it
    /// names.
    pub(super) fn post(&mut self, series: &[Series]) -> Result<(), (Cause, HashSet<Key>)> {
        if self.is_out
            || series
                .iter()
                .any(|one| (self.breaks_on)(&one.labels).is_some())
        {
            return Err((Cause::Errors, HashSet::new()));
        }
        let cause = |one: &Series| {
            let is_old = one.oldest().is_some_and(|at| at <= self.too_old);
            let stored = self.stored.get(&one.labels.key);
            let newest = stored.and_then(|stored| stored.last()).copied();
            let is_behind = self.stores_in_part && one.oldest().map(time) < newest;
            let old = is_old.then_some(Cause::OutOfBounds);
            let behind = is_behind.then_some(Cause::AlreadyThere);
            (self.refuses)(&one.labels).or(old).or(behind)
        };
        let causes: Vec<_> = series.iter().map(cause).collect();
        let mut bad = causes.iter().zip(series);
        let first = bad.find_map(|(cause, one)| Some(((*cause)?, one.labels.key)));
        for (cause, one) in causes.iter().zip(series) {
            if cause.is_some() || (first.is_some() && !self.stores_in_part) {
                continue;
            }
            let stored = self.stored.entry(one.labels.key).or_default();
            for at in one.times().map(time) {
                if stored.last() == Some(&at) && self.stores_in_part {
                    continue;
                }
                assert!(stored.last().is_none_or(|last| *last < at), "in order");
                stored.push(at);
            }
        }
        match first {
            None => Ok(()),
            Some((cause, first)) => Err((cause, self.names.then_some(first).into_iter().collect())),
        }
    }

    pub(super) fn waiting(&self) -> u64 {
        self.triage.waiting().samples
    }

    pub(super) fn account(&mut self, sorted: &Sorted) {
        self.delivered += sorted.delivered.samples;
        self.failed += sorted.failed.samples;
        self.held += sorted.held.samples;
    }

    pub(super) fn snapshot(&mut self) {
        self.now += INTERVAL;
        self.triage.begin_snapshot(INTERVAL, self.now);
        self.records();
        self.send_apart();
        let waiting = self.taken - self.delivered - self.failed;
        assert_eq!((self.held, self.waiting()), (waiting, waiting));
    }

    pub(super) fn records(&mut self) {
        self.snapshot += 1;
        let at = i64::try_from(self.snapshot).expect("few") * 1_000;
        let all = self.all.clone().into_iter();
        let all: Vec<_> = all
            .map(|labels| {
                let value = Series::of_sample(labels.clone(), 1.0, at);
                // Names distinguish these from series refused for other reasons.
                if self.snapshot > 1 || !(self.stores_in_part && self.names) {
                    return value;
                }
                let mut first = Series::of_sample(labels, 0.0, at - 1);
                first.append(value);
                first
            })
            .collect();
        let counts: Counts = all.iter().map(Series::counts).sum();
        self.taken += counts.samples;
        for record in all.chunks(REQUEST) {
            let mut tried = self.tried;
            let origin = (self.snapshot, tried);
            let sorted = self.triage.sort(record.to_vec(), origin);
            self.account(&sorted);
            let mut ordinary = sorted.ordinary;
            while !ordinary.is_empty() {
                match self.post(&ordinary) {
                    Ok(()) => {
                        let counts: Counts = ordinary.iter().map(Series::counts).sum();
                        self.delivered += counts.samples;
                        self.tick();
                        self.triage.accepted(self.now);
                        break;
                    }
                    Err((Cause::Errors, _)) => {
                        let sorted = self.triage.failing(ordinary, (self.snapshot, tried));
                        self.account(&sorted);
                        ordinary = sorted.ordinary;
                    }
                    Err((cause, named)) => {
                        self.extra += 1;
                        let origin = (self.snapshot, tried);
                        tried = tried.max(Tried::Refused);
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

    pub(super) fn send_apart(&mut self) {
        let mut requests = 0;
        while let Some(parcel) = self.triage.next(REQUEST, Protocol::V2, true, self.now) {
            requests += 1;
            assert!(requests < 1_000, "it comes to an end");
            let body = parcel.body.clone();
            assert!(body.counts.points() <= REQUEST as u64);
            self.tick();
            let series = wire::apart(&body).expect("what was written");
            match self.post(&series) {
                Ok(()) => {
                    self.triage.delivered(self.now);
                    self.triage.accepted(self.now);
                }
                Err((Cause::Errors, named)) => match self.triage.failed(Failure::Error, self.now) {
                    Fault::Receiver => break,
                    Fault::Unknown => {}
                    Fault::Series => {
                        self.triage.parcel_refused(Cause::Errors, &named, self.now);
                    }
                },
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

    pub(super) fn tick(&mut self) {
        self.now += Duration::from_millis(10);
    }

    pub(super) fn run(&mut self, snapshots: usize) {
        (0..snapshots).for_each(|_| self.snapshot());
    }

    /// Asserts that every good series has every sample, and that the others are known.
    pub(super) fn assert_separated(&self) {
        let mut bad = 0;
        for labels in &self.all {
            let stored = self.stored.get(&labels.key).map_or(0, Vec::len) as u64;
            match (self.refuses)(labels) {
                None => assert_eq!(stored, self.snapshot, "{labels}"),
                Some(_) => bad += 1,
            }
        }
        assert_eq!(self.triage.quarantined(), bad);
        assert_eq!(self.waiting(), 0);
    }
}
