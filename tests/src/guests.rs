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
