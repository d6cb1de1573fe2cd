//! From one message on, its timers set themselves again, at once and without an end.

use weir_test_guests::weir::plugin::timers;
use weir_test_guests::{Init, on_timer};

const TIMERS: u64 = 512;

weir_test_guests::misbehaving!(
    "timer-storm",
    start: |_: &Init| on_timer(|id| _ = timers::set(id, 0)),
    poison: || {
        (0..TIMERS).for_each(|id| _ = timers::set(id, 0));
        Ok(())
    }
);
