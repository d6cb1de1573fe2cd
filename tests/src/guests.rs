//! Where tests find the plugins they load.

use std::path::PathBuf;

/// The bytes of a plugin that `cargo xtask test` built.
///
/// # Panics
/// When `WEIR_TEST_GUESTS` does not name the folder with the built guests.
pub fn guest(name: &str) -> Vec<u8> {
    let Some(folder) = std::env::var_os("WEIR_TEST_GUESTS").map(PathBuf::from) else {
        panic!("WEIR_TEST_GUESTS is not set: run `cargo xtask test`, which builds the guests and sets it");
    };
    let path = folder.join(format!("{name}.wasm"));
    match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{}: {error}; `cargo xtask test` builds it", path.display()),
    }
}

/// What the guest `table_eater` has in the place of the instruction that it is for: the memory grows by the first
/// argument, which was exclusive-ored with a mark.
const MARKED: &[u8] = b"\x20\x00\x41\xa1\x86\x95\x3b\x73\x40\x00\x0b";
/// Just as many bytes: table 0 grows by the first argument, with null functions. Three of them do nothing.
const GROWS_TABLE: &[u8] = b"\xd0\x70\x20\x00\xfc\x0f\x00\x01\x01\x01\x0b";

/// The guest that grows its table: no compiler makes that instruction of Rust, so it is put in here.
///
/// # Panics
/// When the guest is not as it should be.
pub fn table_eater() -> Vec<u8> {
    let mut bytes = guest("table_eater");
    let mut places = bytes.windows(MARKED.len()).enumerate().filter(|(_, window)| *window == MARKED);
    let (Some((place, _)), None) = (places.next(), places.next()) else {
        panic!("the guest table_eater has its mark not once")
    };
    bytes[place..place + GROWS_TABLE.len()].copy_from_slice(GROWS_TABLE);
    bytes
}
