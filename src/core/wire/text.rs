//! The Prometheus text format, version 0.0.4.
//!
//! Source: "Exposition formats" in Prometheus' documentation.

use super::lines::{Exemplars, Lines, Quotes, by_family, escape};
use crate::series::{Family, Snapshot};

/// Value of `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders a snapshot as text: each family once, with help and type before its samples.
pub fn render(snapshot: &Snapshot) -> String {
    let mut page = Lines::with_room(snapshot.rows.len());
    for rows in by_family(snapshot) {
        let family = snapshot.family(&rows[0]);
        header(&mut page.out, family);
        for row in rows {
            page.row(&family.name, row, Exemplars::Hidden);
        }
    }
    page.out
}

fn header(out: &mut String, family: &Family) {
    for part in ["# HELP ", &family.name, " "] {
        out.push_str(part);
    }
    escape(out, family.help, Quotes::Kept);
    for part in ["\n# TYPE ", &family.name, " ", family.kind.name(), "\n"] {
        out.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::series::{Buckets, Family, LabelName, LabelSet, MetricKind, Room, SeriesTable};
    use crate::timestamp::Timestamp;

    #[test]
    fn a_page_has_each_family_once_with_its_header() {
        let mut series = SeriesTable::new(100, Timestamp::default());
        let buckets = Arc::new(Buckets::new(&[0.5, 1.0]).expect("in order"));
        let runtime = series.family(Family {
            name: "run_seconds".into(),
            kind: MetricKind::Histogram(buckets),
            help: "How long.",
            labels: Vec::new(),
        });
        let sent = series.family(Family {
            name: "sent_total".into(),
            kind: MetricKind::Counter,
            help: "A \\ and\na line.",
            labels: Vec::new(),
        });
        let labels = |name: &str| LabelSet::new([(LabelName::from_static("name"), name.into())]);
        let b = series
            .open(sent, labels("b\"\\\n"), Room::Limited)
            .expect("room");
        series.add(b, 2.0);
        series
            .open(sent, LabelSet::default(), Room::Limited)
            .expect("room");
        let ran = series
            .open(runtime, labels("a"), Room::Limited)
            .expect("room");
        series.observe(ran, 0.75);
        series.observe(ran, 7.0);

        let page = render(&series.snapshot(Timestamp::from_millis(5_000), false));
        let expected = r#"# HELP run_seconds How long.
# TYPE run_seconds histogram
run_seconds_bucket{name="a",le="0.5"} 0
run_seconds_bucket{name="a",le="1.0"} 1
run_seconds_bucket{name="a",le="+Inf"} 2
run_seconds_sum{name="a"} 7.75
run_seconds_count{name="a"} 2
# HELP sent_total A \\ and\na line.
# TYPE sent_total counter
sent_total 0
sent_total{name="b\"\\%0A"} 2
"#;
        assert_eq!(page, expected);
    }
}
