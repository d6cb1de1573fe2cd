//! Dividends on a real staking ledger: record dates, claims, what waits, what is void, and going back.

use serde_json::{Value, json};
use weir_ledger::keys::{KeyPair, Strict};
use weir_ledger::{Genesis, GenesisFile, Id, Memory, Ordered, Standing};
use weir_plugin_dividend::commands::{self, EntitlementArgs, Paged};
use weir_plugin_dividend::items::{Body, Item};
use weir_plugin_dividend::staking::{Question, TOPIC};
use weir_plugin_dividend::{Found, Ignored, Outcome, Pot, Rejected, Verdict, Wanted};
use weir_plugin_staking::items::{Action, Anchor, Decree, Operation, Order, Signed, Topic};
use weir_plugin_staking::{Ledger, commands as staking};

fn pair(name: u8) -> KeyPair {
    KeyPair::from_secret(&[name; 32])
}

fn genesis() -> Genesis {
    let file = GenesisFile {
        name: "Test".to_owned(),
        symbol: "TST".to_owned(),
        issuer: pair(1).key(),
        recovery: pair(2).key(),
        payers: vec![pair(3).key(), pair(4).key()],
        unbonding_epochs: 1,
    };
    Genesis::new(file).expect("in order")
}

/// The staking side: one ledger, its issuer, accounts that sign.
#[derive(Clone)]
struct Staking {
    ledger: Ledger,
    store: Memory,
    seqs: std::collections::BTreeMap<u8, (u64, Id)>,
    issuer: (u8, u64),
}

impl Staking {
    fn new() -> Self {
        let store = Memory::default();
        let ledger = Ledger::open(genesis(), &store).expect("an empty store");
        Self { ledger, store, seqs: std::collections::BTreeMap::new(), issuer: (1, 0) }
    }

    fn give(&mut self, bytes: &[u8]) {
        let receipt = self.ledger.receive(bytes, None, &mut self.store, &Strict);
        assert_eq!(receipt.verdict, weir_plugin_staking::Verdict::Accepted);
        while self.ledger.step(&mut self.store, &Strict, 2_000) {}
    }

    fn decree(&mut self, order: Order) {
        let summary = self.ledger.summary();
        let pair = pair(self.issuer.0);
        let body = Decree { key: pair.key(), reign: self.issuer.1, seq: summary.seq, before: summary.last, order };
        self.give(Signed::sign(body, &pair, genesis().hash()).bytes());
    }

    fn act(&mut self, name: u8, action: Action) {
        let (seq, before) = *self.seqs.entry(name).or_insert((0, genesis().hash()));
        let body = Operation { account: pair(name).key(), seq, before, action };
        let signed = Signed::sign(body, &pair(name), genesis().hash());
        self.seqs.insert(name, (seq + 1, signed.id()));
        self.give(signed.bytes());
    }

    fn stake(&mut self, name: u8, amount: u128) {
        self.decree(Order::Mint { to: pair(name).key(), amount });
        self.act(name, Action::Stake(amount));
    }

    /// The recovery key names key 5 issuer behind the epoch that this ledger closed last: what `self` closed since never was.
    fn go_back_to(&mut self, earlier: &Ledger) {
        let tip = earlier.meta().closed.tip;
        let order = Order::Rotate { new_key: pair(5).key() };
        let rotate = Decree { key: pair(2).key(), reign: 1, seq: tip.seq, before: tip.before, order };
        self.give(Signed::sign(rotate, &pair(2), genesis().hash()).bytes());
        self.issuer = (5, 1);
        assert_eq!(self.ledger.meta().closed.epoch, earlier.meta().closed.epoch);
    }

    fn epoch(&mut self, declarations: &[Id]) {
        let topic = Topic::new(TOPIC).expect("a topic");
        let anchors: Vec<_> = declarations.iter().map(|id| Anchor { topic, id: *id }).collect();
        let draft = self.ledger.draft(&anchors, &mut self.store).expect("a draft");
        self.decree(draft.decree.order);
    }

    /// Answers as the plugin would, through JSON.
    fn answer(&self, question: &Question) -> Value {
        fn args<T: serde::de::DeserializeOwned>(value: Value) -> T {
            serde_json::from_value(value).expect("the arguments that staking takes")
        }
        let json = |value: Result<Value, weir_sdk::Error>| value.expect("an answer");
        json(match question {
            Question::Epochs(asked) => {
                staking::epochs(&self.ledger, &args(json!(asked)), &self.store).map(|answer| json!(answer))
            }
            Question::Anchors(asked) => {
                staking::anchors(&self.ledger, &args(json!(asked)), &self.store).map(|answer| json!(answer))
            }
            Question::Stakes(asked) => {
                staking::stakes(&self.ledger, &args(json!(asked)), &self.store).map(|answer| json!(answer))
            }
        })
    }
}

#[derive(Clone)]
struct Node {
    pot: Pot,
    store: Memory,
}

impl Node {
    fn new() -> Self {
        let store = Memory::default();
        Self { pot: Pot::open(genesis(), &store).expect("an empty store"), store }
    }

    fn give(&mut self, item: &Item) -> Verdict {
        self.pot.receive(item.bytes(), &mut self.store, &Strict).verdict
    }

    fn restart(&mut self) {
        self.pot = Pot::open(genesis(), &self.store).expect("its own store");
    }

    /// Asks and works until there is nothing new; `often` works in small pieces and restarts it now and then.
    fn follow(&mut self, staking: &Staking, often: bool) {
        let mut idle = 0;
        for round in 0..10_000 {
            while self.pot.step(&mut self.store, if often { 1 } else { 1_000 }) {
                if often {
                    break;
                }
            }
            let before = self.pot.meta().clone();
            let Some(question) = self.pot.question() else {
                if !self.pot.missing().is_empty() {
                    return;
                }
                continue;
            };
            let answer = staking.answer(&question);
            let parse = "the answer reads";
            match question {
                Question::Epochs(_) => {
                    self.pot.answer_epochs(serde_json::from_value(answer).expect(parse), &mut self.store)
                }
                Question::Anchors(_) => self.pot.answer_anchors(serde_json::from_value(answer).expect(parse)),
                Question::Stakes(_) => self.pot.answer_stakes(serde_json::from_value(answer).expect(parse)),
            }
            while self.pot.step(&mut self.store, 3) {}
            if often && round % 5 == 4 {
                self.restart();
            }
            idle = if *self.pot.meta() == before { idle + 1 } else { 0 };
            if idle > 12 {
                return;
            }
        }
        panic!("it asks for ever: {:?}", self.pot.meta());
    }

    fn due(&self, name: u8) -> (u128, u128, u128) {
        let args = EntitlementArgs { account: pair(name).key() };
        let answer = commands::entitlement(&self.pot, &args, &self.store).expect("an answer");
        (answer.accrued, answer.claimed, answer.claimable)
    }
}

fn declare(payer: u8, number: u64, amount: u128) -> Item {
    Item::sign(Body::Declaration { payer: pair(payer).key(), number, amount }, &pair(payer), genesis().hash())
}

fn claim(name: u8, up_to_epoch: u64) -> Item {
    Item::sign(Body::Claim { account: pair(name).key(), up_to_epoch }, &pair(name), genesis().hash())
}

/// Ten, twenty and thirty at stake, 100 declared on epoch 2, 7 on epoch 3 where the first has unstaked half.
fn story() -> (Staking, Vec<Item>) {
    let mut staking = Staking::new();
    for (name, amount) in [(10, 10), (11, 20), (12, 30)] {
        staking.stake(name, amount);
    }
    staking.epoch(&[]);
    let declared = vec![declare(3, 0, 100), declare(3, 1, 7), declare(4, 0, 55)];
    staking.epoch(&[declared[0].id()]);
    staking.act(10, Action::Unstake(5));
    staking.epoch(&[declared[1].id()]);
    (staking, declared)
}

#[test]
fn shares_follow_the_record_date_and_add_up() {
    let (mut staking, declared) = story();
    let mut node = Node::new();
    declared.iter().for_each(|item| assert_eq!(node.give(item), Verdict::Accepted));
    node.follow(&staking, false);
    assert_eq!(node.pot.meta().epoch, 3);
    // 100 by 10:20:30 and 7 by 5:20:30: 16.67 + 0.64, 33.33 + 2.55, 50 + 3.82.
    assert_eq!((node.due(10).0, node.due(11).0, node.due(12).0), (17, 35, 53));
    assert_eq!(node.give(&claim(11, 2)), Verdict::Accepted);
    assert_eq!(node.due(11), (35, 33, 2), "floored when claimed, the rest goes on");
    assert_eq!(node.give(&claim(11, 2)), Verdict::Ignored(Ignored::Known));
    assert_eq!(node.give(&claim(11, 1)), Verdict::Ignored(Ignored::Outdone));
    assert_eq!(node.give(&claim(11, 3)), Verdict::Accepted);
    assert_eq!(node.due(11), (35, 35, 0));
    // The third declaration waits for an epoch that anchors it.
    let list = commands::list(&node.pot, &Paged::default(), &node.store).expect("a list");
    assert_eq!((list.declared, list.open.len(), list.anchored.len(), list.open[0].id), (107, 1, 2, declared[2].id()));
    assert_eq!(list.payers.iter().map(|payer| payer.next_number).sum::<u64>(), 3);
    staking.epoch(&[declared[2].id()]);
    node.follow(&staking, false);
    // 55 by 5:20:30 is exact, and what was floored before is not lost.
    assert_eq!((node.due(10).0, node.due(11).0, node.due(12).0), (22, 55, 83));
    let all =
        commands::entitlements(&node.pot, &Paged { limit: Some(2), ..Paged::default() }, &node.store).expect("a page");
    assert_eq!((all.accounts.len(), all.next.is_some()), (2, true));
}

#[test]
fn any_order_and_any_restart_lead_to_one_root() {
    let (mut staking, declared) = story();
    staking.epoch(&[declared[2].id()]);
    let mut plain = Node::new();
    declared.iter().for_each(|item| drop(plain.give(item)));
    plain.follow(&staking, false);
    for item in [claim(10, 4), claim(11, 2), claim(12, 99)] {
        assert_eq!(plain.give(&item), Verdict::Accepted);
    }
    // Backwards, one epoch late, in small pieces, with restarts.
    let mut other = Node::new();
    other.follow(&staking, true);
    assert_eq!(
        (other.pot.meta().epoch, other.pot.missing()),
        (1, vec![declared[0].id()]),
        "it waits for what epoch 2 anchors"
    );
    for item in [claim(12, 99), claim(11, 1), claim(11, 2), claim(10, 4), claim(10, 3)] {
        other.give(&item);
    }
    for item in declared.iter().rev() {
        other.give(item);
        other.pot.forget_plan();
        other.follow(&staking, true);
    }
    assert_eq!(other.pot.root(), plain.pot.root());
    for name in [10, 11, 12] {
        assert_eq!(other.due(name), plain.due(name));
    }
    let before = plain.pot.root();
    plain.restart();
    assert_eq!(plain.pot.root(), before);
    assert_eq!(plain.due(12), (83, 83, 0), "a claim up to an epoch to come covers what is closed");
}

#[test]
fn what_cannot_count_is_void() {
    let mut staking = Staking::new();
    let mut node = Node::new();
    let items = [declare(3, 0, 5), declare(3, 0, 6), declare(3, 1, u128::MAX), declare(4, 0, 9), declare(4, 1, 10)];
    items.iter().for_each(|item| assert_eq!(node.give(item), Verdict::Accepted));
    staking.epoch(&[items[3].id()]);
    staking.stake(10, 1);
    staking.epoch(&[items[0].id()]);
    staking.epoch(&[items[0].id(), items[1].id()]);
    staking.epoch(&[items[2].id(), items[4].id()]);
    node.follow(&staking, false);
    let list = commands::list(&node.pot, &Paged::default(), &node.store).expect("a list");
    let outcome = |item: &Item| {
        let found = list.anchored.iter().find(|found| found.id == item.id()).expect("anchored");
        (found.epoch.expect("an epoch"), found.outcome.expect("an outcome"))
    };
    assert_eq!(outcome(&items[3]), (1, Outcome::NoStake));
    assert_eq!(outcome(&items[0]), (2, Outcome::Counted), "anchored twice, it counts once");
    assert_eq!(outcome(&items[1]), (3, Outcome::NumberUsed));
    assert_eq!(outcome(&items[2]), (4, Outcome::TooLarge));
    assert_eq!(outcome(&items[4]), (4, Outcome::Counted));
    assert_eq!((node.pot.meta().declared, node.due(10).0, node.pot.meta().voided), (15, 15, 3));
}

#[test]
fn liars_are_rejected_and_free_keys_keep_nothing() {
    let mut node = Node::new();
    assert_eq!(node.give(&declare(9, 0, 5)), Verdict::Rejected(Rejected::NotAPayer));
    let stolen =
        Item::sign(Body::Declaration { payer: pair(3).key(), number: 0, amount: 5 }, &pair(9), genesis().hash());
    assert_eq!(node.give(&stolen), Verdict::Rejected(Rejected::Signature));
    let elsewhere = Item::sign(Body::Declaration { payer: pair(3).key(), number: 0, amount: 5 }, &pair(3), Id([7; 32]));
    assert_eq!(node.give(&elsewhere), Verdict::Rejected(Rejected::Signature));
    let keys = node.store.len();
    for name in 100..150 {
        assert_eq!(node.give(&claim(name, 1)), Verdict::Ignored(Ignored::NoStake));
    }
    assert_eq!(node.store.len(), keys);
    let verdicts: Vec<_> = (0..70).map(|number| node.give(&declare(3, number, 1))).collect();
    assert!(verdicts[64..].iter().all(|verdict| *verdict == Verdict::Ignored(Ignored::TooMany)));
    for len in [0, 1, 57, 120, 121, 122, 1_000_000] {
        for first in 0..4u8 {
            let bytes = [&[first][..], &vec![first; len]].concat();
            assert!(!matches!(node.pot.receive(&bytes, &mut node.store, &Strict).verdict, Verdict::Accepted));
        }
    }
}

#[test]
fn when_staking_goes_back_the_dividends_are_made_again() {
    let (mut staking, declared) = story();
    // This one has stake in an epoch that will be undone, and in no other.
    staking.stake(13, 40);
    staking.epoch(&[]);
    let fork = staking.clone();
    let mut node = Node::new();
    declared.iter().for_each(|item| drop(node.give(item)));
    node.follow(&staking, false);
    assert_eq!(node.give(&claim(12, 3)), Verdict::Accepted);
    assert_eq!(node.give(&claim(13, 4)), Verdict::Accepted);
    // Epochs 2 to 4 never were.
    let mut short = Staking::new();
    for (name, amount) in [(10, 10), (11, 20), (12, 30)] {
        short.stake(name, amount);
    }
    short.epoch(&[]);
    staking.go_back_to(&short.ledger);
    staking.epoch(&[declared[1].id()]);
    node.follow(&staking, false);
    assert!(node.pot.times_gone_back() > 0);
    let standings = node.pot.take_standings();
    let of = |item: &Item| {
        standings
            .iter()
            .rfind(|standing| matches!(standing, Standing::Open(id) | Standing::Settled(id) if *id == item.id()))
    };
    assert_eq!(of(&declared[0]), Some(&Standing::Open(declared[0].id())), "whoever lacks it needs it again");
    assert_eq!(of(&declared[1]), Some(&Standing::Settled(declared[1].id())));
    assert_eq!(node.pot.meta().epoch, 2);
    let mut fresh = Node::new();
    declared.iter().for_each(|item| drop(fresh.give(item)));
    fresh.follow(&staking, false);
    assert_eq!(fresh.give(&claim(12, 3)), Verdict::Accepted);
    assert_eq!(fresh.give(&claim(13, 4)), Verdict::Ignored(Ignored::NoStake));
    assert_eq!(node.pot.root(), fresh.pot.root());
    assert_eq!(node.pot.summary(), fresh.pot.summary(), "none to be fetched and refused");
    assert_eq!(of(&claim(13, 4)), Some(&Standing::Settled(claim(13, 4).id())), "and none is offered by gossip");
    assert_eq!((node.due(10), node.due(12)), (fresh.due(10), fresh.due(12)));
    assert_eq!(node.store.prefix(b"d", 9), fresh.store.prefix(b"d", 9));
    assert_eq!(node.store.prefix(b"o", 9), fresh.store.prefix(b"o", 9));
    assert_ne!(fork.ledger.root(), staking.ledger.root());
    // With stake again the claim counts again: whoever refused it takes it now.
    staking.stake(13, 8);
    staking.epoch(&[]);
    let before = node.pot.root();
    for node in [&mut node, &mut fresh] {
        node.follow(&staking, false);
    }
    assert_ne!(node.pot.root(), before);
    assert_ne!(node.pot.root(), fresh.pot.root());
    assert!(fresh.pot.may_lack(&node.pot.summary()));
    assert_eq!(lacking(&fresh, &node), [claim(13, 4).bytes()]);
    assert_eq!(fresh.give(&claim(13, 4)), Verdict::Accepted);
    assert_eq!(node.pot.root(), fresh.pot.root());
    node.restart();
    assert_eq!(node.pot.root(), fresh.pot.root(), "as it was kept");
}

/// Epochs 1 and 2, and on an own branch epoch 3, in which somebody new has stake; what closed epoch 2 comes with it.
fn half_of_epoch_3() -> (Staking, Ledger, Vec<Item>) {
    let mut staking = Staking::new();
    for (name, amount) in [(10, 10), (11, 20), (12, 30)] {
        staking.stake(name, amount);
    }
    staking.epoch(&[]);
    let declared = vec![declare(3, 0, 100), declare(3, 1, 70), declare(4, 0, 55)];
    staking.epoch(&[declared[0].id()]);
    let closed = staking.ledger.clone();
    staking.stake(13, 40);
    staking.act(10, Action::Unstake(5));
    staking.epoch(&[declared[1].id()]);
    (staking, closed, declared)
}

/// With these declarations, on these epochs.
fn after(declared: &[Item], staking: &Staking) -> Node {
    let mut node = Node::new();
    declared.iter().for_each(|item| assert_eq!(node.give(item), Verdict::Accepted));
    node.follow(staking, false);
    node
}

fn agree(node: &Node, fresh: &Node) {
    assert_eq!(node.pot.root(), fresh.pot.root());
    for name in [10, 11, 12, 13] {
        assert_eq!(node.due(name), fresh.due(name));
    }
    assert_eq!(node.pot.meta(), fresh.pot.meta());
    assert_eq!(node.store.prefix(b"k", 99), fresh.store.prefix(b"k", 99), "the same stakes");
}

#[test]
fn stakes_of_an_epoch_that_staking_undid_halfway_are_undone() {
    for restart in [false, true] {
        let (mut staking, closed, declared) = half_of_epoch_3();
        // The stakes of epoch 3 are in, what it anchors is missing.
        let mut node = after(&[declared[0].clone(), declared[2].clone()], &staking);
        assert_eq!((node.pot.meta().epoch, node.pot.missing()), (2, vec![declared[1].id()]));
        staking.go_back_to(&closed);
        staking.epoch(&[declared[2].id()]);
        if restart {
            node.restart();
        }
        node.pot.forget_plan();
        node.follow(&staking, false);
        let paid: u128 = [10, 11, 12, 13].iter().map(|name| node.due(*name).0).sum();
        assert!(paid <= 155, "no more than was declared: {paid}");
        let fresh = after(&[declared[0].clone(), declared[2].clone()], &staking);
        assert_eq!(fresh.pot.meta().epoch, 3);
        agree(&node, &fresh);
        assert_eq!(node.pot.times_gone_back(), 1);
    }
}

/// The claims that `one` gets when it compares with `other`, a hundred bytes an answer.
fn lacking(one: &Node, other: &Node) -> Vec<Vec<u8>> {
    let mut claims = Vec::new();
    for group in other.pot.differing_groups(&one.pot.groups()) {
        let mut from = None;
        loop {
            let found = other.pot.find(&one.pot.wanted(group, from), 100, &other.store);
            claims.extend(found.claims);
            from = found.next;
            if from.is_none() {
                break;
            }
        }
    }
    claims
}

#[test]
fn claims_that_differ_are_found_by_hashes_and_no_others_are_sent() {
    let mut staking = Staking::new();
    (10..250).for_each(|name| staking.stake(name, 5));
    staking.epoch(&[]);
    let mut nodes = [Node::new(), Node::new()];
    nodes.iter_mut().for_each(|node| node.follow(&staking, false));
    for name in 10..250 {
        nodes[0].give(&claim(name, 1));
        // One lacks every fortieth, and has a higher one of every sixtieth.
        if name % 40 != 0 {
            nodes[1].give(&claim(name, if name % 60 == 0 { 2 } else { 1 }));
        }
    }
    let [one, other] = &mut nodes;
    assert!(one.pot.may_lack(&other.pot.summary()) && other.pot.may_lack(&one.pot.summary()));
    let sent = lacking(other, one);
    assert!(sent.len() >= 9 && sent.len() < 30, "those and who shares a bucket with them: {}", sent.len());
    for bytes in sent {
        other.pot.receive(&bytes, &mut other.store, &Strict);
    }
    for bytes in lacking(one, other) {
        one.pot.receive(&bytes, &mut one.store, &Strict);
    }
    assert_eq!(one.pot.root(), other.pot.root());
    assert!(!one.pot.may_lack(&other.pot.summary()) && one.pot.differing_groups(&other.pot.groups()).is_empty());
    // What makes no sense is answered with nothing.
    assert!(one.pot.differing_groups(&[]).is_empty());
    let strange = Wanted { group: 64, ..other.pot.wanted(0, None) };
    assert_eq!(one.pot.find(&strange, 100, &one.store), Found::default());
}

#[test]
fn a_store_that_does_not_say_whose_stakes_are_in_is_made_again() {
    let (staking, _, declared) = half_of_epoch_3();
    let mut node = after(&declared, &staking);
    // As data version 1 wrote it: no epoch behind the kind of work, the first of them.
    let mut meta = node.store.get(b"m").expect("where it stands");
    assert_eq!(meta.split_off(meta.len() - 2), [3, 0]);
    node.store.put(b"m", &[&meta[..], &[0]].concat());
    node.restart();
    assert!(node.pot.is_clearing());
    node.follow(&staking, false);
    agree(&node, &after(&declared, &staking));
}

#[test]
fn half_an_epoch_stays_in_while_staking_does_not_go_back() {
    let (staking, _, declared) = half_of_epoch_3();
    let mut node = after(&declared[..1], &staking);
    node.restart();
    node.follow(&staking, true);
    declared[1..].iter().for_each(|item| assert_eq!(node.give(item), Verdict::Accepted));
    node.pot.forget_plan();
    node.follow(&staking, false);
    assert_eq!(node.pot.times_gone_back(), 0);
    agree(&node, &after(&declared, &staking));
}
