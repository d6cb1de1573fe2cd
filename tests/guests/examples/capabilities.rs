//! Tries each import that needs a capability, one command each, and asks for none of them.

use weir_test_guests::weir::plugin::types::{Delivery, Event, Protocol};
use weir_test_guests::weir::plugin::{calls, crypto, net};

struct Plugin;

/// What the import said.
fn attempt(command: &str) -> String {
    match command {
        "call" => format!("{:?}", calls::call("capabilities", "nothing", 1_000, b"null")),
        "register" => {
            let id = "/capabilities/room/1".to_owned();
            let room = Protocol { key: 9, id, delivery: Delivery::Ordered, max_message: 100 };
            format!("{:?}", net::register(&room))
        }
        // A trap, when it is not granted.
        "sign" => format!("{} bytes", crypto::sign(b"anything").len()),
        _ => "alive".to_owned(),
    }
}

impl weir_test_guests::Guest for Plugin {
    fn describe() -> weir_test_guests::Manifest {
        weir_test_guests::manifest("capabilities", "0.1.0", 1, &[])
    }

    fn start(_: weir_test_guests::Init) -> Result<(), String> {
        Ok(())
    }

    fn handle(events: Vec<Event>, _: Vec<u8>) -> Result<(), String> {
        for event in &events {
            if let Event::Command(command) = event {
                let said = attempt(&command.name).replace('"', "'");
                calls::answer(command.id, Ok(format!("\"{said}\"").as_bytes()));
            }
        }
        Ok(())
    }

    fn snapshot() -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }
}

weir_test_guests::export!(Plugin);
