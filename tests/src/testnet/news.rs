//! A plugin that gossips texts, and that does by command whatever else the ABI has: for runs whose every entry is compared.
//!
//! Compiled twice, natively and as the guest `news`.

use serde::{Deserialize, Serialize};
use weir_sdk::abi::Verdict;
use weir_sdk::gossip::{Decision, Gossip, Policy, StoreItems};
use weir_sdk::prelude::*;

/// What it gossips with.
const KEY: ProtocolKey = 1;
/// What it talks with beside that; its messages may overtake each other.
const TALK: ProtocolKey = 2;
/// Registered and given up by command.
const LATE: ProtocolKey = 3;

/// Its timers; the gossip's have greater numbers.
const REPLY: u64 = 1;
const MOVED: u64 = 2;
const CANCELLED: u64 = 3;

const COMMANDS: [&str; 9] = ["say", "talk", "fill", "odd", "later", "fail", "panic", "fatal", "flood"];

/// What an upgrade carries over.
#[derive(Default, Serialize, Deserialize)]
struct Memory {
    peers: Vec<PeerId>,
    heard: u64,
    /// Requests and commands that are answered later.
    held: Vec<u64>,
    asked: Vec<u64>,
}

/// See the module.
pub struct News {
    gossip: Gossip<StoreItems>,
    memory: Memory,
}

impl Plugin for News {
    fn manifest() -> Manifest {
        Manifest::new("news", "0.1.0")
            .protocol(Protocol::new(KEY, "/news/1.0.0"))
            .protocol(Protocol::new(TALK, "/news-talk/1.0.0").max_message(4_096).unordered())
            .capability("protocol:/news-late")
    }

    fn start(init: Init, ctx: &Context) -> Result<Self> {
        let policy = Policy { reconcile_every_ms: 2_000, ..Policy::default() };
        let gossip = Gossip::start(KEY, policy, StoreItems::new("item/", 10_000), &init, ctx)?;
        let memory = init.restore()?.unwrap_or_default();
        ctx.store().put("started", &ctx.random_number())?;
        Ok(Self { gossip, memory })
    }

    fn on_message(&mut self, message: Message<'_>, ctx: &Context) -> Result {
        if message.protocol == KEY {
            self.gossip.on_message(&message, ctx);
            return self.judge(ctx);
        }
        self.memory.heard += 1;
        if self.memory.heard.is_multiple_of(7) {
            ctx.report(message.peer, TALK, Verdict::Useful, "the seventh");
            ctx.pause(TALK, true);
            ctx.set_timer(MOVED, 30)?;
        }
        Ok(())
    }

    fn on_request(&mut self, request: Request<'_>, ctx: &Context) -> Result {
        if request.protocol == KEY {
            self.gossip.on_request(&request, ctx);
            return Ok(());
        }
        match request.body.first() {
            Some(0) => self.memory.held.push(request.id),
            Some(1) => return Err(Error::new("no", "not this one")),
            Some(2) => {
                // What it stages is taken back with the error.
                ctx.store().put("never", &1)?;
                request.respond_bytes(ctx, b"never");
                return Err(Error::new("taken-back", "nothing of it"));
            }
            _ => request.respond_bytes(ctx, request.body),
        }
        ctx.set_timer(REPLY, 150)
    }

    fn on_response(&mut self, response: Response<'_>, ctx: &Context) -> Result {
        if self.gossip.on_response(&response, ctx) {
            return self.judge(ctx);
        }
        self.memory.asked.retain(|id| *id != response.id);
        let outcome = match response.outcome {
            Ok(body) => format!("{} bytes", body.len()),
            Err(error) => Error::from(error).code().to_owned(),
        };
        ctx.store().put(format!("response/{}", response.id), &outcome)
    }

    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        match command.name.as_str() {
            "say" => {
                let id = self.gossip.broadcast(command.args::<String>()?.as_bytes(), ctx)?;
                command.answer(ctx, &id.to_string())
            }
            "talk" => self.talk(&command, ctx),
            "fill" => self.fill(&command, ctx),
            "odd" => self.odd(&command, ctx),
            "later" => {
                self.memory.held.push(command.id);
                ctx.set_timer(REPLY, 250)
            }
            "fail" => {
                ctx.store().put("failed", &command.id)?;
                self.say_all(b"taken back", ctx);
                Err(Error::new("told-so", "it was told to"))
            }
            "panic" => {
                ctx.store().put("panicked", &command.id)?;
                self.say_all(b"never", ctx);
                panic!("it was told to panic")
            }
            "fatal" => Err(Error::fatal("it was told to give up")),
            // More than a turn may stage, by an import that has no way to say no.
            "flood" => {
                for id in 0..10_000 {
                    ctx.cancel_timer(1_000 + id);
                }
                command.answer(ctx, &"unreachable")
            }
            _ => Err(command.unknown(&COMMANDS)),
        }
    }

    fn on_peer_supported(&mut self, there: Reachable, ctx: &Context) -> Result {
        if there.protocol == KEY {
            self.gossip.on_peer_supported(&there, ctx);
        } else if !self.memory.peers.contains(&there.peer) {
            self.memory.peers.push(there.peer);
        }
        Ok(())
    }

    fn on_peer_unsupported(&mut self, lane: Lane, ctx: &Context) -> Result {
        if lane.protocol == KEY {
            self.gossip.on_peer_unsupported(&lane, ctx);
        } else {
            self.memory.peers.retain(|peer| *peer != lane.peer);
        }
        Ok(())
    }

    fn on_relieved(&mut self, lane: Lane, ctx: &Context) -> Result {
        if lane.protocol == KEY {
            self.gossip.on_relieved(&lane, ctx);
        }
        count(b"relieved", ctx)
    }

    fn on_congested(&mut self, _: Lane, ctx: &Context) -> Result {
        count(b"congested", ctx)
    }

    fn on_undelivered(&mut self, lost: Count, ctx: &Context) -> Result {
        if lost.protocol == KEY {
            self.gossip.on_lost(&lost, ctx);
        }
        count(b"undelivered", ctx)
    }

    fn on_missed(&mut self, lost: Count, ctx: &Context) -> Result {
        if lost.protocol == KEY {
            self.gossip.on_lost(&lost, ctx);
        }
        count(b"missed", ctx)
    }

    fn on_withdrawn(&mut self, id: u64, _: &Context) -> Result {
        self.memory.held.retain(|held| *held != id);
        Ok(())
    }

    fn on_timer(&mut self, id: u64, ctx: &Context) -> Result {
        if self.gossip.on_timer(id) {
            return Ok(());
        }
        match id {
            REPLY => {
                for held in std::mem::take(&mut self.memory.held) {
                    // It is one of the two.
                    if !ctx.respond_bytes(held, b"later") {
                        ctx.answer(held, &ctx.monotonic_us())?;
                    }
                }
            }
            MOVED => ctx.pause(TALK, false),
            _ => count(b"stray timer", ctx)?,
        }
        Ok(())
    }

    fn on_turn_end(&mut self, ctx: &Context) -> Result {
        ctx.store().put("heard", &self.memory.heard)?;
        self.gossip.on_turn_end(ctx)
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        weir_sdk::encode(&self.memory)
    }
}

impl News {
    fn judge(&mut self, ctx: &Context) -> Result {
        while let Some(item) = self.gossip.next() {
            let decision = match item.bytes.first() {
                Some(b'!') => Decision::Reject,
                Some(b'?') => Decision::Ignore,
                _ => Decision::Accept,
            };
            self.gossip.decide(&item.id, decision, ctx);
        }
        Ok(())
    }

    fn say_all(&self, body: &[u8], ctx: &Context) -> usize {
        ctx.send_all_bytes(&self.memory.peers, TALK, body).len()
    }

    /// Asks everybody, and takes every third question back.
    fn talk(&mut self, command: &Command<'_>, ctx: &Context) -> Result {
        let kind: u8 = command.args()?;
        let mut refused = self.say_all(&[kind; 100], ctx);
        for (at, peer) in self.memory.peers.clone().into_iter().enumerate() {
            // What is answered later is too late.
            let timeout_ms = if kind == 0 { 60 } else { 200 };
            match ctx.ask_bytes(peer, TALK, timeout_ms, &[kind; 9]) {
                Ok(id) if at % 3 == 2 => ctx.cancel_ask(id),
                Ok(id) => self.memory.asked.push(id),
                Err(_) => refused += 1,
            }
        }
        command.answer(ctx, &refused)
    }

    /// Sends until every lane is full.
    fn fill(&mut self, command: &Command<'_>, ctx: &Context) -> Result {
        let most: usize = command.args()?;
        let (mut taken, mut refused) = (0_usize, Vec::new());
        for peer in &self.memory.peers {
            let error = (0..most).find_map(|_| {
                let sent = ctx.send_bytes(*peer, TALK, &[7; 1_000]);
                taken += usize::from(sent.is_ok());
                sent.err()
            });
            refused.push(error.map_or_else(|| "none".to_owned(), |error| format!("{error:?}")));
        }
        let rooms: Vec<_> = self.memory.peers.iter().map(|peer| ctx.room(*peer, TALK)).collect();
        command.answer(ctx, &(taken, refused, rooms))
    }

    /// Each import in a way that is seldom.
    fn odd(&mut self, command: &Command<'_>, ctx: &Context) -> Result {
        let store = ctx.store();
        store.put_bytes("twice", b"first")?;
        store.put_bytes("twice", b"second")?;
        store.remove("twice");
        store.remove("nothing");
        store.put_bytes("kept", &ctx.random_bytes(20))?;
        let too_long = store.put_bytes([0; 2_000], b"").is_err();
        let found: Vec<String> = store.prefix("k").map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect();
        let back = store.range_reverse(b"a".to_vec(), None).take(3).count();
        ctx.set_timer(MOVED, 500)?;
        ctx.set_timer(MOVED, 20)?;
        ctx.set_timer(CANCELLED, 10)?;
        ctx.cancel_timer(CANCELLED);
        ctx.pause(99, true);
        let late = Protocol::new(LATE, "/news-late/1.0.0");
        let registered = format!("{:?}", ctx.register(&late));
        if registered != "Ok(())" {
            ctx.unregister(LATE);
        }
        ctx.unregister(98);
        let nobody = PeerId::from_bytes([5; 32]);
        let errors = [
            format!("{:?}", ctx.send_bytes(nobody, TALK, b"")),
            format!("{:?}", ctx.send_bytes(nobody, 97, b"")),
            format!("{:?}", self.memory.peers.first().map(|peer| ctx.send_bytes(*peer, TALK, &[0; 5_000]))),
            format!("{:?}", ctx.call("nobody", "x", 10, &0).map_err(|error| error.code().to_owned())),
        ];
        let verified = ctx.verify(&[1; 32], b"message", &[2; 64]);
        let times = (ctx.now_ms(), ctx.monotonic_us());
        command.answer(ctx, &(too_long, found, back, registered, errors, verified, times, store.used()))
    }
}

fn count(what: &[u8], ctx: &Context) -> Result {
    let before: u64 = ctx.store().get(what)?.unwrap_or(0);
    ctx.store().put(what, &(before + 1))
}
