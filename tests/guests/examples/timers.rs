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
            "crash" => panic!("as told"),
            _ => Err(command.unknown(&["set", "stats", "crash"])),
        }
    }
}

weir_sdk::export!(Timers);
