//! Plugins whose name stands in their file, so that one build can be loaded many times on one node: for tests of load.
//!
//! ```
//! use weir_sdk::renamable::{self, Place};
//!
//! static NAME: Place = *b"weir renamable: echo\0\0\0\0\0\0\0\0\0\0\0\0";
//! assert_eq!(renamable::name(&NAME), "echo");
//! ```

/// A mark of 16 bytes, `weir renamable: `, and behind it a name of at most 16 with zeros to its end.
pub type Place = [u8; 32];

const MARK: &[u8; 16] = b"weir renamable: ";
#[cfg(not(target_arch = "wasm32"))]
const ROOM: usize = size_of::<Place>() - MARK.len();

/// The name that stands at the place now. Call it from [`Plugin::manifest`](crate::Plugin::manifest).
pub fn name(place: &'static Place) -> String {
    // The compiler must not know what stands there.
    let name = &std::hint::black_box(place)[MARK.len()..];
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// Why a file does not take a name.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenameError {
    /// The name does not fit.
    TooLong(String),
    /// It is no file of a plugin that can be renamed.
    NoPlace,
}

#[cfg(not(target_arch = "wasm32"))]
impl std::fmt::Display for RenameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong(name) => write!(f, "the name {name} is longer than {ROOM} bytes"),
            Self::NoPlace => f.write_str("the file has no place for a name: build the plugin with a `Place` in it"),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl std::error::Error for RenameError {}

/// The file of such a plugin with another name in it.
///
/// # Errors
/// When the file has no place for a name, or the name does not fit it.
#[cfg(not(target_arch = "wasm32"))]
pub fn renamed(mut plugin: Vec<u8>, name: &str) -> Result<Vec<u8>, RenameError> {
    if name.len() > ROOM {
        return Err(RenameError::TooLong(name.to_owned()));
    }
    let mark = plugin.windows(MARK.len()).position(|window| window == MARK).ok_or(RenameError::NoPlace)?;
    let start = mark + MARK.len();
    let place = plugin.get_mut(start..start + ROOM).ok_or(RenameError::NoPlace)?;
    place.fill(0);
    place[..name.len()].copy_from_slice(name.as_bytes());
    Ok(plugin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_a_name_that_fits_and_nothing_else_of_it_changes() {
        let file = [b"before".as_slice(), MARK, &[b'x'; ROOM], b"behind"].concat();
        let other = renamed(file.clone(), "ping-1").expect("it fits");
        assert_eq!(other, [b"before".as_slice(), MARK, b"ping-1\0\0\0\0\0\0\0\0\0\0", b"behind"].concat());
        let long = "seventeen bytes..";
        assert_eq!(renamed(file.clone(), long), Err(RenameError::TooLong(long.to_owned())));
        assert_eq!(renamed(b"nothing".to_vec(), "a"), Err(RenameError::NoPlace));
        assert_eq!(renamed(file[..30].to_vec(), "a"), Err(RenameError::NoPlace), "cut within the place");
    }
}
