//! Both plugins' ledgers in memory, called as a node is called, with requests and answers that can be lost.
#![allow(dead_code, reason = "each test file uses a part")]

use std::cell::{Cell, RefCell};
use std::io;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weir_ledger::keys::Strict;
use weir_ledger::{Genesis, Memory};
use weir_plugin_dividend::staking::Question;
use weir_plugin_dividend::{Pot, commands as dividend};
use weir_plugin_staking::{Ledger, commands as staking};
use weir_wallet::api::{ApiError, Refusal};
use weir_wallet::node::Caller;

/// What becomes of a `submit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives and is answered.
    Answered,
    /// It never arrives.
    RequestLost,
    /// It arrives, and nobody hears of it.
    AnswerLost,
}

/// One node.
pub struct Ledgers {
    staking: RefCell<(Ledger, Memory)>,
    pot: RefCell<(Pot, Memory)>,
    /// Of the next `submit`; those after it are answered.
    pub fate: Cell<Fate>,
    /// How many are answered before that one.
    pub answered: Cell<u32>,
}

type Answered = Result<Value, weir_sdk::Error>;

fn args<A: DeserializeOwned>(value: &Value) -> Result<A, weir_sdk::Error> {
    serde_json::from_value(value.clone()).map_err(|error| weir_sdk::Error::new("bad-arguments", error.to_string()))
}

fn json<A: serde::Serialize>(answer: A) -> Value {
    serde_json::to_value(answer).expect("JSON")
}

impl Ledgers {
    pub fn new(genesis: &Genesis) -> Self {
        let (one, other) = (Memory::default(), Memory::default());
        let ledger = Ledger::open(genesis.clone(), &one).expect("an empty store");
        let pot = Pot::open(genesis.clone(), &other).expect("an empty store");
        let fate = Cell::new(Fate::Answered);
        Self { staking: RefCell::new((ledger, one)), pot: RefCell::new((pot, other)), fate, answered: Cell::new(0) }
    }

    /// What it holds now, to come back to as from a backup.
    pub fn backup(&self) -> Self {
        let (staking, pot) = (self.staking.clone(), self.pot.clone());
        Self { staking, pot, fate: Cell::new(Fate::Answered), answered: Cell::new(0) }
    }

    /// Gives another node's items to this one, as gossip would.
    pub fn catch_up_with(&self, other: &Self) {
        let (theirs, store) = &*other.staking.borrow();
        let (ledger, mine) = &mut *self.staking.borrow_mut();
        loop {
            let mut items =
                theirs.serve(&weir_plugin_staking::Want::Log { from: ledger.summary().seq }, usize::MAX, store);
            for want in ledger.wants(mine, 1_000) {
                items.extend(theirs.serve(&want, usize::MAX, store));
            }
            let before = (ledger.summary(), ledger.missing());
            for item in items {
                ledger.receive(&item, None, mine, &Strict);
            }
            while ledger.step(mine, &Strict, 2_000) {}
            if before == (ledger.summary(), ledger.missing()) {
                break;
            }
        }
        for (_, _, id) in theirs.pending(usize::MAX, store) {
            if let Some(item) = theirs.item(id, store) {
                ledger.receive(&item, None, mine, &Strict);
            }
        }
    }

    /// Gives another node's decrees to this one and nothing that they name: gossip carries no pages.
    pub fn hear_decrees_of(&self, other: &Self) {
        let (theirs, store) = &*other.staking.borrow();
        let (ledger, mine) = &mut *self.staking.borrow_mut();
        let log = weir_plugin_staking::Want::Log { from: ledger.summary().seq };
        for item in theirs.serve(&log, usize::MAX, store) {
            ledger.receive(&item, None, mine, &Strict);
        }
        while ledger.step(mine, &Strict, 2_000) {}
    }

    fn staking(&self, command: &str, arguments: &Value) -> Answered {
        let (ledger, store) = &mut *self.staking.borrow_mut();
        let answer = match command {
            "submit" => {
                let answered =
                    staking::submit(ledger, &args(arguments)?, store, &Strict).map(|(answer, _)| json(answer));
                while ledger.step(store, &Strict, 2_000) {}
                answered?
            }
            "draft" => json(staking::draft(ledger, &args(arguments)?, store)?),
            "page" => json(staking::page(ledger, &args(arguments)?, store)?),
            "account" => json(staking::account(ledger, &args(arguments)?, store)?),
            "epochs" => json(staking::epochs(ledger, &args(arguments)?, store)?),
            "anchors" => json(staking::anchors(ledger, &args(arguments)?, store)?),
            "stakes" => json(staking::stakes(ledger, &args(arguments)?, store)?),
            "root" => json(staking::root(ledger)),
            "proofs" => json(staking::proofs(ledger, &args(arguments)?, store)?),
            "status" => json(staking::status(ledger, store)),
            other => return Err(weir_sdk::Error::new("unknown-command", other)),
        };
        Ok(answer)
    }

    fn dividend(&self, command: &str, arguments: &Value) -> Answered {
        self.follow();
        let (pot, store) = &mut *self.pot.borrow_mut();
        let answer = match command {
            "submit" => json(dividend::submit(pot, &args(arguments)?, store, &Strict)?.0),
            "list" => json(dividend::list(pot, &args(arguments)?, store)?),
            "entitlement" => json(dividend::entitlement(pot, &args(arguments)?, store)?),
            other => return Err(weir_sdk::Error::new("unknown-command", other)),
        };
        Ok(answer)
    }

    /// Lets the dividends ask staking until there is nothing new.
    fn follow(&self) {
        let (pot, store) = &mut *self.pot.borrow_mut();
        let mut idle = 0;
        while idle < 3 {
            idle += 1;
            match pot.question() {
                Some(Question::Epochs(asked)) => {
                    let answer = self.staking("epochs", &json!(asked)).expect("an answer");
                    pot.answer_epochs(serde_json::from_value(answer).expect("JSON"), store);
                }
                Some(Question::Anchors(asked)) => {
                    let answer = self.staking("anchors", &json!(asked)).expect("an answer");
                    pot.answer_anchors(serde_json::from_value(answer).expect("JSON"));
                    idle = 0;
                }
                Some(Question::Stakes(asked)) => {
                    let answer = self.staking("stakes", &json!(asked)).expect("an answer");
                    pot.answer_stakes(serde_json::from_value(answer).expect("JSON"));
                    idle = 0;
                }
                None => {}
            }
            while pot.step(store, 1_000) {
                idle = 0;
            }
        }
    }
}

impl Ledgers {
    fn fate_of(&self, command: &str) -> Fate {
        match (command, self.answered.get()) {
            ("submit", 0) => self.fate.replace(Fate::Answered),
            ("submit", before) => {
                self.answered.set(before - 1);
                Fate::Answered
            }
            _ => Fate::Answered,
        }
    }
}

impl Caller for Ledgers {
    fn call(&self, plugin: &str, command: &str, arguments: &Value) -> Result<Value, ApiError> {
        let fate = self.fate_of(command);
        let lost = || ApiError::Broken { socket: "weir.sock".into(), source: io::ErrorKind::ConnectionReset.into() };
        if fate == Fate::RequestLost {
            return Err(lost());
        }
        let answered = match plugin {
            "staking" => self.staking(command, arguments),
            "dividend" => self.dividend(command, arguments),
            other => Err(weir_sdk::Error::new("unknown-plugin", other)),
        };
        if fate == Fate::AnswerLost {
            return Err(lost());
        }
        answered.map_err(|error| {
            let (code, message) = (error.code().to_owned(), error.message().to_owned());
            let error = json!({"code": code, "message": message});
            ApiError::Refused(Refusal { status: 422, code, message, error })
        })
    }
}
