//! The next version of the counter; it has another key for the same protocol.

weir_test_guests::counter!("0.2.0", 7, start: Ok(()), snapshot: Ok(weir_test_guests::SEEN.get().to_le_bytes().to_vec()));
