//! Panics on one message.

weir_test_guests::misbehaving!("trap-on-message", || panic!("that was poison"));
