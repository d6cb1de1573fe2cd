//! Before an epoch is folded: is everything there that it names, and can it be followed at all?

use weir_ledger::{Id, Ordered, Verify};

use super::desk::Desk;
use super::{Ledger, MAX_PENDING, Missing};
use crate::items::{Include, Operation, Order, Page, Signed};
use crate::layout;
use crate::meta::{Closing, Fault, Stage, Work};

/// What became of following an account's log backwards.
pub(super) enum Chain {
    /// Everything is there, in the order of numbers.
    Whole(Vec<Signed<Operation>>),
    /// This one is not there.
    Lacks(Id),
    /// It does not lead to what is closed.
    Broken,
}

impl Ledger {
    /// One piece of the way to a closed epoch. False when something has to come first.
    pub(super) fn close<S: Ordered, V: Verify>(&mut self, closing: Closing, desk: &mut Desk<'_, S, V>) -> bool {
        let Some(pages) = self.pages(closing.id, desk) else { return false };
        if let Stage::Check { page, at } = closing.stage {
            return match self.check(closing.clone(), &pages, page, at, desk) {
                Ok(more) => more,
                Err(what) => {
                    self.cannot_follow(&closing, what, desk);
                    true
                }
            };
        }
        self.fold(closing, &pages, desk);
        true
    }

    /// The ids of an epoch's pages.
    pub(super) fn pages<S: Ordered>(&self, header: Id, store: &S) -> Option<Vec<Id>> {
        match &self.decree(header, store)?.body().order {
            Order::Epoch { pages, .. } => Some(pages.clone()),
            _ => None,
        }
    }

    /// The epoch is wrong in itself: every node sees the same and stops before it.
    fn cannot_follow<S: Ordered, V: Verify>(&mut self, closing: &Closing, what: &str, desk: &mut Desk<'_, S, V>) {
        self.missing.clear();
        if self.meta.unsettled().is_some() {
            self.nowhere();
            self.interrupt();
            return;
        }
        let what = format!("epoch {} cannot be followed: {what}", closing.epoch);
        self.fault(Fault { seq: closing.seq, decrees: vec![closing.id], what }, desk);
    }

    fn check<S: Ordered, V: Verify>(
        &mut self,
        mut closing: Closing,
        pages: &[Id],
        number: usize,
        at: usize,
        desk: &mut Desk<'_, S, V>,
    ) -> Result<bool, &'static str> {
        let Some(id) = pages.get(number) else {
            closing.stage = Stage::Mints(self.meta.closed.tip.seq);
            self.meta.work = Work::Closing(closing);
            return Ok(true);
        };
        let Some(page) = self.page(*id, desk)? else {
            self.missing.insert(*id, Missing::Page);
            return Ok(false);
        };
        if at == 0 {
            self.check_page(&closing, &page, desk)?;
        }
        let mut at = at;
        // One at least, or a page whose proofs cost a whole step would never be through.
        while let Some(include) = page.includes.get(at) {
            self.check_include(*include, desk)?;
            at += 1;
            if !desk.has_left() {
                break;
            }
        }
        let through = at >= page.includes.len();
        let more = if !through {
            closing.stage = Stage::Check { page: number, at };
            true
        } else if self.missing.is_empty() {
            closing.stage = Stage::Check { page: number + 1, at: 0 };
            advance_lasts(&mut closing, &page);
            true
        } else {
            // Above zero even for a page without includes, so that its proofs are not verified again.
            closing.stage = Stage::Check { page: number, at: at.max(1) };
            false
        };
        self.page = Some(page);
        self.meta.work = Work::Closing(closing);
        Ok(more)
    }

    /// A page by its id, from the items or from the draft that it was made in.
    pub(super) fn page<S: Ordered>(&mut self, id: Id, store: &mut S) -> Result<Option<Page>, &'static str> {
        if let Some(page) = self.page.take().filter(|page| page.id() == id) {
            return Ok(Some(page));
        }
        let bytes = store.get(&layout::item(id)).or_else(|| {
            let draft = store.get(&layout::draft(id))?;
            store.put(&layout::item(id), &draft);
            Some(draft)
        });
        let Some(bytes) = bytes else { return Ok(None) };
        Page::decode(&bytes).map(Some).map_err(|_| "a page is not readable")
    }

    fn check_page<S: Ordered, V: Verify>(
        &self,
        closing: &Closing,
        page: &Page,
        desk: &Desk<'_, S, V>,
    ) -> Result<(), &'static str> {
        let last = &closing.last;
        let follows = page.includes.first().is_none_or(|next| last.include.is_none_or(|last| last < next.account))
            && page.proofs.first().is_none_or(|next| last.proof.is_none_or(|last| last < next.account()))
            && page
                .anchors
                .first()
                .is_none_or(|next| last.anchor.is_none_or(|last| last < (next.topic.bytes(), next.id)));
        if !follows {
            return Err("the entries of its pages do not ascend");
        }
        for proof in &page.proofs {
            let known = desk.get(&layout::proof(proof.account())).is_some_and(|known| known == proof.encode());
            if !known && !proof.is_genuine(self.genesis.hash(), desk) {
                return Err("one of its proofs is not genuine");
            }
        }
        Ok(())
    }

    fn check_include<S: Ordered, V: Verify>(
        &mut self,
        include: Include,
        desk: &Desk<'_, S, V>,
    ) -> Result<(), &'static str> {
        let (next, _) = self.log_of(include, desk);
        if include.seq < next || include.seq - next >= MAX_PENDING {
            return Err("it includes operations that are included already, or more than 64 of one account");
        }
        match self.chain(include, desk) {
            Chain::Whole(_) => Ok(()),
            Chain::Broken => Err("an account's operations do not follow each other"),
            Chain::Lacks(id) => {
                self.missing.insert(id, Missing::Operation { include, from: next });
                Ok(())
            }
        }
    }

    fn log_of<S: Ordered>(&self, include: Include, store: &S) -> (u64, Id) {
        self.account(include.account, store)
            .map_or((0, self.genesis.hash()), |account| (account.next_seq, account.head))
    }

    /// The operations that an include adds, followed from the last one back to what is closed.
    pub(super) fn chain<S: Ordered>(&self, include: Include, store: &S) -> Chain {
        let (next, head) = self.log_of(include, store);
        let (mut id, mut found) = (include.id, Vec::new());
        for seq in (next..=include.seq).rev() {
            let Some(bytes) = store.get(&layout::item(id)) else { return Chain::Lacks(id) };
            let Ok(operation) = Signed::<Operation>::decode(&bytes) else { return Chain::Broken };
            let body = operation.body();
            if (body.account, body.seq) != (include.account, seq) {
                return Chain::Broken;
            }
            id = body.before;
            found.push(operation);
        }
        if id != head {
            return Chain::Broken;
        }
        found.reverse();
        Chain::Whole(found)
    }

    /// A missing operation is there now: goes on with what it names.
    pub(super) fn resolve<S: Ordered, V: Verify>(&mut self, id: Id, desk: &mut Desk<'_, S, V>) {
        let Some(Missing::Operation { include, from }) = self.missing.remove(&id) else { return };
        match self.chain(include, desk) {
            Chain::Whole(_) => {}
            Chain::Lacks(id) => {
                self.missing.insert(id, Missing::Operation { include, from });
            }
            Chain::Broken => {
                if let Work::Closing(closing) = self.meta.work.clone() {
                    self.cannot_follow(&closing, "an account's operations do not follow each other", desk);
                }
            }
        }
    }
}

fn advance_lasts(closing: &mut Closing, page: &Page) {
    let last = &mut closing.last;
    last.include = page.includes.last().map(|include| include.account).or(last.include);
    last.proof = page.proofs.last().map(|proof| proof.account()).or(last.proof);
    last.anchor = page.anchors.last().map(|anchor| (anchor.topic.bytes(), anchor.id)).or(last.anchor);
}
