//! What counts, what is forgotten first, and what is taken from a file.

use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_000_000;

fn key(number: u16) -> SigningKey {
    let mut seed = [0; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    SigningKey::from_bytes(&seed)
}

fn peer(number: u16) -> PeerId {
    PeerId::from_bytes(key(number).verifying_key().to_bytes())
}

fn seen(network: u8) -> IpAddr {
    IpAddr::from([9, 9, network, 1])
}

fn signed(number: u16, sequence: u64, expires_unix_ms: u64) -> (SignedAddressRecord, AddressRecord) {
    let addresses = vec![SocketAddr::from(([8, 8, 8, 8], sequence as u16)), SocketAddr::from(([127, 0, 0, 1], 1))];
    let record = AddressRecord { peer: *peer(number).as_bytes(), sequence, expires_unix_ms, addresses };
    (SignedAddressRecord::sign(&record, |bytes| key(number).sign(bytes).to_bytes()), record)
}

fn learn(book: &mut Book, number: u16, sequence: u64, network: u8) -> Learned {
    let (signed, record) = signed(number, sequence, NOW + 1000);
    book.learn(signed, record, seen(network), NOW, |_| false)
}

fn port(book: &Book, number: u16) -> Option<u16> {
    book.addresses(&peer(number), NOW).first().map(SocketAddr::port)
}

#[test]
fn the_highest_sequence_counts_until_it_expires() {
    let mut book = Book::new(8);
    assert_eq!(learn(&mut book, 1, 5, 1), Learned::New);
    assert_eq!(learn(&mut book, 1, 5, 1), Learned::Old);
    assert_eq!(learn(&mut book, 1, 4, 1), Learned::Old);
    assert_eq!(port(&book, 1), Some(5), "and its loopback address is not for us");
    assert_eq!(book.addresses(&peer(1), NOW).len(), 1);
    assert_eq!(learn(&mut book, 1, 6, 1), Learned::New);
    assert_eq!(port(&book, 1), Some(6));
    assert!(book.addresses(&peer(1), NOW + 1000).is_empty(), "expired");
    let (old, record) = signed(1, 2, NOW + 9000);
    assert_eq!(book.learn(old, record, seen(1), NOW + 1000, |_| false), Learned::New, "the expired one is no obstacle");
    assert!(book.forget(&peer(1)) && !book.forget(&peer(1)));
}

#[test]
fn no_record_counts_for_longer_than_a_month() {
    let mut book = Book::new(8);
    let (endless, record) = signed(1, u64::MAX, u64::MAX);
    assert_eq!(book.learn(endless, record, seen(1), NOW, |_| false), Learned::New);
    assert!(book.addresses(&peer(1), NOW + LONGEST_MS).is_empty());
    let (next, record) = signed(1, 1, u64::MAX);
    assert_eq!(book.learn(next, record, seen(1), NOW + LONGEST_MS, |_| false), Learned::New);
}

#[test]
fn whoever_makes_many_keys_pushes_out_its_own_records() {
    let mut book = Book::new(16);
    for number in 0..8 {
        learn(&mut book, number, 1, number as u8);
    }
    for number in 100..400 {
        assert_eq!(learn(&mut book, number, 1, 200), Learned::New);
    }
    assert_eq!(book.records(NOW).len(), 16);
    assert!((0..8).all(|number| port(&book, number).is_some()), "the others are all there");
    assert!(port(&book, 399).is_some() && port(&book, 100).is_none(), "its own oldest went");
}

#[test]
fn a_wanted_peers_record_is_the_last_to_go() {
    let mut book = Book::new(2);
    let wanted = |one: &PeerId| *one == peer(1);
    for number in [1, 2, 3, 4] {
        let (signed, record) = signed(number, 1, NOW + 1000);
        book.learn(signed, record, seen(7), NOW, wanted);
    }
    assert!(port(&book, 1).is_some() && port(&book, 4).is_some());
}

#[test]
fn what_was_kept_is_verified_again() {
    let mut book = Book::new(8);
    learn(&mut book, 1, 1, 1);
    learn(&mut book, 2, 1, 2);
    let kept = book.records(NOW);
    let mut again = Book::new(8);
    assert!(kept.iter().all(|record| again.restore(record.clone(), NOW) == Learned::New));
    assert_eq!(again.records(NOW), kept);
    let mut hostile = Book::new(8);
    let theirs = BookRecord { peer: peer(2), ..kept[0].clone() };
    assert_eq!(hostile.restore(theirs, NOW), Learned::Old, "signed by another");
    assert_eq!(hostile.restore(kept[0].clone(), NOW + 1000), Learned::Old, "expired");
    let endless = BookRecord { until_unix_ms: u64::MAX, ..kept[0].clone() };
    assert_eq!(hostile.restore(endless, NOW), Learned::New, "the signed expiry still holds");
    assert!(hostile.restore(kept[0].clone(), NOW) == Learned::Old, "twice");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_book_is_bounded_and_never_goes_back(
        steps in proptest::collection::vec((0..24_u16, 0..6_u64, 0..4_u8), 0..120),
    ) {
        let mut book = Book::new(10);
        let mut highest: BTreeMap<u16, u64> = BTreeMap::new();
        for (number, sequence, network) in steps {
            let before = port(&book, number);
            let verdict = learn(&mut book, number, sequence + 1, network);
            prop_assert!(book.records(NOW).len() <= 10);
            match before {
                Some(known) => prop_assert_eq!(verdict == Learned::New, sequence + 1 > u64::from(known)),
                // It may have been evicted at once: then it is as if it had never come.
                None => {
                    highest.remove(&number);
                }
            }
            if verdict == Learned::New {
                highest.insert(number, sequence + 1);
            }
            if let Some(now) = port(&book, number) {
                prop_assert_eq!(Some(u64::from(now)), highest.get(&number).copied());
            }
        }
    }
}
