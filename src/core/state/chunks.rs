//! A vector that is copied when it is written to, a piece at a time.
//!
//! A checkpoint needs all tasks as they were at one instant, and there may be a million. A clone shares the pieces: it
//! costs a pointer each. Who writes to a shared piece gets one of its own first, so what is written while the clone lives
//! is copied once, and the rest not at all.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// Elements in a piece. At some 140 bytes for a task a copy is 36 kB, some microseconds; and a million tasks are 4,000
/// pointers.
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
    /// Adds an element. Returns its place.
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

    /// Every element, in the order of places.
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
