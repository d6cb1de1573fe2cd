//! The plugin itself: counts what comes, runs the jobs, keeps the counts.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use serde::{Deserialize, Serialize};
use weir_sdk::prelude::*;
use weir_sdk::{decode, encode};

use crate::checksum::Checksum;
use crate::commands::{Encoding, FloodArgs, FlowStats, PeerStats, PingArgs, SendArgs, Stats};
use crate::counts::Counts;
use crate::flood::{Budget, FloodJob, HEADER, Position, Progress, Source};
use crate::name;
use crate::ping::PingJob;
use crate::text::from_base64;

/// The key of the one protocol.
pub const PROTOCOL: ProtocolKey = 1;
/// Its id, the same in both versions: they understand each other.
pub const PROTOCOL_ID: &str = "/ping/1.0.0";

const MAX_MESSAGE: u32 = 256 * 1024;
/// Peers counted apart; further ones share one entry.
const MAX_PEERS: usize = 1_024;
/// Commands under way; each may hold a piece of a file.
const MAX_JOBS: usize = 16;
/// Floods that a `send` may still go on with.
const MAX_POSITIONS: usize = 64;
/// Fires while a job has work for the next turn.
const PUMP: u64 = 0;
/// How soon a ping that found no room tries again.
const RETRY_MS: u64 = 10;
const COMMANDS: [&str; 5] = ["ping", "flood", "send", "stats", "reset"];
const PEERS: &[u8] = b"peer/";
const LARGEST: &[u8] = b"largest";

/// What differs between the versions.
pub trait Revision: 'static {
    /// The plugin's version.
    const VERSION: &'static str;
    /// Whether it knows the largest message.
    const SIZES: bool;
}

/// Version 0.1.0.
pub struct First;
/// Version 0.2.0: `stats` also has the largest and the mean message.
pub struct Second;

impl Revision for First {
    const VERSION: &'static str = "0.1.0";
    const SIZES: bool = false;
}

impl Revision for Second {
    const VERSION: &'static str = "0.2.0";
    const SIZES: bool = true;
}

/// What both versions keep; it opens the snapshot. Version 0.2 writes its own behind it, so that either
/// reads the other's: postcard ignores what follows.
#[derive(Default, Serialize, Deserialize)]
struct Memory {
    peers: BTreeMap<PeerId, Counts>,
    floods: Vec<FloodJob>,
    pings: Vec<PingJob>,
    positions: Vec<Position>,
}

/// The plugin in one of its versions.
pub struct Ping<R> {
    memory: Memory,
    largest: u64,
    /// Whose counts this turn changed.
    dirty: BTreeSet<PeerId>,
    last_dirty: Option<PeerId>,
    budget: Budget,
    revision: PhantomData<R>,
}

impl<R: Revision> Plugin for Ping<R> {
    fn manifest() -> Manifest {
        Manifest::new(name::plugin(), R::VERSION)
            .description("Answers requests with what it got and counts messages")
            .protocol(Protocol::new(PROTOCOL, name::protocol()).max_message(MAX_MESSAGE))
    }

    fn start(init: Init, ctx: &Context) -> Result<Self> {
        let limits = &init.limits;
        // A quarter of what a turn may do: the batch around it wants some as well.
        let budget =
            Budget { messages: (limits.turn_effects / 4).clamp(1, 1_024), bytes: limits.turn_bytes as usize / 4 };
        let mut ping = Self {
            memory: Memory::default(),
            largest: 0,
            dirty: BTreeSet::new(),
            last_dirty: None,
            budget,
            revision: PhantomData,
        };
        match init.snapshot().map(|snapshot| ping.restore(snapshot)) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                weir_sdk::warn!("the snapshot is left aside, the store has the counts: {error}");
                ping.load(ctx)?;
            }
            None => ping.load(ctx)?,
        }
        if ping.has_jobs() {
            ctx.set_timer(PUMP, 0)?;
        }
        Ok(ping)
    }

    fn on_message(&mut self, message: Message<'_>, _: &Context) -> Result {
        self.largest = self.largest.max(message.body.len() as u64);
        let counts = self.counts(message.peer);
        match message.body.split_first_chunk::<HEADER>() {
            Some((header, payload)) => {
                let (flood, index) = header.split_at(HEADER / 2);
                counts.flood(number(flood), number(index), HEADER, payload);
            }
            None => counts.plain(message.body.len()),
        }
        Ok(())
    }

    fn on_request(&mut self, request: Request<'_>, ctx: &Context) -> Result {
        request.respond_bytes(ctx, request.body);
        self.counts(request.peer).requests += 1;
        Ok(())
    }

    fn on_response(&mut self, response: Response<'_>, ctx: &Context) -> Result {
        let pings = &mut self.memory.pings;
        if let Some(place) = pings.iter_mut().position(|job| job.take(&response, ctx)) {
            self.run_ping(place, ctx)?;
        }
        Ok(())
    }

    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        match command.name.as_str() {
            "ping" => self.ping(&command, ctx),
            "flood" => self.flood(&command, ctx),
            "send" => self.send(&command, ctx),
            "stats" => command.answer(ctx, &self.stats()),
            "reset" => self.reset(&command, ctx),
            _ => Err(command.unknown(&COMMANDS)),
        }
    }

    fn on_peer_unsupported(&mut self, _: Lane, ctx: &Context) -> Result {
        // The sends of this lane's jobs now fail, and that ends them.
        self.pump(ctx)
    }

    fn on_relieved(&mut self, _: Lane, ctx: &Context) -> Result {
        self.pump(ctx)
    }

    fn on_undelivered(&mut self, count: Count, _: &Context) -> Result {
        self.counts(count.peer).undelivered += count.messages;
        Ok(())
    }

    fn on_missed(&mut self, count: Count, _: &Context) -> Result {
        self.counts(count.peer).missed += count.messages;
        Ok(())
    }

    fn on_withdrawn(&mut self, id: u64, ctx: &Context) -> Result {
        let memory = &mut self.memory;
        memory.floods.retain(|job| job.command != id);
        if let Some(place) = memory.pings.iter().position(|job| job.command == id) {
            memory.pings.remove(place).open().for_each(|ask| ctx.cancel_ask(ask));
        }
        Ok(())
    }

    fn on_timer(&mut self, _: u64, ctx: &Context) -> Result {
        self.pump(ctx)
    }

    fn on_turn_end(&mut self, ctx: &Context) -> Result {
        let store = ctx.store();
        for peer in &self.dirty {
            if let Some(counts) = self.memory.peers.get(peer) {
                store.put(peer_key(*peer), counts)?;
            }
        }
        if R::SIZES && !self.dirty.is_empty() {
            store.put(LARGEST, &self.largest)?;
        }
        self.dirty.clear();
        self.last_dirty = None;
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let mut bytes = encode(&self.memory)?;
        if R::SIZES {
            bytes.extend(encode(&self.largest)?);
        }
        Ok(bytes)
    }
}

impl<R: Revision> Ping<R> {
    fn restore(&mut self, snapshot: &[u8]) -> Result {
        let (memory, rest) = weir_sdk::postcard::take_from_bytes(snapshot)?;
        self.memory = memory;
        // Version 0.1 leaves nothing behind its memory.
        self.largest = if R::SIZES && !rest.is_empty() { decode(rest)? } else { 0 };
        Ok(())
    }

    fn load(&mut self, ctx: &Context) -> Result {
        for (key, value) in ctx.store().prefix(PEERS) {
            let peer = PeerId::try_from(&key[PEERS.len()..])?;
            self.memory.peers.insert(peer, decode(&value)?);
        }
        if R::SIZES {
            self.largest = ctx.store().get(LARGEST)?.unwrap_or(0);
        }
        Ok(())
    }

    /// A peer's counts, which the end of the turn will store.
    fn counts(&mut self, peer: PeerId) -> &mut Counts {
        let peers = &mut self.memory.peers;
        let peer =
            if peers.len() < MAX_PEERS || peers.contains_key(&peer) { peer } else { PeerId::from_bytes([0; 32]) };
        if self.last_dirty != Some(peer) {
            self.dirty.insert(peer);
            self.last_dirty = Some(peer);
        }
        peers.entry(peer).or_default()
    }

    fn ping(&mut self, command: &Command<'_>, ctx: &Context) -> Result {
        let args: PingArgs = command.args()?;
        self.check_room()?;
        check("count", args.count, 1, u64::from(u32::MAX))?;
        check("size", args.size.into(), 0, MAX_MESSAGE.into())?;
        check("concurrency", args.concurrency.into(), 1, 256)?;
        let mut job = PingJob::new(command.id, &args, ctx);
        if job.run(ctx)? {
            ctx.set_timer(PUMP, RETRY_MS)?;
        }
        self.memory.pings.push(job);
        Ok(())
    }

    fn flood(&mut self, command: &Command<'_>, ctx: &Context) -> Result {
        let args: FloodArgs = command.args()?;
        check("size", args.size.into(), HEADER as u64, MAX_MESSAGE.into())?;
        let position = new_position(args.peer, ctx);
        self.begin(command, args.count, args.size, position, Source::Pattern, ctx)
    }

    fn send(&mut self, command: &Command<'_>, ctx: &Context) -> Result {
        let args: SendArgs = command.args()?;
        check("size", args.size.into(), HEADER as u64 + 1, MAX_MESSAGE.into())?;
        let data = match args.encoding {
            Encoding::Base64 => from_base64(&args.data)?,
            Encoding::Text => args.data.into_bytes(),
        };
        let position = match &args.flood {
            Some(flood) => self.position(flood, args.peer)?,
            None => new_position(args.peer, ctx),
        };
        let messages = data.len().div_ceil(args.size as usize - HEADER);
        self.begin(command, messages as u64, args.size, position, Source::Data { data, taken: 0 }, ctx)
    }

    fn begin(
        &mut self,
        command: &Command<'_>,
        messages: u64,
        size: u32,
        position: Position,
        source: Source,
        ctx: &Context,
    ) -> Result {
        self.check_room()?;
        let payload = size as usize - HEADER;
        let (command, started_ms) = (command.id, ctx.now_ms());
        let mut job = FloodJob { command, position, left: messages, payload, source, accepted: 0, started_ms };
        let progress = job.run(ctx, self.budget.share(self.memory.floods.len() + 1))?;
        if progress == Progress::More {
            ctx.set_timer(PUMP, 0)?;
        }
        if progress == Progress::Done {
            self.finish(&job, ctx)
        } else {
            self.memory.floods.push(job);
            Ok(())
        }
    }

    /// Where a flood stands that nobody is sending right now.
    fn position(&self, flood: &str, peer: PeerId) -> Result<Position> {
        let unknown =
            || Error::new("unknown-flood", format!("there is no flood {flood} to this peer: leave `flood` out"));
        let number = u64::from_str_radix(flood, 16).map_err(|_| unknown())?;
        if self.memory.floods.iter().any(|job| job.position.flood == number) {
            return Err(Error::new(
                "flood-under-way",
                format!("wait for the answer to the last piece of flood {flood}"),
            ));
        }
        let mut known = self.memory.positions.iter();
        known.find(|position| position.flood == number && position.peer == peer).copied().ok_or_else(unknown)
    }

    fn finish(&mut self, job: &FloodJob, ctx: &Context) -> Result {
        ctx.answer(job.command, &job.done(ctx))?;
        let positions = &mut self.memory.positions;
        positions.retain(|position| position.flood != job.position.flood);
        if positions.len() >= MAX_POSITIONS {
            positions.remove(0);
        }
        positions.push(job.position);
        Ok(())
    }

    /// Lets every job go on.
    fn pump(&mut self, ctx: &Context) -> Result {
        let budget = self.budget.share(self.memory.floods.len());
        for mut job in std::mem::take(&mut self.memory.floods) {
            match job.run(ctx, budget) {
                Ok(Progress::Done) => self.finish(&job, ctx)?,
                Ok(Progress::Busy) => self.memory.floods.push(job),
                Ok(Progress::More) => {
                    ctx.set_timer(PUMP, 0)?;
                    self.memory.floods.push(job);
                }
                Err(error) => {
                    let sentence = format!("{} messages were taken, {} were not: {error}", job.accepted, job.left);
                    ctx.fail(job.command, Error::new(error.name().to_owned(), sentence));
                }
            }
        }
        for place in (0..self.memory.pings.len()).rev() {
            self.run_ping(place, ctx)?;
        }
        Ok(())
    }

    fn run_ping(&mut self, place: usize, ctx: &Context) -> Result {
        let job = &mut self.memory.pings[place];
        let outcome = job.run(ctx);
        if let Err(error) = outcome {
            let job = self.memory.pings.remove(place);
            job.open().for_each(|ask| ctx.cancel_ask(ask));
            ctx.fail(job.command, error.into());
        } else if job.is_done() {
            let job = self.memory.pings.remove(place);
            ctx.answer(job.command, &job.done(ctx))?;
        } else if outcome == Ok(true) {
            ctx.set_timer(PUMP, RETRY_MS)?;
        }
        Ok(())
    }

    fn has_jobs(&self) -> bool {
        !self.memory.floods.is_empty() || !self.memory.pings.is_empty()
    }

    fn check_room(&self) -> Result {
        if self.memory.floods.len() + self.memory.pings.len() < MAX_JOBS {
            return Ok(());
        }
        Err(Error::new("too-many", format!("{MAX_JOBS} commands are under way, the most there may be: wait for one")))
    }

    fn stats(&self) -> Stats {
        let sum = |of: fn(&Counts) -> u64| self.memory.peers.values().map(of).fold(0, u64::saturating_add);
        let (messages, bytes) = (sum(|counts| counts.messages), sum(|counts| counts.bytes));
        Stats {
            version: R::VERSION.to_owned(),
            messages,
            bytes,
            requests: sum(|counts| counts.requests),
            lost: sum(|counts| counts.lost),
            reordered: sum(|counts| counts.reordered),
            duplicated: sum(|counts| counts.duplicated),
            undelivered: sum(|counts| counts.undelivered),
            missed: sum(|counts| counts.missed),
            largest_message: R::SIZES.then_some(self.largest),
            mean_message: R::SIZES.then(|| bytes as f64 / messages.max(1) as f64),
            per_peer: self.memory.peers.iter().map(|(peer, counts)| peer_stats(*peer, counts)).collect(),
        }
    }

    fn reset(&mut self, command: &Command<'_>, ctx: &Context) -> Result {
        let store = ctx.store();
        store.prefix(PEERS).for_each(|(key, _)| store.remove(key));
        store.remove(LARGEST);
        command.answer(ctx, &serde_json::json!({}))?;
        self.memory.peers.clear();
        self.largest = 0;
        self.dirty.clear();
        self.last_dirty = None;
        Ok(())
    }
}

fn peer_stats(peer: PeerId, counts: &Counts) -> PeerStats {
    let floods = counts.flows.iter().map(|flow| FlowStats {
        flood: format!("{:016x}", flow.flood),
        messages: flow.messages,
        next: flow.next,
        checksum: flow.checksum.hex(),
    });
    PeerStats {
        peer,
        messages: counts.messages,
        bytes: counts.bytes,
        requests: counts.requests,
        lost: counts.lost,
        reordered: counts.reordered,
        duplicated: counts.duplicated,
        undelivered: counts.undelivered,
        missed: counts.missed,
        floods: floods.collect(),
    }
}

fn new_position(peer: PeerId, ctx: &Context) -> Position {
    Position { flood: ctx.random_number(), peer, next: 0, checksum: Checksum::default() }
}

fn peer_key(peer: PeerId) -> Vec<u8> {
    [PEERS, &peer.to_bytes()].concat()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn check(what: &str, value: u64, least: u64, most: u64) -> Result {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::new("bad-arguments", format!("`{what}` is {value}: it takes {least} to {most}")))
}
