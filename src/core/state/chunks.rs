//! A copy-on-write vector, copied one piece at a time.
//!
//! A checkpoint needs all tasks at one instant, and there may be a million. A clone shares the
//! pieces, which costs one pointer each. Writing to a shared piece copies that piece first, so only
//! pieces that change during the lifetime of the clone are copied, once each.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// Elements per piece. At about 140 bytes per task, copying one takes microseconds (36 kB), and a
/// million tasks need 4,000 pointers.
const PIECE: usize = 256;

/// A vector in shared pieces.
#[derive(Clone, Debug)]
pub(super) struct Chunks<T> {
    /// All but the last are full.
    pieces: Vec<Arc<Vec<T>>>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { pieces: Vec::new() }
    }
}

impl<T: Clone> Chunks<T> {
    /// Adds an element and returns its index.
    pub(super) fn push(&mut self, element: T) -> usize {
        if self.pieces.last().is_none_or(|last| last.len() == PIECE) {
            self.pieces.push(Arc::new(Vec::with_capacity(PIECE)));
        }
        let full = (self.pieces.len() - 1) * PIECE;
        let last = self.pieces.last_mut().expect("one was added");
        let last = Arc::make_mut(last);
        last.push(element);
        full + last.len() - 1
    }

    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.pieces.get(at / PIECE)?.get(at % PIECE)
    }

    /// All elements in order of their index.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }
}

impl<T> Index<usize> for Chunks<T> {
    type Output = T;

    #[inline]
    fn index(&self, at: usize) -> &T {
        &self.pieces[at / PIECE][at % PIECE]
    }
}

impl<T: Clone> IndexMut<usize> for Chunks<T> {
    #[inline]
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut Arc::make_mut(&mut self.pieces[at / PIECE])[at % PIECE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_stays_as_it_was_and_shares_what_is_not_written_to() {
        let mut chunks = Chunks::default();
        for n in 0..PIECE * 3 + 1 {
            assert_eq!(chunks.push(n), n);
        }
        let before = chunks.clone();
        chunks[PIECE] = 0;
        chunks.push(7);

        assert!(before.iter().copied().eq(0..PIECE * 3 + 1));
        assert_eq!((chunks[PIECE], chunks[PIECE * 3 + 1]), (0, 7));
        assert_eq!(
            (before.get(PIECE * 3 + 1), chunks.get(PIECE * 9)),
            (None, None)
        );
        let pieces = before.pieces.iter().zip(&chunks.pieces);
        let shared: Vec<_> = pieces.map(|(a, b)| Arc::ptr_eq(a, b)).collect();
        assert_eq!(shared, [true, false, true, false]);
    }
}
