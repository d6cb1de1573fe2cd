//! Asks for a capability.

weir_test_guests::silent!("asks-for-grant", "0.1.0", &["call:bank"]);
