//! The words for what an item is worth: verdicts, their reasons, and the receipt that a ledger gives.

use weir_ledger::Id;

/// What an item is worth.
pub type Verdict = weir_ledger::Verdict<Ignored, Rejected>;

/// Why an item says nothing now. It may later: reconciliation brings it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// It is here already.
    Known,
    /// The account has no mint.
    NoMint,
    /// The account signed two operations with one number.
    Equivocated,
    /// Its number is 64 or more above the last included one.
    TooFarAhead,
    /// The issuer's log is not there yet.
    LogTooShort,
    /// It belongs to a reign that is over, or to one that is not known.
    OtherReign,
    /// Two decrees with this number are known, and two are enough.
    Enough,
    /// A rotation that a better one outdid.
    Outdone,
    /// A page that no epoch names.
    NotNamed,
}

/// Why an item costs its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// Its bytes are not those of an item.
    Malformed(String),
    /// The signature is not the signer's, or is one for another network.
    Signature,
    /// The key has no right to it.
    NotTheIssuer,
}

impl Ignored {
    /// Its stable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::NoMint => "no-mint",
            Self::Equivocated => "equivocated",
            Self::TooFarAhead => "too-far-ahead",
            Self::LogTooShort => "log-too-short",
            Self::OtherReign => "other-reign",
            Self::Enough => "enough",
            Self::Outdone => "outdone",
            Self::NotNamed => "not-named",
        }
    }

    /// A sentence for people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Known => "it is here already",
            Self::NoMint => "the account has no mint: let the issuer mint to it first",
            Self::Equivocated => "the account signed two operations with one number and can do nothing any more",
            Self::TooFarAhead => "the account has 64 operations pending: wait for an epoch that includes them",
            Self::LogTooShort => "this node has not caught up with the issuer's log: try again in a while",
            Self::OtherReign => {
                "it is signed for another reign: the issuer's key was rotated, or this node has not heard of it yet"
            }
            Self::Enough => "two decrees with this number are known already",
            Self::Outdone => "a better rotation is known: sign one with a higher reign",
            Self::NotNamed => "no epoch names this page",
        }
    }
}

impl Rejected {
    /// Its stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Signature => "wrong-signature",
            Self::NotTheIssuer => "not-the-issuer",
        }
    }

    /// A sentence for people.
    pub fn sentence(&self) -> String {
        match self {
            Self::Malformed(what) => {
                format!("these are not the bytes of an operation, a decree, a page or a proof: {what}")
            }
            Self::Signature => "the signature is not the signer's, or it was made for another network".to_owned(),
            Self::NotTheIssuer => "the key is not the issuer's (for a rotation: not the recovery key)".to_owned(),
        }
    }
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its name; none when it is not readable.
    pub id: Option<Id>,
    /// What it is worth.
    pub verdict: Verdict,
    /// What others should have: the item itself, or the proof that it completed.
    pub spread: Vec<Vec<u8>>,
}

impl Receipt {
    pub(super) fn new(id: Id, verdict: Verdict, bytes: &[u8]) -> Self {
        let spread = if verdict == Verdict::Accepted { vec![bytes.to_vec()] } else { Vec::new() };
        Self { id: Some(id), verdict, spread }
    }
}
