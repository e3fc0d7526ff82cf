//! Series of which a receiver has later samples, from before the clock was set back or from another sender.
//!
//! Nothing is wrong with such series: the next sample may be accepted. They are sent with every snapshot, apart from the
//! others, so that their refusal costs nobody else. Groups are divided a few times, so that those come back sooner
//! that are accepted again.

use std::collections::VecDeque;

use crate::wire::Labels;

/// How many groups there may be; each costs a request a snapshot.
const GROUPS_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Conflicts {
    /// Not sent since the last snapshot.
    due: VecDeque<Vec<Labels>>,
    sent: Vec<Vec<Labels>>,
}

impl Conflicts {
    /// Adds series that were refused.
    pub(super) fn add(&mut self, members: Vec<Labels>) {
        let groups = self.due.len() + self.sent.len();
        match self.sent.last_mut() {
            Some(group) if groups >= GROUPS_MAX => group.extend(members),
            _ => self.sent.push(members),
        }
    }

    /// There are new samples: all may be sent again.
    pub(super) fn begin_snapshot(&mut self) {
        self.due.extend(self.sent.drain(..));
    }

    /// A group to send.
    pub(super) fn next(&mut self) -> Option<Vec<Labels>> {
        self.due.pop_front()
    }

    /// A group was not sent for now.
    pub(super) fn put_back(&mut self, members: Vec<Labels>) {
        self.due.push_front(members);
    }

    /// A group was refused again.
    pub(super) fn refused(&mut self, mut members: Vec<Labels>) {
        if members.len() > 1 && self.due.len() + self.sent.len() + 1 < GROUPS_MAX {
            let half = members.split_off(members.len() / 2);
            self.sent.push(half);
        }
        self.add(members);
    }
}
