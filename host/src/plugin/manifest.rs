//! The manifest as `describe` returns it, checked once into types the rest can trust. Pure.

use std::collections::BTreeSet;

use super::abi;
use crate::protocol::{ProtocolId, ProtocolSpec};
use crate::wire::DEFAULT_MAX_MESSAGE;

/// Longest name of a plugin, in bytes: it is a folder, a table and a label in many places.
const MAX_NAME: usize = 64;
/// Longest description kept, in bytes.
const MAX_DESCRIPTION: usize = 1_024;
/// Most capabilities and kinds of extensions a manifest may name.
const MAX_LIST: usize = 256;

/// A protocol and the plugin's own short name for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyedProtocol {
    pub(super) key: u32,
    pub(super) spec: ProtocolSpec,
}

/// A manifest that keeps the rules.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) description: String,
    pub(super) data_version: u32,
    pub(super) reads_data_from: u32,
    pub(super) protocols: Vec<KeyedProtocol>,
    pub(super) capabilities: Vec<String>,
}

impl Manifest {
    /// One with nothing but a name, for tests of what only passes it on.
    #[cfg(test)]
    pub(super) fn for_tests(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            description: String::new(),
            data_version: 1,
            reads_data_from: 1,
            protocols: Vec::new(),
            capabilities: Vec::new(),
        }
    }

    /// Checks every rule; the error names the rule and what was found.
    pub(super) fn check(raw: abi::Manifest, most_protocols: usize) -> Result<Self, String> {
        check_name(&raw.name)?;
        check_version(&raw.version)?;
        if raw.reads_data_from > raw.data_version {
            return Err(format!(
                "reads-data-from is {} and data-version is {}; a revision must be able to read what it writes",
                raw.reads_data_from, raw.data_version
            ));
        }
        if raw.capabilities.len() > MAX_LIST || raw.listens.len() > MAX_LIST {
            return Err(format!("capabilities and listens may have {MAX_LIST} entries each"));
        }
        let mut description = raw.description;
        description.truncate(description.floor_char_boundary(MAX_DESCRIPTION));
        Ok(Self {
            protocols: check_protocols(&raw.protocols, most_protocols)?,
            name: raw.name,
            version: raw.version,
            description,
            data_version: raw.data_version,
            reads_data_from: raw.reads_data_from,
            capabilities: raw.capabilities,
        })
    }
}

fn check_protocols(raw: &[abi::types::Protocol], most: usize) -> Result<Vec<KeyedProtocol>, String> {
    if raw.len() > most {
        return Err(format!("it has {} protocols; a plugin may have {most}", raw.len()));
    }
    let checked = raw.iter().map(check_protocol).collect::<Result<Vec<_>, _>>()?;
    let (mut keys, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for protocol in &checked {
        if !keys.insert(protocol.key) || !ids.insert(&protocol.spec.id) {
            return Err(format!("two protocols share the key {} or the id {}", protocol.key, protocol.spec.id));
        }
    }
    Ok(checked)
}

/// Checks one protocol, of a manifest or of `net.register`.
pub(super) fn check_protocol(raw: &abi::types::Protocol) -> Result<KeyedProtocol, String> {
    let id: ProtocolId = raw.id.parse().map_err(|error| format!("{error}"))?;
    if raw.max_message == 0 || raw.max_message > DEFAULT_MAX_MESSAGE {
        return Err(format!(
            "protocol {id} asks for messages of {} bytes; write 1 to {DEFAULT_MAX_MESSAGE}",
            raw.max_message
        ));
    }
    let spec = ProtocolSpec { id, delivery: raw.delivery.into(), max_message: raw.max_message };
    Ok(KeyedProtocol { key: raw.key, spec })
}

/// Lowercase words of letters and digits with one `-` between them.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if name.len() <= MAX_NAME && begins && name.split('-').all(word) {
        return Ok(());
    }
    let shown: String = name.chars().take(MAX_NAME).collect();
    Err(format!("the name `{shown}` is not kebab-case of at most {MAX_NAME} bytes; write for instance `my-plugin`"))
}

/// `MAJOR.MINOR.PATCH`, with `-pre` and `+build` as semver.org has them.
fn check_version(version: &str) -> Result<(), String> {
    let identifiers = |text: &str| {
        text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    let (rest, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let number = |text: &str| {
        text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
    };
    let core: Vec<_> = core.split('.').collect();
    let good_core = core.len() == 3 && core.iter().all(|part| !part.is_empty() && number(part));
    if version.len() <= 64 && good_core && pre.is_none_or(identifiers) && build.is_none_or(identifiers) {
        return Ok(());
    }
    let shown: String = version.chars().take(64).collect();
    Err(format!("`{shown}` is no semantic version; write for instance 0.1.0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol(key: u32, id: &str) -> abi::types::Protocol {
        abi::types::Protocol { key, id: id.into(), delivery: abi::types::Delivery::Ordered, max_message: 100 }
    }

    #[test]
    fn names_are_kebab_case() {
        for good in ["ping", "a-b2", "x"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "Ping", "-a", "a-", "a--b", "a_b", "2a", "a b", "../x", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_are_semantic() {
        for good in ["0.1.0", "1.2.3-rc.1+b5", "10.20.30"] {
            assert!(check_version(good).is_ok(), "{good}");
        }
        for bad in ["", "1", "1.2", "01.2.3", "1.2.3-", "1.2.x", "1..3", "1.2.3+", "1.2.99999999999999999999"] {
            assert!(check_version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn protocols_have_keys_and_ids_of_their_own() {
        assert!(check_protocols(&[protocol(1, "/a/1"), protocol(2, "/b/1")], 2).is_ok());
        assert!(check_protocols(&[protocol(1, "/a/1"), protocol(1, "/b/1")], 2).is_err());
        assert!(check_protocols(&[protocol(1, "/a/1"), protocol(2, "/a/1")], 2).is_err());
        assert!(check_protocols(&[protocol(1, "/a/1"), protocol(2, "/b/1")], 1).is_err());
        let large = abi::types::Protocol { max_message: (1 << 20) + 1, ..protocol(1, "/a/1") };
        assert!(check_protocol(&large).is_err());
    }
}
