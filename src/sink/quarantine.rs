//! Series that a receiver refuses, which are not sent until it is time to retry them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::verdict::Cause;
use crate::wire::{Key, Labels};

/// Initial and maximum time that a series stays here. The time doubles with each refusal.
const BACKOFF_MIN: Duration = Duration::from_secs(60);
const BACKOFF_MAX: Duration = Duration::from_secs(3_600);

/// Minimum and maximum number of groups to retry at once; the minimum applies while none is
/// accepted.
const RELEASED_MIN: usize = 2;
const RELEASED_MAX: usize = 10_000;

/// Up to this many groups, a group that is refused again is divided, because one of its series may
/// be accepted.
const GROUPS_MAX: usize = 2_000;

/// Groups of series that were refused together.
#[derive(Debug)]
pub(super) struct Quarantine {
    groups: Vec<Group>,
    /// Consecutive refusals of each series, including those being tried again.
    refusals: HashMap<Key, u32>,
    released: usize,
}

#[derive(Debug)]
struct Group {
    members: Vec<Labels>,
    cause: Cause,
    until: Instant,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            refusals: HashMap::new(),
            released: RELEASED_MIN,
        }
    }
}

impl Quarantine {
    /// Returns how many series were refused and not accepted since.
    pub(super) fn len(&self) -> usize {
        self.refusals.len()
    }

    /// Adds refused series. Returns whether none of them was refused before, and how long they
    /// stay.
    pub(super) fn add(
        &mut self,
        members: Vec<Labels>,
        cause: Cause,
        now: Instant,
    ) -> (bool, Duration) {
        let mut refusals = 0;
        for labels in &members {
            let before = self.refusals.entry(labels.key).or_default();
            *before = before.saturating_add(1);
            refusals = refusals.max(*before);
        }
        let is_new = refusals == 1;
        if !is_new {
            self.released = RELEASED_MIN;
        }
        let doubled = 1_u32 << (refusals - 1).min(16);
        let backoff = BACKOFF_MIN.saturating_mul(doubled).min(BACKOFF_MAX);
        let mut members = members;
        if !is_new && members.len() > 1 && self.groups.len() < GROUPS_MAX {
            fastrand::shuffle(&mut members);
            let half = members.split_off(members.len() / 2);
            self.put(half, cause, now + backoff);
        }
        self.put(members, cause, now + backoff);
        (is_new, backoff)
    }

    fn put(&mut self, members: Vec<Labels>, cause: Cause, until: Instant) {
        self.groups.push(Group {
            members,
            cause,
            until,
        });
    }

    /// Removes a few groups that are due, longest-waiting first, with the cause of each. Returns
    /// enough of them to honour the backoff if called once per `interval`.
    pub(super) fn due(&mut self, now: Instant, interval: Duration) -> Vec<(Vec<Labels>, Cause)> {
        let mut due: Vec<_> = (0..self.groups.len())
            .filter(|at| self.groups[*at].until <= now)
            .collect();
        due.sort_by_key(|at| self.groups[*at].until);
        let rounds = (BACKOFF_MAX.as_secs() / interval.as_secs().max(1)).max(1);
        let steady = self.groups.len() / usize::try_from(rounds).unwrap_or(usize::MAX);
        due.truncate(self.released.max(steady));
        // Remove from the end, so that earlier indexes stay valid.
        due.sort_by_key(|at| std::cmp::Reverse(*at));
        let groups = due.into_iter().map(|at| self.groups.swap_remove(at));
        groups.map(|group| (group.members, group.cause)).collect()
    }

    /// Forgets the refusals of a series. Returns whether there were any.
    pub(super) fn forget(&mut self, key: Key) -> bool {
        self.refusals.remove(&key).is_some()
    }

    /// Records that a series was accepted. Others may be accepted too, so more groups are retried
    /// at once.
    pub(super) fn accepted(&mut self, key: Key) {
        if self.forget(key) {
            let more = (self.released + 1).max(self.released * 9 / 8);
            self.released = more.min(RELEASED_MAX);
        }
    }

    /// Makes all groups due, because the receiver may have changed.
    pub(super) fn retry_all(&mut self, now: Instant) {
        self.groups.iter_mut().for_each(|group| group.until = now);
        self.refusals
            .values_mut()
            .for_each(|refusals| *refusals = 0);
    }

    /// Returns some of the series as examples for messages.
    pub(super) fn examples(&self) -> impl Iterator<Item = &Labels> {
        self.groups.iter().filter_map(|group| group.members.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const INTERVAL: Duration = Duration::from_secs(1);

    fn series(name: &str) -> Labels {
        Labels::of(&[("__name__", name)])
    }

    #[test]
    fn each_refusal_doubles_the_time_up_to_an_hour() {
        let (mut quarantine, mut now) = (Quarantine::default(), clock::monotonic());
        for (times, minutes) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
            let (is_new, backoff) = quarantine.add(vec![series("x")], Cause::Series, now);
            assert_eq!((is_new, backoff.as_secs()), (times == 0, minutes * 60));
            assert!(
                quarantine
                    .due(now + backoff - Duration::from_secs(1), INTERVAL)
                    .is_empty()
            );
            now += backoff;
            assert_eq!(
                quarantine.due(now, INTERVAL),
                [(vec![series("x")], Cause::Series)]
            );
            assert_eq!(quarantine.len(), 1, "until it is accepted");
        }
        quarantine.accepted(series("x").key);
        assert_eq!(quarantine.len(), 0);
        let again = quarantine.add(vec![series("x")], Cause::Errors, now);
        assert_eq!(again, (true, BACKOFF_MIN));
    }

    #[test]
    fn a_few_are_tried_again_at_once_and_more_once_they_are_accepted() {
        let (mut quarantine, now) = (Quarantine::default(), clock::monotonic());
        for n in 0..2_000 {
            quarantine.add(vec![series(&format!("x{n}"))], Cause::Series, now);
        }
        let later = now + BACKOFF_MIN;
        let first = quarantine.due(later, INTERVAL);
        assert_eq!(first.len(), RELEASED_MIN);
        quarantine.add(first[0].0.clone(), Cause::Series, later);
        assert_eq!(quarantine.due(later, INTERVAL).len(), RELEASED_MIN);
        let mut rounds = 0;
        loop {
            let due = quarantine.due(later, INTERVAL);
            if due.is_empty() {
                break;
            }
            due.iter()
                .flat_map(|(group, _)| group)
                .for_each(|labels| quarantine.accepted(labels.key));
            rounds += 1;
        }
        assert!(rounds < 24, "{rounds}");
        assert_eq!(
            quarantine.len(),
            4,
            "one was refused again, and three were not answered"
        );
    }

    #[test]
    fn a_group_that_is_refused_again_and_again_comes_down_to_single_series() {
        let (mut quarantine, mut now) = (Quarantine::default(), clock::monotonic());
        quarantine.add(
            (0..300).map(|n| series(&format!("x{n}"))).collect(),
            Cause::Series,
            now,
        );
        for _ in 0..12 {
            now += BACKOFF_MAX;
            loop {
                let due = quarantine.due(now, INTERVAL);
                if due.is_empty() {
                    break;
                }
                for (group, cause) in due {
                    quarantine.add(group, cause, now);
                }
            }
        }
        assert_eq!(quarantine.groups.len(), 300);
    }
}
