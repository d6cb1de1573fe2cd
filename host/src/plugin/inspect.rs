//! What is this file? Tells plugins from everything else before a byte of it is compiled, and wraps core modules.

use std::borrow::Cow;

use wasmparser::{Encoding, Parser, Payload};

use super::PluginError;
use super::abi;

/// The interface every plugin exports, without its version.
const HANDLER: &str = "weir:plugin/handler@";

/// Raised when what is accepted, or what is made of it, changes: code that was made of a file before is not used then.
pub(super) const GENERATION: u32 = 1;

/// Turns the bytes of a file into a component of this ABI version, or says what they are instead.
///
/// `file` names it in errors.
pub(super) fn component<'a>(file: &str, bytes: &'a [u8], limit: usize) -> Result<Cow<'a, [u8]>, PluginError> {
    check_size(file, bytes, limit)?;
    if wasmtime::Engine::detect_precompiled(bytes).is_some() {
        return Err(PluginError::Precompiled { file: file.to_owned() });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(PluginError::NotWasm { file: file.to_owned(), found: describe_bytes(bytes) });
    }
    let scan = scan(file, bytes)?;
    let component = match scan.encoding {
        Encoding::Component => Cow::Borrowed(bytes),
        Encoding::Module if scan.component_type => Cow::Owned(componentize(file, bytes)?),
        Encoding::Module => {
            let found = "a core module without a component type".to_owned();
            return Err(PluginError::OtherWorld { file: file.to_owned(), found });
        }
    };
    check_version(file, &component)?;
    Ok(component)
}

/// Refuses a file that is not looked at, because it is too large.
pub(super) fn check_size(file: &str, bytes: &[u8], limit: usize) -> Result<(), PluginError> {
    if bytes.len() > limit {
        return Err(PluginError::TooLarge { file: file.to_owned(), size: bytes.len(), limit });
    }
    Ok(())
}

/// What the outermost layer of a WebAssembly file shows.
struct Scan {
    encoding: Encoding,
    component_type: bool,
    exports: Vec<String>,
}

fn scan(file: &str, bytes: &[u8]) -> Result<Scan, PluginError> {
    let malformed = |error: wasmparser::BinaryReaderError| PluginError::Malformed {
        file: file.to_owned(),
        reason: error.to_string(),
    };
    let mut scan = Scan { encoding: Encoding::Module, component_type: false, exports: Vec::new() };
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(malformed)? {
            Payload::Version { encoding, .. } => {
                if depth == 0 {
                    scan.encoding = encoding;
                }
                depth += 1;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 1 && section.name().starts_with("component-type") => {
                scan.component_type = true;
            }
            Payload::ComponentExportSection(exports) if depth == 1 => {
                for export in exports {
                    scan.exports.push(export.map_err(malformed)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(scan)
}

fn componentize(file: &str, module: &[u8]) -> Result<Vec<u8>, PluginError> {
    let encode = || wit_component::ComponentEncoder::default().validate(true).module(module)?.encode();
    encode().map_err(|error| {
        // The encoder's root cause names the missing or foreign import.
        let reason = format!("it cannot be made a component: {error:#}");
        PluginError::Unlinkable { file: file.to_owned(), reason }
    })
}

fn check_version(file: &str, component: &[u8]) -> Result<(), PluginError> {
    let exports = scan(file, component)?.exports;
    let Some(version) = exports.iter().find_map(|name| name.strip_prefix(HANDLER)) else {
        let found = match exports.as_slice() {
            [] => "a component that exports nothing".to_owned(),
            names => format!("a component of another world (it exports {})", names[..names.len().min(3)].join(", ")),
        };
        return Err(PluginError::OtherWorld { file: file.to_owned(), found });
    };
    let served = version.strip_prefix(abi::VERSION).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if served {
        return Ok(());
    }
    let (found, served) = (version.to_owned(), abi::VERSION.to_owned());
    Err(PluginError::OtherVersion { file: file.to_owned(), found, served })
}

/// What a person would call a file that begins like this.
fn describe_bytes(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(64)];
    let cut_character = |error: std::str::Utf8Error| error.error_len().is_none();
    let text = match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        Err(error) if cut_character(error) => std::str::from_utf8(&head[..error.valid_up_to()]).ok(),
        Err(_) => None,
    };
    let printable = |text: &&str| !text.chars().any(|c| c.is_control() && !c.is_whitespace());
    match text.filter(printable) {
        _ if bytes.is_empty() => "the file is empty".to_owned(),
        Some(text) => {
            let line: String =
                text.lines().find(|line| !line.trim().is_empty()).unwrap_or("").chars().take(40).collect();
            format!("it is a text file that begins with `{line}`")
        }
        None if bytes.starts_with(b"\x7fELF") => "it is a compiled program".to_owned(),
        None => "it does not begin with the bytes of a WebAssembly file".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn code(bytes: &[u8]) -> (&'static str, String) {
        let error = component("x.wasm", bytes, LIMIT).expect_err("refused");
        (error.code(), error.to_string())
    }

    #[test]
    fn a_text_file_is_called_one() {
        let (code, text) = code(b"# my notes\nbuy milk\n");
        assert_eq!(code, "not-wasm");
        assert!(text.contains("it is a text file that begins with `# my notes`"), "{text}");
    }

    #[test]
    fn other_files_are_told_apart() {
        assert_eq!(code(b"").0, "not-wasm");
        assert_eq!(code(b"\x7fELF\x02\x01").0, "not-wasm");
        assert_eq!(code(b"\0asm\x01\0\0\0\x01").0, "malformed");
        assert_eq!(code(b"\0asm\x01\0\0\0").0, "other-world");
        assert_eq!(code(b"\0asm\x0d\0\x01\0").0, "other-world");
        assert_eq!(code(&vec![0; LIMIT + 1]).0, "file-too-large");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let mut module = b"\0asm\x0d\0\x01\0".to_vec();
            module.extend(&tail);
            proptest::prop_assert!(component("x", &module, LIMIT).is_err());
            proptest::prop_assert!(component("x", &tail, LIMIT).is_err());
        }
    }
}
