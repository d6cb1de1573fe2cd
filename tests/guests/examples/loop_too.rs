//! Never returns from one message: like `loop_forever`, under another name, so that two of them run on one node.

weir_test_guests::misbehaving!("loop-too", || loop {
    std::hint::black_box(0);
});
