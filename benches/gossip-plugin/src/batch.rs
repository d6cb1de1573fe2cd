//! An item: one author's messages under one signature.
//!
//! What is signed is the item's id: a hash over the author and the root of a Merkle tree over the messages. A batch goes
//! along the tree as a whole, so nobody sends a proof for each of its messages; whoever passes a single one on later, on
//! another way, proves it by the hashes beside its path. With one message the root is that message's hash, and the
//! signature is one for each message.

use weir_sdk::gossip::ItemId;
use weir_sdk::prelude::*;

const KEY: usize = 32;
const SIGNATURE: usize = 64;
const HEAD: usize = KEY + SIGNATURE;

type Hash = [u8; 32];

/// See the module. In bytes: the author, the signature, and each message behind its length.
pub struct Batch<'a> {
    author: &'a [u8],
    signature: &'a [u8],
    messages: Vec<&'a [u8]>,
}

impl<'a> Batch<'a> {
    /// Nothing when the bytes are no batch.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_at_checked(HEAD)?;
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let (len, behind) = rest.split_first_chunk()?;
            let (message, behind) = behind.split_at_checked(u16::from_le_bytes(*len).into())?;
            messages.push(message);
            rest = behind;
        }
        let (author, signature) = head.split_at(KEY);
        Some(Self { author, signature, messages })
    }

    /// Signs them and writes them down.
    pub fn write(author: PeerId, messages: &[Vec<u8>], ctx: &Context) -> Vec<u8> {
        let author = author.to_bytes();
        let refs: Vec<_> = messages.iter().map(Vec::as_slice).collect();
        let signature = ctx.sign(&id(&author, &refs));
        let mut bytes = [&author[..], &signature].concat();
        for message in messages {
            bytes.extend_from_slice(&(message.len() as u16).to_le_bytes());
            bytes.extend_from_slice(message);
        }
        bytes
    }

    /// What it is called, whatever its signature.
    pub fn id(&self) -> ItemId {
        ItemId(id(self.author, &self.messages))
    }

    /// Whether its author's node has signed this id for the plugin of this name.
    pub fn is_signed(&self, id: &ItemId, plugin: &str, ctx: &Context) -> bool {
        let text = [b"weir-plugin-v1", plugin.as_bytes(), b"\0", &id.0].concat();
        ctx.verify(self.author, &text, self.signature)
    }

    /// How many messages it has.
    pub fn len(&self) -> usize {
        self.messages.len()
    }
}

fn id(author: &[u8], messages: &[&[u8]]) -> Hash {
    hash(2, author, &root(messages))
}

/// The root of the tree over these; one without a neighbour goes up as it is.
fn root(messages: &[&[u8]]) -> Hash {
    let mut level: Vec<_> = messages.iter().map(|message| hash(0, message, &[])).collect();
    while level.len() > 1 {
        level =
            level.chunks(2).map(|pair| if let [left, right] = pair { hash(1, left, right) } else { pair[0] }).collect();
    }
    level.first().copied().unwrap_or_default()
}

/// Leaves, inner nodes and ids begin with bytes of their own, so that none passes for another.
fn hash(kind: u8, left: &[u8], right: &[u8]) -> Hash {
    weir_sdk::sha256(&[&[kind], left, right].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_short_is_no_batch_and_every_message_counts_in_the_id() {
        let bytes = |messages: &[&[u8]]| {
            let behind: Vec<u8> =
                messages.iter().flat_map(|m| [&(m.len() as u16).to_le_bytes()[..], m].concat()).collect();
            [vec![9; HEAD], behind].concat()
        };
        let whole = bytes(&[b"one", b"two", b"three"]);
        let batch = Batch::read(&whole).expect("a batch");
        assert_eq!((batch.len(), batch.messages[2]), (3, &b"three"[..]));
        assert!(Batch::read(&whole[..whole.len() - 1]).is_none() && Batch::read(&whole[..HEAD - 1]).is_none());
        let other = bytes(&[b"one", b"two", b"thref"]);
        assert_ne!(batch.id(), Batch::read(&other).expect("a batch").id());
    }
}
