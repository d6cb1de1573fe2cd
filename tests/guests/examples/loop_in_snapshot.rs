//! A counter that never returns when it is asked for its memory.

weir_test_guests::counter!("0.1.2", 1, start: Ok(()), snapshot: weir_test_guests::never_end());
