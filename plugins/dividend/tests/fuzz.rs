//! Items that are nearly right, and whole lives of the plugin among peers that send anything in any order while staking
//! answers late, not at all, or goes back: nothing panics, no more is paid than was declared, and what peers make a node keep
//! is bounded.
//!
//! The long forms: `cargo test --release -p weir-plugin-dividend --test fuzz -- --ignored --nocapture`.

mod staked;

use serde_json::{Value, json};
use staked::{PAYER, Staked, genesis, last_epoch, pair};
use weir_ledger::{Id, to_hex};
use weir_plugin_dividend::items::{Body, Item};
use weir_plugin_dividend::{Dividend, PROTOCOL, Summary, Wanted};
use weir_plugin_staking::items::Action;
use weir_sdk::abi::{AskError, CallError, PeerId};
use weir_sdk::gossip::{ItemId, Place};
use weir_sdk::testing::{Random, TestHost, mutated};

const ACCOUNTS: u64 = 12;

fn declaration(number: u64, amount: u128) -> Item {
    Item::sign(Body::Declaration { payer: pair(PAYER).key(), number, amount }, &pair(PAYER), genesis().hash())
}

fn decode_nearly_right(rounds: u32) {
    let claim = Body::Claim { account: pair(PAYER).key(), up_to_epoch: 7 };
    let claim = Item::sign(claim, &pair(PAYER), genesis().hash());
    let kinds = [declaration(1, 1 << 100), declaration(u64::MAX, 1), claim].map(|item| item.bytes().to_vec());
    let (mut random, mut read) = (Random::new(1), 0);
    for _ in 0..rounds {
        let bytes = mutated(&kinds, &mut random);
        let Ok(item) = Item::decode(&bytes) else { continue };
        read += 1;
        assert_eq!(item.bytes(), bytes);
        assert_eq!(item.body().encode(), bytes[..bytes.len() - 64], "there is one encoding of everything");
    }
    assert!(read > rounds / 100, "most are not read, some are: {read}");
}

#[test]
fn what_is_nearly_an_item_is_read_as_what_it_says_or_not_at_all() {
    decode_nearly_right(20_000);
}

#[test]
#[ignore = "long: a million items"]
fn a_million_items_that_are_nearly_right() {
    decode_nearly_right(1_000_000);
}

/// One node, the staking that it asks, peers that send anything, and everything that was ever rightly signed.
struct Life {
    host: TestHost,
    random: Random,
    staked: Staked,
    peers: Vec<PeerId>,
    items: Vec<Vec<u8>>,
    /// Declarations that no epoch anchors yet.
    open: Vec<Id>,
    bodies: Vec<Vec<u8>>,
    /// Answers of staking to earlier questions.
    stale: Vec<Value>,
}

fn body<T: serde::Serialize>(head: &[u8], rest: &T) -> Vec<u8> {
    [head, &weir_sdk::encode(rest).expect("bytes")[..]].concat()
}

fn host(seed: u64) -> TestHost {
    TestHost::with_seed::<Dividend>(serde_json::to_value(genesis().file()).expect("json"), seed)
}

/// Answers whatever the plugin asks staking, and hands over the items that it asks peers for by name.
fn follow(host: &mut TestHost, items: &[Vec<u8>]) {
    let named = |id: &[u8]| items.iter().find(|item| Item::decode(item).is_ok_and(|item| item.id().0 == *id));
    for _ in 0..60 {
        for ask in host.asks() {
            match ask.body.split_first() {
                Some((16, id)) => host.respond(ask.id, Ok(named(id).map_or(&[][..], |item| item))),
                _ => host.respond(ask.id, Err(AskError::TimedOut)),
            }
        }
        for call in host.calls() {
            let answer = staked::answer(&call.name, &call.body);
            host.return_call(call.id, answer.as_ref().map_err(|_| CallError::TimedOut));
        }
        host.advance(500);
    }
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut host = host(seed);
        let peers = (1..5).map(|number| host.peer(number)).collect();
        let (random, staked) = (Random::new(seed), Staked::new(ACCOUNTS));
        let (items, open, bodies, stale) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { host, random, staked, peers, items, open, bodies, stale }
    }

    fn submit(&mut self, bytes: &[u8]) {
        let _ = self.host.command("submit", json!({ "op": to_hex(bytes) }));
    }

    /// A new declaration or claim; this node has it, or somebody else.
    fn sign(&mut self) {
        let item = if self.random.chance(40) {
            let amount =
                if self.random.chance(5) { u128::MAX / 3 } else { 1 + u128::from(self.random.within(0..10_000)) };
            // Now and then a number twice.
            let item = declaration(self.random.within(0..200), amount);
            self.open.push(item.id());
            item
        } else {
            let at = self.random.within(0..ACCOUNTS) as usize;
            let pair = &self.staked.accounts[at];
            let up_to_epoch = self.random.within(0..last_epoch() + 2);
            Item::sign(Body::Claim { account: pair.key(), up_to_epoch }, pair, genesis().hash())
        };
        self.items.push(item.bytes().to_vec());
        match self.random.within(0..3) {
            0 => self.submit(item.bytes()),
            1 => self.push(vec![item.bytes().to_vec()]),
            _ => {}
        }
    }

    /// Some stakes change, and some of the open declarations are anchored; or staking goes back.
    fn epoch(&mut self) {
        if self.random.chance(10) && last_epoch() > 1 {
            let to = self.random.within(1..last_epoch());
            return self.staked.go_back_to(to);
        }
        let mut actions = Vec::new();
        for who in 0..ACCOUNTS as usize {
            let amount = 1 + u128::from(self.random.within(0..1_000));
            if self.random.chance(30) {
                actions
                    .push((who, if self.random.chance(60) { Action::Stake(amount) } else { Action::Unstake(amount) }));
            }
        }
        let anchored = self.open.split_off(self.open.len() / 2);
        self.staked.epoch(&actions, &anchored);
    }

    /// What staking says, or does not.
    fn called(&mut self) {
        let Some(call) = self.host.calls().pop() else { return };
        match self.random.within(0..10) {
            0 => self.host.return_call(call.id, Err(CallError::TimedOut)),
            1 if !self.stale.is_empty() => {
                let stale = self.random.pick(&self.stale).cloned().expect("one");
                self.host.return_call(call.id, Ok(&stale));
            }
            2 => {}
            _ => {
                let answer = staked::answer(&call.name, &call.body);
                self.host.return_call(call.id, answer.as_ref().map_err(|_| CallError::TimedOut));
                self.stale.extend(answer.ok().filter(|_| call.name == "epochs"));
                let extra = self.stale.len().saturating_sub(4);
                self.stale.drain(..extra);
            }
        }
    }

    fn push(&mut self, items: Vec<Vec<u8>>) {
        let items: Vec<_> = items.into_iter().map(|item| (0_u8, item)).collect();
        self.say(body(&[1, 0], &items));
    }

    fn say(&mut self, body: Vec<u8>) {
        let peer = self.random.pick(&self.peers).copied().expect("a peer");
        self.host.message(peer, PROTOCOL, &body);
        self.keep(body);
    }

    fn keep(&mut self, body: Vec<u8>) {
        let place = self.random.within(0..64) as usize;
        if self.bodies.len() < 64 { self.bodies.push(body) } else { self.bodies[place] = body }
    }

    /// What peers send without anybody's new signature.
    fn hostile(&mut self) {
        let item = self.random.pick(&self.items).cloned().unwrap_or_default();
        let nearly = mutated(&self.items, &mut self.random);
        let id = Item::decode(&item).map_or(Id([1; 32]), |item| item.id());
        let random_id = Id([self.random.number() as u8; 32]);
        let peer = self.random.pick(&self.peers).copied().expect("a peer");
        match self.random.within(0..16) {
            0 => self.push(vec![item, nearly]),
            1 => self.push(vec![nearly]),
            2 => self.submit(&nearly),
            3 => self.say(body(&[1, 1], &vec![(3_u8, ItemId(id.0)), (1, ItemId(random_id.0))])),
            4 => {
                let epoch = self.random.within(0..9);
                self.say(body(&[16], &Summary { epoch, claims: random_id }));
            }
            5 | 6 => {
                let bytes = mutated(&self.bodies, &mut self.random);
                self.host.message(peer, PROTOCOL, &bytes);
            }
            7 | 8 => {
                let group = self.random.within(0..70) as u16;
                let request = match self.random.within(0..5) {
                    0 => body(&[1, 0], &(true, vec![ItemId(id.0)])),
                    1 => body(&[1, 1], &(Place::FIRST, vec![(Place::LAST, [1_u8; 16])])),
                    2 => [&[16], &id.0[..]].concat(),
                    3 => body(&[17], &vec![random_id; 64]),
                    _ => body(&[18], &Wanted { group, buckets: vec![random_id; 64], from: None }),
                };
                self.host.request(peer, PROTOCOL, &request);
                self.keep(request);
            }
            9 => {
                let bytes = mutated(&self.bodies, &mut self.random);
                self.host.request(peer, PROTOCOL, &bytes);
            }
            10..14 => self.answer(item, nearly),
            14 if self.random.chance(50) => self.host.disconnect(peer),
            14 => {
                let number = self.random.within(1..5);
                self.host.peer(number);
            }
            _ => {
                let ms = self.random.within(0..2_000);
                self.host.advance(ms);
            }
        }
    }

    /// Answers what the node asked: rightly, nearly so, or not at all.
    fn answer(&mut self, item: Vec<u8>, nearly: Vec<u8>) {
        let asks = self.host.asks();
        let Some(ask) = self.random.pick(&asks) else { return };
        let next = self.random.chance(50).then(|| self.staked.accounts[self.random.within(0..ACCOUNTS) as usize].key());
        let right = match ask.body.first() {
            Some(1) => body(&[1], &(0_u8, false, vec![item, nearly])),
            Some(16) => item,
            Some(17) => body(&[], &(0..80_u16).collect::<Vec<_>>()),
            _ => body(&[], &(vec![item, nearly], next)),
        };
        match self.random.within(0..4) {
            0 | 1 => self.host.respond(ask.id, Ok(&right)),
            2 => {
                let nearly = mutated(&[right], &mut self.random);
                self.host.respond(ask.id, Ok(&nearly));
            }
            _ => self.host.respond(ask.id, Err(AskError::TimedOut)),
        }
    }

    /// No turn failed, no more is due than was declared, and the store is no larger than what was signed explains.
    fn check(&mut self) {
        assert_eq!(self.host.crashes(), []);
        if let (Ok(list), Ok(all)) =
            (self.host.command("list", Value::Null), self.host.command("entitlements", Value::Null))
        {
            let amount = |value: &Value| value.as_str().expect("an amount").parse::<u128>().expect("an amount");
            let due = all["accounts"].as_array().expect("a list").iter();
            let due: u128 = due.map(|it| amount(&it["claimed"]) + amount(&it["claimable"])).sum();
            assert!(due <= amount(&list["declared"]), "{due} is due of {}", list["declared"]);
        }
        let most = 1_000 * self.items.len() as u64 + 400 * ACCOUNTS * (last_epoch() + 1) + 200_000;
        assert!(self.host.used() < most, "{} bytes of {} items", self.host.used(), self.items.len());
    }

    /// Honest peers bring everything that was ever signed, none of them so much that it looks like a flood.
    fn bring_all(&self, host: &mut TestHost) {
        follow(host, &self.items);
        for round in [1_000, 2_000] {
            for (number, items) in (round..).zip(self.items.chunks(50)) {
                let honest = host.peer(number);
                let items: Vec<_> = items.iter().map(|item| (0_u8, item)).collect();
                host.message(honest, PROTOCOL, &body(&[1, 0], &items));
            }
            follow(host, &self.items);
        }
    }
}

fn live(seed: u64, steps: u32) -> u64 {
    let mut life = Life::new(seed);
    for step in 0..steps {
        match life.random.within(0..40) {
            0..7 => life.sign(),
            7 => life.epoch(),
            8..16 => life.called(),
            16 if life.random.chance(20) => life.host.crash(),
            _ => life.hostile(),
        }
        if step % 50 == 49 {
            life.check();
        }
    }
    // Once everything is here, the node is where one is that never saw any of this, and peers can make it keep nothing more.
    let mut host = std::mem::replace(&mut life.host, host(seed + 1));
    life.bring_all(&mut host);
    let mut fresh = std::mem::replace(&mut life.host, host);
    life.bring_all(&mut fresh);
    let root = life.host.command("root", Value::Null).expect("a root");
    assert_eq!(root["epoch"], last_epoch(), "seed {seed}");
    assert_eq!(root, fresh.command("root", Value::Null).expect("a root"), "seed {seed}");
    let before = life.host.used();
    for _ in 0..steps / 2 {
        life.hostile();
    }
    life.check();
    assert_eq!(life.host.used(), before, "seed {seed}");
    root["counted"].as_u64().expect("a number")
}

#[test]
fn whatever_peers_send_nothing_panics_and_no_more_is_paid_than_was_declared() {
    let counted: u64 = (0..6).map(|seed| live(seed, 300)).sum();
    assert!(counted > 30, "{counted} declarations count");
}

#[test]
#[ignore = "long: a thousand lives of a thousand steps"]
fn whatever_peers_send_a_thousand_times() {
    for seed in 0..1_000 {
        live(seed, 1_000);
    }
}
