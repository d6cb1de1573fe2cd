//! `Wide`: unsigned integers of 384 bits, as few operations as dividends need. Nothing wraps; what does not fit is `None`.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

const LIMBS: usize = 6;

/// An unsigned integer below 2^384; the lowest 64 bits first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wide([u64; LIMBS]);

impl Wide {
    /// Nothing.
    pub const ZERO: Self = Self([0; LIMBS]);

    /// 2 to this power, below 384.
    pub const fn power_of_two(power: usize) -> Self {
        let mut limbs = [0; LIMBS];
        limbs[power / 64] = 1 << (power % 64);
        Self(limbs)
    }

    /// From its limbs, the lowest first.
    pub const fn from_limbs(limbs: [u64; LIMBS]) -> Self {
        Self(limbs)
    }

    /// Its 48 bytes, the highest first.
    pub fn to_be_bytes(&self) -> [u8; LIMBS * 8] {
        let mut bytes = [0; LIMBS * 8];
        bytes
            .chunks_exact_mut(8)
            .zip(self.0.iter().rev())
            .for_each(|(chunk, limb)| chunk.copy_from_slice(&limb.to_be_bytes()));
        bytes
    }

    /// The sum.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        let (mut sum, mut carry) = (Self::ZERO, 0u128);
        for place in 0..LIMBS {
            let here = u128::from(self.0[place]) + u128::from(other.0[place]) + carry;
            sum.0[place] = here as u64;
            carry = here >> 64;
        }
        (carry == 0).then_some(sum)
    }

    /// The difference.
    pub fn minus(&self, other: &Self) -> Option<Self> {
        let (mut difference, mut borrow) = (Self::ZERO, false);
        for place in 0..LIMBS {
            let (here, under) = self.0[place].overflowing_sub(other.0[place]);
            let (here, under_again) = here.overflowing_sub(u64::from(borrow));
            difference.0[place] = here;
            borrow = under || under_again;
        }
        (!borrow).then_some(difference)
    }

    /// The product.
    pub fn times(&self, factor: u128) -> Option<Self> {
        let low = self.times_limb(factor as u64)?;
        let high = self.times_limb((factor >> 64) as u64)?;
        // One limb up.
        if high.0[LIMBS - 1] != 0 {
            return None;
        }
        let mut shifted = Self::ZERO;
        shifted.0[1..].copy_from_slice(&high.0[..LIMBS - 1]);
        low.plus(&shifted)
    }

    fn times_limb(&self, factor: u64) -> Option<Self> {
        let (mut product, mut carry) = (Self::ZERO, 0u128);
        for place in 0..LIMBS {
            // (2^64 - 1)^2 + 2^64 - 1 is below 2^128.
            let here = u128::from(self.0[place]) * u128::from(factor) + carry;
            product.0[place] = here as u64;
            carry = here >> 64;
        }
        (carry == 0).then_some(product)
    }

    /// The quotient, floored; none for a divisor of zero.
    pub fn divided_by(&self, divisor: u128) -> Option<Self> {
        if divisor == 0 {
            return None;
        }
        if let Ok(divisor) = u64::try_from(divisor) {
            return Some(self.divided_by_limb(divisor));
        }
        // Bit by bit. The remainder is below the divisor, so doubled it is below 2^129: the bit that falls out at the top says
        // that the divisor fits into it.
        let (mut quotient, mut remainder) = (Self::ZERO, 0u128);
        for bit in (0..LIMBS * 64).rev() {
            let falls_out = remainder >> 127 == 1;
            remainder = remainder << 1 | u128::from(self.0[bit / 64] >> (bit % 64) & 1);
            if falls_out || remainder >= divisor {
                remainder = remainder.wrapping_sub(divisor);
                quotient.0[bit / 64] |= 1 << (bit % 64);
            }
        }
        Some(quotient)
    }

    fn divided_by_limb(&self, divisor: u64) -> Self {
        let (mut quotient, mut remainder) = (Self::ZERO, 0u128);
        for place in (0..LIMBS).rev() {
            let here = remainder << 64 | u128::from(self.0[place]);
            // The remainder is below the divisor, so the quotient fits one limb.
            quotient.0[place] = (here / u128::from(divisor)) as u64;
            remainder = here % u128::from(divisor);
        }
        quotient
    }

    /// What is left of it without its lowest 256 bits.
    pub fn above_256(&self) -> u128 {
        u128::from(self.0[5]) << 64 | u128::from(self.0[4])
    }

    /// The same as a 128-bit integer, if it is one.
    pub fn to_u128(&self) -> Option<u128> {
        let high = self.0[2..].iter().all(|limb| *limb == 0);
        high.then_some(u128::from(self.0[1]) << 64 | u128::from(self.0[0]))
    }
}

impl Ord for Wide {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}

impl PartialOrd for Wide {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use num_bigint::BigUint;
    use proptest::prelude::*;

    use super::*;

    fn big(wide: Wide) -> BigUint {
        BigUint::from_bytes_be(&wide.to_be_bytes())
    }

    fn wide(big: &BigUint) -> Option<Wide> {
        let digits = big.to_u64_digits();
        if digits.len() > LIMBS {
            return None;
        }
        let mut limbs = [0; LIMBS];
        limbs[..digits.len()].copy_from_slice(&digits);
        Some(Wide(limbs))
    }

    /// All bits, few bits, and runs of ones, where carries live.
    fn limb() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), (0u32..64).prop_map(|bit| 1 << bit)]
    }

    fn wides() -> impl Strategy<Value = Wide> {
        proptest::array::uniform6(limb()).prop_map(Wide)
    }

    fn factors() -> impl Strategy<Value = u128> {
        (limb(), limb()).prop_map(|(high, low)| u128::from(high) << 64 | u128::from(low))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn as_num_bigint_has_it(one in wides(), other in wides(), factor in factors()) {
            prop_assert_eq!(one.plus(&other), wide(&(big(one) + big(other))));
            let difference = (big(one) >= big(other)).then(|| big(one) - big(other));
            prop_assert_eq!(one.minus(&other), difference.and_then(|difference| wide(&difference)));
            prop_assert_eq!(one.times(factor), wide(&(big(one) * factor)));
            let quotient = (factor > 0).then(|| big(one) / factor.max(1));
            prop_assert_eq!(one.divided_by(factor), quotient.and_then(|quotient| wide(&quotient)));
            prop_assert_eq!(one.cmp(&other), big(one).cmp(&big(other)));
            prop_assert_eq!(BigUint::from(one.above_256()), big(one) >> 256);
        }
    }
}
