//! What people are shown between two snapshots.

use std::sync::Arc;

use super::{Cluster, Pipeline};
use crate::profile::ProfileName;
use crate::series::Peek;
use crate::state::{ClusterOverview, Hint};
use crate::telemetry::metrics::OwnValue;
use crate::timestamp::Timestamp;

/// The native series and the state of every cluster, at one instant. Taking it changes nothing.
#[derive(Debug)]
pub struct Overview {
    pub at: Timestamp,
    pub series: Peek,
    /// In the order of the configured brokers.
    pub clusters: Vec<BrokerOverview>,
    pub own: Vec<OwnValue>,
}

/// The state of the cluster behind one broker.
#[derive(Debug)]
pub struct BrokerOverview {
    /// The broker's name in the log and in the daemon's own metrics.
    pub broker: Arc<str>,
    /// The value of the label `broker` of its series.
    pub label: Option<Arc<str>>,
    pub cluster: ClusterOverview,
    /// Problems with its setup, as of the newest snapshot.
    pub hints: Vec<Hint>,
}

impl Cluster {
    /// The levels of the cluster, without tasks that are not shown.
    fn overview(&self, at: Timestamp) -> ClusterOverview {
        let mut overview = self.state.overview(at);
        let shows = |name: &str| self.filter.shows_name(name);
        overview.periodic.retain(|(name, _)| shows(name));
        overview.long_running.retain(|(name, ..)| shows(name));
        let workflows = &mut overview.workflows;
        workflows.retain(|(root, _)| root.as_deref().is_none_or(shows));
        overview
    }
}

impl Pipeline {
    /// Returns everything that people are shown. `None` unless the native profile is in use.
    pub fn overview(&self, at: Timestamp) -> Option<Overview> {
        let mut views = self.views.iter();
        let view = views.find(|view| view.name == ProfileName::Native)?;
        let clusters = self.clusters.iter().map(|cluster| BrokerOverview {
            broker: Arc::clone(&cluster.broker),
            label: cluster.label.clone(),
            cluster: cluster.overview(at),
            hints: cluster.hints.clone(),
        });
        Some(Overview {
            at,
            series: view.series.peek(),
            clusters: clusters.collect(),
            own: self.telemetry.values(),
        })
    }
}
