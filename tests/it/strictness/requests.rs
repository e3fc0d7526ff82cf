//! Builders for requests of either version, and the steps of a test case.

use std::time::Duration;

use strict_receiver::answer::Answer;
use strict_receiver::rules::Rule;
use strict_receiver::wire::encode::{Message, zigzag};
use strict_receiver::{Receiver, Version};

/// An arbitrary time in milliseconds.
pub(super) const T: i64 = 1_795_000_000_000;

pub(super) const FIRST: [(&str, &str); 4] = [
    ("content-encoding", "snappy"),
    ("content-type", "application/x-protobuf"),
    ("x-prometheus-remote-write-version", "0.1.0"),
    ("user-agent", "test/1.0"),
];

pub(super) const SECOND: [(&str, &str); 4] = [
    ("content-encoding", "snappy"),
    (
        "content-type",
        "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    ),
    ("x-prometheus-remote-write-version", "2.0.0"),
    ("user-agent", "test/1.0"),
];

/// The steps of a case, in order.
#[derive(Clone)]
pub(super) enum Step {
    Send(Sent),
    Tell(Answer),
    /// Two requests, of which the first is not answered before the second.
    Together(Sent, Sent),
    /// A request whose sender disconnects before the response.
    HangUp(Sent),
    /// The sender restarts, with or without its stored data.
    Restart,
    Forget,
}

#[derive(Clone)]
pub(super) struct Sent {
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Sent {
    pub(super) fn new(version: Version, message: &Message) -> Self {
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

    /// Sets a header, or removes it.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        if !value.is_empty() {
            self.headers.push((name, value.to_owned()));
        }
        self
    }

    /// Returns the response, if there is one within five seconds.
    pub(super) async fn post(&self, receiver: &Receiver) -> Option<reqwest::Response> {
        self.post_within(receiver, Duration::from_secs(5)).await
    }

    pub(super) async fn post_within(
        &self,
        receiver: &Receiver,
        patience: Duration,
    ) -> Option<reqwest::Response> {
        let redirect = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().redirect(redirect);
        let client = client.timeout(patience).build().expect("a client");
        let mut request = client.post(receiver.url());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.body(self.body.clone()).send().await.ok()
    }
}

pub(super) fn send(version: Version, message: &Message) -> Step {
    Step::Send(Sent::new(version, message))
}

pub(super) fn sample(value: f64, at: i64) -> Message {
    Message::new().double(1, value).signed(2, at)
}

/// A 1.0 series with a sample.
pub(super) fn series(labels: &[(&str, &str)], parts: &[(u64, Message)]) -> Message {
    let mut series = Message::new();
    for (name, value) in labels {
        series = series.message(1, &Message::new().text(1, name).text(2, value));
    }
    for (number, part) in parts {
        series = series.message(*number, part);
    }
    series
}

pub(super) fn first(all: &[Message]) -> Message {
    let request = Message::new();
    all.iter()
        .fold(request, |request, one| request.message(1, one))
}

/// One sample of a series with these labels.
pub(super) fn labelled(labels: &[(&str, &str)]) -> Step {
    send(
        Version::V1,
        &first(&[series(labels, &[(2, sample(1.0, T))])]),
    )
}

pub(super) const LABELS: [(&str, &str); 2] = [("__name__", "x_total"), ("job", "celery")];

/// Samples of one 1.0 series, each given by value and milliseconds after `T`.
pub(super) fn samples(samples: &[(f64, i64)]) -> Message {
    let samples = samples.iter();
    let parts = samples.map(|(value, at)| (2, sample(*value, T + at)));
    first(&[series(&LABELS, &parts.collect::<Vec<_>>())])
}

pub(super) fn family(name: &str, kind: u64) -> Message {
    let metadata = Message::new()
        .varint(1, kind)
        .text(2, name)
        .text(4, "Help.");
    Message::new().message(3, &metadata)
}

pub(super) const SYMBOLS: [&str; 6] = ["", "__name__", "x_total", "job", "celery", "Help."];
pub(super) const REFS: [u64; 4] = [1, 2, 3, 4];
pub(super) const COUNTER: u64 = 1;
pub(super) const GAUGE: u64 = 2;
pub(super) const HISTOGRAM: u64 = 3;

pub(super) fn metadata(kind: u64) -> Message {
    Message::new().varint(1, kind).varint(3, 5)
}

pub(super) fn sample_since(value: f64, at: i64, start: i64) -> Message {
    sample(value, at).signed(3, start)
}

pub(super) fn entry(refs: &[u64], parts: &[(u64, Message)]) -> Message {
    let entry = Message::new().packed(1, refs);
    let mut parts = parts.iter();
    parts
        .try_fold(entry, |entry, (number, part)| {
            Some(entry.message(*number, part))
        })
        .expect("nothing fails")
}

pub(super) fn second(symbols: &[&str], entries: &[Message]) -> Message {
    let request = Message::new();
    let request = symbols
        .iter()
        .fold(request, |request, symbol| request.text(4, symbol));
    let mut all = entries.iter();
    all.try_fold(request, |request, one| Some(request.message(5, one)))
        .expect("nothing fails")
}

/// A 2.0 counter: its value, and its time and start time in milliseconds after `T`.
pub(super) fn counter(value: f64, at: i64, start: i64) -> Message {
    let sample = sample_since(value, T + at, T + start);
    second(
        &SYMBOLS,
        &[entry(&REFS, &[(2, sample), (5, metadata(COUNTER))])],
    )
}

/// A 2.0 gauge with these symbols and references.
pub(super) fn gauge(symbols: &[&str], refs: &[u64]) -> Step {
    let parts = [(2, sample(1.0, T)), (5, metadata(GAUGE))];
    send(Version::V2, &second(symbols, &[entry(refs, &parts)]))
}

/// A 2.0 gauge with additional fields.
pub(super) fn gauge_with(symbols: &[&str], parts: &[(u64, Message)]) -> Step {
    let own = [(2, sample(1.0, T)), (5, metadata(GAUGE))];
    let parts = [&own, parts].concat();
    send(Version::V2, &second(symbols, &[entry(&REFS, &parts)]))
}

pub(super) fn exemplar(refs: &[u64], at: i64) -> Message {
    Message::new().packed(1, refs).double(2, 1.0).signed(3, at)
}

/// Symbols, of which 6 and 7 are for an exemplar.
pub(super) const WITH_TASK: [&str; 8] = [
    "", "__name__", "x_total", "job", "celery", "Help.", "task_id", "some-id",
];

#[derive(Clone)]
pub(super) struct Native {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) schema: i64,
    pub(super) zero: u64,
    pub(super) spans: Vec<(i64, u64)>,
    pub(super) deltas: Vec<i64>,
    pub(super) counts: Vec<f64>,
    pub(super) hint: u64,
    pub(super) at: i64,
    pub(super) start: i64,
    pub(super) custom: Vec<f64>,
}

/// Counts: 1 in the zero bucket, 2 and 3 in buckets 0 and 1, and 4 in bucket 5.
pub(super) fn native(at: i64) -> Native {
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
    pub(super) fn message(&self) -> Message {
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

    pub(super) fn send(&self) -> Step {
        let message = self.message().signed(17, self.start);
        let parts = [(3, message), (5, metadata(HISTOGRAM))];
        send(Version::V2, &second(&SYMBOLS, &[entry(&REFS, &parts)]))
    }

    pub(super) fn send_first(&self) -> Step {
        let series = series(&LABELS, &[(4, self.message())]);
        send(Version::V1, &first(&[series]))
    }
}

/// The description of a case, the rules that it breaks, and its steps.
pub(super) type Case = (&'static str, Vec<Rule>, Vec<Step>);
