//! Writes requests in remote write 2.0.
//!
//! Each string occurs once per request, in the symbol table, however many series use it. Each
//! series carries the type, help and unit of its family, and its start time.
//!
//! Source: "Prometheus Remote-Write 2.0 specification", 2.0-rc.4 (PRW 2.0).

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::Protocol;
use super::point::{
    LENGTH, Point, Points, STALE_MARKER, double, histogram, millis, nested, packed, tag, text,
    unsigned, wire_millis,
};
use super::symbols::Symbols;
use crate::series::{Exemplar, Family, MetricKind};
use crate::timestamp::Timestamp;

/// Type, help and unit of a family; strings are given by number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    pub(super) kind: u8,
    pub(super) help: u32,
    pub(super) unit: u32,
}

impl Meta {
    pub(super) fn of(family: &Family, symbols: &mut Symbols) -> Self {
        Self {
            kind: match family.kind {
                MetricKind::Counter => 1,
                MetricKind::Gauge => 2,
                MetricKind::Histogram(_) => 3,
            },
            help: symbols.intern(family.help),
            unit: symbols.intern(family.unit()),
        }
    }
}

/// A request being written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// Whether series carry the field from drafts of the specification that Prometheus 3.0 to 3.7
    /// reads.
    draft: bool,
    symbols: Vec<u8>,
    symbols_used: u32,
    /// For each string number, the request in which the string was last used and its index there.
    places: Vec<(u64, u32)>,
    /// Identifies this request in `places`.
    number: u64,
    /// Strings without a number: task ids.
    others: HashMap<Box<str>, u32>,
    timeseries: Vec<u8>,
    series: Vec<u8>,
    part: Vec<u8>,
    refs: Vec<u32>,
}

impl Writer {
    pub(super) fn new(draft: bool) -> Self {
        let mut writer = Self {
            draft,
            number: 1,
            ..Self::default()
        };
        writer.begin();
        writer
    }

    /// Writes a time series: its labels (name, value, name, value …), its family and its values.
    pub(super) fn series(
        &mut self,
        labels: &[u32],
        meta: Meta,
        symbols: &Symbols,
        points: Points<'_>,
    ) {
        let mut refs = std::mem::take(&mut self.refs);
        refs.extend(labels.iter().map(|&id| self.place(id, symbols)));
        packed(1, refs.iter().copied().map(u64::from), &mut self.series);
        refs.clear();
        self.refs = refs;
        let zero = points.zero.map(Some).into_iter();
        for zero in zero.chain([None]) {
            if points.value.is_native() {
                histogram(points, zero, &mut self.part);
                // The tag of field 17 takes two bytes.
                if let Some(start) = points.start {
                    self.part.extend([0x88, 0x01]);
                    encode_varint(wire_millis(start), &mut self.part);
                }
                nested(3, &mut self.part, &mut self.series);
            } else {
                let value = match points.value {
                    _ if zero.is_some() => 0.0,
                    Point::Number(number) => number,
                    Point::StaleNumber | Point::StaleNative | Point::Native(..) => {
                        f64::from_bits(STALE_MARKER)
                    }
                };
                double(1, value, &mut self.part);
                millis(2, zero.unwrap_or(points.at), &mut self.part);
                if let Some(start) = points.start {
                    millis(3, start, &mut self.part);
                }
                nested(2, &mut self.part, &mut self.series);
            }
        }
        for exemplar in points.exemplars {
            self.exemplar(exemplar, symbols);
        }
        unsigned(1, meta.kind.into(), &mut self.part);
        let (help, unit) = (
            self.place(meta.help, symbols),
            self.place(meta.unit, symbols),
        );
        unsigned(3, help.into(), &mut self.part);
        unsigned(4, unit.into(), &mut self.part);
        nested(5, &mut self.part, &mut self.series);
        if let Some(start) = points.start.filter(|_| self.draft) {
            millis(6, start, &mut self.series);
        }
        nested(5, &mut self.series, &mut self.timeseries);
    }

    /// Returns the compressed request, and starts the next one.
    pub(super) fn finish(&mut self) -> Bytes {
        // In the order of field numbers, like every encoder: a receiver may need the symbols first.
        drop(self.timeseries.splice(..0, self.symbols.drain(..)));
        let bytes = Protocol::V2.compress(&self.timeseries);
        self.begin();
        bytes
    }

    fn begin(&mut self) {
        self.number += 1;
        self.others.clear();
        self.timeseries.clear();
        self.symbols_used = 0;
        // PRW 2.0, "Symbols": the first symbol is the empty string.
        self.add("");
    }

    fn exemplar(&mut self, exemplar: &Arc<Exemplar>, symbols: &Symbols) {
        let refs = [super::TASK_ID, &exemplar.task_id].map(|text| self.place_of(text, symbols));
        let length: usize = refs.iter().map(|&id| encoded_len_varint(id.into())).sum();
        self.part.push(tag(1, LENGTH));
        encode_varint(length as u64, &mut self.part);
        refs.iter()
            .for_each(|&id| encode_varint(id.into(), &mut self.part));
        double(2, exemplar.value, &mut self.part);
        millis(3, exemplar.at, &mut self.part);
        nested(4, &mut self.part, &mut self.series);
    }

    /// Returns the index of a string in this request's symbol table.
    fn place(&mut self, id: u32, symbols: &Symbols) -> u32 {
        let at = id as usize;
        if at >= self.places.len() {
            self.places.resize(symbols.len().max(at + 1), (0, 0));
        }
        let (number, place) = self.places[at];
        if number == self.number {
            return place;
        }
        let text = symbols.text(id);
        // PRW 2.0, "Symbols": no duplicates.
        let known = if text.is_empty() {
            Some(0)
        } else {
            self.others.get(text).copied()
        };
        let place = known.unwrap_or_else(|| self.add(text));
        self.places[at] = (self.number, place);
        place
    }

    /// Returns the index of a string that may have no number.
    fn place_of(&mut self, text: &str, symbols: &Symbols) -> u32 {
        if let Some(id) = symbols.find(text) {
            return self.place(id, symbols);
        }
        if let Some(&place) = self.others.get(text) {
            return place;
        }
        let place = self.add(text);
        self.others.insert(text.into(), place);
        place
    }

    fn add(&mut self, symbol: &str) -> u32 {
        text(4, symbol, &mut self.symbols);
        self.symbols_used += 1;
        self.symbols_used - 1
    }
}

/// Returns the start time of a series, or `None` if it is unknown or not before the sample.
///
/// PRW 2.0, "Start timestamps": not later than the sample.
pub(super) fn start_before(start: Timestamp, at: Timestamp) -> Option<Timestamp> {
    (start.millis() > 0 && start < at).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_known_and_before_the_sample() {
        let at = Timestamp::from_millis;
        for (start, sample, expected) in [
            (1, 2, Some(at(1))),
            (2, 2, None),
            (3, 2, None),
            (0, 2, None),
            (-1, 2, None),
        ] {
            assert_eq!(start_before(at(start), at(sample)), expected, "{start}");
        }
    }
}
