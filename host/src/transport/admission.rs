//! How many handshakes may be under way at once.
//!
//! Above half the limit an address must first be proven by a Retry (RFC 9000, 8.1.2), which costs this node nothing
//! to keep; so a flood with forged addresses can take one half of the places and never the other. Above the limit
//! everything is dropped, and honest dialers, who repeat their first packet, get in when it has passed.
//!
//! Two doors are needed for that: s2n-quic asks the limiter about first packets only, and lets in whoever brings a
//! valid Retry token without asking it again.

use std::convert::Infallible;

use s2n_quic::provider::address_token;
use s2n_quic::provider::endpoint_limits::{self, ConnectionAttempt, Limiter, Outcome};
use s2n_quic_core::connection::{InitialId, LocalId};
use s2n_quic_core::token;

use super::events::Pending;

/// From how many pending handshakes on addresses must be proven, however high the limit is.
const RETRY_ABOVE: u32 = 64;

/// The first door: for first packets.
#[derive(Debug)]
pub(super) struct Door {
    pending: Pending,
    max: u32,
    /// Refuses source ports that are known for reflection attacks.
    ports: endpoint_limits::Default,
}

impl Door {
    /// Lets `max` handshakes in at once.
    pub(super) fn new(pending: Pending, max: u32) -> Self {
        Self { pending, max, ports: endpoint_limits::Default::default() }
    }

    fn decide(&self, pending: u32) -> Outcome {
        if pending >= self.max {
            Outcome::drop()
        } else if pending >= RETRY_ABOVE.min(self.max.div_ceil(2)) {
            Outcome::retry()
        } else {
            Outcome::allow()
        }
    }
}

impl Limiter for Door {
    fn on_connection_attempt(&mut self, attempt: &ConnectionAttempt) -> Outcome {
        match self.ports.on_connection_attempt(attempt) {
            Outcome::Allow { .. } => self.decide(self.pending.count()),
            refused => refused,
        }
    }
}

/// The second door: for whoever brings a Retry token.
#[derive(Debug)]
pub(super) struct TokenDoor {
    pending: Pending,
    max: u32,
}

impl TokenDoor {
    /// Lets `max` handshakes in at once.
    pub(super) fn new(pending: Pending, max: u32) -> Self {
        Self { pending, max }
    }
}

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
        (self.door.pending.count() < self.door.max).then(|| self.tokens.validate_token(context, token))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_places_are_for_proven_addresses() {
        let decide = |max, pending| Door::new(Pending::default(), max).decide(pending);
        assert_eq!([0, 15].map(|pending| decide(32, pending)), [Outcome::allow(), Outcome::allow()]);
        assert_eq!([16, 31].map(|pending| decide(32, pending)), [Outcome::retry(), Outcome::retry()]);
        assert_eq!(decide(32, 32), Outcome::drop());
        assert_eq!([63, 64].map(|pending| decide(1_000, pending)), [Outcome::allow(), Outcome::retry()]);
        assert_eq!([0, 1].map(|pending| decide(1, pending)), [Outcome::allow(), Outcome::drop()]);
    }
}
