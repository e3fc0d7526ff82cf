//! A compressed record of the sends of one task in the past weeks: runs of equal gaps.
//!
//! `*/15 9-17 * * mon-fri` takes one run a day. Times are in seconds since the epoch.

use std::collections::VecDeque;

use super::calendar::DAY;

/// Most runs kept; the oldest go first. With 12 bytes each, they are the largest part of a
/// name.
pub(super) const RUNS_MAX: usize = 112;

/// How long runs are kept: two weeks to look up, and one to spare.
const KEPT: i64 = 22 * DAY;

/// Consecutive sends with about the same gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) gaps: u16,
    /// Whether sends may have been missed between the previous run and this one.
    pub(super) unseen: bool,
}

impl Run {
    const fn first(&self) -> i64 {
        self.first as i64
    }

    const fn last(&self) -> i64 {
        self.last as i64
    }

    fn gap(&self) -> Option<i64> {
        let gaps = i64::from(self.gaps);
        (gaps > 0).then(|| (self.last() - self.first()) / gaps)
    }

    /// The position of the last send at or before `at`, which is within the run.
    fn position(&self, at: i64) -> i64 {
        let length = self.last() - self.first();
        if length == 0 {
            return 0;
        }
        (at.min(self.last()) - self.first()) * i64::from(self.gaps) / length
    }

    fn send(&self, position: i64) -> i64 {
        let gaps = i64::from(self.gaps).max(1);
        self.first() + (self.last() - self.first()) * position / gaps
    }
}

/// The sends of one task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tape {
    runs: VecDeque<Run>,
}

impl Tape {
    /// Adds a send. `seen` is whether everything since the previous one was observed.
    pub(super) fn push(&mut self, at: u32, seen: bool) {
        if let Some(run) = self.runs.back_mut()
            && seen
            && run.gaps < u16::MAX
        {
            let gap = i64::from(at) - run.last();
            let fits = run.gap().is_none_or(|usual| {
                let slack = (usual / 10).max((usual / 2).min(30));
                (gap - usual).abs() <= slack
            });
            if fits {
                run.last = at;
                run.gaps += 1;
                return;
            }
        }
        let full = self.runs.len() >= RUNS_MAX;
        let is_old = |run: &Run| run.last() < i64::from(at) - KEPT;
        while full && self.runs.len() >= RUNS_MAX || self.runs.front().is_some_and(is_old) {
            self.runs.pop_front();
        }
        if self.runs.len() == 1 && self.runs.capacity() < RUNS_MAX {
            // The only allocation for a name whose gaps are not all equal.
            self.runs.reserve_exact(RUNS_MAX - 1);
        }
        self.runs.push_back(Run {
            first: at,
            last: at,
            gaps: 0,
            unseen: !seen,
        });
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }

    /// Whether all gaps are equal, so that there is nothing to look up.
    pub(super) fn is_one_run(&self) -> bool {
        self.runs.len() <= 1
    }

    /// The oldest send.
    pub(super) fn start(&self) -> Option<i64> {
        self.runs.front().map(Run::first)
    }

    /// The last send within `near` seconds of `at`: the gaps before and after it, and when the next
    /// one followed.
    pub(super) fn around(&self, at: i64, near: i64) -> Option<Around> {
        let after = self.runs.partition_point(|run| run.first() <= at + near);
        let index = after.checked_sub(1)?;
        let run = self.runs.get(index)?;
        let position = run.position(at + near);
        let found = run.send(position);
        if found < at - near {
            return None;
        }
        let before = if position > 0 {
            Some(run.send(position - 1))
        } else {
            let previous = index.checked_sub(1).and_then(|index| self.runs.get(index));
            previous.filter(|_| !run.unseen).map(Run::last)
        };
        let next = if position < i64::from(run.gaps) {
            Some(run.send(position + 1))
        } else {
            let next = self.runs.get(index + 1).filter(|next| !next.unseen);
            next.map(Run::first)
        };
        Some(Around {
            found,
            before,
            next,
        })
    }

    /// The memory allocated for runs, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        (self.runs.capacity() * size_of::<Run>()) as u64
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    /// Restores runs, oldest first. Those out of order are ignored.
    pub(super) fn restored(runs: impl Iterator<Item = Run>, until: u32) -> Self {
        let mut tape = Self::default();
        for run in runs.take(RUNS_MAX) {
            let is_next = tape.runs.back().is_none_or(|last| last.last < run.first);
            let is_run = run.first <= run.last && (run.gaps > 0) == (run.first < run.last);
            if is_next && is_run && run.last <= until {
                if tape.runs.len() == 1 {
                    tape.runs.reserve_exact(RUNS_MAX - 1);
                }
                tape.runs.push_back(run);
            }
        }
        tape
    }
}

/// A send and its neighbors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Around {
    pub(super) found: i64,
    /// The previous send, unless one may have been missed.
    pub(super) before: Option<i64>,
    pub(super) next: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_gaps_take_one_run_and_each_send_is_found_again() {
        let mut tape = Tape::default();
        // Sends at 9:00, 9:15 … 17:45 on three days, up to 2 seconds late.
        let day = u32::try_from(DAY).expect("small");
        let sends: Vec<u32> = (0..3)
            .flat_map(|n| (36..72).map(move |q| n * day + q * 900 + (n + q) % 3))
            .collect();
        for at in &sends {
            tape.push(*at, true);
        }
        assert_eq!(tape.runs().count(), 3);
        for around in sends.windows(3) {
            let [before, at, next] = [around[0], around[1], around[2]].map(i64::from);
            let found = tape.around(at, 25).expect("a send");
            let near = |found: Option<i64>, at: i64| found.is_some_and(|it| (it - at).abs() <= 2);
            assert!(near(Some(found.found), at), "{at}");
            assert!(near(found.before, before) && near(found.next, next), "{at}");
        }
        assert_eq!(tape.around(10 * 3_600 + 300, 25), None);
        assert_eq!(tape.around(100, 25), None);
        let last = tape
            .around(i64::from(sends[107]), 25)
            .expect("the last send");
        assert_eq!(last.next, None);
    }

    #[test]
    fn a_gap_that_was_not_observed_has_no_length() {
        let mut tape = Tape::default();
        for (at, seen) in [(0, true), (100, true), (900, false), (1_000, true)] {
            tape.push(at, seen);
        }
        let found = [100, 900].map(|at| tape.around(at, 5).expect("a send"));
        assert_eq!((found[0].before, found[0].next), (Some(0), None));
        assert_eq!((found[1].before, found[1].next), (None, Some(1_000)));
    }

    #[test]
    fn irregular_sends_cost_the_oldest_runs_and_no_more_memory() {
        let mut tape = Tape::default();
        let mut at = 0;
        for n in 0..10_000_u32 {
            at += 10 + n * n % 977;
            tape.push(at, true);
        }
        assert_eq!(tape.runs().count(), RUNS_MAX);
        assert!(tape.bytes() < 1_800, "{}", tape.bytes());
    }
}
