//! Which limit is reached: whose, of what, how high it is and how much of it is taken. What refuses something says this
//! with it, for people as a text and for programs as it is.

use std::fmt;

use serde::Serialize;

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The whole node's.
    Node,
    /// Each peer's.
    Peer,
    /// Each IPv4 address's or IPv6 /64's.
    Source,
    /// Each connection's.
    Connection,
    /// Each stream's.
    Stream,
    /// Each pair's of a peer and a protocol.
    Lane,
    /// Each plugin's.
    Plugin,
    /// Each group of peers'.
    Group,
}

impl Scope {
    /// Its name, as in `weir limits`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Peer => "peer",
            Self::Source => "source",
            Self::Connection => "connection",
            Self::Stream => "stream",
            Self::Lane => "lane",
            Self::Plugin => "plugin",
            Self::Group => "group",
        }
    }
}

/// What is limited, in the words of `weir limits`: who refuses something names the row that says more.
pub mod names {
    use super::Scope;

    /// Of the node: those that hold a place.
    pub const PEERS: &str = "peers";
    /// Of the node: for them not all places are.
    pub const INBOUND: &str = "ordinary peers that dialed this node";
    /// Of a peer.
    pub const CONNECTIONS: &str = "connections";
    /// Of a source.
    pub const DIALED: &str = "connections dialed to this node";
    /// Of the node and of a source.
    pub const HANDSHAKES: &str = "pending handshakes";
    /// Of the node and of a peer.
    pub const UNDECIDED: &str = "undecided connections";
    /// Of the node: authenticated and not handed on yet.
    pub const UNTAKEN: &str = "connections that wait to be taken";
    /// Of a connection, of a peer and of the node.
    pub const RECEIVE_STREAMS: &str = "receive streams";
    /// Of the node: its own.
    pub const ASKS: &str = "asks";
    /// Of a lane, of a peer and of the node: those of peers.
    pub const REQUESTS: &str = "unanswered requests";

    /// What a refusal may name, and nothing else.
    pub const ALL: [(Scope, &str); 16] = [
        (Scope::Node, PEERS),
        (Scope::Node, INBOUND),
        (Scope::Peer, CONNECTIONS),
        (Scope::Source, DIALED),
        (Scope::Node, HANDSHAKES),
        (Scope::Source, HANDSHAKES),
        (Scope::Node, UNDECIDED),
        (Scope::Peer, UNDECIDED),
        (Scope::Node, UNTAKEN),
        (Scope::Connection, RECEIVE_STREAMS),
        (Scope::Peer, RECEIVE_STREAMS),
        (Scope::Node, RECEIVE_STREAMS),
        (Scope::Node, ASKS),
        (Scope::Lane, REQUESTS),
        (Scope::Peer, REQUESTS),
        (Scope::Node, REQUESTS),
    ];
}

/// A limit that is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// Whose.
    pub scope: Scope,
    /// Which one of those, where a peer or the node does not say it.
    pub of: Option<String>,
    /// Of what; one of the [`names`].
    pub what: &'static str,
    /// How many there are.
    pub taken: u64,
    /// How many there may be.
    pub limit: u64,
    /// The key that sets the limit, if one does.
    pub key: Option<&'static str>,
    /// What helps; the key follows it.
    pub advice: &'static str,
}

impl Reached {
    /// So many of so many, set by nothing: what helps is to come again later. `what` is one of the [`names`].
    pub fn new(scope: Scope, what: &'static str, taken: usize, limit: usize) -> Self {
        debug_assert!(names::ALL.contains(&(scope, what)), "no row of `weir limits` is `{what}` of a {scope:?}");
        let (taken, limit) = (taken as u64, limit as u64);
        Self { scope, of: None, what, taken, limit, key: None, advice: "dial again later" }
    }

    /// The key that sets it, and what helps beside it.
    pub fn key(self, key: &'static str, advice: &'static str) -> Self {
        Self { key: Some(key), advice, ..self }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, of, what, taken, limit, key, advice } = self;
        f.write_str(scope.name())?;
        of.as_ref().map_or(Ok(()), |of| write!(f, " {of}"))?;
        write!(f, " has {taken} of {limit} {what}; {advice}")?;
        key.map_or(Ok(()), |key| write!(f, " `{key}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_says_the_same_to_people_and_to_programs() {
        let full = Reached::new(Scope::Source, names::DIALED, 4, 4).key("limits.max_connections_per_source", "raise");
        let full = Reached { of: Some("203.0.113.7".into()), ..full };
        let text = "source 203.0.113.7 has 4 of 4 connections dialed to this node; raise \
                    `limits.max_connections_per_source`";
        assert_eq!(full.to_string(), text);
        let json = serde_json::to_value(&full).expect("serializes");
        assert_eq!((json["scope"].as_str(), json["limit"].as_u64()), (Some("source"), Some(4)));
        let undecided = Reached::new(Scope::Peer, names::UNDECIDED, 2, 2);
        assert_eq!(undecided.to_string(), "peer has 2 of 2 undecided connections; dial again later");
    }
}
