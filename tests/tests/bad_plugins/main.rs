//! Plugins that misbehave on a real node while another plugin of it is flooded: what they break is theirs alone, the
//! outcome is exactly this one, and the report names the plugin, the event, the peer and the place.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod counters;
mod files;
mod floods;
mod lies;
mod loops;
mod memory;
mod poison;
mod scene;
mod traps;

use anyhow::Result;

use self::counters::*;
use self::files::*;
use self::floods::*;
use self::lies::*;
use self::loops::*;
use self::memory::*;
use self::poison::*;
use self::traps::*;

/// Fails to compile where a file of tests does not name a guest.
macro_rules! shown_in {
    ($file:literal, $name:literal) => {
        const _: () = assert!(names(include_str!($file), concat!('"', $name, '"')), concat!($file, " lacks ", $name));
    };
}

/// A guest is shown by the test that has its name. A guest without one does not compile.
macro_rules! is_shown {
    // These behave, and are shown where what they show is.
    (everything) => {
        shown_in!("../abi.rs", "everything");
    };
    (news) => {
        shown_in!("../testnet_wasm.rs", "news");
    };
    (keeper_strict) => {
        shown_in!("../durability.rs", "keeper-strict");
    };
    (keeper_relaxed) => {
        shown_in!("../durability.rs", "keeper-relaxed");
    };
    (poisonable) => {
        shown_in!("../crashes.rs", "poisonable");
    };
    (caller_a) => {
        shown_in!("../calls.rs", "caller-a");
    };
    (caller_b) => {
        shown_in!("../calls.rs", "caller-b");
    };
    (store_flooder) => {
        shown_in!("../store_stall.rs", "store_flooder");
    };
    (loop_too) => {
        shown_in!("../loopers.rs", "loop-too");
    };
    (timers) => {
        shown_in!("../timers.rs", "timers");
    };
    (wasi) => {
        shown_in!("../wasi.rs", "wasi");
    };
    (journal) => {
        shown_in!("../lifecycle.rs", "journal");
    };
    (journal_next) => {
        shown_in!("../lifecycle.rs", "journal_next");
    };
    (journal_layout) => {
        shown_in!("../lifecycle.rs", "journal_layout");
    };
    (asks_for_nothing) => {
        shown_in!("../lifecycle.rs", "asks_for_nothing");
    };
    ($guest:ident) => {
        const _: fn() -> Result<()> = $guest;
    };
}

weir_tests::for_each_guest!(is_shown);

/// Whether a text has another in it.
const fn names(text: &str, name: &str) -> bool {
    let (text, name) = (text.as_bytes(), name.as_bytes());
    let mut at = 0;
    while at + name.len() <= text.len() {
        let mut same = 0;
        while same < name.len() && text[at + same] == name[same] {
            same += 1;
        }
        if same == name.len() {
            return true;
        }
        at += 1;
    }
    false
}
