//! Never returns from its start.

weir_test_guests::counter!("0.5.0", 1, start: weir_test_guests::never_end(), snapshot: Ok(Vec::new()));
