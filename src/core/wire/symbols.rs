//! Interns strings that many series share.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

/// The label names, label values and help texts of all series that one sink has sent.
///
/// A string keeps its number for as long as it is in use. Labels are stored as a few small numbers,
/// and a number stands for the same string in every request.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    texts: Vec<Text>,
    index: HashTable<u32>,
    free: Vec<u32>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct Text {
    text: Arc<str>,
    users: usize,
}

impl Symbols {
    /// Returns the number of a string, and counts another user.
    pub(super) fn intern(&mut self, text: &str) -> u32 {
        let hash = self.hasher.hash_one(text);
        if let Some(id) = self.find(text) {
            self.texts[id as usize].users += 1;
            return id;
        }
        let entry = Text {
            text: text.into(),
            users: 1,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.texts[id as usize] = entry;
                id
            }
            None => {
                self.texts.push(entry);
                u32::try_from(self.texts.len() - 1).expect("the limit on series is far below 2^32")
            }
        };
        let (texts, hasher) = (&self.texts, &self.hasher);
        self.index
            .insert_unique(hash, id, |&id| hasher.hash_one(&*texts[id as usize].text));
        id
    }

    /// Releases a number, which may be reused for another string.
    pub(super) fn release(&mut self, id: u32) {
        let entry = &mut self.texts[id as usize];
        entry.users -= 1;
        if entry.users > 0 {
            return;
        }
        let hash = self.hasher.hash_one(&*entry.text);
        if let Ok(found) = self.index.find_entry(hash, |&known| known == id) {
            found.remove();
        }
        self.free.push(id);
    }

    pub(super) fn find(&self, text: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(text);
        let same = |&id: &u32| *self.texts[id as usize].text == *text;
        self.index.find(hash, same).copied()
    }

    pub(super) fn text(&self, id: u32) -> &str {
        &self.texts[id as usize].text
    }

    /// Returns an upper bound of all numbers.
    pub(super) const fn len(&self) -> usize {
        self.texts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_its_number_for_as_long_as_it_is_used() {
        let mut symbols = Symbols::default();
        let (a, b) = (symbols.intern("a"), symbols.intern("b"));
        assert_eq!((symbols.intern("a"), symbols.text(b)), (a, "b"));

        symbols.release(a);
        assert_eq!(symbols.find("a"), Some(a));
        symbols.release(a);
        assert_eq!(symbols.find("a"), None);
        assert_eq!((symbols.intern("c"), symbols.len()), (a, 2));
        assert_eq!((symbols.text(a), symbols.find("b")), ("c", Some(b)));
    }
}
