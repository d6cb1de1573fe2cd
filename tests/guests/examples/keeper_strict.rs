//! A keeper that is to be run strict.

weir_test_guests::keeper!("keeper-strict");
