//! A plugin that gossips texts, and peers that do not play by the rules.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use weir_sdk::gossip::{Decision, Gossip, ItemId, Place, Policy, Stats, StoreItems};
use weir_sdk::prelude::*;
use weir_sdk::testing::{Network, TestNet};

pub const KEY: ProtocolKey = 1;

/// What a test changes of the policy, and how the plugin decides.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    pub view: usize,
    pub view_most: usize,
    pub reconcile_every_ms: u64,
    pub index: usize,
    pub items: u64,
    /// Decides so many milliseconds later.
    pub defer_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            view: policy.view,
            view_most: policy.view_most,
            reconcile_every_ms: policy.reconcile_every_ms,
            index: policy.index,
            items: policy.items.0,
            defer_ms: 0,
        }
    }
}

/// Texts beginning with `bad` are rejected, those beginning with `old` ignored.
pub struct News {
    pub gossip: Gossip<StoreItems>,
    pub hops: Vec<u8>,
    pub accepted_at: Vec<(ItemId, u64)>,
    defer_ms: u64,
    deferred: Vec<(u64, ItemId, Decision)>,
}

const DEFERRED: u64 = 9;

impl Plugin for News {
    fn manifest() -> Manifest {
        Manifest::new("news", "0.1.0").protocol(Protocol::new(KEY, "/news/1.0.0"))
    }

    fn start(init: Init, ctx: &Context) -> Result<Self> {
        let config: Config = init.config()?;
        let (rate, defaults) = (config.items, Policy::default());
        let policy = Policy {
            view: config.view,
            view_most: config.view_most,
            reconcile_every_ms: config.reconcile_every_ms,
            index: config.index,
            items: (rate, 4 * rate),
            ..defaults
        };
        let items = StoreItems::new("item/", 200_000).stamped(stamp);
        let gossip = Gossip::start(KEY, policy, items, &init, ctx)?;
        Ok(Self { gossip, hops: Vec::new(), accepted_at: Vec::new(), defer_ms: config.defer_ms, deferred: Vec::new() })
    }

    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        match command.name.as_str() {
            "say" => {
                let id = self.gossip.broadcast(command.args::<&str>()?.as_bytes(), ctx)?;
                self.accepted_at.push((id, ctx.now_ms()));
                command.answer(ctx, &id.to_string())
            }
            "many" => {
                let (from, count): (u32, u32) = command.args()?;
                for number in from..from + count {
                    self.gossip.broadcast(numbered(number).as_bytes(), ctx)?;
                }
                command.answer(ctx, &count)
            }
            "drop" => {
                let (from, count): (u32, u32) = command.args()?;
                for number in from..from + count {
                    let id = ItemId::of(numbered(number).as_bytes());
                    self.gossip.items_mut().remove(&id, ctx);
                    self.gossip.forget(&id, true);
                }
                command.answer(ctx, &self.gossip.len())
            }
            "has" => {
                let texts: Vec<String> = command.args()?;
                let all = texts.iter().all(|text| self.gossip.knows(&ItemId::of(text.as_bytes())));
                command.answer(ctx, &all)
            }
            "count" => command.answer(ctx, &self.gossip.len()),
            // The bytes stay where they are; only what is compared changes.
            name @ ("forget" | "hold") => {
                let text = command.args::<&str>()?.as_bytes();
                let id = ItemId::of(text);
                if name == "hold" {
                    self.gossip.hold(Place { stamp: stamp(text), id });
                } else {
                    self.gossip.forget(&id, true);
                }
                command.answer(ctx, &self.gossip.len())
            }
            _ => Err(command.unknown(&["say", "many", "drop", "has", "count", "forget", "hold"])),
        }
    }

    fn on_timer(&mut self, id: u64, ctx: &Context) -> Result {
        if !self.gossip.on_timer(id) {
            let now = ctx.now_ms();
            for (_, id, decision) in self.deferred.extract_if(.., |(due, ..)| *due <= now) {
                self.gossip.decide(&id, decision, ctx);
            }
        }
        Ok(())
    }

    weir_sdk::gossip_events!(gossip, judge: on_message on_request on_response on_peer_supported on_peer_unsupported
        on_relieved on_undelivered on_missed on_turn_end);
}

impl News {
    fn judge(&mut self, ctx: &Context) -> Result {
        while let Some(item) = self.gossip.next() {
            let decision = if item.bytes.starts_with(b"bad") {
                Decision::Reject
            } else if item.bytes.starts_with(b"old") {
                Decision::Ignore
            } else {
                self.hops.push(item.hops);
                self.accepted_at.push((item.id, ctx.now_ms()));
                Decision::Accept
            };
            if self.defer_ms == 0 {
                self.gossip.decide(&item.id, decision, ctx);
            } else {
                self.deferred.push((ctx.now_ms() + self.defer_ms, item.id, decision));
                ctx.set_timer(DEFERRED, self.defer_ms)?;
            }
        }
        Ok(())
    }
}

/// One of the texts that `many` says: a hundred have one stamp.
pub fn numbered(number: u32) -> String {
    format!("{:08}-{number} {}", number / 100, "x".repeat(150))
}

/// Texts begin with their stamp, or have none.
fn stamp(bytes: &[u8]) -> u64 {
    let digits: String = bytes.iter().map_while(|byte| byte.is_ascii_digit().then_some(char::from(*byte))).collect();
    digits.parse().unwrap_or(0)
}

/// Nodes that run it, each connected with about so many others.
pub fn mesh(nodes: u32, degree: u32, seed: u64, config: Config) -> TestNet {
    let mut net = TestNet::new(Network { nodes, seed, ..Network::default() });
    net.install::<News>(config);
    net.random_mesh(degree);
    net.run_ms(3_000);
    net
}

pub fn count(net: &TestNet, node: u32) -> usize {
    net.plugin::<News, _>(node, |news| news.gossip.len())
}

pub fn stats(net: &TestNet, node: u32) -> Stats {
    net.plugin::<News, _>(node, |news| news.gossip.stats())
}

/// The messages of the wire, as anyone could write them from its description.
#[derive(Serialize, Deserialize)]
pub enum Wire {
    Push(Vec<(u8, Vec<u8>)>),
    Have(Vec<(u8, ItemId)>),
    Held(Vec<ItemId>),
    Prune,
    Graft,
    Join(bool),
    Leave,
}

pub fn wire(message: &Wire) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend(weir_sdk::encode(message).expect("bytes"));
    bytes
}

/// Announces everything it hears of and a lot that nobody has, and hands over nothing.
pub struct Liar(BTreeSet<PeerId>, BTreeSet<ItemId>);

impl Plugin for Liar {
    fn manifest() -> Manifest {
        Manifest::new("news", "0.1.0").protocol(Protocol::new(KEY, "/news/1.0.0"))
    }
    fn start(_: Init, ctx: &Context) -> Result<Self> {
        ctx.set_timer(1, 10)?;
        Ok(Self(BTreeSet::new(), BTreeSet::new()))
    }
    fn on_peer_supported(&mut self, there: Reachable, ctx: &Context) -> Result {
        self.0.insert(there.peer);
        Ok(ctx.send_bytes(there.peer, KEY, &wire(&Wire::Join(true)))?)
    }
    fn on_peer_unsupported(&mut self, lane: Lane, _: &Context) -> Result {
        self.0.remove(&lane.peer);
        Ok(())
    }
    fn on_message(&mut self, message: Message<'_>, ctx: &Context) -> Result {
        let ids: Vec<_> = match weir_sdk::decode(message.body.get(1..).unwrap_or_default())? {
            Wire::Push(items) => items.into_iter().map(|(_, bytes)| ItemId::of(&bytes)).collect(),
            Wire::Have(items) => items.into_iter().map(|(_, id)| id).collect(),
            Wire::Held(ids) => ids,
            _ => return Ok(()),
        };
        // At once, so that it is the first to announce.
        for peer in &self.0 {
            let items = ids.iter().map(|id| (0, *id)).collect();
            let _ = ctx.send_bytes(*peer, KEY, &wire(&Wire::Have(items)));
        }
        self.1.extend(ids);
        Ok(())
    }
    fn on_request(&mut self, _: Request<'_>, _: &Context) -> Result {
        Ok(())
    }
    fn on_timer(&mut self, _: u64, ctx: &Context) -> Result {
        let ids: Vec<_> = (0..20).map(|_| (0, ItemId::of(&ctx.random_number().to_le_bytes()))).collect();
        for peer in &self.0 {
            let _ = ctx.send_bytes(*peer, KEY, &wire(&Wire::Have(ids.clone())));
        }
        ctx.set_timer(1, 200)
    }
}

/// Pushes again and again what it has heard: good items that everybody knows. Or what is rejected, or noise.
pub struct Flooder {
    peers: BTreeSet<PeerId>,
    items: Vec<Vec<u8>>,
    how: String,
    pub sent: u64,
}

impl Plugin for Flooder {
    fn manifest() -> Manifest {
        Manifest::new("news", "0.1.0").protocol(Protocol::new(KEY, "/news/1.0.0"))
    }
    fn start(init: Init, ctx: &Context) -> Result<Self> {
        ctx.set_timer(1, 10)?;
        Ok(Self { peers: BTreeSet::new(), items: Vec::new(), how: init.config()?, sent: 0 })
    }
    fn on_peer_supported(&mut self, there: Reachable, ctx: &Context) -> Result {
        self.peers.insert(there.peer);
        Ok(ctx.send_bytes(there.peer, KEY, &wire(&Wire::Join(true)))?)
    }
    fn on_message(&mut self, message: Message<'_>, _: &Context) -> Result {
        if let Wire::Push(items) = weir_sdk::decode(message.body.get(1..).unwrap_or_default())? {
            self.items.extend(items.into_iter().map(|(_, bytes)| bytes));
        }
        Ok(())
    }
    fn on_timer(&mut self, _: u64, ctx: &Context) -> Result {
        for _ in 0..10 {
            let body = match self.how.as_str() {
                "bad" => wire(&Wire::Push(vec![(0, format!("bad {}", ctx.random_number()).into_bytes())])),
                "noise" => [&[1], &ctx.random_bytes(40)[..]].concat(),
                _ => wire(&Wire::Push(self.items.iter().map(|item| (0, item.clone())).take(20).collect())),
            };
            for peer in &self.peers {
                self.sent += u64::from(ctx.send_bytes(*peer, KEY, &body).is_ok());
            }
        }
        ctx.set_timer(1, 10)
    }
}
