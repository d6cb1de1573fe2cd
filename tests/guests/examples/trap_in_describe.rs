//! Calls an import when it is only to say who it is.

use weir_test_guests::weir::plugin::{clock, types};

struct Plugin;

impl weir_test_guests::Guest for Plugin {
    fn describe() -> weir_test_guests::Manifest {
        weir_test_guests::manifest("trap-in-describe", &format!("0.1.{}", clock::now()), 1, &[])
    }

    fn start(_: weir_test_guests::Init) -> Result<(), String> {
        Ok(())
    }

    fn handle(_: Vec<types::Event>, _: Vec<u8>) -> Result<(), String> {
        Ok(())
    }

    fn snapshot() -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }
}

weir_test_guests::export!(Plugin);
