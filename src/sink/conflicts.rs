//! Series that a receiver refuses because of the time of their values: it has later ones (from
//! before the clock was set back, or from another sender), or it does not accept values that old.
//!
//! Nothing is wrong with such series, and the next value may be accepted. They are sent with every
//! snapshot, separately from the others, so that a refusal does not affect those. A series that is
//! accepted again may share requests with series that never are, so the search for the refused ones
//! is repeated every few snapshots.

use crate::wire::Labels;

/// Number of snapshots with a refusal after which the search is repeated.
const SEARCHED: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Conflicts {
    /// Series that have something to send.
    due: Vec<Labels>,
    /// Series that wait for the next snapshot.
    sent: Vec<Labels>,
    refused: bool,
    snapshots: u32,
}

impl Conflicts {
    /// Starts a snapshot: every series has a new value to send. Returns the series to search
    /// instead, if a new search is due.
    pub(super) fn begin_snapshot(&mut self) -> Vec<Labels> {
        self.due.append(&mut self.sent);
        self.snapshots += u32::from(std::mem::take(&mut self.refused));
        if self.snapshots < SEARCHED || self.due.len() < 2 {
            return Vec::new();
        }
        self.snapshots = 0;
        std::mem::take(&mut self.due)
    }

    /// Adds series that have something to send.
    pub(super) fn add(&mut self, members: Vec<Labels>) {
        self.due.extend(members);
    }

    /// Adds series that wait for the next snapshot.
    pub(super) fn idle(&mut self, members: Vec<Labels>) {
        self.sent.extend(members);
    }

    /// Removes and returns all series that have something to send.
    pub(super) fn drain_due(&mut self) -> Vec<Labels> {
        std::mem::take(&mut self.due)
    }

    /// Records that a request with some of these series was refused.
    pub(super) const fn refused(&mut self) {
        self.refused = true;
    }
}
