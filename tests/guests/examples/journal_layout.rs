//! A version of the journal that writes the second layout, and does not survive the command `poison`.

weir_test_guests::journal!("0.3.0", layout: 2, largest: 1 << 16, poison: || panic!("poison"), snapshot: Ok(Vec::new()));
