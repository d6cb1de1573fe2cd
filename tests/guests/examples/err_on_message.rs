//! Returns an error on one message.

weir_test_guests::misbehaving!("err-on-message", || Err("that was poison".to_owned()));
