//! Sets timers by the thousand, counts those that fire and when, and crashes when it is told to.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use weir_sdk::prelude::*;

/// How many fired; the truth is in the store, because an instance that crashes forgets.
const FIRED: &str = "fired";

#[derive(Default)]
struct Timers {
    /// By id, in this instance.
    fired: BTreeMap<u64, u32>,
    in_order: bool,
    last: Option<u64>,
    chain: Option<Chain>,
}

/// Timers of 0 ms, each set by the one before.
struct Chain {
    command: u64,
    left: u64,
    began_us: u64,
}

/// The timer of the chain.
const CHAIN: u64 = 0;

#[derive(Deserialize)]
struct ChainArgs {
    count: u64,
}

#[derive(Deserialize)]
struct SetArgs {
    first: u64,
    count: u64,
    after_ms: u64,
    /// Between one and the next.
    step_ms: u64,
}

impl Plugin for Timers {
    fn manifest() -> Manifest {
        Manifest::new("timers", "0.1.0").description("sets timers")
    }

    fn start(_: Init, _: &Context) -> Result<Self> {
        Ok(Self { in_order: true, ..Self::default() })
    }

    fn on_timer(&mut self, id: u64, ctx: &Context) -> Result {
        if id == CHAIN {
            return self.chain_on(ctx);
        }
        *self.fired.entry(id).or_default() += 1;
        self.in_order &= self.last.is_none_or(|last| last < id);
        self.last = Some(id);
        let fired: u64 = ctx.store().get(FIRED)?.unwrap_or(0);
        ctx.store().put(FIRED, &(fired + 1))
    }

    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        match command.name.as_str() {
            "set" => {
                let args: SetArgs = command.args()?;
                let mut set = 0;
                for at in 0..args.count {
                    if ctx.set_timer(args.first + at, args.after_ms + at * args.step_ms).is_err() {
                        break;
                    }
                    set += 1;
                }
                command.answer(ctx, &json!({"set": set}))
            }
            "stats" => {
                let all: u64 = ctx.store().get(FIRED)?.unwrap_or(0);
                let twice = self.fired.values().filter(|times| **times > 1).count();
                command.answer(
                    ctx,
                    &json!({"fired": all, "here": self.fired.len(), "twice": twice, "in_order": self.in_order}),
                )
            }
            "chain" => {
                let ChainArgs { count } = command.args()?;
                self.chain = Some(Chain { command: command.id, left: count, began_us: ctx.monotonic_us() });
                ctx.set_timer(CHAIN, 0)
            }
            "crash" => panic!("as told"),
            _ => Err(command.unknown(&["set", "stats", "chain", "crash"])),
        }
    }
}

impl Timers {
    fn chain_on(&mut self, ctx: &Context) -> Result {
        let Some(chain) = &mut self.chain else { return Ok(()) };
        chain.left = chain.left.saturating_sub(1);
        if chain.left > 0 {
            return ctx.set_timer(CHAIN, 0);
        }
        let took_ms = ctx.monotonic_us().saturating_sub(chain.began_us) / 1_000;
        ctx.answer(chain.command, &json!({"took_ms": took_ms}))?;
        self.chain = None;
        Ok(())
    }
}

weir_sdk::export!(Timers);
