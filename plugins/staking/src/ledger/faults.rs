//! When the issuer has to be replaced: two decrees with one number, or one that cannot be followed.

use weir_ledger::{Id, Ordered, Verify};

use super::desk::Desk;
use super::{Ledger, Notice};
use crate::layout;
use crate::meta::{EpochRecord, Fault, Work};

impl Ledger {
    /// Looks whether two decrees of the latest reign have this number.
    pub(super) fn look_for_two<S: Ordered, V: Verify>(&mut self, reign: u64, seq: u64, desk: &mut Desk<'_, S, V>) {
        let (top, key) = self.meta.issuer();
        if reign != top {
            return;
        }
        let found = desk.prefix(&layout::decrees(reign, seq), 4);
        let ids = found.iter().filter_map(|(key, _)| layout::read_decree(key)).map(|(_, id)| id);
        let of_issuer = |id: &Id| self.decree(*id, desk).is_some_and(|decree| decree.body().key == key);
        let decrees: Vec<_> = ids.filter(of_issuer).collect();
        if decrees.len() >= 2 {
            let what = format!("the issuer signed two decrees with the number {seq}");
            self.fault(Fault { seq, decrees, what }, desk);
        }
    }

    /// The same for all numbers of a reign that has just become the latest.
    pub(super) fn look_for_two_in<S: Ordered, V: Verify>(&mut self, reign: u64, desk: &mut Desk<'_, S, V>) {
        let found = desk.prefix(&layout::reign(reign), usize::MAX);
        let numbers: Vec<_> =
            found.iter().filter_map(|(key, _)| layout::read_decree(key)).map(|(seq, _)| seq).collect();
        for pair in numbers.windows(2) {
            if pair[0] == pair[1] {
                self.look_for_two(reign, pair[0], desk);
            }
        }
    }

    /// The latest issuer's log ends before this number: goes back to the last epoch before it.
    ///
    /// Where a rotation chose the log, what it chose stands, whatever its issuer signs later.
    pub(super) fn fault<S: Ordered, V: Verify>(&mut self, mut fault: Fault, desk: &mut Desk<'_, S, V>) {
        if let Some(rotation) = &self.meta.rotation {
            fault.seq = fault.seq.max(rotation.seq + 1);
        }
        if self.meta.fault.as_ref().is_some_and(|known| known.seq <= fault.seq) {
            return;
        }
        let seq = fault.seq;
        let mut epoch = self.meta.closed.epoch;
        while epoch > 0 && self.epoch_record(epoch, desk).is_some_and(|record| record.tip.seq > seq) {
            epoch -= 1;
        }
        self.notice(Notice::IssuerFault { seq, epoch, what: fault.what.clone() });
        self.meta.fault = Some(fault);
        let reached =
            self.meta.tip.seq > seq || matches!(&self.meta.work, Work::Closing(closing) if closing.seq >= seq);
        if reached {
            self.begin_rewind(epoch);
        }
    }

    /// What a closed epoch left; also that before the first.
    pub(crate) fn epoch_record<S: Ordered>(&self, epoch: u64, store: &S) -> Option<EpochRecord> {
        if epoch == self.meta.closed.epoch {
            return Some(self.meta.closed);
        }
        if epoch > 0 {
            return store.record(&layout::epoch(epoch));
        }
        Some(super::first_meta(&self.genesis).closed)
    }
}
