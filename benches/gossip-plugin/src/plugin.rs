//! The plugin itself.

use weir_sdk::gossip::{Decision, Gossip, Policy};
use weir_sdk::prelude::*;

use crate::batch::Batch;
use crate::commands::{Awaited, PublishArgs, Published, Status, WaitArgs};
use crate::shelf::Shelf;

/// Its name, which is part of what it signs.
pub const NAME: &str = "spread";
/// The key of the one protocol.
pub const PROTOCOL: ProtocolKey = 1;
const MAX_MESSAGE: u32 = 256 << 10;
/// Fires while there is more to publish.
const PUBLISH: u64 = 1;
/// Items that one turn publishes: what gossip queues for one peer is four times as much.
const ITEMS: usize = 64;

/// Messages that are still to be published.
struct Publishing {
    command: u64,
    args: PublishArgs,
    left: u64,
}

/// See the crate.
pub struct Spread {
    gossip: Gossip<Shelf>,
    node: PeerId,
    /// What one turn may send.
    turn_bytes: usize,
    publishing: Option<Publishing>,
    /// Numbers the messages, so that no two are alike.
    published: u64,
    delivered: u64,
    /// A command that waits until so many were delivered.
    waiting: Option<(u64, u64)>,
}

/// As many as the network takes: the defaults are for strangers, 1,000 items a second of each peer.
fn policy() -> Policy {
    let unbounded = (1 << 20, 1 << 22);
    let (items, ids, asks, unwanted) = (unbounded, unbounded, unbounded, unbounded);
    let (bytes, served) = ((1 << 30, 1 << 32), (1 << 30, 1 << 32));
    Policy { items, ids, asks, unwanted, bytes, served, ..Policy::default() }
}

impl Plugin for Spread {
    fn manifest() -> Manifest {
        Manifest::new(NAME, env!("CARGO_PKG_VERSION"))
            .description("Publishes signed messages and counts them")
            .capability("sign")
            .protocol(Protocol::new(PROTOCOL, "/spread/1.0.0").max_message(MAX_MESSAGE))
    }

    fn start(init: Init, ctx: &Context) -> Result<Self> {
        Ok(Self {
            gossip: Gossip::start(PROTOCOL, policy(), Shelf::default(), &init, ctx)?,
            node: init.node,
            turn_bytes: init.limits.turn_bytes as usize,
            publishing: None,
            published: 0,
            delivered: 0,
            waiting: None,
        })
    }

    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        match command.name.as_str() {
            "publish" => {
                let args: PublishArgs = command.args()?;
                self.publishing = Some(Publishing { command: command.id, args, left: args.count });
                self.publish_on(ctx)
            }
            "wait" => {
                let args: WaitArgs = command.args()?;
                self.waiting = Some((command.id, args.delivered));
                self.tell(ctx)
            }
            "status" => {
                let (eager, lazy) = self.gossip.active_view();
                let gossip = serde_json::to_value(self.gossip.stats())?;
                let view = eager.len() + lazy.len();
                command.answer(ctx, &Status { delivered: self.delivered, view, gossip })
            }
            _ => Err(command.unknown(&["publish", "wait", "status"])),
        }
    }

    fn on_timer(&mut self, timer: u64, ctx: &Context) -> Result {
        if self.gossip.on_timer(timer) { Ok(()) } else { self.publish_on(ctx) }
    }

    weir_sdk::gossip_events!(gossip, judge: on_message on_request on_response on_peer_supported
        on_peer_unsupported on_relieved on_undelivered on_missed on_turn_end);
}

impl Spread {
    /// Publishes what the lanes and the turn take, and the rest in later turns. Half of the room, because what a lane does
    /// not take is no longer pushed: gossip announces it, and it is asked for half a second later.
    fn publish_on(&mut self, ctx: &Context) -> Result {
        let Some(publishing) = &mut self.publishing else { return Ok(()) };
        let PublishArgs { size, batch, .. } = publishing.args;
        let (eager, _) = self.gossip.active_view();
        let room = eager.iter().map(|peer| ctx.room(*peer, PROTOCOL) as usize).min().unwrap_or(0);
        let share = (room / 2).min(self.turn_bytes / 2 / eager.len().max(1));
        let item = batch.max(1) as usize * size as usize;
        for _ in 0..(share / item.max(1)).min(ITEMS) {
            let messages = u64::from(batch.max(1)).min(publishing.left);
            if messages == 0 {
                break;
            }
            let first = self.published;
            let bodies: Vec<_> = (first..first + messages).map(|number| numbered(number, size as usize)).collect();
            self.gossip.broadcast(&Batch::write(self.node, &bodies, ctx), ctx)?;
            self.published += messages;
            publishing.left -= messages;
        }
        if publishing.left > 0 {
            return ctx.set_timer(PUBLISH, 0);
        }
        ctx.answer(publishing.command, &Published { messages: publishing.args.count })?;
        self.publishing = None;
        Ok(())
    }

    /// Nothing goes on that its author has not signed.
    fn judge(&mut self, ctx: &Context) -> Result {
        while let Some(item) = self.gossip.next() {
            let signed = Batch::read(&item.bytes).filter(|batch| batch.is_signed(&item.id, NAME, ctx));
            self.delivered += signed.as_ref().map_or(0, |batch| batch.len() as u64);
            let decision = if signed.is_some() { Decision::Accept } else { Decision::Reject };
            self.gossip.decide(&item.id, decision, ctx);
        }
        self.tell(ctx)
    }

    /// Answers who waits when enough have come.
    fn tell(&mut self, ctx: &Context) -> Result {
        if let Some((command, wanted)) = self.waiting
            && self.delivered >= wanted
        {
            self.waiting = None;
            ctx.answer(command, &Awaited { delivered: self.delivered })?;
        }
        Ok(())
    }
}

fn numbered(number: u64, size: usize) -> Vec<u8> {
    let mut message = vec![7; size.max(8)];
    message[..8].copy_from_slice(&number.to_le_bytes());
    message
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_sdk::testing::{Network, TestNet};

    use super::*;

    #[test]
    fn everybody_gets_every_message_whether_signed_alone_or_together() {
        let mut net = TestNet::new(Network { nodes: 4, ..Network::default() });
        net.install::<Spread>(());
        net.random_mesh(3);
        net.run_ms(1_000);
        for batch in [1, 16] {
            net.command(0, "publish", &json!({"count": 100, "size": 256, "batch": batch})).expect("published");
        }
        net.run_ms(2_000);
        let delivered = |node| net.plugin::<Spread, _>(node, |spread| spread.delivered);
        assert_eq!((1..4).map(delivered).collect::<Vec<_>>(), [200; 3]);
    }
}
