//! Who is let in at the door, and how much is said of who is not.

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> std::net::SocketAddr {
    text.parse().expect("an address")
}

fn limits(all: u32, per_source: u32) -> PendingLimits {
    PendingLimits { all, per_source, loopback: false }
}

fn first(limits: &PendingLimits, from: &str, all: u32, own: u32) -> Verdict {
    decide(limits, &AccessLists::default(), &Knock { from: at(from), proven: false, all, own })
}

fn proven(limits: &PendingLimits, from: &str, all: u32, own: u32) -> Verdict {
    decide(limits, &AccessLists::default(), &Knock { from: at(from), proven: true, all, own })
}

const STRANGER: &str = "203.0.113.7:9999";

#[test]
fn half_the_places_are_for_proven_addresses() {
    let decide = |most, pending| first(&limits(most, most), "127.0.0.1:1", pending, pending);
    assert_eq!([0, 15].map(|pending| decide(32, pending)), [Verdict::LetIn, Verdict::LetIn]);
    assert_eq!([16, 31].map(|pending| decide(32, pending)), [Verdict::Retry, Verdict::Retry]);
    assert!(matches!(decide(32, 32), Verdict::Refused(Cause::Node(_))));
    assert_eq!([63, 64].map(|pending| decide(1_000, pending)), [Verdict::LetIn, Verdict::Retry]);
    assert_eq!(decide(1, 0), Verdict::LetIn);
    assert!(matches!(decide(1, 1), Verdict::Refused(Cause::Node(_))));
}

#[test]
fn a_source_is_refused_only_once_its_address_is_proven() {
    let limits = limits(32, 4);
    assert_eq!(first(&limits, STRANGER, 1, 1), Verdict::LetIn);
    // Forged or not, who comes from there must now prove it.
    assert_eq!([2, 4].map(|own| first(&limits, STRANGER, own, own)), [Verdict::Retry, Verdict::Retry]);
    assert_eq!(proven(&limits, STRANGER, 3, 3), Verdict::LetIn);
    let Verdict::Refused(Cause::Source(full)) = proven(&limits, STRANGER, 4, 4) else { panic!("a full source") };
    let text = "source 203.0.113.7 has 4 of 4 pending handshakes; dial again later, or raise \
                `limits.max_pending_per_source`";
    assert_eq!(full.to_string(), text);
}

#[test]
fn this_machine_is_no_source_unless_it_is_told_to_be() {
    let mut limits = limits(32, 2);
    assert_eq!(first(&limits, "127.0.0.1:9", 10, 10), Verdict::LetIn);
    limits.loopback = true;
    assert_eq!(first(&limits, "127.0.0.1:9", 10, 10), Verdict::Retry);
}

#[test]
fn a_flood_is_counted_whole_and_said_seldom() {
    let (mut doors, limits) = (Doors::default(), limits(32, 4));
    let full = proven(&limits, STRANGER, 32, 4);
    let second = Duration::from_secs(1);
    assert_eq!(doors.note(&full, second), Some(0));
    for _ in 0..10_000 {
        assert_eq!(doors.note(&full, 2 * second), None);
    }
    let denied = Verdict::Refused(Cause::Denied(Denied::Blocked("203.0.113.7".parse().expect("an entry"))));
    assert_eq!(doors.note(&denied, 2 * second), Some(0), "each cause by itself");
    assert_eq!(doors.note(&full, second + SAY_EVERY), Some(10_000));
    doors.note(&Verdict::Retry, second);
    doors.note(&Verdict::LetIn, second);
    doors.note(&Verdict::Refused(Cause::Port(0)), second);
    doors.note(&proven(&limits, STRANGER, 4, 4), second);
    assert_eq!(doors.note_untaken(second), Some(0));
    assert_eq!([doors.note_untaken(second), doors.note_untaken(second + SAY_EVERY)], [None, Some(1)]);
    let refused = DoorCounts { denied: 1, node_full: 10_002, source_full: 1, bad_port: 1, ..DoorCounts::default() };
    let expected = DoorCounts { let_in: 1, retried: 1, untaken: 3, ..refused };
    assert_eq!(doors.counts, expected);
}

proptest! {
    #[test]
    fn no_limit_is_passed_and_forged_addresses_fill_no_more_than_half(
        knocks in proptest::collection::vec((0..6_u8, any::<bool>()), 0..300), all in 1..40_u32, per_source in 1..12_u32,
    ) {
        let limits = limits(all, per_source);
        let (mut under_way, mut forged) = ([0_u32; 6], 0);
        for (source, proven) in knocks {
            let from = at(&format!("203.0.113.{source}:1"));
            let (count, own) = (under_way.iter().sum(), under_way[source as usize]);
            let knock = Knock { from, proven, all: count, own };
            if decide(&limits, &AccessLists::default(), &knock) == Verdict::LetIn {
                under_way[source as usize] += 1;
                forged += u32::from(!proven);
            }
            prop_assert!(under_way.iter().sum::<u32>() <= all && under_way.iter().all(|own| *own <= per_source));
            prop_assert!(forged <= all.div_ceil(2));
        }
    }
}
