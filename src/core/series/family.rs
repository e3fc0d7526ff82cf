//! Metric families: name, type, unit and help.

use std::mem;
use std::sync::Arc;

use super::Buckets;

/// A metric family as it is exposed.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The full name with prefix and suffix, as Prometheus shows it: `celery_task_sent_total`.
    pub name: Arc<str>,
    pub kind: MetricKind,
    /// The help text: one sentence.
    pub help: &'static str,
    /// The names of the labels that its series may have, for the reference documentation. The
    /// broker label is implied.
    pub labels: Vec<&'static str>,
}

/// The type of a family.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricKind {
    Counter,
    Gauge,
    /// With the default buckets of its series.
    Histogram(Arc<Buckets>),
}

impl MetricKind {
    /// The type's name in the text format.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

impl Family {
    /// Whether another kind is the same type, ignoring buckets.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        mem::discriminant(&self.kind) == mem::discriminant(&other.kind)
    }

    /// The unit, taken from the last word of the name before `_total`. Empty if there is none.
    pub fn unit(&self) -> &'static str {
        let name = self.name.strip_suffix("_total").unwrap_or(&self.name);
        ["seconds", "bytes", "ratio"]
            .into_iter()
            .find(|unit| name.ends_with(unit) && name[..name.len() - unit.len()].ends_with('_'))
            .unwrap_or_default()
    }
}

/// Index of a family in the table and in snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyId(pub(super) u32);

impl FamilyId {
    /// The index into [`Snapshot::families`](super::Snapshot::families).
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_of_another_type_is_another_family() {
        let histogram = |bound| {
            let buckets = Buckets::new(&[bound]).expect("a bound");
            MetricKind::Histogram(Arc::new(buckets))
        };
        let family = |kind| Family {
            name: "x".into(),
            kind,
            help: "",
            labels: Vec::new(),
        };
        let kinds = [MetricKind::Counter, MetricKind::Gauge, histogram(1.0)];
        for (n, one) in kinds.iter().enumerate() {
            for (m, other) in kinds.iter().enumerate() {
                let is_like = family(one.clone()).is_like(&family(other.clone()));
                assert_eq!(is_like, n == m, "{one:?} {other:?}");
            }
        }
        assert!(family(histogram(1.0)).is_like(&family(histogram(2.0))));
        assert_eq!(
            kinds.map(|kind| kind.name()),
            ["counter", "gauge", "histogram"]
        );
    }

    #[test]
    fn the_unit_is_read_off_the_name() {
        let cases = [
            ("celery_task_runtime_seconds", "seconds"),
            ("celeriac_broker_gap_seconds_total", "seconds"),
            ("process_resident_memory_bytes", "bytes"),
            ("celery_task_sent_total", ""),
            ("celery_milliseconds", ""),
            ("seconds", ""),
            ("celery_hit_ratio", "ratio"),
        ];
        for (name, unit) in cases {
            let family = Family {
                name: name.into(),
                kind: MetricKind::Gauge,
                help: "",
                labels: Vec::new(),
            };
            assert_eq!(family.unit(), unit, "{name}");
        }
    }
}
