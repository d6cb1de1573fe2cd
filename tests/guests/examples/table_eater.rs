//! Grows its table of functions until it is refused.
//!
//! Rust has no word for that, so this one grows its memory under a mark, and `weir_tests::guests::table_eater` puts the
//! instruction that is meant in that place.

use std::cell::Cell;
use std::hint::black_box;

/// The mark: constants that stand nowhere else. The first is also how much more is asked for at a time.
const ELEMENTS: usize = 0x2710;
const MARK: usize = 0x0765_4321;

thread_local! {
    static EATEN: Cell<usize> = const { Cell::new(0) };
}

/// So many elements more; the size before, or all ones when that was refused.
#[inline(never)]
fn grow_table(elements: usize) -> usize {
    #[cfg(target_arch = "wasm32")]
    return core::arch::wasm32::memory_grow::<0>(elements ^ MARK);
    #[cfg(not(target_arch = "wasm32"))]
    return elements ^ MARK;
}

weir_test_guests::misbehaving!("table-eater", || {
    // One instance may have at most so many steps before it is refused, whatever the limit is.
    while grow_table(black_box(ELEMENTS)) != usize::MAX {
        EATEN.set(EATEN.get() + ELEMENTS);
    }
    panic!("refused after {} elements", EATEN.get())
});
