//! Calls itself without an end.

use std::hint::black_box;

#[inline(never)]
#[expect(unconditional_recursion, reason = "that is what this guest is for")]
fn dive(depth: u64) -> u64 {
    // What comes after the call keeps it from becoming a loop.
    black_box(dive(black_box(depth + 1))) ^ depth
}

weir_test_guests::misbehaving!("deep-recursion", || {
    black_box(dive(0));
    Ok(())
});
