//! Who is muted and who is not, the attack with planted state among it.

use super::*;
use crate::plugin::supervision::{CrashCause, Decision, Supervision, SupervisionPolicy};

const ATTACKER: u8 = 1;
const HONEST: u8 = 2;
const OTHER: u8 = 3;

struct Scene {
    muting: Muting<Duration>,
    now: Duration,
}

fn peer(number: u8) -> PeerId {
    PeerId::from_bytes([number; 32])
}

fn lane(number: u8) -> LaneName {
    lane_by(number, 1)
}

fn lane_by(number: u8, protocol: usize) -> LaneName {
    (peer(number), format!("/a/{protocol}").parse().expect("an id"))
}

impl Scene {
    fn new() -> Self {
        Self { muting: Muting::new(MutePolicy::default()), now: Duration::from_secs(1_000) }
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn succeeds(&mut self, number: u8) {
        self.muting.succeeded(peer(number), self.now);
    }

    fn fails(&mut self, number: u8, place: &str, by_itself: bool) -> Verdict {
        self.muting.failed(&lane(number), place, by_itself, self.now)
    }

    /// Poison of one peer a second, with others' events between, until it is muted: for how long.
    fn muted_for(&mut self, number: u8) -> Option<u64> {
        for _ in 0..9 {
            self.succeeds(OTHER);
            if let Verdict::Muted(time) = self.fails(number, "lib.rs:1", true) {
                return Some(time.as_secs());
            }
            self.wait(1);
        }
        None
    }

    fn is_muted(&self, number: u8) -> bool {
        self.muting.muted(self.now).iter().any(|mute| mute.lane == lane(number))
    }
}

#[test]
fn a_mute_that_is_restored_counts_as_the_first_one_did() {
    let mut before = Scene::new();
    before.muted_for(ATTACKER);
    let mutes = before.muting.muted(before.now);
    let mut scene = Scene { now: before.now, ..Scene::new() };
    mutes.iter().for_each(|mute| scene.muting.restore(mute.clone(), scene.now));
    assert_eq!(scene.muting.muted(scene.now), mutes);
    // Its place is known, too: what another peer runs into is the plugin's own fault.
    let heard_again = vec![lane(ATTACKER)];
    scene.fails(ATTACKER, "lib.rs:1", true);
    assert_eq!(scene.fails(HONEST, "lib.rs:1", true), Verdict::OwnFault { heard_again });
    mutes.iter().for_each(|mute| scene.muting.restore(mute.clone(), scene.now));
    scene.wait(60);
    assert!(!scene.is_muted(ATTACKER));
}

#[test]
fn a_peer_is_muted_for_longer_each_time_and_forgotten_when_it_behaves() {
    let mut scene = Scene::new();
    for seconds in [60, 120, 240, 480, 960, 1_920, 3_600, 3_600] {
        assert_eq!(scene.muted_for(ATTACKER), Some(seconds));
        assert!(scene.is_muted(ATTACKER));
        scene.wait(seconds);
        assert!(!scene.is_muted(ATTACKER));
        assert_eq!(scene.muting.muted(scene.now), []);
    }
    scene.wait(4 * 3_600);
    assert_eq!(scene.muted_for(ATTACKER), Some(60));
}

#[test]
fn one_accident_or_two_mute_nobody() {
    let mut scene = Scene::new();
    scene.succeeds(OTHER);
    for _ in 0..9 {
        assert_eq!(scene.fails(HONEST, "lib.rs:1", true), Verdict::Suspected);
        scene.wait(31);
    }
}

#[test]
fn a_peer_that_is_alone_is_not_muted() {
    let mut scene = Scene::new();
    scene.succeeds(ATTACKER);
    for _ in 0..9 {
        assert_eq!(scene.fails(ATTACKER, "lib.rs:1", true), Verdict::Suspected);
    }
    scene.succeeds(OTHER);
    scene.succeeds(ATTACKER);
    assert_eq!(scene.fails(ATTACKER, "lib.rs:1", true), Verdict::Muted(Duration::from_secs(60)));
}

#[test]
fn poison_by_many_protocols_uses_up_no_crash_budget() {
    // What others do well they do by a protocol that the attacker does not use.
    let (mut scene, mut supervision) = (Scene::new(), Supervision::new(SupervisionPolicy::default()));
    scene.succeeds(OTHER);
    let mut muted = Vec::new();
    for (n, protocol) in [2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11].into_iter().enumerate() {
        let lane = lane_by(ATTACKER, protocol);
        match scene.muting.failed(&lane, &format!("lib.rs:{n}"), true, scene.now) {
            Verdict::Muted(_) => {
                supervision.blamed(&lane.0);
                muted.push(n);
            }
            _ => {
                let decision = supervision.crashed(CrashCause::Trap, Some(lane.0), scene.now, 0);
                assert!(!matches!(decision, Decision::Quarantine { .. }), "poison {n}");
            }
        }
        scene.wait(1);
    }
    assert_eq!(muted, (2..13).collect::<Vec<_>>(), "the third, and each one from then on");
    assert!(!scene.is_muted(ATTACKER), "by a protocol that no poison came by");
}

#[test]
fn poison_of_long_ago_by_another_protocol_does_not_count() {
    let mut scene = Scene::new();
    for protocol in 2..20 {
        scene.succeeds(OTHER);
        let verdict = scene.muting.failed(&lane_by(ATTACKER, protocol), "lib.rs:1", true, scene.now);
        assert_eq!(verdict, Verdict::Suspected);
        scene.wait(31);
    }
}

#[test]
fn planted_state_mutes_nobody() {
    let mut scene = Scene::new();
    // The attacker's own events go well: all they do is put something into the store that makes others' fail, whoever
    // it is aimed at. On an empty store those go well.
    for round in 0..100 {
        scene.succeeds(ATTACKER);
        scene.succeeds(OTHER);
        let verdict = scene.fails(HONEST, "lib.rs:9", false);
        assert_eq!(verdict, Verdict::OwnFault { heard_again: Vec::new() }, "round {round}");
        scene.wait(1);
    }
    assert!(!scene.is_muted(HONEST));
    // Neither does it help the attacker: what fails for an honest peer because of the store is no second sender.
    assert_eq!(scene.muted_for(ATTACKER), Some(60));
    scene.fails(HONEST, "lib.rs:1", false);
    assert!(scene.is_muted(ATTACKER) && !scene.is_muted(HONEST));
}

#[test]
fn the_same_poison_of_two_senders_is_the_plugins_own_fault() {
    let mut scene = Scene::new();
    assert_eq!(scene.muted_for(ATTACKER), Some(60));
    let heard_again = vec![lane(ATTACKER)];
    assert_eq!(scene.fails(HONEST, "lib.rs:1", true), Verdict::OwnFault { heard_again });
    assert!(!scene.is_muted(ATTACKER));
    assert_eq!(scene.fails(ATTACKER, "lib.rs:1", true), Verdict::OwnFault { heard_again: Vec::new() });
    // Other poison of the same peer is another matter.
    scene.fails(ATTACKER, "lib.rs:2", true);
    scene.fails(ATTACKER, "lib.rs:2", true);
    assert!(matches!(scene.fails(ATTACKER, "lib.rs:2", true), Verdict::Muted(_)));
}

#[test]
fn enough_of_abusive_mutes() {
    let mut scene = Scene::new();
    let outcomes: Vec<_> = (0..8).map(|_| scene.muting.abusive(&lane(ATTACKER), scene.now)).collect();
    assert_eq!(outcomes[..7], [None; 7]);
    assert_eq!(outcomes[7], Some(Duration::from_secs(60)));
    for _ in 0..20 {
        assert_eq!(scene.muting.abusive(&lane(ATTACKER), scene.now), None, "what was on its way when it was muted");
    }
    assert_eq!(scene.muting.muted(scene.now)[0].reason, Reason::Reported);
}

#[test]
fn an_operator_or_another_revision_lifts_mutes() {
    let mut scene = Scene::new();
    scene.muted_for(ATTACKER);
    assert_eq!(scene.muting.forgive(&peer(ATTACKER), scene.now), [lane(ATTACKER)]);
    assert!(!scene.is_muted(ATTACKER));
    assert_eq!(scene.muted_for(ATTACKER), Some(60), "as if it were the first time");
    assert_eq!(scene.muting.begin_anew(MutePolicy::default(), scene.now), [lane(ATTACKER)]);
    assert!(!scene.is_muted(ATTACKER));
}

#[test]
fn strangers_cannot_make_it_remember_without_end() {
    let mut scene = Scene::new();
    for number in 0..5_000_u32 {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        let name = (PeerId::from_bytes(bytes), lane(1).1);
        scene.muting.failed(&name, &format!("lib.rs:{number}"), true, scene.now);
        scene.muting.abusive(&name, scene.now);
        scene.wait(1);
    }
    assert!(scene.muting.conduct.len() <= MOST_REMEMBERED && scene.muting.places.len() <= MOST_PLACES);
}
