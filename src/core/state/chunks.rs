//! A copy-on-write vector, copied one piece at a time.
//!
//! A checkpoint needs all tasks at one instant, and there may be a million. A copy shares the
//! pieces, at one small allocation each at most. Writing to a shared piece copies that piece first,
//! so only pieces that change during the lifetime of the copy are copied, once each.
//!
//! Each event writes to the table several times. So the first write after a copy takes the piece out
//! of its reference count, which each write would otherwise check with atomic operations.

use std::ops::{Deref, Index, IndexMut};
use std::sync::Arc;

/// Elements per piece. At 120 bytes per task, copying one takes microseconds (30 kB), and a
/// million tasks are 4,000 pieces.
const PIECE: usize = 256;

/// A vector in pieces, all of which are full but the last.
#[derive(Debug)]
pub(super) struct Chunks<T> {
    pieces: Vec<Piece<T>>,
}

#[derive(Debug)]
enum Piece<T> {
    Own(Vec<T>),
    /// Shared with a copy when one was last made; that copy may be gone.
    Shared(Arc<Vec<T>>),
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { pieces: Vec::new() }
    }
}

impl<T: Clone> Chunks<T> {
    /// A copy of all elements as they are now.
    pub(super) fn share(&mut self) -> Self {
        let pieces = self.pieces.iter_mut().map(Piece::share);
        Self {
            pieces: pieces.collect(),
        }
    }

    /// Adds an element and returns its index.
    pub(super) fn push(&mut self, element: T) -> usize {
        if self.pieces.last().is_none_or(|last| last.len() == PIECE) {
            self.pieces.push(Piece::Own(Vec::with_capacity(PIECE)));
        }
        let full = (self.pieces.len() - 1) * PIECE;
        let last = self.pieces.last_mut().expect("one was added").own();
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
        &mut self.pieces[at / PIECE].own()[at % PIECE]
    }
}

impl<T> Deref for Piece<T> {
    type Target = Vec<T>;

    #[inline]
    fn deref(&self) -> &Vec<T> {
        match self {
            Self::Own(elements) => elements,
            Self::Shared(elements) => elements,
        }
    }
}

impl<T: Clone> Piece<T> {
    fn share(&mut self) -> Self {
        let shared = match self {
            Self::Own(elements) => Arc::new(std::mem::take(elements)),
            Self::Shared(elements) => Arc::clone(elements),
        };
        *self = Self::Shared(Arc::clone(&shared));
        Self::Shared(shared)
    }

    /// The elements to write to.
    #[inline]
    fn own(&mut self) -> &mut Vec<T> {
        if let Self::Shared(elements) = self {
            *self = Self::Own(owned(elements));
        }
        match self {
            Self::Own(elements) => elements,
            Self::Shared(_) => unreachable!("it was just replaced"),
        }
    }
}

/// Takes the elements, or copies them if they are still shared.
#[cold]
fn owned<T: Clone>(shared: &mut Arc<Vec<T>>) -> Vec<T> {
    match Arc::get_mut(shared) {
        Some(elements) => std::mem::take(elements),
        None => {
            let mut copy = Vec::with_capacity(PIECE);
            copy.extend_from_slice(shared);
            copy
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_stays_as_it_was_and_shares_what_is_not_written_to() {
        let mut chunks = Chunks::default();
        for n in 0..PIECE * 3 + 1 {
            assert_eq!(chunks.push(n), n);
        }
        let before = chunks.share();
        chunks[PIECE] = 0;
        chunks.push(7);

        assert!(before.iter().copied().eq(0..PIECE * 3 + 1));
        assert_eq!((chunks[PIECE], chunks[PIECE * 3 + 1]), (0, 7));
        assert_eq!(
            (before.get(PIECE * 3 + 1), chunks.get(PIECE * 9)),
            (None, None)
        );
        let pieces = before.pieces.iter().zip(&chunks.pieces);
        let are_shared = pieces.map(|(a, b)| std::ptr::eq(&raw const a[0], &raw const b[0]));
        assert!(are_shared.eq([true, false, true, false]));
    }

    #[test]
    fn a_piece_is_copied_only_while_it_is_shared() {
        let mut chunks = Chunks::default();
        chunks.push(1);
        let first = &raw const chunks[0];
        drop(chunks.share());
        chunks[0] = 2;
        assert!(std::ptr::eq(first, &raw const chunks[0]));

        let copies = [chunks.share(), chunks.share()];
        chunks[0] = 3;
        assert!(!std::ptr::eq(first, &raw const chunks[0]));
        assert_eq!(copies.map(|copy| copy[0]), [2, 2]);
        chunks.push(4);
        assert_eq!((chunks[0], chunks.pieces[0].capacity()), (3, PIECE));
    }
}
