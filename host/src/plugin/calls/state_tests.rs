//! Every command ends once, whatever happens to both of its sides; and what one plugin may have of another.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LIMITS: PairLimits = PairLimits { open: 3, per_second: 10 };

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn submit(id: u64, caller: &str, target: &str) -> DeskEvent {
    DeskEvent::Submitted { id, caller: Some(caller.to_owned()), target: target.to_owned() }
}

fn entered(plugins: &[&str]) -> DeskState {
    let mut state = DeskState::new(LIMITS);
    for plugin in plugins {
        state.handle(DeskEvent::Entered { plugin: (*plugin).to_owned() }, ms(0));
    }
    state
}

#[test]
fn a_pair_has_so_many_open_and_no_other_pair_feels_it() {
    let mut state = entered(&["a", "b"]);
    assert_eq!(state.may_call("a", "b", 2, ms(0)), Ok(()));
    assert_eq!(state.may_call("a", "b", 3, ms(0)), Err(PairRefused::TooManyOpen));
    for id in 0..3 {
        state.handle(submit(id, "a", "b"), ms(0));
    }
    assert_eq!(state.may_call("a", "b", 0, ms(0)), Err(PairRefused::TooManyOpen));
    assert_eq!((state.may_call("b", "a", 0, ms(0)), state.may_call("a", "a", 0, ms(0))), (Ok(()), Ok(())));
    state.handle(DeskEvent::Answered { id: 1 }, ms(0));
    assert_eq!(state.may_call("a", "b", 0, ms(0)), Ok(()));
}

#[test]
fn a_pair_has_a_rate_and_a_second_of_it_at_once() {
    let mut state = entered(&["a", "b"]);
    for id in 0..10 {
        assert_eq!(state.may_call("a", "b", 0, ms(0)), Ok(()), "{id}");
        state.handle(submit(id, "a", "b"), ms(0));
        state.handle(DeskEvent::Answered { id }, ms(0));
    }
    assert_eq!(state.may_call("a", "b", 0, ms(99)), Err(PairRefused::TooFast));
    assert_eq!(state.may_call("a", "b", 0, ms(100)), Ok(()));
    assert_eq!(state.may_call("a", "b", 1, ms(100)), Err(PairRefused::TooFast));
    assert_eq!(state.may_call("a", "b", 2, ms(60_000)), Ok(()));
    assert_eq!(state.may_call("b", "a", 0, ms(0)), Ok(()));
}

#[test]
fn who_goes_ends_what_it_owes_and_what_it_is_owed() {
    let mut state = entered(&["a", "b"]);
    state.handle(submit(1, "a", "b"), ms(0));
    state.handle(submit(2, "b", "a"), ms(0));
    state.handle(DeskEvent::Submitted { id: 3, caller: None, target: "a".to_owned() }, ms(0));
    state.handle(submit(4, "a", "a"), ms(0));
    let actions = state.handle(DeskEvent::Left { plugin: "a".to_owned() }, ms(0));
    let expected = [
        DeskAction::Forget { id: 1 },
        DeskAction::Recall { id: 1, target: "b".to_owned() },
        DeskAction::Tell { id: 2, end: End::Gone },
        DeskAction::Tell { id: 3, end: End::Gone },
        DeskAction::Forget { id: 4 },
    ];
    assert_eq!(actions, expected);
    assert!(state.open.is_empty() && state.pairs.is_empty(), "{state:?}");
    assert_eq!(
        state.handle(submit(5, "b", "a"), ms(0)),
        [DeskAction::Tell { id: 5, end: End::Unknown }],
        "whoever is gone is unknown"
    );
}

#[derive(Debug, Clone)]
enum Step {
    Enter(usize),
    Leave(usize),
    Submit(Option<usize>, usize),
    NotTaken(usize),
    Answer(usize),
    Withdraw(usize),
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let which = || 0_usize..4;
    prop_oneof![
        3 => which().prop_map(Step::Enter),
        2 => which().prop_map(Step::Leave),
        8 => (prop::option::of(which()), which()).prop_map(|(caller, target)| Step::Submit(caller, target)),
        1 => any::<usize>().prop_map(Step::NotTaken),
        5 => any::<usize>().prop_map(Step::Answer),
        3 => any::<usize>().prop_map(Step::Withdraw),
        2 => any::<u16>().prop_map(Step::Pass),
    ]
}

/// What became of each command, as those outside see it.
#[derive(Default)]
struct Walk {
    /// How often each came to an end.
    ends: BTreeMap<u64, u32>,
    delivered: BTreeMap<u64, String>,
    recalled: BTreeMap<u64, u32>,
    pairs: BTreeMap<(String, String), i64>,
    of: BTreeMap<u64, (Option<String>, String)>,
}

impl Walk {
    fn note(&mut self, actions: Vec<DeskAction>) {
        for action in actions {
            match action {
                DeskAction::Deliver { id, target } => drop(self.delivered.insert(id, target)),
                DeskAction::Tell { id, .. } | DeskAction::Forget { id } => {
                    *self.ends.entry(id).or_default() += 1;
                    if let Some((Some(caller), target)) = self.of.get(&id) {
                        *self.pairs.entry((caller.clone(), target.clone())).or_default() -= 1;
                    }
                }
                DeskAction::Recall { id, target } => {
                    assert_eq!(self.delivered.get(&id), Some(&target), "only what was delivered is recalled");
                    *self.recalled.entry(id).or_default() += 1;
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn every_command_ends_exactly_once(steps in prop::collection::vec(step(), 0..200)) {
        let name = |at: usize| format!("p{at}");
        let (mut state, mut walk, mut now) = (DeskState::new(LIMITS), Walk::default(), ms(0));
        let mut last = 0_u64;
        for step in steps {
            let some = |at: usize, last: u64| if last == 0 { 0 } else { at as u64 % last + 1 };
            let event = match step {
                Step::Enter(at) => DeskEvent::Entered { plugin: name(at) },
                Step::Leave(at) => DeskEvent::Left { plugin: name(at) },
                Step::Submit(caller, target) => {
                    let (caller, target) = (caller.map(name), name(target));
                    if let Some(caller) = &caller
                        && state.may_call(caller, &target, 0, now).is_err()
                    {
                        continue;
                    }
                    last += 1;
                    walk.of.insert(last, (caller.clone(), target.clone()));
                    if let Some(caller) = &caller {
                        *walk.pairs.entry((caller.clone(), target.clone())).or_default() += 1;
                    }
                    DeskEvent::Submitted { id: last, caller, target }
                }
                Step::NotTaken(at) => DeskEvent::NotTaken { id: some(at, last) },
                Step::Answer(at) => DeskEvent::Answered { id: some(at, last) },
                Step::Withdraw(at) => DeskEvent::Withdrawn { id: some(at, last) },
                Step::Pass(ms) => {
                    now += Duration::from_millis(ms.into());
                    continue;
                }
            };
            let actions = state.handle(event, now);
            walk.note(actions);
            for ((caller, target), open) in &walk.pairs {
                prop_assert!((0..=i64::from(LIMITS.open)).contains(open), "{caller} has {open} open of {target}");
            }
            for id in 1..=last {
                let ended = walk.ends.get(&id).copied().unwrap_or_default();
                prop_assert_eq!(ended, u32::from(!state.awaits(id)), "command {}", id);
                prop_assert!(walk.recalled.get(&id).is_none_or(|times| *times == 1));
            }
        }
        for at in 0..4 {
            let actions = state.handle(DeskEvent::Left { plugin: name(at) }, now);
            walk.note(actions);
        }
        prop_assert!(walk.of.keys().all(|id| walk.ends.get(id) == Some(&1)), "all end with the node");
        prop_assert!(state.open.is_empty() && state.pairs.is_empty(), "nothing is left: {:?}", state);
    }
}
