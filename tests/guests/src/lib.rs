//! Plugins that misbehave, one each, for the tests. Each example is one plugin, written against the WIT alone.
//!
//! What they share is here: they count what they handle, each body by itself, in the store, and answer the command
//! `stats` with the counts. A body `poison` is where they misbehave.

#![expect(missing_docs, reason = "most of it is generated from the WIT, which is documented")]

use std::cell::Cell;

pub mod caller;
pub mod keeper;

wit_bindgen::generate!({
    path: "../../guest-sdk/wit",
    world: "weir:plugin/plugin",
    pub_export_macro: true,
    default_bindings_module: "weir_test_guests",
});

pub use self::exports::weir::plugin::handler::{Guest, Init, Manifest};
use self::weir::plugin::types::{Command, Delivery, Event, Message, PeerId, Protocol, Span};
use self::weir::plugin::{calls, log, net, store};

thread_local! {
    /// The position of the event that is being handled.
    static POSITION: Cell<Option<u32>> = const { Cell::new(None) };
    /// Messages that a counter saw.
    pub static SEEN: Cell<u64> = const { Cell::new(0) };
    /// Whether a counter was started in the place of a revision before it.
    pub static RESTORED: Cell<bool> = const { Cell::new(false) };
    /// Whose message is being handled.
    static PEER: Cell<Option<PeerId>> = const { Cell::new(None) };
    /// What a timer does.
    static ON_TIMER: Cell<fn(u64)> = const { Cell::new(|_| {}) };
}

/// Sets what a timer does, for this instance.
pub fn on_timer(what: fn(u64)) {
    ON_TIMER.set(what);
}

/// Who sent the message that is being handled.
///
/// # Panics
/// When none is.
pub fn sender() -> PeerId {
    PEER.get().expect("a message is being handled")
}

/// An ordered protocol.
pub fn protocol(key: u32, id: &str) -> Protocol {
    Protocol { key, id: id.to_owned(), delivery: Delivery::Ordered, max_message: 1 << 16 }
}

/// A manifest with one protocol, `/NAME/1`.
pub fn manifest(name: &str, version: &str, key: u32, capabilities: &[&str]) -> Manifest {
    let protocol = protocol(key, &format!("/{name}/1"));
    Manifest {
        name: name.to_owned(),
        version: version.to_owned(),
        description: "a plugin for tests".to_owned(),
        data_version: 1,
        reads_data_from: 1,
        protocols: vec![protocol],
        capabilities: capabilities.iter().map(|&name| name.to_owned()).collect(),
        listens: Vec::new(),
        more: Vec::new(),
    }
}

/// Notes which event is being handled, for the panic hook.
pub fn at(position: Option<u32>) {
    POSITION.set(position);
}

/// Tells the host of a panic before it becomes a trap.
pub fn hook_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a panic");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        log::panicked(POSITION.get(), message, &place);
    }));
}

pub fn body(bodies: &[u8], span: Span) -> &[u8] {
    &bodies[span.at as usize..(span.at + span.len) as usize]
}

/// Handles a batch; `misbehave` runs for each message that is `poison`.
pub fn handle(events: &[Event], bodies: &[u8], misbehave: impl Fn() -> Result<(), String>) -> Result<(), String> {
    for (position, event) in (0..).zip(events) {
        POSITION.set(Some(position));
        match event {
            Event::Message(Message { body: span, peer, .. }) => {
                let text = body(bodies, *span);
                PEER.set(Some(*peer));
                if text == b"poison" {
                    misbehave()?;
                }
                count(text);
            }
            Event::Request(request) => {
                let _ = net::respond(request.id, Ok(body(bodies, request.body)));
            }
            Event::Command(command) => stats(command),
            Event::PeerSupported(_) => count(b"peer-supported"),
            Event::Missed(missed) => (0..missed.messages).for_each(|_| count(b"missed")),
            Event::Timer(id) => ON_TIMER.get()(*id),
            Event::Stopping => count(b"stopping"),
            _ => {}
        }
    }
    POSITION.set(None);
    Ok(())
}

/// Adds one to a count in the store.
pub fn count(what: &[u8]) {
    add(what, 1);
}

/// Adds to a count in the store.
pub fn add(what: &[u8], more: u64) {
    let old = store::get(what).and_then(|value| value.try_into().ok()).map_or(0, u64::from_le_bytes);
    let _ = store::put(what, &(old + more).to_le_bytes());
}

/// Never ends, and never gives the host a reason to end it but its time.
pub fn never_end() -> ! {
    loop {
        std::hint::black_box(0);
    }
}

/// Answers with all counts as a JSON object.
pub fn stats(command: &Command) {
    let range = store::Range { start: Vec::new(), end: None, reverse: false };
    let entries = store::scan(&range, 10_000, 1 << 20).entries;
    let counts = entries.iter().filter(|(_, value)| value.len() == 8);
    let shown = counts.map(|(key, value)| {
        let value = <[u8; 8]>::try_from(value.as_slice()).map_or(0, u64::from_le_bytes);
        format!("\"{}\":{value}", String::from_utf8_lossy(key))
    });
    let json = format!("{{{}}}", shown.collect::<Vec<_>>().join(","));
    calls::answer(command.id, Ok(json.as_bytes()));
}

/// Handles a batch of a counter: messages are numbers that must come one after the other.
pub fn handle_counter(events: &[Event], bodies: &[u8]) -> Result<(), String> {
    for event in events {
        match event {
            Event::Message(message) => {
                let number = body(bodies, message.body).try_into().map(u64::from_le_bytes);
                if number.ok() != Some(SEEN.get()) {
                    count(b"out-of-order");
                }
                SEEN.set(SEEN.get() + 1);
            }
            Event::Command(command) => {
                let disordered = store::get(b"out-of-order").is_some();
                let json = format!("{{\"seen\":{},\"disordered\":{disordered}}}", SEEN.get());
                calls::answer(command.id, Ok(json.as_bytes()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Takes over what the revision before counted.
pub fn restore(init: &Init) {
    hook_panics();
    RESTORED.set(init.predecessor.is_some());
    let snapshot = init.predecessor.as_ref().and_then(|before| before.snapshot.as_ref());
    let seen = snapshot.and_then(|bytes| bytes.as_slice().try_into().ok()).map_or(0, u64::from_le_bytes);
    SEEN.set(seen);
}

/// A plugin that counts and misbehaves on `poison`.
#[macro_export]
macro_rules! misbehaving {
    ($name:literal, $misbehave:expr) => {
        $crate::misbehaving!($name, start: |_: &$crate::Init| {}, poison: $misbehave);
    };
    ($name:literal, start: $start:expr, poison: $misbehave:expr) => {
        struct Plugin;

        impl $crate::Guest for Plugin {
            fn describe() -> $crate::Manifest {
                $crate::manifest($name, "0.1.0", 1, &[])
            }

            fn start(init: $crate::Init) -> Result<(), String> {
                $crate::hook_panics();
                $start(&init);
                Ok(())
            }

            fn handle(events: Vec<$crate::weir::plugin::types::Event>, bodies: Vec<u8>) -> Result<(), String> {
                $crate::handle(&events, &bodies, $misbehave)
            }

            fn snapshot() -> Result<Vec<u8>, String> {
                Err("it has none".to_owned())
            }
        }

        $crate::export!(Plugin);
    };
}

/// A plugin `counter`.
#[macro_export]
macro_rules! counter {
    ($version:literal, $key:literal, start: $start:expr, snapshot: $snapshot:expr) => {
        $crate::counter!($version, $key, protocols: [], start: $start, snapshot: $snapshot);
    };
    ($version:literal, $key:literal, protocols: $more:expr, start: $start:expr, snapshot: $snapshot:expr) => {
        struct Plugin;

        impl $crate::Guest for Plugin {
            fn describe() -> $crate::Manifest {
                let mut manifest = $crate::manifest("counter", $version, $key, &[]);
                manifest.protocols.extend($more);
                manifest
            }

            fn start(init: $crate::Init) -> Result<(), String> {
                $crate::restore(&init);
                $start
            }

            fn handle(events: Vec<$crate::weir::plugin::types::Event>, bodies: Vec<u8>) -> Result<(), String> {
                $crate::handle_counter(&events, &bodies)
            }

            fn snapshot() -> Result<Vec<u8>, String> {
                $snapshot
            }
        }

        $crate::export!(Plugin);
    };
}
