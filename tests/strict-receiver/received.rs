//! The stored data, and the rules that apply across requests.

mod parts;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Instant;

use axum::body::Bytes;
use axum::http::HeaderMap;

use self::parts::{attempt, check_starts, decode, family, insert, value_at};
use super::answer::{Answer, Behaviour, Knows, Outcome, Reply, Then};
use super::histograms::{self, Native};
use super::rules::{Broken, Rule};
use super::{Encoding, STALE, Version, checks};
use crate::wire::{
    Exemplar, KINDS, Metadata, Series, WireError, snappy, v1::WriteRequest, v2, zstd,
};

/// Values by name and labels as text.
type BySeries<T> = BTreeMap<String, T>;

#[derive(Default)]
pub struct Received {
    /// Stored samples.
    pub series: BySeries<Vec<(i64, f64)>>,
    pub histograms: BySeries<Vec<(i64, Native)>>,
    pub exemplars: BySeries<Vec<Exemplar>>,
    /// The start time of each series.
    pub starts: BySeries<i64>,
    /// The same from field 6 of the drafts.
    pub created: BySeries<i64>,
    /// By family: type, unit and help.
    pub metadata: BTreeMap<String, String>,
    pub requests: u64,
    /// Arrival time of each request.
    pub arrivals: Vec<Instant>,
    /// Number of 2.0 requests.
    pub requests_v2: u64,
    /// Number of requests compressed with zstd.
    pub requests_zstd: u64,
    /// The headers of the newest request.
    pub headers: HeaderMap,
    pub(super) script: VecDeque<Answer>,
    pub(super) always: Option<Answer>,
    pub(super) behaviour: Behaviour,
    pub(super) broken: Broken,
    pub(super) planted: BySeries<Vec<(i64, f64)>>,
    /// The sender's `max_samples_per_send`, if set.
    pub(super) samples_max: Option<usize>,
    refused: HashSet<Bytes>,
    /// Requests that must be retried.
    owed: HashMap<Bytes, Owed>,
    flights: HashMap<u64, (Bytes, HashSet<String>)>,
    /// Maximum number of requests that were stored but not answered at the same time.
    pub side_by_side: usize,
    next_flight: u64,
}

/// A request that must be retried, byte for byte.
#[derive(Debug)]
struct Owed {
    series: HashSet<String>,
    /// No sooner than this time.
    then: Option<Instant>,
    /// Its `Retry-Attempt`.
    attempt: u64,
    optional: bool,
}

/// A parsed request.
#[derive(Debug)]
pub struct Parsed {
    pub version: Version,
    /// The series, each with its name and labels as text.
    pub series: Vec<(String, Series)>,
    pub metadata: Vec<(String, Metadata)>,
}

impl Parsed {
    /// Samples and histograms.
    pub fn samples(&self) -> usize {
        let series = self.series.iter();
        series
            .map(|(_, series)| series.samples.len() + series.histograms.len())
            .sum()
    }

    fn keys(&self) -> HashSet<String> {
        self.series.iter().map(|(key, _)| key.clone()).collect()
    }
}

/// Returns the only entry for a name and some labels; empty if there is none.
pub(super) fn find<T: Clone>(from: &BySeries<Vec<T>>, name: &str, labels: &[&str]) -> Vec<T> {
    let mut found = from.iter().filter(|(text, _)| {
        text.starts_with(&format!("{name}{{")) && labels.iter().all(|label| text.contains(label))
    });
    let series = found.next().map(|(_, entries)| entries.clone());
    assert!(found.next().is_none(), "more than one {name} {labels:?}");
    series.unwrap_or_default()
}

impl Received {
    pub(super) fn forget(&mut self) {
        self.series.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.starts.clear();
        self.created.clear();
        self.owed.clear();
        self.refused.clear();
        self.flights.clear();
    }

    /// Handles a restart of the sender with its stored data: its requests are sent again, with attempts counted from
    /// zero.
    pub fn sender_restarted(&mut self) {
        // Its connections are gone, even if this was not noticed yet.
        let flights: Vec<u64> = self.flights.keys().copied().collect();
        for flight in flights {
            self.hung_up(flight);
        }
        // It cannot know which of its requests were refused.
        self.refused.clear();
        for owed in self.owed.values_mut() {
            owed.attempt = 0;
            owed.optional = true;
        }
    }

    /// Returns how many requests are stored but not answered yet.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Returns every rule that was broken so far.
    pub fn broken_rules(&self) -> BTreeSet<Rule> {
        self.broken.rules().collect()
    }

    /// Returns after how many bytes to cut the next request, if at all.
    pub(super) fn cut(&mut self) -> Option<usize> {
        let Some(Answer::CutAfter(bytes)) = self.script.front() else {
            return None;
        };
        let bytes = *bytes;
        self.script.pop_front();
        Some(bytes)
    }

    /// Handles the part of a request received before the cut. If it is complete, it must be retried.
    pub(super) fn cut_off(&mut self, headers: &HeaderMap, body: &Bytes) {
        self.requests += 1;
        let mut unheard = Broken::default();
        let (version, encoding) = checks::headers(headers, self.behaviour.knows, &mut unheard);
        if let Some(parsed) = decode(version, encoding, body, &mut unheard) {
            self.owe(body, parsed.keys(), None, false, headers);
        }
    }

    /// Checks a request, stores what should be stored, and returns the response, with a number if the delivery of the
    /// response is tracked.
    pub(super) fn judge(&mut self, headers: &HeaderMap, body: &Bytes) -> (Reply, Option<u64>) {
        self.requests += 1;
        self.arrivals.push(Instant::now());
        self.headers = headers.clone();
        let (version, encoding) = checks::headers(headers, self.behaviour.knows, &mut self.broken);
        self.requests_v2 += u64::from(version == Version::V2);
        self.requests_zstd += u64::from(encoding == Encoding::Zstd);
        let is_old = self.behaviour.knows == Knows::VictoriaMetrics { old: true };
        if is_old && encoding == Encoding::Zstd {
            return (Answer::Status(400).outcome(0).reply, None);
        }
        let Some(parsed) = decode(version, encoding, body, &mut self.broken) else {
            return (Answer::Status(400).outcome(0).reply, None);
        };
        // An empty request may probe whether the receiver works, while others get 5xx.
        let asks = self.owed.values().any(|owed| !owed.optional) || self.behaviour.may_give_up;
        let something = !parsed.series.is_empty() || !parsed.metadata.is_empty() || asks;
        self.broken.rule(something, Rule::NotEmpty, String::new);
        self.take_metadata(&parsed);
        if parsed.series.is_empty() {
            return (Answer::Status(204).outcome(0).reply, None);
        }
        self.check_retry(headers, body, &parsed);
        let samples = parsed.samples();
        let default = match (version, encoding) {
            (Version::V2, _) | (_, Encoding::Zstd) => 10_000,
            (Version::V1, Encoding::Snappy) => 2_000,
        };
        let few = samples <= self.samples_max.unwrap_or(default);
        self.broken
            .rule(few, Rule::SamplesPerSend, || samples.to_string());
        for (key, series) in &parsed.series {
            checks::series(key, series, version, &mut self.broken);
        }
        let mut outcome = self.outcome(&parsed);
        let mut written = [0, 0, 0];
        for ((key, series), stored) in parsed.series.iter().zip(&outcome.stored) {
            self.check_history(key, series, version);
            if *stored {
                self.store(key, series);
                written[0] += series.samples.len();
                written[1] += series.histograms.len();
                written[2] += series.exemplars.len();
            }
        }
        let stored = outcome.stored.iter().any(|stored| *stored);
        if version == Version::V2 && (stored || outcome.counted) {
            let [samples, histograms, exemplars] = written;
            let counted = self.behaviour.written(samples, histograms, exemplars);
            outcome.reply.headers.extend(counted);
        }
        let keys = parsed.keys();
        let mut flight = None;
        match outcome.then {
            Then::Done => {
                self.next_flight += 1;
                flight = Some(self.next_flight);
                self.flights.insert(self.next_flight, (body.clone(), keys));
                self.side_by_side = self.side_by_side.max(self.flights.len());
            }
            Then::Again(then) => self.owe(body, keys, then, false, headers),
            Then::MayAgain(then) => self.owe(body, keys, then, true, headers),
            Then::Never => {
                self.refused.insert(body.clone());
            }
        }
        outcome.reply.delay = outcome.reply.delay.max(self.behaviour.delay);
        (outcome.reply, flight)
    }

    /// Returns the scripted outcome, or that of the behaviour.
    fn outcome(&mut self, parsed: &Parsed) -> Outcome {
        let unknown = parsed.version == Version::V2 && self.behaviour.knows != Knows::Both;
        let told = if unknown {
            None
        } else {
            self.script.pop_front().or_else(|| self.always.clone())
        };
        match told {
            Some(answer) => answer.outcome(parsed.series.len()),
            None => self.behaviour.outcome(parsed, |index| {
                let (key, series) = &parsed.series[index];
                self.conflict(key, series)
            }),
        }
    }

    /// Records that a response was sent.
    pub(super) fn landed(&mut self, flight: u64) {
        self.flights.remove(&flight);
    }

    /// Records that the sender disconnected before the response.
    pub(super) fn hung_up(&mut self, flight: u64) {
        if let Some((body, series)) = self.flights.remove(&flight) {
            self.owe(&body, series, None, false, &HeaderMap::new());
        }
    }

    fn owe(
        &mut self,
        body: &Bytes,
        series: HashSet<String>,
        then: Option<Instant>,
        optional: bool,
        headers: &HeaderMap,
    ) {
        let owed = Owed {
            series,
            then,
            attempt: attempt(headers).unwrap_or(0),
            optional: optional || self.behaviour.may_give_up,
        };
        self.owed.insert(body.clone(), owed);
    }

    fn check_retry(&mut self, headers: &HeaderMap, body: &Bytes, parsed: &Parsed) {
        let keys = parsed.keys();
        let case = || format!("{} series, {:?}…", keys.len(), keys.iter().min());
        let refused = self.refused.contains(body);
        self.broken.rule(!refused, Rule::RefusedNotResent, case);
        let attempt = attempt(headers);
        // The end of a request that the sender gave up may not have been noticed yet; its retry shows it.
        let given_up = |flight: &&u64| self.flights[*flight].0 == *body && attempt.is_some();
        if let Some(flight) = self.flights.keys().find(given_up).copied() {
            self.hung_up(flight);
        }
        let shared = |(_, series): &(Bytes, HashSet<String>)| !series.is_disjoint(&keys);
        let concurrent = self.flights.values().any(shared);
        self.broken
            .rule(!concurrent, Rule::SeriesNotConcurrent, case);
        if let Some(owed) = self.owed.remove(body) {
            let waited = owed.then.is_none_or(|then| Instant::now() >= then);
            self.broken.rule(waited, Rule::RetryAfterHonoured, case);
            let counted = attempt.is_some_and(|attempt| attempt > owed.attempt);
            let counted = counted || (owed.optional && owed.attempt == 0);
            self.broken.rule(counted, Rule::RetryAttempt, || {
                format!("{attempt:?} after {}", owed.attempt)
            });
            return;
        }
        let counted = attempt != Some(0);
        self.broken.rule(counted, Rule::RetryAttempt, case);
        let broken = &mut self.broken;
        self.owed.retain(|_, owed| {
            let newer = !owed.series.is_disjoint(&keys);
            broken.rule(!newer || owed.optional, Rule::RetriedUnchanged, case);
            !newer
        });
    }

    /// Checks a series against its stored data.
    fn check_history(&mut self, key: &str, series: &Series, version: Version) {
        let known = self.series.get(key).map_or(&[][..], Vec::as_slice);
        let natives = self.histograms.get(key).map_or(&[][..], Vec::as_slice);
        let newest_stored = known.last().map(|(at, _)| *at);
        let newest_stored = newest_stored.max(natives.last().map(|(at, _)| *at));
        let mut newest = newest_stored.unwrap_or(i64::MIN);
        let broken = &mut self.broken;
        // Stored although the response was lost: sending the same again breaks no rule.
        let mut again = false;
        let mut starts = Vec::new();
        for sample in &series.samples {
            let at = sample.timestamp;
            let case = || format!("{sample:?} after {newest} of {key}");
            if let Some(value) = value_at(known, at) {
                let same = value.to_bits() == sample.value.to_bits();
                broken.rule(same, Rule::TimestampOnce, case);
                again = true;
                continue;
            }
            broken.rule(at > newest, Rule::SamplesAscending, case);
            newest = newest.max(at);
            starts.push((sample.start, sample.value));
        }
        let metadata = series.metadata.clone().unwrap_or_default();
        for histogram in &series.histograms {
            let (at, native) = (histogram.timestamp, Native::new(histogram));
            let case = || format!("{native:?} at {at} after {newest} of {key}");
            let is_gauge = metadata.kind == 4;
            if let Ok(index) = natives.binary_search_by_key(&at, |(at, _)| *at) {
                // Compared as text, because the NaN sums of two markers are not equal as numbers.
                let same = format!("{:?}", natives[index].1) == format!("{native:?}");
                broken.rule(same, Rule::TimestampOnce, case);
                again = true;
                continue;
            }
            broken.rule(at > newest, Rule::SamplesAscending, case);
            newest = newest.max(at);
            let before = natives.last().map(|(_, native)| native);
            histograms::check(histogram, version, before, is_gauge, broken);
            starts.push((histogram.start, histogram.sum));
        }
        if let (Some(start), Some(newest)) = (self.starts.get(key), newest_stored) {
            let last = known.last().map(|(_, value)| *value);
            check_starts(key, *start, newest, last, &metadata, &starts, broken);
        }
        let draft = series.created == 0 || self.behaviour.draft_created;
        broken.rule(draft, Rule::DraftCreated, || key.to_owned());
        let exemplars = self.exemplars.get(key).map_or(&[][..], Vec::as_slice);
        let Some(last) = exemplars.last() else {
            return;
        };
        for exemplar in &series.exemplars {
            let case = || format!("{exemplar:?} after {last:?} of {key}");
            let known = exemplars.contains(exemplar);
            broken.rule(!known || again, Rule::ExemplarOnce, case);
            let later = exemplar.timestamp > last.timestamp;
            broken.rule(known || later, Rule::ExemplarsAscending, case);
        }
    }

    /// Returns why a time series database would refuse a series.
    fn conflict(&self, key: &str, series: &Series) -> Option<String> {
        let known = self.series.get(key).into_iter();
        let known = known.chain(self.planted.get(key)).flatten();
        let newest = known.max_by_key(|(at, _)| *at)?;
        for sample in &series.samples {
            let same = sample.value.to_bits() == newest.1.to_bits();
            if sample.timestamp < newest.0 {
                return Some("out of order sample".to_owned());
            }
            if sample.timestamp == newest.0 && !same {
                return Some("duplicate sample for timestamp".to_owned());
            }
        }
        None
    }

    fn store(&mut self, key: &str, series: &Series) {
        if !series.samples.is_empty() {
            let stored = self.series.entry(key.to_owned()).or_default();
            for sample in &series.samples {
                insert(stored, sample.timestamp, sample.value);
            }
        }
        if !series.histograms.is_empty() {
            let stored = self.histograms.entry(key.to_owned()).or_default();
            for histogram in &series.histograms {
                insert(stored, histogram.timestamp, Native::new(histogram));
            }
        }
        let starts = series.samples.iter().map(|sample| sample.start);
        let starts = starts.chain(series.histograms.iter().map(|histogram| histogram.start));
        if let Some(start) = starts.filter(|start| *start != 0).max() {
            self.starts.insert(key.to_owned(), start);
        }
        if series.created != 0 {
            self.created.insert(key.to_owned(), series.created);
        }
        if !series.exemplars.is_empty() {
            let stored = self.exemplars.entry(key.to_owned()).or_default();
            for exemplar in &series.exemplars {
                if !stored.contains(exemplar) {
                    stored.push(exemplar.clone());
                }
            }
        }
    }

    fn take_metadata(&mut self, parsed: &Parsed) {
        let apart = parsed.series.is_empty() || parsed.metadata.is_empty();
        self.broken.rule(apart, Rule::MetadataApart, String::new);
        let understood = parsed.version == Version::V1 || self.behaviour.knows == Knows::Both;
        let entries = parsed.series.iter().filter(|_| understood);
        let own = entries.filter_map(|(_, series)| {
            let metadata = series.metadata.clone()?;
            Some((family(series.name(), metadata.kind).to_owned(), metadata))
        });
        for (family, metadata) in own.chain(parsed.metadata.iter().cloned()) {
            let named = !family.is_empty();
            self.broken
                .rule(named, Rule::MetadataName, || format!("{metadata:?}"));
            let kind = usize::try_from(metadata.kind).unwrap_or(usize::MAX);
            let kind = KINDS.get(kind).copied();
            self.broken
                .rule(kind.is_some(), Rule::MetadataKnownType, || {
                    format!("{metadata:?}")
                });
            let kind = kind.unwrap_or_default();
            let text = format!("{kind} {} {}", metadata.unit, metadata.help);
            self.metadata.insert(family, text);
        }
    }
}
