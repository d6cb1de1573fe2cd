//! An issuer that signs two logs again and again, a recovery key that answers, accounts that sign twice, nodes that hear of
//! it in any order: with the same items all end in the same place.
//!
//! The long form: `cargo test --release -p weir-plugin-staking --test chaos -- --ignored --nocapture`.

mod net;

use net::{Issuer, Node, Wallet, exchange, genesis, rotation};
use weir_plugin_staking::Verdict;
use weir_plugin_staking::items::Action;
use weir_sdk::testing::Random;

/// Several logs under way: each with the node that it was shown to.
struct Branch {
    node: Node,
    issuer: Issuer,
}

/// Lives through forks and rotations; returns everything signed and shown to anybody, pages included.
fn live(seed: u64, steps: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(seed);
    let genesis = genesis();
    let mut items: Vec<Vec<u8>> = Vec::new();
    let mut wallets: Vec<_> = (0..6).map(|name| Wallet::new(100 + name, &genesis)).collect();
    let mut branches = vec![Branch { node: Node::new(&genesis), issuer: Issuer::new(&genesis) }];
    let mut reign = 0;
    for _ in 0..steps {
        let at = random.within(0..branches.len() as u64) as usize;
        let few = branches.len() < 4;
        let Branch { node, issuer } = &mut branches[at];
        match random.within(0..20) {
            0..4 => {
                let minted =
                    issuer.mint(wallets[random.within(0..6) as usize].key(), 1 + u128::from(random.within(0..500)));
                node.give(&minted);
                items.push(minted);
            }
            4..8 => {
                let header = issuer.epoch(node);
                let pages = net::body_of(&header);
                if let weir_plugin_staking::items::Order::Epoch { pages, .. } = &pages.body().order {
                    items.extend(pages.iter().filter_map(|page| node.ledger.item(*page, &node.store)));
                }
                items.push(header);
            }
            8 if few => {
                // From here on two logs, each shown to a node of its own.
                let twin = Branch { node: branches[at].node.clone(), issuer: branches[at].issuer.clone() };
                branches.push(twin);
            }
            9 => {
                // The recovery key chooses what one of the nodes has, or a little less.
                reign += 1 + random.within(0..2);
                let node = &branches[at].node;
                let (seq, before) = if random.chance(50) {
                    (branches[at].issuer.seq, branches[at].issuer.before)
                } else {
                    let tip = node.ledger.meta().closed.tip;
                    (tip.seq, tip.before)
                };
                let (rotate, issuer) = rotation(&genesis, reign, seq, before, 1_000 + reign);
                let mut node = node.clone();
                assert_eq!(node.give(&rotate).verdict, Verdict::Accepted);
                items.push(rotate);
                branches = vec![Branch { node, issuer }];
            }
            10 => {
                // An account goes on in two ways, of which this node sees one or both.
                let wallet = &mut wallets[random.within(0..6) as usize];
                let (one, other) = (wallet.clone().sign(Action::Stake(7)), wallet.sign(Action::Unstake(3)));
                let both = random.chance(50);
                node.give(&one);
                if both {
                    node.give(&other);
                }
                items.extend([one, other]);
            }
            _ => {
                let action = if random.chance(70) {
                    Action::Stake(1 + u128::from(random.within(0..99)))
                } else {
                    Action::Unstake(5)
                };
                let signed = wallets[random.within(0..6) as usize].sign(action);
                node.give(&signed);
                items.push(signed);
            }
        }
    }
    items
}

#[test]
fn the_same_items_lead_to_the_same_place() {
    end_in_one_place(40);
}

#[test]
#[ignore = "long: a thousand seeds instead of forty"]
fn the_same_items_lead_to_the_same_place_a_thousand_times() {
    end_in_one_place(1_000);
}

fn end_in_one_place(seeds: u64) {
    let (mut faults, mut epochs) = (0, 0);
    for seed in 0..seeds {
        let items = live(seed, 80);
        let genesis = genesis();
        let mut nodes: Vec<_> = (0..4).map(|_| Node::new(&genesis)).collect();
        for (number, node) in nodes.iter_mut().enumerate() {
            let mut random = Random::new(seed << 8 | number as u64);
            let mut own = items.clone();
            match number {
                0 => {}
                1 => own.reverse(),
                _ => random.shuffle(&mut own),
            }
            for item in &own {
                node.receive(item);
                if random.chance(60) {
                    node.one_step(60);
                }
                if random.chance(3) {
                    node.restart();
                }
            }
            node.work();
        }
        // What was ignored because something else had not come yet comes again, as reconciliation brings it.
        for _ in 0..40 {
            let mut new = false;
            for node in &mut nodes {
                for item in &items {
                    new |= node.give(item).verdict == Verdict::Accepted;
                }
            }
            exchange(&mut nodes);
            if !new {
                break;
            }
        }
        for node in &nodes {
            node.check();
            let state = |node: &Node| {
                (
                    node.epoch(),
                    node.root(),
                    node.ledger.meta().tip,
                    node.ledger.meta().fault.as_ref().map(|fault| fault.seq),
                )
            };
            assert_eq!(state(node), state(&nodes[0]), "seed {seed}");
        }
        faults += u64::from(nodes[0].ledger.meta().fault.is_some());
        epochs += nodes[0].epoch();
    }
    assert!(
        faults > seeds / 10 && faults < seeds && epochs > seeds,
        "{faults} faults and {epochs} epochs in {seeds} seeds"
    );
}
