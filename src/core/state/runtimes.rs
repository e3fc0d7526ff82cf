//! How long the tasks of each name usually run, to tell one that runs too long.

use std::time::Duration;

use hashbrown::HashMap;

use super::Symbol;
use super::texts::{Restored, Texts};
use crate::saved;
use crate::timestamp::{ClockStep, Timestamp};

/// The most names that are kept, at about 300 bytes each, and how many of those that have not run
/// for longest make room beyond that.
const NAMES_MAX: usize = 5_000;
const ROOM: usize = NAMES_MAX / 10;

/// Four buckets for each doubling, from a millisecond to twelve days.
const BUCKETS: usize = 120;
const BUCKETS_PER_DOUBLING: f64 = 4.0;
const FIRST_SECONDS: f64 = 1.0 / 1024.0;

/// With fewer runs, nothing is usual.
const RUNS_MIN: u32 = 20;

/// With this many runs, older ones begin to lose weight.
const RUNS_MAX: u32 = 8_192;

/// The runtimes of one name.
#[derive(Clone, Debug)]
struct Distribution {
    counts: [u16; BUCKETS],
    total: u32,
    changed: Timestamp,
}

/// The runtimes of all names.
#[derive(Clone, Debug, Default)]
pub(super) struct Runtimes {
    names: HashMap<Symbol, Distribution>,
}

impl Runtimes {
    /// Records a run.
    pub(super) fn add(&mut self, name: Symbol, seconds: f64, now: Timestamp) {
        let known = self.find_or_insert(name);
        known.add(seconds);
        known.changed = now;
    }

    /// The 99th percentile of a name's runtimes in seconds, at most a fifth too high. `None` after
    /// few runs.
    pub(super) fn p99(&self, name: Symbol) -> Option<f64> {
        let known = self.names.get(&name)?;
        (known.total >= RUNS_MIN).then(|| known.p99())
    }

    /// Forgets names that have not run for `ttl`.
    pub(super) fn expire(&mut self, ttl: Duration, now: Timestamp) {
        self.names
            .retain(|_, known| now.since(known.changed) <= ttl);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        self.names.keys().copied()
    }

    pub(super) fn clock_set(&mut self, step: ClockStep) {
        for known in self.names.values_mut() {
            step.adjust(&mut known.changed);
        }
    }

    pub(super) fn stored(&self, texts: &mut Texts) -> Vec<saved::Runtimes> {
        let stored = self.names.iter().map(|(name, known)| {
            let first = known.counts.iter().position(|count| *count > 0);
            let last = known.counts.iter().rposition(|count| *count > 0);
            let (first, last) = (first.unwrap_or(0), last.map_or(0, |last| last + 1));
            let counts = known.counts[first..last].iter();
            saved::Runtimes {
                name: texts.place(Some(*name)),
                changed: known.changed.micros(),
                first: u32::try_from(first).unwrap_or(0),
                counts: counts.map(|count| u32::from(*count)).collect(),
            }
        });
        stored.collect()
    }

    /// Restores a name. Counts beyond the buckets are ignored.
    pub(super) fn restore(
        &mut self,
        saved: &saved::Runtimes,
        texts: &mut Restored<'_>,
        now: Timestamp,
    ) {
        let Some(name) = texts.name(saved.name) else {
            return;
        };
        let known = self.find_or_insert(name);
        // By our clock, which may have been set back.
        known.changed = saved::time(saved.changed).min(now);
        let first = usize::try_from(saved.first).unwrap_or(BUCKETS);
        let buckets = known.counts.iter_mut().skip(first);
        for (bucket, count) in buckets.zip(&saved.counts) {
            *bucket = u16::try_from(*count).unwrap_or_default();
        }
        known.total = known.counts.iter().copied().map(u32::from).sum();
    }

    fn find_or_insert(&mut self, name: Symbol) -> &mut Distribution {
        if self.names.len() >= NAMES_MAX && !self.names.contains_key(&name) {
            let known = self.names.iter();
            let mut idle: Vec<_> = known.map(|(name, known)| (known.changed, *name)).collect();
            idle.select_nth_unstable(ROOM);
            for (_, name) in &idle[..ROOM] {
                self.names.remove(name);
            }
        }
        self.names.entry(name).or_insert_with(|| Distribution {
            counts: [0; BUCKETS],
            total: 0,
            changed: Timestamp::default(),
        })
    }
}

impl Distribution {
    fn add(&mut self, seconds: f64) {
        if self.total >= RUNS_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().copied().map(u32::from).sum();
        }
        self.counts[bucket(seconds)] += 1;
        self.total += 1;
    }

    fn p99(&self) -> f64 {
        let rank = self.total - self.total / 100;
        let mut sum = 0;
        let reached = self.counts.iter().position(|count| {
            sum += u32::from(*count);
            sum >= rank
        });
        upper_bound(reached.unwrap_or(BUCKETS - 1))
    }
}

/// The bucket of a runtime.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "within the number of buckets"
)]
fn bucket(seconds: f64) -> usize {
    let doublings = (seconds.max(FIRST_SECONDS) / FIRST_SECONDS).log2();
    (doublings * BUCKETS_PER_DOUBLING).min(BUCKETS as f64 - 1.0) as usize
}

#[expect(clippy::cast_precision_loss, reason = "a small number")]
fn upper_bound(bucket: usize) -> f64 {
    FIRST_SECONDS * ((bucket + 1) as f64 / BUCKETS_PER_DOUBLING).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Names;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
    }

    fn with(runs: &[(f64, usize)]) -> (Runtimes, Symbol) {
        let (mut runtimes, name) = (Runtimes::default(), Names::default().intern("t"));
        for (seconds, times) in runs {
            for _ in 0..*times {
                runtimes.add(name, *seconds, at(0));
            }
        }
        (runtimes, name)
    }

    #[test]
    fn the_percentile_is_at_most_a_fifth_too_high() {
        for seconds in [0.0015, 0.02, 1.0, 59.9, 3_600.0, 500_000.0] {
            let (runtimes, name) = with(&[(seconds, 100)]);
            let p99 = runtimes.p99(name).expect("known");
            assert!((seconds..1.2 * seconds).contains(&p99), "{seconds}: {p99}");
        }
        // One run in a hundred is beyond it, two are not.
        let (runtimes, name) = with(&[(1.0, 99), (100.0, 1)]);
        assert!(runtimes.p99(name).expect("known") < 1.2);
        let (runtimes, name) = with(&[(1.0, 98), (100.0, 2)]);
        assert!(runtimes.p99(name).expect("known") > 100.0);
        // Out of range.
        let (runtimes, name) = with(&[(0.0, 20)]);
        assert!(runtimes.p99(name).expect("known") < 0.0013);
        let (runtimes, name) = with(&[(1e9, 20)]);
        assert!(runtimes.p99(name).expect("known") > 1e6);
    }

    #[test]
    fn few_runs_say_nothing_and_old_ones_lose_weight() {
        let (runtimes, name) = with(&[(1.0, 19)]);
        assert_eq!(runtimes.p99(name), None);
        let (runtimes, name) = with(&[(100.0, 8_000), (1.0, 80_000)]);
        assert!(runtimes.p99(name).expect("known") < 1.2);
        let (runtimes, name) = with(&[(1.0, 200_000)]);
        assert!(runtimes.names[&name].total <= RUNS_MAX);
    }

    #[test]
    fn names_are_bounded_and_forgotten() {
        let (mut runtimes, mut names) = (Runtimes::default(), Names::default());
        for n in 0..=NAMES_MAX {
            let name = names.intern(&n.to_string());
            runtimes.add(name, 1.0, at(i64::try_from(n).expect("small")));
        }
        assert_eq!(runtimes.names.len(), NAMES_MAX + 1 - ROOM);
        assert_eq!(runtimes.p99(names.intern("0")), None);
        runtimes.expire(Duration::from_secs(10), at(NAMES_MAX as i64));
        assert_eq!(runtimes.names.len(), 11);
    }

    #[test]
    fn a_restart_keeps_them() {
        let mut names = Names::default();
        let name = names.intern("t");
        let mut runtimes = Runtimes::default();
        for n in 0..50 {
            runtimes.add(name, f64::from(n), at(7));
        }
        let mut texts = Texts::default();
        let stored = runtimes.stored(&mut texts);
        let texts = texts.stored(&names);
        let mut again = Runtimes::default();
        let mut restored = Restored::new(&texts, &mut names);
        again.restore(&stored[0], &mut restored, at(9));
        let (before, after) = (&runtimes.names[&name], &again.names[&name]);
        assert_eq!((before.counts, before.total), (after.counts, after.total));
        assert_eq!(after.changed, at(7));
    }
}
