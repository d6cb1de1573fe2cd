//! Ledgers in memory, wallets that sign, and the exchange between ledgers as the gossip does it.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod world;

use std::collections::BTreeMap;

use weir_ledger::keys::KeyPair;
use weir_ledger::{Genesis, GenesisFile, Id, Key, Memory, Ordered, Verify};
use weir_plugin_staking::commands::{self, AccountAnswer, AccountArgs, StakesArgs};
use weir_plugin_staking::items::{Action, Anchor, Decree, Operation, Order, Proof, Signed};
use weir_plugin_staking::{Ledger, Notice, Receipt, STEP, Verdict, Want};
use weir_sdk::testing::{Imports, Random};

/// Signature checks remembered between the ledgers of a test.
pub struct Remembered;

impl Verify for Remembered {
    fn verify(&self, key: Key, message: &[u8], signature: &[u8; 64]) -> bool {
        Imports::verify(&key.0, message, signature)
    }
}

pub fn pair(name: u64) -> KeyPair {
    let mut secret = [0; 32];
    let mut random = Random::new(name);
    secret.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.number().to_be_bytes()));
    KeyPair::from_secret(&secret)
}

pub const ISSUER: u64 = 1;
pub const RECOVERY: u64 = 2;
pub const SECOND_ISSUER: u64 = 3;

pub fn genesis_named(name: &str) -> Genesis {
    Genesis::new(GenesisFile {
        name: name.to_owned(),
        symbol: "TST".to_owned(),
        issuer: pair(ISSUER).key(),
        recovery: pair(RECOVERY).key(),
        payers: vec![],
        unbonding_epochs: 2,
    })
    .expect("in order")
}

pub fn genesis() -> Genesis {
    genesis_named("Test")
}

/// Signs an account's log.
#[derive(Clone)]
pub struct Wallet {
    pub pair: KeyPair,
    pub genesis: Id,
    pub seq: u64,
    pub before: Id,
}

impl Wallet {
    pub fn new(name: u64, genesis: &Genesis) -> Self {
        Self { pair: pair(name), genesis: genesis.hash(), seq: 0, before: genesis.hash() }
    }

    pub fn key(&self) -> Key {
        self.pair.key()
    }

    pub fn sign(&mut self, action: Action) -> Vec<u8> {
        let body = Operation { account: self.key(), seq: self.seq, before: self.before, action };
        let signed = Signed::sign(body, &self.pair, self.genesis);
        (self.seq, self.before) = (self.seq + 1, signed.id());
        signed.bytes().to_vec()
    }
}

/// Signs the issuer's log.
#[derive(Clone)]
pub struct Issuer {
    pub pair: KeyPair,
    pub genesis: Id,
    pub reign: u64,
    pub seq: u64,
    pub before: Id,
}

impl Issuer {
    pub fn new(genesis: &Genesis) -> Self {
        Self { pair: pair(ISSUER), genesis: genesis.hash(), reign: 0, seq: 0, before: genesis.hash() }
    }

    pub fn sign(&mut self, order: Order) -> Vec<u8> {
        let (key, reign) = (self.pair.key(), self.reign);
        let signed =
            Signed::sign(Decree { key, reign, seq: self.seq, before: self.before, order }, &self.pair, self.genesis);
        (self.seq, self.before) = (self.seq + 1, signed.id());
        signed.bytes().to_vec()
    }

    pub fn mint(&mut self, to: Key, amount: u128) -> Vec<u8> {
        self.sign(Order::Mint { to, amount })
    }

    /// Collects what is new on this node and signs it; the node has it then.
    pub fn epoch(&mut self, node: &mut Node) -> Vec<u8> {
        self.epoch_with(node, &[])
    }

    pub fn epoch_with(&mut self, node: &mut Node, anchors: &[Anchor]) -> Vec<u8> {
        let draft = node.ledger.draft(anchors, &mut node.store).expect("a draft");
        assert_eq!(
            (draft.decree.seq, draft.decree.before),
            (self.seq, self.before),
            "the node has the issuer's whole log"
        );
        let bytes = self.sign(draft.decree.order);
        assert_eq!(node.give(&bytes).verdict, Verdict::Accepted);
        bytes
    }
}

/// Signed by the recovery key.
pub fn rotation(genesis: &Genesis, reign: u64, seq: u64, before: Id, new: u64) -> (Vec<u8>, Issuer) {
    let order = Order::Rotate { new_key: pair(new).key() };
    let body = Decree { key: pair(RECOVERY).key(), reign, seq, before, order };
    let signed = Signed::sign(body, &pair(RECOVERY), genesis.hash());
    let issuer = Issuer { pair: pair(new), genesis: genesis.hash(), reign, seq: seq + 1, before: signed.id() };
    (signed.bytes().to_vec(), issuer)
}

/// One ledger and its store.
#[derive(Clone)]
pub struct Node {
    pub ledger: Ledger,
    pub store: Memory,
    pub notices: Vec<Notice>,
}

impl Node {
    pub fn new(genesis: &Genesis) -> Self {
        let store = Memory::default();
        Self { ledger: Ledger::open(genesis.clone(), &store).expect("an empty store"), store, notices: Vec::new() }
    }

    /// Gives an item and lets the ledger do what it can.
    pub fn give(&mut self, bytes: &[u8]) -> Receipt {
        let receipt = self.receive(bytes);
        self.work();
        receipt
    }

    pub fn receive(&mut self, bytes: &[u8]) -> Receipt {
        self.ledger.receive(bytes, None, &mut self.store, &Remembered)
    }

    pub fn work(&mut self) {
        for _ in 0..100_000 {
            let more = self.ledger.step(&mut self.store, &Remembered, STEP);
            self.notices.extend(self.ledger.take_notices());
            if !more {
                return;
            }
        }
        panic!("the work never ends: {:?}", self.ledger.meta());
    }

    /// One piece of work only.
    pub fn one_step(&mut self, limit: usize) -> bool {
        self.ledger.step(&mut self.store, &Remembered, limit)
    }

    /// Forgets everything but the store.
    pub fn restart(&mut self) {
        self.ledger = Ledger::open(self.ledger.genesis().clone(), &self.store).expect("its own store");
    }

    pub fn epoch(&self) -> u64 {
        self.ledger.meta().closed.epoch
    }

    pub fn root(&self) -> Id {
        self.ledger.root()
    }

    pub fn account(&self, account: Key) -> AccountAnswer {
        commands::account(&self.ledger, &AccountArgs { account }, &self.store).expect("an account")
    }

    pub fn stakes(&self, epoch: u64) -> BTreeMap<Key, u128> {
        let mut args = StakesArgs { epoch: Some(epoch), limit: Some(7), ..StakesArgs::default() };
        let mut found = BTreeMap::new();
        loop {
            let answer = commands::stakes(&self.ledger, &args, &self.store).expect("stakes");
            found.extend(answer.accounts.iter().map(|entry| (entry.account, entry.staked)));
            args.after = answer.next;
            if args.after.is_none() {
                assert_eq!(found.values().sum::<u128>(), answer.total);
                return found;
            }
        }
    }

    /// What must hold of every closed state.
    pub fn check(&self) {
        let totals = self.ledger.meta().closed.totals;
        let accounts = self.store.prefix(b"a", usize::MAX);
        let (mut balance, mut staked, mut unbonding, mut count) = (0u128, 0u128, 0u128, 0u64);
        for (key, _) in accounts {
            let account = Key(key[1..].try_into().expect("a key"));
            let Some(state) = self.ledger.closed_account(account, &self.store) else { continue };
            balance += state.balance;
            staked += state.staked;
            unbonding += state.unbonding_total();
            count += 1;
        }
        assert_eq!(totals.minted, balance + staked + unbonding, "minted = balances + staked + unbonding");
        assert_eq!((totals.staked, totals.unbonding, totals.accounts), (staked, unbonding, count));
    }
}

/// Takes what `to` wants out of `from`, and what set reconciliation would find. True when something was new.
pub fn pull(to: &mut Node, from: &mut Node) -> bool {
    fetch(to, from) | reconcile(to, from)
}

/// Takes what `to` wants by name or height.
pub fn fetch(to: &mut Node, from: &mut Node) -> bool {
    let mut wants: Vec<Want> = to.ledger.hear(&from.ledger.summary(), &to.store).into_iter().collect();
    wants.extend(to.ledger.wants(&to.store, 64));
    let mut new = false;
    for want in wants {
        for item in from.ledger.serve(&want, 100_000, &from.store) {
            new |= to.give(&item).verdict == Verdict::Accepted;
        }
    }
    new
}

fn reconcile(to: &mut Node, from: &mut Node) -> bool {
    let mut new = false;
    for (_, _, id) in from.ledger.pending(usize::MAX, &from.store) {
        let item = from.ledger.item(id, &from.store).expect("what is pending is kept");
        new |= to.give(&item).verdict == Verdict::Accepted;
    }
    for proof in from.ledger.open_proofs(&from.store) {
        new |= to.give(&Proof::encode(&proof)).verdict == Verdict::Accepted;
    }
    new
}

/// Lets all exchange until nobody learns anything new.
pub fn exchange(nodes: &mut [Node]) {
    for _ in 0..10_000 {
        let mut new = false;
        for one in 0..nodes.len() {
            let other = (one + 1) % nodes.len();
            if one == other {
                return;
            }
            let (left, right) = nodes.split_at_mut(one.max(other));
            let (first, second) = (&mut left[one.min(other)], &mut right[0]);
            new |= pull(first, second);
            new |= pull(second, first);
        }
        if !new {
            return;
        }
    }
    panic!("the exchange never ends");
}

/// Asserts that all nodes have the same closed state.
pub fn agree(nodes: &[Node]) {
    for node in nodes {
        node.check();
        assert_eq!((node.epoch(), node.root()), (nodes[0].epoch(), nodes[0].root()));
    }
}

pub fn body_of(decree: &[u8]) -> Signed<Decree> {
    Signed::decode(decree).expect("a decree")
}
