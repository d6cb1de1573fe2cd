//! A counter that also names a protocol of another plugin as its own.

weir_test_guests::counter!(
    "0.6.0",
    1,
    protocols: [weir_test_guests::protocol(2, "/ping/1.0.0")],
    start: Ok(()),
    snapshot: Ok(Vec::new())
);
