//! What an item is worth: accepted, ignored because it says nothing now, or rejected because its sender should have known.

use weir_ledger::{Id, Key, Ordered, Verify, hash};

use super::desk::Desk;
use super::verdict::{Ignored, Receipt, Rejected, Verdict};
use super::{Ledger, MAX_NAMED, MAX_PENDING, MAX_SOURCES, Missing, Notice};
use crate::items::{Decree, Item, MAX_PAGE, Operation, Order, Page, Proof, Signed};
use crate::layout;

/// How far ahead of the log a decree is kept.
const MAX_AHEAD: u64 = 4_096;

impl Ledger {
    /// Takes an item from beside the node.
    pub fn submit<S: Ordered, V: Verify>(&mut self, bytes: &[u8], store: &mut S, verify: &V) -> Receipt {
        self.receive(bytes, None, store, verify)
    }

    /// Takes an item from a peer. Then let it [`Ledger::step`].
    pub fn receive<S: Ordered, V: Verify>(
        &mut self,
        bytes: &[u8],
        from: Option<Key>,
        store: &mut S,
        verify: &V,
    ) -> Receipt {
        let mut desk = Desk::new(store, verify, usize::MAX);
        let receipt = self.take(bytes, from, &mut desk);
        self.save(store);
        receipt
    }

    fn take<S: Ordered, V: Verify>(&mut self, bytes: &[u8], from: Option<Key>, desk: &mut Desk<'_, S, V>) -> Receipt {
        if let Some(receipt) = self.take_named_page(bytes, desk) {
            return receipt;
        }
        let item = match Item::decode(bytes) {
            Ok(item) => item,
            Err(error) => {
                let verdict = Verdict::Rejected(Rejected::Malformed(error.to_string()));
                return Receipt { id: None, verdict, spread: Vec::new() };
            }
        };
        let id = item.id();
        match item {
            Item::Operation(operation) => self.take_operation(&operation, desk),
            Item::Decree(decree) => {
                let verdict = self.take_decree(&decree, from, desk);
                Receipt::new(id, verdict, bytes)
            }
            Item::Page(_) => {
                let known = desk.has(&layout::item(id)) || desk.has(&layout::draft(id));
                let why = if known { Ignored::Known } else { Ignored::NotNamed };
                Receipt::new(id, Verdict::Ignored(why), bytes)
            }
            Item::Proof(proof) => Receipt::new(id, self.take_proof(&proof, desk), bytes),
        }
    }

    /// A page that an epoch names is kept as it is: if it is not readable, the issuer is to blame and not who brought it.
    fn take_named_page<S: Ordered, V: Verify>(&mut self, bytes: &[u8], desk: &mut Desk<'_, S, V>) -> Option<Receipt> {
        if !Page::looks_like_one(bytes) || bytes.len() > MAX_PAGE || self.named.is_empty() && self.missing.is_empty() {
            return None;
        }
        let id = hash(bytes);
        let named = self.named.remove(&id) | (self.missing.get(&id) == Some(&Missing::Page));
        if !named {
            return None;
        }
        self.missing.remove(&id);
        desk.put(&layout::item(id), bytes);
        Some(Receipt::new(id, Verdict::Accepted, bytes))
    }

    fn take_operation<S: Ordered, V: Verify>(
        &mut self,
        operation: &Signed<Operation>,
        desk: &mut Desk<'_, S, V>,
    ) -> Receipt {
        let (id, bytes) = (operation.id(), operation.bytes());
        let plain = |verdict| Receipt::new(id, verdict, bytes);
        if desk.has(&layout::item(id)) {
            return plain(Verdict::Ignored(Ignored::Known));
        }
        if !operation.is_genuine(self.genesis.hash(), desk) {
            return plain(Verdict::Rejected(Rejected::Signature));
        }
        let Operation { account, seq, .. } = *operation.body();
        if self.missing.contains_key(&id) {
            return self.take_named(operation, desk);
        }
        if desk.has(&layout::proof(account)) {
            return plain(Verdict::Ignored(Ignored::Equivocated));
        }
        let state = self.account(account, desk);
        if state.is_none() && !desk.has(&layout::minted(account)) {
            return plain(Verdict::Ignored(Ignored::NoMint));
        }
        let next = state.map_or(0, |state| state.next_seq);
        if seq >= next.saturating_add(MAX_PENDING) {
            return plain(Verdict::Ignored(Ignored::TooFarAhead));
        }
        match self.other_with_number(account, seq, seq < next, desk) {
            Some(other) => match Proof::new(operation.clone(), other) {
                Some(proof) => {
                    self.keep_proof(&proof, desk);
                    Receipt { id: Some(id), verdict: Verdict::Accepted, spread: vec![proof.encode()] }
                }
                None => plain(Verdict::Ignored(Ignored::Known)),
            },
            // Without what was included there is nothing to compare it with: the store is not what it was.
            None if seq < next => plain(Verdict::Ignored(Ignored::Known)),
            None => {
                self.keep_pending(operation, &[], desk);
                plain(Verdict::Accepted)
            }
        }
    }

    /// An operation that an epoch names and that was missing.
    fn take_named<S: Ordered, V: Verify>(
        &mut self,
        operation: &Signed<Operation>,
        desk: &mut Desk<'_, S, V>,
    ) -> Receipt {
        let (id, bytes) = (operation.id(), operation.bytes());
        let mut receipt = Receipt::new(id, Verdict::Accepted, bytes);
        if self.account(operation.body().account, desk).is_some_and(|account| account.frozen.is_some()) {
            // It does nothing, so nobody compares it: who needs it for the epoch asks for it.
            desk.put(&layout::item(id), bytes);
            receipt.spread.clear();
        } else {
            self.keep_pending(operation, layout::NAMED, desk);
        }
        self.resolve(id, desk);
        receipt
    }

    /// The operation that has this number already.
    fn other_with_number<S: Ordered, V: Verify>(
        &self,
        account: Key,
        seq: u64,
        included: bool,
        desk: &Desk<'_, S, V>,
    ) -> Option<Signed<Operation>> {
        let id = if included {
            Id(desk.get(&layout::included(account, seq))?.try_into().ok()?)
        } else {
            let (key, _) = desk.prefix(&layout::pending_at(account, seq), 1).pop()?;
            layout::read_pending(&key)?.2
        };
        self.operation(id, desk)
    }

    fn keep_pending<S: Ordered, V: Verify>(
        &self,
        operation: &Signed<Operation>,
        named: &[u8],
        desk: &mut Desk<'_, S, V>,
    ) {
        let Operation { account, seq, .. } = *operation.body();
        desk.put(&layout::item(operation.id()), operation.bytes());
        desk.put(&layout::pending(account, seq, operation.id()), named);
    }

    fn take_decree<S: Ordered, V: Verify>(
        &mut self,
        decree: &Signed<Decree>,
        from: Option<Key>,
        desk: &mut Desk<'_, S, V>,
    ) -> Verdict {
        let (id, body) = (decree.id(), decree.body());
        self.note_source(decree, from);
        if desk.has(&layout::item(id)) {
            // A restart forgets which pages are waited for; who brings the header once more may bring them with it.
            if body.seq >= self.meta.closed.tip.seq {
                self.note_pages(body);
            }
            return Verdict::Ignored(Ignored::Known);
        }
        let wanted = self.parents.contains(&id);
        let is_rotation = matches!(body.order, Order::Rotate { .. });
        if is_rotation && body.key != self.genesis.recovery() {
            return Verdict::Rejected(Rejected::NotTheIssuer);
        }
        if !wanted
            && let Err(verdict) =
                if is_rotation { self.rotation_counts(decree) } else { self.decree_counts(body, desk) }
        {
            return verdict;
        }
        if !decree.is_genuine(self.genesis.hash(), desk) {
            return Verdict::Rejected(Rejected::Signature);
        }
        self.parents.remove(&id);
        desk.put(&layout::item(id), decree.bytes());
        desk.put(&layout::decree(body.reign, body.seq, id), &[]);
        if is_rotation {
            self.consider_rotation(decree, desk);
        } else {
            self.note_pages(body);
            self.look_for_two(body.reign, body.seq, desk);
            if body.seq > self.meta.tip.seq && !desk.has(&layout::item(body.before)) {
                self.want_parent(body.before);
            }
        }
        Verdict::Accepted
    }

    /// Whether a decree that nobody asked for is worth a signature check.
    fn decree_counts<S: Ordered, V: Verify>(&mut self, body: &Decree, desk: &Desk<'_, S, V>) -> Result<(), Verdict> {
        let (top, key) = self.meta.issuer();
        let tip = self.meta.tip;
        let on_the_way = self.meta.unsettled().is_some_and(|rotation| body.seq < rotation.seq)
            && (body.reign, body.key) == (tip.reign, tip.key);
        if body.reign == 0 && body.key != self.genesis.issuer() {
            return Err(Verdict::Rejected(Rejected::NotTheIssuer));
        }
        if (body.reign, body.key) != (top, key) && !on_the_way {
            return Err(Verdict::Ignored(Ignored::OtherReign));
        }
        if body.seq > tip.seq.saturating_add(MAX_AHEAD) {
            return Err(Verdict::Ignored(Ignored::LogTooShort));
        }
        if desk.prefix(&layout::decrees(body.reign, body.seq), 2).len() >= 2 {
            return Err(Verdict::Ignored(Ignored::Enough));
        }
        Ok(())
    }

    fn note_pages(&mut self, body: &Decree) {
        if let Order::Epoch { pages, .. } = &body.order
            && self.named.len() + pages.len() <= MAX_NAMED
        {
            self.named.extend(pages);
        }
    }

    fn note_source(&mut self, decree: &Signed<Decree>, from: Option<Key>) {
        let Some(peer) = from else { return };
        if matches!(decree.body().order, Order::Epoch { .. }) && !self.sources.contains(&(decree.id(), peer)) {
            if self.sources.len() >= MAX_SOURCES {
                self.sources.pop_front();
            }
            self.sources.push_back((decree.id(), peer));
        }
    }

    fn take_proof<S: Ordered, V: Verify>(&mut self, proof: &Proof, desk: &mut Desk<'_, S, V>) -> Verdict {
        let account = proof.account();
        if desk.has(&layout::proof(account)) {
            return Verdict::Ignored(Ignored::Known);
        }
        if !proof.is_genuine(self.genesis.hash(), desk) {
            return Verdict::Rejected(Rejected::Signature);
        }
        if !desk.has(&layout::minted(account)) && !desk.has(&layout::account(account)) {
            return Verdict::Ignored(Ignored::NoMint);
        }
        self.keep_proof(proof, desk);
        Verdict::Accepted
    }

    /// Keeps a proof and both its operations: an epoch may name either of them.
    pub(super) fn keep_proof<S: Ordered, V: Verify>(&mut self, proof: &Proof, desk: &mut Desk<'_, S, V>) {
        let bytes = proof.encode();
        desk.put(&layout::proof(proof.account()), &bytes);
        desk.put(&layout::item(proof.id()), &bytes);
        for operation in proof.operations() {
            if !desk.has(&layout::item(operation.id())) {
                desk.put(&layout::item(operation.id()), operation.bytes());
            }
            if self.missing.contains_key(&operation.id()) {
                self.resolve(operation.id(), desk);
            }
        }
        self.notice(Notice::AccountProven { account: proof.account(), seq: proof.seq() });
    }
}
