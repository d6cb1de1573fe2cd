//! What is signed, gossiped and stored: operations of accounts, decrees of the issuer, pages of epochs, proofs.

mod decree;
mod operation;
mod page;
mod proof;

pub use decree::{Decree, MAX_PAGES, Order};
pub use operation::{Action, Operation};
pub use page::{Anchor, Include, MAX_PAGE, Page, PageBuilder, Topic};
pub use proof::Proof;
pub use weir_ledger::{Body, Signed};

use weir_ledger::codec::DecodeError;
use weir_ledger::{Id, Key};

/// Opens what is signed, before the genesis hash.
pub const LABEL: &str = "weir-staking-v1";

/// No item is larger.
pub const MAX_ITEM: usize = MAX_PAGE;

mod kind {
    pub const OPERATION: u8 = 1;
    pub const DECREE: u8 = 2;
    pub const PAGE: u8 = 3;
    pub const PROOF: u8 = 4;
}

/// One item of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An account's operation.
    Operation(Signed<Operation>),
    /// An issuer's decree, or a rotation.
    Decree(Signed<Decree>),
    /// A page of an epoch.
    Page(Page),
    /// An account signed two operations with one number.
    Proof(Proof),
}

impl Item {
    /// Reads an item. What is too large for its kind is refused before it is looked at; nothing recurses.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let kind = *bytes.first().ok_or(DecodeError::Short)?;
        match kind {
            kind::OPERATION => Signed::decode(bytes).map(Self::Operation),
            kind::DECREE => Signed::decode(bytes).map(Self::Decree),
            kind::PAGE => Page::decode(bytes).map(Self::Page),
            kind::PROOF => Proof::decode(bytes).map(Self::Proof),
            other => Err(DecodeError::Kind(other)),
        }
    }

    /// Its name: the SHA-256 of an unsigned body or of a page; of a proof that of its account, since one proof is enough.
    pub fn id(&self) -> Id {
        match self {
            Self::Operation(operation) => operation.id(),
            Self::Decree(decree) => decree.id(),
            Self::Page(page) => page.id(),
            Self::Proof(proof) => proof.id(),
        }
    }

    /// Whose key it is signed with; none for a page.
    pub fn signer(&self) -> Option<Key> {
        match self {
            Self::Operation(operation) => Some(operation.body().account),
            Self::Decree(decree) => Some(decree.body().key),
            Self::Page(_) => None,
            Self::Proof(proof) => Some(proof.account()),
        }
    }
}
