//! Labels, symbols, metadata and exemplars that break a rule.

use super::requests::*;
use strict_receiver::Version;
use strict_receiver::rules::Rule;
use strict_receiver::wire::encode::Message;

pub(super) fn of_labels() -> Vec<Case> {
    use Rule::*;
    let name = ("__name__", "x");
    vec![
        (
            "b before a",
            vec![LabelsSorted],
            vec![labelled(&[name, ("b", "1"), ("a", "1")])],
        ),
        (
            "the name at the end",
            vec![LabelsSorted],
            vec![labelled(&[("a", "1"), ("Z", "1"), name])],
        ),
        (
            "a label twice",
            vec![LabelsUnique],
            vec![labelled(&[name, ("a", "1"), ("a", "2")])],
        ),
        (
            "a digit ahead",
            vec![LabelNames],
            vec![labelled(&[("1a", "1"), name])],
        ),
        (
            "an empty name",
            vec![LabelNames],
            vec![labelled(&[("", "1"), name])],
        ),
        (
            "a reserved name",
            vec![LabelsReserved],
            vec![labelled(&[name, ("__x", "1")])],
        ),
        (
            "an empty value",
            vec![LabelValues],
            vec![labelled(&[name, ("a", "")])],
        ),
        (
            "no metric name",
            vec![MetricName],
            vec![labelled(&[("a", "1")])],
        ),
        (
            "a blank in it",
            vec![MetricName],
            vec![labelled(&[("__name__", "a b")])],
        ),
    ]
}

pub(super) fn of_messages() -> Vec<Case> {
    use Rule::*;
    let message = |message: Message| vec![send(Version::V1, &message)];
    let metadata = |kind: Option<u64>, help: u64| {
        let kind = kind.map_or_else(Message::new, |kind| Message::new().varint(1, kind));
        let parts = [(2, sample(1.0, T)), (5, kind.varint(3, help))];
        let symbols = if help == 0 { &SYMBOLS[..5] } else { &SYMBOLS };
        vec![send(Version::V2, &second(symbols, &[entry(&REFS, &parts)]))]
    };
    let both = family("x_total", 1).message(1, &series(&LABELS, &[(2, sample(1.0, T))]));
    vec![
        (
            "no sample",
            vec![SamplesThere],
            message(first(&[series(&LABELS, &[])])),
        ),
        (
            "a sample and a histogram",
            vec![SamplesXorHistograms],
            vec![gauge_with(&SYMBOLS, &[(3, native(1).message())])],
        ),
        (
            "a first symbol that says something",
            vec![SymbolsEmptyFirst],
            vec![gauge(
                &["__name__", "x", "job", "a", "zone", "Help."],
                &[0, 1, 2, 3, 4, 1],
            )],
        ),
        (
            "a symbol twice",
            vec![SymbolsUnique],
            vec![gauge(
                &["", "__name__", "x", "job", "x", "Help."],
                &[1, 2, 3, 4],
            )],
        ),
        (
            "a reference to nowhere",
            vec![SymbolsInside, LabelValues],
            vec![gauge(
                &["", "__name__", "x", "job", "a", "Help.", "zone"],
                &[1, 2, 3, 4, 6, 7],
            )],
        ),
        (
            "a symbol that nobody uses",
            vec![SymbolsUsed],
            vec![gauge(&[&SYMBOLS[..], &["more"]].concat(), &REFS)],
        ),
        (
            "half a label",
            vec![LabelRefsEven],
            vec![gauge(&SYMBOLS, &[1, 2, 3, 4, 4])],
        ),
        ("no type", vec![MetadataType], metadata(None, 5)),
        ("no help", vec![MetadataHelp], metadata(Some(GAUGE), 0)),
        ("a type 8", vec![MetadataKnownType], metadata(Some(8), 5)),
        (
            "a family without a name",
            vec![MetadataName],
            message(family("", 1)),
        ),
        ("metadata beside series", vec![MetadataApart], message(both)),
    ]
}

pub(super) fn of_exemplars() -> Vec<Case> {
    use Rule::*;
    let with = |at: &[i64], sample_at: i64| {
        let mut parts = vec![(2, sample(1.0, T + sample_at)), (5, metadata(GAUGE))];
        parts.extend(at.iter().map(|at| (4, exemplar(&[6, 7], T + at))));
        send(Version::V2, &second(&WITH_TASK, &[entry(&REFS, &parts)]))
    };
    let long = "x".repeat(122);
    let mut symbols = WITH_TASK;
    symbols[7] = &long;
    let alone = entry(&REFS, &[(4, exemplar(&[6, 7], T)), (5, metadata(GAUGE))]);
    vec![
        (
            "no time",
            vec![ExemplarTimestamp],
            vec![gauge_with(&WITH_TASK, &[(4, exemplar(&[6, 7], 0))])],
        ),
        (
            "a label twice",
            vec![ExemplarLabels],
            vec![gauge_with(&WITH_TASK, &[(4, exemplar(&[6, 7, 6, 4], T))])],
        ),
        (
            "129 characters",
            vec![ExemplarLength],
            vec![gauge_with(&symbols, &[(4, exemplar(&[6, 7], T))])],
        ),
        (
            "without its sample",
            vec![ExemplarWithSample],
            vec![send(Version::V2, &second(&WITH_TASK, &[alone]))],
        ),
        (
            "the later first",
            vec![ExemplarsAscending],
            vec![with(&[1, 0], 2)],
        ),
        (
            "an older one later",
            vec![ExemplarsAscending],
            vec![with(&[1], 1), with(&[0], 2)],
        ),
        (
            "the same once more",
            vec![ExemplarOnce],
            vec![with(&[1], 1), with(&[1], 2)],
        ),
    ]
}
