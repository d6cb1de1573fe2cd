//! One entry of the cache as bytes: its form, its name, and the tag that says who wrote it. Pure.

use std::fmt;

use aws_lc_rs::{digest, hmac};

/// What a file of ours begins with; another form gets another one.
const MAGIC: &[u8; 12] = b"weir-code-1\n";
const TAG: usize = 32;
/// What stands before the code: the magic, the length of the code, the tag.
const HEAD: usize = MAGIC.len() + 8;

/// Names code by what was compiled, for which engine.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::plugin) struct Name([u8; 32]);

impl Name {
    pub(super) fn of(stamp: &[u8], file: &[u8]) -> Self {
        let content = digest::digest(&digest::SHA256, file);
        let mut name = digest::Context::new(&digest::SHA256);
        // Each part has a fixed length, so none can pass for a piece of another.
        for part in [MAGIC.as_slice(), stamp, content.as_ref()] {
            name.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(name.finish().as_ref());
        Self(bytes)
    }

    #[cfg(test)]
    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What stands first in a file.
pub(super) fn head(code: &[u8]) -> Vec<u8> {
    [MAGIC.as_slice(), &(code.len() as u64).to_le_bytes()].concat()
}

/// What stands between head and code.
pub(super) fn tag(key: &hmac::Key, name: &Name, code: &[u8]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(key);
    for part in [head(code).as_slice(), &name.0, code] {
        context.update(part);
    }
    context.sign().as_ref().to_vec()
}

/// The code in a file, if the file is whole and was written with this key under this name.
pub(super) fn open(key: &hmac::Key, name: &Name, mut file: Vec<u8>) -> Option<Vec<u8>> {
    let (before, code) = file.split_at_checked(HEAD + TAG)?;
    let (found, found_tag) = before.split_at_checked(HEAD)?;
    if found != head(code) || !same(&tag(key, name, code), found_tag) {
        return None;
    }
    file.drain(..HEAD + TAG);
    Some(file)
}

/// Compares in a time that does not tell how much is the same, so that a tag cannot be found byte by byte.
fn same(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(n: u8) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[n; 32])
    }

    fn file(key: &hmac::Key, name: &Name, code: &[u8]) -> Vec<u8> {
        [head(code), tag(key, name, code), code.to_vec()].concat()
    }

    #[test]
    fn a_name_is_of_engine_and_content() {
        let names = [Name::of(&[1; 32], b"a"), Name::of(&[1; 32], b"b"), Name::of(&[2; 32], b"a")];
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2]);
        assert_eq!(names[0].to_string().len(), 64);
    }

    proptest! {
        #[test]
        fn only_what_was_written_is_read(code in prop::collection::vec(any::<u8>(), 0..300), at: usize, bit in 0_u8..8, cut: usize) {
            let (key, other, name) = (key(1), self::key(2), Name::of(b"stamp", b"content"));
            let whole = file(&key, &name, &code);
            prop_assert_eq!(open(&key, &name, whole.clone()), Some(code.clone()));
            prop_assert_eq!(open(&other, &name, whole.clone()), None);
            prop_assert_eq!(open(&key, &Name::of(b"stamp", b"else"), whole.clone()), None);
            let mut damaged = whole.clone();
            damaged[at % whole.len()] ^= 1 << bit;
            prop_assert_eq!(open(&key, &name, damaged), None);
            prop_assert_eq!(open(&key, &name, whole[..cut % whole.len()].to_vec()), None);
            prop_assert_eq!(open(&key, &name, [whole, vec![0]].concat()), None);
        }
    }
}
