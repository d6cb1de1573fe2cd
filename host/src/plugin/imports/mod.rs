//! What a plugin can import, one file per interface. Thin: they check, stage, and answer.
//!
//! An `Err` here is a trap, which costs the plugin its instance: it is for what no plugin does by mistake.

mod calls;
mod clock;
mod crypto;
mod log;
mod metrics;
mod net;
mod random;
mod send;
mod store;
mod timers;
mod turn;

pub(super) use self::send::add_to_linker as add_sends_to_linker;
use super::instance::InstanceState;
use super::turn::Effect;

/// Longest text of a failure that is passed on, in bytes.
const MAX_FAILURE_TEXT: usize = 1_024;

impl super::abi::types::Host for InstanceState {}

impl InstanceState {
    /// Stages what has no way to say no: beyond the budget it traps.
    fn stage(&mut self, effect: Effect) -> wasmtime::Result<()> {
        let most = self.policy.turn_effects;
        let over = || wasmtime::format_err!("a turn may stage at most {most} effects and this one staged more");
        self.staged.push(effect).map_err(|_| over())
    }
}

/// An answer as it may leave: not too large, its failure short.
fn bounded(
    outcome: Result<Vec<u8>, super::abi::types::Failure>,
    limit: u32,
) -> Result<bytes::Bytes, crate::wire::Failure> {
    match outcome {
        Ok(body) if body.len() <= limit as usize => Ok(body.into()),
        Ok(body) => Err(crate::wire::Failure {
            code: "answer-too-large".to_owned(),
            message: format!("the answer has {} bytes; the limit is {limit}", body.len()),
        }),
        Err(mut failure) => {
            failure.code.truncate(failure.code.floor_char_boundary(64));
            failure.message.truncate(failure.message.floor_char_boundary(MAX_FAILURE_TEXT));
            Err(failure.into())
        }
    }
}
