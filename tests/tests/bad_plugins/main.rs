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

/// A guest is shown by the test that has its name. A guest without one does not compile.
macro_rules! is_shown {
    // These behave, and are shown where what they show is.
    (caller_a) => {
        shown_in!("../calls.rs", "\"caller-a\"");
    };
    (caller_b) => {
        shown_in!("../calls.rs", "\"caller-b\"");
    };
    (everything) => {
        shown_in!("../abi.rs", "\"everything\"");
    };
    (keeper_relaxed) => {
        shown_in!("../durability.rs", "\"keeper-relaxed\"");
    };
    (keeper_strict) => {
        shown_in!("../durability.rs", "\"keeper-strict\"");
    };
    (poisonable) => {
        shown_in!("../crashes.rs", "\"poisonable\"");
    };
    (store_flooder) => {
        shown_in!("../store_stall.rs", "\"store_flooder\"");
    };
    (journal) => {
        const _: () = assert!(names(include_str!("../lifecycle.rs"), "\"journal\""), "tests/lifecycle.rs lacks it");
    };
    (journal_next) => {
        const _: () =
            assert!(names(include_str!("../lifecycle.rs"), "\"journal_next\""), "tests/lifecycle.rs lacks it");
    };
    (journal_layout) => {
        const _: () =
            assert!(names(include_str!("../lifecycle.rs"), "\"journal_layout\""), "tests/lifecycle.rs lacks it");
    };
    (asks_for_nothing) => {
        const _: () =
            assert!(names(include_str!("../lifecycle.rs"), "\"asks_for_nothing\""), "tests/lifecycle.rs lacks it");
    };
    ($guest:ident) => {
        const _: fn() -> Result<()> = $guest;
    };
}

/// A test file that loads a guest, and the name by which it does.
macro_rules! shown_in {
    ($file:literal, $name:literal) => {
        const _: () = assert!(names(include_str!($file), $name), concat!($file, " does not load ", $name));
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
