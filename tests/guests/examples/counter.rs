//! Counts messages that must come one after the other.

weir_test_guests::counter!("0.1.0", 1, start: Ok(()), snapshot: Ok(weir_test_guests::SEEN.get().to_le_bytes().to_vec()));
