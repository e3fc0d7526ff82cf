//! Polling of the broker and the workers, in addition to events.

use std::time::Duration;

use super::section::Section;
use crate::state::Shard;

/// Polling settings of a broker and its workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollConfig {
    /// Queues to watch even if no known worker consumes them.
    pub queues: Vec<String>,
    /// Time between two polls of the queues; `None`: never.
    pub queue_interval: Option<Duration>,
    /// Time between two polls over remote control; `None`: never.
    pub control_interval: Option<Duration>,
    /// Celery's `control_exchange`.
    pub control_exchange: String,
    /// Whether to turn on task events on workers that send none.
    pub enable_events: bool,
}

impl PollConfig {
    const QUEUE_INTERVAL: Duration = Duration::from_secs(15);
    const CONTROL_INTERVAL: Duration = Duration::from_secs(60);

    /// Reads the keys of a broker's section.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            queues: section.texts("queues", &[]),
            queue_interval: section.interval_or_off("queue_interval", Self::QUEUE_INTERVAL),
            control_interval: section.interval_or_off("control_interval", Self::CONTROL_INTERVAL),
            control_exchange: section.text("control_exchange", "celery"),
            enable_events: section.bool("enable_events", false),
        }
    }
}

impl PollConfig {
    /// Adapts the settings to a shard. Only one shard polls queue lengths, because sums over shards
    /// would be too high otherwise. All shards poll the workers, because a worker is counted by the
    /// shard that receives its events, and each shard turns on events on its own workers.
    #[must_use]
    pub fn of_shard(self, shard: Option<Shard>) -> Self {
        let asks_for_queues = shard.is_none_or(Shard::is_first);
        Self {
            queue_interval: self.queue_interval.filter(|_| asks_for_queues),
            ..self
        }
    }

    /// Whether anything is polled.
    pub const fn is_on(&self) -> bool {
        self.queue_interval.is_some() || self.control_interval.is_some() || self.enable_events
    }
}

impl Default for PollConfig {
    fn default() -> Self {
        Self {
            queues: Vec::new(),
            queue_interval: Some(Self::QUEUE_INTERVAL),
            control_interval: Some(Self::CONTROL_INTERVAL),
            control_exchange: "celery".to_owned(),
            enable_events: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_queues_are_asked_for_by_one_shard_and_workers_by_all() {
        let shard = |index| Some(Shard { index, count: 3 });
        let cases = [
            (None, true),
            (shard(0), true),
            (shard(1), false),
            (shard(2), false),
        ];
        for (shard, asks) in cases {
            let poll = PollConfig {
                enable_events: true,
                ..PollConfig::default()
            };
            let expected = PollConfig {
                queue_interval: poll.queue_interval.filter(|_| asks),
                ..poll.clone()
            };
            assert!(poll.queue_interval.is_some());
            assert_eq!(poll.of_shard(shard), expected, "{shard:?}");
        }
    }
}
