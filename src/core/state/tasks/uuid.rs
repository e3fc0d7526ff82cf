//! Reads ids that are UUIDs.

/// Parses a UUID in canonical form, lower case with dashes. Other ids stay texts, so that no two of
/// them become equal.
#[inline]
pub(in crate::state) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    /// Where the digits of each byte are.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let (mut uuid, mut all) = ([0; 16], 0);
    for (byte, at) in uuid.iter_mut().zip(PLACES) {
        let (high, low) = (digit(text[at]), digit(text[at + 1]));
        all |= high | low;
        *byte = (high << 4) | low;
    }
    let is_dashed = [8, 13, 18, 23].iter().all(|at| text[*at] == b'-');
    (is_dashed && all < 16).then_some(uuid)
}

/// The value of a digit, or one that is too large. One path for all, because the digits of a UUID
/// are random, and the processor would mispredict every other one.
#[inline]
fn digit(byte: u8) -> u8 {
    const VALUES: [u8; 256] = {
        let mut values = [u8::MAX; 256];
        let mut value = 0_u8;
        while value < 16 {
            values[b"0123456789abcdef"[value as usize] as usize] = value;
            value += 1;
        }
        values
    };
    VALUES[usize::from(byte)]
}
