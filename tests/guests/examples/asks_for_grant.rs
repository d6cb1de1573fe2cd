//! Asks for a capability.

struct Plugin;

impl weir_test_guests::Guest for Plugin {
    fn describe() -> weir_test_guests::Manifest {
        weir_test_guests::manifest("asks-for-grant", "0.1.0", 1, &["call:bank"])
    }

    fn start(_: weir_test_guests::Init) -> Result<(), String> {
        Ok(())
    }

    fn handle(_: Vec<weir_test_guests::weir::plugin::types::Event>, _: Vec<u8>) -> Result<(), String> {
        Ok(())
    }

    fn snapshot() -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }
}

weir_test_guests::export!(Plugin);
