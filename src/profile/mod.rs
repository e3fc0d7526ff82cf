//! What changed to observations: how the facts about a cluster show as families.
//!
//! Each file is one way to show them. A profile opens the series that it needs, adds to them, and closes them
//! when they have not changed for long; it keeps ready handles, so that a change costs a look-up by numbers.

mod group;
mod workers;

mod native;

pub use native::{Native, NativeConfig, TaskLabels};

use std::sync::Arc;

use crate::series::{FamilyId, LabelName, LabelSet, Room, Series, SeriesId};
use crate::state::Names;
use crate::timestamp::Timestamp;

/// What a profile works with while it takes changes.
#[derive(Debug)]
pub struct Context<'a> {
    pub names: &'a Names,
    pub series: &'a mut Series,
    pub now: Timestamp,
}

/// Labels, and the one of the broker where there is one.
fn label_set(
    broker: Option<&Arc<str>>,
    labels: impl IntoIterator<Item = (&'static str, Arc<str>)>,
) -> LabelSet {
    let broker = broker.map(|broker| ("broker", Arc::clone(broker)));
    let labels = labels.into_iter().chain(broker);
    LabelSet::new(labels.map(|(name, value)| (LabelName::from_static(name), value)))
}

/// A series that does not count against the limit.
fn reserved(series: &mut Series, family: FamilyId, labels: LabelSet) -> SeriesId {
    series
        .open(family, labels, Room::Reserved)
        .expect("the reserve has no limit")
}
