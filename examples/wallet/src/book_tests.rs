//! The rules of the book by example, and as a walk against a ledger of one account.

use proptest::prelude::*;
use weir_ledger::hash;

use super::*;

fn id(number: u64) -> Id {
    hash(&number.to_be_bytes())
}

fn entry(seq: u64, what: &str, settled: bool) -> Entry {
    Entry { reign: 0, seq, id: id(seq), what: what.to_owned(), bytes: String::new(), pages: Vec::new(), settled }
}

fn at(seq: u64) -> Place {
    Place { reign: 0, seq, before: seq.checked_sub(1).map_or(Id::default(), id) }
}

fn log(entries: &[Entry]) -> Log {
    Log { entries: entries.to_vec() }
}

#[test]
fn what_is_open_is_sent_again_and_nothing_is_signed_twice() {
    let open = log(&[entry(0, "stake 1", true), entry(1, "stake 2", false)]);
    // The node never got it, or got it and its answer was lost: the same bytes either way.
    assert_eq!(open.next("stake 2", at(1)), Ok(Next::Again(entry(1, "stake 2", false))));
    assert_eq!(open.next("stake 2", at(2)), Ok(Next::Again(entry(1, "stake 2", false))));
    // Something else has to wait for it.
    assert_eq!(open.next("stake 3", at(1)), Ok(Next::First(vec![entry(1, "stake 2", false)])));
    assert_eq!(open.next("stake 3", at(2)), Ok(Next::First(vec![entry(1, "stake 2", false)])));
    let settled = log(&[entry(0, "stake 1", true), entry(1, "stake 2", true)]);
    assert_eq!(settled.next("stake 2", at(2)), Ok(Next::Sign(at(2))), "once more is a second one");
}

#[test]
fn a_node_that_lacks_something_is_sent_it_first() {
    let entries = [entry(0, "stake 1", true), entry(1, "stake 2", true), entry(2, "stake 3", true)];
    assert_eq!(log(&entries).next("withdraw", at(1)), Ok(Next::First(entries[1..].to_vec())));
    assert_eq!(log(&entries).next("withdraw", at(3)), Ok(Next::Sign(at(3))));
    let open = [entry(1, "stake 2", true), entry(2, "stake 3", false)];
    assert_eq!(log(&open).next("stake 3", at(1)), Ok(Next::First(open[..1].to_vec())));
    // What it lacks is not here any more.
    let behind = Conflict::NodeBehind { theirs: 0, ours: 2 };
    assert_eq!(log(&open).next("stake 3", at(0)), Err(behind));
}

#[test]
fn a_number_that_something_else_has_stops_everything() {
    let taken = |what: &str| Err(Conflict::SignedElsewhere { seq: 1, what: what.to_owned() });
    let other = Place { reign: 0, seq: 2, before: id(99) };
    for settled in [true, false] {
        assert_eq!(log(&[entry(1, "stake 2", settled)]).next("stake 2", other), taken("stake 2"));
    }
    // Further on the node cannot be asked: what is open may be what it has, or not.
    assert_eq!(log(&[entry(1, "stake 2", false)]).next("stake 2", at(7)), taken("stake 2"));
    assert_eq!(log(&[entry(1, "stake 2", true)]).next("stake 2", at(7)), Ok(Next::Sign(at(7))));
}

#[test]
fn a_reign_is_a_log_of_its_own() {
    let first = log(&[entry(5, "epoch", false)]);
    let place = |reign| Place { reign, seq: 3, before: id(2) };
    assert_eq!(first.next("epoch", place(2)), Ok(Next::Sign(place(2))));
    let second = log(&[Entry { reign: 2, ..entry(5, "epoch", true) }]);
    assert_eq!(second.next("epoch", place(1)), Err(Conflict::NodeBehind { theirs: 3, ours: 5 }));
}

#[test]
fn numbers_without_a_chain_only_grow() {
    let sign = |seq| Next::Sign(Place { reign: 0, seq, before: Id::default() });
    assert_eq!(log(&[]).next_number("declare 1", 4), sign(4));
    assert_eq!(log(&[entry(6, "declare 1", true)]).next_number("declare 1", 4), sign(7));
    assert_eq!(log(&[entry(6, "declare 1", true)]).next_number("declare 1", 9), sign(9));
    let open = log(&[entry(6, "declare 1", false)]);
    assert_eq!(open.next_number("declare 1", 4), Next::Again(entry(6, "declare 1", false)));
    assert_eq!(open.next_number("declare 2", 4), Next::First(vec![entry(6, "declare 1", false)]));
}

#[test]
fn a_claim_in_the_book_is_sent_again_and_not_signed_again() {
    let sign = |seq| Next::Sign(Place { reign: 0, seq, before: Id::default() });
    assert_eq!(log(&[]).next_claim(4), sign(4));
    let settled = log(&[entry(4, "claim 7 up to epoch 4", true)]);
    assert_eq!(settled.next_claim(6), sign(6));
    assert_eq!(settled.next_claim(4), Next::Again(entry(4, "claim 7 up to epoch 4", true)));
    let open = log(&[entry(4, "claim 7 up to epoch 4", false)]);
    assert_eq!(open.next_claim(4), Next::Again(entry(4, "claim 7 up to epoch 4", false)));
    assert_eq!(open.next_claim(6), Next::First(vec![entry(4, "claim 7 up to epoch 4", false)]));
}

#[test]
fn only_the_last_entries_are_kept() {
    let mut log = Log::default();
    (0..200).for_each(|seq| log.add(entry(seq, "stake 1", true)));
    assert_eq!((log.entries.len(), log.entries[0].seq), (KEPT, 136));
    log.add(entry(200, "stake 1", false));
    log.take_back(id(200));
    assert_eq!(log.last().map(|last| last.seq), Some(199));
    log.take_back(id(199));
    assert_eq!(log.last().map(|last| last.seq), Some(199), "what a node has stays");
}

#[test]
fn pages_of_the_newest_entries_are_kept() {
    let mut log = Log::default();
    let page = |seq: u64| format!("{seq:02}").repeat(KEPT_PAGES / 4);
    for seq in 0..5 {
        log.add(Entry { pages: vec![page(seq)], ..entry(seq, "epoch", true) });
    }
    let kept: Vec<_> = log.entries.iter().map(|entry| entry.pages.len()).collect();
    assert_eq!(kept, [0, 0, 0, 1, 1]);
    log.add(Entry { pages: vec![page(5); 3], ..entry(5, "epoch", false) });
    let kept: Vec<_> = log.entries.iter().map(|entry| entry.pages.len()).collect();
    assert_eq!(kept, [0, 0, 0, 0, 0, 3], "the newest may be nowhere else");
}

#[test]
fn an_entry_is_found_by_its_pages() {
    let mut log = Log::default();
    log.add(Entry { pages: vec!["03".to_owned(), "0304".to_owned()], ..entry(0, "epoch", true) });
    log.add(entry(1, "mint", true));
    let found = |bytes: &[u8]| log.with_pages(&[hash(bytes)].into()).iter().map(|entry| entry.seq).collect::<Vec<_>>();
    assert_eq!((found(&[3]), found(&[3, 4]), found(&[4])), (vec![0], vec![0], vec![]));
}

/// A ledger that takes one thing for each number, and may lose its newest ones, as a node does that was restored.
#[derive(Default)]
struct Node {
    has: Vec<Id>,
}

impl Node {
    fn place(&self) -> Place {
        Place { reign: 0, seq: self.has.len() as u64, before: self.has.last().copied().unwrap_or_default() }
    }

    fn take(&mut self, entry: &Entry) -> Result<(), TestCaseError> {
        let place = entry.seq as usize;
        if let Some(known) = self.has.get(place) {
            prop_assert_eq!(*known, entry.id, "two things with one number");
        } else {
            prop_assert_eq!(place, self.has.len(), "a gap");
            self.has.push(entry.id);
        }
        Ok(())
    }
}

proptest! {
    /// Requests, lost requests, lost answers, and nodes that forget: there is never a second thing with one number, and
    /// in the end the node has everything that was ever signed.
    #[test]
    fn no_number_is_signed_twice(steps in proptest::collection::vec((0u8..8, 0u8..4, 0usize..3), 1..200)) {
        let (mut log, mut node, mut signed, mut drawn) = (Log::default(), Node::default(), Vec::new(), 0u64);
        for (fate, amount, forgets) in steps {
            node.has.truncate(node.has.len() - forgets.min(node.has.len()).min(KEPT / 2));
            let what = format!("stake {amount}");
            loop {
                match log.next(&what, node.place()) {
                    Ok(Next::First(entries)) => {
                        prop_assert!(!entries.is_empty());
                        for entry in entries {
                            node.take(&entry)?;
                            log.settle(entry.id);
                        }
                    }
                    Ok(Next::Again(entry)) => {
                        node.take(&entry)?;
                        log.settle(entry.id);
                        break;
                    }
                    Ok(Next::Sign(place)) => {
                        prop_assert!(!signed.contains(&place.seq), "number {} again", place.seq);
                        drawn += 1;
                        let id = hash(&[drawn.to_be_bytes(), place.seq.to_be_bytes()].concat());
                        let entry = Entry { id, ..entry(place.seq, &what, false) };
                        log.add(entry.clone());
                        match fate {
                            // The request is lost.
                            0 => signed.push(place.seq),
                            // Its answer is.
                            1 => {
                                node.take(&entry)?;
                                signed.push(place.seq);
                            }
                            // It is refused: the number is free again.
                            2 => log.take_back(id),
                            _ => {
                                node.take(&entry)?;
                                log.settle(id);
                                signed.push(place.seq);
                            }
                        }
                        break;
                    }
                    Err(conflict) => return Err(TestCaseError::fail(conflict.to_string())),
                }
            }
        }
        signed.sort_unstable();
        prop_assert!(signed.iter().enumerate().all(|(place, seq)| place as u64 == *seq));
    }
}
