//! Compares two pages of metrics: an exporter's and ours.

use super::exposition::{Exposition, Series};

/// An allowed difference, and the reason.
#[derive(Debug)]
pub struct Difference {
    /// The name of the family.
    pub family: &'static str,
    /// Labels that a series must have for this to apply.
    pub labels: &'static [(&'static str, &'static str)],
    pub rule: Rule,
    pub why: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Only ours has it.
    Ours,
    /// Only ours may have it, with value 0.
    OursAtZero,
    /// Ours has this value, and theirs has another.
    OursIs(f64),
    /// The values differ by no more than this.
    Within(f64),
    /// The values are distributed differently over a label, but their sum is the same.
    SumOver(&'static str),
}

/// How exact histograms are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Durations {
    /// Both pages cover the same events: buckets and sums agree, except where each exporter used its own clock.
    Same,
    /// The pages are from two runs: only the counts agree.
    OfAnotherRun,
}

/// Families observed at the time of receipt, or by the exporter's own clock: only the counts agree.
const OF_OWN_CLOCK: [&str; 3] = [
    "celery_task_latency",
    "celery_tasks_latency_seconds",
    "celery_task_queuetime_seconds",
];

/// A gauge that holds a duration computed from the events' own times.
const GAUGE_OF_DURATION: &str = "flower_task_prefetch_time_seconds";

/// Returns the differences that are not allowed, one per line.
pub fn compare(
    theirs: &Exposition,
    ours: &Exposition,
    allowed: &[Difference],
    durations: Durations,
) -> Vec<String> {
    let find = |series: &Series, with: &dyn Fn(Rule) -> bool| {
        let family = theirs.family(ours.family(&series.name)).to_owned();
        allowed.iter().find(|difference| {
            difference.family == family && series.has(difference.labels) && with(difference.rule)
        })
    };
    let summed = |page: &Exposition| {
        page.relabelled(|series| {
            let mut series = series.clone();
            let row = find(&series, &|rule| matches!(rule, Rule::SumOver(_)));
            if let Some(Rule::SumOver(label)) = row.map(|row| row.rule) {
                series.labels.remove(label);
            }
            series
        })
    };
    let mut wrong = Vec::new();
    let (their_samples, our_samples) = (summed(theirs).samples, summed(ours).samples);
    for (series, their) in &their_samples {
        let row = find(series, &|rule| {
            matches!(rule, Rule::OursIs(_) | Rule::Within(_))
        });
        let Some(our) = our_samples.get(series) else {
            wrong.push(format!("missing on ours: {series} {their}"));
            continue;
        };
        let own_clock = OF_OWN_CLOCK.contains(&theirs.family(&series.name));
        let same_durations = durations == Durations::Same && !own_clock;
        let agrees = match (row.map(|row| row.rule), part(theirs, series)) {
            (Some(Rule::OursIs(value)), _) => *our == value && *their != value,
            (_, Part::Duration) if !same_durations => true,
            // Floating-point sums in different orders.
            (_, Part::Duration) => (our - their).abs() <= 1e-5,
            (Some(Rule::Within(tolerance)), Part::Count) => (our - their).abs() <= tolerance,
            (_, Part::Count) => our == their,
        };
        if !agrees {
            let but = row.map_or_else(String::new, |row| format!(" ({:?}: {})", row.rule, row.why));
            wrong.push(format!("{series}: theirs {their}, ours {our}{but}"));
        }
    }
    for (series, our) in &our_samples {
        let row = find(series, &|rule| match rule {
            Rule::Ours => true,
            Rule::OursAtZero => *our == 0.0,
            Rule::OursIs(_) | Rule::Within(_) | Rule::SumOver(_) => false,
        });
        if row.is_none() && !their_samples.contains_key(series) {
            wrong.push(format!("only on ours: {series} {our}"));
        }
    }
    for family in theirs
        .samples
        .keys()
        .map(|series| theirs.family(&series.name))
    {
        let (their, our) = (theirs.types.get(family), ours.types.get(family));
        let line = format!("type of {family}: theirs {their:?}, ours {our:?}");
        if their != our && !wrong.contains(&line) {
            wrong.push(line);
        }
    }
    wrong
}

enum Part {
    /// A counter, a gauge, or the count of a histogram.
    Count,
    /// A value that depends on durations.
    Duration,
}

fn part(page: &Exposition, series: &Series) -> Part {
    let family = page.family(&series.name);
    if family == GAUGE_OF_DURATION {
        return Part::Duration;
    }
    let depends = match series.name.strip_prefix(family) {
        Some("_bucket") => series.labels["le"] != "inf",
        Some("_sum") => true,
        _ => false,
    };
    if depends { Part::Duration } else { Part::Count }
}
