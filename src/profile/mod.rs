//! What changed to observations: how the facts about a cluster show as families.
//!
//! Each file is one way to show them. A profile opens the series that it needs, adds to them, and closes them
//! when they have not changed for long; it keeps ready handles, so that a change costs a look-up by numbers.

mod group;
mod native;

pub use native::{Native, NativeConfig, TaskLabels};

use crate::series::Series;
use crate::state::Names;
use crate::timestamp::Timestamp;

/// What a profile works with while it takes changes.
#[derive(Debug)]
pub struct Context<'a> {
    pub names: &'a Names,
    pub series: &'a mut Series,
    pub now: Timestamp,
}
