//! The plugin around the pot: commands, gossip, questions to the plugin `staking`, claims by comparison, missing declarations
//! by id.

mod claims;
mod items;
mod missing;

use weir_ledger::{Genesis, PluginStore};
use weir_sdk::gossip::{Decision, Gossip, ItemId, Policy};
use weir_sdk::prelude::*;

use self::claims::Comparing;
use self::items::PotItems;
use self::missing::Asking;
use crate::commands;
use crate::items::{Body, Item};
use crate::pot::{Ignored, Pot, Verdict};
use crate::staking::Question;

/// The key of the one protocol.
pub const PROTOCOL: ProtocolKey = 1;
/// Its id.
pub const PROTOCOL_ID: &str = "/dividend/1.0.0";

/// The plugin that says who has stake.
const STAKING: &str = "staking";
const MAX_MESSAGE: u32 = 64 * 1024;
/// There is work for another turn.
const WORK: u64 = 1;
/// Staking is asked for news, and peers for what is missing.
const TICK: u64 = 2;
const TICK_MS: u64 = 1_000;
/// Ticks after which a plan that does not get on is made anew: staking may have gone back meanwhile.
const STUCK: u32 = 10;
const CALL_MS: u32 = 10_000;
/// Items that one turn takes, four writes each; the rest waits for the next turn.
const MAX_ITEMS: usize = 200;
/// Writes of one turn: a quarter of the effects it may stage.
const PIECE: usize = 1_000;
const COMMANDS: [&str; 5] = ["submit", "list", "entitlement", "entitlements", "root"];

/// The plugin.
pub struct Dividend {
    pot: Pot,
    gossip: Gossip<PotItems>,
    asking: Asking,
    comparing: Comparing,
    /// Claims that go along the tree: with the next tick but one they are no part of what gossip compares any more.
    passing: [Vec<ItemId>; 2],
    /// The call that staking has not answered yet.
    call: Option<(u64, Question)>,
    /// Whether to ask for news: at the beginning, and with every tick.
    ask_news: bool,
    stuck: u32,
    /// Items that this turn has taken.
    taken: usize,
}

impl Plugin for Dividend {
    fn manifest() -> Manifest {
        Manifest::new("dividend", "1.1.0")
            .description("Dividends by stake on a record date, claimed by signed records")
            .protocol(Protocol::new(PROTOCOL, PROTOCOL_ID).max_message(MAX_MESSAGE))
            .data(2, 1)
            .capability(format!("call:{STAKING}"))
    }

    fn start(init: Init, ctx: &Context) -> Result<Self> {
        let genesis = Genesis::parse(&init.config).map_err(|error| Error::new(error.code(), error.to_string()))?;
        let store = PluginStore::new(ctx);
        let pot = Pot::open(genesis, &store).map_err(|error| Error::new("other-genesis", error.to_string()))?;
        let gossip = Gossip::start(PROTOCOL, Policy::default(), PotItems, &init, ctx)?;
        ctx.set_timer(TICK, 0)?;
        Ok(Self {
            pot,
            gossip,
            asking: Asking::default(),
            comparing: Comparing::default(),
            passing: [Vec::new(), Vec::new()],
            call: None,
            ask_news: true,
            stuck: 0,
            taken: 0,
        })
    }

    fn on_message(&mut self, message: Message<'_>, ctx: &Context) -> Result {
        if !self.gossip.on_message(&message, ctx) && !self.comparing.on_message(&message, &self.pot) {
            ctx.report(message.peer, PROTOCOL, weir_sdk::abi::Verdict::Invalid, "a message that is none");
        }
        self.judge(ctx)
    }

    fn on_request(&mut self, request: Request<'_>, ctx: &Context) -> Result {
        if !self.gossip.on_request(&request, ctx) {
            let store = PluginStore::new(ctx);
            match request.body.first() {
                Some(&(claims::GROUPS | claims::WANTED)) => self.comparing.serve(&request, &self.pot, &store, ctx),
                _ => missing::serve(&request, &self.pot, &store, ctx),
            }
        }
        Ok(())
    }

    fn on_response(&mut self, response: Response<'_>, ctx: &Context) -> Result {
        if self.gossip.on_response(&response, ctx) {
            return self.judge(ctx);
        }
        if let Some((peer, claims)) = self.comparing.on_response(&response) {
            self.taken += claims.len();
            return self.take(peer, claims.iter().map(Vec::as_slice), ctx);
        }
        match self.asking.on_response(&response) {
            Some((peer, item)) => self.take(peer, [item], ctx),
            None => Ok(()),
        }
    }

    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        let mut store = PluginStore::new(ctx);
        let pot = &mut self.pot;
        match command.name.as_str() {
            "submit" => {
                let (answer, item) = commands::submit(pot, &command.args()?, &mut store, ctx)?;
                // What was known may be settled, and is no news then.
                if !answer.known {
                    let id = self.gossip.broadcast(&item, ctx)?;
                    self.note_passing(id, &item);
                }
                command.answer(ctx, &answer)?;
            }
            "list" => command.answer(ctx, &commands::list(pot, &command.args()?, &store)?)?,
            "entitlement" => command.answer(ctx, &commands::entitlement(pot, &command.args()?, &store)?)?,
            "entitlements" => command.answer(ctx, &commands::entitlements(pot, &command.args()?, &store)?)?,
            "root" => command.answer(ctx, &commands::root(pot)?)?,
            _ => return Err(command.unknown(&COMMANDS)),
        }
        store.finish()
    }

    fn on_called(&mut self, called: Called<'_>, ctx: &Context) -> Result {
        let Some((_, question)) = self.call.take_if(|(id, _)| *id == called.id) else { return Ok(()) };
        let mut store = PluginStore::new(ctx);
        let answered = match question {
            Question::Epochs(_) => called.decode().map(|answer| self.pot.answer_epochs(answer, &mut store)),
            Question::Anchors(_) => called.decode().map(|answer| self.pot.answer_anchors(answer)),
            Question::Stakes(_) => called.decode().map(|answer| self.pot.answer_stakes(answer)),
        };
        if let Err(error) = answered {
            weir_sdk::debug!("staking does not answer: {error}");
            self.pot.forget_plan();
        }
        store.finish()
    }

    fn on_peer_supported(&mut self, there: Reachable, ctx: &Context) -> Result {
        self.gossip.on_peer_supported(&there, ctx);
        self.asking.on_peer(there.peer);
        self.comparing.on_peer(there.peer, &self.pot, ctx);
        Ok(())
    }

    fn on_peer_unsupported(&mut self, lane: Lane, ctx: &Context) -> Result {
        self.gossip.on_peer_unsupported(&lane, ctx);
        self.asking.on_peer_gone(lane.peer);
        self.comparing.on_peer_gone(lane.peer);
        Ok(())
    }

    weir_sdk::gossip_events!(gossip: on_relieved on_undelivered on_missed);

    fn on_timer(&mut self, id: u64, ctx: &Context) -> Result {
        if self.gossip.on_timer(id) || id != TICK {
            return Ok(());
        }
        ctx.set_timer(TICK, TICK_MS)?;
        self.ask_news = true;
        self.asking.tick();
        self.comparing.tick(&self.pot, ctx);
        self.passing.swap(0, 1);
        for id in std::mem::take(&mut self.passing[0]) {
            self.gossip.forget(&id, true);
        }
        self.stuck += 1;
        if self.stuck >= STUCK {
            self.stuck = 0;
            self.pot.forget_plan();
        }
        Ok(())
    }

    fn on_turn_end(&mut self, ctx: &Context) -> Result {
        self.judge(ctx)?;
        self.taken = 0;
        let before = self.pot.meta().epoch;
        let mut store = PluginStore::new(ctx);
        let more = self.pot.step(&mut store, PIECE);
        store.finish()?;
        if self.pot.meta().epoch != before {
            self.stuck = 0;
        }
        if more || self.gossip.waiting().1 > 0 {
            ctx.set_timer(WORK, 0)?;
        }
        self.ask_staking(ctx);
        self.asking.ask(&self.pot, ctx);
        self.comparing.ask(&self.pot, ctx);
        for standing in self.pot.take_standings() {
            standing.tell(&mut self.gossip);
        }
        self.gossip.on_turn_end(ctx)
    }
}

impl Dividend {
    /// The pot, for tests.
    pub fn pot(&self) -> &Pot {
        &self.pot
    }

    /// How many items nodes compare now, for tests.
    pub fn reconciled(&self) -> usize {
        self.gossip.len()
    }

    fn ask_staking(&mut self, ctx: &Context) {
        if self.call.is_some() {
            return;
        }
        let Some(question) = self.pot.question() else { return };
        if matches!(question, Question::Epochs(_)) && !std::mem::take(&mut self.ask_news) {
            return;
        }
        let command = question.command();
        let call = match &question {
            Question::Epochs(args) => ctx.call(STAKING, command, CALL_MS, args),
            Question::Anchors(args) => ctx.call(STAKING, command, CALL_MS, args),
            Question::Stakes(args) => ctx.call(STAKING, command, CALL_MS, args),
        };
        match call {
            Ok(id) => self.call = Some((id, question)),
            Err(error) => weir_sdk::debug!("staking cannot be asked: {error}"),
        }
    }

    /// Takes what a peer answered with.
    fn take<'a>(&mut self, peer: PeerId, items: impl IntoIterator<Item = &'a [u8]>, ctx: &Context) -> Result {
        let mut store = PluginStore::new(ctx);
        for item in items {
            if let Verdict::Rejected(why) = self.pot.receive(item, &mut store, ctx).verdict {
                ctx.report(peer, PROTOCOL, weir_sdk::abi::Verdict::Invalid, why.code());
            }
        }
        store.finish()
    }

    fn note_passing(&mut self, id: ItemId, bytes: &[u8]) {
        if Item::decode(bytes).is_ok_and(|item| matches!(item.body(), Body::Claim { .. })) {
            self.passing[1].push(id);
        }
    }

    /// Decides on what the gossip brought.
    fn judge(&mut self, ctx: &Context) -> Result {
        let mut store = PluginStore::new(ctx);
        while let Some(incoming) = if self.taken < MAX_ITEMS { self.gossip.next() } else { None } {
            self.taken += 1;
            let verdict = self.pot.receive(&incoming.bytes, &mut store, ctx).verdict;
            let decision = match &verdict {
                Verdict::Accepted => Decision::Accept,
                Verdict::Ignored(_) => Decision::Ignore,
                Verdict::Rejected(_) => Decision::Reject,
            };
            self.gossip.decide(&incoming.id, decision, ctx);
            if verdict == Verdict::Accepted {
                self.note_passing(incoming.id, &incoming.bytes);
            }
            if let Verdict::Ignored(Ignored::NoStake | Ignored::TooMany) = verdict {
                // Its time may come: reconciliation brings it again.
                self.gossip.forget(&incoming.id, false);
            }
        }
        store.finish()
    }
}
