//! The plugin around the ledger: commands, gossip, catch-up, and the ledger's work a piece a turn.

mod catch_up;
mod items;

use std::collections::VecDeque;
use std::marker::PhantomData;

use weir_ledger::{Genesis, Key, PluginStore};
use weir_sdk::abi::Verdict as Worth;
use weir_sdk::gossip::{Decision, Gossip, ItemId, Policy};
use weir_sdk::prelude::*;

use self::catch_up::CatchUp;
use self::items::LedgerItems;
use crate::items::{Item, Page};
use crate::{Ignored, Ledger, Notice, Receipt, Verdict, commands, ranking};

/// The key of the one protocol.
pub const PROTOCOL: ProtocolKey = 1;
/// Its id, the same in both versions: they understand each other.
pub const PROTOCOL_ID: &str = "/staking/1.0.0";

/// A page of 256 KiB in an answer, and what stands around it.
const MAX_MESSAGE: u32 = 320 * 1024;
/// The ledger has work for another turn.
const WORK: u64 = 1;
/// Peers hear where this node stands, and what is missing is asked for again.
const TICK: u64 = 2;
const TICK_MS: u64 = 2_000;
/// What one turn gives the ledger, in its units: about 500 writes. A turn may stage 4,096 effects and a megabyte.
const PIECE: usize = 1_000;
/// Items that one turn takes, two or three writes each; the rest waits for the next turn.
const MAX_ITEMS: usize = 400;
/// And bytes of them, unless a single one is larger.
const MAX_BYTES: usize = 320 * 1024;
/// Accounts that the migration to 1.1 reads in one turn.
const MIGRATED: usize = 400;

const COMMANDS: [&str; 10] =
    ["submit", "account", "stakes", "root", "proofs", "status", "draft", "page", "epochs", "anchors"];

/// What differs between the versions.
pub trait Revision: 'static {
    /// The plugin's version.
    const VERSION: &'static str;
    /// Whether it keeps the accounts in order of their stake, for the command `top`.
    const RANKED: bool;
}

/// Version 1.0.0.
pub struct First;
/// Version 1.1.0: `top` lists who has most at stake. Data version 2, which also reads 1.
pub struct Second;

impl Revision for First {
    const VERSION: &'static str = "1.0.0";
    const RANKED: bool = false;
}

impl Revision for Second {
    const VERSION: &'static str = "1.1.0";
    const RANKED: bool = true;
}

/// The plugin in one of its versions.
pub struct Staking<R> {
    ledger: Ledger,
    gossip: Gossip<LedgerItems>,
    catch_up: CatchUp,
    /// Items that peers answered with and that no turn has taken yet: a few answers at most, because only so many are open.
    answers: VecDeque<(PeerId, Vec<u8>)>,
    /// What this turn has taken already.
    taken: Taken,
    /// Decrees that go along the tree: with the next tick but one they are no part of what is reconciled any more, which is
    /// pending operations only. The log itself is compared by summaries.
    passing: [Vec<ItemId>; 2],
    migrating: bool,
    revision: PhantomData<R>,
}

impl<R: Revision> Plugin for Staking<R> {
    fn manifest() -> Manifest {
        let data = if R::RANKED { 2 } else { 1 };
        Manifest::new("staking", R::VERSION)
            .description("Token staking whose state converges on every honest node without a chain")
            .protocol(Protocol::new(PROTOCOL, PROTOCOL_ID).max_message(MAX_MESSAGE))
            .data(data, 1)
    }

    fn start(init: Init, ctx: &Context) -> Result<Self> {
        let genesis = Genesis::parse(&init.config).map_err(|error| Error::new(error.code(), error.to_string()))?;
        let mut store = PluginStore::new(ctx);
        let mut ledger =
            Ledger::open(genesis, &store).map_err(|error| Error::new("other-genesis", error.to_string()))?;
        if R::RANKED {
            ledger.keep_ranking();
        }
        let migrating = R::RANKED && !ranking::migrate(&mut store, MIGRATED);
        store.finish()?;
        let gossip = Gossip::start(PROTOCOL, Policy::default(), LedgerItems, &init, ctx)?;
        ctx.set_timer(WORK, 0)?;
        ctx.set_timer(TICK, TICK_MS)?;
        Ok(Self {
            ledger,
            gossip,
            catch_up: CatchUp::default(),
            answers: VecDeque::new(),
            taken: Taken::default(),
            passing: [Vec::new(), Vec::new()],
            migrating,
            revision: PhantomData,
        })
    }

    fn on_message(&mut self, message: Message<'_>, ctx: &Context) -> Result {
        if !self.gossip.on_message(&message, ctx) {
            let store = PluginStore::new(ctx);
            self.catch_up.on_message(&message, &mut self.ledger, &store, ctx);
        }
        self.judge(ctx)
    }

    fn on_request(&mut self, request: Request<'_>, ctx: &Context) -> Result {
        if !self.gossip.on_request(&request, ctx) {
            let store = PluginStore::new(ctx);
            self.catch_up.serve(&request, &self.ledger, &store, ctx);
        }
        Ok(())
    }

    fn on_response(&mut self, response: Response<'_>, ctx: &Context) -> Result {
        if self.gossip.on_response(&response, ctx) {
            return self.judge(ctx);
        }
        let Some((peer, items)) = self.catch_up.on_response(&response) else { return Ok(()) };
        self.answers.extend(items.into_iter().map(|item| (peer, item)));
        Ok(())
    }

    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        let mut store = PluginStore::new(ctx);
        let ledger = &mut self.ledger;
        match command.name.as_str() {
            "submit" => {
                let args: commands::SubmitArgs = command.args()?;
                // A page takes as much of the turn as one from a peer.
                self.taken.one_more(args.op.len() / 2);
                let (answer, receipt) = commands::submit(ledger, &args, &mut store, ctx)?;
                self.spread(&receipt, ctx);
                command.answer(ctx, &answer)?;
            }
            "draft" => command.answer(ctx, &commands::draft(ledger, &command.args()?, &mut store)?)?,
            "page" => command.answer(ctx, &commands::page(ledger, &command.args()?, &store)?)?,
            "account" => command.answer(ctx, &commands::account(ledger, &command.args()?, &store)?)?,
            "stakes" => command.answer(ctx, &commands::stakes(ledger, &command.args()?, &store)?)?,
            "root" => command.answer(ctx, &commands::root(ledger))?,
            "proofs" => command.answer(ctx, &commands::proofs(ledger, &command.args()?, &store)?)?,
            "status" => command.answer(ctx, &commands::status(ledger, &store))?,
            "epochs" => command.answer(ctx, &commands::epochs(ledger, &command.args()?, &store)?)?,
            "anchors" => command.answer(ctx, &commands::anchors(ledger, &command.args()?, &store)?)?,
            "top" if R::RANKED => command.answer(ctx, &commands::top(ledger, &command.args()?, &store)?)?,
            _ => {
                let known: Vec<_> = COMMANDS.into_iter().chain(R::RANKED.then_some("top")).collect();
                return Err(command.unknown(&known));
            }
        }
        store.finish()
    }

    fn on_peer_supported(&mut self, there: Reachable, ctx: &Context) -> Result {
        self.gossip.on_peer_supported(&there, ctx);
        self.catch_up.on_peer(there.peer, &self.ledger, ctx);
        Ok(())
    }

    fn on_peer_unsupported(&mut self, lane: Lane, ctx: &Context) -> Result {
        self.gossip.on_peer_unsupported(&lane, ctx);
        self.catch_up.on_peer_gone(lane.peer);
        Ok(())
    }

    weir_sdk::gossip_events!(gossip: on_relieved on_undelivered on_missed);

    fn on_timer(&mut self, id: u64, ctx: &Context) -> Result {
        if self.gossip.on_timer(id) {
            return Ok(());
        }
        if id == TICK {
            ctx.set_timer(TICK, TICK_MS)?;
            self.catch_up.tick(&self.ledger, ctx);
            self.passing.swap(0, 1);
            for id in std::mem::take(&mut self.passing[0]) {
                self.gossip.forget(&id, true);
            }
        }
        if self.migrating {
            let mut store = PluginStore::new(ctx);
            self.migrating = !ranking::migrate(&mut store, MIGRATED);
            store.finish()?;
            ctx.set_timer(WORK, 0)?;
        }
        Ok(())
    }

    fn on_turn_end(&mut self, ctx: &Context) -> Result {
        self.judge(ctx)?;
        let mut store = PluginStore::new(ctx);
        let waiting = self.take_answers(&mut store, ctx);
        self.taken = Taken::default();
        let more = self.ledger.step(&mut store, ctx, PIECE) || waiting;
        self.catch_up.tell_news(&self.ledger, ctx);
        self.catch_up.ask(&mut self.ledger, &store, ctx);
        store.finish()?;
        if more || self.gossip.waiting().1 > 0 {
            ctx.set_timer(WORK, 0)?;
        }
        for notice in self.ledger.take_notices() {
            announce(&notice);
        }
        for standing in self.ledger.take_standings() {
            standing.tell(&mut self.gossip);
        }
        self.gossip.on_turn_end(ctx)
    }
}

impl<R: Revision> Staking<R> {
    /// The ledger, for tests.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What the gossip has done, for tests.
    pub fn gossip_stats(&self) -> weir_sdk::gossip::Stats {
        self.gossip.stats()
    }

    /// How many items nodes compare now, for tests.
    pub fn reconciled(&self) -> usize {
        self.gossip.len()
    }

    /// Takes what peers answered with. True when some of it has to wait for the next turn.
    fn take_answers(&mut self, store: &mut PluginStore<'_>, ctx: &Context) -> bool {
        while let Some((peer, item)) = self.answers.pop_front() {
            let receipt = self.ledger.receive(&item, Some(Key(peer.to_bytes())), store, ctx);
            match &receipt.verdict {
                Verdict::Rejected(why) => ctx.report(peer, PROTOCOL, Worth::Invalid, why.code()),
                // What was asked for others ask for as well; a proof that it completed is news.
                Verdict::Accepted if !receipt.spread.contains(&item) => self.spread(&receipt, ctx),
                Verdict::Accepted | Verdict::Ignored(_) => {}
            }
            if !self.taken.one_more(item.len()) {
                break;
            }
        }
        !self.answers.is_empty()
    }

    /// Decides on what the gossip brought, as much as one turn takes.
    fn judge(&mut self, ctx: &Context) -> Result {
        let mut store = PluginStore::new(ctx);
        while let Some(incoming) = if self.taken.has_room() { self.gossip.next() } else { None } {
            self.taken.one_more(incoming.bytes.len());
            let from = Some(Key(incoming.from.to_bytes()));
            let receipt = self.ledger.receive(&incoming.bytes, from, &mut store, ctx);
            let itself = receipt.spread.iter().any(|item| **item == *incoming.bytes && !Page::looks_like_one(item));
            match &receipt.verdict {
                Verdict::Accepted if itself => {
                    self.gossip.decide(&incoming.id, Decision::Accept, ctx);
                    self.note_passing(incoming.id, &incoming.bytes);
                }
                Verdict::Accepted => {
                    self.gossip.decide(&incoming.id, Decision::Ignore, ctx);
                    self.spread(&receipt, ctx);
                }
                Verdict::Ignored(why) => {
                    self.gossip.decide(&incoming.id, Decision::Ignore, ctx);
                    if may_count_later(*why) {
                        // Not remembered as seen: reconciliation brings it again.
                        self.gossip.forget(&incoming.id, false);
                    }
                }
                Verdict::Rejected(_) => drop(self.gossip.decide(&incoming.id, Decision::Reject, ctx)),
            }
        }
        store.finish()
    }

    /// Spreads what an item led to. Pages do not go along the tree: who needs one asks for it.
    fn spread(&mut self, receipt: &Receipt, ctx: &Context) {
        for item in receipt.spread.iter().filter(|item| !Page::looks_like_one(item)) {
            match self.gossip.broadcast(item, ctx) {
                Ok(id) => self.note_passing(id, item),
                Err(error) => weir_sdk::debug!("an item is not spread: {error}"),
            }
        }
    }

    fn note_passing(&mut self, id: ItemId, bytes: &[u8]) {
        if matches!(Item::decode(bytes), Ok(Item::Decree(_))) {
            self.passing[1].push(id);
        }
    }
}

/// What one turn has taken.
#[derive(Default)]
struct Taken {
    items: usize,
    bytes: usize,
}

impl Taken {
    fn has_room(&self) -> bool {
        self.items < MAX_ITEMS && self.bytes < MAX_BYTES
    }

    /// Counts one; false when it was the last.
    fn one_more(&mut self, bytes: usize) -> bool {
        (self.items, self.bytes) = (self.items + 1, self.bytes + bytes);
        self.has_room()
    }
}

fn may_count_later(why: Ignored) -> bool {
    match why {
        Ignored::NoMint | Ignored::TooFarAhead | Ignored::LogTooShort | Ignored::OtherReign | Ignored::NotNamed => true,
        Ignored::Known | Ignored::Equivocated | Ignored::Enough | Ignored::Outdone => false,
    }
}

fn announce(notice: &Notice) {
    match notice {
        Notice::Closed { epoch, root } => weir_sdk::info!("epoch {epoch} is closed, root {root}"),
        Notice::AccountProven { account, seq } => {
            weir_sdk::warn!("account {account} signed two operations with the number {seq}");
        }
        Notice::IssuerFault { seq, epoch, what } => weir_sdk::error!(
            "the issuer's log does not count from number {seq} on: {what}. The state stays at epoch {epoch} until the recovery key signs a rotation"
        ),
        Notice::Rotated { new_key, reign } => weir_sdk::warn!("{new_key} is the issuer now, reign {reign}"),
        Notice::WentBack { epoch, intact: true } => weir_sdk::warn!("the state went back to epoch {epoch}"),
        Notice::WentBack { epoch, intact: false } => {
            weir_sdk::error!("the state went back to epoch {epoch} and its root is another: the store is damaged");
        }
        Notice::RecoveryTorn => weir_sdk::error!("the recovery key signed two rotations with one reign"),
        Notice::RotationNowhere { reign } => {
            weir_sdk::error!("the rotation to reign {reign} chooses a log that cannot be followed: sign another one");
        }
    }
}
