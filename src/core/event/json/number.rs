//! Reads numbers as Python writes them.

/// The number at the start and its length, if it is short: digits with at most one point, which is
/// not at the beginning. Its digits as an integer and the power of ten are exact as floats then, so
/// their quotient is the nearest float. Most timestamps have 17 digits, which is too many.
///
/// Source: William Clinger, "How to Read Floating Point Numbers Accurately", 1990.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "checked to be exact")]
pub(super) fn short_number(bytes: &[u8]) -> Option<(f64, usize)> {
    const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;
    /// As many as a `u64` holds, whatever the digits.
    const EXACT_DIGITS: usize = 19;
    const POWERS: [f64; EXACT_DIGITS] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18,
    ];
    let (whole, count) = digits(0, bytes);
    let (number, decimals, length) = match bytes.get(count) {
        Some(b'.') => {
            let (number, decimals) = digits(whole, &bytes[count + 1..]);
            (number, decimals, count + 1 + decimals)
        }
        Some(_) | None => (whole, 0, count),
    };
    let is_exact = count + decimals <= EXACT_DIGITS && number <= EXACT;
    let has_exponent = matches!(bytes.get(length), Some(b'e' | b'E'));
    (is_exact && !has_exponent).then(|| (number as f64 / POWERS[decimals], length))
}

/// The digits at the start, appended to those of `number`, and how many there are.
#[inline]
fn digits(mut number: u64, bytes: &[u8]) -> (u64, usize) {
    let mut rest = bytes;
    while let Some((chunk, behind)) = rest.split_first_chunk() {
        let (value, count) = leading(u64::from_le_bytes(*chunk));
        number = number.wrapping_mul(TENS[count]).wrapping_add(value);
        if count < chunk.len() {
            return (number, bytes.len() - rest.len() + count);
        }
        rest = behind;
    }
    let count = rest.iter().position(|byte| !byte.is_ascii_digit());
    let count = count.unwrap_or(rest.len());
    for byte in &rest[..count] {
        number = number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
    }
    (number, bytes.len() - rest.len() + count)
}

const TENS: [u64; 9] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// The number of digits at the start of eight bytes.
#[inline]
pub(super) const fn leading_digits(bytes: u64) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // A byte is a digit if its upper half is 3 and its lower half at most 9. Only bytes after the
    // first that is none may be affected by a carry.
    let values = bytes ^ (0x30 * EACH);
    let others = (values | values.wrapping_add(0x76 * EACH)) & (0x80 * EACH);
    others.trailing_zeros() as usize / 8
}

/// The value of the digits at the start of eight bytes, and their count. Any count above zero takes
/// the same path, because the processor would mispredict it.
#[inline]
const fn leading(bytes: u64) -> (u64, usize) {
    let count = leading_digits(bytes);
    if count == 0 {
        return (0, 0);
    }
    // Leading zeros instead of what follows, then pairs, fours and all eight digits.
    let values = (bytes << (64 - 8 * count)) & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = (values.wrapping_mul(10) + (values >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let eight = (fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff;
    (eight, count)
}

/// A number. One beyond the range of a float becomes the largest float, which is still a number and
/// is rejected as implausible.
pub(super) fn number(token: &[u8]) -> Option<f64> {
    let digits = token.strip_prefix(b"-").unwrap_or(token);
    if !digits.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let number: f64 = std::str::from_utf8(token).ok()?.parse().ok()?;
    Some(number.clamp(f64::MIN, f64::MAX))
}
