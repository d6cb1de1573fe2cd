//! What a plugin may do beyond the defaults: asked by its manifest and granted by the operator. Pure.

use std::collections::BTreeSet;

use crate::protocol::ProtocolId;

/// The capabilities a revision asked for and was granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(BTreeSet<String>);

/// A capability that cannot be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GrantError {
    /// No such capability exists.
    Unknown(String),
    /// Asked for and not granted: these.
    Missing(Vec<String>),
}

/// Whether the text names a capability that exists.
fn is_capability(text: &str) -> bool {
    let named = |rest: &str| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    match text.split_once(':') {
        None => matches!(text, "sign" | "wasi"),
        Some(("call", name)) => named(name),
        Some(("protocol", prefix)) => prefix.starts_with('/') && prefix.len() > 1,
        Some(_) => false,
    }
}

impl Grants {
    /// Asked ∩ granted, when everything that was asked for was granted.
    pub(super) fn decide(asked: &[String], granted: &[String]) -> Result<Self, GrantError> {
        if let Some(unknown) = asked.iter().find(|name| !is_capability(name)) {
            return Err(GrantError::Unknown(unknown.clone()));
        }
        let missing: Vec<_> = asked.iter().filter(|name| !granted.contains(name)).cloned().collect();
        if missing.is_empty() { Ok(Self(asked.iter().cloned().collect())) } else { Err(GrantError::Missing(missing)) }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub(super) fn sign(&self) -> bool {
        self.0.contains("sign")
    }

    pub(super) fn call(&self, plugin: &str) -> bool {
        self.0.contains(&format!("call:{plugin}"))
    }

    /// A granted prefix covers whole segments: `/a` covers `/a/1` and not `/ab/1`.
    pub(super) fn protocol(&self, id: &ProtocolId) -> bool {
        let covers = |prefix: &str| {
            let rest = id.as_str().strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.0.iter().filter_map(|name| name.strip_prefix("protocol:")).any(covers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn a_plugin_gets_what_it_asked_for_and_no_more() {
        let grants = Grants::decide(&texts(&["call:bank"]), &texts(&["call:bank", "sign"])).expect("granted");
        assert!(grants.call("bank") && !grants.call("ban") && !grants.sign());
    }

    #[test]
    fn what_is_missing_is_named() {
        let refused = Grants::decide(&texts(&["sign", "call:bank", "call:x"]), &texts(&["sign"]));
        assert_eq!(refused, Err(GrantError::Missing(texts(&["call:bank", "call:x"]))));
    }

    #[test]
    fn an_unknown_capability_cannot_be_granted() {
        for bad in ["root", "call:", "call:Bank", "protocol:", "protocol:/", "sign:x"] {
            let refused = Grants::decide(&texts(&[bad]), &texts(&[bad]));
            assert_eq!(refused, Err(GrantError::Unknown(bad.to_owned())));
        }
    }

    #[test]
    fn a_protocol_prefix_covers_whole_segments() {
        let grants = Grants::decide(&texts(&["protocol:/room"]), &texts(&["protocol:/room"])).expect("granted");
        let covered = |text: &str| grants.protocol(&text.parse().expect("a protocol id"));
        assert!(covered("/room/1") && covered("/room/a/1") && !covered("/rooms/1"));
    }
}
