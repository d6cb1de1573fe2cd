//! A counter that traps when it is asked for its memory.

weir_test_guests::counter!("0.1.1", 1, start: Ok(()), snapshot: panic!("no snapshot"));
