//! A keeper that is to be run relaxed.

weir_test_guests::keeper!("keeper-relaxed");
