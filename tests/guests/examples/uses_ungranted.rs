//! Asks for no capability and uses all of them: those that can say no when it starts, the others at a message.

use weir_test_guests::weir::plugin::net::RegisterError;
use weir_test_guests::weir::plugin::{calls, crypto, net};
use weir_test_guests::{Init, count, protocol};

weir_test_guests::misbehaving!(
    "uses-ungranted",
    start: |_: &Init| {
        if matches!(calls::call("ping", "stats", 1_000, b"{}"), Err(calls::CallRefused::NotGranted)) {
            count(b"call-refused");
        }
        for id in ["/ping/1.0.0", "/room/1"] {
            if matches!(net::register(&protocol(9, id)), Err(RegisterError::NotGranted)) {
                count(b"register-refused");
            }
        }
    },
    poison: || {
        crypto::sign(b"a cheque");
        Ok(())
    }
);
