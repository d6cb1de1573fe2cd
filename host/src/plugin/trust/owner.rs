//! Whom a plugin's store belongs to: its name, plus whoever signed it first or the content that was pinned. Pure.
//!
//! | owner | the file is | may have the store |
//! |---|---|---|
//! | nobody yet, or an empty store | anything | yes, and becomes the owner |
//! | a signer | signed by the same | yes |
//! | a pinned content | that content, or another that is pinned now | yes; the pin is the operator's word |
//! | anyone | anything | yes; a signer or a pin becomes the owner |
//! | | anything else | with `--adopt` only, and becomes the owner |
//!
//! `anyone` is what unsigned files without a pin are: there is nothing by which one could be told from another, so all
//! of them share what lies under the name, and ordinary development needs no ceremony.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::policy::Identity;
use crate::peer::PeerId;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::plugin) enum Owner {
    /// Whoever has this key.
    Signer(PeerId),
    /// This content, as [`super::Digest`] writes it.
    Content(String),
    /// Whoever has no signature.
    Anyone,
}

/// As it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::plugin) struct OwnerRecord {
    pub(in crate::plugin) owner: Owner,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signer(key) => write!(f, "signer {key}"),
            Self::Content(digest) => write!(f, "content {digest}"),
            Self::Anyone => f.write_str("anyone"),
        }
    }
}

impl Owner {
    /// Who a file would be as an owner.
    pub(in crate::plugin) fn claim(identity: &Identity) -> Self {
        match identity.signer {
            Some(signer) => Self::Signer(signer),
            None if identity.pinned => Self::Content(identity.digest.to_string()),
            None => Self::Anyone,
        }
    }

    /// Who owns the store after this file got it; an error when it may not have it.
    pub(in crate::plugin) fn admit(before: Option<&Self>, identity: &Identity, adopt: bool) -> Result<Self, Foreign> {
        let claim = Self::claim(identity);
        let Some(owner) = before else { return Ok(claim) };
        match owner {
            Self::Signer(key) if identity.signer == Some(*key) => Ok(owner.clone()),
            Self::Content(digest) if *digest == identity.digest.to_string() => Ok(owner.clone()),
            Self::Content(_) if identity.pinned => Ok(claim),
            Self::Anyone => Ok(claim),
            _ if adopt => Ok(claim),
            _ => Err(Foreign { owner: owner.clone(), claim }),
        }
    }
}

/// The store belongs to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plugin) struct Foreign {
    pub(in crate::plugin) owner: Owner,
    pub(in crate::plugin) claim: Owner,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plugin::trust::Digest;

    fn identity(signer: Option<u8>, pinned: bool, content: u8) -> Identity {
        let signer = signer.map(|key| PeerId::from_bytes([key; 32]));
        Identity { digest: Digest::of(&[content]), signer, pinned, signature: None }
    }

    fn signer(key: u8) -> Owner {
        Owner::Signer(PeerId::from_bytes([key; 32]))
    }

    #[test]
    fn the_first_one_owns_what_it_writes() {
        assert_eq!(Owner::admit(None, &identity(Some(1), true, 0), false), Ok(signer(1)));
        let content = Owner::Content(Digest::of(&[3]).to_string());
        assert_eq!(Owner::admit(None, &identity(None, true, 3), false), Ok(content));
        assert_eq!(Owner::admit(None, &identity(None, false, 3), false), Ok(Owner::Anyone));
    }

    #[test]
    fn a_signer_keeps_its_store_until_somebody_else_adopts_it() {
        let owner = signer(1);
        for other in [identity(Some(2), false, 0), identity(None, false, 0), identity(None, true, 0)] {
            let foreign = Owner::admit(Some(&owner), &other, false).expect_err("foreign");
            assert_eq!((foreign.owner, foreign.claim), (owner.clone(), Owner::claim(&other)));
            assert_eq!(Owner::admit(Some(&owner), &other, true), Ok(Owner::claim(&other)));
        }
        assert_eq!(Owner::admit(Some(&owner), &identity(Some(1), false, 9), false), Ok(owner));
    }

    #[test]
    fn a_pin_moves_with_the_operators_word_only() {
        let owner = Owner::Content(Digest::of(&[1]).to_string());
        assert_eq!(Owner::admit(Some(&owner), &identity(None, false, 1), false), Ok(owner.clone()));
        assert!(Owner::admit(Some(&owner), &identity(None, false, 2), false).is_err());
        assert!(Owner::admit(Some(&owner), &identity(Some(1), false, 2), false).is_err());
        let moved = Owner::admit(Some(&owner), &identity(None, true, 2), false);
        assert_eq!(moved, Ok(Owner::Content(Digest::of(&[2]).to_string())));
    }

    proptest! {
        /// Without `--adopt` nobody but the operator's own word takes a store from a signer or a pinned content.
        #[test]
        fn a_store_changes_hands_by_the_operators_word_only(
            files in proptest::collection::vec((proptest::option::of(0_u8..3), any::<bool>(), 0_u8..4), 1..40),
        ) {
            let mut owner: Option<Owner> = None;
            for (signer, pinned, content) in files {
                let file = identity(signer, pinned, content);
                let Ok(next) = Owner::admit(owner.as_ref(), &file, false) else { continue };
                match &owner {
                    Some(Owner::Signer(_)) => prop_assert_eq!(Some(&next), owner.as_ref()),
                    Some(Owner::Content(_)) => prop_assert!(Some(&next) == owner.as_ref() || pinned),
                    Some(Owner::Anyone) | None => prop_assert_eq!(&next, &Owner::claim(&file)),
                }
                owner = Some(next);
            }
        }
    }
}
