//! Two states joined by exchangers over a link that delays pushes: what one side believes of the other is right in
//! the end, and what handlers are told alternates.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::exchange::{Exchanger, Give, PUSH_TIMEOUT};
use super::set::SetError;
use super::state::{Action, State};
use super::*;
use crate::wire::{ProtocolEntry, SetChange};

const A: PeerId = PeerId::from_bytes([1; 32]);
const B: PeerId = PeerId::from_bytes([2; 32]);

fn protocol(at: u8) -> ProtocolId {
    format!("/test-{at}/1").parse().expect("a protocol id")
}

fn entry(at: u8, registration: u64) -> ProtocolEntry {
    ProtocolEntry { id: protocol(at).to_string(), registration, max_message: 100 + u32::from(at) }
}

/// What a handler was told: pairs must open and shut in turn.
#[derive(Default)]
struct Told(BTreeSet<(PeerId, ProtocolId)>);

impl Told {
    fn take(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Open { peer, protocol, .. } => assert!(self.0.insert((*peer, protocol.clone())), "{action:?}"),
                Action::Shut { peer, protocol } => assert!(self.0.remove(&(*peer, protocol.clone())), "{action:?}"),
                Action::Announce => {}
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Register(u8),
    Unregister(u8),
    LocalRegister(u8),
    LocalUnregister(u8),
    DeliverPush,
    DeliverAck,
    LosePushAndWait,
    RepeatAck,
    Reconnect,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u8..6).prop_map(Step::Register),
        3 => (0_u8..6).prop_map(Step::Unregister),
        1 => (0_u8..6).prop_map(Step::LocalRegister),
        1 => (0_u8..6).prop_map(Step::LocalUnregister),
        4 => Just(Step::DeliverPush),
        4 => Just(Step::DeliverAck),
        1 => Just(Step::LosePushAndWait),
        1 => Just(Step::RepeatAck),
        1 => Just(Step::Reconnect),
    ]
}

/// A pushes to B.
struct Net {
    a: State,
    b: State,
    exchanger: Exchanger,
    pushes: VecDeque<(u64, SetChange)>,
    acks: VecDeque<u64>,
    last_ack: u64,
    told: Told,
    now: Instant,
}

impl Net {
    fn new() -> Self {
        let mut net = Self {
            a: State::default(),
            b: State::default(),
            exchanger: Exchanger::new(0),
            pushes: VecDeque::new(),
            acks: VecDeque::new(),
            last_ack: 0,
            told: Told::default(),
            now: Instant::now(),
        };
        net.connect();
        net
    }

    fn connect(&mut self) {
        self.pushes.clear();
        self.acks.clear();
        self.exchanger = Exchanger::new(self.a.sequence());
        let up = self.b.peer_up(A, 1, self.a.sequence(), self.a.local_set()).expect("a sound set");
        self.told.take(&up);
    }

    fn give(&mut self, give: Give) {
        let change = match give {
            Give::Nothing => return,
            Give::Since(base) => self.a.change_since(base).expect("there is a change"),
            Give::Full => self.a.full(),
            Give::Up(why) => panic!("gave up: {why:?}"),
        };
        self.pushes.push_back((self.a.sequence(), change));
    }

    fn changed(&mut self) {
        let give = self.exchanger.changed(self.a.sequence(), self.now);
        self.give(give);
    }

    fn deliver_push(&mut self) -> bool {
        let Some((sequence, change)) = self.pushes.pop_front() else { return false };
        match self.b.peer_changed(A, 1, sequence, change) {
            Ok(actions) => self.told.take(&actions),
            Err(wrong) => assert_eq!(wrong, SetError::OtherBase),
        }
        self.acks.push_back(self.b.applied(&A).expect("up"));
        true
    }

    fn deliver_ack(&mut self) -> bool {
        let Some(ack) = self.acks.pop_front() else { return false };
        self.last_ack = ack;
        self.ack(ack);
        true
    }

    fn ack(&mut self, ack: u64) {
        let give = self.exchanger.applied(ack, self.a.sequence(), self.now);
        self.give(give);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Register(at) => {
                if self.a.register(&protocol(at), 1000, |_| String::new()).is_ok() {
                    self.changed();
                }
            }
            Step::Unregister(at) => {
                self.a.unregister(&protocol(at));
                self.changed();
            }
            Step::LocalRegister(at) => {
                if let Ok((_, actions)) = self.b.register(&protocol(at), 1000, |_| String::new()) {
                    self.told.take(&actions);
                }
            }
            Step::LocalUnregister(at) => {
                let actions = self.b.unregister(&protocol(at));
                self.told.take(&actions);
            }
            Step::DeliverPush => drop(self.deliver_push()),
            Step::DeliverAck => drop(self.deliver_ack()),
            Step::LosePushAndWait => {
                self.pushes.pop_front();
                self.now += PUSH_TIMEOUT + Duration::from_millis(1);
                let give = self.exchanger.tick(self.a.sequence(), self.now);
                if !matches!(give, Give::Up(_)) {
                    self.give(give);
                }
            }
            Step::RepeatAck => self.ack(self.last_ack.min(self.a.sequence())),
            Step::Reconnect => self.connect(),
        }
    }

    fn settle(&mut self) {
        for _ in 0..4 {
            while self.deliver_push() || self.deliver_ack() {}
            self.now += PUSH_TIMEOUT + Duration::from_millis(1);
            if self.b.applied(&A) == Some(self.a.sequence()) {
                return;
            }
            let give = self.exchanger.tick(self.a.sequence(), self.now);
            match give {
                Give::Up(_) => self.connect(),
                give => self.give(give),
            }
        }
    }
}

proptest! {
    #[test]
    fn what_b_believes_of_a_is_right_in_the_end(steps in proptest::collection::vec(any_step(), 0..120)) {
        let mut net = Net::new();
        for step in &steps {
            net.step(step);
        }
        net.settle();
        let theirs: BTreeMap<_, _> =
            net.b.peer_protocols(&A).into_iter().map(|id| (id.clone(), net.b.remote(&A, &id))).collect();
        let own = net.a.local_set();
        prop_assert_eq!(theirs.len(), own.len());
        for entry in own {
            let id: ProtocolId = entry.id.parse().expect("made by us");
            prop_assert_eq!(theirs[&id].map(|entry| entry.registration), Some(entry.registration));
        }
        let shared = net.b.local_set().iter().filter(|e| net.a.local_set().iter().any(|o| o.id == e.id)).count();
        prop_assert_eq!(net.told.0.len(), shared);
        let down = net.b.peer_down(&A);
        net.told.take(&down);
        prop_assert!(net.told.0.is_empty(), "all that was told as supported is told as unsupported");
    }
}

#[test]
fn a_registration_number_is_never_used_again() {
    let mut state = State::default();
    let mut numbers = BTreeSet::new();
    for _ in 0..10 {
        let (number, _) = state.register(&protocol(1), 1, |_| String::new()).expect("free");
        assert!(numbers.insert(number));
        state.unregister(&protocol(1));
    }
    assert_eq!(state.sequence(), 20);
}

#[test]
fn a_change_is_announced_after_its_pairs_are_opened_or_shut() {
    let mut state = State::default();
    state.peer_up(B, 7, 4, vec![entry(1, 4)]).expect("sound");
    let (_, actions) = state.register(&protocol(1), 50, |_| String::new()).expect("free");
    assert!(matches!(actions.as_slice(), [Action::Open { .. }, Action::Announce]), "a stream may follow at once");
    let actions = state.unregister(&protocol(1));
    assert!(matches!(actions.as_slice(), [Action::Shut { .. }, Action::Announce]));
}

#[test]
fn a_replaced_registration_is_shut_and_opened() {
    let mut state = State::default();
    state.register(&protocol(1), 50, |_| String::new()).expect("free");
    let up = state.peer_up(B, 7, 4, vec![entry(1, 4)]).expect("sound");
    let open = |registration| Action::Open { peer: B, protocol: protocol(1), registration, max_message: 50 };
    assert_eq!(up, [open(4)]);
    let change = SetChange::Difference { base: 4, added: vec![entry(1, 6)], removed: vec![4] };
    let changed = state.peer_changed(B, 7, 6, change).expect("fits");
    assert_eq!(changed, [Action::Shut { peer: B, protocol: protocol(1) }, open(6)]);
}

#[test]
fn another_incarnation_is_another_peer() {
    let mut state = State::default();
    state.register(&protocol(1), 50, |_| String::new()).expect("free");
    state.peer_up(B, 7, 4, vec![entry(1, 4)]).expect("sound");
    let up = state.peer_up(B, 8, 1, vec![entry(1, 1)]).expect("sound");
    assert!(matches!(up.as_slice(), [Action::Shut { .. }, Action::Open { registration: 1, .. }]));
    let old = state.peer_changed(B, 7, 9, SetChange::Full { protocols: vec![] });
    assert_eq!(old, Err(SetError::Stale));
}

#[test]
fn sets_that_break_a_rule_are_violations() {
    let mut state = State::default();
    for bad in [
        vec![entry(1, 1), entry(1, 2)],
        vec![entry(1, 1), entry(2, 1)],
        vec![entry(1, 0)],
        vec![entry(1, 9)],
        vec![ProtocolEntry { id: "no id".into(), registration: 1, max_message: 1 }],
    ] {
        assert!(matches!(state.peer_up(B, 7, 4, bad), Err(SetError::Violation(_))));
    }
    assert_eq!(state.applied(&B), None);
}
