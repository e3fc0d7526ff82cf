//! Process-wide bounds: the memory budget, and counts of how often each limit was reached.
//!
//! All data that external input can make grow is counted here in bytes: added on insertion,
//! subtracted on removal. The size of an entry is estimated from its strings and includes its
//! copies: in snapshots, on pages, in what was sent to each receiver, and in a checkpoint that is
//! being written. [`Bounds`] is a few atomics, so the cost per event is negligible.
//!
//! Each part has a reserved share of the budget. The rest is shared by all parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The parts that share the memory budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Names of tasks, queues and workers, and other strings from events.
    Texts,
    Tasks,
    Workers,
    Series,
    /// Messages that were received but not processed yet.
    Buffers,
}

impl Part {
    pub const ALL: [Self; 5] = [
        Self::Texts,
        Self::Tasks,
        Self::Workers,
        Self::Series,
        Self::Buffers,
    ];

    /// Returns the value of the label `part`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Texts => "texts",
            Self::Tasks => "tasks",
            Self::Workers => "workers",
            Self::Series => "series",
            Self::Buffers => "buffers",
        }
    }

    /// Returns the reserved share, in sixteenths of the budget. A third of the budget is not
    /// reserved.
    const fn share(self) -> u64 {
        match self {
            Self::Texts | Self::Tasks | Self::Buffers => 2,
            Self::Workers => 1,
            Self::Series => 4,
        }
    }
}

/// The limits on external input. Each counts how often it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The length of a string.
    TextBytes,
    /// The memory for strings.
    TextMemory,
    /// The memory for tasks.
    TaskMemory,
    /// The memory for workers.
    WorkerMemory,
    /// The memory for series.
    SeriesMemory,
    /// The memory for waiting messages.
    BufferMemory,
    /// `metrics.max_series`.
    Series,
    /// `metrics.max_exceptions`.
    Exceptions,
    /// `metrics.max_queues`.
    Queues,
    /// `metrics.max_tasks`.
    Tasks,
    /// Workflows and their tasks.
    Workflows,
    /// Remembered tasks that have ended.
    EndedTasks,
    Workers,
    /// Events that are held until their task's queue is known.
    HeldEvents,
    /// Bindings reported by brokers and workers.
    Bindings,
    /// Queues remembered for polling.
    WatchedQueues,
    /// Task names whose periods are learned.
    PeriodicTasks,
    /// Polled queues of a broker.
    PolledQueues,
    /// Worker replies per round, and the length of each.
    Replies,
    /// Entries of a list in a reply.
    ReplyItems,
    /// The length of a task id in an exemplar.
    ExemplarBytes,
    /// Metric names created by relabeling.
    RelabelledFamilies,
}

impl Limit {
    pub const ALL: [Self; 22] = [
        Self::TextBytes,
        Self::TextMemory,
        Self::TaskMemory,
        Self::WorkerMemory,
        Self::SeriesMemory,
        Self::BufferMemory,
        Self::Series,
        Self::Exceptions,
        Self::Queues,
        Self::Tasks,
        Self::Workflows,
        Self::EndedTasks,
        Self::Workers,
        Self::HeldEvents,
        Self::Bindings,
        Self::WatchedQueues,
        Self::PeriodicTasks,
        Self::PolledQueues,
        Self::Replies,
        Self::ReplyItems,
        Self::ExemplarBytes,
        Self::RelabelledFamilies,
    ];

    /// Returns the value of the label `limit`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TextBytes => "text_bytes",
            Self::TextMemory => "text_memory",
            Self::TaskMemory => "task_memory",
            Self::WorkerMemory => "worker_memory",
            Self::SeriesMemory => "series_memory",
            Self::BufferMemory => "buffer_memory",
            Self::Series => "max_series",
            Self::Exceptions => "max_exceptions",
            Self::Queues => "max_queues",
            Self::Tasks => "max_tasks",
            Self::Workflows => "workflows",
            Self::EndedTasks => "ended_tasks",
            Self::Workers => "workers",
            Self::HeldEvents => "held_events",
            Self::Bindings => "bindings",
            Self::WatchedQueues => "watched_queues",
            Self::PeriodicTasks => "periodic_tasks",
            Self::PolledQueues => "polled_queues",
            Self::Replies => "replies",
            Self::ReplyItems => "reply_items",
            Self::ExemplarBytes => "exemplar_bytes",
            Self::RelabelledFamilies => "relabelled_families",
        }
    }

    /// Returns what happens when the limit is exceeded, for the log.
    pub const fn effect(self) -> &'static str {
        match self {
            Self::TextBytes => "long names and ids are truncated and end in a hash",
            Self::TextMemory => "new names are counted as (other)",
            Self::TaskMemory => "the least recently updated tasks are evicted",
            Self::WorkerMemory => "new workers are not tracked",
            Self::SeriesMemory => "new series are counted in (other)",
            Self::BufferMemory => "the oldest messages are dropped",
            Self::Series => "new series are counted in (other)",
            Self::Exceptions => "further exceptions of a task are counted as (other)",
            Self::Queues => "further queues of a task are counted as (other)",
            Self::Tasks => "the least recently updated tasks are evicted and count as lost",
            Self::Workflows => "the least recently active workflows are not tracked",
            Self::EndedTasks => "late or repeated events of older tasks may be counted again",
            Self::Workers => "new workers are not tracked",
            Self::HeldEvents => "events are counted before their task's queue is known",
            Self::Bindings => "queues of further exchanges are not recognized",
            Self::WatchedQueues => "the queues referenced longest ago are not polled",
            Self::PeriodicTasks => "the periods of the least recently sent tasks are forgotten",
            Self::PolledQueues => "the last queues in alphabetical order are not polled",
            Self::Replies => "worker replies that are too long or too many are not read",
            Self::ReplyItems => "further tasks, queues and names in a worker's reply are not read",
            Self::ExemplarBytes => "tasks with long ids have no exemplars",
            Self::RelabelledFamilies => "series with further metric names are dropped",
        }
    }
}

/// Smallest usable budget: less leaves no room for anything but the process itself.
pub const MEMORY_MIN: u64 = 64 << 20;

/// Memory used outside the parts: the program, its threads, and everything with its own limit, such
/// as batches in flight (16 MiB) and held events (13 MiB).
const FIXED_BYTES: u64 = 48 << 20;

/// Bytes per sample in the table, in snapshots and on a page, measured with counters. A histogram
/// sample needs less.
const SAMPLE_BYTES: u64 = 600;

/// Additional bytes per sample with checkpoints: two exist at a time, one of them waiting, together
/// with the snapshots that wait for them.
const KEPT_BYTES: u64 = 600;

/// Bytes that each remote-write receiver keeps per sample sent.
const SENT_BYTES: u64 = 1_000;

/// The budget and the counts. Clones share them.
#[derive(Clone, Debug)]
pub struct Bounds(Arc<Cells>);

#[derive(Debug)]
struct Cells {
    memory: u64,
    sample_bytes: u64,
    used: [AtomicU64; Part::ALL.len()],
    reached: [AtomicU64; Limit::ALL.len()],
}

impl Default for Bounds {
    /// Returns bounds without a memory budget.
    fn default() -> Self {
        Self::new(u64::MAX, false, 0)
    }
}

impl Bounds {
    /// Creates bounds with a budget of `memory` bytes for a process that writes checkpoints if
    /// `keeps` is set, and has `receivers` remote-write receivers.
    pub fn new(memory: u64, keeps: bool, receivers: usize) -> Self {
        let kept_bytes = if keeps { KEPT_BYTES } else { 0 };
        Self(Arc::new(Cells {
            memory,
            sample_bytes: SAMPLE_BYTES + kept_bytes + SENT_BYTES * receivers as u64,
            used: Default::default(),
            reached: Default::default(),
        }))
    }

    /// Returns the budget of the process in bytes.
    pub fn memory(&self) -> u64 {
        self.0.memory
    }

    /// Returns the size of a sample without its labels, in bytes.
    pub fn sample_bytes(&self) -> u64 {
        self.0.sample_bytes
    }

    /// Adds bytes to the usage of a part.
    pub fn claim(&self, part: Part, bytes: u64) {
        self.0.used[part as usize].fetch_add(bytes, Relaxed);
    }

    /// Subtracts bytes from the usage of a part.
    pub fn release(&self, part: Part, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.0.used[part as usize].fetch_update(Relaxed, Relaxed, less);
    }

    /// Returns the current usage of a part in bytes.
    pub fn used(&self, part: Part) -> u64 {
        self.0.used[part as usize].load(Relaxed)
    }

    /// Returns whether a part may use that many more bytes, from its own share or from the
    /// unreserved rest.
    pub fn has_room(&self, part: Part, bytes: u64) -> bool {
        let memory = self.0.memory;
        // An eighth is reserved for fragmentation in the allocator.
        let budget = (memory - FIXED_BYTES.min(memory / 4)) / 8 * 7;
        let share = |part: Part| budget / 16 * part.share();
        let wanted = self.used(part).saturating_add(bytes);
        // Its own share is always available, even if another part exceeds its share: some overflow
        // series are added regardless of the budget.
        if wanted <= share(part) {
            return true;
        }
        let others = Part::ALL.into_iter().filter(|other| *other != part);
        let others = others.map(|other| self.used(other).max(share(other)));
        others.fold(wanted, u64::saturating_add) <= budget
    }

    pub fn reached(&self, limit: Limit) {
        self.0.reached[limit as usize].fetch_add(1, Relaxed);
    }

    /// Returns how often a limit was reached.
    pub fn times(&self, limit: Limit) -> u64 {
        self.0.reached[limit as usize].load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_part_has_its_share_whatever_the_others_take() {
        // 224 MiB remain for the parts, so a sixteenth is 14 MiB.
        let bounds = Bounds::new(304 * MIB, false, 0);
        let own = 28 * MIB;
        let free = 70 * MIB;
        assert!(bounds.has_room(Part::Texts, own + free));
        assert!(!bounds.has_room(Part::Texts, own + free + 1));

        bounds.claim(Part::Texts, own + free);
        for (part, share) in [(Part::Tasks, 28), (Part::Workers, 14), (Part::Series, 56)] {
            assert!(bounds.has_room(part, share * MIB), "{part:?}");
            assert!(!bounds.has_room(part, share * MIB + 1), "{part:?}");
        }
        bounds.release(Part::Texts, free);
        assert!(bounds.has_room(Part::Workers, 84 * MIB));
    }

    #[test]
    fn a_small_budget_leaves_most_of_itself_and_none_means_no_bound() {
        let small = Bounds::new(16 * MIB, false, 0);
        assert!(small.has_room(Part::Series, 3 * MIB));
        assert!(!small.has_room(Part::Series, 12 * MIB));
        assert!(Bounds::default().has_room(Part::Tasks, 1 << 60));
    }
}
