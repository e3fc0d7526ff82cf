//! A copy-on-write slab, copied one piece at a time.
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

/// Elements by index, in pieces.
#[derive(Debug)]
pub(super) struct Chunks<T> {
    pieces: Vec<Piece<T>>,
    /// The piece that new elements are added to, or `usize::MAX` if it was freed. All others are
    /// full or freed.
    filling: usize,
    /// The indices of removed elements.
    vacant: Vec<u32>,
    /// The pieces that were freed.
    freed: Vec<usize>,
}

#[derive(Debug)]
enum Piece<T> {
    Own(Vec<T>),
    /// Shared with a copy when one was last made; that copy may be gone.
    Shared(Arc<Vec<T>>),
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            filling: 0,
            vacant: Vec::new(),
            freed: Vec::new(),
        }
    }
}

impl<T: Clone> Chunks<T> {
    /// A copy of all elements as they are now, to be read only.
    pub(super) fn share(&mut self) -> Self {
        let pieces = self.pieces.iter_mut().map(Piece::share);
        Self {
            pieces: pieces.collect(),
            ..Self::default()
        }
    }

    /// The number of removed elements whose memory is kept.
    pub(super) const fn vacant(&self) -> usize {
        self.vacant.len()
    }

    /// Adds an element and returns its index.
    pub(super) fn insert(&mut self, element: T) -> u32 {
        if let Some(at) = self.vacant.pop() {
            self[at as usize] = element;
            return at;
        }
        let filling = self.pieces.get(self.filling);
        if filling.is_none_or(|piece| piece.len() == PIECE) {
            self.filling = self.freed.pop().unwrap_or(self.pieces.len());
            self.pieces
                .resize_with(self.pieces.len().max(self.filling + 1), Piece::default);
            self.pieces[self.filling].own().reserve_exact(PIECE);
        }
        let piece = self.pieces[self.filling].own();
        piece.push(element);
        let at = self.filling * PIECE + piece.len() - 1;
        u32::try_from(at).expect("no table has 2^32 elements")
    }

    /// Removes an element. Its memory is kept for the next one.
    pub(super) fn remove(&mut self, at: u32) {
        self.vacant.push(at);
    }

    /// Frees the pieces without elements. Returns the number of elements that they had room for.
    pub(super) fn shrink(&mut self) -> usize {
        let mut vacant = vec![0; self.pieces.len()];
        for &at in &self.vacant {
            vacant[at as usize / PIECE] += 1;
        }
        let is_empty = |at: usize| vacant[at] > 0 && vacant[at] == self.pieces[at].len();
        let empty: Vec<_> = (0..self.pieces.len()).filter(|at| is_empty(*at)).collect();
        let room = empty.iter().map(|at| vacant[*at]).sum();
        for &at in &empty {
            self.pieces[at] = Piece::default();
            if at == self.filling {
                self.filling = usize::MAX;
            }
        }
        let pieces = &self.pieces;
        self.vacant
            .retain(|at| !pieces[*at as usize / PIECE].is_empty());
        self.vacant.shrink_to_fit();
        self.freed.extend(empty);
        room
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

impl<T> Default for Piece<T> {
    fn default() -> Self {
        Self::Own(Vec::new())
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
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_copy_stays_as_it_was_and_shares_what_is_not_written_to() {
        let mut chunks = Chunks::default();
        for n in 0..PIECE * 3 + 1 {
            assert_eq!(chunks.insert(n) as usize, n);
        }
        let before = chunks.share();
        chunks[PIECE] = 0;
        chunks.insert(7);

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
        chunks.insert(1);
        let first = &raw const chunks[0];
        drop(chunks.share());
        chunks[0] = 2;
        assert!(std::ptr::eq(first, &raw const chunks[0]));

        let copies = [chunks.share(), chunks.share()];
        chunks[0] = 3;
        assert!(!std::ptr::eq(first, &raw const chunks[0]));
        assert_eq!(copies.map(|copy| copy[0]), [2, 2]);
        chunks.insert(4);
        assert_eq!((chunks[0], chunks.pieces[0].capacity()), (3, PIECE));
    }

    #[test]
    fn pieces_without_elements_are_freed_and_filled_again() {
        let mut chunks = Chunks::default();
        for n in 0..PIECE * 3 + 1 {
            chunks.insert(n);
        }
        let before = chunks.share();
        let removed = (0..PIECE).chain(PIECE * 2..PIECE * 3 + 1);
        for at in removed.filter(|at| *at != PIECE * 2) {
            chunks.remove(u32::try_from(at).expect("a small index"));
        }
        assert_eq!((chunks.vacant(), chunks.shrink()), (2 * PIECE, PIECE + 1));
        assert_eq!((chunks.vacant(), chunks.shrink()), (PIECE - 1, 0));
        assert!((chunks.get(0), chunks.get(PIECE * 3)) == (None, None));
        assert_eq!((chunks[PIECE], chunks[PIECE * 2]), (PIECE, PIECE * 2));

        // First what is vacant, then the freed pieces, then new ones.
        let indices: HashSet<_> = (0..PIECE * 3).map(|n| chunks.insert(n)).collect();
        assert_eq!(indices.len(), PIECE * 3);
        assert_eq!(chunks.pieces.len(), 5);
        assert_eq!((chunks[PIECE], chunks[PIECE * 2]), (PIECE, PIECE * 2));
        assert!(before.iter().copied().eq(0..PIECE * 3 + 1));
    }
}
