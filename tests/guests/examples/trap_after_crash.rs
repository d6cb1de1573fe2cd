//! Starts once. After a crash it panics in its start, so that it never comes back.

use weir_test_guests::Init;
use weir_test_guests::exports::weir::plugin::handler::Cause;

weir_test_guests::misbehaving!(
    "trap-after-crash",
    start: |init: &Init| assert_ne!(init.cause, Cause::Crash, "no second start"),
    poison: || panic!("that was poison")
);
