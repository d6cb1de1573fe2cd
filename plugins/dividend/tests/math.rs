//! The promises of the accumulator, against exact fractions, and its size.
//!
//! The long form: `cargo test --release -p weir-plugin-dividend --test math -- --ignored --nocapture`.

use num_bigint::BigUint;
use proptest::prelude::*;
use weir_plugin_dividend::{Accumulator, Position, Rule};

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    Restake(usize, u128),
    Declare(u128),
}

/// Small numbers, where whole shares are frequent, and numbers up to 2^100.
fn amount() -> impl Strategy<Value = u128> {
    prop_oneof![
        1u128..20,
        1u128..1_000_000,
        (0u32..100, 0u128..3).prop_map(|(power, more)| (1 << power) + more),
        1u128..1 << 100
    ]
}

fn step(accounts: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..accounts, prop_oneof![Just(0u128), amount()]).prop_map(|(who, stake)| Step::Restake(who, stake)),
        amount().prop_map(Step::Declare),
    ]
}

/// A fraction that only grows.
#[derive(Clone)]
struct Fraction {
    over: BigUint,
    under: BigUint,
}

impl Fraction {
    fn add(&mut self, over: BigUint, under: BigUint) {
        self.over = &self.over * &under + over * &self.under;
        self.under = &self.under * under;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn whole_shares_are_paid_whole_and_never_more_than_was_declared(
        steps in proptest::collection::vec(step(5), 1..40), claims in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let mut accumulator = Accumulator::new(Rule::Exact);
        let mut positions = [Position::default(); 5];
        let mut paid = [0u128; 5];
        let mut shares = vec![Fraction { over: 0u32.into(), under: 1u32.into() }; 5];
        let mut declared = 0u128;
        for (number, step) in steps.iter().enumerate() {
            match *step {
                Step::Restake(who, stake) => positions[who].restake(stake, &accumulator).expect("in range"),
                Step::Declare(amount) => {
                    let total = positions.iter().map(Position::stake).sum::<u128>();
                    if accumulator.add(amount, total).is_err() {
                        prop_assert_eq!(total, 0);
                        continue;
                    }
                    declared += amount;
                    for (share, position) in shares.iter_mut().zip(&positions) {
                        share.add(BigUint::from(amount) * position.stake(), total.into());
                    }
                }
            }
            for (who, position) in positions.iter().enumerate() {
                let due = position.due(&accumulator);
                prop_assert!(due >= paid[who], "what is due never shrinks");
                if claims[number] {
                    paid[who] = due;
                }
                let share = &shares[who];
                let floor = &share.over / &share.under;
                prop_assert!(BigUint::from(due) >= floor, "an exact integer is never paid one less");
                // One more only where the fraction misses it by less than 2^-32.
                let slack = (&share.over << 32) + &share.under;
                prop_assert!(BigUint::from(due) <= slack / (&share.under << 32));
            }
            let all: u128 = positions.iter().map(|position| position.due(&accumulator)).sum();
            prop_assert!(all <= declared, "paid never exceeds declared");
            prop_assert!(declared - all < 5, "less than one for each account stays in the pot");
        }
    }
}

#[test]
fn a_third_three_times_is_one() {
    let mut accumulator = Accumulator::new(Rule::Exact);
    let mut position = Position::default();
    position.restake(1, &accumulator).expect("in range");
    for _ in 0..3 {
        accumulator.add(1, 3).expect("in range");
    }
    assert_eq!(position.due(&accumulator), 1, "three floors of a third are a little less than one");
}

#[test]
fn the_largest_numbers_fit_and_larger_ones_are_refused() {
    let mut accumulator = Accumulator::new(Rule::Exact);
    let mut all = Position::default();
    all.restake(u128::MAX, &accumulator).expect("in range");
    accumulator.add(u128::MAX, u128::MAX).expect("in range");
    assert_eq!(all.due(&accumulator), u128::MAX);
    let mut one = Position::default();
    one.restake(1, &accumulator).expect("in range");
    accumulator.add(u128::MAX - 1, 1).expect("in range");
    assert_eq!(one.due(&accumulator), u128::MAX - 1);
    assert!(accumulator.add(2, 1).is_err(), "2^384 is the end");
    assert!(accumulator.add(1, 0).is_err());
}

#[test]
fn ten_thousand_declarations_on_ten_thousand_accounts() {
    divide_2_to_the_100_tokens(10_000);
}

#[test]
#[ignore = "long: a minute without `--release`"]
fn a_million_declarations_on_a_million_accounts() {
    divide_2_to_the_100_tokens(1_000_000);
}

/// Among so many accounts, with so many declarations, and one account more: a third of each is its share, hardly ever an
/// integer, but of all together exactly one.
fn divide_2_to_the_100_tokens(count: u128) {
    let started = std::time::Instant::now();
    let mut accumulator = Accumulator::new(Rule::Exact);
    let mut positions = vec![Position::default(); count as usize];
    // Stakes that add up to 2^100 or a little less, without the third.
    let each = (1u128 << 100) / count / 2;
    let stake_of = |who: u128| each + who * each / count;
    let mut total = 0;
    for (who, position) in positions.iter_mut().enumerate() {
        position.restake(stake_of(who as u128), &accumulator).expect("in range");
        total += position.stake();
    }
    let odd = total % 2;
    let first = positions[0].stake() + odd;
    positions[0].restake(first, &accumulator).expect("in range");
    let mut third = Position::default();
    third.restake((total + odd) / 2, &accumulator).expect("in range");
    let total = third.stake() * 3;
    let mut declared = 0;
    for number in 0..count {
        // No multiple of three but for the last one, which makes the sum one.
        let amount = (1 << 80) + number * 7_920;
        let amount = if number + 1 < count { amount } else { amount + (3 - (declared + amount) % 3) % 3 };
        accumulator.add(amount, total).expect("in range");
        declared += amount;
        // One account of many hands a unit of its stake to the next one with each declaration; nobody else is touched.
        let [from, to] = [number * 31 % count, (number * 31 + 1) % count].map(|who| who as usize);
        for (who, stake) in [(from, positions[from].stake() - 1), (to, positions[to].stake() + 1)] {
            positions[who].restake(stake, &accumulator).expect("in range");
        }
    }
    let elapsed = started.elapsed();
    assert_eq!(third.due(&accumulator), declared / 3, "an exact integer is never paid one less");
    let computed = BigUint::from_bytes_be(&accumulator.earned().to_be_bytes()) * third.stake();
    assert_eq!(computed >> 256, (declared / 3 - 1).into(), "though what the divisions lost adds up");
    let paid = positions.iter().chain([&third]).map(|position| position.due(&accumulator)).sum::<u128>();
    assert!(paid <= declared && declared - paid <= count, "{declared} {paid}");
    eprintln!("{count} accounts and {count} declarations: {elapsed:?}, {} left in the pot", declared - paid);
}
