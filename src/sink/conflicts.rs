//! Series that a receiver refuses for the time of their values: it has later ones, from before the clock was set back or from
//! another sender, or it accepts none that are as old.
//!
//! Nothing is wrong with such series: the next value may be accepted. They are sent with every snapshot, apart from the
//! others, so that their refusal costs nobody else. One that is accepted again may be among others that never are: every
//! few snapshots they are searched anew.

use crate::wire::Labels;

/// After how many snapshots with a refusal they are searched anew.
const SEARCHED: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Conflicts {
    /// Have something to send.
    due: Vec<Labels>,
    /// Wait for the next snapshot.
    sent: Vec<Labels>,
    refused: bool,
    snapshots: u32,
}

impl Conflicts {
    /// There are new values: all may be sent. Returns those that are to be searched in place of that.
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

    /// All that have something to send.
    pub(super) fn take(&mut self) -> Vec<Labels> {
        std::mem::take(&mut self.due)
    }

    /// A request with some of them was refused.
    pub(super) const fn refused(&mut self) {
        self.refused = true;
    }
}
