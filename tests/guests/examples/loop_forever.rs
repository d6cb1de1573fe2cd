//! Never returns from one message.

weir_test_guests::misbehaving!("loop-forever", || loop {
    std::hint::black_box(0);
});
