//! Interns task names, queues, node names and exception classes as small numbers.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::bounds::{Bounds, Limit, Part};
use crate::escape::cut;

/// Replaces all names beyond a limit.
pub const OTHER: &str = "(other)";

/// Maximum length in bytes of a name that is kept in full. Names of tasks and workers are usually
/// far shorter. Longer ones are truncated and end in a hash.
pub(super) const TEXT_BYTES_MAX: usize = 200;

/// The same for queues, whose names must match those in the broker. AMQP does not allow longer
/// names, and longer ones are not polled.
const QUEUE_BYTES_MAX: usize = 255;

/// The number of a string in [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(NonZeroU32);

impl Symbol {
    const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Interns the strings that identify tasks, workers and series.
///
/// Strings come from external input and new ones keep arriving (pods get new names every day), so
/// unused ones are removed: see [`Names::keep`].
#[derive(Debug, Default)]
pub struct Names {
    texts: Vec<Option<Arc<str>>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The host of each node name.
    hosts: HashMap<Symbol, Symbol>,
    /// Number of strings left by the last sweep.
    kept: usize,
    /// Whether there was no room for a string since the last sweep.
    folded: bool,
    bounds: Bounds,
}

/// With fewer strings, a sweep is not worthwhile.
const SWEPT_MIN: usize = 4_096;

impl Names {
    /// Applies memory bounds.
    #[must_use]
    pub(super) fn within(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// The number of a string. Adds it if it is new, or returns that of [`OTHER`] if there is no
    /// room.
    pub fn intern(&mut self, text: &str) -> Symbol {
        self.intern_whole(&self.within_bytes(text, TEXT_BYTES_MAX))
    }

    /// The number of a queue name.
    pub fn intern_queue(&mut self, queue: &str) -> Symbol {
        self.intern_whole(&self.within_bytes(queue, QUEUE_BYTES_MAX))
    }

    fn intern_whole(&mut self, text: &str) -> Symbol {
        self.find_whole(text)
            .or_else(|| self.has_room(text).then(|| self.add(text)))
            .unwrap_or_else(|| self.find_whole(OTHER).unwrap_or_else(|| self.add(OTHER)))
    }

    fn within_bytes<'a>(&self, text: &'a str, bytes_max: usize) -> Cow<'a, str> {
        if text.len() > bytes_max {
            self.bounds.reached(Limit::TextBytes);
        }
        cut(text, bytes_max)
    }

    fn has_room(&mut self, text: &str) -> bool {
        let has_room = self.bounds.has_room(Part::Texts, cost(text));
        if !has_room {
            self.bounds.reached(Limit::TextMemory);
            self.folded = true;
        }
        has_room
    }

    /// Adds a new string.
    fn add(&mut self, text: &str) -> Symbol {
        self.bounds.claim(Part::Texts, cost(text));
        let hash = self.hasher.hash_one(text);
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

    /// The number of a node name, and records its [host](Self::host). `None` if there is no room,
    /// because one worker cannot represent many.
    pub fn intern_node(&mut self, nodename: &str) -> Option<Symbol> {
        let nodename = &*self.within_bytes(nodename, TEXT_BYTES_MAX);
        let node = self.find_whole(nodename);
        let node = node.or_else(|| self.has_room(nodename).then(|| self.add(nodename)))?;
        if !self.hosts.contains_key(&node) {
            let host = nodename.split_once('@').map_or(nodename, |(_, host)| host);
            let host = self.intern_whole(host);
            self.hosts.insert(node, host);
        }
        Some(node)
    }

    /// The part of a node name after the `@`.
    pub fn host(&self, node: Symbol) -> Symbol {
        self.hosts.get(&node).copied().unwrap_or(node)
    }

    /// The number of a known string.
    pub fn find(&self, text: &str) -> Option<Symbol> {
        self.find_whole(&cut(text, TEXT_BYTES_MAX))
    }

    /// The number of a known queue name.
    pub fn find_queue(&self, queue: &str) -> Option<Symbol> {
        self.find_whole(&cut(queue, QUEUE_BYTES_MAX))
    }

    fn find_whole(&self, text: &str) -> Option<Symbol> {
        let hash = self.hasher.hash_one(text);
        let same = |&at: &u32| self.texts[at as usize].as_deref() == Some(text);
        self.index.find(hash, same).map(|&at| name(at))
    }

    /// The string for a number.
    pub fn text(&self, name: Symbol) -> Arc<str> {
        self.texts[name.index()].clone().unwrap_or_default()
    }

    /// A copy that keeps strings and numbers, but not the lookup tables.
    pub(super) fn texts_only(&self) -> Self {
        Self {
            texts: self.texts.clone(),
            ..Self::default()
        }
    }

    /// Whether a sweep is due, because many strings were added since the last one or there was no
    /// room for one.
    pub fn wants_sweep(&self) -> bool {
        self.folded || self.len() > SWEPT_MIN.max(2 * self.kept)
    }

    /// Removes all strings that are not in use. Their numbers are reused.
    pub fn keep(&mut self, used: impl IntoIterator<Item = Symbol>) {
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
            if !in_use[at]
                && let Some(text) = text.take()
            {
                self.bounds.release(Part::Texts, cost(&text));
                self.free.push(u32::try_from(at).expect("came from one"));
            }
        }
        self.kept = self.len();
        self.folded = false;
    }

    /// The string for a raw number.
    #[cfg(test)]
    pub(super) fn numbered(&self, number: u32) -> Arc<str> {
        self.texts[number as usize - 1].clone().unwrap_or_default()
    }

    /// The number of strings.
    pub fn len(&self) -> usize {
        self.texts.len() - self.free.len()
    }

    /// Whether there are no strings.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The memory of a string: its entries here and in tables that refer to it, and up to three copies
/// that a checkpoint in progress holds of a task's name.
const fn cost(text: &str) -> u64 {
    160 + 3 * text.len() as u64
}

fn name(at: u32) -> Symbol {
    Symbol(NonZeroU32::MIN.saturating_add(at))
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
    fn long_texts_are_cut_and_stay_apart_and_queues_are_whole() {
        let mut names = Names::default();
        let long = |end: &str| format!("{}{end}", "ä".repeat(120));
        for (name, bytes_max) in [("a name", TEXT_BYTES_MAX), ("a queue", QUEUE_BYTES_MAX)] {
            let mut intern = |text: &str| match bytes_max {
                TEXT_BYTES_MAX => names.intern(text),
                _ => names.intern_queue(text),
            };
            let texts = [long("a"), long("b"), long(&"c".repeat(20))];
            let [a, b, c] = texts.each_ref().map(|text| intern(text));
            assert!(a != b && intern(&texts[0]) == a, "{name}");
            let lengths = [a, b, c].map(|text| names.text(text).len());
            let expected = if bytes_max == TEXT_BYTES_MAX {
                // 180 bytes of the text, the ellipsis and 16 digits, because byte 181 is inside a
                // character.
                [199, 199, 199]
            } else {
                [241, 241, 255]
            };
            assert_eq!(lengths, expected, "{name}");
        }
        assert_eq!(names.find(&long("a")), Some(names.intern(&long("a"))));
        assert_ne!(names.find(&long("a")), names.find_queue(&long("a")));
        let node = names.intern_node(&format!("{}@host", long("a")));
        assert_eq!(node, names.find(&format!("{}@host", long("a"))));
    }

    #[test]
    fn texts_without_room_fold_until_others_are_forgotten() {
        let bounds = Bounds::new(64 << 20, false, 0);
        let mut names = Names::default().within(bounds.clone());
        let good = names.intern("good");
        let mut texts = (0..).map(|n| format!("{n:0200}"));
        let mut one = || texts.next().expect("they do not end");
        let mut intern = |text: &str| {
            let name = names.intern(text);
            names.text(name)
        };
        let full = (0..1_000_000).find(|_| *intern(&one()) == *OTHER);
        // 42 MiB are shared, of which names may use 18.
        assert_eq!(full.map(|count| count / 1000), Some(25));
        assert!(bounds.times(Limit::TextMemory) > 0 && names.wants_sweep());
        assert_eq!(
            (names.intern("good"), names.intern_node(&one())),
            (good, None)
        );

        names.keep([good]);
        assert_eq!(bounds.used(Part::Texts), cost("good"));
        let new = names.intern("new");
        assert_eq!(&*names.text(new), "new");
        assert!(!names.wants_sweep());
    }

    #[test]
    fn the_host_of_a_node_lives_as_long_as_the_node() {
        let mut names = Names::default();
        let [one, two, bare] =
            ["a@h", "b@h", "bare"].map(|node| names.intern_node(node).expect("room"));
        assert_eq!(
            (&*names.text(names.host(one)), names.host(two)),
            ("h", names.host(one))
        );
        assert_eq!(names.host(bare), bare);

        names.keep([one]);
        assert_eq!((names.len(), &*names.text(names.host(one))), (2, "h"));
    }
}
