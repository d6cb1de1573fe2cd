//! How fast one node verifies and folds, and what it writes: figures, not promises.
//!
//! With sizes that tell something: `cargo test --release -p weir-plugin-staking --test speed -- --ignored --nocapture`.

mod net;

use std::time::{Duration, Instant};

use net::{Issuer, Node, Wallet, genesis};
use weir_ledger::keys::Strict;
use weir_ledger::{Key, Verify};
use weir_plugin_staking::items::Action;
use weir_plugin_staking::{STEP, Verdict};

struct Yes;

impl Verify for Yes {
    fn verify(&self, _: Key, _: &[u8], _: &[u8; 64]) -> bool {
        true
    }
}

fn rate(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// So many accounts, each with so many operations, then an epoch.
fn measure(accounts: u64, each: u64) {
    let genesis = genesis();
    let (mut node, mut issuer) = (Node::new(&genesis), Issuer::new(&genesis));
    let mut wallets: Vec<_> = (0..accounts).map(|name| Wallet::new(10_000 + name, &genesis)).collect();
    let mints: Vec<_> = wallets.iter().map(|wallet| issuer.mint(wallet.key(), 1_000_000)).collect();
    for mint in &mints {
        assert_eq!(node.ledger.receive(mint, None, &mut node.store, &Yes).verdict, Verdict::Accepted);
        node.ledger.step(&mut node.store, &Yes, STEP);
    }
    let started = Instant::now();
    issuer.epoch(&mut node);
    let minted = started.elapsed();
    let operations: Vec<_> = (0..each)
        .flat_map(|_| wallets.iter_mut().map(|wallet| wallet.sign(Action::Stake(1))).collect::<Vec<_>>())
        .collect();
    let mut twin = node.clone();
    let count = operations.len() as u64;
    let take = |node: &mut Node, verify: &dyn Verify| {
        let started = Instant::now();
        for operation in &operations {
            assert_eq!(node.ledger.receive(operation, None, &mut node.store, &verify).verdict, Verdict::Accepted);
        }
        started.elapsed()
    };
    let verified = take(&mut node, &Strict);
    let plain = take(&mut twin, &Yes);
    let sums = node.store.sums();
    let started = Instant::now();
    issuer.epoch(&mut node);
    let folded = started.elapsed();
    let after = node.store.sums();
    let mut steps = 0;
    let mut longest = Duration::ZERO;
    // The same epoch on the twin, a piece at a time.
    let header = node.ledger.item(node.ledger.meta().closed.id, &node.store).expect("kept");
    twin.ledger.receive(&header, None, &mut twin.store, &Yes);
    loop {
        let started = Instant::now();
        let more = twin.ledger.step(&mut twin.store, &Yes, STEP);
        longest = longest.max(started.elapsed());
        steps += 1;
        for want in twin.ledger.wants(&twin.store, 9) {
            for item in node.ledger.serve(&want, 1 << 20, &node.store) {
                twin.ledger.receive(&item, None, &mut twin.store, &Yes);
            }
        }
        if !more && twin.epoch() == node.epoch() {
            break;
        }
    }
    assert_eq!(twin.root(), node.root());
    eprintln!(
        "{accounts} accounts, {count} operations: {:.0}/s taken and verified, {:.0}/s without the signature, {:.0}/s drafted and folded \
         ({:.1} writes and {} bytes each), {steps} steps of at most {longest:?}; {accounts} mints folded in {minted:?}; store {} KiB",
        rate(count, verified),
        rate(count, plain),
        rate(count, folded),
        (after.writes - sums.writes) as f64 / count as f64,
        (after.bytes - sums.bytes) / count,
        node.store.used() / 1024,
    );
}

#[test]
fn an_epoch_in_pieces_is_the_same_epoch() {
    measure(100, 5);
}

#[test]
#[ignore = "long: figures of 100,000 operations"]
fn figures() {
    measure(1_000, 10);
    measure(10_000, 10);
    measure(10_000, 1);
}
