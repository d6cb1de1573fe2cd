//! Returns what cannot be read: a text that is no UTF-8.

weir_test_guests::misbehaving!("bad-result", || {
    // SAFETY: not kept, which is what this guest is for; nothing in here looks at the text.
    Err(unsafe { String::from_utf8_unchecked(vec![0xff, 0xfe, 0xfd]) })
});
