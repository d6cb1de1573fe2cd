//! Writes a hundred thousand lines into the log at one message.

use weir_test_guests::weir::plugin::log::{self, Level};

weir_test_guests::misbehaving!("log-flood", || {
    (0..100_000).for_each(|_| log::write(Level::Info, "flood", "one more line"));
    Ok(())
});
