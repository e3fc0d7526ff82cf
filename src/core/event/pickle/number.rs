//! Numbers, as text and as bytes.

use crate::event::DecodeError;

/// A number as Python writes it. Beyond the range of a float, the largest float.
pub(super) fn number(digits: &[u8]) -> Result<f64, DecodeError> {
    let text = std::str::from_utf8(digits).ok();
    let number: Option<f64> = text.and_then(|text| text.trim().parse().ok());
    let number = number.ok_or(DecodeError::Pickle)?;
    let word = digits.iter().any(|byte| matches!(byte, b'n' | b'N'));
    Ok(if word {
        number
    } else {
        number.clamp(f64::MIN, f64::MAX)
    })
}

/// An integer in two's complement, least significant byte first. Beyond the range of a float, the
/// largest float.
pub(super) fn long(bytes: &[u8]) -> f64 {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let size = bytes.iter().rev().fold(0.0, |size: f64, byte| {
        let byte = if negative { !byte } else { *byte };
        (size * 256.0 + f64::from(byte)).min(f64::MAX)
    });
    if negative { -size - 1.0 } else { size }
}
