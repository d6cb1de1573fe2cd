//! Rotations: which one counts, and which log it chooses.

use weir_ledger::{Id, Ordered, Verify};

use super::desk::Desk;
use super::verdict::{Ignored, Verdict};
use super::{Ledger, MAX_PARENTS, Notice};
use crate::items::{Decree, Order, Signed};
use crate::layout;
use crate::meta::{Rotation, Walk, Work};

impl Ledger {
    /// Whether a rotation is better than the best one known.
    pub(super) fn rotation_counts(&self, decree: &Signed<Decree>) -> Result<(), Verdict> {
        match &self.meta.rotation {
            Some(best)
                if (best.reign, std::cmp::Reverse(best.id))
                    >= (decree.body().reign, std::cmp::Reverse(decree.id())) =>
            {
                // One more with the same reign is the proof that the recovery key is in two hands: worth a look, once.
                if best.reign == decree.body().reign && self.meta.torn_recovery.is_none() {
                    return Ok(());
                }
                Err(Verdict::Ignored(Ignored::Outdone))
            }
            _ => Ok(()),
        }
    }

    /// Makes a genuine rotation the one that counts, if it is better.
    pub(super) fn consider_rotation<S: Ordered, V: Verify>(
        &mut self,
        decree: &Signed<Decree>,
        desk: &mut Desk<'_, S, V>,
    ) {
        let (id, body) = (decree.id(), decree.body());
        let Order::Rotate { new_key } = body.order else { return };
        if let Some(best) = self.meta.rotation {
            if best.reign == body.reign && self.meta.torn_recovery.is_none() {
                self.meta.torn_recovery = Some((best.id.min(id), best.id.max(id)));
                self.notice(Notice::RecoveryTorn);
            }
            if (best.reign, std::cmp::Reverse(best.id)) >= (body.reign, std::cmp::Reverse(id)) {
                return;
            }
        }
        let walk = Walk::At(id, body.seq);
        self.meta.rotation = Some(Rotation { reign: body.reign, seq: body.seq, id, new_key, walk });
        self.meta.fault = None;
        self.interrupt();
        self.look_for_two_in(body.reign, desk);
    }

    /// Stops closing an epoch; what it had changed is undone.
    pub(super) fn interrupt(&mut self) {
        match self.meta.work {
            Work::Closing(_) => self.begin_rewind(self.meta.closed.epoch),
            Work::Idle | Work::Rewinding { .. } => {}
        }
    }

    /// Looks at one decree of the log that a rotation chooses, from the rotation backwards to a closed epoch.
    pub(super) fn walk_back<S: Ordered, V: Verify>(
        &mut self,
        rotation: Rotation,
        id: Id,
        seq: u64,
        desk: &mut Desk<'_, S, V>,
    ) -> bool {
        let Some(decree) = self.decree(id, desk) else {
            self.want_parent(id);
            return false;
        };
        let body = decree.body();
        if body.seq != seq {
            self.nowhere();
            return true;
        }
        if let Order::Epoch { number, .. } = body.order
            && number <= self.meta.closed.epoch
            && self.epoch_record(number, desk).is_some_and(|record| record.id == id)
        {
            self.meets(number);
            return true;
        }
        desk.put(&layout::forced(rotation.id, seq), &id.0);
        match seq.checked_sub(1) {
            Some(seq) if body.before != self.genesis.hash() => self.set_walk(Walk::At(body.before, seq)),
            None if body.before == self.genesis.hash() => self.meets(0),
            _ => self.nowhere(),
        }
        true
    }

    fn meets(&mut self, epoch: u64) {
        self.set_walk(Walk::Meets(epoch));
        self.begin_rewind(epoch);
    }

    fn set_walk(&mut self, walk: Walk) {
        if let Some(rotation) = &mut self.meta.rotation {
            rotation.walk = walk;
        }
    }

    /// Asks for a decree that another one names as the one before it.
    pub(super) fn want_parent(&mut self, id: Id) {
        if id != self.genesis.hash() && self.parents.len() < MAX_PARENTS {
            self.parents.insert(id);
        }
    }
}
