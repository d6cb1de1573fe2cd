//! A caller calls other plugins as its commands say, and counts every outcome that it hears: one it did not wait for is
//! `stray`.
//!
//! Commands, with JSON arguments: `echo` answers them; `hold` is never answered until `release`; `crash` panics; `call`
//! (`to`, `name`, `args`, `timeout_ms`) answers with the outcome, `many` (and `n`) with how many calls were taken;
//! `counts` shows what is open and what was heard.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::weir::plugin::calls::{self, CallRefused};
use super::weir::plugin::types::{CallError, Called, Command, Event, Failure};
use super::{Init, Manifest, body, count, manifest};

/// What it remembers; across an upgrade, too, when it may take a snapshot.
#[derive(Default, Serialize, Deserialize)]
struct Caller {
    /// Calls without an outcome, and the command that waits for it.
    open: BTreeMap<u64, Option<u64>>,
    /// Commands that are never answered.
    held: BTreeSet<u64>,
    heard: BTreeMap<String, u64>,
    stray: u64,
    withdrawn: u64,
    snapshot: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Args {
    to: String,
    name: String,
    args: Value,
    timeout_ms: Option<u32>,
    n: u32,
}

thread_local! {
    static CALLER: RefCell<Caller> = RefCell::default();
}

pub fn describe(name: &str, version: &str) -> Manifest {
    manifest(name, version, 1, &["call:caller-a", "call:caller-b", "call:nobody"])
}

/// Takes over what the revision before had open. A configuration `{"snapshot": false}` gives none, and `{"calls": NAME}`
/// calls `echo` of that plugin at once.
pub fn start(init: &Init) {
    let config: Value = serde_json::from_str(&init.config).unwrap_or_default();
    let snapshot = init.predecessor.as_ref().and_then(|before| before.snapshot.as_ref());
    let mut caller: Caller = snapshot.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    caller.snapshot = config["snapshot"] != json!(false);
    if let Some(to) = config["calls"].as_str()
        && let Ok(id) = calls::call(to, "echo", 60_000, b"1")
    {
        caller.open.insert(id, None);
    }
    CALLER.set(caller);
}

pub fn snapshot() -> Result<Vec<u8>, String> {
    CALLER.with_borrow(|caller| {
        if !caller.snapshot {
            return Err("it may take none".to_owned());
        }
        serde_json::to_vec(caller).map_err(|error| error.to_string())
    })
}

fn refused(why: CallRefused) -> &'static str {
    match why {
        CallRefused::NotGranted => "not-granted",
        CallRefused::Busy => "busy",
        CallRefused::TooLarge => "too-large",
        CallRefused::OverBudget => "over-budget",
        CallRefused::Other => "other",
    }
}

fn outcome(called: &Called) -> String {
    match &called.outcome {
        Ok(_) => "ok".to_owned(),
        Err(CallError::UnknownPlugin) => "unknown-plugin".to_owned(),
        Err(CallError::UnknownCommand) => "unknown-command".to_owned(),
        Err(CallError::TimedOut) => "timed-out".to_owned(),
        Err(CallError::Busy) => "busy".to_owned(),
        Err(CallError::Gone) => "gone".to_owned(),
        Err(CallError::Failed(failure)) => failure.code.clone(),
        Err(CallError::Other(text)) => text.clone(),
    }
}

fn answer(command: u64, value: &Value) {
    let _ = calls::answer(command, Ok(value.to_string().as_bytes()));
}

impl Caller {
    fn command(&mut self, command: &Command, text: &[u8]) {
        let args: Args = serde_json::from_slice(text).unwrap_or_default();
        match command.name.as_str() {
            "echo" => drop(calls::answer(command.id, Ok(text))),
            "hold" => drop(self.held.insert(command.id)),
            "release" => {
                std::mem::take(&mut self.held).into_iter().for_each(|held| answer(held, &json!("released")));
                answer(command.id, &Value::Null);
            }
            "crash" => panic!("it was told to"),
            "call" => match self.call(&args, Some(command.id)) {
                Ok(()) => {}
                Err(why) => answer(command.id, &json!({"refused": refused(why)})),
            },
            "many" => {
                let mut taken = 0;
                let end = (0..args.n).find_map(|_| self.call(&args, None).map(|()| taken += 1).err());
                answer(command.id, &json!({"taken": taken, "refused": end.map(refused)}));
            }
            "counts" => {
                let (open, held) = (self.open.len(), self.held.len());
                let (heard, stray, withdrawn) = (&self.heard, self.stray, self.withdrawn);
                let shown = json!({
                    "open": open, "held": held, "heard": heard, "stray": stray, "withdrawn": withdrawn
                });
                answer(command.id, &shown);
            }
            other => {
                let message = format!("there is no {other}");
                let _ = calls::answer(command.id, Err(&Failure { code: "unknown-command".to_owned(), message }));
            }
        }
    }

    fn call(&mut self, args: &Args, waiting: Option<u64>) -> Result<(), CallRefused> {
        let text = args.args.to_string();
        let id = calls::call(&args.to, &args.name, args.timeout_ms.unwrap_or(60_000), text.as_bytes())?;
        self.open.insert(id, waiting);
        Ok(())
    }

    fn called(&mut self, called: &Called) {
        let outcome = outcome(called);
        match self.open.remove(&called.id) {
            Some(Some(command)) => answer(command, &json!({"outcome": outcome})),
            Some(None) => {}
            None => {
                self.stray += 1;
                count(b"stray");
            }
        }
        *self.heard.entry(outcome).or_default() += 1;
    }
}

pub fn handle(events: &[Event], bodies: &[u8]) {
    CALLER.with_borrow_mut(|caller| {
        for event in events {
            match event {
                Event::Command(command) => caller.command(command, body(bodies, command.body)),
                Event::Called(called) => caller.called(called),
                Event::Withdrawn(id) => {
                    caller.withdrawn += u64::from(caller.held.remove(id));
                    count(b"withdrawn");
                }
                _ => {}
            }
        }
    });
}

/// A caller of this name and version.
#[macro_export]
macro_rules! caller {
    ($name:literal, $version:literal) => {
        struct Plugin;

        impl $crate::Guest for Plugin {
            fn describe() -> $crate::Manifest {
                $crate::caller::describe($name, $version)
            }

            fn start(init: $crate::Init) -> Result<(), String> {
                $crate::hook_panics();
                $crate::caller::start(&init);
                Ok(())
            }

            fn handle(events: Vec<$crate::weir::plugin::types::Event>, bodies: Vec<u8>) -> Result<(), String> {
                $crate::caller::handle(&events, &bodies);
                Ok(())
            }

            fn snapshot() -> Result<Vec<u8>, String> {
                $crate::caller::snapshot()
            }
        }

        $crate::export!(Plugin);
    };
}
