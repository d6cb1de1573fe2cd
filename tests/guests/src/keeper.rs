//! A keeper writes in every turn several keys that must agree, and tells every peer the number of the turn: what is
//! left of its turns after a crash can be compared with what left the node.
//!
//! Its messages: a kind, then little-endian numbers. `T`: the turn, its moment in microseconds on the plugin's clock,
//! and how many messages it took. `R`, first of all: the last turn that its start found in the store, whether what it
//! found there was whole, and a number that no other start has. A command is answered with the turn and that number.

use std::cell::RefCell;

use super::weir::plugin::types::{Event, PeerId};
use super::weir::plugin::{calls, clock, net, random, store};
use super::{Manifest, manifest};

/// The turns whose keys are kept.
const KEPT: u64 = 256;
const KEY: u32 = 1;

#[derive(Default)]
struct Keeper {
    turn: u64,
    found: u64,
    whole: bool,
    start: u64,
    peers: Vec<PeerId>,
}

thread_local! {
    static KEEPER: RefCell<Keeper> = RefCell::default();
}

pub fn describe(name: &str) -> Manifest {
    manifest(name, "0.1.0", KEY, &[])
}

fn number(key: &str) -> u64 {
    store::get(key.as_bytes()).and_then(|value| value.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn turn_key(turn: u64) -> Vec<u8> {
    [b"turn/".as_slice(), &turn.to_be_bytes()].concat()
}

/// What a turn keeps: of many lengths, and no other turn's.
fn record(turn: u64) -> Vec<u8> {
    turn.to_le_bytes().repeat(1 + (turn % 97) as usize)
}

/// Looks at everything there is: the last turn, and whether the keys of all turns that are kept agree.
fn look() -> (u64, bool) {
    let (left, right) = (number("left"), number("right"));
    let (mut start, mut expected) = (turn_key(0), left.saturating_sub(KEPT) + 1);
    let mut whole = left == right;
    loop {
        let range = store::Range { start: start.clone(), end: Some(b"turn0".to_vec()), reverse: false };
        let page = store::scan(&range, 1_000, 1 << 20);
        for (key, value) in &page.entries {
            whole &= *key == turn_key(expected) && *value == record(expected);
            expected += 1;
            start = [key.as_slice(), &[0]].concat();
        }
        if !page.more {
            return (left, whole && expected == left + 1);
        }
    }
}

/// Writes what must agree. Messages are staged before: whoever sends as it goes would be found out.
fn write(turn: u64) -> Result<(), String> {
    let put = |key: &[u8], value: &[u8]| store::put(key, value).map_err(|error| format!("{error:?}"));
    put(b"left", &turn.to_le_bytes())?;
    put(&turn_key(turn), &record(turn))?;
    if let Some(old) = turn.checked_sub(KEPT) {
        store::remove(&turn_key(old));
    }
    put(b"right", &turn.to_le_bytes())
}

pub fn start() -> Result<(), String> {
    let (found, whole) = look();
    // The start is a turn like any other.
    let turn = found + 1;
    KEEPER.set(Keeper { turn, found, whole, start: random::number(), peers: Vec::new() });
    write(turn)
}

fn same(a: &PeerId, b: &PeerId) -> bool {
    (a.a, a.b, a.c, a.d) == (b.a, b.b, b.c, b.d)
}

fn message(kind: u8, numbers: [u64; 3]) -> Vec<u8> {
    let mut body = vec![kind];
    numbers.iter().for_each(|number| body.extend_from_slice(&number.to_le_bytes()));
    body
}

/// What it cannot write it does not say: the turn fails then.
pub fn handle(events: &[Event]) -> Result<(), String> {
    KEEPER.with_borrow_mut(|keeper| {
        let (mut messages, mut commands) = (0, Vec::new());
        for event in events {
            match event {
                Event::PeerSupported(reachable) => {
                    keeper.peers.push(reachable.peer);
                    let report = message(b'R', [keeper.found, keeper.whole.into(), keeper.start]);
                    let _ = net::send(reachable.peer, KEY, &report);
                }
                Event::PeerUnsupported(lane) => keeper.peers.retain(|peer| !same(peer, &lane.peer)),
                Event::Message(_) => messages += 1,
                Event::Command(command) => commands.push(command.id),
                _ => {}
            }
        }
        if messages == 0 && commands.is_empty() {
            return Ok(());
        }
        keeper.turn += 1;
        for peer in &keeper.peers {
            let _ = net::send(*peer, KEY, &message(b'T', [keeper.turn, clock::monotonic(), messages]));
        }
        for command in commands {
            let answer = format!("[{}, {}]", keeper.turn, keeper.start);
            let _ = calls::answer(command, Ok(answer.as_bytes()));
        }
        write(keeper.turn)
    })
}

/// A keeper of this name.
#[macro_export]
macro_rules! keeper {
    ($name:literal) => {
        struct Plugin;

        impl $crate::Guest for Plugin {
            fn describe() -> $crate::Manifest {
                $crate::keeper::describe($name)
            }

            fn start(_: $crate::Init) -> Result<(), String> {
                $crate::hook_panics();
                $crate::keeper::start()
            }

            fn handle(events: Vec<$crate::weir::plugin::types::Event>, _: Vec<u8>) -> Result<(), String> {
                $crate::keeper::handle(&events)
            }

            fn snapshot() -> Result<Vec<u8>, String> {
                Err("it has none".to_owned())
            }
        }

        $crate::export!(Plugin);
    };
}
