//! What a frozen account leaves behind: its pending operations go, because no epoch will ever do anything for them.
//!
//! What an epoch once named stays as an item, also where that epoch was undone: a rotation may choose its log after all, and
//! then everybody asks for it by name.

use weir_ledger::{Id, Ordered, Standing, Verify};

use super::desk::Desk;
use super::{Ledger, PIECE};
use crate::items::Proof;
use crate::layout;

impl Ledger {
    /// Drops what the accounts of these proofs have pending, from this proof on. Returns the first one that has some left.
    ///
    /// It comes behind the operations that the same epoch includes: those are named, and pending no more.
    pub(super) fn drop_pending<S: Ordered, V: Verify>(
        &mut self,
        proofs: &[Proof],
        mut at: usize,
        desk: &mut Desk<'_, S, V>,
    ) -> usize {
        while let Some(proof) = proofs.get(at).filter(|_| desk.has_left()) {
            let found = desk.prefix(&layout::pending_of(proof.account()), PIECE);
            let proving = proof.operations().map(|operation| operation.id());
            for (pending, named) in &found {
                desk.remove(pending);
                let Some((_, _, id)) = layout::read_pending(pending) else { continue };
                self.drop_item(id, named == layout::NAMED || proving.contains(&id), desk);
            }
            at += usize::from(found.len() < PIECE);
        }
        at
    }

    fn drop_item<S: Ordered, V: Verify>(&mut self, id: Id, keep: bool, desk: &mut Desk<'_, S, V>) {
        if !keep {
            desk.remove(&layout::item(id));
        }
        self.standings.push(Standing::Settled(id));
    }
}
