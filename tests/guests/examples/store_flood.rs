//! Writes into its store until it is refused, and goes on without regard to that.

use weir_test_guests::weir::plugin::store::{self, WriteError};
use weir_test_guests::{Init, add};

/// More than a turn or a store takes.
const ATTEMPTS: u32 = 10_000;
const VALUE: usize = 4 << 10;
// Keys begin with `~`, behind all counts.

weir_test_guests::misbehaving!(
    "store-flood",
    // Counts that are there already need no room of a store that is full.
    start: |_: &Init| [&b"stored"[..], b"over-quota", b"over-budget"].iter().for_each(|count| add(count, 0)),
    poison: || {
        let (mut stored, mut quota, mut budget) = (0, 0, 0);
        for number in 0..ATTEMPTS {
            match store::put(format!("~flood/{number}").as_bytes(), &[7; VALUE]) {
                Ok(()) => stored += 1,
                Err(WriteError::OverQuota) => quota += 1,
                Err(WriteError::OverBudget) => budget += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        // Room for what it counts afterwards.
        (0..32).for_each(|number: u32| store::remove(format!("~flood/{number}").as_bytes()));
        add(b"stored", stored);
        add(b"over-quota", quota);
        add(b"over-budget", budget);
        Ok(())
    }
);
