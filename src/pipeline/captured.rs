//! All state at one instant, to be stored; and the way back.

use std::sync::Arc;

use super::{Context, Mark, Pipeline};
use crate::profile::ProfileName;
use crate::timestamp::Timestamp;
use crate::{saved, series, state};

/// A cheap copy of all state, which is put into its stored form elsewhere.
#[derive(Debug)]
pub struct Captured {
    /// The times and the version, which are in every part.
    common: saved::Checkpoint,
    clusters: Vec<Cluster>,
    views: Vec<(ProfileName, series::Captured)>,
    counts: Vec<saved::Count>,
    /// By broker, what may be acknowledged when this is on disk.
    pub marks: Vec<Mark>,
}

#[derive(Debug)]
struct Cluster {
    broker: Arc<str>,
    state: state::Captured,
    position: saved::Position,
}

impl Captured {
    /// When it was captured.
    pub const fn at(&self) -> Timestamp {
        Timestamp::from_millis(self.common.captured_ms)
    }

    /// The stored form, part by part. The first part has the daemon's own counters.
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
            .flat_map(|(profile, series)| series.into_saved(profile.name()));
        let views = views.map(|view| saved::Checkpoint {
            views: vec![view],
            ..saved::Checkpoint::default()
        });
        let clusters = clusters.map(|cluster| saved::Checkpoint {
            clusters: vec![cluster],
            ..saved::Checkpoint::default()
        });
        // Series come first: tasks in flight are counted into them.
        let parts = views.chain(clusters).map(move |part| saved::Checkpoint {
            clusters: part.clusters,
            views: part.views,
            ..common.clone()
        });
        std::iter::once(first).chain(parts)
    }
}

impl Pipeline {
    /// Whether so much waits for a checkpoint that one is due.
    pub fn wants_checkpoint(&self) -> bool {
        self.clusters
            .iter()
            .any(|cluster| cluster.delivered.is_due())
    }

    /// Copies all state, as of now.
    pub fn capture(&mut self, now: Timestamp) -> Captured {
        let at = self.views.iter().map(|view| view.series.at()).max();
        let mut marks = Vec::with_capacity(self.clusters.len());
        let clusters = self.clusters.iter_mut().map(|cluster| {
            let (position, mark) = cluster.delivered.capture();
            marks.push(mark);
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

    /// Goes on from what is stored, part by part; before anything else is taken. What is not configured any more is left.
    /// Nothing that was put out is later than `start`, unless the clock was wrong then.
    pub fn restore(
        &mut self,
        parts: impl Iterator<Item = saved::Checkpoint>,
        start: Timestamp,
        now: Timestamp,
    ) {
        for part in parts {
            let at = Timestamp::from_millis(part.at_ms).min(start);
            self.telemetry.restore(&part.counts);
            for saved in &part.views {
                let mut views = self.views.iter_mut();
                if let Some(view) = views.find(|view| view.name.name() == saved.profile) {
                    view.series.restore(saved, at);
                }
            }
            for saved in &part.clusters {
                let same = |cluster: &super::Cluster| *cluster.broker == *saved.broker;
                let Some(at) = self.clusters.iter().position(same) else {
                    continue;
                };
                let cluster = &mut self.clusters[at];
                if let Some(position) = &saved.position {
                    cluster.delivered.restore(position);
                }
                cluster.state.restore(saved, now, &mut cluster.changes);
                // Sets are made of what is in them: what is in flight is counted anew.
                cluster.show(at, &mut self.views, now, None);
            }
        }
        for (at, cluster) in self.clusters.iter().enumerate() {
            for view in &mut self.views {
                let mut context = Context {
                    names: cluster.state.names(),
                    series: &mut view.series,
                    now,
                    origin: None,
                };
                view.profiles[at].resume(&cluster.state, &mut context);
            }
        }
    }

    /// For each broker, where an earlier process was in its stream.
    pub fn resume(&self) -> impl Iterator<Item = Option<saved::Offset>> {
        let clusters = self.clusters.iter();
        clusters.map(|cluster| cluster.delivered.resume())
    }
}
