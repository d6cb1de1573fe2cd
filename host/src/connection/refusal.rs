//! Why this node does not let a connection in: scope, limit and value, for people and for programs.

use std::fmt;

use crate::reached::Reached;
use crate::transport::Denied;
use crate::wire::{CloseCode, WIRE_VERSION};

/// Why this node refuses or closes a connection, or makes no dial. The text names what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A limit is reached.
    Limit(Reached),
    /// The operator's lists deny the peer or its address.
    Denied(Denied),
    /// The peer speaks another wire version.
    Version {
        /// Which.
        theirs: u16,
    },
    /// Another connection between the two stays; which, in words.
    Duplicate(&'static str),
    /// What the code says.
    Code(CloseCode),
}

/// What a refusal names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Whose limit it is.
    pub scope: &'static str,
    /// Which limit.
    pub limit: &'static str,
    /// How high it is, or which entry it was.
    pub value: String,
    /// How much of it is taken, when it is one that is reached.
    pub taken: Option<u64>,
}

impl Refusal {
    /// The code that the peer is told.
    pub fn code(&self) -> CloseCode {
        match self {
            Self::Limit(_) => CloseCode::Full,
            Self::Denied(_) => CloseCode::Blocked,
            Self::Version { .. } => CloseCode::Version,
            Self::Duplicate(_) => CloseCode::Duplicate,
            Self::Code(code) => *code,
        }
    }

    /// Scope, limit and value.
    pub fn named(&self) -> Named {
        let named = |scope, limit, value| Named { scope, limit, value, taken: None };
        match self {
            Self::Limit(Reached { scope, what, taken, limit, .. }) => {
                Named { taken: Some(*taken), ..named(scope.name(), what, limit.to_string()) }
            }
            Self::Denied(denied) => {
                let (limit, value) = denied.limit();
                named("access", limit, value)
            }
            Self::Version { .. } => named("node", "wire version", WIRE_VERSION.to_string()),
            Self::Duplicate(_) => named("peer", "connection that stays", "1".into()),
            Self::Code(code) => named("node", "close code", u32::from(*code).to_string()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(reached) => reached.fmt(f),
            Self::Denied(denied) => denied.fmt(f),
            Self::Version { theirs } => {
                write!(f, "this node speaks wire version {WIRE_VERSION}, the peer {theirs}; run the same release")
            }
            Self::Duplicate(which) => f.write_str(which),
            Self::Code(code) => code.fmt(f),
        }
    }
}

impl From<Reached> for Refusal {
    fn from(reached: Reached) -> Self {
        Self::Limit(reached)
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reached::Scope;

    #[test]
    fn every_refusal_names_scope_limit_and_value() {
        let entry = "203.0.113.0/24".parse().expect("an entry");
        let not_allowed = Denied::NotAllowed { entries: 3, who: "somebody".into() };
        let cases = [
            (Reached::new(Scope::Node, "peers", 64, 64).into(), ("node", "peers", "64"), CloseCode::Full),
            (Denied::Blocked(entry).into(), ("access", "block list", "203.0.113.0/24"), CloseCode::Blocked),
            (not_allowed.into(), ("access", "allow list", "3"), CloseCode::Blocked),
            (Refusal::Duplicate("another"), ("peer", "connection that stays", "1"), CloseCode::Duplicate),
            (Refusal::Code(CloseCode::Shutdown), ("node", "close code", "1"), CloseCode::Shutdown),
        ];
        for (refusal, (scope, limit, value), code) in cases {
            let taken = (code == CloseCode::Full).then_some(64);
            assert_eq!(refusal.named(), Named { scope, limit, value: value.into(), taken });
            assert_eq!(refusal.code(), code);
        }
        let version = Refusal::Version { theirs: 9 };
        assert_eq!((version.named().limit, version.code()), ("wire version", CloseCode::Version));
    }
}
