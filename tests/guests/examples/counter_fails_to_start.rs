//! A version of the counter that does not start.

weir_test_guests::counter!("0.3.0", 1, start: Err("not today".to_owned()), snapshot: Ok(Vec::new()));
