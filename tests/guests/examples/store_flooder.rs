//! Writes as much as a turn may, in one turn after the other.

use std::cell::Cell;

use weir_test_guests::weir::plugin::types::Event;
use weir_test_guests::weir::plugin::{store, timers};

/// Bytes of a value, values of a turn, and keys in all: they are written anew again and again.
const VALUE: usize = 64 << 10;
const VALUES: u32 = 48;
const KEYS: u32 = 512;

thread_local! {
    static NEXT: Cell<u32> = const { Cell::new(0) };
}

struct Plugin;

impl weir_test_guests::Guest for Plugin {
    fn describe() -> weir_test_guests::Manifest {
        weir_test_guests::manifest("store-flooder", "0.1.0", 1, &[])
    }

    fn start(_: weir_test_guests::Init) -> Result<(), String> {
        weir_test_guests::hook_panics();
        timers::set(1, 0);
        Ok(())
    }

    fn handle(events: Vec<Event>, _: Vec<u8>) -> Result<(), String> {
        if !events.iter().any(|event| matches!(event, Event::Timer(_))) {
            return Ok(());
        }
        for _ in 0..VALUES {
            let number = NEXT.get();
            NEXT.set(number.wrapping_add(1));
            let value = vec![number as u8; VALUE];
            store::put(&(number % KEYS).to_be_bytes(), &value).map_err(|error| format!("{error:?}"))?;
        }
        timers::set(1, 0);
        Ok(())
    }

    fn snapshot() -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }
}

weir_test_guests::export!(Plugin);
