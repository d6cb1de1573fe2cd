//! What to ask the plugin `staking`, and what to do with its answers.

use weir_ledger::Ordered;

use super::{Planned, Pot, Rest, Work};
use crate::staking::{Anchors, AnchorsArgs, Epochs, EpochsArgs, Question, Stakes, StakesArgs, TOPIC};

/// Epochs that are planned at once.
const PLAN: u64 = 64;

impl Pot {
    /// What to ask next. `Epochs` is also how to find out whether there is something new, so ask it from time to time; the
    /// others follow at once. None while there is work to do or something is missing.
    pub fn question(&self) -> Option<Question> {
        if self.is_clearing() {
            return None;
        }
        let (Some(first), Some(last)) = (self.plan.front(), self.plan.back()) else {
            return Some(Question::Epochs(EpochsArgs { from: self.meta.epoch.max(1), limit: PLAN, topic: TOPIC }));
        };
        if let Some(rest) = &first.rest {
            let after = match rest {
                Rest::FromTheStart => None,
                Rest::After(cursor) => Some(cursor.clone()),
            };
            return Some(Question::Anchors(AnchorsArgs { epoch: first.epoch.epoch, topic: TOPIC, after }));
        }
        let after = self.next_page.clone().filter(|_| self.changes.is_empty())?;
        Some(Question::Stakes(StakesArgs { epoch: last.epoch.epoch, since: self.meta.epoch, after }))
    }

    /// Forgets what was planned: after a question that failed, and when staking was restarted.
    pub fn forget_plan(&mut self) {
        self.plan.clear();
        self.changes.clear();
        self.missing.clear();
        self.next_page = None;
    }

    /// The answer of `epochs`. Finds out whether staking went back behind what is already in the dividends, be it a part of
    /// an epoch.
    pub fn answer_epochs<S: Ordered>(&mut self, answer: Epochs, store: &mut S) {
        if answer.genesis != self.meta.genesis || self.is_clearing() {
            return;
        }
        self.forget_plan();
        let ours = answer.epochs.iter().find(|epoch| epoch.epoch == self.meta.epoch);
        let gone = self.meta.epoch > 0 && ours.is_none_or(|epoch| epoch.id != self.meta.epoch_id);
        let next = answer.epochs.iter().find(|epoch| epoch.epoch == self.meta.epoch + 1);
        let torn = self.meta.work.begun().is_some_and(|id| next.is_none_or(|next| next.id != id));
        if gone || torn {
            self.went_back += 1;
            self.meta.work = Work::Clearing;
            return self.save(store);
        }
        for epoch in answer.epochs.into_iter().filter(|epoch| epoch.epoch > self.meta.epoch) {
            let expected = self.plan.back().map_or(self.meta.epoch, |last| last.epoch.epoch) + 1;
            if epoch.epoch != expected || self.plan.len() as u64 >= PLAN {
                break;
            }
            // Asked for as a whole: the first ones of a long list would come twice.
            let rest = epoch.more_anchors.then_some(Rest::FromTheStart);
            self.plan.push_back(Planned { epoch, rest });
        }
        self.next_page = (!self.plan.is_empty()).then_some(None);
    }

    /// The answer of `anchors`.
    pub fn answer_anchors(&mut self, answer: Anchors) {
        let Some(first) = self.plan.front_mut().filter(|first| first.epoch.epoch == answer.epoch) else { return };
        if matches!(first.rest, Some(Rest::FromTheStart)) {
            first.epoch.anchors.clear();
        }
        first.epoch.anchors.extend(answer.anchors);
        first.rest = answer.next.map(Rest::After);
    }

    /// The answer of `stakes`.
    pub fn answer_stakes(&mut self, answer: Stakes) {
        if self.next_page.is_none() {
            return;
        }
        self.changes.extend(answer.accounts.into_iter().filter(|change| change.epoch > self.meta.epoch));
        self.next_page = answer.next.map(Some);
    }
}
