//! What liars can do, one by one.

mod net;

use net::{
    ISSUER, Issuer, Node, RECOVERY, SECOND_ISSUER, Wallet, agree, body_of, exchange, fetch, genesis, genesis_named,
    pair, pull, rotation,
};
use weir_ledger::{Id, Ordered, Standing};
use weir_plugin_staking::commands::{self, Paged};
use weir_plugin_staking::items::{Action, Decree, Include, Operation, Order, Page, Proof, Signed};
use weir_plugin_staking::{Ignored, Ledger, Notice, Rejected, Verdict, Want};

/// Two nodes that know of one mint each way, one wallet with 100 tokens, and the issuer behind epoch 1.
fn begun() -> ([Node; 2], Issuer, Wallet) {
    let genesis = genesis();
    let (mut one, mut issuer) = (Node::new(&genesis), Issuer::new(&genesis));
    let alice = Wallet::new(10, &genesis);
    one.give(&issuer.mint(alice.key(), 100));
    issuer.epoch(&mut one);
    let mut nodes = [one, Node::new(&genesis)];
    exchange(&mut nodes);
    agree(&nodes);
    (nodes, issuer, alice)
}

fn id_of(operation: &[u8]) -> Id {
    Signed::<Operation>::decode(operation).expect("an operation").id()
}

#[test]
fn a_forged_signature_is_rejected_and_does_not_hide_the_true_operation() {
    let ([mut node, _], _, mut alice) = begun();
    let genuine = alice.sign(Action::Stake(1));
    let mut forged = genuine.clone();
    *forged.last_mut().expect("bytes") ^= 1;
    assert_eq!(node.give(&forged).verdict, Verdict::Rejected(Rejected::Signature));
    let other_amount = [&genuine[..73], &[0], &2u128.to_be_bytes()[..], &genuine[90..]].concat();
    assert_eq!(node.give(&other_amount).verdict, Verdict::Rejected(Rejected::Signature));
    assert_eq!(node.give(&genuine).verdict, Verdict::Accepted);
    assert_eq!(node.give(&forged).verdict, Verdict::Ignored(Ignored::Known));
}

#[test]
fn a_decree_of_somebody_else_is_rejected() {
    let ([mut node, _], issuer, _) = begun();
    let mut thief = Issuer { pair: pair(77), ..issuer.clone() };
    assert_eq!(node.give(&thief.mint(pair(77).key(), 1)).verdict, Verdict::Rejected(Rejected::NotTheIssuer));
    // The issuer's name with the thief's signature.
    let body = Decree {
        key: issuer.pair.key(),
        reign: 0,
        seq: issuer.seq,
        before: issuer.before,
        order: Order::Mint { to: pair(77).key(), amount: 1 },
    };
    let forged = Signed::sign(body, &pair(77), issuer.genesis);
    assert_eq!(node.give(forged.bytes()).verdict, Verdict::Rejected(Rejected::Signature));
    let order = Order::Rotate { new_key: pair(77).key() };
    let rotate = Decree { key: pair(77).key(), reign: 1, seq: 0, before: issuer.genesis, order };
    let rotate = Signed::sign(rotate, &pair(77), issuer.genesis);
    assert_eq!(node.give(rotate.bytes()).verdict, Verdict::Rejected(Rejected::NotTheIssuer));
}

#[test]
fn a_replay_does_nothing() {
    let ([mut node, mut other], mut issuer, mut alice) = begun();
    let stake = alice.sign(Action::Stake(1));
    for _ in 0..3 {
        node.give(&stake);
    }
    issuer.epoch(&mut node);
    assert_eq!(node.give(&stake).verdict, Verdict::Ignored(Ignored::Known));
    exchange(std::slice::from_mut(&mut other));
    while pull(&mut other, &mut node) {}
    assert_eq!(other.give(&stake).verdict, Verdict::Ignored(Ignored::Known));
    issuer.epoch(&mut node);
    assert_eq!(node.account(alice.key()).staked, 1);
}

#[test]
fn a_replay_from_another_network_is_rejected() {
    let ([mut node, _], issuer, alice) = begun();
    let elsewhere = genesis_named("Elsewhere");
    let mut there = Wallet::new(10, &elsewhere);
    assert_eq!(there.key(), alice.key());
    assert_eq!(node.give(&there.sign(Action::Stake(1))).verdict, Verdict::Rejected(Rejected::Signature));
    let mut there = Issuer::new(&elsewhere);
    assert_eq!(there.pair.key(), issuer.pair.key());
    assert_eq!(node.give(&there.mint(alice.key(), 5)).verdict, Verdict::Rejected(Rejected::Signature));
    let other = Node::new(&elsewhere);
    assert_eq!(node.ledger.hear(&other.ledger.summary(), &node.store), None);
}

#[test]
fn a_gap_in_numbers_waits_for_what_is_missing() {
    let ([mut node, mut other], mut issuer, mut alice) = begun();
    let operations: Vec<_> = (0..4).map(|_| alice.sign(Action::Stake(1))).collect();
    for place in [3, 0, 2] {
        assert_eq!(node.give(&operations[place]).verdict, Verdict::Accepted);
    }
    assert_eq!((node.account(alice.key()).pending, node.account(alice.key()).next_seq), (3, 1));
    issuer.epoch(&mut node);
    assert_eq!(node.account(alice.key()).staked, 1);
    node.give(&operations[1]);
    issuer.epoch(&mut node);
    assert_eq!(node.account(alice.key()).staked, 4);
    while pull(&mut other, &mut node) {}
    agree(&[node, other]);
}

#[test]
fn free_keys_fill_nothing_and_an_account_has_64_pending_at_most() {
    let ([mut node, _], _, mut alice) = begun();
    let genesis = genesis();
    let keys = node.store.len();
    for name in 1_000..1_050 {
        let mut free = Wallet::new(name, &genesis);
        assert_eq!(node.give(&free.sign(Action::Stake(1))).verdict, Verdict::Ignored(Ignored::NoMint));
    }
    assert_eq!(node.store.len(), keys, "nothing is kept of them");
    let verdicts: Vec<_> = (0..70).map(|_| node.give(&alice.sign(Action::Stake(1))).verdict).collect();
    assert!(verdicts[..64].iter().all(|verdict| *verdict == Verdict::Accepted));
    assert!(verdicts[64..].iter().all(|verdict| *verdict == Verdict::Ignored(Ignored::TooFarAhead)));
}

#[test]
fn an_equivocation_before_an_epoch_freezes_the_account_everywhere() {
    let ([mut one, mut two], mut issuer, alice) = begun();
    let (mut here, mut there) = (alice.clone(), alice.clone());
    one.give(&here.sign(Action::Stake(10)));
    two.give(&there.sign(Action::Stake(20)));
    // The issuer's node names its own branch; the other half holds the other one.
    issuer.epoch(&mut one);
    one.give(&here.sign(Action::Stake(3)));
    let mut nodes = [one, two];
    exchange(&mut nodes);
    agree(&nodes);
    assert!(nodes[1].notices.iter().any(|notice| matches!(notice, Notice::AccountProven { .. })));
    let state = nodes[1].account(alice.key());
    assert_eq!((state.staked, state.frozen, state.equivocated), (10, false, true), "the branch that was named counts");
    issuer.epoch(&mut nodes[0]);
    exchange(&mut nodes);
    agree(&nodes);
    let state = nodes[1].account(alice.key());
    assert_eq!((state.frozen, state.frozen_since, state.staked), (true, Some(3), 10));
    assert_eq!(nodes[0].give(&here.sign(Action::Unstake(1))).verdict, Verdict::Ignored(Ignored::Equivocated));
    let proofs = commands::proofs(&nodes[1].ledger, &Paged::default(), &nodes[1].store).expect("proofs");
    assert_eq!(
        (proofs.accounts[0].account, proofs.accounts[0].seq, proofs.accounts[0].applied),
        (alice.key(), 0, Some(3))
    );
}

#[test]
fn an_equivocation_behind_an_epoch_is_a_proof_too_and_the_named_branch_stays() {
    let ([mut one, mut two], mut issuer, alice) = begun();
    let (mut here, mut there) = (alice.clone(), alice);
    one.give(&here.sign(Action::Stake(10)));
    issuer.epoch(&mut one);
    while pull(&mut two, &mut one) {}
    let receipt = two.give(&there.sign(Action::Stake(20)));
    assert_eq!(receipt.verdict, Verdict::Accepted);
    assert!(Proof::decode(&receipt.spread[0]).is_ok(), "others get the proof, not the branch");
    let mut nodes = [one, two];
    exchange(&mut nodes);
    issuer.epoch(&mut nodes[0]);
    exchange(&mut nodes);
    agree(&nodes);
    assert_eq!((nodes[1].account(here.key()).staked, nodes[1].account(here.key()).frozen), (10, true));
}

#[test]
fn what_a_frozen_account_had_pending_is_dropped_and_ignored_from_then_on() {
    let ([mut one, mut two], mut issuer, alice) = begun();
    let (mut here, mut there) = (alice.clone(), alice.clone());
    one.give(&here.sign(Action::Stake(10)));
    issuer.epoch(&mut one);
    while pull(&mut two, &mut one) {}
    // Behind what is closed the two halves have a branch each, of two lengths.
    there.clone_from(&here);
    let (short, long) = ([here.sign(Action::Stake(1))], (0..64).map(|_| there.sign(Action::Stake(2))));
    let long: Vec<_> = long.collect();
    short.iter().for_each(|operation| drop(one.give(operation)));
    long.iter().for_each(|operation| drop(two.give(operation)));
    let mut nodes = [one, two];
    exchange(&mut nodes);
    assert_eq!(
        nodes.each_ref().map(|node| node.account(alice.key()).pending),
        [1, 64],
        "no epoch has applied the proof"
    );
    let pending = nodes[1].ledger.pending(999, &nodes[1].store);
    issuer.epoch(&mut nodes[0]);
    exchange(&mut nodes);
    agree(&nodes);
    let standings = nodes[1].ledger.take_standings();
    for (_, _, id) in pending {
        assert!(standings.contains(&Standing::Settled(id)), "nobody compares it any more");
    }
    for node in &mut nodes {
        let account = node.account(alice.key());
        assert_eq!((account.frozen, account.pending, account.staked, account.next_seq), (true, 0, 10, 1));
        assert!(Ledger::open_items(None, 999, &node.store).0.is_empty());
        // The proof's two operations stay, the others do not.
        let kept = long.iter().filter(|operation| node.ledger.item(id_of(operation), &node.store).is_some());
        assert_eq!(kept.count(), 1);
        let keys = node.store.len();
        for operation in &long[1..] {
            assert_eq!(node.give(operation).verdict, Verdict::Ignored(Ignored::Equivocated), "its sender may not know");
        }
        assert_eq!(node.store.len(), keys);
    }
    issuer.epoch(&mut nodes[0]);
    exchange(&mut nodes);
    agree(&nodes);
}

#[test]
fn what_an_epoch_named_is_kept_though_another_log_froze_its_account() {
    let ([mut one, mut two], mut issuer, mut alice) = begun();
    let mut twin = issuer.clone();
    // One log applies the proof, the other one names an operation that only its half has.
    let mut liar = alice.clone();
    let first = alice.sign(Action::Stake(7));
    let (second, other) = (alice.sign(Action::Stake(8)), liar.sign(Action::Stake(9)));
    two.give(&first);
    two.give(&second);
    twin.epoch(&mut two);
    one.give(&other);
    one.give(&first);
    issuer.epoch(&mut one);
    assert!(one.account(alice.key()).frozen);
    assert_eq!((one.account(alice.key()).staked, two.account(alice.key()).staked), (0, 15));
    let mut nodes = [one, two];
    exchange(&mut nodes);
    agree(&nodes);
    assert_eq!(nodes[0].epoch(), 1, "two logs");
    // The recovery key chooses first the one, where all that is pending of the account goes, and then the other.
    let (frozen, _) = rotation(&genesis(), 1, issuer.seq, issuer.before, SECOND_ISSUER);
    nodes[1].give(&frozen);
    exchange(&mut nodes);
    agree(&nodes);
    for node in &nodes {
        assert_eq!((node.account(alice.key()).frozen, node.account(alice.key()).pending), (true, 0));
    }
    let (named, mut successor) = rotation(&genesis(), 2, twin.seq, twin.before, 500);
    nodes[0].give(&named);
    exchange(&mut nodes);
    agree(&nodes);
    assert_eq!((nodes[0].epoch(), nodes[0].account(alice.key()).staked), (2, 15));
    successor.epoch(&mut nodes[0]);
    exchange(&mut nodes);
    agree(&nodes);
    assert!(nodes.iter().all(|node| node.account(alice.key()).frozen && node.account(alice.key()).staked == 15));
}

#[test]
fn an_epoch_may_name_an_operation_of_a_frozen_account_and_nothing_is_pending_of_it() {
    let ([mut one, mut two], mut issuer, alice) = begun();
    let (mut here, mut there) = (alice.clone(), alice.clone());
    let (first, mine) = (here.sign(Action::Stake(10)), here.sign(Action::Stake(20)));
    one.give(&first);
    one.give(&there.sign(Action::Stake(30)));
    issuer.epoch(&mut one);
    while pull(&mut two, &mut one) {}
    assert!(two.account(alice.key()).frozen);
    // Made by hand: no node drafts it.
    let include = Include { account: alice.key(), seq: 1, id: id_of(&mine) };
    let page = Page::new(&[include], &[], &[]).expect("a page");
    let twin = issuer.clone();
    let header = issuer.sign(Order::Epoch { number: 3, pages: vec![page.id()] });
    for node in [&mut one, &mut two] {
        node.give(&header);
        node.give(page.bytes());
        assert_eq!(node.ledger.missing().0, [(id_of(&mine), Some(alice.key()))]);
        let receipt = node.give(&mine);
        assert_eq!((receipt.verdict, receipt.spread.len()), (Verdict::Accepted, 0), "who needs it asks for it");
        // It names the one before it, which is a part of the proof.
        node.give(&first);
        assert_eq!((node.epoch(), node.account(alice.key()).staked, node.account(alice.key()).next_seq), (3, 0, 2));
        // Going back leaves nothing pending either.
        node.give(&twin.clone().mint(alice.key(), 1));
        assert_eq!((node.epoch(), node.account(alice.key()).pending), (2, 0));
        assert!(Ledger::open_items(None, 9, &node.store).0.is_empty());
    }
    agree(&[one, two]);
}

#[test]
fn a_branch_that_gives_way_to_the_one_an_epoch_named_is_a_proof_too() {
    let ([mut one, mut two], mut issuer, alice) = begun();
    let (mut here, mut there) = (alice.clone(), alice);
    one.give(&here.sign(Action::Stake(10)));
    two.give(&there.sign(Action::Stake(20)));
    two.give(&there.sign(Action::Stake(30)));
    issuer.epoch(&mut one);
    // The other half fetches what the epoch names before the two halves compare what they have pending.
    while fetch(&mut two, &mut one) {}
    assert_eq!((two.epoch(), two.account(here.key()).staked), (2, 10));
    assert!(two.account(here.key()).equivocated, "both branches were there");
    let [proof] = &two.ledger.open_proofs(&two.store)[..] else { panic!("one proof") };
    assert!(two.ledger.take_standings().contains(&Standing::Open(proof.id())), "others are to get it");
    let mut nodes = [one, two];
    exchange(&mut nodes);
    issuer.epoch(&mut nodes[0]);
    exchange(&mut nodes);
    agree(&nodes);
    assert!(nodes.iter().all(|node| node.account(here.key()).frozen));
}

#[test]
fn an_epoch_can_name_either_branch() {
    let ([mut one, mut two], mut issuer, alice) = begun();
    let (mut here, mut there) = (alice.clone(), alice.clone());
    let (first, second) = (here.sign(Action::Stake(10)), there.sign(Action::Stake(20)));
    one.give(&first);
    two.give(&second);
    two.give(&first);
    // Made by hand: a node drafts nothing of an account with a proof.
    let id = Signed::<Operation>::decode(&second).expect("an operation").id();
    let page = Page::new(&[Include { account: alice.key(), seq: 0, id }], &[], &[]).expect("a page");
    let header = issuer.sign(Order::Epoch { number: 2, pages: vec![page.id()] });
    one.give(&header);
    assert_eq!(one.epoch(), 1);
    one.give(page.bytes());
    assert_eq!(one.ledger.missing().0, [(id, Some(alice.key()))], "it knows what it lacks");
    let mut nodes = [one, two];
    nodes[1].give(&header);
    nodes[1].give(page.bytes());
    exchange(&mut nodes);
    agree(&nodes);
    assert_eq!((nodes[0].epoch(), nodes[0].account(alice.key()).staked), (2, 20));
}

/// One mint or another with the same number, then an epoch each, shown to one half each.
fn torn() -> ([Node; 2], Issuer, Issuer, Wallet) {
    let ([mut one, mut two], mut issuer, mut alice) = begun();
    one.give(&alice.sign(Action::Stake(7)));
    issuer.epoch(&mut one);
    while pull(&mut two, &mut one) {}
    let mut twin = issuer.clone();
    one.give(&issuer.mint(alice.key(), 1));
    issuer.epoch(&mut one);
    two.give(&alice.sign(Action::Stake(8)));
    two.give(&twin.mint(alice.key(), 2));
    twin.epoch(&mut two);
    twin.epoch(&mut two);
    assert_eq!((one.epoch(), two.epoch()), (3, 4));
    assert_ne!(one.root(), two.root());
    ([one, two], issuer, twin, alice)
}

#[test]
fn an_issuer_that_signs_two_logs_takes_everybody_back_to_the_last_common_epoch() {
    let (mut nodes, _, _, alice) = torn();
    let genesis = genesis();
    exchange(&mut nodes);
    agree(&nodes);
    for node in &nodes {
        assert_eq!((node.epoch(), node.account(alice.key()).staked, node.account(alice.key()).balance), (2, 7, 93));
        let status = commands::status(&node.ledger, &node.store);
        assert_eq!(status.state, "issuer-fault");
        assert!(node.notices.contains(&Notice::WentBack { epoch: 2, intact: true }));
        assert!(node.notices.iter().any(|notice| matches!(notice, Notice::IssuerFault { epoch: 2, .. })));
    }
    assert_eq!(nodes[1].account(alice.key()).pending, 1, "what was included is pending again");
    // And it stays so through a restart.
    nodes[0].restart();
    nodes[0].work();
    assert_eq!(nodes[0].epoch(), 2);
    // The recovery key goes on behind the last common epoch.
    let tip = nodes[0].ledger.meta().tip;
    let (rotate, mut successor) = rotation(&genesis, 1, tip.seq, tip.before, SECOND_ISSUER);
    nodes[0].give(&rotate);
    assert!(nodes[0].notices.iter().any(|notice| matches!(notice, Notice::Rotated { reign: 1, .. })));
    exchange(&mut nodes);
    successor.epoch(&mut nodes[1]);
    exchange(&mut nodes);
    agree(&nodes);
    assert_eq!((nodes[0].epoch(), nodes[0].account(alice.key()).staked), (3, 15));
    // A third node that was away for all of it.
    let mut late = Node::new(&genesis);
    while pull(&mut late, &mut nodes[1]) {}
    agree(&[late, nodes[0].clone()]);
}

#[test]
fn a_rotation_can_choose_one_of_two_logs() {
    let (mut nodes, issuer, twin, alice) = torn();
    exchange(&mut nodes);
    let genesis = genesis();
    let (rotate, mut successor) = rotation(&genesis, 1, twin.seq, twin.before, SECOND_ISSUER);
    nodes[0].give(&rotate);
    exchange(&mut nodes);
    agree(&nodes);
    assert_eq!((nodes[0].epoch(), nodes[0].account(alice.key()).staked), (4, 15));
    successor.epoch(&mut nodes[0]);
    exchange(&mut nodes);
    agree(&nodes);
    // The old key has nothing to say any more.
    let mut old = issuer;
    assert_eq!(nodes[0].give(&old.mint(alice.key(), 1)).verdict, Verdict::Ignored(Ignored::OtherReign));
    // Two rotations of one reign: the smaller id counts on every node, in whatever order they come.
    let tip = nodes[0].ledger.meta().tip;
    let (one, _) = rotation(&genesis, 2, tip.seq, tip.before, 501);
    let (two, _) = rotation(&genesis, 2, tip.seq, tip.before, 502);
    nodes[0].give(&one);
    nodes[0].give(&two);
    nodes[1].give(&two);
    nodes[1].give(&one);
    let smaller = body_of(&one).id().min(body_of(&two).id());
    for node in &nodes {
        assert_eq!(node.ledger.meta().tip.rotation, smaller);
        assert!(node.notices.contains(&Notice::RecoveryTorn));
    }
    exchange(&mut nodes);
    agree(&nodes);
}

#[test]
fn a_stolen_issuer_key_is_answered_by_a_rotation_further_back() {
    let ([mut one, two], mut issuer, mut alice) = begun();
    let head = (issuer.seq, issuer.before);
    // The thief mints to itself and closes epochs.
    one.give(&issuer.mint(pair(77).key(), 1 << 100));
    issuer.epoch(&mut one);
    one.give(&alice.sign(Action::Stake(4)));
    issuer.epoch(&mut one);
    let mut nodes = [one, two];
    exchange(&mut nodes);
    assert_eq!(nodes[1].epoch(), 3);
    let (rotate, mut successor) = rotation(&genesis(), 1, head.0, head.1, SECOND_ISSUER);
    nodes[1].give(&rotate);
    assert_eq!((nodes[1].epoch(), nodes[1].account(pair(77).key()).balance), (1, 0));
    successor.epoch(&mut nodes[1]);
    exchange(&mut nodes);
    agree(&nodes);
    assert_eq!(
        (nodes[0].epoch(), nodes[0].account(alice.key()).staked, nodes[0].account(pair(77).key()).balance),
        (2, 4, 0)
    );
    // Nonsense by the recovery key itself: a head that does not exist. Only a better rotation helps, and it does.
    let (nonsense, _) = rotation(&genesis(), 5, 1, genesis().hash(), 500);
    nodes[0].give(&nonsense);
    assert!(nodes[0].notices.iter().any(|notice| matches!(notice, Notice::RotationNowhere { reign: 5 })));
    let tip = nodes[0].ledger.meta().tip;
    let (better, mut third) = rotation(&genesis(), 6, successor.seq, successor.before, 501);
    assert_eq!(tip.reign, 1);
    nodes[1].give(&nonsense);
    nodes[1].give(&better);
    third.epoch(&mut nodes[1]);
    exchange(&mut nodes);
    agree(&nodes);
    assert_eq!(nodes[0].epoch(), 3);
}

#[test]
fn an_epoch_that_cannot_be_followed_stops_every_node_at_the_same_place() {
    let ([mut one, two], mut issuer, mut alice) = begun();
    let operation = alice.sign(Action::Stake(1));
    let id = Signed::<Operation>::decode(&operation).expect("an operation").id();
    one.give(&operation);
    let wrong_number = Include { account: alice.key(), seq: 5, id };
    let page = Page::new(&[wrong_number], &[], &[]).expect("a page");
    let header = issuer.sign(Order::Epoch { number: 2, pages: vec![page.id()] });
    let mut nodes = [one, two];
    nodes[0].give(&header);
    nodes[0].give(page.bytes());
    assert_eq!(commands::status(&nodes[0].ledger, &nodes[0].store).state, "issuer-fault");
    exchange(&mut nodes);
    agree(&nodes);
    assert_eq!(nodes[1].epoch(), 1);
    // A page that nobody can read is the issuer's fault, not that of the peer who brings it.
    let (rotate, mut successor) =
        rotation(&genesis(), 1, issuer.seq - 1, body_of(&header).body().before, SECOND_ISSUER);
    nodes[0].give(&rotate);
    let garbage = [&[3u8][..], &[0xff; 40]].concat();
    let header = successor.sign(Order::Epoch { number: 2, pages: vec![weir_ledger::hash(&garbage)] });
    nodes[0].give(&header);
    assert_eq!(nodes[0].give(&garbage).verdict, Verdict::Accepted);
    exchange(&mut nodes);
    assert!(nodes.iter().all(|node| commands::status(&node.ledger, &node.store).state == "issuer-fault"));
    // Once nobody waits for it, it is no item at all.
    assert!(matches!(nodes[1].give(&garbage).verdict, Verdict::Rejected(Rejected::Malformed(_))));
}

#[test]
fn a_peer_that_floods_valid_old_operations_costs_no_signature_check() {
    let ([mut node, _], mut issuer, mut alice) = begun();
    let operations: Vec<_> = (0..64).map(|_| alice.sign(Action::Stake(1))).collect();
    operations.iter().for_each(|operation| drop(node.give(operation)));
    issuer.epoch(&mut node);
    struct Never;
    impl weir_ledger::Verify for Never {
        fn verify(&self, _: weir_ledger::Key, _: &[u8], _: &[u8; 64]) -> bool {
            panic!("verified what was known");
        }
    }
    let sums = node.store.sums();
    for _ in 0..100 {
        for operation in &operations {
            let receipt = node.ledger.receive(operation, Some(pair(9).key()), &mut node.store, &Never);
            assert_eq!(receipt.verdict, Verdict::Ignored(Ignored::Known));
            assert!(receipt.spread.is_empty());
        }
    }
    assert_eq!(node.store.sums(), sums, "and writes nothing");
}

#[test]
fn a_peer_that_names_things_and_never_delivers_them_is_named() {
    let ([mut one, mut two], mut issuer, mut alice) = begun();
    one.give(&alice.sign(Action::Stake(1)));
    let header = issuer.epoch(&mut one);
    let liar = pair(9).key();
    two.ledger.receive(&header, Some(liar), &mut two.store, &weir_ledger::keys::Strict);
    two.work();
    let status = commands::status(&two.ledger, &two.store);
    assert_eq!(
        (status.state.as_str(), status.missing_count, status.missing_from.as_slice()),
        ("waiting", 1, &[liar][..])
    );
    let [Want::Item(page)] = two.ledger.wants(&two.store, 9)[..] else { panic!("it wants the page") };
    // Another peer has it.
    two.give(&one.ledger.item(page, &one.store).expect("kept"));
    while pull(&mut two, &mut one) {}
    agree(&[one, two]);
}

#[test]
fn large_and_deeply_nested_input_is_refused_before_it_is_looked_at() {
    let ([mut node, _], _, _) = begun();
    for kind in 0..=255u8 {
        for len in [0, 1, 40, 200, 70_000, 300_000] {
            for fill in [0u8, 1, 2, 3, 4, 0x5b, 0x7b, 0xff] {
                let bytes = [&[kind][..], &vec![fill; len]].concat();
                let receipt = node.give(&bytes);
                assert!(!matches!(receipt.verdict, Verdict::Accepted), "kind {kind}, {len} bytes of {fill}");
            }
        }
    }
    let nested = "{\"op\":".repeat(100_000);
    assert!(serde_json::from_str::<commands::SubmitArgs>(&nested).is_err());
}

#[test]
fn the_recovery_and_issuer_keys_have_no_account_powers() {
    let ([mut node, _], _, _) = begun();
    let genesis = genesis();
    for name in [ISSUER, RECOVERY] {
        let mut wallet = Wallet::new(name, &genesis);
        assert_eq!(node.give(&wallet.sign(Action::Stake(1))).verdict, Verdict::Ignored(Ignored::NoMint));
    }
    assert!(node.store.prefix(b"p", 9).is_empty());
}
