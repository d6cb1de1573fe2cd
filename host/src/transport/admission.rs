//! How many handshakes may be under way at once, in all and of one source, and who may not even begin one.
//!
//! Above half of either limit an address must first be proven by a Retry (RFC 9000, 8.1.2), which costs this node
//! nothing to keep; so a flood with forged addresses can take one half of the places and never the other, neither of
//! the node nor of the source that it pretends to be. Above a limit everything is dropped, and honest dialers, who
//! repeat their first packet, get in when it has passed.
//!
//! Two doors are needed for that: s2n-quic asks the limiter about first packets only, and lets in whoever brings a
//! valid Retry token without asking it again. Addresses that the operator keeps out are left unanswered at both.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use s2n_quic::provider::address_token;
use s2n_quic::provider::endpoint_limits::{self, ConnectionAttempt, Limiter, Outcome};
use s2n_quic::provider::event::events::SocketAddress;
use s2n_quic_core::connection::{InitialId, LocalId};
use s2n_quic_core::token;

use super::access::Access;
use super::pending::Pending;
use super::source::Source;

/// From how many pending handshakes on addresses must be proven, however high the limit is.
const RETRY_ABOVE: u32 = 64;

/// How many handshakes may be under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingLimits {
    /// In all.
    pub(super) all: u32,
    /// Of one source.
    pub(super) per_source: u32,
    /// Whether the machine itself counts as a source.
    pub(super) loopback: bool,
}

/// What both doors know.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) pending: Pending,
    pub(super) limits: PendingLimits,
    pub(super) access: Access,
}

impl Rules {
    /// For a first packet, from an address that may be forged.
    fn first(&self, from: SocketAddr) -> Outcome {
        if self.access.lists().check(None, from).is_err() {
            return Outcome::drop();
        }
        let (all, own) = self.count(from);
        let PendingLimits { all: most, per_source, .. } = self.limits;
        if all >= most {
            Outcome::drop()
        } else if all >= RETRY_ABOVE.min(most.div_ceil(2)) || own >= per_source.div_ceil(2) {
            Outcome::retry()
        } else {
            self.pending.let_in(Source::of(from));
            Outcome::allow()
        }
    }

    /// For a packet with a token, whose address is proven if the token is.
    fn has_room(&self, from: SocketAddr) -> bool {
        let (all, own) = self.count(from);
        all < self.limits.all && own < self.limits.per_source && self.access.lists().check(None, from).is_ok()
    }

    /// Handshakes under way in all and of the source.
    fn count(&self, from: SocketAddr) -> (u32, u32) {
        let source = Source::of(from);
        let (all, own) = self.pending.count(&source);
        (all, if source.is_loopback() && !self.limits.loopback { 0 } else { own })
    }
}

fn address(of: &SocketAddress) -> SocketAddr {
    match of {
        SocketAddress::IpV4 { ip, port, .. } => SocketAddr::new(IpAddr::from(**ip), *port),
        SocketAddress::IpV6 { ip, port, .. } => SocketAddr::new(IpAddr::from(**ip).to_canonical(), *port),
        // No other kind exists; one that will is of no source and on no list.
        _ => SocketAddr::from(([0, 0, 0, 0], 0)),
    }
}

/// The first door: for first packets.
#[derive(Debug)]
pub(super) struct Door {
    rules: Rules,
    /// Refuses source ports that are known for reflection attacks.
    ports: endpoint_limits::Default,
}

impl Door {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, ports: endpoint_limits::Default::default() }
    }
}

impl Limiter for Door {
    fn on_connection_attempt(&mut self, attempt: &ConnectionAttempt) -> Outcome {
        match self.ports.on_connection_attempt(attempt) {
            Outcome::Allow { .. } => self.rules.first(address(&attempt.remote_address)),
            refused => refused,
        }
    }
}

/// The second door: for whoever brings a Retry token.
#[derive(Debug)]
pub(super) struct TokenDoor(pub(super) Rules);

impl address_token::Provider for TokenDoor {
    type Format = BoundedTokens;
    type Error = Infallible;

    fn start(self) -> Result<BoundedTokens, Infallible> {
        let tokens = address_token::Provider::start(address_token::Default::default())?;
        Ok(BoundedTokens { door: self, tokens })
    }
}

/// s2n-quic's own tokens, which it takes only while there is room.
pub(super) struct BoundedTokens {
    door: TokenDoor,
    tokens: address_token::default::Format,
}

impl token::Format for BoundedTokens {
    const TOKEN_LEN: usize = <address_token::default::Format as token::Format>::TOKEN_LEN;

    fn generate_new_token(&mut self, context: &mut token::Context<'_>, source: &LocalId, out: &mut [u8]) -> Option<()> {
        self.tokens.generate_new_token(context, source, out)
    }

    fn generate_retry_token(
        &mut self,
        context: &mut token::Context<'_>,
        original_destination: &InitialId,
        out: &mut [u8],
    ) -> Option<()> {
        self.tokens.generate_retry_token(context, original_destination, out)
    }

    /// Asks for room first: a token counts as used once it was validated, and the dialer will bring it again.
    fn validate_token(&mut self, context: &mut token::Context<'_>, token: &[u8]) -> Option<InitialId> {
        let from = address(&context.remote_address);
        if !self.door.0.has_room(from) {
            return None;
        }
        let original = self.tokens.validate_token(context, token)?;
        self.door.0.pending.let_in(Source::of(from));
        Some(original)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(all: u32, per_source: u32) -> Rules {
        let limits = PendingLimits { all, per_source, loopback: false };
        Rules { pending: Pending::default(), limits, access: Access::default() }
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// Lets `count` attempts in and says what the next one gets.
    fn after(rules: &Rules, count: u32, from: &str) -> Outcome {
        let guards: Vec<_> = (0..count)
            .map(|_| {
                rules.pending.let_in(Source::of(at(from)));
                rules.pending.begin()
            })
            .collect();
        let outcome = rules.first(at(from));
        drop(guards);
        outcome
    }

    #[test]
    fn half_the_places_are_for_proven_addresses() {
        let decide = |max, pending| after(&rules(max, max), pending, "127.0.0.1:1");
        assert_eq!([0, 15].map(|pending| decide(32, pending)), [Outcome::allow(), Outcome::allow()]);
        assert_eq!([16, 31].map(|pending| decide(32, pending)), [Outcome::retry(), Outcome::retry()]);
        assert_eq!(decide(32, 32), Outcome::drop());
        assert_eq!([63, 64].map(|pending| decide(1_000, pending)), [Outcome::allow(), Outcome::retry()]);
        assert_eq!([0, 1].map(|pending| decide(1, pending)), [Outcome::allow(), Outcome::drop()]);
    }

    #[test]
    fn a_source_is_limited_only_once_its_address_is_proven() {
        let rules = rules(32, 4);
        let flood: Vec<_> = (0..2)
            .map(|port| {
                assert_eq!(rules.first(at(&format!("203.0.113.7:{}", 9000 + port))), Outcome::allow());
                rules.pending.begin()
            })
            .collect();
        // Forged or not, who comes from there must now prove it, and then still finds room.
        assert_eq!(rules.first(at("203.0.113.7:9999")), Outcome::retry());
        assert!(rules.has_room(at("203.0.113.7:9999")));
        assert_eq!(rules.first(at("203.0.113.8:1")), Outcome::allow(), "others are not held up");
        let proven: Vec<_> = (0..2)
            .map(|_| {
                rules.pending.let_in(Source::of(at("203.0.113.7:9999")));
                rules.pending.begin()
            })
            .collect();
        assert!(!rules.has_room(at("203.0.113.7:9999")) && rules.has_room(at("203.0.113.8:1")));
        drop((flood, proven));
        assert!(rules.has_room(at("203.0.113.7:9999")));
    }

    #[test]
    fn this_machine_is_no_source_unless_it_is_told_to_be() {
        let mut rules = rules(32, 2);
        assert_eq!(after(&rules, 10, "127.0.0.1:9"), Outcome::allow());
        rules.limits.loopback = true;
        assert_eq!(after(&rules, 10, "127.0.0.1:9"), Outcome::retry());
    }

    #[test]
    fn a_blocked_address_is_left_unanswered_at_both_doors() {
        let rules = rules(32, 4);
        let mut lists = crate::transport::AccessLists::default();
        lists.block.insert("203.0.113.0/24".parse().expect("an entry"));
        rules.access.replace(lists);
        assert_eq!(rules.first(at("203.0.113.7:1")), Outcome::drop());
        assert!(!rules.has_room(at("203.0.113.7:1")) && rules.has_room(at("198.51.100.1:1")));
        assert_eq!(rules.first(at("198.51.100.1:1")), Outcome::allow());
    }
}
