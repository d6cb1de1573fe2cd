//! Tries a dead letter again on the running instance, because an operator says so.

use tokio::sync::oneshot;

use super::letter::DeadLetter;
use crate::plugin::PluginError;
use crate::plugin::actor::Actor;
use crate::plugin::error::store_failed;
use crate::plugin::mailbox::Batch;

/// What an operator asked for, and who waits.
pub(in crate::plugin) struct Retry {
    pub(in crate::plugin) id: u64,
    pub(in crate::plugin) reply: oneshot::Sender<Result<DeadLetter, PluginError>>,
}

impl Actor {
    /// Handles the letter in a turn of its own. It is removed when that went well, and stays otherwise. The crash that it
    /// may cost is the operator's wish and counts against nobody.
    pub(in crate::plugin) async fn retry(&mut self, Retry { id, reply }: Retry) {
        // Nobody waits for the outcome when the caller gave up.
        let _ = reply.send(self.try_again(id).await);
    }

    async fn try_again(&mut self, id: u64) -> Result<DeadLetter, PluginError> {
        let plugin = self.home.name.clone();
        let refused = |reason: String| PluginError::NotRetried { plugin: plugin.clone(), id, reason };
        // Whatever it is in the middle of comes first.
        while (self.instance.is_none() || self.is_rescuing()) && self.supervision.wake().is_none() {
            self.work().await;
        }
        if self.instance.is_none() {
            return Err(refused("the plugin is not running right now; try again when it is active".to_owned()));
        }
        let found = self.home.letters.get(id).map_err(store_failed(&plugin))?;
        let (letter, body) = found.ok_or_else(|| PluginError::UnknownLetter { plugin: plugin.clone(), id })?;
        if !letter.kept {
            return Err(refused("its body was too large to be kept".to_owned()));
        }
        if let Some((peer, protocol)) = letter.event.lane()
            && !self.told.contains_key(&(peer, protocol.clone()))
        {
            let reason = format!(
                "peer {peer} is not there, and the plugin hears nothing of a peer that is not there; try again when it \
                 is connected and supports {protocol}"
            );
            return Err(refused(reason));
        }
        self.tick();
        let batch = letter.event.batch(body.into(), self.home.services.desk.next());
        let (_, outcome) = self.turn(batch, true).await;
        let Err(failure) = outcome else {
            self.home.letters.remove(id).await.map_err(store_failed(&plugin))?;
            return Ok(letter);
        };
        self.abandon(&Batch::default());
        let report = self.report(&letter.report.event, None, letter.report.peer, failure);
        self.home.letters.retried(letter, report.clone()).await.map_err(store_failed(&plugin))?;
        Err(PluginError::RetryFailed { id, report: Box::new(report) })
    }
}
