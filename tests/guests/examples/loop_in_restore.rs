//! Starts, but never returns when it is started in the place of another revision.

weir_test_guests::counter!(
    "0.5.1",
    1,
    start: if weir_test_guests::RESTORED.get() { weir_test_guests::never_end() } else { Ok(()) },
    snapshot: Ok(Vec::new())
);
