//! Upper and lower case as in Go, which maps each letter to exactly one letter.
//!
//! The standard library cannot replace this: it has only Unicode's full mapping, in which `ß`
//! becomes `SS`. Go uses the simple one. They differ only where the full mapping produces several
//! letters. Source: `UnicodeData.txt`.

/// The lower case of a letter, or the letter itself if it has none.
pub(super) fn lower(letter: char) -> char {
    let mut lower = letter.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        // The only such letter is the dotted capital I, whose simple mapping is the first of the
        // letters.
        (Some(first), Some(_)) => first,
        (None, _) => letter,
    }
}

/// The upper case of a letter, or the letter itself if it has none.
pub(super) fn upper(letter: char) -> char {
    let mut upper = letter.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        (None | Some(_), _) => iota_adscript(letter).unwrap_or(letter),
    }
}

/// Greek letters with an iota below have capitals of their own with the iota beside them.
fn iota_adscript(letter: char) -> Option<char> {
    let code = u32::from(letter);
    let further = match code {
        0x1f80..=0x1f87 | 0x1f90..=0x1f97 | 0x1fa0..=0x1fa7 => 8,
        0x1fb3 | 0x1fc3 | 0x1ff3 => 9,
        _ => return None,
    };
    char::from_u32(code + further)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_letter_becomes_one_letter() {
        let cases = [
            ('a', 'a', 'A'),
            ('É', 'é', 'É'),
            ('ß', 'ß', 'ß'),
            ('İ', 'i', 'İ'),
            ('Σ', 'σ', 'Σ'),
            ('ς', 'ς', 'Σ'),
            ('ﬁ', 'ﬁ', 'ﬁ'),
            ('ᾳ', 'ᾳ', 'ᾼ'),
            ('ᾐ', 'ᾐ', 'ᾘ'),
            ('ᾈ', 'ᾀ', 'ᾈ'),
            ('7', '7', '7'),
        ];
        for (letter, low, up) in cases {
            assert_eq!((lower(letter), upper(letter)), (low, up), "{letter}");
        }
    }
}
