//! The addresses of one peer, and in which order they are dialed. Pure.
//!
//! First what worked last, then what was learned last, and of one record what is nearest; IPv4 and IPv6 take turns, so
//! that a family which the path does not carry costs one delay and not one for each of its addresses.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::Serialize;

use crate::wire::MAX_ADDRESSES;

/// Who named an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The configuration, or whoever added the peer.
    Operator,
    /// The peer's own signed record.
    Record,
}

/// One address, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KnownAddress {
    /// Where.
    pub address: SocketAddr,
    /// Who named it; the operator, when both did.
    pub source: Origin,
    /// Whether the last connection that this node dialed was made there.
    pub worked: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    address: SocketAddr,
    /// By the operator.
    named: bool,
    /// In the peer's latest record.
    signed: bool,
    /// Greater is later.
    learned: u64,
    /// When it last worked; greater is later, 0 is never.
    worked: u64,
}

/// All known addresses of one peer: at most [`MAX_ADDRESSES`] of the operator and as many of the peer.
#[derive(Debug, Clone, Default)]
pub(super) struct Addresses {
    entries: Vec<Entry>,
    last: u64,
}

impl Addresses {
    /// The operator names an address; true when it was not known. The one named longest ago makes room.
    pub(super) fn name(&mut self, address: SocketAddr) -> bool {
        let learned = self.next();
        let known = self.entries.iter_mut().find(|entry| entry.address == address);
        let is_new = known.is_none();
        match known {
            Some(entry) => (entry.named, entry.learned) = (true, learned),
            None => self.entries.push(Entry { address, named: true, signed: false, learned, worked: 0 }),
        }
        let named = self.entries.iter().filter(|entry| entry.named);
        if named.clone().count() > MAX_ADDRESSES
            && let Some(oldest) = named.map(|entry| entry.learned).min()
        {
            self.entries.iter_mut().filter(|entry| entry.learned == oldest).for_each(|entry| entry.named = false);
            self.forget_unnamed();
        }
        is_new
    }

    /// What the peer's latest record says; what only an earlier one said is forgotten. Returns what was not known.
    pub(super) fn sign(&mut self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let learned = self.next();
        self.entries.iter_mut().for_each(|entry| entry.signed = false);
        let mut new = Vec::new();
        for address in addresses.iter().take(MAX_ADDRESSES) {
            match self.entries.iter_mut().find(|entry| entry.address == *address) {
                Some(entry) => entry.signed = true,
                None => {
                    self.entries.push(Entry { address: *address, named: false, signed: true, learned, worked: 0 });
                    new.push(*address);
                }
            }
        }
        self.forget_unnamed();
        new
    }

    /// A dial to this address was admitted.
    pub(super) fn work(&mut self, address: SocketAddr) {
        let now = self.next();
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.address == address) {
            entry.worked = now;
        }
    }

    /// All of them in the order in which they are dialed.
    pub(super) fn in_order(&self) -> Vec<SocketAddr> {
        take_turns(self.sorted().into_iter().map(|entry| entry.address))
    }

    /// The same, for people.
    pub(super) fn known(&self) -> Vec<KnownAddress> {
        let sorted = self.sorted();
        let last = sorted.first().map_or(0, |entry| entry.worked);
        let one = |address| {
            let entry = sorted.iter().find(|entry| entry.address == address)?;
            let source = if entry.named { Origin::Operator } else { Origin::Record };
            Some(KnownAddress { address, source, worked: last > 0 && entry.worked == last })
        };
        self.in_order().into_iter().filter_map(one).collect()
    }

    fn sorted(&self) -> Vec<&Entry> {
        let mut sorted: Vec<&Entry> = self.entries.iter().collect();
        sorted.sort_by(|one, other| {
            let newest = (other.worked, other.learned).cmp(&(one.worked, one.learned));
            newest.then_with(|| scope(one.address.ip()).cmp(&scope(other.address.ip())))
        });
        sorted
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn forget_unnamed(&mut self) {
        self.entries.retain(|entry| entry.named || entry.signed);
    }
}

/// The families take turns, the first one's begins; within a family the order stays.
fn take_turns(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut rest: VecDeque<SocketAddr> = addresses.collect();
    let mut ordered = Vec::with_capacity(rest.len());
    let mut v4 = rest.front().is_some_and(SocketAddr::is_ipv4);
    while !rest.is_empty() {
        let at = rest.iter().position(|address| address.is_ipv4() == v4).unwrap_or(0);
        ordered.extend(rest.remove(at));
        v4 = !v4;
    }
    ordered
}

/// How far an address reaches; nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    Loopback,
    LinkLocal,
    Private,
    Global,
}

pub(super) fn scope(ip: IpAddr) -> Scope {
    match ip.to_canonical() {
        ip if ip.is_loopback() => Scope::Loopback,
        IpAddr::V4(ip) if ip.is_link_local() => Scope::LinkLocal,
        // 100.64.0.0/10 is shared address space (RFC 6598): behind a provider's translation.
        IpAddr::V4(ip) if ip.is_private() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64) => Scope::Private,
        IpAddr::V6(ip) if is_link_local(ip) => Scope::LinkLocal,
        IpAddr::V6(ip) if ip.octets()[0] & 0xfe == 0xfc => Scope::Private,
        _ => Scope::Global,
    }
}

fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

/// Whether an address that a peer names for itself can be right for this node, which sees the peer at `seen`. A peer
/// seen on the internet cannot send this node to its own loopback or into its private network; link-local IPv6
/// addresses do not travel, because they mean nothing without their interface.
pub(super) fn plausible(address: &SocketAddr, seen: IpAddr) -> bool {
    let ip = address.ip().to_canonical();
    let single = match ip {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && !is_link_local(ip),
    };
    address.port() != 0 && single && scope(ip) >= scope(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn all(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| at(text)).collect()
    }

    #[test]
    fn what_worked_last_goes_first_then_what_was_learned_last() {
        let mut addresses = Addresses::default();
        for text in ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"] {
            assert!(addresses.name(at(text)));
        }
        assert_eq!(addresses.in_order(), all(&["192.0.2.3:1", "192.0.2.2:1", "192.0.2.1:1"]));
        addresses.work(at("192.0.2.1:1"));
        assert_eq!(addresses.in_order(), all(&["192.0.2.1:1", "192.0.2.3:1", "192.0.2.2:1"]));
        assert!(!addresses.name(at("192.0.2.2:1")), "known, and now the newest");
        assert_eq!(addresses.in_order(), all(&["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"]));
        assert_eq!(addresses.known().iter().filter(|known| known.worked).count(), 1);
    }

    #[test]
    fn of_one_record_the_nearest_goes_first_and_families_take_turns() {
        let mut addresses = Addresses::default();
        addresses.sign(&all(&["8.8.8.8:1", "10.0.0.1:1", "127.0.0.1:1", "[2606::1]:1", "[fd00::1]:1"]));
        let order = ["127.0.0.1:1", "[fd00::1]:1", "10.0.0.1:1", "[2606::1]:1", "8.8.8.8:1"];
        assert_eq!(addresses.in_order(), all(&order));
    }

    #[test]
    fn a_record_replaces_the_one_before_and_takes_nothing_from_the_operator() {
        let mut addresses = Addresses::default();
        addresses.name(at("192.0.2.1:1"));
        let many: Vec<SocketAddr> = (1..=40).map(|port| SocketAddr::from(([192, 0, 2, 9], port))).collect();
        assert_eq!(addresses.sign(&many).len(), MAX_ADDRESSES);
        assert_eq!(addresses.sign(&all(&["192.0.2.1:1", "192.0.2.2:1"])), all(&["192.0.2.2:1"]));
        let sources: Vec<_> = addresses.known().iter().map(|known| (known.address, known.source)).collect();
        assert_eq!(sources, [(at("192.0.2.2:1"), Origin::Record), (at("192.0.2.1:1"), Origin::Operator)]);
        addresses.sign(&[]);
        assert_eq!(addresses.in_order(), all(&["192.0.2.1:1"]));
        for port in 1..=20 {
            addresses.name(SocketAddr::from(([192, 0, 2, 9], port)));
        }
        assert_eq!((addresses.in_order().len(), addresses.in_order()[0].port()), (MAX_ADDRESSES, 20));
    }

    #[test]
    fn a_peer_cannot_send_us_nearer_than_we_see_it() {
        let cases = [
            ("8.8.8.8:1", "9.9.9.9", true),
            ("127.0.0.1:1", "9.9.9.9", false),
            ("[::1]:1", "9.9.9.9", false),
            ("[::ffff:127.0.0.1]:1", "9.9.9.9", false),
            ("10.0.0.1:1", "9.9.9.9", false),
            ("100.64.0.1:1", "9.9.9.9", false),
            ("[fd00::1]:1", "2606::1", false),
            ("10.0.0.1:1", "192.168.0.1", true),
            ("127.0.0.1:1", "192.168.0.1", false),
            ("127.0.0.1:1", "127.0.0.2", true),
            ("10.0.0.1:1", "::1", true),
            ("169.254.1.1:1", "10.0.0.1", false),
            ("[fe80::1]:1", "fe80::2", false),
            ("8.8.8.8:0", "9.9.9.9", false),
            ("0.0.0.0:1", "127.0.0.1", false),
            ("224.0.0.1:1", "127.0.0.1", false),
            ("255.255.255.255:1", "127.0.0.1", false),
            ("[ff02::1]:1", "::1", false),
        ];
        for (address, seen, expected) in cases {
            assert_eq!(plausible(&at(address), seen.parse().expect("ip")), expected, "{address} from {seen}");
        }
    }
}
