//! Compresses messages in snappy's block format.
//!
//! Series in a request differ in only a few bytes, so a copy often has the same distance as the
//! previous one, and a copy that starts one byte later is often much longer. Both are tried here;
//! the crate `snap` tries neither.
//!
//! Source: "Snappy compressed format description" (`format_description.txt`).

use prost::encoding::encode_varint;

/// Bits of an index of the hash table: 32 KiB of positions, which the processor's caches hold.
const TABLE_BITS: u32 = 13;

/// The shortest sequence that is copied.
const COPY_MIN: usize = 4;

/// The largest distance that fits into two bytes.
const FARTHEST: usize = 0xffff;

/// The most that one element copies. A copy of that length is taken without trying one that starts a
/// byte later.
const LONGEST: usize = 64;

/// By how much longer a copy must be that starts a byte later, which takes one or two bytes itself.
const LONGER_BY: usize = 3;

/// After this many bytes without a copy, every second byte is tried, and so on.
const SKIP_AFTER: usize = 32;

/// Bytes compared at a time. Positions closer to the end are not searched.
const WORD: usize = 8;

/// A sequence that occurred before, at this distance.
#[derive(Clone, Copy, Default)]
struct Copy {
    length: usize,
    distance: usize,
}

/// Compresses a message of less than 4 GiB, the limit of the format.
pub(super) fn compress(message: &[u8]) -> Vec<u8> {
    debug_assert!(
        u32::try_from(message.len()).is_ok(),
        "a request is below 4 GiB"
    );
    let mut out = Vec::with_capacity(message.len() / 4 + 16);
    encode_varint(message.len() as u64, &mut out);
    let mut finder = Finder::new(message);
    // Nothing precedes the first byte.
    let (mut at, mut literal_start) = (1, 0);
    while at + WORD <= message.len() {
        let mut copy = finder.longest(at);
        if copy.length < COPY_MIN {
            at += 1 + (at - literal_start) / SKIP_AFTER;
            continue;
        }
        while copy.length < LONGEST && at + 1 + WORD <= message.len() {
            let next = finder.longest(at + 1);
            if next.length < copy.length + LONGER_BY {
                break;
            }
            (at, copy) = (at + 1, next);
        }
        while at > literal_start.max(copy.distance)
            && message[at - 1] == message[at - 1 - copy.distance]
        {
            (at, copy.length) = (at - 1, copy.length + 1);
        }
        literal(&message[literal_start..at], &mut out);
        copy.write(&mut out);
        at += copy.length;
        literal_start = at;
        finder.note(at, copy.distance);
    }
    literal(&message[literal_start..], &mut out);
    out
}

/// Finds earlier occurrences.
struct Finder<'a> {
    message: &'a [u8],
    /// The newest position of a sequence, by its hash.
    positions: Vec<u32>,
    /// The distance of the newest copy.
    distance: usize,
}

impl<'a> Finder<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self {
            message,
            positions: vec![0; 1 << TABLE_BITS],
            distance: 1,
        }
    }

    /// The longest known copy at a position, with a length of 0 if there is none. At least eight bytes
    /// must follow.
    #[inline]
    fn longest(&mut self, at: usize) -> Copy {
        let start = self.start(at);
        let before = std::mem::replace(&mut self.positions[slot(start)], stored(at)) as usize;
        let mut best = Copy::default();
        for distance in [self.distance, at - before] {
            let is_new = distance != best.distance && distance <= FARTHEST;
            if is_new && self.start(at - distance) == start {
                let length = COPY_MIN + self.common(at + COPY_MIN, distance);
                if length > best.length {
                    best = Copy { length, distance };
                }
            }
        }
        best
    }

    /// Notes a copy that ends at a position.
    fn note(&mut self, end: usize, distance: usize) {
        self.distance = distance;
        if end + WORD <= self.message.len() {
            let start = self.start(end - 1);
            self.positions[slot(start)] = stored(end - 1);
        }
    }

    /// The four bytes at a position.
    #[inline]
    fn start(&self, at: usize) -> u32 {
        let bytes = self.message[at..].first_chunk();
        u32::from_le_bytes(*bytes.expect("eight bytes follow"))
    }

    /// The number of bytes that are equal to those at a distance before them.
    #[inline]
    fn common(&self, at: usize, distance: usize) -> usize {
        let (ahead, before) = (&self.message[at..], &self.message[at - distance..]);
        let mut length = 0;
        while let (Some(a), Some(b)) = (
            ahead[length..].first_chunk::<WORD>(),
            before[length..].first_chunk::<WORD>(),
        ) {
            let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
            if differ != 0 {
                return length + differ.trailing_zeros() as usize / 8;
            }
            length += WORD;
        }
        let rest = ahead[length..].iter().zip(&before[length..]);
        length + rest.take_while(|(a, b)| a == b).count()
    }
}

/// A position as stored in the table.
#[expect(clippy::cast_possible_truncation, reason = "a message is below 4 GiB")]
const fn stored(at: usize) -> u32 {
    at as u32
}

/// The slot in the table of a sequence that starts with these bytes. The multiplier is snappy's.
#[inline]
fn slot(start: u32) -> usize {
    (start.wrapping_mul(0x1e35_a7bd) >> (u32::BITS - TABLE_BITS)) as usize
}

/// Writes bytes as they are.
#[expect(clippy::cast_possible_truncation, reason = "a message is below 4 GiB")]
fn literal(bytes: &[u8], out: &mut Vec<u8>) {
    let Some(last) = bytes.len().checked_sub(1) else {
        return;
    };
    // Longer lengths are in one to four bytes that follow.
    if last < 60 {
        out.push((last as u8) << 2);
    } else {
        let length = (last as u32).to_le_bytes();
        let used = length.iter().rposition(|&byte| byte != 0).unwrap_or(0);
        out.push((60 + used as u8) << 2);
        out.extend_from_slice(&length[..=used]);
    }
    out.extend_from_slice(bytes);
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the length of an element is at most 64"
)]
impl Copy {
    fn write(self, out: &mut Vec<u8>) {
        let mut length = self.length;
        // The last element copies at least four bytes, which may take the short form.
        while length >= LONGEST + COPY_MIN {
            self.element(LONGEST, out);
            length -= LONGEST;
        }
        if length > LONGEST {
            self.element(60, out);
            length -= 60;
        }
        if length < 12 && self.distance < 2048 {
            let [low, high, ..] = self.distance.to_le_bytes();
            out.extend([high << 5 | (length as u8 - 4) << 2 | 1, low]);
        } else {
            self.element(length, out);
        }
    }

    fn element(self, length: usize, out: &mut Vec<u8>) {
        let [low, high, ..] = self.distance.to_le_bytes();
        out.extend([(length as u8 - 1) << 2 | 2, low, high]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    fn decompress(body: &[u8]) -> Vec<u8> {
        let decoded = snap::raw::Decoder::new().decompress_vec(body);
        decoded.expect("a body in snappy's format")
    }

    #[test]
    fn literals_and_copies_of_all_lengths_are_read_back() {
        for length in (0..80).chain([255, 256, 257, 65_535, 65_536, 65_537, 70_000, 1 << 24]) {
            let words = (0..=length as u64 / 8).map(|n| xxh3_64(&n.to_le_bytes()).to_le_bytes());
            let noise: Vec<u8> = words.flatten().take(length).collect();
            assert_eq!(decompress(&compress(&noise)), noise, "{length}");
            let same = vec![7; length];
            assert_eq!(decompress(&compress(&same)), same, "{length}");
            // The same bytes again, which are as far away as they are long.
            let twice = [noise.clone(), noise].concat();
            let body = compress(&twice);
            assert_eq!(decompress(&body), twice, "{length}");
            if (16..65_000).contains(&length) {
                assert!(body.len() < length + length / 16 + 16, "{length}");
            }
        }
    }

    #[test]
    fn a_copy_has_the_fewest_bytes_that_its_length_and_distance_allow() {
        let of = |length, distance| {
            let mut out = Vec::new();
            Copy { length, distance }.write(&mut out);
            out
        };
        // format_description.txt, section 2: the tag is in the lower two bits.
        assert_eq!(of(4, 1), [1, 1]);
        assert_eq!(of(11, 2047), [7 << 5 | 7 << 2 | 1, 255]);
        assert_eq!(of(12, 2047), [11 << 2 | 2, 255, 7]);
        assert_eq!(of(4, 2048), [3 << 2 | 2, 0, 8]);
        assert_eq!(of(64, 65_535), [63 << 2 | 2, 255, 255]);
        assert_eq!(of(65, 50), [59 << 2 | 2, 50, 0, 1 << 2 | 1, 50]);
        assert_eq!(of(68, 50), [63 << 2 | 2, 50, 0, 1, 50]);
    }

    /// A message like a request of 2.0: histograms of some tasks. Series differ in `le` or in the name
    /// of the metric, and in their values.
    fn request() -> Vec<u8> {
        let mut message = Vec::new();
        let mut series = |metric: u8, le: Option<u8>, task: u8, value: f64| {
            let (le, length) = le.map_or((Vec::new(), 0), |le| (vec![7, 8 + le], 2));
            message.extend([42, 45 + length, 10, 10 + length, 1, metric, 3, 4, 5, 6]);
            message.extend(le);
            message.extend([9, 30 + task, 11, 6, 18, 23, 9]);
            message.extend(value.to_le_bytes());
            message.extend([16, 160, 159, 142, 220, 162, 52]);
            message.extend([24, 232, 138, 141, 220, 162, 52]);
            message.extend([42, 6, 8, 3, 24, 12, 32, 13]);
        };
        for task in 0..90 {
            let count = f64::from(task % 7 * 17);
            for le in 0..17 {
                series(2, Some(le), task, count.min(f64::from(le / 3 * 17)));
            }
            series(28, None, task, count / 7.0);
            series(29, None, task, count);
        }
        message
    }

    #[test]
    fn a_request_is_smaller_than_with_the_crate() {
        let message = request();
        let body = compress(&message);
        assert_eq!(decompress(&body), message);
        let other = snap::raw::Encoder::new().compress_vec(&message);
        let other = other.expect("a short message").len();
        // It would be more without any one of: the previous distance, a later copy, an earlier start.
        assert!(body.len() * 1000 < other * 905, "{} of {other}", body.len());
    }

    proptest! {
        #[test]
        fn what_repeats_itself_is_read_back(
            parts in vec((vec(0_u8..4, 0..20), 1_usize..9), 0..60),
        ) {
            let parts = parts.iter().map(|(bytes, times)| bytes.repeat(*times));
            let message = parts.collect::<Vec<_>>().concat();
            prop_assert_eq!(decompress(&compress(&message)), message);
        }
    }
}
