//! Sets a thousand more timers at each marked message, all of them far away.

use weir_test_guests::add;
use weir_test_guests::weir::plugin::{store, timers};

const MORE: u64 = 1_000;
const FAR_MS: u64 = 3_600_000;

weir_test_guests::misbehaving!("timer-flood", || {
    let asked = store::get(b"asked").and_then(|count| count.try_into().ok()).map_or(0, u64::from_le_bytes);
    let set = (asked..asked + MORE).filter(|&id| timers::set(id, FAR_MS)).count() as u64;
    add(b"asked", MORE);
    add(b"set", set);
    Ok(())
});
