//! The ordinary life of a ledger: mint, stake, epochs, unbonding, what the commands say of it.

mod net;

use net::{Issuer, Node, Wallet, agree, exchange, genesis};
use weir_ledger::{Id, Ordered as _};
use weir_plugin_staking::Verdict;
use weir_plugin_staking::commands::{self, EpochsArgs, PageArgs, Paged, StakesArgs, SubmitArgs, TopArgs};
use weir_plugin_staking::items::{Action, Anchor, Order, Topic};

#[test]
fn mint_stake_unstake_and_withdraw() {
    let genesis = genesis();
    let (mut node, mut issuer) = (Node::new(&genesis), Issuer::new(&genesis));
    let mut alice = Wallet::new(10, &genesis);
    assert_eq!(node.account(alice.key()).next_seq, 0);
    node.give(&issuer.mint(alice.key(), 100));
    assert_eq!(node.account(alice.key()).balance, 0, "a mint waits for an epoch");
    issuer.epoch(&mut node);
    assert_eq!((node.epoch(), node.account(alice.key()).balance), (1, 100));

    node.give(&alice.sign(Action::Stake(60)));
    node.give(&alice.sign(Action::Stake(60)));
    let before = node.account(alice.key());
    assert_eq!((before.pending, before.next_seq, before.head, before.staked), (2, 2, alice.before, 0));
    issuer.epoch(&mut node);
    let after = node.account(alice.key());
    assert_eq!((after.balance, after.staked, after.pending, after.next_seq), (40, 60, 0, 2));
    assert_eq!(
        (after.refused[0].seq, after.refused[0].epoch, after.refused[0].reason.code()),
        (1, 2, "balance-too-small")
    );

    node.give(&alice.sign(Action::Unstake(10)));
    issuer.epoch(&mut node);
    node.give(&alice.sign(Action::Withdraw));
    issuer.epoch(&mut node);
    assert_eq!(node.account(alice.key()).unbonding[0].matures_epoch, 5);
    assert_eq!(node.account(alice.key()).balance, 40, "not mature yet");
    node.give(&alice.sign(Action::Withdraw));
    issuer.epoch(&mut node);
    let last = node.account(alice.key());
    assert_eq!((last.balance, last.staked, last.unbonding.len(), last.refused.len()), (50, 50, 0, 2));
    node.check();
    assert_eq!((node.stakes(1).len(), node.stakes(2)[&alice.key()], node.stakes(3)[&alice.key()]), (0, 60, 50));
    let root = commands::root(&node.ledger);
    assert_eq!((root.epoch, root.operations, root.accounts), (5, 1 + 5 + 5, 1));
}

#[test]
fn a_second_node_gets_all_of_it_from_the_first_and_goes_on_after_a_restart() {
    let genesis = genesis();
    let mut nodes = [Node::new(&genesis), Node::new(&genesis)];
    let mut issuer = Issuer::new(&genesis);
    let mut wallets: Vec<_> = (0..40).map(|name| Wallet::new(10 + name, &genesis)).collect();
    for wallet in &wallets {
        nodes[0].give(&issuer.mint(wallet.key(), 1_000));
    }
    issuer.epoch(&mut nodes[0]);
    for round in 0..3 {
        for wallet in &mut wallets {
            assert_eq!(nodes[0].give(&wallet.sign(Action::Stake(10 + round))).verdict, Verdict::Accepted);
        }
        issuer.epoch(&mut nodes[0]);
    }
    exchange(&mut nodes);
    agree(&nodes);
    assert_eq!(nodes[1].epoch(), 4);
    let before = nodes[1].root();
    nodes[1].restart();
    assert_eq!(nodes[1].root(), before);
    for wallet in &mut wallets {
        nodes[0].give(&wallet.sign(Action::Unstake(5)));
    }
    issuer.epoch(&mut nodes[0]);
    exchange(&mut nodes);
    agree(&nodes);
    assert_ne!(nodes[1].root(), before);
}

#[test]
fn the_commands_speak_json() {
    let genesis = genesis();
    let (mut node, mut issuer) = (Node::new(&genesis), Issuer::new(&genesis));
    node.ledger.keep_ranking();
    let mut wallets: Vec<_> = (0..3).map(|name| Wallet::new(10 + name, &genesis)).collect();
    wallets.iter().for_each(|wallet| drop(node.give(&issuer.mint(wallet.key(), 1 << 90))));
    let topic = Topic::new("dividend").expect("a topic");
    let anchor = Anchor { topic, id: genesis.hash() };
    issuer.epoch_with(&mut node, &[anchor]);
    for (place, wallet) in wallets.iter_mut().enumerate() {
        node.give(&wallet.sign(Action::Stake(1 << (80 + place))));
    }
    issuer.epoch(&mut node);
    let json = serde_json::to_value(node.account(wallets[0].key())).expect("json");
    assert_eq!(json["staked"], "1208925819614629174706176");
    assert_eq!(json["frozen"], false);
    let status = serde_json::to_value(commands::status(&node.ledger, &node.store)).expect("json");
    assert_eq!(
        (&status["state"], &status["epoch"], &status["issuer"]["next_seq"]),
        (&"up-to-date".into(), &2.into(), &5.into())
    );
    let proofs = commands::proofs(&node.ledger, &Paged::default(), &node.store).expect("proofs");
    assert!(proofs.accounts.is_empty());

    let since = StakesArgs { epoch: Some(2), since: Some(1), ..StakesArgs::default() };
    let changed = commands::stakes(&node.ledger, &since, &node.store).expect("stakes");
    assert_eq!((changed.accounts.len(), changed.accounts[0].epoch), (3, Some(2)));
    let later = StakesArgs { epoch: Some(3), ..StakesArgs::default() };
    assert_eq!(commands::stakes(&node.ledger, &later, &node.store).expect_err("not closed").code(), "epoch-not-closed");
    let epochs =
        commands::epochs(&node.ledger, &EpochsArgs { topic: Some(topic), ..EpochsArgs::default() }, &node.store);
    let epochs = epochs.expect("epochs").epochs;
    assert_eq!(
        (epochs[0].anchors.as_slice(), epochs[1].anchors.len(), epochs[1].total),
        (&[anchor.id][..], 0, 7 << 80)
    );

    // Version 1.1 reads what version 1.0 left, and then keeps it up.
    let top = |node: &Node| commands::top(&node.ledger, &TopArgs::default(), &node.store);
    assert_eq!(top(&node).expect_err("not yet").code(), "migrating");
    while !weir_plugin_staking::ranking::migrate(&mut node.store, 2) {}
    let places = top(&node).expect("places").accounts;
    assert_eq!((places[0].account, places[0].millionths), (wallets[2].key(), 571_428));
    node.give(&wallets[0].sign(Action::Stake(1 << 88)));
    issuer.epoch(&mut node);
    assert_eq!(top(&node).expect("places").accounts[0].account, wallets[0].key());

    let mut submit = |text: String| {
        let op = SubmitArgs { op: text };
        commands::submit(&mut node.ledger, &op, &mut node.store, &weir_ledger::keys::Strict)
    };
    let operation = weir_ledger::to_hex(&wallets[1].sign(Action::Withdraw));
    assert!(!submit(operation.clone()).expect("accepted").0.known);
    assert!(submit(operation).expect("the same again").0.known);
    assert_eq!(submit("zz".to_owned()).expect_err("no hex").code(), "bad-arguments");
    assert_eq!(submit("0100".to_owned()).expect_err("no item").code(), "malformed");
    let stranger = weir_ledger::to_hex(&Wallet::new(99, &genesis).sign(Action::Withdraw));
    assert_eq!(submit(stranger).expect_err("no mint").code(), "no-mint");
}

#[test]
fn a_page_is_read_from_its_draft_and_brought_to_any_node_that_has_the_header() {
    let genesis = genesis();
    let (mut node, mut issuer) = (Node::new(&genesis), Issuer::new(&genesis));
    let (mut other, (order, id)) = (node.clone(), drafted(&mut node, b"first"));
    let page = commands::page(&node.ledger, &PageArgs { id }, &node.store).expect("just drafted").page;
    let submit = |node: &mut Node, op: &str| {
        let args = SubmitArgs { op: op.to_owned() };
        let answer = commands::submit(&mut node.ledger, &args, &mut node.store, &weir_ledger::keys::Strict);
        node.work();
        answer.map(|(answer, _)| answer.known)
    };
    let header = weir_ledger::to_hex(&issuer.sign(order));
    assert_eq!(submit(&mut other, &page).expect_err("without its header").code(), "not-named");
    assert!(!submit(&mut other, &header).expect("taken"));
    other.restart();
    assert!(submit(&mut other, &header).expect("known"));
    assert_eq!(other.epoch(), 0, "it waits for the page");
    assert!(!submit(&mut other, &page).expect("taken"));
    assert!(submit(&mut other, &page).expect("known"));
    assert!(!submit(&mut node, &header).expect("taken, and the page is here"));
    assert_eq!((node.epoch(), other.epoch()), (1, 1));
    agree(&[node, other]);
}

/// The next epoch with one anchor, and its one page.
fn drafted(node: &mut Node, name: &[u8]) -> (Order, Id) {
    let anchor = Anchor { topic: Topic::new("other").expect("a topic"), id: weir_ledger::hash(name) };
    let order = node.ledger.draft(&[anchor], &mut node.store).expect("a draft").decree.order;
    let Order::Epoch { pages, .. } = &order else { panic!("{order:?}") };
    let id = pages[0];
    (order, id)
}

#[test]
fn the_pages_of_a_draft_outlive_the_next_three() {
    let mut node = Node::new(&genesis());
    let (_, id) = drafted(&mut node, b"first");
    let read = |node: &Node| commands::page(&node.ledger, &PageArgs { id }, &node.store);
    for later in [b"a", b"b", b"c", b"c"] {
        drafted(&mut node, later);
    }
    read(&node).expect("one of the last four");
    drafted(&mut node, b"d");
    assert_eq!(read(&node).expect_err("too old").code(), "unknown-page");
    assert_eq!(node.store.prefix(b"d", usize::MAX).len(), 4);
    node.restart();
    drafted(&mut node, b"e");
    assert_eq!(node.store.prefix(b"d", usize::MAX).len(), 1, "how old they are is forgotten");
}

#[test]
fn more_news_than_an_epoch_takes_waits_for_the_next() {
    let genesis = genesis();
    let (mut node, mut issuer) = (Node::new(&genesis), Issuer::new(&genesis));
    let topic = Topic::new("other").expect("a topic");
    let many: Vec<_> =
        (0..20_000u32).map(|number| Anchor { topic, id: weir_ledger::hash(&number.to_be_bytes()) }).collect();
    let draft = node.ledger.draft(&many, &mut node.store).expect("a draft");
    assert!(draft.anchors < 20_000 && !draft.complete);
    // The largest page and what stands around it are a command's body, of which a node takes a megabyte.
    let Order::Epoch { pages, .. } = draft.decree.order else { panic!("no epoch") };
    let pages =
        pages.iter().map(|id| commands::page(&node.ledger, &PageArgs { id: *id }, &node.store).expect("kept").page);
    let sizes: Vec<_> = pages.map(|page| page.len()).collect();
    assert!(sizes.len() == 2 && sizes[0] > 500_000 && sizes.iter().all(|size| size + 1_000 < 1 << 20), "{sizes:?}");
    issuer.epoch_with(&mut node, &many);
    assert_eq!(node.epoch(), 1);
    let listed = commands::anchors(
        &node.ledger,
        &commands::AnchorsArgs { epoch: 1, topic: Some(topic), after: None, limit: Some(1_000) },
        &node.store,
    );
    let listed = listed.expect("anchors");
    assert_eq!(listed.anchors.len(), 1_000);
    assert!(listed.next.is_some());
}
