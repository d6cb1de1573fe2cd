//! Can be poisoned in every way: by a body, by what an earlier one left in the store, by a request, a command, a timer.

use weir_test_guests::weir::plugin::net::Verdict;
use weir_test_guests::weir::plugin::types::{Command, Event, Message, PeerId, Request};
use weir_test_guests::weir::plugin::{calls, net, store, timers};
use weir_test_guests::{Guest, Init, Manifest, at, body, count, hook_panics, manifest, stats};

const KEY: u32 = 1;

struct Plugin;

/// Poison by itself, unless somebody mended the plugin.
fn poison(what: &[u8]) {
    if store::get(b"mended").is_none() {
        match what {
            b"poison" => panic!("that was poison"),
            b"other poison" => panic!("that was other poison"),
            _ => {}
        }
    }
}

/// The name of a peer as a body can carry it.
fn name(peer: PeerId) -> Vec<u8> {
    peer.a.to_be_bytes().to_vec()
}

fn message(message: &Message, bodies: &[u8]) {
    let text = body(bodies, message.body);
    poison(text);
    if let Some(victim) = text.strip_prefix(b"plant ") {
        // From now on the victim's events fail, whatever they say.
        let _ = store::put(b"planted", victim);
        return;
    }
    if text == b"abuse" {
        net::report(message.peer, KEY, Verdict::Abusive, "it says so");
    } else if store::get(b"planted").is_some_and(|victim| victim == name(message.peer)) {
        panic!("the store is poisoned");
    }
    count(text);
}

fn request(request: &Request, bodies: &[u8]) {
    let text = body(bodies, request.body);
    poison(text);
    net::respond(request.id, Ok(text));
}

fn command(command: &Command) {
    match command.name.as_str() {
        "stats" => return stats(command),
        "panic" => poison(b"poison"),
        "timer" => drop(timers::set(13, 0)),
        "mend" => drop(store::put(b"mended", b"1")),
        "quit" => std::process::abort(),
        _ => {}
    }
    calls::answer(command.id, Ok(b"{}"));
}

impl Guest for Plugin {
    fn describe() -> Manifest {
        manifest("poisonable", "0.1.0", KEY, &[])
    }

    fn start(_: Init) -> Result<(), String> {
        hook_panics();
        if store::get(b"stuck").is_some() { Err("it does not start any more".to_owned()) } else { Ok(()) }
    }

    fn handle(events: Vec<Event>, bodies: Vec<u8>) -> Result<(), String> {
        for (position, event) in (0..).zip(&events) {
            at(Some(position));
            match event {
                Event::Message(event) => message(event, &bodies),
                Event::Request(event) => request(event, &bodies),
                Event::Command(event) => command(event),
                Event::Timer(_) => {
                    poison(b"poison");
                    count(b"timer");
                }
                Event::Missed(missed) => (0..missed.messages).for_each(|_| count(b"missed")),
                _ => {}
            }
        }
        at(None);
        Ok(())
    }

    fn snapshot() -> Result<Vec<u8>, String> {
        Err("it has none".to_owned())
    }
}

weir_test_guests::export!(Plugin);
