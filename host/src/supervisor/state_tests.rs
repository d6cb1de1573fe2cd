//! The interval law, one attempt at a time, no hot loop, nothing given up.

use proptest::prelude::*;

use super::*;

const ZERO: Duration = Duration::ZERO;

fn second(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn at(peer: u8, port: u16) -> PeerAddr {
    PeerAddr { peer: PeerId::from_bytes([peer; 32]), address: SocketAddr::from(([192, 0, 2, 1], port)) }
}

fn refused() -> Outcome {
    Outcome::Failed { why: Failure::Refused, text: "node has 1 of 1 peers".into(), tried: Vec::new() }
}

fn broken() -> Outcome {
    Outcome::Failed { why: Failure::Broken, text: "the dial broke".into(), tried: Vec::new() }
}

fn unreachable(tried: &[PeerAddr]) -> Outcome {
    let tried = tried.iter().map(|to| to.address).collect();
    Outcome::Failed { why: Failure::Unreachable, text: "no answer".into(), tried }
}

fn add(to: PeerAddr, necessary: bool) -> Event {
    Event::Add { to, necessary, record: Vec::new() }
}

fn up(to: PeerAddr) -> Event {
    Event::News { peer: to.peer, notes: vec![Note::Up] }
}

fn down(to: PeerAddr, refused: Option<&str>) -> Event {
    Event::News { peer: to.peer, notes: vec![Note::Down { refused: refused.map(str::to_owned) }] }
}

/// A state under test, which remembers the attempts that it started.
struct Bench {
    state: State,
    attempts: BTreeMap<PeerId, u64>,
    random: u64,
}

impl Bench {
    fn new() -> Self {
        Self { state: State::new(RetryPolicy::default()), attempts: BTreeMap::new(), random: 0 }
    }

    fn necessary(to: PeerAddr) -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.handle(add(to, true), ZERO), [vec![to]]);
        bench
    }

    /// The dials that were started, with the addresses of each in order; `Also` is a list of its own.
    fn handle(&mut self, event: Event, now: Duration) -> Vec<Vec<PeerAddr>> {
        let actions = self.state.handle(event, now, self.random);
        let dials = actions.into_iter().map(|action| match action {
            Action::Dial { peer, attempt, addresses } => {
                self.attempts.insert(peer, attempt);
                addresses.into_iter().map(|address| PeerAddr { peer, address }).collect()
            }
            Action::Also { to } => vec![to],
        });
        dials.collect()
    }

    fn dialed(&mut self, to: PeerAddr, outcome: Outcome, now: Duration) -> Vec<Vec<PeerAddr>> {
        let attempt = self.attempts.get(&to.peer).copied().unwrap_or(0);
        self.handle(Event::Dialed { peer: to.peer, attempt, outcome }, now)
    }

    /// A dial that succeeds, as the layer below tells it.
    fn connect(&mut self, to: PeerAddr, now: Duration) {
        assert!(self.handle(up(to), now).is_empty());
        assert!(self.dialed(to, Outcome::Connected, now).is_empty());
    }
}

#[test]
fn intervals_are_fibonacci_up_to_the_cap() {
    let policy = RetryPolicy::default();
    for (failures, base) in [(1, 1), (2, 2), (3, 3), (4, 5), (5, 8), (6, 13), (9, 55), (10, 60), (u32::MAX, 60)] {
        assert_eq!(policy.interval(failures, 0), second(base) * 4 / 5, "{failures}");
        for random in [1, u64::MAX / 3, u64::MAX] {
            let wait = policy.interval(failures, random);
            assert!(wait >= second(base) * 4 / 5 && wait <= (second(base) * 6 / 5).min(second(60)), "{wait:?}");
        }
    }
}

#[test]
fn a_disconnect_of_a_settled_connection_is_dialed_at_once_and_an_eviction_is_not() {
    let to = at(1, 1);
    for evicted in [false, true] {
        let mut bench = Bench::necessary(to);
        bench.connect(to, ZERO);
        let dials = bench.handle(down(to, evicted.then_some("evicted")), second(11));
        assert_eq!(dials.len(), usize::from(!evicted));
        assert_eq!(bench.state.deadline(), evicted.then(|| second(11) + second(1) * 4 / 5));
        assert_eq!(bench.state.stats.evicted, u64::from(evicted));
    }
}

#[test]
fn failures_are_forgotten_only_after_ten_seconds_of_connection() {
    let to = at(1, 1);
    let mut bench = Bench::necessary(to);
    let mut now = ZERO;
    for round in 1..20 {
        bench.connect(to, now);
        now += second(9);
        assert!(bench.handle(down(to, None), now).is_empty());
        assert_eq!(bench.state.watched[&to.peer].failures, round);
        now = bench.state.deadline().expect("never given up");
        assert_eq!(bench.handle(Event::Tick, now), [vec![to]]);
    }
    bench.connect(to, now);
    bench.handle(down(to, None), now + second(10));
    assert_eq!(bench.state.watched[&to.peer].failures, 0, "settled");
    assert_eq!(bench.state.stats.short_lived, 19);
}

#[test]
fn a_handshake_without_admission_is_no_success() {
    let to = at(1, 1);
    let mut bench = Bench::necessary(to);
    let mut now = ZERO;
    for round in 1..50 {
        assert!(bench.dialed(to, refused(), now).is_empty());
        assert_eq!(bench.state.watched[&to.peer].failures, round);
        now = bench.state.deadline().expect("never given up");
        assert_eq!(bench.handle(Event::Tick, now), [vec![to]]);
    }
}

#[test]
fn after_a_hundred_failures_the_next_attempt_is_a_minute_away() {
    let to = at(1, 1);
    let mut bench = Bench::necessary(to);
    let mut now = ZERO;
    for round in 1..=100 {
        assert!(bench.dialed(to, unreachable(&[to]), now).is_empty());
        let next = bench.state.deadline().expect("never given up");
        assert!(next - now <= second(60), "attempt {round}");
        now = next;
        assert_eq!(bench.handle(Event::Tick, now), [vec![to]], "attempt {round}");
    }
}

#[test]
fn a_wrong_key_backs_off_and_is_reported() {
    let to = at(1, 1);
    let mut bench = Bench::necessary(to);
    let (mut now, mut attempts) = (ZERO, 1);
    while now < second(3600) {
        let text = "another key answers".to_owned();
        let wrong = Outcome::Failed { why: Failure::WrongKey, text, tried: vec![to.address] };
        assert!(bench.dialed(to, wrong, now).is_empty());
        assert_eq!(bench.state.watched[&to.peer].last_error.as_deref(), Some("another key answers"));
        now = bench.state.deadline().expect("never given up");
        attempts += bench.handle(Event::Tick, now).len();
    }
    assert!((60..=90).contains(&attempts), "{attempts} attempts in an hour");
    assert_eq!(bench.state.stats.wrong_key, bench.state.stats.unreachable);
}

#[test]
fn a_dial_that_breaks_is_a_failure_like_others_and_the_peer_is_dialed_again() {
    let to = at(1, 1);
    let mut bench = Bench::necessary(to);
    // An address that comes meanwhile hurries nothing: what broke would break there, too.
    bench.handle(add(at(1, 2), true), ZERO);
    assert!(bench.dialed(to, broken(), second(1)).is_empty());
    let watched = &bench.state.watched[&to.peer];
    assert!(watched.attempt.is_none() && watched.failures == 1, "{watched:?}");
    assert_eq!((watched.last_error.as_deref(), bench.state.stats.broken), (Some("the dial broke"), 1));
    let next = bench.state.deadline().expect("not given up");
    assert!(next > second(1));
    assert_eq!(bench.handle(Event::Tick, next).len(), 1, "dialed again");
}

#[test]
fn all_addresses_go_into_one_attempt_the_newest_first() {
    let (one, two, three) = (at(1, 1), at(1, 2), at(1, 3));
    let mut bench = Bench::necessary(one);
    assert_eq!(bench.handle(add(two, true), ZERO), [vec![two]], "learned on the way: used at once");
    assert!(bench.dialed(one, unreachable(&[one, two]), second(5)).is_empty());
    assert_eq!(bench.state.watched[&one.peer].failures, 1, "one attempt");
    // Learned while it waits: all are dialed at once, the new one first.
    assert_eq!(bench.handle(add(three, true), second(5)), [vec![three, two, one]]);
    assert!(bench.handle(Event::Worked { to: one }, second(5)).is_empty());
    assert!(bench.dialed(one, unreachable(&[one, two, three]), second(6)).is_empty());
    let next = bench.state.deadline().expect("never given up");
    assert_eq!(bench.handle(Event::Tick, next), [vec![one, three, two]], "what worked goes first");
}

#[test]
fn an_address_that_came_too_late_for_the_attempt_is_dialed_without_a_wait() {
    let (one, two) = (at(1, 1), at(1, 2));
    let mut bench = Bench::necessary(one);
    assert_eq!(bench.handle(add(two, true), ZERO), [vec![two]]);
    assert_eq!(bench.dialed(one, unreachable(&[one]), second(1)), [vec![two, one]]);
    assert_eq!(bench.state.watched[&one.peer].failures, 0);
    assert!(bench.dialed(one, unreachable(&[two, one]), second(2)).is_empty());
    assert_eq!(bench.state.watched[&one.peer].failures, 1);
}

#[test]
fn what_a_peer_says_of_itself_is_used_and_never_hurries_a_dial() {
    let (one, two, three) = (at(1, 1), at(1, 2), at(1, 3));
    let mut bench = Bench::new();
    let both = Event::Add { to: one, necessary: true, record: vec![two.address] };
    assert_eq!(bench.handle(both, ZERO), [vec![one, two]], "the book is asked at the start");
    bench.connect(one, ZERO);
    let told = Event::Learned { peer: one.peer, addresses: vec![three.address] };
    assert!(bench.handle(told, ZERO).is_empty());
    assert_eq!(bench.handle(down(one, None), second(20)), [vec![three, one]], "the older record is forgotten");
    bench.dialed(one, unreachable(&[three, one]), second(21));
    let deadline = bench.state.deadline();
    for port in 0..100 {
        let told = Event::Learned { peer: one.peer, addresses: vec![at(1, port).address] };
        assert!(bench.handle(told, second(21)).is_empty());
        assert_eq!(bench.state.deadline(), deadline);
    }
    assert!(bench.handle(Event::Learned { peer: at(9, 9).peer, addresses: vec![] }, second(21)).is_empty());
    assert!(!bench.state.watched.contains_key(&at(9, 9).peer), "only wanted peers are dialed");
}

#[test]
fn a_necessary_peer_that_becomes_ordinary_keeps_its_connection_and_is_not_dialed_when_it_goes() {
    let to = at(1, 1);
    let mut bench = Bench::necessary(to);
    bench.connect(to, ZERO);
    assert!(bench.handle(add(to, false), second(1)).is_empty());
    assert!(!bench.state.watched[&to.peer].necessary);
    assert!(bench.handle(down(to, None), second(60)).is_empty());
    assert_eq!(bench.state.deadline(), None);
}

#[test]
fn an_ordinary_peer_is_dialed_once_and_not_kept() {
    let to = at(1, 1);
    let mut bench = Bench::new();
    assert_eq!(bench.handle(add(to, false), ZERO), [vec![to]]);
    bench.dialed(to, refused(), ZERO);
    assert_eq!(bench.state.deadline(), None);
    assert_eq!(bench.handle(add(to, true), second(9)), [vec![to]]);
}

#[test]
fn what_a_notification_missed_is_put_right_by_the_look() {
    let to = at(1, 1);
    let mut bench = Bench::necessary(to);
    bench.connect(to, ZERO);
    assert_eq!(bench.handle(Event::Look { connected: BTreeSet::new() }, second(20)), [vec![to]]);
    let connected = BTreeSet::from([to.peer]);
    assert!(bench.handle(Event::Look { connected }, second(21)).is_empty());
    bench.handle(Event::Remove { peer: to.peer }, second(22));
    assert!(bench.handle(down(to, None), second(40)).is_empty());
    assert!(bench.state.watched.is_empty() && bench.state.connected.is_empty());
}

#[test]
fn a_connection_that_came_and_went_during_the_dial_is_one_failure_and_not_believed() {
    let to = at(1, 1);
    let mut bench = Bench::necessary(to);
    let both = Event::News { peer: to.peer, notes: vec![Note::Up, Note::Down { refused: Some("evicted".into()) }] };
    assert!(bench.handle(both, second(1)).is_empty());
    assert!(bench.dialed(to, Outcome::Connected, second(1)).is_empty());
    assert!(!bench.state.connected.contains_key(&to.peer));
    assert_eq!(bench.state.watched[&to.peer].failures, 1);
    assert_eq!(bench.state.deadline(), Some(second(1) + second(1) * 4 / 5));
}

#[test]
fn a_dial_whose_connection_is_never_told_is_made_again() {
    let to = at(1, 1);
    let mut bench = Bench::necessary(to);
    assert!(bench.dialed(to, Outcome::Connected, ZERO).is_empty());
    assert_eq!(bench.state.deadline(), Some(CONFIRM));
    assert_eq!(bench.handle(Event::Tick, CONFIRM), [vec![to]]);
    bench.connect(to, CONFIRM);
    assert_eq!(bench.state.deadline(), None);
}

#[test]
fn the_end_of_an_attempt_for_a_removed_peer_says_nothing_of_the_one_added_again() {
    let to = at(1, 1);
    let mut bench = Bench::necessary(to);
    let old = bench.attempts[&to.peer];
    bench.handle(Event::Remove { peer: to.peer }, ZERO);
    assert_eq!(bench.handle(add(to, true), ZERO), [vec![to]]);
    let outcome = Event::Dialed { peer: to.peer, attempt: old, outcome: refused() };
    assert!(bench.handle(outcome, second(1)).is_empty());
    let watched = &bench.state.watched[&to.peer];
    assert!(watched.attempt.is_some() && watched.failures == 0);
}

#[test]
fn a_time_that_passes_while_a_dial_runs_does_not_wake_the_shell() {
    let to = at(1, 1);
    let mut bench = Bench::necessary(to);
    let flap = Event::News { peer: to.peer, notes: vec![Note::Up, Note::Down { refused: None }] };
    bench.handle(flap, ZERO);
    assert!(bench.state.watched[&to.peer].next.is_some());
    assert_eq!(bench.state.deadline(), None, "the end of the dial is what is waited for");
}

#[test]
fn no_more_peers_are_dialed_at_once_than_the_policy_says() {
    let mut bench = Bench::new();
    bench.state = State::new(RetryPolicy { at_once: 3, ..RetryPolicy::default() });
    let peers: Vec<PeerAddr> = (1..=10).map(|peer| at(peer, 1)).collect();
    let started: usize = peers.iter().map(|to| bench.handle(add(*to, true), ZERO).len()).sum();
    assert_eq!((started, bench.state.deadline()), (3, None));
    for ended in 0..7 {
        let next = bench.dialed(peers[ended], unreachable(&[peers[ended]]), ZERO);
        assert_eq!(next, [vec![peers[ended + 3]]], "in the order in which they came");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8, u16, bool),
    Remove(u8),
    News(u8, Vec<Option<bool>>),
    Learned(u8, u16),
    Dialed(u8, u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let news = proptest::collection::vec(proptest::option::of(any::<bool>()), 1..4);
    prop_oneof![
        (0..4u8, 0..3u16, any::<bool>()).prop_map(|(peer, port, kept)| Step::Add(peer, port, kept)),
        (0..4u8).prop_map(Step::Remove),
        (0..4u8, news).prop_map(|(peer, news)| Step::News(peer, news)),
        (0..4u8, 0..3u16).prop_map(|(peer, port)| Step::Learned(peer, port)),
        (0..4u8, 0..4u8).prop_map(|(peer, outcome)| Step::Dialed(peer, outcome)),
        (0..20_000u64).prop_map(Step::Wait),
    ]
}

fn note(what: Option<bool>) -> Note {
    match what {
        None => Note::Up,
        Some(unwanted) => Note::Down { refused: unwanted.then(|| "no".into()) },
    }
}

proptest! {
    #[test]
    fn one_attempt_per_peer_and_nothing_given_up(
        steps in proptest::collection::vec(step(), 0..200),
        random in any::<u64>(),
    ) {
        let mut state = State::new(RetryPolicy { at_once: 2, ..RetryPolicy::default() });
        let mut open: BTreeMap<PeerId, u64> = BTreeMap::new();
        let mut now = ZERO;
        for step in steps {
            let id = |peer| at(peer, 0).peer;
            let event = match step {
                Step::Add(peer, port, necessary) => add(at(peer, port), necessary),
                Step::Remove(peer) => {
                    open.remove(&id(peer));
                    Event::Remove { peer: id(peer) }
                }
                Step::News(peer, news) => {
                    Event::News { peer: id(peer), notes: news.into_iter().map(note).collect() }
                }
                Step::Learned(peer, port) => {
                    Event::Learned { peer: id(peer), addresses: vec![at(peer, port).address] }
                }
                Step::Dialed(peer, outcome) => {
                    let Some(attempt) = open.remove(&id(peer)) else { continue };
                    let outcome = [Outcome::Connected, unreachable(&[]), refused(), broken()][outcome as usize].clone();
                    Event::Dialed { peer: id(peer), attempt, outcome }
                }
                Step::Wait(ms) => {
                    now += Duration::from_millis(ms);
                    Event::Tick
                }
            };
            for action in state.handle(event, now, random) {
                let Action::Dial { peer, attempt, addresses } = action else { continue };
                prop_assert!(!state.connected.contains_key(&peer) && !addresses.is_empty());
                prop_assert!(open.insert(peer, attempt).is_none(), "a second attempt for one peer");
            }
            prop_assert!(open.len() <= 2, "more than may be at once");
            for (peer, watched) in &state.watched {
                let settled = state.connected.contains_key(peer) || watched.attempt.is_some() || watched.next.is_some();
                prop_assert!(settled || !watched.necessary, "given up: {watched:?}");
                let late = watched.next.is_some_and(|at| at <= now) && watched.attempt.is_none();
                prop_assert!(!late || open.len() == 2, "late: {watched:?}");
            }
            prop_assert!(state.deadline().is_none_or(|at| at > now), "the shell would spin");
        }
    }

    #[test]
    fn refusals_at_once_are_no_hot_loop(seed in any::<u64>()) {
        let to = at(1, 1);
        let mut bench = Bench::necessary(to);
        let (mut now, mut count) = (ZERO, 1);
        bench.random = seed;
        while now < second(3600) {
            bench.random = bench.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            prop_assert!(bench.dialed(to, refused(), now).is_empty());
            now = bench.state.deadline().expect("never given up");
            count += bench.handle(Event::Tick, now).len();
        }
        prop_assert!((60..=90).contains(&count), "{count} dials in an hour");
    }
}
