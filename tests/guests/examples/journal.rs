//! Counts in its store, in the first layout.

weir_test_guests::journal!("0.1.0", layout: 1, largest: 1 << 16, poison: || {}, snapshot: Ok(Vec::new()));
