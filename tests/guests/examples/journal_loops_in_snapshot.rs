//! A journal that never ends when it is asked for its memory.

weir_test_guests::journal!("0.1.5", layout: 1, largest: 1 << 16, poison: || {}, snapshot: {
    loop {
        std::hint::black_box(());
    }
});
