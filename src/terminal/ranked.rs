//! Which columns of a table matter most.

use crate::status::columns::Row;
use crate::status::document::{BrokerRow, PeriodicRow, QueueRow, ReceiverRow, TaskRow, WorkerRow};

/// What the terminal needs to know about a row beyond its columns.
pub(super) trait Ranked: Row {
    const TITLE: &'static str;
    /// Keys of all columns, most important first. On a narrow terminal the last ones are left out.
    const RANKS: &'static [&'static str];
}

impl Ranked for QueueRow {
    const TITLE: &'static str = "Queues";
    const RANKS: &'static [&'static str] = &[
        "queue", "waiting", "oldest", "drain", "in", "out", "busy", "wait", "history", "workers",
        "unacked",
    ];
}

impl Ranked for TaskRow {
    const TITLE: &'static str = "Tasks";
    const RANKS: &'static [&'static str] = &[
        "task", "done", "failed", "running", "runtime", "failure", "wait", "history", "queue",
        "retried", "run",
    ];
}

impl Ranked for WorkerRow {
    const TITLE: &'static str = "Workers";
    const RANKS: &'static [&'static str] = &[
        "worker",
        "since",
        "busy",
        "done",
        "prefetched",
        "load",
        "events",
        "queues",
        "clock",
        "software",
    ];
}

impl Ranked for PeriodicRow {
    const TITLE: &'static str = "Periodic tasks";
    const RANKS: &'static [&'static str] =
        &["task", "overdue", "sent", "period", "succeeded", "failed"];
}

impl Ranked for BrokerRow {
    const TITLE: &'static str = "Brokers";
    const RANKS: &'static [&'static str] = &[
        "broker", "state", "events", "lag", "gaps", "dropped", "delivery",
    ];
}

impl Ranked for ReceiverRow {
    const TITLE: &'static str = "Receivers";
    const RANKS: &'static [&'static str] = &[
        "receiver", "state", "pending", "failed", "error", "age", "dropped", "samples", "queue",
        "protocol",
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_rank() {
        fn check<R: Ranked>() {
            let mut keys: Vec<_> = R::COLUMNS.iter().map(|column| column.key).collect();
            let mut ranks = R::RANKS.to_vec();
            assert_eq!(ranks[0], keys[0], "the name is shown first");
            keys.sort_unstable();
            ranks.sort_unstable();
            assert_eq!(ranks, keys);
        }
        check::<QueueRow>();
        check::<TaskRow>();
        check::<WorkerRow>();
        check::<PeriodicRow>();
        check::<BrokerRow>();
        check::<ReceiverRow>();
    }
}
