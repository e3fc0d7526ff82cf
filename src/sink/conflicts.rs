//! Series that a receiver refuses for the time of their values: it has later ones, from before the clock was set back or from
//! another sender, or it accepts none that are as old.
//!
//! Nothing is wrong with such series: the next value may be accepted. They are sent with every snapshot, apart from the
//! others, so that their refusal costs nobody else. Groups are divided a few times, so that those come back sooner
//! that are accepted again.

use std::collections::VecDeque;

use crate::wire::Labels;

/// How many groups there may be; each costs a request a snapshot.
const GROUPS_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Conflicts {
    /// Have something to send.
    due: VecDeque<Vec<Labels>>,
    /// Wait for the next snapshot.
    sent: Vec<Vec<Labels>>,
}

impl Conflicts {
    /// Adds series that wait for the next snapshot.
    pub(super) fn add(&mut self, members: Vec<Labels>) {
        if members.is_empty() {
            return;
        }
        let is_full = self.due.len() + self.sent.len() >= GROUPS_MAX;
        match self.sent.last_mut().filter(|_| is_full) {
            Some(group) => group.extend(members),
            None => self.sent.push(members),
        }
    }

    /// There are new values: all may be sent.
    pub(super) fn begin_snapshot(&mut self) {
        self.due.extend(self.sent.drain(..));
    }

    /// A group to send.
    pub(super) fn next(&mut self) -> Option<Vec<Labels>> {
        self.due.pop_front()
    }

    /// Adds series that have something to send, to those that are next.
    pub(super) fn join(&mut self, members: Vec<Labels>) {
        match self.due.front_mut() {
            Some(group) => group.extend(members),
            None => self.put_back(members),
        }
    }

    /// Adds a group that has something to send.
    pub(super) fn put_back(&mut self, members: Vec<Labels>) {
        if !members.is_empty() {
            self.due.push_front(members);
        }
    }

    /// A group was refused again, and waits for the next snapshot.
    pub(super) fn refused(&mut self, mut members: Vec<Labels>) {
        if members.len() > 1 && self.due.len() + self.sent.len() + 1 < GROUPS_MAX {
            let half = members.split_off(members.len() / 2);
            self.sent.push(half);
        }
        self.add(members);
    }
}
