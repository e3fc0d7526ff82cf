//! Turns changes into samples: the table of all time series of the daemon.
//!
//! A series is a family and a label set with one value. It is looked up by its labels once, when it
//! is opened; from then on its [`SeriesId`] refers to it directly. Every caller that opens a series
//! must close it.
//!
//! A [`Snapshot`] is an immutable copy of all values at one instant; the parts that do not change
//! (labels, families) are shared rather than copied. [`CapturedTable`] is the equivalent for the
//! checkpoint. Series restored from a checkpoint are in the table and in every snapshot, but remain
//! orphans until a caller opens them.

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

pub use captured::CapturedTable;
pub use exemplar::{Exemplar, Origin};
pub use exponential::{Exponential, Runs, Span};
pub use family::{Family, FamilyId, MetricKind};
pub use histogram::{Buckets, Histogram};
pub use label::{LabelName, LabelSet, is_label_name};
pub use limit::Room;
pub use relabel::{
    COMPILED_BYTES_MAX, Pattern, Relabel, Relabelled, Rule, Source, Template, may_be_label_name,
};
pub use snapshot::{Info, Peek, Row, Snapshot, Value};
pub use table::{Refused, RestartPolicy, Restored, SeriesId, SeriesTable};
