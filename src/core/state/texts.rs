//! Converts names to indexes into a table of stored texts, and back. Indexes start at 1; 0 means
//! none.

use hashbrown::HashMap;

use super::{Names, Symbol};
use crate::saved::TEXT_MAX;

/// The texts of one part of the stored form.
#[derive(Debug, Default)]
pub(super) struct Texts {
    places: HashMap<Symbol, u32>,
    names: Vec<Symbol>,
}

impl Texts {
    /// The index of a name.
    pub(super) fn place(&mut self, name: Option<Symbol>) -> u32 {
        let Some(name) = name else { return 0 };
        *self.places.entry(name).or_insert_with(|| {
            self.names.push(name);
            u32::try_from(self.names.len()).expect("names are 32 bits")
        })
    }

    /// The texts in order of their index.
    pub(super) fn stored(self, names: &Names) -> Vec<String> {
        let texts = self.names.into_iter();
        texts.map(|name| names.text(name).to_string()).collect()
    }
}

/// The names of stored texts. An index without a text, or with one that no event could contain,
/// yields no name.
#[derive(Debug)]
pub(super) struct Restored<'a> {
    texts: &'a [String],
    names: &'a mut Names,
}

impl<'a> Restored<'a> {
    pub(super) const fn new(texts: &'a [String], names: &'a mut Names) -> Self {
        Self { texts, names }
    }

    pub(super) fn name(&mut self, place: u32) -> Option<Symbol> {
        let text = self.text(place)?;
        // Queue names may be longer than other texts, and stored texts have already been cut.
        Some(self.names.intern_queue(text))
    }

    /// The name of a node.
    pub(super) fn node(&mut self, place: u32) -> Option<Symbol> {
        let text = self.text(place)?;
        self.names.intern_node(text)
    }

    fn text(&self, place: u32) -> Option<&'a str> {
        let at = usize::try_from(place).ok()?.checked_sub(1)?;
        let text = self.texts.get(at).map(String::as_str);
        text.filter(|text| text.len() <= TEXT_MAX)
    }
}
