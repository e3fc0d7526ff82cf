//! Encodes snapshots as the remote-write requests of one sink.
//!
//! The encoder remembers which series the sink has sent: a new series is preceded by a zero, and
//! one that has ended is followed by a stale marker. Every zero and marker is therefore sent even
//! if the sink skips a snapshot. For restored series, their start time shows whether the previous
//! process sent them. The labels of a series never change: they are assembled, relabeled and
//! interned once, and from then on represented by a few small numbers.
//!
//! Each series occurs once per snapshot, with all its values in one request. The requests of a
//! snapshot can therefore be sent in parallel; only those of the next one have to wait.

mod labels;

use std::mem;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::point::{Point, Points};
use super::symbols::Symbols;
use super::v2::{Meta, start_before};
use super::{Body, Protocol, v1, v2};
use crate::counts::Counts;
use crate::series::{Exemplar, Histogram, MetricKind, Relabel, Row, Snapshot, Value};
use crate::timestamp::Timestamp;
use labels::Labels;

/// Which parts of a snapshot a sink sends, and how.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Labels added to every series. As in Prometheus, they do not override its own labels.
    pub external: Vec<(String, String)>,
    /// Applied to each time series with its external labels.
    pub relabel: Relabel,
    /// Maximum number of samples and native histograms per request. A histogram with more is sent
    /// alone.
    pub samples_max: usize,
    pub exemplars: bool,
    /// Whether to send the native histogram of a series that has one.
    pub native: bool,
    /// Whether to send the classic histogram beside the native one.
    pub classic: bool,
    /// Remote write 2.0: whether to repeat the start timestamp in the field that the drafts of the
    /// specification used.
    pub draft: bool,
}

/// Encodes the requests of one sink.
#[derive(Debug)]
pub struct Encoder {
    how: Outgoing,
    protocol: Protocol,
    /// The series sent before, by slot.
    known: Vec<Option<SentSeries>>,
    symbols: Symbols,
    /// The metadata of each family, interned.
    metas: Vec<Option<Meta>>,
    /// With relabeling: the labels of every time series that is sent, and their owner.
    owners: HashMap<Box<[u32]>, u64>,
    /// With relabeling: the series of the current snapshot.
    alive: HashSet<u64>,
    /// With relabeling: whether labels were released that another series may need.
    is_freed: bool,
    v1: v1::Writer,
    v2: v2::Writer,
    request: Request,
    /// Number of the newest encoded snapshot.
    number: u64,
    /// Time of the newest sample that the previous process sent, if known.
    sent_until: Option<Timestamp>,
    /// A series that started before this time gets no zero: it was sent under other labels.
    behind: Option<Timestamp>,
}

/// A series that this sink has sent.
#[derive(Debug)]
struct SentSeries {
    serial: u64,
    /// The newest snapshot that contained it.
    seen: u64,
    meta: Meta,
    labels: Labels,
    native: bool,
}

/// Why a time series is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// A rule dropped it.
    Dropped,
    /// After relabeling it has no name, or an invalid one.
    Invalid,
    /// After relabeling it has the same labels as another series that is sent.
    Collided,
}

impl Unsent {
    pub const ALL: [Self; 3] = [Self::Dropped, Self::Invalid, Self::Collided];
}

/// Contents of the request being written.
#[derive(Debug, Default)]
struct Request {
    counts: Counts,
    oldest: Timestamp,
    newest: Timestamp,
    bodies: Vec<Body>,
}

/// The requests of a snapshot.
#[must_use = "samples that are not sent must be counted"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    pub bodies: Vec<Body>,
    /// Number of samples not sent, in the order of [`Unsent::ALL`].
    pub unsent: [u64; 3],
}

impl Encoder {
    /// Creates an encoder for a version of the protocol.
    pub fn new(how: Outgoing, protocol: Protocol) -> Self {
        Self {
            v2: v2::Writer::new(how.draft),
            how,
            protocol,
            known: Vec::new(),
            symbols: Symbols::default(),
            metas: Vec::new(),
            owners: HashMap::new(),
            alive: HashSet::new(),
            is_freed: false,
            v1: v1::Writer::default(),
            request: Request::default(),
            number: 0,
            sent_until: None,
            behind: None,
        }
    }

    /// Sets the time of the newest sample that the sink sent in an earlier process, which decides
    /// whether restored series get a zero. `None` if unknown, because the queue is new or was lost.
    #[must_use]
    pub const fn after(mut self, sent_until: Option<Timestamp>) -> Self {
        self.sent_until = sent_until;
        self
    }

    /// Makes this encoder the successor of one that sent everything up to the given time.
    #[must_use]
    pub fn continuing_from(self, newest: Timestamp) -> Self {
        Self {
            behind: Some(newest),
            ..self
        }
    }

    /// The current version of the protocol.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Switches to another version of the protocol.
    pub const fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Changes the maximum number of samples per request.
    pub const fn limit(&mut self, samples_max: usize) {
        self.how.samples_max = samples_max;
    }

    /// Encodes a snapshot: every series, then a stale marker for each one that has ended.
    pub fn snapshot(&mut self, snapshot: &Snapshot) -> Encoded {
        let mut ended = Vec::new();
        let mut begun = Vec::new();
        let mut encoded = Encoded::default();
        // Released only at the end, because the current request may still refer to them.
        let mut released = Vec::new();
        if !self.how.relabel.is_empty() {
            self.alive.clear();
            self.alive
                .extend(snapshot.rows.iter().map(|row| row.info.serial));
        }
        let is_freed = mem::take(&mut self.is_freed);
        for row in &snapshot.rows {
            let slot = row.slot as usize;
            if self.known.len() <= slot {
                self.known.resize_with(slot + 1, || None);
            }
            let is_known = self.known[slot]
                .as_ref()
                .is_some_and(|known| known.serial == row.info.serial);
            if !is_known {
                let family = snapshot.family(row);
                let native = self.sends_native(row);
                let labels = self.labels(family, row);
                begun.push(slot);
                let known = SentSeries {
                    serial: row.info.serial,
                    seen: snapshot.number,
                    meta: self.meta(snapshot, row),
                    labels,
                    native,
                };
                ended.extend(self.known[slot].replace(known));
            }
            // Taken out, because the methods below borrow the whole encoder.
            let Some(mut known) = self.known[slot].take() else {
                continue;
            };
            known.seen = snapshot.number;
            if is_freed && known.labels.unsent[Unsent::Collided as usize] > 0 {
                // Not a new series to the receiver: it continues where the other one ended.
                let before =
                    mem::replace(&mut known.labels, self.labels(snapshot.family(row), row));
                before.ids.iter().for_each(|&id| released.push(id));
            }
            let is_new = !is_known && !self.was_sent(row, snapshot);
            self.row(&known, is_new, row, snapshot, &mut encoded);
            self.known[slot] = Some(known);
        }
        ended.extend(self.take_unseen(snapshot.number));
        // A series that came back under the same labels continues: a stale marker would have the
        // same timestamp as its new value. Of a histogram with different bounds, only some time
        // series come back.
        let begun = begun.iter().filter(|_| !ended.is_empty());
        let begun = begun.filter_map(|&slot| self.known[slot].as_ref());
        let begun: HashSet<Box<[u32]>> = begun.flat_map(|known| known.labels.all()).collect();
        self.stale(&ended, &begun, snapshot.at);
        self.flush();
        self.number = snapshot.number;
        ended.iter().for_each(|known| self.forget(known));
        released.into_iter().for_each(|id| self.symbols.release(id));
        encoded.bodies = mem::take(&mut self.request.bodies);
        encoded
    }

    /// Takes out every series that a snapshot does not contain.
    fn take_unseen(&mut self, number: u64) -> impl Iterator<Item = SentSeries> {
        let is_unseen = move |known: &mut SentSeries| known.seen != number;
        self.known
            .iter_mut()
            .filter_map(move |known| known.take_if(is_unseen))
    }

    /// Marks every series stale, one millisecond after the newest sample.
    pub fn end(&mut self, newest: Timestamp) -> Vec<Body> {
        let ended: Vec<_> = mem::take(&mut self.known).into_iter().flatten().collect();
        let after = Timestamp::from_millis(newest.millis() + 1);
        self.stale(&ended, &HashSet::new(), after);
        self.flush();
        ended.iter().for_each(|known| self.forget(known));
        mem::take(&mut self.request.bodies)
    }

    fn row(
        &mut self,
        known: &SentSeries,
        is_new: bool,
        row: &Row,
        snapshot: &Snapshot,
        encoded: &mut Encoded,
    ) {
        let counts = snapshot.family(row).kind != MetricKind::Gauge;
        // A zero before the first value, so that receivers count the first increment. It is stamped
        // just after the previous snapshot, which did not contain the series.
        let zero = (counts && is_new).then(|| Timestamp::from_millis(row.info.after.millis() + 1));
        let first = zero.unwrap_or(snapshot.at);
        let points = Points {
            zero,
            value: Point::Number(0.0),
            at: snapshot.at,
            start: start_before(row.info.after, first).filter(|_| counts),
            exemplars: &[],
        };
        let each = 1 + u64::from(zero.is_some());
        for (all, of_this) in encoded.unsent.iter_mut().zip(known.labels.unsent) {
            *all += each * u64::from(of_this);
        }
        let parts =
            known.labels.ends.len() * usize::from(is_new && counts) + known.labels.ends.len();
        self.reserve(parts);
        match &row.value {
            Value::Number(number) => {
                let exemplar = row
                    .exemplar
                    .as_ref()
                    .filter(|exemplar| self.is_new(exemplar));
                let points = Points {
                    value: Point::Number(*number),
                    exemplars: exemplar.as_slice(),
                    ..points
                };
                self.part(known, 0, points);
            }
            Value::Histogram(histogram) => self.histogram(known, histogram, points),
        }
    }

    fn histogram(&mut self, known: &SentSeries, histogram: &Histogram, points: Points<'_>) {
        let mut part = 0;
        if !known.native || self.how.classic {
            let mut exemplars = histogram.exemplars.iter().peekable();
            let mut count = 0.0;
            for (bucket, below) in histogram.cumulative().enumerate() {
                let exemplar = exemplars
                    .next_if(|(of, _)| *of == bucket)
                    .map(|(_, exemplar)| exemplar)
                    .filter(|exemplar| self.is_new(exemplar));
                let points = Points {
                    value: Point::Number(below),
                    exemplars: exemplar.as_slice(),
                    ..points
                };
                self.part(known, part, points);
                (part, count) = (part + 1, below);
            }
            for value in [histogram.sum, count] {
                let value = Point::Number(value);
                self.part(known, part, Points { value, ..points });
                part += 1;
            }
        }
        if let Some(native) = histogram.native.as_ref().filter(|_| known.native) {
            let mut exemplars: Vec<&Arc<Exemplar>> = histogram
                .exemplars
                .iter()
                .map(|(_, exemplar)| exemplar)
                .filter(|exemplar| self.is_new(exemplar))
                .collect();
            // PRW 2.0, "Exemplars": in order. Receivers refuse exemplars older than their newest
            // one.
            exemplars.sort_by_key(|exemplar| exemplar.at);
            let points = Points {
                value: Point::Native(native, histogram.sum),
                exemplars: &exemplars,
                ..points
            };
            self.part(known, part, points);
        }
    }

    /// Writes one time series if it is sent.
    fn part(&mut self, known: &SentSeries, part: usize, points: Points<'_>) {
        let labels = known.labels.of(part);
        if labels.is_empty() {
            return;
        }
        match self.protocol {
            Protocol::V1 | Protocol::V1Zstd => self.v1.series(labels, &self.symbols, points),
            Protocol::V2 => self.v2.series(labels, known.meta, &self.symbols, points),
        }
        let count = 1 + u64::from(points.zero.is_some());
        let request = &mut self.request;
        if request.counts.is_zero() {
            (request.oldest, request.newest) = (points.at, points.at);
        }
        if points.value.is_native() {
            request.counts.histograms += count;
        } else {
            request.counts.samples += count;
        }
        request.counts.exemplars += points.exemplars.len() as u64;
        request.oldest = request.oldest.min(points.zero.unwrap_or(points.at));
        request.newest = request.newest.max(points.at);
    }

    /// Marks series stale, except time series whose labels now belong to another series.
    fn stale(&mut self, ended: &[SentSeries], begun: &HashSet<Box<[u32]>>, at: Timestamp) {
        for known in ended {
            self.reserve(known.labels.ends.len());
            let last = known.labels.ends.len() - 1;
            for part in (0..=last).filter(|part| !begun.contains(known.labels.of(*part))) {
                let value = if known.native && part == last {
                    Point::StaleNative
                } else {
                    Point::StaleNumber
                };
                let points = Points {
                    zero: None,
                    value,
                    at,
                    start: None,
                    exemplars: &[],
                };
                self.part(known, part, points);
            }
        }
    }

    /// Whether the previous process sent a series that is new to this encoder. A process that sent
    /// the first snapshot containing a series also sent its zero.
    ///
    /// A series that was sent but not restored, because the checkpoint was lost, ends without a
    /// stale marker: no one knows about it any more.
    fn was_sent(&self, row: &Row, snapshot: &Snapshot) -> bool {
        let after = row.info.after;
        let before = self.behind.is_some_and(|behind| after < behind);
        before
            || snapshot.restored_at.is_some_and(|restored| {
                after <= restored && after < self.sent_until.unwrap_or(restored)
            })
    }

    /// Starts another request if the current one has no room for this many values.
    fn reserve(&mut self, values: usize) {
        let points = usize::try_from(self.request.counts.points()).unwrap_or(usize::MAX);
        if points > 0 && points + values > self.how.samples_max {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let counts = mem::take(&mut self.request.counts);
        if counts.is_zero() {
            return;
        }
        self.request.bodies.push(Body {
            protocol: self.protocol,
            bytes: match self.protocol {
                Protocol::V1 | Protocol::V1Zstd => self.v1.finish(self.protocol),
                Protocol::V2 => self.v2.finish(),
            },
            counts,
            oldest: self.request.oldest,
            newest: self.request.newest,
        });
    }

    /// Whether an exemplar has not been sent yet.
    fn is_new(&self, exemplar: &Exemplar) -> bool {
        self.how.exemplars && exemplar.snapshot > self.number
    }
}

#[cfg(test)]
mod tests;
