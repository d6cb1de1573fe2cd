//! Following the issuer's log, one decree at a time, up to an epoch that is not closed yet.

use weir_ledger::{Id, Ordered, Verify};

use super::desk::Desk;
use super::{Ledger, Notice};
use crate::items::{Decree, Order, Signed};
use crate::layout;
use crate::meta::{Closing, Fault, Lasts, Stage, Tip, Walk, Work};

impl Ledger {
    /// Takes the next decree that counts. False when there is none, or when one has to be waited for.
    pub(super) fn follow<S: Ordered, V: Verify>(&mut self, desk: &mut Desk<'_, S, V>) -> bool {
        if let Some(rotation) = self.meta.unsettled() {
            return match rotation.walk {
                Walk::At(id, seq) => self.walk_back(rotation, id, seq, desk),
                Walk::Nowhere => false,
                Walk::Meets(_) => self.follow_chosen(rotation.id, desk),
            };
        }
        let tip = self.meta.tip;
        if self.meta.fault.as_ref().is_some_and(|fault| fault.seq <= tip.seq) {
            return false;
        }
        let Some(decree) = self.candidate(tip, desk) else { return false };
        if decree.body().before != tip.before {
            // Signed by the issuer, and not behind what counts: there must be another decree with an earlier number, and
            // together with it the proof.
            self.want_parent(decree.body().before);
            return false;
        }
        match self.adopt(&decree, false, desk) {
            Ok(()) => true,
            Err(what) => {
                self.fault(Fault { seq: tip.seq, decrees: vec![decree.id()], what: what.to_owned() }, desk);
                true
            }
        }
    }

    /// The one decree with the next number.
    fn candidate<S: Ordered>(&self, tip: Tip, store: &S) -> Option<Signed<Decree>> {
        let found = store.prefix(&layout::decrees(tip.reign, tip.seq), 4);
        let ids = found.iter().filter_map(|(key, _)| layout::read_decree(key));
        ids.filter_map(|(_, id)| self.decree(id, store)).find(|decree| decree.body().key == tip.key)
    }

    /// As [`Ledger::follow`], where a rotation says which decree counts.
    fn follow_chosen<S: Ordered, V: Verify>(&mut self, rotation: Id, desk: &mut Desk<'_, S, V>) -> bool {
        let id = desk.get(&layout::forced(rotation, self.meta.tip.seq)).and_then(|id| id.try_into().ok()).map(Id);
        let Some(decree) = id.and_then(|id| self.decree(id, desk)) else {
            self.nowhere();
            return false;
        };
        if self.adopt(&decree, true, desk).is_err() {
            self.nowhere();
            return false;
        }
        true
    }

    /// The rotation names a log that cannot be followed.
    pub(super) fn nowhere(&mut self) {
        if let Some(rotation) = &mut self.meta.rotation {
            rotation.walk = Walk::Nowhere;
            let reign = rotation.reign;
            self.notice(Notice::RotationNowhere { reign });
        }
    }

    /// Moves the tip over a decree, or begins to close the epoch that it is.
    fn adopt<S: Ordered, V: Verify>(
        &mut self,
        decree: &Signed<Decree>,
        chosen: bool,
        desk: &mut Desk<'_, S, V>,
    ) -> Result<(), &'static str> {
        let (tip, id, body) = (self.meta.tip, decree.id(), decree.body());
        if (body.seq, body.before) != (tip.seq, tip.before) {
            return Err("the decree does not follow the one before it");
        }
        if let Order::Rotate { new_key } = body.order {
            if !chosen || body.key != self.genesis.recovery() || body.reign <= tip.reign {
                return Err("a rotation begins a higher reign than those before it");
            }
            self.advance_tip(id, Tip { reign: body.reign, key: new_key, rotation: id, ..tip }, desk);
            if self.meta.rotation.is_some_and(|rotation| rotation.id == id) {
                self.notice(Notice::Rotated { new_key, reign: body.reign });
            }
            return Ok(());
        }
        if (body.reign, body.key) != (tip.reign, tip.key) {
            return Err("the decree is not the issuer's");
        }
        match &body.order {
            Order::Mint { to, .. } => {
                desk.put(&layout::minted(*to), &[]);
                self.advance_tip(id, tip, desk);
            }
            Order::Epoch { number, .. } => {
                let epoch = self.meta.closed.epoch + 1;
                if *number != epoch {
                    return Err("the epoch does not have the number after the last one's");
                }
                let (stage, last) = (Stage::Check { page: 0, at: 0 }, Lasts::default());
                let totals = self.meta.closed.totals;
                self.missing.clear();
                self.meta.work = Work::Closing(Closing { id, seq: body.seq, epoch, stage, last, totals });
            }
            Order::Rotate { .. } => {}
        }
        Ok(())
    }

    /// The decree counts: the log goes on behind it.
    pub(super) fn advance_tip<S: Ordered>(&mut self, id: Id, next: Tip, store: &mut S) {
        store.put(&layout::log(next.seq), &id.0);
        self.meta.tip = Tip { seq: next.seq + 1, before: id, ..next };
    }
}
