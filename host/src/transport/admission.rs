//! How many handshakes may be under way at once, in all and of one source, and who may not even begin one.
//!
//! What is decided is in `door.rs`; here it is asked and carried out. Above half of a limit an address must first be
//! proven by a Retry (RFC 9000, 8.1.2), which costs this node nothing to keep. Above a limit everything is dropped, and
//! honest dialers, who repeat their first packet, get in when it has passed.
//!
//! Two doors are needed for that: s2n-quic asks the limiter about first packets only, and lets in whoever brings a
//! valid Retry token without asking it again. Addresses that the operator keeps out are left unanswered at both.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use s2n_quic::provider::address_token;
use s2n_quic::provider::endpoint_limits::{self, ConnectionAttempt, Limiter, Outcome};
use s2n_quic::provider::event::events::SocketAddress;
use s2n_quic_core::connection::{InitialId, LocalId};
use s2n_quic_core::token;
use tokio::time::Instant;

use super::access::Access;
use super::door::{Cause, DoorCounts, Doors, Knock, PendingLimits, Verdict, decide};
use super::pending::Pending;
use super::source::Source;

/// What both doors know.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) pending: Pending,
    pub(super) limits: PendingLimits,
    pub(super) access: Access,
    pub(super) doors: SharedDoors,
}

/// What both doors have decided; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct SharedDoors {
    since: Instant,
    doors: Arc<Mutex<Doors>>,
}

impl SharedDoors {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), doors: Arc::default() }
    }

    pub(super) fn counts(&self) -> DoorCounts {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner).counts
    }

    /// Counts a connection that nobody takes. When that is to be said: how many were not, since the last that was.
    pub(super) fn note_untaken(&self) -> Option<u64> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner).note_untaken(self.since.elapsed())
    }

    fn note(&self, from: SocketAddr, verdict: &Verdict) {
        let said = self.doors.lock().unwrap_or_else(PoisonError::into_inner).note(verdict, self.since.elapsed());
        let (Some(unsaid), Verdict::Refused(cause)) = (said, verdict) else { return };
        match cause {
            Cause::Denied(denied) => {
                let (scope, (limit, value)) = ("access", denied.limit());
                tracing::info!(%from, scope, limit, value, reason = %denied, unsaid, "left unanswered");
            }
            Cause::Node(full) | Cause::Source(full) => {
                let (scope, limit, value, taken) = (full.scope.name(), full.what, full.limit, full.taken);
                tracing::info!(%from, scope, limit, value, taken, reason = %full, unsaid, "left unanswered");
            }
            Cause::Port(port) => {
                let (scope, limit) = ("source", "ports that are known for reflection");
                tracing::info!(%from, scope, limit, value = port, unsaid, "left unanswered");
            }
        }
    }
}

impl Rules {
    /// For a first packet, from an address that may be forged, or for a packet with a token, whose address is proven if
    /// the token is.
    fn knock(&self, from: SocketAddr, proven: bool) -> Verdict {
        let (all, own) = self.pending.count(&Source::of(from));
        decide(&self.limits, &self.access.lists(), &Knock { from, proven, all, own })
    }

    /// For a first packet.
    fn first(&self, from: SocketAddr) -> Outcome {
        let verdict = self.knock(from, false);
        self.doors.note(from, &verdict);
        match verdict {
            Verdict::LetIn => {
                self.pending.let_in(Source::of(from));
                Outcome::allow()
            }
            Verdict::Retry => Outcome::retry(),
            Verdict::Refused(_) => Outcome::drop(),
        }
    }

    /// For a packet with a token. Whoever is let in is noted when the token has proven itself.
    fn has_room(&self, from: SocketAddr) -> bool {
        let verdict = self.knock(from, true);
        if verdict != Verdict::LetIn {
            self.doors.note(from, &verdict);
        }
        verdict == Verdict::LetIn
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
            refused => {
                let from = address(&attempt.remote_address);
                self.rules.doors.note(from, &Verdict::Refused(Cause::Port(from.port())));
                refused
            }
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
        self.door.0.doors.note(from, &Verdict::LetIn);
        self.door.0.pending.let_in(Source::of(from));
        Some(original)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(all: u32, per_source: u32) -> Rules {
        let limits = PendingLimits { all, per_source, loopback: false };
        Rules { pending: Pending::default(), limits, access: Access::default(), doors: SharedDoors::new() }
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_source_that_is_let_in_counts_at_both_doors_until_its_handshake_is_over() {
        let rules = rules(32, 4);
        let flood: Vec<_> = (0..2)
            .map(|port| {
                assert_eq!(rules.first(at(&format!("203.0.113.7:{}", 9000 + port))), Outcome::allow());
                rules.pending.begin()
            })
            .collect();
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
        let counts = DoorCounts { let_in: 3, retried: 1, source_full: 1, ..DoorCounts::default() };
        assert_eq!(rules.doors.counts(), counts);
    }

    #[test]
    fn a_blocked_address_is_left_unanswered_at_both_doors_and_that_is_said_once() {
        let (rules, said) = (rules(32, 4), crate::capture::Capture::default());
        let _listening = said.listen();
        let mut lists = crate::transport::AccessLists::default();
        lists.block.insert("203.0.113.0/24".parse().expect("an entry"));
        rules.access.replace(lists);
        for _ in 0..500 {
            assert_eq!(rules.first(at("203.0.113.7:1")), Outcome::drop());
            assert!(!rules.has_room(at("203.0.113.7:1")) && rules.has_room(at("198.51.100.1:1")));
        }
        assert_eq!(rules.first(at("198.51.100.1:1")), Outcome::allow());
        assert_eq!(rules.doors.counts(), DoorCounts { let_in: 1, denied: 1_000, ..DoorCounts::default() });
        let lines = said.named("left unanswered");
        assert_eq!(lines.len(), 1, "{lines:?}");
        let named = ["scope", "limit", "value"].map(|name| lines[0].field(name).unwrap_or_default());
        assert_eq!(named, ["access", "block list", "203.0.113.0/24"]);
        assert!(lines[0].field("reason").is_some_and(|reason| reason.contains("203.0.113.0/24")));
    }
}
