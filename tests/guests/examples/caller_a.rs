//! Calls other plugins, and is called by them.

weir_test_guests::caller!("caller-a", "0.1.0");
