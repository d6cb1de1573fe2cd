//! Moments that nobody chose and that can be had again: a small generator, and what the environment says of a run.

use std::time::SystemTime;

use anyhow::{Context as _, Result};

/// A small generator: the moments need be repeatable, not good.
pub struct Dice(u64);

impl Dice {
    /// With this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `below`.
    pub fn draw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

/// What a variable of the environment says, where it is set.
///
/// # Errors
/// When it is no number.
pub fn number(name: &str) -> Result<Option<u64>> {
    std::env::var(name).ok().map(|text| text.parse().with_context(|| format!("{name}={text} is no number"))).transpose()
}

/// The seed of this run: `WEIR_SEED`, or the clock.
///
/// # Errors
/// When `WEIR_SEED` is no number.
pub fn seed() -> Result<u64> {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64;
    Ok(number("WEIR_SEED")?.unwrap_or(clock))
}
