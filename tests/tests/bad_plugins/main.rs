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
    (everything) => {
        const _: () = assert!(names(include_str!("../abi.rs"), "\"everything\""), "tests/abi.rs does not load it");
    };
    (keeper_strict) => {
        const _: () =
            assert!(names(include_str!("../durability.rs"), "\"keeper-strict\""), "tests/durability.rs lacks it");
    };
    (keeper_relaxed) => {
        const _: () =
            assert!(names(include_str!("../durability.rs"), "\"keeper-relaxed\""), "tests/durability.rs lacks it");
    };
    (poisonable) => {
        const _: () = assert!(names(include_str!("../poison.rs"), "\"poisonable\""), "tests/poison.rs lacks it");
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
