//! `Standing`: what set reconciliation is about, as a ledger tells its gossip.

use weir_sdk::gossip::{Gossip, ItemId, Items, Place};

use crate::Id;

/// What became of an item that nodes reconcile. In order: an item may be settled and open again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It waits for an epoch, and whoever lacks it should get it; it need not have come by gossip.
    Open(Id),
    /// An epoch has it, or another one outdid it: nobody needs it from gossip any more.
    Settled(Id),
}

impl Standing {
    /// Tells the gossip.
    pub fn tell<I: Items>(self, gossip: &mut Gossip<I>) {
        match self {
            Self::Open(id) => gossip.hold(Place { stamp: 0, id: ItemId(id.0) }),
            Self::Settled(id) => gossip.forget(&ItemId(id.0), true),
        }
    }
}
