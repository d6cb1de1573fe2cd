//! `Accumulator`: what one unit of stake has earned since the beginning. Shares add up exactly and are floored when paid.
//!
//! # The scheme
//!
//! Amounts are counted in units of 2^-256. A declaration of amount *a* on a total stake *T* adds ⌊a · 2^256 / T⌋ to the
//! accumulator. An account with stake *s* that stays the same from accumulator *A₀* to *A₁* earns s · (A₁ − A₀) of these units,
//! exactly; when its stake changes, that is added to what it has accrued, and nothing else is touched: a declaration costs the
//! same for ten accounts as for a million. What an account is paid in all, *x* being what it has accrued in tokens, is
//! ⌊x + 2^-32⌋, less what it was paid before.
//!
//! # Why it is right
//!
//! Let *t* be an account's true share, Σ aᵢ · sᵢ / Tᵢ, and *x* what is computed. Only the division rounds, down, by less than
//! one unit of 2^-256 for each unit of stake and each declaration. With stakes below 2^128 and at most 2^70
//! declarations (64 payers at most, each with numbers of 64 bits), 0 ≤ t − x < 2^128 · 2^70 · 2^-256 = 2^-58.
//!
//! - *An exact integer is never paid one less.* If t = n is an integer, then x > n − 2^-58, so x + 2^-32 > n: n is paid. If
//!   t ≥ n, the same.
//! - *Paid never exceeds declared.* What an account is paid is at most x + 2^-32 ≤ t + 2^-32. The true shares of a declaration
//!   add up to its amount, so those of all accounts add up to the integer D, everything declared (with stake there; a
//!   declaration without is void). With fewer than 2^32 accounts all payments together are less than
//!   D + 2^32 · 2^-32 = D + 1, and they are an integer: at most D. The rest, less than one token for each account, stays in
//!   the pot.
//! - *Everything fits 384 bits.* All declared amounts together must stay below 2^128 (one that would go beyond is void).
//!   The accumulator is at most Σ aᵢ · 2^256 / Tᵢ ≤ D · 2^256 < 2^384. The stake that earns is a part of every Tᵢ it earns from,
//!   so s · (A₁ − A₀) ≤ Σ aᵢ · 2^256, and what an account accrues is at most D · 2^256 ≤ (2^128 − 1) · 2^256; the 2^224 that are
//!   added before the floor fit as well. The code checks all the same, and says so instead of wrapping.

use serde::{Deserialize, Serialize};

use crate::wide::Wide;

/// Accounts that may ever have had stake: the proof above needs fewer than 2^32.
pub const MAX_ACCOUNTS: u64 = (1 << 32) - 1;

/// How shares are counted and floored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// In units of 2^-256, floored only when paid: what dividends use.
    Exact,
    /// As contracts of the MasterChef family do: in units of 1 / `unit` (theirs is 10^12), floored whenever a position
    /// changes. For comparison with them.
    Reference {
        /// How many units are one.
        unit: u128,
    },
}

/// There is nothing that the amount could be divided by, or more than 384 bits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// Nobody had stake.
    #[error("nobody has stake")]
    NoStake,
    /// Too large.
    #[error("the amounts are too large to be added up")]
    TooLarge,
}

/// What one unit of stake has earned since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accumulator {
    rule: Rule,
    earned: Wide,
}

impl Accumulator {
    /// Nothing yet.
    pub const fn new(rule: Rule) -> Self {
        Self { rule, earned: Wide::ZERO }
    }

    /// Divides an amount among everybody who is part of `total` now.
    pub fn add(&mut self, amount: u128, total: u128) -> Result<(), AddError> {
        if total == 0 {
            return Err(AddError::NoStake);
        }
        let share = self.unit().times(amount).and_then(|amount| amount.divided_by(total));
        self.earned = share.and_then(|share| self.earned.plus(&share)).ok_or(AddError::TooLarge)?;
        Ok(())
    }

    /// How much, in the rule's units.
    pub fn earned(&self) -> Wide {
        self.earned
    }

    fn unit(&self) -> Wide {
        match self.rule {
            Rule::Exact => Wide::power_of_two(256),
            Rule::Reference { unit } => Wide::from_limbs([unit as u64, (unit >> 64) as u64, 0, 0, 0, 0]),
        }
    }

    /// What a stake earns from one state of the accumulator to a later one.
    fn share(&self, stake: u128, since: Wide) -> Option<Wide> {
        match self.rule {
            Rule::Exact => self.earned.minus(&since)?.times(stake),
            Rule::Reference { unit } => {
                let whole = |earned: Wide| earned.times(stake)?.divided_by(unit)?.times(unit);
                whole(self.earned)?.minus(&whole(since)?)
            }
        }
    }

    fn whole(&self, accrued: Wide) -> u128 {
        match self.rule {
            // The slack fits: see above. Where it did not, the sum of all amounts was too large to be declared.
            Rule::Exact => accrued.plus(&Wide::power_of_two(224)).unwrap_or(accrued).above_256(),
            Rule::Reference { unit } => accrued.divided_by(unit).and_then(|whole| whole.to_u128()).unwrap_or(u128::MAX),
        }
    }
}

/// One account's stake and what it has accrued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    stake: u128,
    /// The accumulator when the stake became what it is.
    since: Wide,
    /// Earned by the stakes before.
    accrued: Wide,
}

impl Position {
    /// Its stake.
    pub fn stake(&self) -> u128 {
        self.stake
    }

    /// Gives it another stake; what the old one earned is its own. Doing it twice is doing it once.
    pub fn restake(&mut self, stake: u128, accumulator: &Accumulator) -> Result<(), AddError> {
        let share = accumulator.share(self.stake, self.since).ok_or(AddError::TooLarge)?;
        self.accrued = self.accrued.plus(&share).ok_or(AddError::TooLarge)?;
        (self.stake, self.since) = (stake, accumulator.earned);
        Ok(())
    }

    /// Everything it has earned up to this state of the accumulator, in whole tokens. Never less than before.
    pub fn due(&self, accumulator: &Accumulator) -> u128 {
        // What does not fit was refused when it was declared.
        let share = accumulator.share(self.stake, self.since).unwrap_or(Wide::ZERO);
        accumulator.whole(self.accrued.plus(&share).unwrap_or(self.accrued))
    }
}
