//! `Account`: what the closed state says of one key, and what an operation does to it.

use serde::{Deserialize, Serialize};
use weir_ledger::{Id, amount};

use crate::items::Action;

/// An unstaked amount on its way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unbonding {
    /// The epoch from which on it can be withdrawn.
    pub matures_epoch: u64,
    /// How much.
    #[serde(with = "amount")]
    pub amount: u128,
}

/// Why an included operation did nothing. It depends on the order, so nobody is punished for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The balance is smaller than what should be staked.
    BalanceTooSmall,
    /// The stake is smaller than what should be unstaked.
    StakeTooSmall,
    /// Nothing unbonding is mature.
    NothingMature,
    /// The account signed two operations with one number.
    Frozen,
    /// More tokens than 128 bits count.
    SupplyTooLarge,
}

impl Refusal {
    /// Its name in JSON.
    pub fn code(self) -> &'static str {
        match self {
            Self::BalanceTooSmall => "balance-too-small",
            Self::StakeTooSmall => "stake-too-small",
            Self::NothingMature => "nothing-mature",
            Self::Frozen => "frozen",
            Self::SupplyTooLarge => "supply-too-large",
        }
    }
}

/// One account. Its stored bytes are a leaf under the root, so its fields and their order are part of data version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Free.
    pub balance: u128,
    /// At stake.
    pub staked: u128,
    /// On its way back, by the epoch in which it matures; what is mature is one entry.
    pub unbonding: Vec<(u64, u128)>,
    /// The number of the next operation to be included.
    pub next_seq: u64,
    /// The id of the last one included; the genesis hash before the first.
    pub head: Id,
    /// The epoch from which on it can do nothing.
    pub frozen: Option<u64>,
    /// The epoch that changed its stake last; 0 for none.
    pub stake_epoch: u64,
}

impl Account {
    /// One without anything.
    pub fn new(genesis: Id) -> Self {
        Self { balance: 0, staked: 0, unbonding: Vec::new(), next_seq: 0, head: genesis, frozen: None, stake_epoch: 0 }
    }

    /// Everything unbonding, mature or not.
    pub fn unbonding_total(&self) -> u128 {
        self.unbonding.iter().fold(0, |sum: u128, (_, amount)| sum.saturating_add(*amount))
    }

    /// Does what an operation says, whole or not at all.
    ///
    /// No sum overflows: all that an account has was minted, and all that was minted fits 128 bits. The arithmetic is
    /// checked all the same, and an overflow is refused as if there were too little.
    pub fn apply(&mut self, action: Action, epoch: u64, unbonding_epochs: u64) -> Result<(), Refusal> {
        if self.frozen.is_some() {
            return Err(Refusal::Frozen);
        }
        match action {
            Action::Stake(amount) => {
                let balance = self.balance.checked_sub(amount).ok_or(Refusal::BalanceTooSmall)?;
                self.staked = self.staked.checked_add(amount).ok_or(Refusal::SupplyTooLarge)?;
                self.balance = balance;
            }
            Action::Unstake(amount) => {
                let staked = self.staked.checked_sub(amount).ok_or(Refusal::StakeTooSmall)?;
                self.gather(epoch);
                self.unbond(epoch.saturating_add(unbonding_epochs), amount)?;
                self.staked = staked;
            }
            Action::Withdraw => {
                let mature: u128 = self.mature(epoch).ok_or(Refusal::NothingMature)?;
                self.balance = self.balance.checked_add(mature).ok_or(Refusal::SupplyTooLarge)?;
                self.unbonding.retain(|(matures, _)| *matures > epoch);
            }
        }
        Ok(())
    }

    fn mature(&self, epoch: u64) -> Option<u128> {
        let mature: Vec<_> = self.unbonding.iter().filter(|(matures, _)| *matures <= epoch).collect();
        if mature.is_empty() {
            None
        } else {
            mature.iter().try_fold(0u128, |sum, (_, amount)| sum.checked_add(*amount))
        }
    }

    /// Makes one entry of all that is mature, so that there are never more than the unbonding epochs and two.
    fn gather(&mut self, epoch: u64) {
        let Some(sum) = self.mature(epoch) else { return };
        let last = self.unbonding.iter().map(|(matures, _)| *matures).filter(|matures| *matures <= epoch).max();
        self.unbonding.retain(|(matures, _)| *matures > epoch);
        self.unbonding.insert(0, (last.unwrap_or(epoch), sum));
    }

    fn unbond(&mut self, matures: u64, amount: u128) -> Result<(), Refusal> {
        match self.unbonding.iter_mut().find(|(other, _)| *other == matures) {
            Some((_, sum)) => *sum = sum.checked_add(amount).ok_or(Refusal::SupplyTooLarge)?,
            // Epochs only grow, so the new one matures last.
            None => self.unbonding.push((matures, amount)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(balance: u128) -> Account {
        Account { balance, ..Account::new(Id::default()) }
    }

    #[test]
    fn unstaked_amounts_come_back_when_they_are_mature() {
        let mut account = with(100);
        assert_eq!(account.apply(Action::Stake(101), 1, 2), Err(Refusal::BalanceTooSmall));
        assert_eq!(account.apply(Action::Stake(100), 1, 2), Ok(()));
        assert_eq!(account.apply(Action::Unstake(101), 1, 2), Err(Refusal::StakeTooSmall));
        assert_eq!(account.apply(Action::Unstake(30), 1, 2), Ok(()));
        assert_eq!(account.apply(Action::Unstake(10), 1, 2), Ok(()));
        assert_eq!(account.apply(Action::Unstake(20), 2, 2), Ok(()));
        assert_eq!(account.unbonding, [(3, 40), (4, 20)]);
        assert_eq!(account.apply(Action::Withdraw, 2, 2), Err(Refusal::NothingMature));
        assert_eq!(account.apply(Action::Withdraw, 3, 2), Ok(()));
        assert_eq!((account.balance, account.staked, account.unbonding_total()), (40, 40, 20));
        account.frozen = Some(4);
        assert_eq!(account.apply(Action::Withdraw, 9, 2), Err(Refusal::Frozen));
    }

    proptest! {
        #[test]
        fn nothing_is_made_or_lost_and_the_list_stays_short(
            steps in proptest::collection::vec((0u8..3, 0u128..60, 0u64..3), 0..200), wait in 0u64..5,
        ) {
            let mut account = with(100);
            let mut epoch = 1;
            for (what, amount, later) in steps {
                epoch += later;
                let action = match what {
                    0 => Action::Stake(amount),
                    1 => Action::Unstake(amount),
                    _ => Action::Withdraw,
                };
                let before = account.clone();
                if account.apply(action, epoch, wait).is_err() {
                    prop_assert_eq!(&before.balance, &account.balance);
                    prop_assert_eq!(before.unbonding_total(), account.unbonding_total());
                }
                prop_assert_eq!(account.balance + account.staked + account.unbonding_total(), 100);
                prop_assert!(account.unbonding.len() as u64 <= wait + 2);
                prop_assert!(account.unbonding.is_sorted());
            }
        }
    }
}
