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
    let mut count = 0;
    while let Some(byte) = bytes.get(count) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        count += 1;
    }
    (number, count)
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
