//! The version before the one that asks for a capability.

weir_test_guests::silent!("asks-for-grant", "0.0.9", &[]);
