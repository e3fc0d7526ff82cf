//! The letters that sort a table: one per column, from its title.

use crate::terminal::table::Table;

/// A letter and its place in the title of its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    /// Upper case.
    pub(super) letter: char,
    /// Byte offset.
    at: usize,
}

/// Chooses for each column the first letter of its title that no column before it has.
pub(super) fn letters(table: &Table) -> Vec<Option<Letter>> {
    let mut used: Vec<char> = Vec::new();
    let columns = table.columns.iter().map(|head| {
        let letters = head.title.char_indices();
        let mut free = letters.filter_map(|(at, c)| {
            let letter = c.to_ascii_uppercase();
            (c.is_ascii_alphabetic() && !used.contains(&letter)).then_some(Letter { letter, at })
        });
        let letter = free.next()?;
        used.push(letter.letter);
        Some(letter)
    });
    columns.collect()
}

/// Divides a padded title: what is before its letter, the letter, and what is behind it. Only the letter is in upper
/// case.
pub(super) fn divided(padded: &str, title: &str, letter: Option<Letter>) -> [String; 3] {
    let text = padded.to_lowercase();
    let found = letter.and_then(|letter| Some((text.find(&title.to_lowercase())?, letter)));
    match found {
        Some((begin, letter)) => {
            let at = begin + letter.at;
            let (before, rest) = text.split_at(at);
            [
                before.to_owned(),
                letter.letter.to_string(),
                rest[1..].to_owned(),
            ]
        }
        None => [text, String::new(), String::new()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::fixture;
    use crate::terminal::section::{Choice, Section};

    #[test]
    fn every_column_has_a_letter_of_its_own() {
        let status = fixture::status();
        for section in Section::ALL {
            let table = section.table(&status, &Choice::default());
            let letters = letters(&table);
            assert!(letters.iter().all(Option::is_some), "{section:?}");
        }
        let table = Section::Queues.table(&status, &Choice::default());
        let found: String = letters(&table).iter().flatten().map(|l| l.letter).collect();
        assert_eq!(found, "QWUOITDASRM");
        let letter = letters(&table)[5];
        let shown = divided("  Out/min▼", "Out/min", letter);
        assert_eq!(shown, ["  ou", "T", "/min▼"]);
    }
}
