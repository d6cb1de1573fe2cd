//! Does more in one turn than any turn may, by a call that has no way to say no.

use weir_test_guests::sender;
use weir_test_guests::weir::plugin::net::{self, Verdict};

weir_test_guests::misbehaving!("action-flood", || loop {
    net::report(sender(), 1, Verdict::Useful, "again");
});
