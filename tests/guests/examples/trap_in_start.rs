//! Panics when it is started.

weir_test_guests::counter!("0.4.0", 1, start: panic!("no start"), snapshot: Ok(Vec::new()));
