//! One reconciliation as its initiator sees it: which ranges are left, and the step under way. Pure.

use std::collections::VecDeque;

use negentropy::{Id, Negentropy};

use super::index::Index;
use super::item::{ItemId, Place};

/// Steps of one range; a range of a window's size needs `window * 32 / frame` at the most, and half as many again.
const MOST_STEPS: u32 = 100;
/// Ranges that one survey may come back with.
pub(super) const MOST_RANGES: usize = 64;

/// A range that differs.
pub(super) type Range = (Place, Place);

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    pub ask: Option<u64>,
    /// None until the survey is answered.
    ranges: Option<VecDeque<Range>>,
    /// The next step of the first range, once it has begun.
    step: Option<Vec<u8>>,
    steps: u32,
}

/// What to ask next.
pub(super) enum Next {
    Survey,
    Step(Range, Vec<u8>),
    Done,
}

/// What a step found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Items that the other side lacks, and that we lack.
    pub have: Vec<ItemId>,
    pub need: Vec<ItemId>,
}

impl Session {
    pub(super) fn new() -> Self {
        Self { ask: None, ranges: None, step: None, steps: 0 }
    }

    /// What to ask next.
    pub(super) fn next(&mut self, index: &Index, frame: usize) -> Next {
        let Some(ranges) = &mut self.ranges else { return Next::Survey };
        let Some((low, high)) = ranges.front().copied() else { return Next::Done };
        if let Some(step) = &self.step {
            return Next::Step((low, high), step.clone());
        }
        let window = index.window(low, high);
        let first = Negentropy::owned(window, frame as u64).and_then(|mut side| side.initiate());
        match first {
            Ok(step) => {
                self.step = Some(step.clone());
                self.steps = 0;
                Next::Step((low, high), step)
            }
            Err(_) => Next::Done,
        }
    }

    /// The survey is answered. Ranges that are none, or that overlap, are left out.
    pub(super) fn surveyed(&mut self, differ: Vec<Range>) {
        let mut end = Place::FIRST;
        let sane = differ.into_iter().take(MOST_RANGES).filter(|(low, high)| {
            let sane = *low >= end && low < high;
            end = if sane { *high } else { end };
            sane
        });
        self.ranges = Some(sane.collect());
    }

    /// A step is answered. None when the answer makes no sense.
    pub(super) fn answered(&mut self, index: &Index, frame: usize, body: &[u8]) -> Option<Found> {
        let (low, high) = *self.ranges.as_ref()?.front()?;
        let mut side = Negentropy::owned(index.window(low, high), frame as u64).ok()?;
        side.set_initiator();
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let next = side.reconcile_with_ids(body, &mut have, &mut need).ok()?;
        self.steps += 1;
        self.step = next.filter(|_| self.steps < MOST_STEPS);
        if self.step.is_none() {
            self.ranges.as_mut()?.pop_front();
        }
        let ids = |ids: Vec<Id>| ids.into_iter().map(|id| ItemId(id.to_bytes())).collect();
        Some(Found { have: ids(have), need: ids(need) })
    }
}

/// A step as the other side answers it. None when it makes no sense.
pub(super) fn answer(index: &Index, low: Place, high: Place, frame: usize, body: &[u8]) -> Option<Vec<u8>> {
    if low > high {
        return None;
    }
    Negentropy::owned(index.window(low, high), frame as u64).ok()?.reconcile(body).ok()
}

/// The ranges of a survey that differ, cut into windows.
pub(super) fn survey(index: &Index, floor: Place, ranges: &[(Place, [u8; 16])], window: usize) -> Vec<Range> {
    let (mut low, mut differ) = (floor, Vec::new());
    for (high, digest) in ranges.iter().take(MOST_RANGES) {
        if *high <= low {
            continue;
        }
        if index.digest(low, *high) != *digest {
            for end in index.cut(low, *high, window) {
                differ.push((low, end));
                low = end;
            }
        }
        low = *high;
    }
    // The newest are wanted first when there are too many.
    let surplus = differ.len().saturating_sub(MOST_RANGES);
    differ.split_off(surplus)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const FRAME: usize = 4_096;

    fn place(number: u32) -> Place {
        Place { stamp: u64::from(number / 100), id: ItemId::of(&number.to_le_bytes()) }
    }

    fn index(numbers: &BTreeSet<u32>) -> Index {
        let mut index = Index::default();
        numbers.iter().for_each(|number| {
            index.insert(place(*number));
        });
        index
    }

    fn reconciled(ours: &Index, theirs: &Index, window: usize) -> (Found, usize) {
        let (mut session, mut found, mut steps) = (Session::new(), Found::default(), 0);
        loop {
            steps += 1;
            match session.next(ours, FRAME) {
                Next::Done => return (found, steps),
                Next::Survey => {
                    let mut low = Place::FIRST;
                    let ranges = ours.cut(low, Place::LAST, window).into_iter().map(|high| {
                        let range = (high, ours.digest(low, high));
                        low = high;
                        range
                    });
                    session.surveyed(survey(theirs, Place::FIRST, &ranges.collect::<Vec<_>>(), window));
                }
                Next::Step((low, high), body) => {
                    let body = answer(theirs, low, high, FRAME, &body).expect("a sane step");
                    assert!(body.len() <= FRAME);
                    let more = session.answered(ours, FRAME, &body).expect("a sane answer");
                    found.have.extend(more.have);
                    found.need.extend(more.need);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn both_differences_are_found(
            shared in proptest::collection::btree_set(0..5_000_u32, 0..3_000),
            ours in proptest::collection::btree_set(5_000..6_000_u32, 0..300),
            theirs in proptest::collection::btree_set(6_000..7_000_u32, 0..300),
        ) {
            let with = |more: &BTreeSet<u32>| index(&shared.union(more).copied().collect());
            let (found, _) = reconciled(&with(&ours), &with(&theirs), 500);
            let ids = |numbers: &BTreeSet<u32>| numbers.iter().map(|number| place(*number).id).collect::<BTreeSet<_>>();
            prop_assert_eq!(found.have.into_iter().collect::<BTreeSet<_>>(), ids(&ours));
            prop_assert_eq!(found.need.into_iter().collect::<BTreeSet<_>>(), ids(&theirs));
        }

        #[test]
        fn any_step_is_read_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..400)) {
            bytes[0] = 0x61;
            let index = index(&(0..1_000).collect());
            let _ = answer(&index, place(10), place(900), FRAME, &bytes);
            let mut session = Session::new();
            session.surveyed(vec![(Place::FIRST, Place::LAST)]);
            session.next(&index, FRAME);
            let _ = session.answered(&index, FRAME, &bytes);
        }
    }

    #[test]
    fn equal_sets_cost_one_survey_and_an_empty_one_is_filled() {
        let full = index(&(0..20_000).collect());
        assert_eq!(reconciled(&full, &full, 8_192).1, 2);
        let (found, steps) = reconciled(&Index::default(), &full, 8_192);
        assert_eq!(found.need.len(), 20_000);
        assert!(steps < 300, "{steps} steps");
    }
}
