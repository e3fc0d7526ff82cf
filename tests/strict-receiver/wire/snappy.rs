//! Snappy's block format: the decoded length, then literals and copies of data decoded before.
//!
//! Source: `format_description.txt` of google/snappy.

/// Decodes a block. The error says what is wrong.
pub fn decode(mut block: &[u8]) -> Result<Vec<u8>, String> {
    let length = length(&mut block)?;
    let mut decoded = Vec::new();
    while let Some((&tag, rest)) = block.split_first() {
        block = rest;
        if tag & 3 == 0 {
            let count = match tag >> 2 {
                short @ 0..60 => usize::from(short),
                long => number(&mut block, usize::from(long) - 59)?,
            };
            let literal = block.split_at_checked(count + 1);
            let (literal, rest) = literal.ok_or("a literal is cut short")?;
            decoded.extend_from_slice(literal);
            block = rest;
        } else {
            let (count, offset) = match tag & 3 {
                1 => {
                    let high = usize::from(tag >> 5) << 8;
                    (
                        4 + usize::from((tag >> 2) & 7),
                        high + number(&mut block, 1)?,
                    )
                }
                2 => (1 + usize::from(tag >> 2), number(&mut block, 2)?),
                _ => (1 + usize::from(tag >> 2), number(&mut block, 4)?),
            };
            if offset == 0 || offset > decoded.len() {
                return Err(format!("a copy from {offset} bytes back"));
            }
            // Byte by byte, because a copy may overlap its own output.
            for _ in 0..count {
                decoded.push(decoded[decoded.len() - offset]);
            }
        }
        if decoded.len() > length {
            break;
        }
    }
    if decoded.len() == length {
        Ok(decoded)
    } else {
        Err(format!("{} bytes where {length} were said", decoded.len()))
    }
}

fn length(block: &mut &[u8]) -> Result<usize, String> {
    let mut length = 0;
    for place in 0..5 {
        let byte = number(block, 1)?;
        length |= (byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Ok(length);
        }
    }
    Err("no length".to_owned())
}

/// Reads a little-endian number of `bytes` bytes.
fn number(block: &mut &[u8], bytes: usize) -> Result<usize, String> {
    let (number, rest) = block.split_at_checked(bytes).ok_or("cut short")?;
    *block = rest;
    Ok(number
        .iter()
        .rev()
        .fold(0, |number, byte| (number << 8) | usize::from(*byte)))
}

#[test]
fn what_snappy_compresses_is_read_whatever_it_is() {
    let texts: [Vec<u8>; 5] = [
        Vec::new(),
        b"a".to_vec(),
        b"abcabcabcabcabcabcabcabcabcabcabc".repeat(1_000),
        (0..200_000_u32)
            .map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8)
            .collect(),
        (0..100_000_u32)
            .flat_map(|n| (n / 7).to_le_bytes())
            .collect(),
    ];
    for text in texts {
        let block = snap::raw::Encoder::new().compress_vec(&text).unwrap();
        assert_eq!(decode(&block).as_ref(), Ok(&text));
        for cut in 0..block.len().min(100) {
            assert!(decode(&block[..cut]).is_err(), "{cut}");
        }
    }
}
