//! The plugin itself.

use std::collections::BTreeMap;

use weir_sdk::prelude::*;
use weir_sdk::renamable::{self, Place};

use crate::commands::{AskArgs, Asked, Config, FloodArgs, Flooded};

/// The key of the first protocol, and of the only one unless the name ends in `-x` and how many there are.
pub const PROTOCOL: ProtocolKey = 1;
static NAME: Place = *b"weir renamable: load\0\0\0\0\0\0\0\0\0\0\0\0";
/// Keys that messages are kept under, again and again.
const KEYS: u64 = 1_024;
const MAX_MESSAGE: u32 = 1 << 20;
const TIMEOUT_MS: u32 = 30_000;
/// Fires while a flood has work for the next turn.
const PUMP: u64 = 0;

/// Messages to one peer by one protocol that are still to be sent.
struct Flow {
    lane: Lane,
    left: u64,
    /// Its lane is full.
    waits: bool,
}

struct Flood {
    command: u64,
    flows: Vec<Flow>,
    body: Vec<u8>,
    sent: u64,
}

struct Asking {
    command: u64,
    peer: PeerId,
    left: u64,
    body: Vec<u8>,
    concurrency: usize,
    /// When each open one was asked, in microseconds.
    open: BTreeMap<u64, u64>,
    took_us: Vec<u32>,
    began_us: u64,
}

/// See the crate.
pub struct Load {
    /// Messages that were kept, if they are.
    kept: Option<u64>,
    flood: Option<Flood>,
    asking: Option<Asking>,
    /// Messages of one turn: a share of what a turn may do.
    messages: u32,
    bytes: usize,
}

impl Plugin for Load {
    fn manifest() -> Manifest {
        let name = renamable::name(&NAME);
        let protocols = name.rsplit_once("-x").and_then(|(_, number)| number.parse().ok()).unwrap_or(1);
        let protocol =
            |number| Protocol::new(PROTOCOL + number, format!("/{name}/1.0.{number}")).max_message(MAX_MESSAGE);
        let manifest = Manifest::new(&name, env!("CARGO_PKG_VERSION")).description("Sends and counts");
        (0..protocols).map(protocol).fold(manifest, Manifest::protocol)
    }

    fn start(init: Init, _: &Context) -> Result<Self> {
        let (effects, bytes) = (init.limits.turn_effects, init.limits.turn_bytes as usize);
        let config: Option<Config> = init.config()?;
        let kept = config.unwrap_or_default().keep.then_some(0);
        Ok(Self { kept, flood: None, asking: None, messages: (effects / 4).clamp(1, 1_024), bytes: bytes / 4 })
    }

    fn on_message(&mut self, message: Message<'_>, ctx: &Context) -> Result {
        // The host counts.
        let Some(kept) = &mut self.kept else { return Ok(()) };
        *kept += 1;
        ctx.store().put_bytes((*kept % KEYS).to_le_bytes(), message.body)?;
        Ok(())
    }

    fn on_request(&mut self, request: Request<'_>, ctx: &Context) -> Result {
        request.respond_bytes(ctx, request.body);
        Ok(())
    }

    fn on_response(&mut self, response: Response<'_>, ctx: &Context) -> Result {
        let Some(asking) = &mut self.asking else { return Ok(()) };
        let Some(asked_us) = asking.open.remove(&response.id) else { return Ok(()) };
        if let Err(error) = &response.outcome {
            let command = asking.command;
            self.asking = None;
            ctx.fail(command, Error::from(error.clone()));
            return Ok(());
        }
        asking.took_us.push(ctx.monotonic_us().saturating_sub(asked_us) as u32);
        self.ask_on(ctx)
    }

    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        match command.name.as_str() {
            "flood" => {
                let args: FloodArgs = command.args()?;
                let protocols = PROTOCOL..PROTOCOL + args.protocols;
                let lanes =
                    args.peers.iter().flat_map(|peer| protocols.clone().map(|protocol| Lane { peer: *peer, protocol }));
                let flows = lanes.map(|lane| Flow { lane, left: args.count, waits: false }).collect();
                self.flood = Some(Flood { command: command.id, flows, body: vec![7; args.size as usize], sent: 0 });
                Ok(())
            }
            "ask" => {
                let args: AskArgs = command.args()?;
                self.asking = Some(Asking {
                    command: command.id,
                    peer: args.peer,
                    left: args.count,
                    body: vec![7; args.size as usize],
                    concurrency: args.concurrency as usize,
                    open: BTreeMap::new(),
                    took_us: Vec::with_capacity(args.count as usize),
                    began_us: ctx.monotonic_us(),
                });
                self.ask_on(ctx)
            }
            _ => Err(command.unknown(&["flood", "ask"])),
        }
    }

    fn on_relieved(&mut self, lane: Lane, _: &Context) -> Result {
        if let Some(flood) = &mut self.flood {
            flood.flows.iter_mut().filter(|flow| flow.lane == lane).for_each(|flow| flow.waits = false);
        }
        Ok(())
    }

    fn on_timer(&mut self, _: u64, _: &Context) -> Result {
        // It was for the turn.
        Ok(())
    }

    /// Once a turn, whatever it brought: many lanes are relieved at once, and together they have one turn's budget.
    fn on_turn_end(&mut self, ctx: &Context) -> Result {
        self.flood_on(ctx)
    }
}

impl Load {
    /// Sends what lanes and the turn take.
    fn flood_on(&mut self, ctx: &Context) -> Result {
        let Some(flood) = &mut self.flood else { return Ok(()) };
        let messages = (self.messages / flood.flows.len().max(1) as u32).max(1);
        let bytes = self.bytes / flood.flows.len().max(1);
        let mut more = false;
        for flow in flood.flows.iter_mut().filter(|flow| !flow.waits) {
            let fit = (bytes / flood.body.len().max(1)).max(1) as u64;
            let mut turn = flow.left.min(messages.into()).min(fit);
            while turn > 0 {
                match ctx.send_bytes(flow.lane.peer, flow.lane.protocol, &flood.body) {
                    Ok(()) => (flow.left, flood.sent, turn) = (flow.left - 1, flood.sent + 1, turn - 1),
                    Err(SendError::Busy) => {
                        flow.waits = true;
                        break;
                    }
                    Err(SendError::OverBudget) => break,
                    Err(error) => {
                        ctx.fail(flood.command, error.into());
                        self.flood = None;
                        return Ok(());
                    }
                }
            }
            more |= flow.left > 0 && !flow.waits;
        }
        if more {
            ctx.set_timer(PUMP, 0)?;
        }
        if flood.flows.iter().all(|flow| flow.left == 0) {
            ctx.answer(flood.command, &Flooded { messages: flood.sent })?;
            self.flood = None;
        }
        Ok(())
    }

    /// Asks until enough are open; answers when all have come.
    fn ask_on(&mut self, ctx: &Context) -> Result {
        let Some(asking) = &mut self.asking else { return Ok(()) };
        while asking.open.len() < asking.concurrency && asking.left > 0 {
            match ctx.ask_bytes(asking.peer, PROTOCOL, TIMEOUT_MS, &asking.body) {
                Ok(ask) => asking.open.insert(ask, ctx.monotonic_us()),
                Err(error) => {
                    ctx.fail(asking.command, error.into());
                    self.asking = None;
                    return Ok(());
                }
            };
            asking.left -= 1;
        }
        if asking.open.is_empty() && asking.left == 0 {
            let took_us = std::mem::take(&mut asking.took_us);
            let elapsed_us = ctx.monotonic_us().saturating_sub(asking.began_us);
            ctx.answer(asking.command, &Asked { took_us, elapsed_us })?;
            self.asking = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_sdk::testing::TestHost;

    use super::*;

    #[test]
    fn a_flood_is_sent_whole_and_then_answered() {
        let mut host = TestHost::new::<Load>(());
        let peer = host.peer(1);
        let done =
            host.command("flood", json!({"peers": [peer], "count": 5_000, "size": 256, "protocols": 1})).expect("sent");
        assert_eq!(done, json!({"messages": 5_000}));
    }
}
