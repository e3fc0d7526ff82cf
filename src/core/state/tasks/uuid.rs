//! Reads ids that are UUIDs.

/// Parses a UUID in canonical form, lower case with dashes. Other ids stay texts, so that no two of
/// them become equal.
///
/// It reads eight digits at once, and has one path for all: the digits of a UUID are random, and
/// the processor would mispredict every other one.
#[inline]
pub(in crate::state) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let four = |at: usize| u32::from_le_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]]);
    let eight = |first, second| u64::from(four(first)) | u64::from(four(second)) << 32;
    let words = [eight(0, 4), eight(9, 14), eight(19, 24), eight(28, 32)];
    let (mut uuid, mut wrong) = ([0; 16], 0);
    for (bytes, word) in uuid.chunks_exact_mut(4).zip(words) {
        let (four, odd) = pairs(word);
        wrong |= odd;
        bytes.copy_from_slice(&four);
    }
    let is_dashed = [8, 13, 18, 23].iter().all(|at| text[*at] == b'-');
    (is_dashed && wrong == 0).then_some(uuid)
}

/// The bytes written as eight digits, the first one lowest; and a number that is not 0 if one of
/// them is no digit.
#[inline]
const fn pairs(digits: u64) -> ([u8; 4], u64) {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // A digit is 0x30 and its value, a letter 0x57 and its value.
    let is_letter = digits >> 6 & EACH;
    let low = digits & (0x0f * EACH);
    let value = low + 9 * is_letter;
    let is_ten_or_more = (value + 6 * EACH) >> 4 & EACH;
    let wrong_head = (digits & (0xf0 * EACH)) ^ (0x30 * EACH + 0x30 * is_letter);
    let wrong = wrong_head | (value & (0x10 * EACH)) | (is_ten_or_more ^ is_letter);
    let pairs = (value << 4 | value >> 8) & 0x00ff_00ff_00ff_00ff;
    let pairs = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    let pairs = (pairs | pairs >> 16) & 0xffff_ffff;
    let [a, b, c, d, ..] = pairs.to_le_bytes();
    ([a, b, c, d], wrong)
}
