//! A store file is read as it was written, in pieces of any size, and nothing else is taken for one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LIMITS: ArchiveLimits = ArchiveLimits { key: 64, value: 64, bytes: 10_000 };

fn head() -> ArchiveHead {
    let version = Some("0.1.0".to_owned());
    ArchiveHead { plugin: "ping".to_owned(), bytes: 7, exported_ms: 3, data_version: Some(2), version }
}

fn write(entries: &[Entry], at_once: usize) -> Vec<u8> {
    let (mut writer, start) = ArchiveWriter::begin(&head());
    let mut file = start.to_vec();
    for piece in entries.chunks(at_once) {
        file.extend_from_slice(&writer.entries(piece));
    }
    file.extend_from_slice(&writer.end().0);
    file
}

fn read(file: &[u8], pieces: &[usize]) -> Result<(Vec<Entry>, ArchiveTotals), ArchiveError> {
    let (mut reader, mut entries, mut rest) = (ArchiveReader::new(LIMITS), Vec::new(), file);
    let mut sizes = pieces.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
        entries.extend(reader.push(&rest[..size])?);
        rest = &rest[size..];
    }
    Ok((entries, reader.finish()?))
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    prop::collection::btree_map(bytes(), bytes(), 0..20).prop_map(|map: BTreeMap<_, _>| map.into_iter().collect())
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        entries in entries(),
        at_once in 1_usize..9,
        pieces in prop::collection::vec(1_usize..50, 1..9),
    ) {
        let (found, totals) = read(&write(&entries, at_once), &pieces).expect("a good file");
        prop_assert_eq!(totals.entries as usize, entries.len());
        prop_assert_eq!(found, entries);
    }

    #[test]
    fn one_bit_elsewhere_is_noticed(entries in entries(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut file = write(&entries, 3);
        let at = at.index(file.len());
        file[at] ^= 1 << bit;
        prop_assert!(read(&file, &[17]).is_err(), "byte {}", at);
    }

    #[test]
    fn cut_off_anywhere_it_is_not_taken(entries in entries(), at in any::<prop::sample::Index>()) {
        let file = write(&entries, 3);
        prop_assert!(read(&file[..at.index(file.len())], &[17]).is_err());
    }

    #[test]
    fn nothing_makes_it_panic(garbage in prop::collection::vec(any::<u8>(), 0..300), keep in 0_usize..80) {
        let mut file = write(&[(b"k".to_vec(), b"v".to_vec())], 1);
        file.truncate(keep);
        file.extend_from_slice(&garbage);
        let _ = read(&file, &[7]);
    }
}

fn refused(entries: &[Entry]) -> &'static str {
    read(&write(entries, 1), &[9]).expect_err("must be refused").code()
}

#[test]
fn what_a_plugin_could_not_have_written_is_refused() {
    assert_eq!(refused(&[(vec![0; 65], vec![])]), "store-over-quota");
    assert_eq!(refused(&[(vec![0], vec![0; 65])]), "store-over-quota");
    let many: Vec<_> = (0..200_u8).map(|n| (vec![n], vec![0; 60])).collect();
    assert_eq!(refused(&many), "store-over-quota");
    assert_eq!(refused(&[(vec![2], vec![]), (vec![1], vec![])]), "store-file-damaged");
    assert_eq!(refused(&[(vec![1], vec![]), (vec![1], vec![])]), "store-file-damaged");
}

#[test]
fn what_is_no_store_file_says_so() {
    let code = |file: &[u8]| read(file, &[5]).expect_err("must be refused").code();
    assert_eq!(
        (code(b""), code(b"WEIR"), code(b"PK something")),
        ("not-a-store-file", "not-a-store-file", "not-a-store-file")
    );
    let mut newer = write(&[], 1);
    newer[11] = 9;
    assert_eq!(code(&newer), "store-file-too-new");
    let long = [write(&[], 1), b"x".to_vec()].concat();
    assert_eq!(code(&long), "store-file-damaged");
}
