//! Encodes and decodes the headers of segments, records and cursors.
//!
//! Pure functions that implement the layout documented in [`queue`](super). Decoding returns a
//! value only if its checksum is valid.

use bytes::{Buf, BufMut};
use crc32c::{crc32c, crc32c_append};

use crate::counts::Counts;
use crate::wire::Protocol;

/// The only version of segments and cursors so far.
pub(super) const VERSION: u16 = 1;
pub(super) const SEGMENT_HEADER: usize = 16;
pub(super) const RECORD_HEADER: usize = 72;
pub(super) const CURSOR: usize = 32;

const SEGMENT_MAGIC: [u8; 8] = *b"CELQSEGM";
const CURSOR_MAGIC: [u8; 8] = *b"CELQCURS";
/// Magic, version and gap.
const PREFIX: usize = 12;

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the body.
    pub(super) length: u32,
    /// The checksum of the body.
    pub(super) body: u32,
    pub(super) sequence: u64,
    pub(super) group: u64,
    pub(super) counts: Counts,
    pub(super) oldest_ms: i64,
    pub(super) newest_ms: i64,
    /// As stored; a later version may define more kinds.
    pub(super) kind: u8,
    pub(super) place: InGroup,
}

/// The position of a record in the group it was appended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InGroup {
    /// Not recorded: written by an early version, which left a gap here. Each record counts
    /// individually.
    Untold,
    Last,
    /// More records of the group follow.
    Before,
}

impl InGroup {
    const fn number(self) -> u8 {
        match self {
            Self::Untold => 0,
            Self::Last => 1,
            Self::Before => 2,
        }
    }

    const fn of_number(number: u8) -> Self {
        match number {
            1 => Self::Last,
            2 => Self::Before,
            _ => Self::Untold,
        }
    }
}

/// Returns the kind of a record with a body of this protocol.
pub(super) const fn kind(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::V1 => 1,
        Protocol::V2 => 2,
        Protocol::V1Zstd => 3,
    }
}

/// Returns the protocol of a record's body, if the kind is known.
pub(super) const fn protocol(kind: u8) -> Option<Protocol> {
    match kind {
        1 => Some(Protocol::V1),
        2 => Some(Protocol::V2),
        3 => Some(Protocol::V1Zstd),
        _ => None,
    }
}

/// Returns the header of a segment of this version.
pub(super) fn segment_header() -> [u8; SEGMENT_HEADER] {
    let mut bytes = [0; SEGMENT_HEADER];
    let mut out = bytes.as_mut_slice();
    out.put_slice(&SEGMENT_MAGIC);
    out.put_u16_le(VERSION);
    let checksum = crc32c(&bytes[..PREFIX]);
    bytes[PREFIX..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Returns the version in a segment header, if the header is valid.
pub(super) fn segment_version(bytes: &[u8; SEGMENT_HEADER]) -> Option<u16> {
    let mut rest = &bytes[SEGMENT_MAGIC.len()..];
    let version = rest.get_u16_le();
    rest.advance(2);
    let sound = bytes.starts_with(&SEGMENT_MAGIC) && rest.get_u32_le() == crc32c(&bytes[..PREFIX]);
    sound.then_some(version)
}

/// Returns a cursor of this version.
pub(super) fn cursor(through: u64, given: u64) -> [u8; CURSOR] {
    let mut bytes = [0; CURSOR];
    let mut out = bytes.as_mut_slice();
    out.put_slice(&CURSOR_MAGIC);
    out.put_u16_le(VERSION);
    out.put_bytes(0, 6);
    out.put_u64_le(through);
    out.put_u64_le(given);
    let checksum = cursor_checksum(&bytes);
    bytes[PREFIX..PREFIX + 4].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Returns `through` and `given` of a cursor, if it is valid.
pub(super) fn cursor_content(bytes: &[u8; CURSOR]) -> Option<(u64, u64)> {
    let mut rest = &bytes[CURSOR_MAGIC.len()..];
    let known = bytes.starts_with(&CURSOR_MAGIC) && rest.get_u16_le() == VERSION;
    rest = &bytes[PREFIX..];
    let sound = known && rest.get_u32_le() == cursor_checksum(bytes);
    sound.then(|| (rest.get_u64_le(), rest.get_u64_le()))
}

fn cursor_checksum(bytes: &[u8; CURSOR]) -> u32 {
    crc32c_append(crc32c(&bytes[..PREFIX]), &bytes[PREFIX + 4..])
}

/// Returns the checksum of a body.
pub(super) fn body_checksum(body: &[u8]) -> u32 {
    crc32c(body)
}

impl Header {
    /// Appends the header to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u32_le(self.length);
        out.put_u32_le(self.body);
        out.put_u64_le(self.sequence);
        out.put_u64_le(self.group);
        out.put_u64_le(self.counts.samples);
        out.put_u64_le(self.counts.histograms);
        out.put_u64_le(self.counts.exemplars);
        out.put_i64_le(self.oldest_ms);
        out.put_i64_le(self.newest_ms);
        out.put_u8(self.kind);
        out.put_u8(self.place.number());
        out.put_bytes(0, 2);
        let checksum = crc32c(&out[start..]);
        out.put_u32_le(checksum);
    }

    /// Parses a header, if it is valid.
    pub(super) fn read(bytes: &[u8; RECORD_HEADER]) -> Option<Self> {
        let (covered, mut checksum) = bytes.split_at(RECORD_HEADER - 4);
        if checksum.get_u32_le() != crc32c(covered) {
            return None;
        }
        let mut rest = covered;
        Some(Self {
            length: rest.get_u32_le(),
            body: rest.get_u32_le(),
            sequence: rest.get_u64_le(),
            group: rest.get_u64_le(),
            counts: Counts {
                samples: rest.get_u64_le(),
                histograms: rest.get_u64_le(),
                exemplars: rest.get_u64_le(),
            },
            oldest_ms: rest.get_i64_le(),
            newest_ms: rest.get_i64_le(),
            kind: rest.get_u8(),
            place: InGroup::of_number(rest.get_u8()),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            length: 0x0403_0201,
            body: 0x0807_0605,
            sequence: 9,
            group: 8,
            counts: Counts {
                samples: 7,
                histograms: 6,
                exemplars: 5,
            },
            oldest_ms: -2,
            newest_ms: 0x0102,
            kind: 2,
            place: InGroup::Last,
        }
    }

    #[test]
    fn a_header_is_laid_out_as_documented() {
        let mut bytes = Vec::new();
        header().write(&mut bytes);

        assert_eq!(bytes.len(), RECORD_HEADER);
        assert_eq!(bytes[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!(
            [8, 16, 24, 32, 40, 48, 56].map(number),
            [9, 8, 7, 6, 5, u64::MAX - 1, 0x0102]
        );
        assert_eq!(bytes[64..68], [2, 1, 0, 0]);
        assert_eq!(bytes[68..], crc32c(&bytes[..68]).to_le_bytes());
        // The polynomial is Castagnoli's: this is the check value from its catalogue entry.
        assert_eq!(body_checksum(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_segment_and_a_cursor_begin_as_documented() {
        let segment = segment_header();
        assert_eq!(segment[..12], *b"CELQSEGM\x01\0\0\0");
        assert_eq!(segment[12..], crc32c(&segment[..12]).to_le_bytes());

        let cursor = cursor(0x0201, 0x0403);
        assert_eq!(cursor[..12], *b"CELQCURS\x01\0\0\0");
        assert_eq!(cursor[16..24], [1, 2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(cursor[24..], [3, 4, 0, 0, 0, 0, 0, 0]);
        let covered = [&cursor[..12], &cursor[16..]].concat();
        assert_eq!(cursor[12..16], crc32c(&covered).to_le_bytes());
    }

    #[test]
    fn each_protocol_has_its_kind() {
        for (number, known) in [
            (0, None),
            (1, Some(Protocol::V1)),
            (2, Some(Protocol::V2)),
            (3, Some(Protocol::V1Zstd)),
            (4, None),
        ] {
            assert_eq!(protocol(number), known, "{number}");
            assert_eq!(known.map_or(number, kind), number);
        }
    }

    #[test]
    fn a_cursor_of_another_version_is_invalid() {
        // The version and the first byte of the magic, each with a matching checksum.
        for at in [8, 0] {
            let mut other = cursor(7, 8);
            other[at] += 1;
            let checksum = cursor_checksum(&other);
            other[PREFIX..PREFIX + 4].copy_from_slice(&checksum.to_le_bytes());
            assert_eq!(cursor_content(&other), None, "byte {at}");
        }
    }

    #[test]
    fn no_single_bit_can_change_unnoticed() {
        let mut record = Vec::new();
        header().write(&mut record);
        let record: [u8; RECORD_HEADER] = record.try_into().unwrap();
        assert_eq!(Header::read(&record), Some(header()));
        assert_eq!(segment_version(&segment_header()), Some(1));
        assert_eq!(cursor_content(&cursor(7, 8)), Some((7, 8)));

        for bit in 0..RECORD_HEADER * 8 {
            let flip = |bytes: &mut [u8]| bytes[bit / 8] ^= 1 << (bit % 8);
            let mut broken = record;
            flip(&mut broken);
            assert_eq!(Header::read(&broken), None, "bit {bit}");
            if bit / 8 < SEGMENT_HEADER {
                let mut broken = segment_header();
                flip(&mut broken);
                assert_eq!(segment_version(&broken), None, "bit {bit}");
            }
            if bit / 8 < CURSOR {
                let mut broken = cursor(7, 8);
                flip(&mut broken);
                assert_eq!(cursor_content(&broken), None, "bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            (length, body, kind) in any::<(u32, u32, u8)>(),
            (sequence, group, oldest_ms, newest_ms) in any::<(u64, u64, i64, i64)>(),
            (samples, histograms, exemplars) in any::<(u64, u64, u64)>(),
            place in 0..3_u8,
        ) {
            let place = InGroup::of_number(place);

            let counts = Counts { samples, histograms, exemplars };
            let header =
                Header { length, body, sequence, group, counts, oldest_ms, newest_ms, kind, place };
            let mut bytes = Vec::new();
            header.write(&mut bytes);
            prop_assert_eq!(Header::read(&bytes.try_into().unwrap()), Some(header));
        }

        #[test]
        fn any_bytes_can_be_read(bytes in any::<[u8; RECORD_HEADER]>()) {
            prop_assert_eq!(Header::read(&bytes), None);
        }
    }
}
