//! Captures all state at one instant for a checkpoint, and restores it.

use std::sync::Arc;

use super::{BrokerId, Mark, Pipeline, View};
use crate::profile::ProfileName;
use crate::timestamp::Timestamp;
use crate::{saved, series, state};

/// A cheap copy of all state. It is converted to the stored form elsewhere.
#[derive(Debug)]
pub struct Captured {
    /// The times and the version, which every part contains.
    common: saved::Checkpoint,
    clusters: Vec<Cluster>,
    views: Vec<(ProfileName, series::CapturedTable)>,
    counts: Vec<saved::Count>,
    /// For each broker, the messages that may be acknowledged once the checkpoint is on disk.
    pub marks: Vec<(BrokerId, Mark)>,
}

#[derive(Debug)]
struct Cluster {
    broker: Arc<str>,
    state: state::CapturedCluster,
    position: saved::Position,
}

impl Captured {
    /// When the state was captured.
    pub const fn at(&self) -> Timestamp {
        Timestamp::from_millis(self.common.captured_ms)
    }

    /// Converts the state to its stored form, part by part. The first part contains the daemon's
    /// own counters.
    pub fn into_parts(self) -> impl Iterator<Item = saved::Checkpoint> {
        let Self {
            common,
            clusters,
            views,
            counts,
            marks: _,
        } = self;
        let first = saved::Checkpoint {
            counts,
            ..common.clone()
        };
        let clusters = clusters.into_iter().flat_map(|cluster| {
            let broker = cluster.broker.to_string();
            cluster.state.into_saved(broker, cluster.position)
        });
        let views = views
            .into_iter()
            .flat_map(|(profile, series)| series.into_saved(profile.name()))
            .map(|view| saved::Checkpoint {
                views: vec![view],
                ..saved::Checkpoint::default()
            });
        let clusters = clusters.map(|cluster| saved::Checkpoint {
            clusters: vec![cluster],
            ..saved::Checkpoint::default()
        });
        // Series come first, because tasks in flight are counted into them.
        let parts = views.chain(clusters).map(move |part| saved::Checkpoint {
            clusters: part.clusters,
            views: part.views,
            ..common.clone()
        });
        std::iter::once(first).chain(parts)
    }
}

impl Pipeline {
    /// Whether a checkpoint is due because many messages wait for it.
    pub fn wants_checkpoint(&self) -> bool {
        self.clusters
            .iter()
            .any(|cluster| cluster.delivered.is_due())
    }

    /// Copies all state, as of now.
    pub fn capture(&mut self, now: Timestamp) -> Captured {
        for cluster in &self.clusters {
            for view in &mut self.views {
                view.profiles[cluster.id.index()].before_capture(
                    &cluster.state,
                    &mut view.series,
                    now,
                );
            }
        }
        let at = self.views.iter().map(|view| view.series.at()).max();
        let mut marks = Vec::with_capacity(self.clusters.len());
        let clusters = self.clusters.iter_mut().map(|cluster| {
            let (mut position, mark) = cluster.delivered.capture();
            position.gap_until = cluster.metrics.gap.until(now).micros();
            marks.push((cluster.id, mark));
            Cluster {
                broker: Arc::clone(&cluster.broker),
                state: cluster.state.capture(),
                position,
            }
        });
        let clusters = clusters.collect();
        let views = self.views.iter();
        Captured {
            common: saved::Checkpoint {
                at_ms: at.unwrap_or_default().millis(),
                captured_ms: now.millis(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..saved::Checkpoint::default()
            },
            clusters,
            views: views
                .map(|view| (view.name, view.series.capture()))
                .collect(),
            counts: self.telemetry.capture(),
            marks,
        }
    }

    /// Restores the stored state, part by part, before anything else is applied. State for brokers
    /// that are no longer configured is ignored. No sample was sent with a time after `start`,
    /// unless the clock was wrong at the time.
    pub fn restore(
        &mut self,
        parts: impl Iterator<Item = saved::Checkpoint>,
        start: Timestamp,
        now: Timestamp,
    ) -> NotRestored {
        let mut left = NotRestored::default();
        let mut prepared = vec![false; self.clusters.len()];
        for part in parts {
            let at = saved::time_ms(part.at_ms).min(start);
            self.telemetry.restore(&part.counts);
            for saved in &part.views {
                let mut views = self.views.iter_mut();
                if let Some(view) = views.find(|view| view.name.name() == saved.profile) {
                    left.add(view.series.restore(saved, at));
                }
            }
            for saved in &part.clusters {
                let same = |cluster: &super::Cluster| *cluster.broker == *saved.broker;
                let Some(cluster) = self.clusters.iter_mut().find(|one| same(one)) else {
                    continue;
                };
                if let Some(position) = &saved.position {
                    cluster.delivered.restore(position);
                    if position.gap_until > 0 {
                        let until = saved::time(position.gap_until);
                        cluster.metrics.gap.restore(until);
                    }
                }
                cluster.state.restore(saved, now, &mut cluster.changes);
                // The first part of a cluster contains its workers, and no tasks.
                if !std::mem::replace(&mut prepared[cluster.id.index()], true) {
                    cluster.after_restore(&mut self.views, now);
                }
                // Sets are rebuilt from their members, so tasks in flight are counted again.
                cluster.show(&mut self.views, now);
            }
        }
        for cluster in &self.clusters {
            if !prepared[cluster.id.index()] {
                cluster.after_restore(&mut self.views, now);
            }
        }
        left
    }

    /// Returns the position in a broker's stream up to which everything was applied.
    ///
    /// # Panics
    ///
    /// Panics if the broker is not configured.
    pub fn offset(&self, broker: BrokerId) -> Option<saved::Offset> {
        self.clusters[broker.index()].delivered.offset()
    }
}

impl super::Cluster {
    fn after_restore(&self, views: &mut [View], now: Timestamp) {
        for view in views {
            view.profiles[self.id.index()].after_restore(&self.state, &mut view.series, now);
        }
    }
}

/// Stored series that were not restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotRestored {
    /// Series of families that no longer exist.
    pub unknown: usize,
    /// Series beyond a limit that has been lowered.
    pub full: usize,
}

impl NotRestored {
    const fn add(&mut self, restored: series::Restored) {
        self.unknown += restored.unknown;
        self.full += restored.full;
    }
}
