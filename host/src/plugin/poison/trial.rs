//! Runs a culprit on an instance beside the running one, with an empty store: does it fail by itself?
//!
//! What happens there is forgotten: nothing is committed, logged or counted. The plugin hears who is there, because an
//! event of a peer comes only after that; what anybody sent before is all that is missing.

use super::muting::LaneName;
use crate::plugin::abi;
use crate::plugin::actor::Actor;
use crate::plugin::crash::CallFailure;
use crate::plugin::events;
use crate::plugin::home::add;
use crate::plugin::instance::{About, Instance, TurnInput};
use crate::plugin::mailbox::{Batch, Item};
use crate::protocol::News;

/// A namespace that nobody ever writes.
const EMPTY: &str = "empty";

impl Actor {
    /// How the event fails there. None when it does not, or when nothing can be said.
    pub(super) async fn trial(&self, batch: &Batch, item: &Item) -> Option<CallFailure> {
        add(&self.home.counts.trials, 1);
        let mut instance = Instance::create(&self.engine, &self.home, &self.revision, self.now).await.ok()?;
        instance.state_mut().set_aside(self.home.services.store.host_namespace(EMPTY));
        let init = self.init(&self.revision, abi::Cause::Load, None);
        let (instance, started) = instance.start(init).await;
        started.ok()?;
        let (instance, heard) = self.hear(instance?, self.who_is_there(batch, item)).await;
        heard.ok()?;
        let at = batch.items.iter().position(|of| of == item)?;
        self.hear(instance?, batch.part(at..at + 1, |_| true)).await.1.err()
    }

    async fn hear(&self, instance: Instance, mut batch: Batch) -> (Option<Instance>, Result<(), CallFailure>) {
        if batch.items.is_empty() {
            return (Some(instance), Ok(()));
        }
        let bodies = std::mem::take(&mut batch.bodies);
        let events = events::write(&batch, instance.state());
        let about = About::default();
        instance.handle(TurnInput { events, bodies, now: self.now, replay: true, part: false, about }).await.0
    }

    /// The sender, and as many others as one turn tells of.
    fn who_is_there(&self, batch: &Batch, item: &Item) -> Batch {
        let sender = batch.lane(item);
        let most = self.home.policy().message;
        let of_sender = sender.map(|lane| (lane, self.told.get(lane).copied().unwrap_or(most)));
        let others = self.told.iter().filter(|(lane, _)| Some(*lane) != sender).map(|(lane, most)| (lane, *most));
        let supported = |((peer, protocol), max_message): (&LaneName, u32)| {
            Item::News(Box::new(News::Supported { peer: *peer, protocol: protocol.clone(), max_message }))
        };
        let all = of_sender.into_iter().chain(others).take(self.home.policy().batch_events.max(1));
        Batch { items: all.map(supported).collect(), ..Batch::default() }
    }
}
