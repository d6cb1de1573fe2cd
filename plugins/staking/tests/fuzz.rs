//! Bytes that are nearly right, for the decoders, and whole lives of the plugin among peers that send anything in any order:
//! nothing panics, nothing is made or lost, and what peers make a node keep is bounded.
//!
//! The long forms: `cargo test --release -p weir-plugin-staking --test fuzz -- --ignored --nocapture`.

mod net;

use net::world::file;
use net::{Issuer, Node, SECOND_ISSUER, Wallet, genesis, rotation};
use serde_json::{Value, json};
use weir_ledger::codec::Reader;
use weir_ledger::{Body, Id, from_hex, to_hex};
use weir_plugin_staking::items::{Action, Anchor, Decree, Include, Item, Operation, Page, Proof, Signed, Topic};
use weir_plugin_staking::{First, PROTOCOL, Staking, Want};
use weir_sdk::abi::{AskError, PeerId};
use weir_sdk::gossip::{ItemId, Place};
use weir_sdk::testing::{Random, TestHost, mutated};

const WALLETS: u64 = 6;

/// An item of each kind, and of each kind of decree.
fn kinds() -> Vec<Vec<u8>> {
    let (genesis, mut wallet) = (genesis(), Wallet::new(100, &genesis()));
    let mut issuer = Issuer::new(&genesis);
    let twin = wallet.clone().sign(Action::Unstake(3));
    let operations = [Action::Stake(1 << 100), Action::Withdraw].map(|action| wallet.sign(action));
    let sign = |bytes: &[u8]| Signed::<Operation>::decode(bytes).expect("an operation");
    let proof = Proof::new(sign(&operations[0]), sign(&twin)).expect("one number");
    let include = |name| Include { account: net::pair(name).key(), seq: name, id: Id([name as u8; 32]) };
    let mut includes: Vec<_> = (0..4).map(include).collect();
    includes.sort_by_key(|include| include.account);
    let anchor = Anchor { topic: Topic::new("other").expect("a topic"), id: Id([9; 32]) };
    let page = Page::new(&includes, std::slice::from_ref(&proof), &[anchor]).expect("a page");
    let epoch = weir_plugin_staking::items::Order::Epoch { number: 1, pages: vec![page.id(), Id([1; 32])] };
    let decrees = [issuer.mint(wallet.key(), 5), issuer.sign(epoch), rotation(&genesis, 1, 0, genesis.hash(), 5).0];
    [&operations[..], &decrees, &[twin, page.bytes().to_vec(), proof.encode()]].concat()
}

/// The bytes that an item says it was read from.
fn encoded(item: &Item) -> Vec<u8> {
    let with_signature = |body: Vec<u8>, bytes: &[u8]| [&body[..], &bytes[bytes.len() - 64..]].concat();
    match item {
        Item::Operation(operation) => with_signature(operation.body().encode(), operation.bytes()),
        Item::Decree(decree) => with_signature(decree.body().encode(), decree.bytes()),
        Item::Page(page) => {
            Page::new(&page.includes, &page.proofs, &page.anchors).expect("its own parts").bytes().to_vec()
        }
        Item::Proof(proof) => proof.encode(),
    }
}

fn decode_nearly_right(rounds: u32) {
    let (kinds, mut random, mut read) = (kinds(), Random::new(1), 0);
    let mut node = Node::new(&genesis());
    node.work();
    for _ in 0..rounds {
        let bytes = mutated(&kinds, &mut random);
        let Ok(item) = Item::decode(&bytes) else { continue };
        read += 1;
        assert_eq!(encoded(&item), bytes, "there is one encoding of everything");
        if !kinds.contains(&bytes) {
            let before = node.store.used();
            node.receive(&bytes);
            assert_eq!(node.store.used(), before, "and nobody signed it: {}", to_hex(&bytes));
        }
    }
    assert!(read > rounds / 100, "most are not read, some are: {read}");
}

#[test]
fn what_is_nearly_an_item_is_read_as_what_it_says_or_not_at_all() {
    decode_nearly_right(5_000);
}

#[test]
#[ignore = "long: a million items"]
fn a_million_items_that_are_nearly_right() {
    decode_nearly_right(1_000_000);
}

/// One node, peers that send anything, and everything that was ever rightly signed.
struct Life {
    host: TestHost,
    random: Random,
    issuer: Issuer,
    reign: u64,
    wallets: Vec<Wallet>,
    peers: Vec<PeerId>,
    items: Vec<Vec<u8>>,
    /// Bodies of messages, requests and answers that were in order.
    bodies: Vec<Vec<u8>>,
}

fn body<T: serde::Serialize>(head: &[u8], rest: &T) -> Vec<u8> {
    [head, &weir_sdk::encode(rest).expect("bytes")[..]].concat()
}

impl Life {
    fn new(seed: u64) -> Self {
        let genesis = genesis();
        let mut host = TestHost::with_seed::<Staking<First>>(file(&genesis), seed);
        let peers = (1..5).map(|number| host.peer(number)).collect();
        let mut life = Self {
            host,
            random: Random::new(seed),
            issuer: Issuer::new(&genesis),
            reign: 0,
            wallets: (0..WALLETS).map(|name| Wallet::new(100 + name, &genesis)).collect(),
            peers,
            items: Vec::new(),
            bodies: Vec::new(),
        };
        for who in 0..WALLETS as usize {
            life.mint(who);
        }
        life.epoch();
        life
    }

    fn submit(&mut self, bytes: &[u8]) -> bool {
        self.host.command("submit", json!({ "op": to_hex(bytes) })).is_ok()
    }

    /// What the issuer signs is handed in at once, or it could not go on.
    fn decree(&mut self, bytes: Vec<u8>) {
        self.submit(&bytes);
        self.items.push(bytes);
    }

    fn mint(&mut self, who: usize) {
        let amount = if self.random.chance(5) { u128::MAX / 2 } else { 1_000 };
        let mint = self.issuer.mint(self.wallets[who].key(), amount);
        self.decree(mint);
    }

    fn epoch(&mut self) {
        let Ok(draft) = self.host.command("draft", json!({})) else { return self.rotate() };
        let bytes = from_hex(draft["body"].as_str().expect("hex"), 1 << 20).expect("hex");
        let decree = Decree::read(&mut Reader::new(&bytes)).expect("a decree");
        if (decree.seq, decree.before) != (self.issuer.seq, self.issuer.before) {
            return self.rotate();
        }
        let header = self.issuer.sign(decree.order);
        self.decree(header);
        self.host.advance(100);
    }

    /// The issuer signs a second log; whoever sees it goes back.
    fn tear(&mut self) {
        let who = self.random.within(0..WALLETS) as usize;
        let mut twin = self.issuer.clone();
        self.mint(who);
        let other = twin.mint(self.wallets[who].key(), 2);
        self.decree(other);
    }

    fn rotate(&mut self) {
        self.host.advance(2_000);
        let status = self.host.command("status", Value::Null).expect("a status");
        if status["state"] == "issuer-fault" {
            self.reign = self.reign.max(status["issuer"]["reign"].as_u64().expect("a number")) + 1;
            let tip = self.tip();
            let (rotate, issuer) = rotation(&genesis(), self.reign, tip.0, tip.1, SECOND_ISSUER + 1_000 + self.reign);
            self.issuer = issuer;
            self.decree(rotate);
        }
    }

    /// Behind the last closed epoch.
    fn tip(&mut self) -> (u64, Id) {
        let epochs = self.host.command("epochs", json!({ "limit": 1 })).expect("epochs");
        match epochs["epochs"].get(0) {
            Some(epoch) => {
                let id = epoch["id"].as_str().expect("an id").parse().expect("an id");
                (epoch["next_seq"].as_u64().expect("a number"), id)
            }
            None => (0, genesis().hash()),
        }
    }

    /// An operation, now and then two of one number; somebody has it, this node perhaps.
    fn operate(&mut self) {
        let who = self.random.within(0..WALLETS) as usize;
        let amount = 1 + u128::from(self.random.within(0..600));
        let action = match self.random.within(0..5) {
            0..3 => Action::Stake(amount),
            3 => Action::Unstake(amount),
            _ => Action::Withdraw,
        };
        if self.random.chance(3) {
            let twin = self.wallets[who].clone().sign(Action::Stake(amount + 1));
            self.items.push(twin);
        }
        let signed = self.wallets[who].sign(action);
        self.items.push(signed.clone());
        match self.random.within(0..3) {
            0 => drop(self.submit(&signed)),
            1 => self.push(vec![signed]),
            _ => {}
        }
    }

    fn peer(&mut self) -> PeerId {
        self.random.pick(&self.peers).copied().expect("a peer")
    }

    fn item(&mut self) -> Vec<u8> {
        self.random.pick(&self.items).cloned().unwrap_or_default()
    }

    fn nearly_item(&mut self) -> Vec<u8> {
        mutated(&self.items, &mut self.random)
    }

    fn push(&mut self, items: Vec<Vec<u8>>) {
        let items: Vec<_> = items.into_iter().map(|item| (0_u8, item)).collect();
        self.say(body(&[1, 0], &items));
    }

    /// In order, or nearly so.
    fn say(&mut self, body: Vec<u8>) {
        let peer = self.peer();
        self.host.message(peer, PROTOCOL, &body);
        self.keep(body);
    }

    fn keep(&mut self, body: Vec<u8>) {
        let place = self.random.within(0..64) as usize;
        if self.bodies.len() < 64 { self.bodies.push(body) } else { self.bodies[place] = body }
    }

    fn id(&mut self) -> ItemId {
        let item = self.item();
        if self.random.chance(20) {
            return ItemId([self.random.number() as u8; 32]);
        }
        Item::decode(&item).map_or(ItemId([0; 32]), |item| ItemId(item.id().0))
    }

    /// What peers send without anybody's new signature.
    fn hostile(&mut self) {
        let (id, item, nearly) = (self.id(), self.item(), self.nearly_item());
        let peer = self.peer();
        match self.random.within(0..16) {
            0 => self.push(vec![item, nearly]),
            1 => self.push(vec![nearly]),
            2 => drop(self.submit(&nearly)),
            3 => self.say(body(&[1, 1], &vec![(3_u8, id)])),
            4 => self.say(body(&[1, 2], &vec![id])),
            5 => {
                let kind = self.random.within(3..7) as u8;
                self.say([1, kind, 1][..if kind == 5 { 3 } else { 2 }].to_vec());
            }
            6 | 7 => {
                let bytes = mutated(&self.bodies, &mut self.random);
                self.host.message(peer, PROTOCOL, &bytes);
            }
            8 => {
                let request = match self.random.within(0..3) {
                    0 => body(&[1, 0], &(true, vec![id])),
                    1 => body(&[1, 1], &(Place::FIRST, vec![(Place::LAST, [1_u8; 16])])),
                    _ => body(
                        &[17],
                        &vec![Want::Log { from: 0 }, Want::Item(Id(id.0)), Want::Chain { id: Id(id.0), from: 0 }],
                    ),
                };
                self.host.request(peer, PROTOCOL, &request);
                self.keep(request);
            }
            9 => {
                let bytes = mutated(&self.bodies, &mut self.random);
                self.host.request(peer, PROTOCOL, &bytes);
            }
            10..13 => self.answer(vec![item, nearly]),
            13 if self.random.chance(50) => self.host.disconnect(peer),
            13 => {
                let number = self.random.within(0..self.peers.len() as u64);
                self.host.peer(number + 1);
            }
            14 => {
                let cursor = to_hex(&nearly[..nearly.len().min(40)]);
                let _ = self.host.command("stakes", json!({ "after": cursor, "since": 0 }));
                let _ = self.host.command("proofs", json!({ "after": cursor }));
            }
            _ => {
                let ms = self.random.within(0..3_000);
                self.host.advance(ms);
            }
        }
    }

    /// Answers what the node asked: rightly, nearly so, or not at all.
    fn answer(&mut self, items: Vec<Vec<u8>>) {
        let asks = self.host.asks();
        let Some(ask) = self.random.pick(&asks) else { return };
        let right = match ask.body.first() {
            Some(1) => body(&[1], &(0_u8, false, items)),
            _ => body(&[], &items),
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

    /// Everything that was minted is somewhere, no turn failed, and the store is no larger than what was signed explains.
    fn check(&mut self) {
        assert_eq!(self.host.crashes(), []);
        self.host.advance(2_000);
        let status = self.host.command("status", Value::Null).expect("a status");
        let amount = |value: &Value| value.as_str().expect("an amount").parse::<u128>().expect("an amount");
        let (mut balance, mut staked, mut unbonding) = (0, 0, 0);
        for wallet in self.wallets.clone() {
            let account = self.host.command("account", json!({ "account": wallet.key() })).expect("an account");
            balance += amount(&account["balance"]);
            staked += amount(&account["staked"]);
            unbonding +=
                account["unbonding"].as_array().expect("a list").iter().map(|it| amount(&it["amount"])).sum::<u128>();
        }
        assert_eq!(amount(&status["minted"]), balance + staked + unbonding);
        assert_eq!((amount(&status["staked"]), amount(&status["unbonding"])), (staked, unbonding));
        let most = 3_000 * self.items.len() as u64 + 300_000;
        assert!(self.host.used() < most, "{} bytes of {} items", self.host.used(), self.items.len());
    }
}

fn live(seed: u64, steps: u32) -> u64 {
    let mut life = Life::new(seed);
    for step in 0..steps {
        match life.random.within(0..40) {
            0..8 => life.operate(),
            8 => {
                let who = life.random.within(0..WALLETS) as usize;
                life.mint(who);
            }
            9 => life.epoch(),
            10 if life.random.chance(20) => life.tear(),
            11 if life.random.chance(20) => life.host.crash(),
            _ => life.hostile(),
        }
        if step % 50 == 49 {
            life.check();
        }
    }
    // Once everything that is signed is here, peers can make the node keep nothing more.
    for _ in 0..3 {
        for item in life.items.clone() {
            life.submit(&item);
        }
        life.host.advance(5_000);
    }
    let before = life.host.used();
    for _ in 0..steps / 2 {
        life.hostile();
    }
    life.check();
    assert_eq!(life.host.used(), before, "seed {seed}");
    let status = life.host.command("status", Value::Null).expect("a status");
    status["epoch"].as_u64().expect("a number")
}

#[test]
fn whatever_peers_send_nothing_panics_and_nothing_is_made_or_lost() {
    let epochs: u64 = (0..6).map(|seed| live(seed, 300)).sum();
    assert!(epochs > 6, "epochs are closed all the while: {epochs}");
}

#[test]
#[ignore = "long: a thousand lives of a thousand steps"]
fn whatever_peers_send_a_thousand_times() {
    for seed in 0..1_000 {
        live(seed, 1_000);
    }
}
