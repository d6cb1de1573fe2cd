//! A ledger of many accounts in memory, and the plugin `staking` that answers questions about it: as the real one does, but
//! without a network of its own.
#![allow(dead_code, reason = "each test file uses a part")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_ledger::keys::KeyPair;
use weir_ledger::{Genesis, GenesisFile, Id, Key, Memory, Verify};
use weir_plugin_dividend::Dividend;
use weir_plugin_dividend::staking::TOPIC;
use weir_plugin_staking::items::{Action, Anchor, Decree, Include, Operation, Order, PageBuilder, Signed, Topic};
use weir_plugin_staking::{Ledger, Verdict, commands};
use weir_sdk::abi::{Event, Init, Manifest};
use weir_sdk::testing::{Fault, Imports, Native, Revision, Running};
use weir_sdk::{Command, Context, Error, Plugin, Result};

thread_local! {
    static LEDGER: RefCell<Option<(Ledger, Memory)>> = const { RefCell::new(None) };
}

/// Takes every signature for genuine: they are, and not what is measured.
struct Yes;

impl Verify for Yes {
    fn verify(&self, _: Key, _: &[u8], _: &[u8; 64]) -> bool {
        true
    }
}

pub fn pair(name: u64) -> KeyPair {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&name.to_be_bytes());
    KeyPair::from_secret(&secret)
}

pub const ISSUER: u64 = 1;
pub const RECOVERY: u64 = 2;
pub const PAYER: u64 = 3;

pub fn genesis() -> Genesis {
    Genesis::new(GenesisFile {
        name: "Test".to_owned(),
        symbol: "TST".to_owned(),
        issuer: pair(ISSUER).key(),
        recovery: pair(RECOVERY).key(),
        payers: vec![pair(PAYER).key()],
        unbonding_epochs: 1,
    })
    .expect("in order")
}

/// The ledger's issuer and accounts.
pub struct Staked {
    pub accounts: Vec<KeyPair>,
    seqs: Vec<(u64, Id)>,
    reign: u64,
    issuer: KeyPair,
}

impl Staked {
    /// So many accounts with 2^64 tokens each, of which nothing is at stake.
    pub fn new(accounts: u64) -> Self {
        let store = Memory::default();
        let ledger = Ledger::open(genesis(), &store).expect("an empty store");
        LEDGER.set(Some((ledger, store)));
        let mut pairs: Vec<_> = (0..accounts).map(|name| pair(100 + name)).collect();
        pairs.sort_by_key(KeyPair::key);
        let seqs = vec![(0, genesis().hash()); pairs.len()];
        let mut staked = Self { accounts: pairs, seqs, reign: 0, issuer: pair(ISSUER) };
        for place in 0..staked.accounts.len() {
            staked.decree(Order::Mint { to: staked.accounts[place].key(), amount: 1 << 64 });
        }
        staked
    }

    fn give(bytes: &[u8]) {
        LEDGER.with_borrow_mut(|ledger| {
            let (ledger, store) = ledger.as_mut().expect("a ledger");
            assert_eq!(ledger.receive(bytes, None, store, &Yes).verdict, Verdict::Accepted);
            while ledger.step(store, &Yes, 2_000) {}
        });
    }

    fn decree(&mut self, order: Order) {
        let (seq, before) = look(|ledger, _| (ledger.summary().seq, ledger.summary().last));
        let body = Decree { key: self.issuer.key(), reign: self.reign, seq, before, order };
        Self::give(Signed::sign(body, &self.issuer, genesis().hash()).bytes());
    }

    /// One epoch that includes an operation of each of these accounts and anchors these declarations.
    pub fn epoch(&mut self, actions: &[(usize, Action)], declarations: &[Id]) {
        let mut builder = PageBuilder::new(1_024);
        let topic = Topic::new(TOPIC).expect("a topic");
        let mut anchors: Vec<_> = declarations.iter().map(|id| Anchor { topic, id: *id }).collect();
        anchors.sort();
        anchors.into_iter().for_each(|anchor| assert!(builder.anchor(anchor)));
        for (place, action) in actions {
            let (pair, (seq, before)) = (&self.accounts[*place], self.seqs[*place]);
            let body = Operation { account: pair.key(), seq, before, action: *action };
            let signed = Signed::sign(body, pair, genesis().hash());
            Self::give(signed.bytes());
            assert!(builder.include(Include { account: pair.key(), seq, id: signed.id() }));
            self.seqs[*place] = (seq + 1, signed.id());
        }
        let (number, pages) = (last_epoch() + 1, builder.finish());
        self.decree(Order::Epoch { number, pages: pages.iter().map(weir_plugin_staking::items::Page::id).collect() });
        for page in pages {
            Self::give(page.bytes());
        }
        assert_eq!(last_epoch(), number);
    }

    /// The recovery key replaces the issuer behind this epoch: those after it never were.
    pub fn go_back_to(&mut self, epoch: u64) {
        let args = commands::EpochsArgs { from: Some(epoch), limit: Some(1), topic: None };
        let record = look(|ledger, store| commands::epochs(ledger, &args, store).expect("epochs")).epochs.remove(0);
        self.reign += 1;
        self.issuer = pair(1_000_000_000 + self.reign);
        let order = Order::Rotate { new_key: self.issuer.key() };
        let key = pair(RECOVERY).key();
        let rotate = Decree { key, reign: self.reign, seq: record.next_seq, before: record.id, order };
        Self::give(Signed::sign(rotate, &pair(RECOVERY), genesis().hash()).bytes());
        assert_eq!(last_epoch(), epoch);
    }
}

/// The last closed epoch.
pub fn last_epoch() -> u64 {
    look(|ledger, _| ledger.meta().closed.epoch)
}

/// The answer to a question that the plugin `dividend` asks.
pub fn answer(name: &str, args: &[u8]) -> Result<Value> {
    fn json<T: serde::Serialize>(answer: Result<T>) -> Result<Value> {
        answer.map(|answer| serde_json::to_value(answer).expect("json"))
    }
    look(|ledger, store| match name {
        "epochs" => json(commands::epochs(ledger, &serde_json::from_slice(args).expect("arguments"), store)),
        "anchors" => json(commands::anchors(ledger, &serde_json::from_slice(args).expect("arguments"), store)),
        "stakes" => json(commands::stakes(ledger, &serde_json::from_slice(args).expect("arguments"), store)),
        other => Err(Error::new("unknown-command", other.to_owned())),
    })
}

fn look<R>(look: impl FnOnce(&Ledger, &Memory) -> R) -> R {
    LEDGER.with_borrow(|ledger| ledger.as_ref().map(|(ledger, store)| look(ledger, store)).expect("a ledger"))
}

/// The plugin that answers for the ledger.
pub struct Answering;

impl Plugin for Answering {
    fn manifest() -> Manifest {
        weir_sdk::prelude::Manifest::new("staking", "1.0.0")
    }

    fn start(_: Init, _: &Context) -> Result<Self> {
        Ok(Self)
    }

    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        command.answer(ctx, &answer(&command.name, command.body)?)
    }
}

/// CPU time of this thread where the system tells it, for a machine that does other work as well; else the time.
fn now() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let on_cpu = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let on_cpu = on_cpu.as_deref().and_then(|text| text.split(' ').next()).and_then(|ns| ns.parse().ok());
    on_cpu.map_or_else(|| BEGAN.elapsed(), Duration::from_nanos)
}

/// What the turns of a plugin took.
#[derive(Default)]
pub struct Clock {
    turns: Cell<u64>,
    sum: Cell<Duration>,
    longest: Cell<Duration>,
    start: Cell<Duration>,
}

impl Clock {
    /// Says it, and begins anew.
    pub fn tell(&self, what: &str) {
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        eprintln!(
            "{what}: {} turns, {:.0} ms in all, the longest {:.1} ms{}",
            self.turns.take(),
            ms(self.sum.take()),
            ms(self.longest.take()),
            if self.start.get().is_zero() {
                String::new()
            } else {
                format!(", a start {:.1} ms", ms(self.start.take()))
            },
        );
    }
}

/// The plugin `dividend`, with a clock around its turns.
pub struct Timed(pub Rc<Clock>);

struct TimedRun(Rc<Clock>, Box<dyn Running>);

impl Revision for Timed {
    fn manifest(&self) -> Manifest {
        Native::<Dividend>::default().manifest()
    }

    fn start(&self, init: Init, imports: &Imports) -> Result<Box<dyn Running>, Fault> {
        let began = now();
        let running = Native::<Dividend>::default().start(init, imports)?;
        self.0.start.set(self.0.start.get().max(now() - began));
        Ok(Box::new(TimedRun(self.0.clone(), running)))
    }
}

impl Running for TimedRun {
    fn handle(&mut self, events: Vec<Event>, bodies: &[u8], imports: &Imports) -> Result<(), Fault> {
        let began = now();
        let outcome = self.1.handle(events, bodies, imports);
        let (clock, took) = (&self.0, now() - began);
        clock.turns.set(clock.turns.get() + 1);
        clock.sum.set(clock.sum.get() + took);
        clock.longest.set(clock.longest.get().max(took));
        outcome
    }

    fn snapshot(&mut self, imports: &Imports) -> Result<Vec<u8>, String> {
        self.1.snapshot(imports)
    }

    fn plugin(&self) -> Option<&dyn std::any::Any> {
        self.1.plugin()
    }
}
