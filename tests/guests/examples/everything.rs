//! Uses every part of the ABI, each by a command of its own. It notes the events it hears; `events` shows them.

use serde::{Deserialize, Serialize};
use weir_sdk::abi::{Cause, Verdict};
use weir_sdk::prelude::*;

/// Speaks whatever the other side sends: the first word of a body says what is to happen.
const MAIN: ProtocolKey = 1;
/// No protocol has it.
const NOBODYS: ProtocolKey = 99;

/// What it remembers, across an upgrade too.
#[derive(Default, Serialize, Deserialize)]
struct Everything {
    events: Vec<String>,
    /// Requests of peers that wait for the command `release`.
    held: Vec<u64>,
    /// Asks and calls of ours, and the command that gets their outcome.
    open: Vec<(u64, u64)>,
    /// Protocols registered at run time, to be registered again by the next instance.
    rooms: Vec<(ProtocolKey, String)>,
    /// Who can be reached by the main protocol.
    peers: Vec<PeerId>,
    /// The next end of a turn stages a write and fails.
    fail_turn_end: bool,
}

/// Arguments of all commands; each takes what it needs.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Args {
    peer: Option<PeerId>,
    key: ProtocolKey,
    id: String,
    text: String,
    number: u64,
    timeout_ms: u32,
    plugin: String,
    args: serde_json::Value,
    on: bool,
}

impl Args {
    fn peer(&self) -> Result<PeerId> {
        self.peer.ok_or_else(|| Error::new("bad-arguments", "`peer` is missing"))
    }
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

/// What hexadecimal digits stand for; nothing where they are none.
fn bytes(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).filter_map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Everything {
    fn note(&mut self, event: impl Into<String>) {
        self.events.push(event.into());
    }

    fn settle(&mut self, id: u64, outcome: Result<serde_json::Value>, ctx: &Context) -> Result {
        let Some(at) = self.open.iter().position(|(open, _)| *open == id) else {
            self.note(format!("outcome of unknown {id}"));
            return Ok(());
        };
        let (_, command) = self.open.remove(at);
        match outcome {
            Ok(value) => ctx.answer(command, &value).map(drop),
            Err(error) => {
                ctx.fail(command, error);
                Ok(())
            }
        }
    }

    /// Sends until the lane is full, and answers how many it took.
    fn fill(&self, args: &Args, command: &Command<'_>, ctx: &Context) -> Result {
        let body = vec![0_u8; 16 << 10];
        let mut taken = 0;
        let refused = loop {
            match ctx.send_bytes(args.peer()?, MAIN, &body) {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
        };
        command.answer(ctx, &serde_json::json!({"taken": taken, "refused": refused.name()}))
    }

    /// Stages what has no effect, then something that counts, and lets the end of the turn fail: exactly what the end
    /// of the turn staged may be taken back.
    fn miscount(&mut self, what: &str, command: &Command<'_>, ctx: &Context) -> Result {
        match what {
            "send-all" => drop(ctx.send_all_bytes(&[PeerId::from_bytes([1; 32])], MAIN, b"to nobody")),
            "unregister" => ctx.unregister(NOBODYS),
            "pause" => ctx.pause(NOBODYS, true),
            "report" => ctx.report(PeerId::from_bytes([1; 32]), NOBODYS, Verdict::Useful, "nothing"),
            "cancel" => (ctx.cancel_ask(12_345), ctx.cancel_timer(12_345)).0,
            "remove" => ctx.store().remove("not there"),
            "respond" => drop(ctx.respond_bytes(12_345, b"to nobody")),
            _ => return Err(Error::new("bad-arguments", "`text` names no effect")),
        }
        ctx.store().put("kept", what)?;
        self.fail_turn_end = true;
        command.answer(ctx, &serde_json::json!({}))
    }
}

impl Plugin for Everything {
    fn manifest() -> Manifest {
        Manifest::new("everything", "0.1.0")
            .description("uses every part of the ABI")
            .protocol(Protocol::new(MAIN, "/everything/1.0.0"))
            .capability("sign")
            .capability("call:ping")
            .capability("call:everything")
            .capability("call:nobody")
            .capability("protocol:/room")
    }

    fn start(init: Init, ctx: &Context) -> Result<Self> {
        let mut this: Self = init.restore()?.unwrap_or_default();
        for (key, id) in &this.rooms {
            ctx.register(&Protocol::new(*key, id.clone()))?;
        }
        this.note(match init.cause {
            Cause::Load => "started at load",
            Cause::Crash => "started after a crash",
            Cause::Upgrade => "started by an upgrade",
            Cause::Boot | Cause::Rollback => "started otherwise",
        });
        Ok(this)
    }

    fn on_message(&mut self, message: Message<'_>, ctx: &Context) -> Result {
        let body = text(message.body);
        match body.split_once(' ').unwrap_or((&body, "")) {
            // Everything that can be staged, and then an error: none of it may come to be.
            ("fail", key) => {
                ctx.store().put(format!("fail {key}"), &1)?;
                ctx.store().remove("first");
                ctx.send_bytes(message.peer, MAIN, b"note of a failed event")?;
                ctx.set_timer(666, 0)?;
                ctx.register(&Protocol::new(66, "/room/failed"))?;
                ctx.pause(MAIN, true);
                return Err(Error::new("told-so", "the message said so"));
            }
            ("put", key) => ctx.store().put(key, &1)?,
            ("panic", why) => panic!("{why}"),
            ("note", _) => self.note(body),
            _ => {}
        }
        Ok(())
    }

    fn on_request(&mut self, request: Request<'_>, ctx: &Context) -> Result {
        match request.body {
            b"refuse" => Err(Error::new("no-way", "asked to refuse")),
            b"large" => {
                request.respond_bytes(ctx, &vec![0; 2 << 20]);
                Ok(())
            }
            b"hold" => {
                self.held.push(request.id);
                self.note("hold");
                Ok(())
            }
            b"panic" => panic!("a request said so"),
            body => {
                let mut answer = body.to_vec();
                answer.reverse();
                request.respond_bytes(ctx, &answer);
                Ok(())
            }
        }
    }

    fn on_response(&mut self, response: Response<'_>, ctx: &Context) -> Result {
        let outcome = response.outcome.clone().map(|body| serde_json::json!(text(body))).map_err(Error::from);
        self.settle(response.id, outcome, ctx)
    }

    fn on_called(&mut self, called: Called<'_>, ctx: &Context) -> Result {
        self.settle(called.id, called.decode(), ctx)
    }

    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        let args: Args = command.args()?;
        match command.name.as_str() {
            "events" => command.answer(ctx, &self.events),
            "keys" => {
                let keys: Vec<_> = ctx.store().prefix("").map(|(key, _)| text(&key)).collect();
                command.answer(ctx, &keys)
            }
            "clock" => {
                let (mut now, mut turn) = (ctx.monotonic_us(), Vec::new());
                // Goes on within the turn, unlike the date.
                while turn.len() < 3 {
                    let later = ctx.monotonic_us();
                    turn.extend((later != now).then_some(later));
                    now = later;
                }
                command.answer(ctx, &turn)
            }
            "caller" => command.answer(ctx, &format!("{:?}", command.caller)),
            "ask" => {
                let ask = ctx.ask_bytes(args.peer()?, MAIN, args.timeout_ms, args.text.as_bytes())?;
                self.open.push((ask, command.id));
                Ok(())
            }
            // The outcome of the ask is for nobody, so only the cancelling is seen.
            "ask-and-forget" => {
                let ask = ctx.ask_bytes(args.peer()?, MAIN, args.timeout_ms, args.text.as_bytes())?;
                command.answer(ctx, &ask)
            }
            "cancel" => {
                ctx.cancel_ask(args.number);
                command.answer(ctx, &serde_json::json!({}))
            }
            "release" => {
                let held = std::mem::take(&mut self.held);
                let waited = held.into_iter().filter(|request| ctx.respond_bytes(*request, args.text.as_bytes()));
                let waited = waited.count();
                command.answer(ctx, &waited)
            }
            "timer" => {
                ctx.set_timer(args.number, args.timeout_ms.into())?;
                command.answer(ctx, &serde_json::json!({}))
            }
            "cancel-timer" => {
                ctx.cancel_timer(args.number);
                command.answer(ctx, &serde_json::json!({}))
            }
            "call" => {
                let call = ctx.call(&args.plugin, &args.text, args.timeout_ms, &args.args)?;
                self.open.push((call, command.id));
                Ok(())
            }
            "register" => {
                ctx.register(&Protocol::new(args.key, args.id.clone()))?;
                self.rooms.push((args.key, args.id));
                command.answer(ctx, &serde_json::json!({}))
            }
            "unregister" => {
                ctx.unregister(args.key);
                self.rooms.retain(|(key, _)| *key != args.key);
                command.answer(ctx, &serde_json::json!({}))
            }
            "send" => {
                ctx.send_bytes(args.peer()?, args.key, args.text.as_bytes())?;
                command.answer(ctx, &serde_json::json!({}))
            }
            "fill" => self.fill(&args, &command, ctx),
            "pause" => {
                ctx.pause(MAIN, args.on);
                command.answer(ctx, &serde_json::json!({}))
            }
            "sign" => {
                let signature = ctx.sign(args.text.as_bytes());
                command.answer(ctx, &hex(&signature))
            }
            "verify" => {
                let parts: Vec<_> = args.text.split(' ').map(bytes).collect();
                let [key, message, signature] = &parts[..] else { return Err(Error::new("usage", "three parts")) };
                command.answer(ctx, &ctx.verify(key, message, signature))
            }
            "hash" => command.answer(ctx, &hex(&weir_sdk::sha256(args.text.as_bytes()))),
            "miscount" => self.miscount(&args.text, &command, ctx),
            "log" => {
                weir_sdk::info!("{}", args.text);
                command.answer(ctx, &serde_json::json!({}))
            }
            "never" => Ok(()),
            "panic" => panic!("a command said so"),
            _ => Err(command.unknown(&["events", "keys", "ask", "call", "register", "send", "timer"])),
        }
    }

    fn on_peer_supported(&mut self, reachable: Reachable, _: &Context) -> Result {
        if reachable.protocol == MAIN && !self.peers.contains(&reachable.peer) {
            self.peers.push(reachable.peer);
        }
        self.note(format!("supported {}", reachable.protocol));
        Ok(())
    }

    fn on_peer_unsupported(&mut self, lane: Lane, _: &Context) -> Result {
        if lane.protocol == MAIN {
            self.peers.retain(|peer| *peer != lane.peer);
        }
        self.note(format!("unsupported {}", lane.protocol));
        Ok(())
    }

    fn on_congested(&mut self, _: Lane, _: &Context) -> Result {
        self.note("congested");
        Ok(())
    }

    fn on_relieved(&mut self, _: Lane, _: &Context) -> Result {
        self.note("relieved");
        Ok(())
    }

    fn on_undelivered(&mut self, count: Count, _: &Context) -> Result {
        self.note(format!("undelivered {}", count.messages));
        Ok(())
    }

    fn on_missed(&mut self, count: Count, _: &Context) -> Result {
        self.note(format!("missed {}", count.messages));
        Ok(())
    }

    fn on_withdrawn(&mut self, id: u64, _: &Context) -> Result {
        self.held.retain(|held| *held != id);
        self.note("withdrawn");
        Ok(())
    }

    fn on_timer(&mut self, id: u64, _: &Context) -> Result {
        self.note(format!("timer {id}"));
        Ok(())
    }

    fn on_stopping(&mut self, ctx: &Context) -> Result {
        ctx.send_all_bytes(&self.peers, MAIN, b"note farewell");
        ctx.store().put("stopped", &1)
    }

    fn on_turn_end(&mut self, ctx: &Context) -> Result {
        if std::mem::take(&mut self.fail_turn_end) {
            ctx.store().put("dropped", &1)?;
            return Err(Error::new("told-so", "the end of the turn fails"));
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        weir_sdk::encode(self)
    }
}

weir_sdk::export!(Everything);
