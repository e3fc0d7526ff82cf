//! The strict receiver sees each rule broken, and says nothing against what is sound.

use std::collections::BTreeSet;
use std::time::Duration;

use super::support::receiver::{Answer, Knows, Level, Receiver, Rule, STALE, Version, Written};
use super::support::wait_for;
use super::support::wire::encode::{Message, zigzag};

/// Milliseconds; any will do.
const T: i64 = 1_795_000_000_000;

const FIRST: [(&str, &str); 4] = [
    ("content-encoding", "snappy"),
    ("content-type", "application/x-protobuf"),
    ("x-prometheus-remote-write-version", "0.1.0"),
    ("user-agent", "test/1.0"),
];

const SECOND: [(&str, &str); 4] = [
    ("content-encoding", "snappy"),
    (
        "content-type",
        "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    ),
    ("x-prometheus-remote-write-version", "2.0.0"),
    ("user-agent", "test/1.0"),
];

/// What happens in a case, one after the other.
#[derive(Clone)]
enum Step {
    Send(Sent),
    Tell(Answer),
    /// Two requests of which the first is not answered before the second is.
    Together(Sent, Sent),
    /// The sender begins anew, with what it had kept or without.
    Restart,
    Forget,
}

#[derive(Clone)]
struct Sent {
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Sent {
    fn new(version: Version, message: &Message) -> Self {
        let body = snap::raw::Encoder::new().compress_vec(&message.0);
        let headers = match version {
            Version::V1 => FIRST,
            Version::V2 => SECOND,
        };
        Self {
            headers: headers.map(|(name, value)| (name, value.to_owned())).into(),
            body: body.expect("a block"),
        }
    }

    /// With another header, or without it.
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        if !value.is_empty() {
            self.headers.push((name, value.to_owned()));
        }
        self
    }

    async fn post(&self, receiver: &Receiver) -> Option<reqwest::Response> {
        let redirect = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().redirect(redirect);
        let mut request = client.build().expect("a client").post(receiver.url());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.body(self.body.clone()).send().await.ok()
    }
}

fn send(version: Version, message: &Message) -> Step {
    Step::Send(Sent::new(version, message))
}

// --- 1.0.

fn sample(value: f64, at: i64) -> Message {
    Message::new().double(1, value).signed(2, at)
}

/// A series of 1.0 with a sample.
fn series(labels: &[(&str, &str)], parts: &[(u64, Message)]) -> Message {
    let mut series = Message::new();
    for (name, value) in labels {
        series = series.message(1, &Message::new().text(1, name).text(2, value));
    }
    for (number, part) in parts {
        series = series.message(*number, part);
    }
    series
}

fn first(all: &[Message]) -> Message {
    let request = Message::new();
    all.iter()
        .fold(request, |request, one| request.message(1, one))
}

/// One sample of a series with these labels.
fn labelled(labels: &[(&str, &str)]) -> Step {
    send(
        Version::V1,
        &first(&[series(labels, &[(2, sample(1.0, T))])]),
    )
}

const LABELS: [(&str, &str); 2] = [("__name__", "x_total"), ("job", "celery")];

/// Samples of one series of 1.0, each by value and milliseconds behind `T`.
fn samples(samples: &[(f64, i64)]) -> Message {
    let samples = samples.iter();
    let parts = samples.map(|(value, at)| (2, sample(*value, T + at)));
    first(&[series(&LABELS, &parts.collect::<Vec<_>>())])
}

fn family(name: &str, kind: u64) -> Message {
    let metadata = Message::new()
        .varint(1, kind)
        .text(2, name)
        .text(4, "Help.");
    Message::new().message(3, &metadata)
}

// --- 2.0.

const SYMBOLS: [&str; 6] = ["", "__name__", "x_total", "job", "celery", "Help."];
const REFS: [u64; 4] = [1, 2, 3, 4];
const COUNTER: u64 = 1;
const GAUGE: u64 = 2;
const HISTOGRAM: u64 = 3;

fn metadata(kind: u64) -> Message {
    Message::new().varint(1, kind).varint(3, 5)
}

fn sample_since(value: f64, at: i64, start: i64) -> Message {
    sample(value, at).signed(3, start)
}

fn entry(refs: &[u64], parts: &[(u64, Message)]) -> Message {
    let entry = Message::new().packed(1, refs);
    let mut parts = parts.iter();
    parts
        .try_fold(entry, |entry, (number, part)| {
            Some(entry.message(*number, part))
        })
        .expect("nothing fails")
}

fn second(symbols: &[&str], entries: &[Message]) -> Message {
    let request = Message::new();
    let request = symbols
        .iter()
        .fold(request, |request, symbol| request.text(4, symbol));
    let mut all = entries.iter();
    all.try_fold(request, |request, one| Some(request.message(5, one)))
        .expect("nothing fails")
}

/// A counter of 2.0: value, milliseconds behind `T`, and since when behind `T`.
fn counter(value: f64, at: i64, start: i64) -> Message {
    let sample = sample_since(value, T + at, T + start);
    second(
        &SYMBOLS,
        &[entry(&REFS, &[(2, sample), (5, metadata(COUNTER))])],
    )
}

/// A gauge of 2.0 with these symbols and references.
fn gauge(symbols: &[&str], refs: &[u64]) -> Step {
    let parts = [(2, sample(1.0, T)), (5, metadata(GAUGE))];
    send(Version::V2, &second(symbols, &[entry(refs, &parts)]))
}

/// A gauge of 2.0 with more parts.
fn gauge_with(symbols: &[&str], parts: &[(u64, Message)]) -> Step {
    let own = [(2, sample(1.0, T)), (5, metadata(GAUGE))];
    let parts = [&own, parts].concat();
    send(Version::V2, &second(symbols, &[entry(&REFS, &parts)]))
}

fn exemplar(refs: &[u64], at: i64) -> Message {
    Message::new().packed(1, refs).double(2, 1.0).signed(3, at)
}

/// With the symbols 6 and 7 for an exemplar.
const WITH_TASK: [&str; 8] = [
    "", "__name__", "x_total", "job", "celery", "Help.", "task_id", "some-id",
];

#[derive(Clone)]
struct Native {
    count: u64,
    sum: f64,
    schema: i64,
    zero: u64,
    spans: Vec<(i64, u64)>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
    hint: u64,
    at: i64,
    start: i64,
    custom: Vec<f64>,
}

/// 1 in the zero bucket, 2 and 3 in the buckets 0 and 1, 4 in the bucket 5.
fn native(at: i64) -> Native {
    Native {
        count: 10,
        sum: 12.5,
        schema: 3,
        zero: 1,
        spans: vec![(0, 2), (3, 1)],
        deltas: vec![2, 1, 1],
        counts: vec![],
        hint: 0,
        at: T + at,
        start: T - 1,
        custom: vec![],
    }
}

impl Native {
    fn message(&self) -> Message {
        let mut message = Message::new()
            .varint(1, self.count)
            .double(3, self.sum)
            .zigzag(4, self.schema)
            .varint(6, self.zero);
        for (offset, length) in &self.spans {
            message = message.message(11, &Message::new().zigzag(1, *offset).varint(2, *length));
        }
        let deltas = self.deltas.iter().map(|delta| zigzag(*delta));
        message = message.packed(12, &deltas.collect::<Vec<_>>());
        message = self.counts.iter().fold(message, |m, c| m.double(13, *c));
        message = self.custom.iter().fold(message, |m, b| m.double(16, *b));
        message.varint(14, self.hint).signed(15, self.at)
    }

    fn send(&self) -> Step {
        let message = self.message().signed(17, self.start);
        let parts = [(3, message), (5, metadata(HISTOGRAM))];
        send(Version::V2, &second(&SYMBOLS, &[entry(&REFS, &parts)]))
    }

    fn send_first(&self) -> Step {
        let series = series(&LABELS, &[(4, self.message())]);
        send(Version::V1, &first(&[series]))
    }
}

type Case = (&'static str, Vec<Rule>, Vec<Step>);

fn of_the_protocol() -> Vec<Case> {
    use Rule::*;
    let ok = Sent::new(Version::V1, &samples(&[(1.0, 0)]));
    let ok2 = Sent::new(Version::V2, &counter(1.0, 0, -1));
    let header = |name, value: &str| vec![Step::Send(ok.clone().with(name, value))];
    let header2 = |name, value: &str| vec![Step::Send(ok2.clone().with(name, value))];
    let v2 = "application/x-protobuf; proto=io.prometheus.write.v2.Request";
    let quoted = "application/x-protobuf;proto=\"io.prometheus.write.v2.Request\"";
    let body = |body: Vec<u8>| {
        let headers = ok.headers.clone();
        vec![Step::Send(Sent { headers, body })]
    };
    let framed = {
        let mut writer = snap::write::FrameEncoder::new(Vec::new());
        std::io::Write::write_all(&mut writer, &samples(&[(1.0, 0)]).0).expect("memory");
        writer.into_inner().expect("memory")
    };
    let message = |message: Message| vec![send(Version::V1, &message)];
    let message2 = |message: Message| vec![send(Version::V2, &message)];
    vec![
        (
            "gzip",
            vec![ContentEncoding],
            header("content-encoding", "gzip"),
        ),
        (
            "no encoding",
            vec![ContentEncoding],
            header("content-encoding", ""),
        ),
        (
            "json",
            vec![ContentType],
            header("content-type", "application/json"),
        ),
        ("a blank", vec![ContentType], header2("content-type", v2)),
        ("quotes", vec![ContentType], header2("content-type", quoted)),
        (
            "2.0 as 0.1.0",
            vec![ProtocolVersion],
            header2("x-prometheus-remote-write-version", "0.1.0"),
        ),
        (
            "1.0 as 2.0.0",
            vec![ProtocolVersion],
            header("x-prometheus-remote-write-version", "2.0.0"),
        ),
        (
            "no version",
            vec![ProtocolVersion],
            header("x-prometheus-remote-write-version", ""),
        ),
        ("nobody", vec![UserAgent], header("user-agent", "")),
        (
            "a bare word",
            vec![UserAgentVersion],
            header("user-agent", "vmagent"),
        ),
        ("no snappy", vec![SnappyBlock], body(samples(&[(1.0, 0)]).0)),
        ("framed snappy", vec![SnappyBlock], body(framed)),
        (
            "a message that is cut short",
            vec![Protobuf],
            message(Message(samples(&[(1.0, 0)]).0[..20].to_vec())),
        ),
        (
            "a timestamp as double",
            vec![Protobuf],
            message(first(&[series(
                &LABELS,
                &[(2, Message::new().double(2, 1.0))],
            )])),
        ),
        (
            "a value that is not UTF-8",
            vec![Protobuf],
            message2(second(&SYMBOLS, &[]).bytes(4, b"\xff")),
        ),
        (
            "Cortex' field",
            vec![KnownFields],
            message(samples(&[(1.0, 0)]).varint(2, 1)),
        ),
        (
            "1.0 under the name of 2.0",
            vec![KnownFields],
            message2(samples(&[(1.0, 0)])),
        ),
        (
            "a start in 1.0",
            vec![KnownFields],
            message(first(&[series(&LABELS, &[(2, sample_since(1.0, T, T))])])),
        ),
        ("nothing", vec![NotEmpty], message(Message::new())),
        (
            "three of two",
            vec![SamplesPerSend],
            message(samples(&[(1.0, 0), (1.0, 1), (1.0, 2), (1.0, 3)])),
        ),
    ]
}

fn of_labels_and_metadata() -> Vec<Case> {
    use Rule::*;
    let name = ("__name__", "x");
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

fn of_the_order() -> Vec<Case> {
    use Rule::*;
    let at = |all: &[(f64, i64)]| send(Version::V1, &samples(all));
    let ok = Sent::new(Version::V1, &samples(&[(1.0, 0)]));
    let next = Sent::new(Version::V1, &samples(&[(1.0, 1)]));
    let again = |attempt: &str| Step::Send(ok.clone().with("retry-attempt", attempt));
    let tell = |answer: Answer| Step::Tell(answer);
    let counts = |value, at, start| send(Version::V2, &counter(value, at, start));
    let created = entry(&REFS, &[(2, sample(1.0, T)), (5, metadata(GAUGE))]).signed(6, T - 1);
    let silence = Answer::Silence(Duration::from_millis(300));
    vec![
        (
            "back within a request",
            vec![SamplesAscending],
            vec![at(&[(1.0, 1), (1.0, 0)])],
        ),
        (
            "back in the next",
            vec![SamplesAscending],
            vec![at(&[(1.0, 1)]), at(&[(1.0, 0)])],
        ),
        (
            "another value",
            vec![TimestampOnce],
            vec![at(&[(1.0, 0)]), at(&[(2.0, 0)])],
        ),
        (
            "a marker that went through arithmetic",
            vec![NanBits],
            vec![at(&[(f64::from_bits(0x7ff8_0000_0000_0002), 0)])],
        ),
        (
            "a series in two requests at once",
            vec![SeriesNotConcurrent],
            vec![Step::Together(ok.clone(), next)],
        ),
        (
            "a newer one first",
            vec![RetriedUnchanged],
            vec![tell(Answer::Status(503)), at(&[(1.0, 0)]), at(&[(1.0, 1)])],
        ),
        (
            "a newer one first after silence",
            vec![RetriedUnchanged],
            vec![tell(silence), at(&[(1.0, 0)]), at(&[(1.0, 1)])],
        ),
        (
            "a newer one first after a lost answer",
            vec![RetriedUnchanged],
            vec![tell(Answer::StoreAndCut), at(&[(1.0, 0)]), at(&[(1.0, 1)])],
        ),
        (
            "a newer one first after a cut",
            vec![RetriedUnchanged],
            vec![tell(Answer::CutAfter(10)), at(&[(1.0, 0)]), at(&[(1.0, 1)])],
        ),
        (
            "refused and sent again",
            vec![RefusedNotResent],
            vec![tell(Answer::Status(400)), at(&[(1.0, 0)]), at(&[(1.0, 0)])],
        ),
        (
            "seconds not waited for",
            vec![RetryAfterHonoured],
            vec![
                tell(Answer::RetryAfter(429, 5)),
                at(&[(1.0, 0)]),
                again("1"),
            ],
        ),
        (
            "a date not waited for",
            vec![RetryAfterHonoured],
            vec![
                tell(Answer::RetryAfterDate(503, 5)),
                at(&[(1.0, 0)]),
                again("1"),
            ],
        ),
        (
            "a try that does not count",
            vec![RetryAttempt],
            vec![tell(Answer::Status(500)), at(&[(1.0, 0)]), at(&[(1.0, 0)])],
        ),
        (
            "two tries with one number",
            vec![RetryAttempt],
            vec![
                tell(Answer::Status(500)),
                tell(Answer::Status(500)),
                at(&[(1.0, 0)]),
                again("1"),
                again("1"),
            ],
        ),
        ("no start", vec![StartGiven], vec![counts(1.0, 0, -T)]),
        (
            "a start to come",
            vec![StartNotLater],
            vec![counts(1.0, 0, 1)],
        ),
        (
            "a start that moves a little",
            vec![StartConstant],
            vec![counts(1.0, 0, -9), counts(2.0, 5, -8)],
        ),
        (
            "a start that moves back",
            vec![StartConstant],
            vec![counts(1.0, 0, -9), counts(2.0, 5, -10)],
        ),
        (
            "a fall without a new start",
            vec![StartMovesAtReset],
            vec![counts(2.0, 0, -9), counts(1.0, 5, -9)],
        ),
        (
            "a field of the drafts",
            vec![DraftCreated],
            vec![send(Version::V2, &second(&SYMBOLS, &[created]))],
        ),
    ]
}

fn of_exemplars() -> Vec<Case> {
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

fn of_histograms() -> Vec<Case> {
    use Rule::*;
    let with = |change: fn(&mut Native)| {
        let mut native = native(0);
        change(&mut native);
        native
    };
    let one = |rule: Rule, change: fn(&mut Native)| (vec![rule], vec![with(change).send()]);
    let custom = |change: fn(&mut Native)| {
        let mut native = with(|native| {
            (native.schema, native.zero, native.count) = (-53, 0, 9);
            native.spans = vec![(0, 3)];
            native.custom = vec![1.0, 2.0];
        });
        change(&mut native);
        (vec![HistogramCustom], vec![native.send()])
    };
    let then = |rule: Rule, change: fn(&mut Native)| {
        let mut next = native(5);
        change(&mut next);
        (vec![rule], vec![native(0).send(), next.send()])
    };
    let many = |native: &mut Native| {
        native.spans = vec![(0, 161)];
        native.deltas = vec![0; 161];
        (native.count, native.zero) = (1, 1);
    };
    let all = [
        ("schema 9", one(HistogramSchema, |native| native.schema = 9)),
        (
            "schema -5",
            one(HistogramSchema, |native| native.schema = -5),
        ),
        (
            "spans that cover less",
            one(HistogramSpans, |native| native.spans[1].1 = 0),
        ),
        (
            "spans that cover more",
            one(HistogramSpans, |native| native.spans[1].1 = 2),
        ),
        (
            "a span that goes back",
            one(HistogramOffsets, |native| native.spans[1].0 = -1),
        ),
        (
            "a bucket with less than nothing",
            (
                vec![HistogramPopulations],
                vec![with(|native| native.deltas = vec![2, -3, 9]).send()],
            ),
        ),
        (
            "a count that is too high",
            one(HistogramCount, |native| native.count = 11),
        ),
        (
            "whole numbers and floats",
            one(HistogramKinds, |native| native.counts = vec![1.0, 2.0, 3.0]),
        ),
        ("161 buckets", one(HistogramBucketsMax, many)),
        (
            "an unknown hint",
            one(HistogramReset, |native| native.hint = 4),
        ),
        (
            "a gauge that is none",
            one(HistogramReset, |native| native.hint = 3),
        ),
        (
            "no reset, of the first",
            one(HistogramReset, |native| native.hint = 2),
        ),
        (
            "no reset, with fewer in a bucket",
            then(HistogramReset, |native| {
                (native.hint, native.deltas) = (2, vec![3, -1, 2]);
            }),
        ),
        (
            "no reset, with a finer schema",
            then(HistogramReset, |native| {
                (native.hint, native.schema) = (2, 4)
            }),
        ),
        (
            "a reset that is none",
            then(HistogramReset, |native| native.hint = 1),
        ),
        (
            "bounds that nobody asked for",
            one(HistogramCustom, |native| native.custom = vec![1.0]),
        ),
        (
            "bounds that fall",
            custom(|native| native.custom = vec![2.0, 1.0]),
        ),
        (
            "an infinite bound",
            custom(|native| native.custom[1] = f64::INFINITY),
        ),
        (
            "a bucket behind the last",
            custom(|native| native.spans[0].0 = 1),
        ),
    ];
    let mut cases: Vec<Case> = all
        .into_iter()
        .map(|(name, (rules, steps))| (name, rules, steps))
        .collect();
    let mut custom_first = native(0);
    custom_first.schema = -53;
    custom_first.custom = vec![1.0, 2.0, 3.0, 4.0, 5.0];
    (custom_first.zero, custom_first.count) = (0, 9);
    cases.push((
        "custom bounds in 1.0",
        vec![HistogramSchema],
        vec![custom_first.send_first()],
    ));
    cases
}

async fn play(receiver: &Receiver, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Send(sent) => drop(sent.post(receiver).await),
            Step::Tell(answer) => receiver.answer(std::slice::from_ref(answer)),
            Step::Together(first, next) => {
                receiver.behave(|behaviour| behaviour.delay = Duration::from_millis(500));
                let requests = || receiver.with(|received| received.requests);
                let later = async {
                    wait_for("the first to be there", 5, async || match requests() {
                        0 => Err("nothing".to_owned()),
                        _ => Ok(()),
                    })
                    .await;
                    next.post(receiver).await
                };
                tokio::join!(first.post(receiver), later);
            }
            Step::Restart => receiver.with(|received| received.sender_restarted()),
            Step::Forget => receiver.forget(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_is_seen_to_be_broken_and_no_other() {
    let cases = [
        of_the_protocol(),
        of_labels_and_metadata(),
        of_the_order(),
        of_exemplars(),
        of_histograms(),
    ]
    .concat();
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for (name, rules, steps) in cases {
        let receiver = Receiver::start().await;
        receiver.samples_max(3);
        play(&receiver, &steps).await;
        let broken = receiver.with(|received| received.broken_rules());
        let expected: BTreeSet<Rule> = rules.into_iter().collect();
        let texts = [Level::Must, Level::Should].map(|level| receiver.broken(level));
        if broken != expected {
            wrong.push(format!("{name}: {broken:?}, not {expected:?}: {texts:?}"));
        }
        seen.extend(broken);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unseen: Vec<_> = Rule::ALL
        .iter()
        .filter(|rule| !seen.contains(rule))
        .collect();
    assert!(unseen.is_empty(), "no case breaks {unseen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sound_breaks_no_rule() {
    let at = |all: &[(f64, i64)]| Sent::new(Version::V1, &samples(all));
    let counts = |value, at, start| send(Version::V2, &counter(value, at, start));
    let marker = f64::from_bits(STALE);
    let ordinary = f64::from_bits(0x7ff8_0000_0000_0001);
    let again =
        |sent: &Sent, attempt: &str| Step::Send(sent.clone().with("retry-attempt", attempt));
    let one = at(&[(1.0, 0)]);
    let other = first(&[series(&[("__name__", "y")], &[(2, sample(1.0, T))])]);
    let other = Sent::new(Version::V1, &other);
    let natives = |change: fn(&mut Native)| {
        let mut next = native(5);
        change(&mut next);
        vec![native(0).send(), next.send()]
    };
    let lost = [
        Answer::Status(500),
        Answer::StoreAndCut,
        Answer::CutAfter(1),
        Answer::Silence(Duration::from_millis(1)),
    ];
    let lost = lost.map(|answer| {
        let next = Step::Send(at(&[(1.0, 1)]));
        let first = Step::Send(one.clone());
        vec![Step::Tell(answer), first, again(&one, "1"), next]
    });
    let exemplars = [(4, exemplar(&[6, 7], T)), (4, exemplar(&[6, 7], T + 1))];
    let cases = [
        vec![
            Step::Send(at(&[(1.0, 0), (ordinary, 1)])),
            Step::Send(at(&[(marker, 2)])),
        ],
        vec![send(Version::V1, &family("x_total", 1))],
        vec![
            counts(2.0, 0, -1),
            counts(3.0, 10, -1),
            counts(1.0, 20, 15),
            counts(marker, 30, -T),
        ],
        vec![gauge_with(&WITH_TASK, &exemplars)],
        natives(|native| native.hint = 2),
        natives(|native| {
            (native.sum, native.count, native.spans, native.deltas) =
                (f64::from_bits(STALE), 0, vec![], vec![]);
        }),
        // Of half the resolution: 2 in the bucket 0, 3 in 1, and 4 in 3.
        natives(|native| {
            (native.schema, native.hint) = (2, 2);
            native.spans = vec![(0, 2), (1, 1)];
        }),
        natives(|native| (native.hint, native.start) = (1, native.at - 1)),
        vec![native(0).send_first()],
        vec![Step::Together(one.clone(), other)],
        vec![
            Step::Tell(Answer::Status(500)),
            Step::Send(at(&[(1.0, 5)])),
            Step::Restart,
            Step::Send(at(&[(1.0, 5)])),
        ],
        vec![
            Step::Send(at(&[(1.0, 5)])),
            Step::Forget,
            Step::Send(at(&[(1.0, 0)])),
        ],
        vec![
            Step::Tell(Answer::Status(429)),
            Step::Send(one.clone()),
            Step::Send(at(&[(1.0, 1)])),
        ],
    ];
    for (index, steps) in cases.into_iter().chain(lost).enumerate() {
        let receiver = Receiver::start().await;
        play(&receiver, &steps).await;
        let broken = [Level::Must, Level::Should].map(|level| receiver.broken(level));
        assert_eq!(broken, [Vec::<String>::new(), Vec::new()], "case {index}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_as_prometheus_does() {
    let written = |response: &reqwest::Response| {
        let kinds = ["samples", "histograms", "exemplars"];
        kinds.map(|kind| {
            let value = response
                .headers()
                .get(format!("x-prometheus-remote-write-{kind}-written"))?;
            Some(value.to_str().expect("text").to_owned())
        })
    };
    let counted = |samples: &str| [samples, "0", "0"].map(|count| Some(count.to_owned()));
    let post = async |receiver: &Receiver, version, message: &Message| {
        let sent = Sent::new(version, message);
        let response = sent.post(receiver).await.expect("an answer");
        let (status, written) = (response.status().as_u16(), written(&response));
        (status, written, response.text().await.expect("a body"))
    };
    let receiver = Receiver::start().await;
    let nothing = [None, None, None];
    let ok = post(&receiver, Version::V2, &counter(1.0, 0, -1)).await;
    assert_eq!(ok, (204, counted("1"), String::new()));
    let ok = post(&receiver, Version::V1, &samples(&[(2.0, 1)])).await;
    assert_eq!(ok, (204, nothing.clone(), String::new()));

    // Two series, of which one is refused: 1.0 loses both.
    receiver.behave(|behaviour| {
        behaviour.refuses = Some(Box::new(|series| series.starts_with("bad")));
    });
    let pair = ["good", "bad"].map(|name| series(&[("__name__", name)], &[(2, sample(1.0, T))]));
    let answer = post(&receiver, Version::V1, &first(&pair)).await;
    assert_eq!(answer, (400, nothing.clone(), "out of bounds\n".to_owned()));
    assert_eq!(receiver.series("good", &[]), []);
    let symbols = ["", "__name__", "good", "bad", "a", "Help."];
    let parts = [(2, sample(1.0, T)), (5, metadata(GAUGE))];
    let pair = [[1, 2], [1, 3]].map(|refs| entry(&refs, &parts));
    let answer = post(&receiver, Version::V2, &second(&symbols, &pair)).await;
    let text = "out of bounds for series bad{}".to_owned();
    assert_eq!(answer, (400, counted("1"), text));
    assert_eq!(receiver.series("good", &[]), [(T, 1.0)]);

    // Another sender was there.
    receiver.behave(|behaviour| behaviour.strict_order = true);
    receiver.plant("x_total{job=\"celery\"}", T + 9, 1.0);
    let answer = post(&receiver, Version::V1, &samples(&[(3.0, 8)])).await;
    assert_eq!(
        (answer.0, answer.2.as_str()),
        (400, "out of order sample\n")
    );
    let answer = post(&receiver, Version::V1, &samples(&[(3.0, 9)])).await;
    assert_eq!(answer.2, "duplicate sample for timestamp\n");
    let answer = post(&receiver, Version::V1, &samples(&[(1.0, 9)])).await;
    assert_eq!(answer.0, 204);

    let receiver = Receiver::start().await;
    for (how, shown) in [
        (Written::Absent, nothing.clone()),
        (Written::Zero, counted("0")),
        (
            Written::Rubbish,
            ["many"; 3].map(|text| Some(text.to_owned())),
        ),
    ] {
        receiver.behave(|behaviour| behaviour.written = how);
        let (status, written, _) = post(&receiver, Version::V2, &counter(1.0, 0, -1)).await;
        assert_eq!((status, written), (204, shown));
    }

    for (knows, status) in [
        (Knows::OnlyFirst(415), 415),
        (Knows::OnlyFirst(400), 400),
        (Knows::OnlyFirstUnawares, 204),
    ] {
        let receiver = Receiver::start().await;
        receiver.behave(|behaviour| behaviour.knows = knows);
        let answer = post(&receiver, Version::V2, &counter(1.0, 0, -1)).await;
        assert_eq!((answer.0, answer.1), (status, nothing.clone()));
        assert_eq!(receiver.samples(), 0);
        let answer = post(&receiver, Version::V1, &samples(&[(1.0, 0)])).await;
        assert_eq!((answer.0, receiver.samples()), (204, 1));
    }
}

/// What a table of rules says is held, and by what.
#[test]
fn the_table_of_rules_is_that_of_the_receiver() {
    let table = include_str!("../senders.md");
    let named: BTreeSet<&str> = table
        .split('`')
        .skip(1)
        .step_by(2)
        .flat_map(|code| code.strip_prefix("Rule::"))
        .collect();
    let names: BTreeSet<String> = Rule::ALL.iter().map(|rule| format!("{rule:?}")).collect();
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(named, names);
    let sources = [
        ("faults", include_str!("faults.rs")),
        ("outages", include_str!("outages.rs")),
        ("remote_write", include_str!("remote_write.rs")),
        ("strictness", include_str!("strictness.rs")),
        ("workers", include_str!("workers.rs")),
    ];
    for code in table.split('`').skip(1).step_by(2) {
        if let Some((module, test)) = code.split_once("::")
            && module != "Rule"
        {
            let source = sources.iter().find(|(name, _)| *name == module);
            let (_, source) = source.unwrap_or_else(|| panic!("no module {module}"));
            assert!(source.contains(&format!("fn {test}(")), "no test {code}");
        }
    }
}
