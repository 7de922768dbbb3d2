//! What every kept revision touched, in order; shared by all watchers.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::memory::slot::Slot;
use crate::revision::Revision;

/// The number of revisions in one piece of the log, so that growing it never moves all of it.
const PIECE: usize = 1024;

/// The keys that one revision touched, in key order, each once; cheap to share.
#[derive(Clone, Debug, Default)]
pub(crate) enum Touched {
    /// None: the revision was compacted away, or has not happened.
    #[default]
    Nothing,
    /// One key, which is by far the commonest.
    One(Arc<Slot>),
    /// Several.
    Many(Arc<[Arc<Slot>]>),
}

impl Touched {
    pub(crate) fn new(first: Arc<Slot>, mut others: Vec<Arc<Slot>>) -> Self {
        if others.is_empty() {
            return Self::One(first);
        }
        others.push(first);
        others.sort_unstable_by(|a, b| a.key().cmp(b.key()));
        Self::Many(others.into())
    }

    pub(crate) fn slots(&self) -> &[Arc<Slot>] {
        match self {
            Self::Nothing => &[],
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Many(slots) => slots,
        }
    }
}

/// The log: one record for each revision from the oldest kept to the present.
#[derive(Debug)]
pub(crate) struct History {
    /// The revision of the first record of the first piece, kept or not.
    base: u64,
    /// The oldest revision that is kept.
    first: u64,
    /// How many slots of that revision have been taken out.
    taken: usize,
    pieces: VecDeque<Vec<Touched>>,
}

impl History {
    /// An empty log, whose first record will be of this revision.
    pub(crate) fn new(first: Revision) -> Self {
        Self {
            base: first.get(),
            first: first.get(),
            taken: 0,
            pieces: VecDeque::new(),
        }
    }

    /// The number of revisions that are kept.
    pub(crate) fn len(&self) -> usize {
        let records = match self.pieces.back() {
            Some(last) => (self.pieces.len() - 1) * PIECE + last.len(),
            None => 0,
        };
        records - usize::try_from(self.first - self.base).unwrap_or(usize::MAX)
    }

    /// Adds what the next revision touched.
    pub(crate) fn push(&mut self, touched: Touched) {
        match self.pieces.back_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(touched),
            _ => {
                // Small at first: most stores in tests see few revisions.
                let mut piece = Vec::with_capacity(if self.pieces.is_empty() { 8 } else { PIECE });
                piece.push(touched);
                self.pieces.push_back(piece);
            }
        }
    }

    /// What a revision touched; nothing if it is not kept.
    pub(crate) fn get(&self, revision: Revision) -> &Touched {
        const NOTHING: &Touched = &Touched::Nothing;
        revision
            .get()
            .checked_sub(self.base)
            .and_then(|at| usize::try_from(at).ok())
            .and_then(|at| self.pieces.get(at / PIECE)?.get(at % PIECE))
            .unwrap_or(NOTHING)
    }

    /// Whether records up to this revision are still there to be pruned.
    pub(crate) fn has_up_to(&self, revision: Revision) -> bool {
        self.first <= revision.get()
    }

    /// Takes the next slot out of the oldest record, if that is of this revision or an older one.
    pub(crate) fn pop(&mut self, up_to: Revision) -> Option<Arc<Slot>> {
        while self.first <= up_to.get() {
            let piece = self.pieces.front_mut()?;
            let at = usize::try_from(self.first - self.base).ok()?;
            let record = piece.get_mut(at)?;
            let slot = record.slots().get(self.taken).cloned();
            self.taken += 1;
            if self.taken >= record.slots().len() {
                *record = Touched::Nothing;
                self.taken = 0;
                self.first += 1;
                if at + 1 == PIECE {
                    self.pieces.pop_front();
                    self.base = self.first;
                }
            }
            if slot.is_some() {
                return slot;
            }
        }
        None
    }
}
