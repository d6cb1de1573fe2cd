//! Asks for 1 GiB on one message.

weir_test_guests::misbehaving!("memory-eater", || {
    std::hint::black_box(vec![1_u8; 1 << 30]);
    Ok(())
});
