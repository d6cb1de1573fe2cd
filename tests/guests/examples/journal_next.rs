//! The next version of the journal: the same layout, smaller messages, and a command that it does not survive.

weir_test_guests::journal!("0.2.0", layout: 1, largest: 1 << 15, poison: || panic!("poison"), snapshot: Ok(Vec::new()));
