//! The OpenMetrics text format, version 1.0.0.
//!
//! Source: "OpenMetrics 1.0" in Prometheus' specifications. It differs from [`text`](super::text)
//! in the family names of counters, in units, exemplars, and the explicit end of the page.

use super::lines::{Exemplars, Lines, Quotes, by_family, escape};
use crate::series::{Family, MetricKind, Snapshot};

/// Suffix of each counter sample's name.
const TOTAL: &str = "_total";

/// Renders a snapshot as OpenMetrics. With `created`, each counter and histogram has an additional
/// sample with its start time.
pub fn render(snapshot: &Snapshot, created: bool) -> String {
    let mut page = Lines::with_room(snapshot.rows.len());
    for rows in by_family(snapshot) {
        let family = snapshot.family(&rows[0]);
        let (name, kind) = declared(family);
        header(&mut page.out, family, name, kind);
        let counts = matches!(kind, "counter" | "histogram");
        let exemplars = if counts {
            Exemplars::Shown
        } else {
            Exemplars::Hidden
        };
        for row in rows {
            page.row(&family.name, row, exemplars);
            if created && counts {
                page.created(name, row.info.after);
            }
        }
    }
    page.out.push_str("# EOF\n");
    page.out
}

/// Returns the name and type of a family. A counter family has no `_total`, unlike its samples. If
/// the samples have none either, because another exporter uses that name, the name is kept and the
/// type omitted: a different name would make it a different series.
fn declared(family: &Family) -> (&str, &'static str) {
    match (&family.kind, family.name.strip_suffix(TOTAL)) {
        (MetricKind::Counter, Some(name)) => (name, "counter"),
        (MetricKind::Counter, None) => (&family.name, "unknown"),
        (MetricKind::Gauge | MetricKind::Histogram(_), _) => (&family.name, family.kind.name()),
    }
}

fn header(out: &mut String, family: &Family, name: &str, kind: &str) {
    for part in ["# TYPE ", name, " ", kind, "\n"] {
        out.push_str(part);
    }
    let unit = family.unit();
    // The unit must be a suffix of the name, which it is not for a gauge named `…_seconds_total`.
    if !unit.is_empty() && name.ends_with(unit) {
        for part in ["# UNIT ", name, " ", unit, "\n"] {
            out.push_str(part);
        }
    }
    for part in ["# HELP ", name, " "] {
        out.push_str(part);
    }
    escape(out, family.help, Quotes::Escaped);
    out.push('\n');
}

#[cfg(test)]
mod tests;
