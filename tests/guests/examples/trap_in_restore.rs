//! Starts, but not in the place of another revision: there it panics.

weir_test_guests::counter!(
    "0.4.1",
    1,
    start: if weir_test_guests::RESTORED.get() { panic!("no restore") } else { Ok(()) },
    snapshot: Ok(Vec::new())
);
