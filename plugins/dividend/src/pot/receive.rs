//! What an item is worth: accepted, ignored because it says nothing now, or rejected because its sender should have known.

use weir_ledger::{Id, Key, Ordered, Verify};

use super::Pot;
use crate::items::{Body, Item};
use crate::layout;

/// Declarations of one payer that no epoch has anchored.
const MAX_OPEN: usize = 64;

/// What an item is worth.
pub type Verdict = weir_ledger::Verdict<Ignored, Rejected>;

/// Why an item says nothing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// It is here already.
    Known,
    /// A claim up to a later epoch is here.
    Outdone,
    /// The account never had stake, as far as this node knows.
    NoStake,
    /// The payer has 64 declarations that no epoch has anchored, or two with this number.
    TooMany,
}

/// Why an item costs its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// Its bytes are not those of an item.
    Malformed(String),
    /// The signature is not the signer's, or is one for another network.
    Signature,
    /// The genesis does not name this payer.
    NotAPayer,
}

impl Ignored {
    /// Its stable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Outdone => "outdone",
            Self::NoStake => "no-stake",
            Self::TooMany => "too-many-open",
        }
    }

    /// A sentence for people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Known => "it is here already",
            Self::Outdone => "a claim of this account up to a later epoch is here",
            Self::NoStake => {
                "the account never had stake in a closed epoch that this node knows: nothing can be due to it"
            }
            Self::TooMany => {
                "the payer has 64 declarations that no epoch has anchored, or two with this number: let the issuer close an epoch"
            }
        }
    }
}

impl Rejected {
    /// Its stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Signature => "wrong-signature",
            Self::NotAPayer => "not-a-payer",
        }
    }

    /// A sentence for people.
    pub fn sentence(&self) -> String {
        match self {
            Self::Malformed(what) => format!("these are not the bytes of a declaration or a claim: {what}"),
            Self::Signature => "the signature is not the signer's, or it was made for another network".to_owned(),
            Self::NotAPayer => "the genesis does not name this key among its payers".to_owned(),
        }
    }
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its id; none when it is not readable.
    pub id: Option<Id>,
    /// What it is worth. An accepted one is to be spread.
    pub verdict: Verdict,
}

impl Pot {
    /// Takes an item. Then let it [`Pot::step`].
    pub fn receive<S: Ordered, V: Verify>(&mut self, bytes: &[u8], store: &mut S, verify: &V) -> Receipt {
        let item = match Item::decode(bytes) {
            Ok(item) => item,
            Err(error) => {
                return Receipt { id: None, verdict: Verdict::Rejected(Rejected::Malformed(error.to_string())) };
            }
        };
        let verdict = match self.take(&item, store, verify) {
            Ok(()) => Verdict::Accepted,
            Err(verdict) => verdict,
        };
        Receipt { id: Some(item.id()), verdict }
    }

    fn take<S: Ordered, V: Verify>(&mut self, item: &Item, store: &mut S, verify: &V) -> Result<(), Verdict> {
        let id = item.id();
        if store.has(&layout::item(id)) {
            return Err(Verdict::Ignored(Ignored::Known));
        }
        let wanted = self.missing.contains(&id);
        match *item.body() {
            Body::Declaration { payer, .. } if !wanted && !self.genesis.is_payer(payer) => {
                return Err(Verdict::Rejected(Rejected::NotAPayer));
            }
            Body::Claim { account, up_to_epoch } if !wanted => {
                if self.claim_of(account, store).is_some_and(|(best, _)| best >= up_to_epoch) {
                    return Err(Verdict::Ignored(Ignored::Outdone));
                }
            }
            Body::Declaration { .. } | Body::Claim { .. } => {}
        }
        if !item.is_genuine(self.genesis.hash(), verify) {
            return Err(Verdict::Rejected(Rejected::Signature));
        }
        if wanted {
            store.put(&layout::item(id), item.bytes());
            self.missing.remove(&id);
            return Ok(());
        }
        match *item.body() {
            Body::Declaration { payer, number, .. } => self.take_declaration(payer, number, item, store),
            Body::Claim { account, up_to_epoch } => {
                if store.prefix(&layout::position_of(account), 1).is_empty() {
                    return Err(Verdict::Ignored(Ignored::NoStake));
                }
                self.keep_claim(account, up_to_epoch, id, item.bytes(), store);
                Ok(())
            }
        }
    }

    fn take_declaration<S: Ordered>(
        &mut self,
        payer: Key,
        number: u64,
        item: &Item,
        store: &mut S,
    ) -> Result<(), Verdict> {
        let twice =
            store.prefix(&layout::open_at(payer, number), 2).len() >= 2 || store.has(&layout::used(payer, number));
        if twice || store.prefix(&layout::open_of(payer), MAX_OPEN).len() >= MAX_OPEN {
            return Err(Verdict::Ignored(Ignored::TooMany));
        }
        store.put(&layout::item(item.id()), item.bytes());
        store.put(&layout::open(payer, number, item.id()), &[]);
        Ok(())
    }

    /// Declarations that no epoch has anchored: what the issuer's wallet hands to the next epoch, and what is reconciled.
    pub fn open_declarations<S: Ordered>(store: &S) -> Vec<Id> {
        let found = store.prefix(layout::OPEN, usize::MAX);
        found.iter().filter_map(|(key, _)| layout::read_id(key)).collect()
    }

    /// The number of a payer's next declaration: above all that are open or count.
    pub fn next_number<S: Ordered>(&self, payer: Key, store: &S) -> u64 {
        let last = |prefix: Vec<u8>| {
            let end = weir_ledger::store::after_prefix(&prefix);
            store.last(&prefix, end.as_deref()).and_then(|(key, _)| layout::read_number(&key))
        };
        let last = last(layout::open_of(payer)).max(last(layout::used_of(payer)));
        last.map_or(0, |last| last.saturating_add(1))
    }

    /// The bytes of an item.
    pub fn item<S: Ordered>(&self, id: Id, store: &S) -> Option<Vec<u8>> {
        store.get(&layout::item(id))
    }
}
