//! `Proof`: two operations of one account with one number.

use weir_ledger::codec::{DecodeError, Reader};
use weir_ledger::{Body, Hash, Id, Key, Signed, Verify};

use super::kind;
use super::operation::Operation;

/// Two different operations of one account with one number, the one with the smaller id first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    first: Signed<Operation>,
    second: Signed<Operation>,
}

impl Proof {
    /// Bytes of the largest, without the byte that says its kind.
    pub const MAX: usize = 2 * (Operation::MAX + weir_ledger::sign::SIGNATURE);
    /// Bytes of the smallest: two withdrawals.
    pub const MIN: usize = Self::MAX - 2 * 16;

    /// From two operations in any order; none when they prove nothing.
    pub fn new(one: Signed<Operation>, other: Signed<Operation>) -> Option<Self> {
        let (first, second) = if one.id() < other.id() { (one, other) } else { (other, one) };
        let proof = Self { first, second };
        proof.is_one().then_some(proof)
    }

    fn is_one(&self) -> bool {
        let (first, second) = (self.first.body(), self.second.body());
        first.account == second.account && first.seq == second.seq && self.first.id() < self.second.id()
    }

    /// Reads the bytes of an item.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > Self::MAX + 1 {
            return Err(DecodeError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            kind::PROOF => {}
            other => return Err(DecodeError::Kind(other)),
        }
        let proof = Self::read(&mut reader)?;
        reader.end()?;
        Ok(proof)
    }

    /// Reads one out of many.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let proof = Self { first: Signed::read(reader)?, second: Signed::read(reader)? };
        if proof.is_one() { Ok(proof) } else { Err(DecodeError::Field("the two operations prove nothing")) }
    }

    /// The bytes of an item.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![kind::PROOF];
        self.write(&mut bytes);
        bytes
    }

    /// As one of many.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.first.bytes());
        bytes.extend(self.second.bytes());
    }

    /// Its name among items: that of the account, because two proofs about one account say no more than one.
    pub fn id(&self) -> Id {
        Self::id_for(self.account())
    }

    /// The name of any proof about this account.
    pub fn id_for(account: Key) -> Id {
        Hash::new("weir-staking-proof-v1").with(&account.0).id()
    }

    /// Who signed both.
    pub fn account(&self) -> Key {
        self.first.body().account
    }

    /// The number that both have.
    pub fn seq(&self) -> u64 {
        self.first.body().seq
    }

    /// The two operations.
    pub fn operations(&self) -> [&Signed<Operation>; 2] {
        [&self.first, &self.second]
    }

    /// Whether both signatures are genuine.
    pub fn is_genuine(&self, genesis: Id, verify: &impl Verify) -> bool {
        self.first.is_genuine(genesis, verify) && self.second.is_genuine(genesis, verify)
    }
}
