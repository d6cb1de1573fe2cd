//! Handshakes, one after the other: both sides prove their keys.

use std::time::Instant;

use anyhow::Result;

use super::share;
use crate::case::{Case, Ends, Round, Row, Unit, Way};
use crate::ends::RawNode;

/// Handshakes in a round.
const HANDSHAKES: u64 = 400;

struct Connecting {
    near: RawNode,
    far: RawNode,
    handshakes: u64,
}

pub(super) fn case(name: &'static str, scale: f64) -> Result<Case> {
    let connecting =
        Connecting { near: RawNode::start()?, far: RawNode::start()?, handshakes: share(HANDSHAKES, scale) };
    let rows = vec![Row { name, unit: Unit::HandshakesPerSecond }];
    Ok(Case { rows, ways: vec![(Way::Raw, Box::new(connecting))] })
}

impl Connecting {
    async fn connect(&mut self) -> Result<Vec<f64>> {
        let began = Instant::now();
        for _ in 0..self.handshakes {
            self.near.connect(&mut self.far).await?;
        }
        Ok(vec![self.handshakes as f64 / began.elapsed().as_secs_f64()])
    }
}

impl Ends for Connecting {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.connect())
    }
}
