//! Task names, queues, node names and exception classes as small numbers.

use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

/// A text in a [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(NonZeroU32);

impl Name {
    const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Every text that a task, a worker or a series is known by, once.
///
/// Texts come from outside and never stop coming (pods have new names every day), so those that nothing
/// refers to any more are forgotten: see [`Names::keep`].
#[derive(Debug, Default)]
pub struct Names {
    texts: Vec<Option<Arc<str>>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The host in each node name.
    hosts: HashMap<Name, Name>,
    /// How many were left by the last sweep.
    kept: usize,
}

/// Below this many texts a sweep is not worth its time.
const SWEPT_MIN: usize = 4_096;

impl Names {
    /// The number of a text; a new one if it was not known.
    pub fn intern(&mut self, text: &str) -> Name {
        let hash = self.hasher.hash_one(text);
        let same = |&at: &u32| self.texts[at as usize].as_deref() == Some(text);
        if let Some(&at) = self.index.find(hash, same) {
            return name(at);
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.texts.push(None);
            u32::try_from(self.texts.len() - 1).expect("far fewer texts than 2^32")
        });
        self.texts[at as usize] = Some(text.into());
        let (texts, hasher) = (&self.texts, &self.hasher);
        self.index.insert_unique(hash, at, |&at| {
            hasher.hash_one(texts[at as usize].as_deref().unwrap_or_default())
        });
        name(at)
    }

    /// The number of a node name, whose [host](Self::host) is known from then on.
    pub fn intern_node(&mut self, nodename: &str) -> Name {
        let node = self.intern(nodename);
        if !self.hosts.contains_key(&node) {
            let host = nodename.split_once('@').map_or(nodename, |(_, host)| host);
            let host = self.intern(host);
            self.hosts.insert(node, host);
        }
        node
    }

    /// What stands behind the `@` of a node name.
    pub fn host(&self, node: Name) -> Name {
        self.hosts.get(&node).copied().unwrap_or(node)
    }

    /// The number of a text that is known already.
    pub fn find(&self, text: &str) -> Option<Name> {
        let hash = self.hasher.hash_one(text);
        let same = |&at: &u32| self.texts[at as usize].as_deref() == Some(text);
        self.index.find(hash, same).map(|&at| name(at))
    }

    /// The text of a number.
    pub fn text(&self, name: Name) -> Arc<str> {
        self.texts[name.index()].clone().unwrap_or_default()
    }

    /// The same texts by the same numbers, without the means to find any.
    pub(super) fn texts_only(&self) -> Self {
        Self {
            texts: self.texts.clone(),
            ..Self::default()
        }
    }

    /// Whether so many texts were added since the last sweep that another one is due.
    pub fn wants_sweep(&self) -> bool {
        self.len() > SWEPT_MIN.max(2 * self.kept)
    }

    /// Forgets every text that is not among those in use. Their numbers will stand for other texts.
    pub fn keep(&mut self, used: impl IntoIterator<Item = Name>) {
        let mut in_use = vec![false; self.texts.len()];
        for name in used {
            in_use[name.index()] = true;
            if let Some(host) = self.hosts.get(&name) {
                in_use[host.index()] = true;
            }
        }
        self.hosts.retain(|node, _| in_use[node.index()]);
        self.index.retain(|&mut at| in_use[at as usize]);
        for (at, text) in self.texts.iter_mut().enumerate() {
            if !in_use[at] && text.take().is_some() {
                self.free.push(u32::try_from(at).expect("came from one"));
            }
        }
        self.kept = self.len();
    }

    /// The text of a number as it is printed.
    #[cfg(test)]
    pub(super) fn numbered(&self, number: u32) -> Arc<str> {
        self.texts[number as usize - 1].clone().unwrap_or_default()
    }

    /// How many texts are held.
    pub fn len(&self) -> usize {
        self.texts.len() - self.free.len()
    }

    /// Whether no text is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn name(at: u32) -> Name {
    Name(NonZeroU32::MIN.saturating_add(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number_and_the_number_has_that_text() {
        let mut names = Names::default();
        let (a, b) = (names.intern("a"), names.intern("b"));

        assert_eq!(
            (names.intern("a"), names.find("b"), names.find("c")),
            (a, Some(b), None)
        );
        assert_eq!((&*names.text(a), &*names.text(b)), ("a", "b"));
    }

    #[test]
    fn what_is_not_in_use_is_forgotten_and_its_number_used_again() {
        let mut names = Names::default();
        let (a, b) = (names.intern("a"), names.intern("b"));
        names.keep([b]);

        assert_eq!((names.len(), names.find("a")), (1, None));
        assert_eq!(names.intern("c"), a);
        assert_eq!((&*names.text(a), &*names.text(b)), ("c", "b"));
    }

    #[test]
    fn the_host_of_a_node_lives_as_long_as_the_node() {
        let mut names = Names::default();
        let (one, two) = (names.intern_node("a@h"), names.intern_node("b@h"));
        let bare = names.intern_node("bare");
        assert_eq!(
            (&*names.text(names.host(one)), names.host(two)),
            ("h", names.host(one))
        );
        assert_eq!(names.host(bare), bare);

        names.keep([one]);
        assert_eq!((names.len(), &*names.text(names.host(one))), (2, "h"));
    }
}
