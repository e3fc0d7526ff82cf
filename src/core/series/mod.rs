//! What changed to samples: the table of all time series of the daemon.
//!
//! A series is a family and a label set with one value. It is found by its labels once, when somebody opens
//! it; from then on its [`SeriesId`] leads to it. Whoever opened a series closes it.
//!
//! A [`Snapshot`] is an immutable copy of all values at one instant; the parts that do not change (labels,
//! families) are shared with it and not copied. [`Captured`] is the same for the checkpoint. What comes back from one is
//! in the table and in each snapshot, but an orphan until somebody opens it.

mod family;
mod label;
mod relabel;

mod exemplar;
mod exponential;
mod histogram;
mod limit;

mod captured;
mod snapshot;
mod table;

pub use captured::Captured;
pub use exemplar::{Exemplar, Origin};
pub use exponential::{Exponential, Runs, Span};
pub use family::{Family, FamilyId, MetricKind};
pub use histogram::{Buckets, Histogram};
pub use label::{LabelName, LabelSet, is_label_name};
pub use limit::Room;
pub use relabel::{
    COMPILED_BYTES_MAX, Pattern, Relabel, Relabelled, Rule, Source, Template, may_be_label_name,
};
pub use snapshot::{Info, Row, Snapshot, Value};
pub use table::{Across, Refused, Restored, Series, SeriesId};
