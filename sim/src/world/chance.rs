//! What a scenario draws.

use std::time::Duration;

use rand::RngExt;

use super::World;
use crate::courier::Flood;

impl World {
    /// A number of the range.
    pub fn draw(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.rng.random_range(range)
    }

    /// So many milliseconds.
    pub fn draw_ms(&mut self, range: std::ops::RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.draw(range))
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.draw(1..=100) <= percent
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick(&mut self, of: &[usize]) -> usize {
        assert!(!of.is_empty(), "a scenario picks from something");
        of[self.rng.random_range(0..of.len())]
    }

    /// Two different ones; `None` when there are fewer.
    pub fn pick_two(&mut self, of: &[usize]) -> Option<(usize, usize)> {
        if of.len() < 2 {
            return None;
        }
        let a = self.rng.random_range(0..of.len());
        let b = (a + self.rng.random_range(1..of.len())) % of.len();
        Some((of[a], of[b]))
    }

    /// A flood of drawn size and speed.
    pub fn draw_flood(&mut self, to: usize, protocol: u8) -> Flood {
        let size = match self.draw(0..=9) {
            0 => self.draw(20_000..=60_000),
            1..=3 => self.draw(1_000..=8_000),
            _ => self.draw(24..=600),
        };
        let gap = if self.chance(40) { Duration::ZERO } else { self.draw_ms(1..=40) };
        let count = if gap.is_zero() { self.draw(50..=1_500) } else { self.draw(20..=300) };
        let count = if size > 10_000 { count.min(200) } else { count };
        let asks = if self.chance(30) { self.draw(1..=20) } else { 0 };
        Flood { to, protocol, count, size: size as usize, gap, asks, until: None }
    }

    /// Floods between random nodes by random protocols.
    pub fn draw_floods(&mut self, count: u64, protocols: u8) {
        for _ in 0..count {
            let running = self.running();
            let Some((from, to)) = self.pick_two(&running) else { return };
            let protocol = self.draw(0..=u64::from(protocols - 1)) as u8;
            let flood = self.draw_flood(to, protocol);
            self.flood(from, flood);
        }
    }
}
