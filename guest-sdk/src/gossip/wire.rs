//! What gossip says to peers: one byte for the version, then postcard.

use serde::{Deserialize, Serialize};

use super::index::RangeDigest;
use super::item::{ItemId, Place};

/// The first byte of every body. Bodies that begin with 16 or more are never gossip's, so a plugin may use them for
/// messages of its own on the same protocol.
pub(super) const VERSION: u8 = 1;
/// Bodies that begin with this byte or a higher one are never gossip's: a plugin may speak them on the same protocol.
pub const FIRST_OWN_BYTE: u8 = 16;
/// The most that the head of a message and the head of one item take.
pub(super) const HEAD: usize = 16;

/// One way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message<'a> {
    /// Items, each with the hops it has made.
    Push(#[serde(borrow)] Vec<(u8, &'a [u8])>),
    /// Ids of items that are new and that the sender holds, each with the hops it had made there.
    Have(Vec<(u8, ItemId)>),
    /// The same of items that are not new: what the receiver was found to lack.
    Held(Vec<ItemId>),
    /// Send me ids instead of items.
    Prune,
    /// Send me items again.
    Graft,
    /// I have taken you into my active view. True when I have nobody else.
    Join(bool),
    /// I have no place for you in my active view.
    Leave,
}

/// To be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ask<'a> {
    /// Hand over these items. `graft`: and push to me from now on.
    Want { graft: bool, ids: Vec<ItemId> },
    /// Which of these ranges differ? The first begins at `floor`, each other where the one before ends.
    Survey { floor: Place, ranges: Vec<(Place, RangeDigest)> },
    /// A step of `negentropy` over a range.
    Reconcile { low: Place, high: Place, body: &'a [u8] },
}

/// The answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer<'a> {
    /// To `Want`. `more`: some did not fit, ask again.
    Items {
        more: bool,
        #[serde(borrow)]
        items: Vec<&'a [u8]>,
    },
    /// To `Survey`: the ranges that differ, cut so that the answerer holds no more than a window in each.
    Differ(Vec<(Place, Place)>),
    /// To `Reconcile`.
    Step(&'a [u8]),
    /// Too much was asked: later.
    Later,
}

/// A message as bytes.
pub(super) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Into a vector, nothing of these types can fail.
    postcard::to_extend(message, vec![VERSION]).unwrap_or_default()
}

/// A message from bytes; none when it is not one of this version.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    let (version, rest) = bytes.split_first()?;
    if *version != VERSION { None } else { postcard::from_bytes(rest).ok() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_go_both_ways() {
        let message = Message::Push(vec![(3, b"abc".as_slice()), (0, b"".as_slice())]);
        assert_eq!(decode(&encode(&message)), Some(message));
        let ask = Ask::Survey { floor: Place::FIRST, ranges: vec![(Place::LAST, [7; 16])] };
        assert_eq!(decode(&encode(&ask)), Some(ask));
        assert_eq!(decode::<Message<'_>>(&[]), None);
        assert_eq!(decode::<Message<'_>>(&[2, 2]), None);
        // A count that no body could hold.
        assert_eq!(decode::<Message<'_>>(&[VERSION, 1, 255, 255, 255, 255, 15]), None);
    }

    #[test]
    fn the_head_is_never_larger_than_said() {
        let item = vec![0; 60 << 10];
        assert!(encode(&Message::Push(vec![(255, &item)])).len() <= item.len() + HEAD);
        assert!(encode(&Answer::Items { more: true, items: vec![&item] }).len() <= item.len() + HEAD);
    }

    #[test]
    fn nearly_right_bytes_are_read_without_a_panic_and_mean_what_they_say() {
        let (id, place) = (ItemId([7; 32]), Place { stamp: 300, id: ItemId([9; 32]) });
        let messages = [
            Message::Push(vec![(3, b"abc".as_slice()), (0, b"defghi".as_slice())]),
            Message::Have(vec![(1, id), (200, place.id)]),
            Message::Held(vec![id; 3]),
            Message::Prune,
            Message::Graft,
            Message::Join(true),
            Message::Leave,
        ];
        let asks = [
            Ask::Want { graft: true, ids: vec![id, place.id] },
            Ask::Survey { floor: Place::FIRST, ranges: vec![(place, [7; 16]), (Place::LAST, [8; 16])] },
            Ask::Reconcile { low: place, high: Place::LAST, body: &[0x61; 40] },
        ];
        let answers = [
            Answer::Items { more: true, items: vec![b"abc".as_slice(), &[1; 200]] },
            Answer::Differ(vec![(Place::FIRST, place)]),
            Answer::Step(&[0x61; 40]),
            Answer::Later,
        ];
        let valid: Vec<_> =
            messages.iter().map(encode).chain(asks.iter().map(encode)).chain(answers.iter().map(encode)).collect();
        let mut random = crate::testing::Random::new(1);
        for _ in 0..20_000 {
            let bytes = crate::testing::mutated(&valid, &mut random);
            if let Some(message) = decode::<Message<'_>>(&bytes) {
                assert_eq!(decode(&encode(&message)), Some(message));
            }
            if let Some(ask) = decode::<Ask<'_>>(&bytes) {
                assert_eq!(decode(&encode(&ask)), Some(ask));
            }
            if let Some(answer) = decode::<Answer<'_>>(&bytes) {
                assert_eq!(decode(&encode(&answer)), Some(answer));
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let _ = decode::<Message<'_>>(&bytes);
            let _ = decode::<Ask<'_>>(&bytes);
            let _ = decode::<Answer<'_>>(&bytes);
        }
    }
}
