//! Any order, duplication and partition of the same items gives the same root, and nothing is made or lost on the way.
//!
//! The long form: `cargo test --release -p weir-plugin-staking --test convergence -- --ignored --nocapture`.

mod net;

use std::sync::LazyLock;

use net::{Issuer, Node, SECOND_ISSUER, Wallet, agree, exchange, genesis, pull, rotation};
use proptest::prelude::*;
use weir_ledger::Ordered;
use weir_plugin_staking::items::{Action, Anchor, Include, Item, Operation, Page, Proof, Signed, Topic};
use weir_plugin_staking::{Ledger, Verdict};
use weir_sdk::testing::Random;

/// A network's life: everything that was ever signed, and the issuer's own node at the end.
struct Life {
    items: Vec<Vec<u8>>,
    issuer: Node,
}

fn action(random: &mut Random) -> Action {
    match random.within(0..8) {
        0..4 => Action::Stake(1 + u128::from(random.within(0..400))),
        4..7 => Action::Unstake(1 + u128::from(random.within(0..300))),
        _ => Action::Withdraw,
    }
}

/// Accounts that stake and overdraw, some that sign twice, an issuer that closes epochs now and then.
fn live(seed: u64, steps: usize) -> Life {
    let mut random = Random::new(seed);
    let genesis = genesis();
    let (mut node, mut issuer) = (Node::new(&genesis), Issuer::new(&genesis));
    let mut wallets: Vec<_> = (0..12).map(|name| Wallet::new(100 + name, &genesis)).collect();
    let mut items = Vec::new();
    let mut keep = |bytes: Vec<u8>, node: &mut Node, delivered: bool| {
        if delivered {
            node.give(&bytes);
        }
        items.push(bytes);
    };
    for step in 0..steps {
        let who = random.within(0..wallets.len() as u64) as usize;
        match random.within(0..40) {
            0..5 => {
                let minted = issuer.mint(wallets[who].key(), 1 + u128::from(random.within(0..1_000)));
                keep(minted, &mut node, true);
            }
            5..9 => {
                let anchor =
                    Anchor { topic: Topic::new("other").expect("a topic"), id: weir_ledger::hash(&step.to_be_bytes()) };
                let header = issuer.epoch_with(&mut node, &[anchor]);
                keep(header, &mut node, true);
            }
            9 => {
                // Two branches from here; the wallet goes on with one of them.
                let mut twin = wallets[who].clone();
                let (one, two) = (wallets[who].sign(Action::Stake(3)), twin.sign(Action::Stake(4)));
                let chance = random.chance(50);
                keep(one, &mut node, chance);
                keep(two, &mut node, !chance);
                if random.chance(50) {
                    wallets[who] = twin;
                }
            }
            _ => {
                let signed = wallets[who].sign(action(&mut random));
                let delivered = random.chance(90);
                keep(signed, &mut node, delivered);
            }
        }
    }
    let last = issuer.epoch(&mut node);
    items.push(last);
    Life { items, issuer: node }
}

/// Nodes that see the items in their own order, some twice, some not at all, and restart in between.
fn replay(life: &Life, seed: u64, count: usize) -> Vec<Node> {
    let genesis = genesis();
    let mut nodes = vec![life.issuer.clone()];
    for number in 0..count {
        let mut random = Random::new(seed ^ (number as u64 + 1) << 32);
        let mut node = Node::new(&genesis);
        let mut items = life.items.clone();
        items.retain(|_| !random.chance(20));
        let again: Vec<_> = items.iter().filter(|_| random.chance(20)).cloned().collect();
        items.extend(again);
        random.shuffle(&mut items);
        for item in items {
            node.receive(&item);
            if random.chance(50) {
                node.one_step(50);
            }
            if random.chance(5) {
                node.restart();
            }
        }
        node.work();
        nodes.push(node);
    }
    nodes
}

#[test]
fn all_orders_lead_to_one_root() {
    lead_to_one_root(30);
}

#[test]
#[ignore = "long: a thousand seeds instead of thirty"]
fn all_orders_lead_to_one_root_a_thousand_times() {
    lead_to_one_root(1_000);
}

fn lead_to_one_root(seeds: u64) {
    for seed in 0..seeds {
        let life = live(seed, 150);
        life.issuer.check();
        let mut nodes = replay(&life, seed, 4);
        exchange(&mut nodes);
        assert!(nodes[0].epoch() > 0, "seed {seed}");
        for node in &nodes {
            node.check();
            assert_eq!((node.epoch(), node.root()), (nodes[0].epoch(), nodes[0].root()), "seed {seed}");
        }
        let last = nodes[0].epoch();
        for epoch in [last / 3, last / 2, last] {
            let stakes = nodes[0].stakes(epoch);
            assert!(nodes.iter().all(|node| node.stakes(epoch) == stakes), "seed {seed}, epoch {epoch}");
        }
        // What the nodes keep of the closed state is the same to the byte.
        for tag in [b"a", b"b", b"e", b"c", b"s", b"h", b"n", b"x", b"z", b"l"] {
            let entries = nodes[0].store.prefix(tag, usize::MAX);
            assert!(nodes.iter().all(|node| node.store.prefix(tag, usize::MAX) == entries), "seed {seed}");
        }
    }
}

#[test]
fn two_halves_go_on_apart_and_agree_when_they_meet() {
    for seed in 0..10 {
        let mut random = Random::new(seed);
        let genesis = genesis();
        let mut nodes: Vec<_> = (0..6).map(|_| Node::new(&genesis)).collect();
        let mut issuer = Issuer::new(&genesis);
        let mut wallets: Vec<_> = (0..8).map(|name| Wallet::new(100 + name, &genesis)).collect();
        wallets.iter().for_each(|wallet| drop(nodes[0].give(&issuer.mint(wallet.key(), 5_000))));
        issuer.epoch(&mut nodes[0]);
        exchange(&mut nodes);
        for _ in 0..4 {
            // The issuer sits in the first half; wallets talk to any node.
            for _ in 0..40 {
                let who = random.within(0..8) as usize;
                let at = if who < 4 { random.within(0..3) } else { 3 + random.within(0..3) } as usize;
                let signed = wallets[who].sign(action(&mut random));
                nodes[at].give(&signed);
            }
            exchange(&mut nodes[..3]);
            exchange(&mut nodes[3..]);
            issuer.epoch(&mut nodes[0]);
            exchange(&mut nodes[..3]);
            assert_ne!(nodes[0].root(), nodes[5].root());
            exchange(&mut nodes);
            agree(&nodes);
        }
        issuer.epoch(&mut nodes[0]);
        exchange(&mut nodes);
        agree(&nodes);
        assert_eq!(nodes[5].ledger.pending(999, &nodes[5].store).len(), 0, "seed {seed}: everything is included");
    }
}

#[test]
fn work_in_the_smallest_pieces_with_a_restart_after_each_is_the_same_work() {
    let life = live(7, 120);
    let mut nodes = [life.issuer.clone(), Node::new(&genesis())];
    for item in &life.items {
        nodes[1].receive(item);
        for _ in 0..2 {
            nodes[1].one_step(1);
            nodes[1].restart();
        }
    }
    exchange(&mut nodes);
    agree(&nodes);
}

#[test]
fn going_back_undoes_everything_to_the_byte() {
    for seed in 0..10 {
        let life = live(seed, 150);
        let last = life.issuer.epoch();
        let genesis = genesis();
        let mut fresh = Node::new(&genesis);
        let mut full = life.issuer.clone();
        // The thief's whole log is undone: the recovery key goes on at the genesis.
        let (rotate, mut successor) = rotation(&genesis, 1, 0, genesis.hash(), SECOND_ISSUER);
        full.give(&rotate);
        fresh.give(&rotate);
        assert!(last > 0 && full.epoch() == 0);
        assert!(
            full.notices
                .iter()
                .any(|notice| matches!(notice, weir_plugin_staking::Notice::WentBack { epoch: 0, intact: true }))
        );
        for tag in [b"a", b"e", b"c", b"v", b"s", b"h", b"n", b"x", b"z", b"l"] {
            assert_eq!(full.store.prefix(tag, usize::MAX), [], "seed {seed}");
        }
        // What was included is pending again, as far as 64 of an account go and its mints exist.
        let mut nodes = [full, fresh];
        successor.epoch(&mut nodes[0]);
        exchange(&mut nodes);
        agree(&nodes);
    }
}

/// A page with one entry of each sort, and a proof.
fn page_and_proof() -> [Vec<u8>; 2] {
    let wallet = Wallet::new(100, &genesis());
    let sign = |amount| Signed::<Operation>::decode(&wallet.clone().sign(Action::Stake(amount))).expect("an operation");
    let (one, other) = (sign(1), sign(2));
    let include = Include { account: wallet.key(), seq: 0, id: one.id() };
    let anchor = Anchor { topic: Topic::new("other").expect("a topic"), id: other.id() };
    let proof = Proof::new(one, other).expect("two operations with one number");
    let page = Page::new(&[include], std::slice::from_ref(&proof), &[anchor]).expect("a page");
    [page.bytes().to_vec(), proof.encode()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_make_the_decoder_panic(
        kind in proptest::option::weighted(0.8, 1..=4u8),
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        // Most say that they are something; lists would be longer than all bytes, so half of those are short.
        if let (Some(kind), Some(first)) = (kind, bytes.first_mut()) {
            *first = kind;
        }
        if let (Some(3), Some(count)) = (kind, bytes.get_mut(1..5))
            && count[3].is_multiple_of(2)
        {
            count.copy_from_slice(&u32::from(count[3] % 8).to_be_bytes());
        }
        if let Ok(item) = Item::decode(&bytes) {
            prop_assert!(item.signer().is_some() || matches!(item, Item::Page(_)));
        }
    }

    /// What decodes encodes to the same bytes: there is one encoding of everything.
    #[test]
    fn changed_bytes_decode_to_something_else_or_not_at_all(seed in 0usize..5, at in any::<usize>(), xor in 1u8..) {
        static KINDS: LazyLock<Vec<Vec<Vec<u8>>>> = LazyLock::new(|| {
            let lives = (0..3).map(|seed| live(seed, 60).items);
            lives.chain(page_and_proof().map(|item| vec![item])).collect()
        });
        let item = &KINDS[seed][at % KINDS[seed].len()];
        let mut changed = item.clone();
        let place = at / 7 % changed.len();
        changed[place] ^= xor;
        match (Item::decode(item), Item::decode(&changed)) {
            (Ok(one), Ok(other)) => prop_assert!(one != other),
            (Ok(_), Err(_)) => {}
            (Err(error), _) => prop_assert!(false, "a genuine item: {}", error),
        }
        let cut = &item[..at % item.len()];
        prop_assert!(Item::decode(cut).is_err());
        prop_assert!(Item::decode(&[item.as_slice(), &[0]].concat()).is_err());
        // And no ledger takes it.
        let mut node = Node::new(&genesis());
        prop_assert!(!matches!(node.give(&changed).verdict, Verdict::Accepted));
    }
}

#[test]
fn another_genesis_does_not_open_this_store() {
    let life = live(1, 20);
    assert!(Ledger::open(net::genesis_named("Other"), &life.issuer.store).is_err());
    let mut one = Node::new(&genesis());
    let mut other = Node::new(&net::genesis_named("Other"));
    assert!(!pull(&mut one, &mut other));
}
