//! The decoder of declarations and claims, which reads what strangers send.

use proptest::prelude::*;
use weir_ledger::keys::{KeyPair, Strict};
use weir_ledger::{Genesis, GenesisFile, Key, Memory};
use weir_plugin_dividend::items::{Body, Item, MAX_ITEM};
use weir_plugin_dividend::{Pot, Verdict};

fn payer() -> KeyPair {
    KeyPair::from_secret(&[3; 32])
}

fn genesis() -> Genesis {
    Genesis::new(GenesisFile {
        name: "Test".to_owned(),
        symbol: "TST".to_owned(),
        issuer: KeyPair::from_secret(&[1; 32]).key(),
        recovery: KeyPair::from_secret(&[2; 32]).key(),
        payers: vec![payer().key()],
        unbonding_epochs: 1,
    })
    .expect("in order")
}

fn body() -> impl Strategy<Value = Body> {
    let payer: Key = payer().key();
    prop_oneof![
        (any::<u64>(), any::<u128>()).prop_map(move |(number, amount)| Body::Declaration { payer, number, amount }),
        any::<u64>().prop_map(move |up_to_epoch| Body::Claim { account: payer, up_to_epoch }),
    ]
}

/// A known kind, and random bytes: often as many as that kind has.
fn strange() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![Just(MAX_ITEM - 1), Just(MAX_ITEM - 17), 0..2 * MAX_ITEM];
    let rest = len.prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len));
    (1u8..=2, rest).prop_map(|(kind, rest)| [&[kind], &rest[..]].concat())
}

/// What decodes is what its body encodes to, with a signature: there is one encoding of everything. False when it does not.
fn decodes(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let Ok(item) = Item::decode(bytes) else { return Ok(false) };
    prop_assert_eq!(item.bytes(), bytes);
    prop_assert_eq!(item.body().encode(), &bytes[..bytes.len() - 64]);
    Ok(true)
}

fn is_accepted(bytes: &[u8]) -> bool {
    let mut store = Memory::default();
    let mut pot = Pot::open(genesis(), &store).expect("an empty store");
    pot.receive(bytes, &mut store, &Strict).verdict == Verdict::Accepted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn strange_bytes_decode_by_their_length_alone(bytes in strange()) {
        let len = if bytes[0] == 1 { MAX_ITEM } else { MAX_ITEM - 16 };
        prop_assert_eq!(decodes(&bytes)?, bytes.len() == len);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changed_items_are_other_items_and_nobodys(
        body in body(), changes in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
    ) {
        let item = Item::sign(body, &payer(), genesis().hash());
        prop_assert!(decodes(item.bytes())?);
        let mut bytes = item.bytes().to_vec();
        for (at, change) in changes {
            *at.get_mut(&mut bytes[..]) ^= change;
        }
        decodes(&bytes)?;
        prop_assert_eq!(is_accepted(&bytes), bytes == item.bytes() && matches!(body, Body::Declaration { .. }));
    }
}
