//! What was reported about an attempt and its task: one byte, since there may be a million tasks.

/// Several bools in a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    /// `due` (or `next_due` while the task runs) is an ETA that only the worker reported, so it is
    /// not the start of a queue wait.
    pub(super) const ETA_ONLY: Self = Self(1);
    /// The queue wait of this attempt was reported.
    pub(super) const QUEUE_WAITED: Self = Self(2);
    /// The prefetch wait of this attempt was reported.
    pub(super) const PREFETCH_WAITED: Self = Self(4);
    /// The turnaround of the task was reported.
    pub(super) const TURNED_AROUND: Self = Self(8);
    /// Its steps are held: the queue that they count under is not decided.
    pub(super) const HELD: Self = Self(16);
    /// The queue that its steps count under is decided.
    pub(super) const SETTLED: Self = Self(32);
    /// Another worker received the next attempt.
    pub(super) const NEXT_ELSEWHERE: Self = Self(64);

    pub(super) fn of(flags: impl IntoIterator<Item = (Self, bool)>) -> Self {
        let mut all = Self::default();
        for (flag, on) in flags {
            all.set(flag, on);
        }
        all
    }

    pub(super) const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) const fn set(&mut self, flag: Self, on: bool) {
        if on {
            self.0 |= flag.0;
        } else {
            self.0 &= !flag.0;
        }
    }

    /// Clears a flag unless `on`.
    pub(super) const fn keep_if(&mut self, flag: Self, on: bool) {
        self.set(flag, self.has(flag) && on);
    }

    /// Clears a flag. Returns whether it was set.
    pub(super) const fn take(&mut self, flag: Self) -> bool {
        let was_set = self.has(flag);
        self.set(flag, false);
        was_set
    }
}
