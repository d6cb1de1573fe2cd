//! A counter that names two protocols by one key.

weir_test_guests::counter!(
    "0.6.1",
    1,
    protocols: [weir_test_guests::protocol(1, "/other/1.0.0")],
    start: Ok(()),
    snapshot: Ok(Vec::new())
);
