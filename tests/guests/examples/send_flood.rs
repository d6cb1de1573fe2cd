//! Answers one message with as many as it may send, and does not stop at the first that is refused.

use weir_test_guests::weir::plugin::net::{self, SendError};
use weir_test_guests::{add, sender};

/// More than any turn or lane takes.
const ATTEMPTS: u64 = 3_000;

weir_test_guests::misbehaving!("send-flood", || {
    let (mut sent, mut busy, mut over) = (0, 0, 0);
    for _ in 0..ATTEMPTS {
        match net::send(sender(), 1, &[7; 1 << 10]) {
            Ok(()) => sent += 1,
            Err(SendError::Busy) => busy += 1,
            Err(SendError::OverBudget) => over += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    add(b"sent", sent);
    add(b"busy", busy);
    add(b"over-budget", over);
    Ok(())
});
