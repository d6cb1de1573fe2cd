//! Who may connect: the operator's allow and block list, by peer and by address.
//!
//! [`AccessLists`] are the rules, pure. [`Access`] is the copy that the listening endpoint looks at before a
//! handshake; the connection manager replaces it and applies it to what is connected.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::peer::PeerId;

/// Most entries of both lists together. Each packet that begins a handshake may be compared with all of them.
pub const MAX_ACCESS_ENTRIES: usize = 4096;

/// Whom an entry means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessEntry {
    /// Whoever has this key.
    Peer(PeerId),
    /// Whoever sends from, or is dialed at, this address.
    Ip(IpAddr),
    /// The same with this port.
    Socket(SocketAddr),
    /// Whoever has an address with these first bits.
    Net {
        /// The bits; the rest is zero.
        network: IpAddr,
        /// How many count.
        prefix: u8,
    },
}

/// Why a text is no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessEntryError {
    /// It has none of the four forms.
    #[error("`{0}` is no entry: write PEER_ID, IP, IP/PREFIX, IP:PORT or [IPV6]:PORT")]
    Form(String),
    /// The prefix is longer than the address.
    #[error("`{text}` has a prefix of {prefix} bits, but the address has {most}")]
    Prefix {
        /// What was written.
        text: String,
        /// Which prefix.
        prefix: u8,
        /// The longest one.
        most: u8,
    },
    /// The address says more than the prefix.
    #[error("`{text}` has bits beyond its prefix: write `{network}` for the network, or the address without a prefix")]
    Host {
        /// What was written.
        text: String,
        /// What may be meant.
        network: AccessEntry,
    },
}

impl AccessEntry {
    /// Whether an address is meant.
    fn covers(&self, address: SocketAddr) -> bool {
        match *self {
            Self::Peer(_) => false,
            Self::Ip(ip) => ip == address.ip(),
            Self::Socket(socket) => (socket.ip(), socket.port()) == (address.ip(), address.port()),
            Self::Net { network, prefix } => {
                network.is_ipv4() == address.is_ipv4() && masked(address.ip(), prefix) == network
            }
        }
    }

    fn net(text: &str, address: &str, prefix: &str) -> Result<Self, AccessEntryError> {
        let form = || AccessEntryError::Form(text.to_owned());
        let ip: IpAddr = address.parse().map_err(|_| form())?;
        let prefix: u8 = prefix.parse().map_err(|_| form())?;
        let most = bits(ip);
        if prefix > most {
            return Err(AccessEntryError::Prefix { text: text.to_owned(), prefix, most });
        }
        let network = Self::Net { network: masked(ip, prefix), prefix };
        match masked(ip, prefix) == ip {
            true => Ok(network),
            false => Err(AccessEntryError::Host { text: text.to_owned(), network }),
        }
    }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The address with all bits after the prefix set to zero.
fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

/// An IPv4 peer of a socket that listens on IPv6 too comes with an IPv4-mapped address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl FromStr for AccessEntry {
    type Err = AccessEntryError;

    fn from_str(text: &str) -> Result<Self, AccessEntryError> {
        if let Some((address, prefix)) = text.split_once('/') {
            return Self::net(text, address, prefix);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(ip.to_canonical()));
        }
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(Self::Socket(canonical(socket)));
        }
        text.parse().map(Self::Peer).map_err(|_| AccessEntryError::Form(text.to_owned()))
    }
}

impl fmt::Display for AccessEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => write!(f, "{peer}"),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Socket(socket) => write!(f, "{socket}"),
            Self::Net { network, prefix } => write!(f, "{network}/{prefix}"),
        }
    }
}

impl Serialize for AccessEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AccessEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why somebody may not connect. The text names the list, the entry and what lifts it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// An entry of the block list.
    #[error("block list has `{0}`; `weir access unblock {0}` lifts it")]
    Blocked(AccessEntry),
    /// The allow list has entries, and none is for this one.
    #[error("allow list has {entries} entries and none for {who}; `weir access allow` adds one")]
    NotAllowed {
        /// How many there are.
        entries: usize,
        /// Whom it has no entry for.
        who: String,
    },
}

impl Denied {
    /// Which list denies, and with which entry; or how many entries it has, none of which is for this one.
    pub fn limit(&self) -> (&'static str, String) {
        match self {
            Self::Blocked(entry) => ("block list", entry.to_string()),
            Self::NotAllowed { entries, .. } => ("allow list", entries.to_string()),
        }
    }
}

/// Both lists. The block list wins; an empty allow list allows everybody.
///
/// ```
/// use weir_host::transport::{AccessLists, Denied};
///
/// let mut lists = AccessLists::default();
/// lists.block.insert("203.0.113.0/24".parse()?);
/// assert!(matches!(lists.check(None, "203.0.113.7:4433".parse()?), Err(Denied::Blocked(_))));
/// assert_eq!(lists.check(None, "198.51.100.1:4433".parse()?), Ok(()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLists {
    /// Whom to let in; everybody when it is empty.
    pub allow: BTreeSet<AccessEntry>,
    /// Whom to keep out, whatever the other list says.
    pub block: BTreeSet<AccessEntry>,
}

impl AccessLists {
    /// Whether a peer at an address may connect. Without a peer, whether anybody at the address may: what an entry
    /// for a peer says is then left open, so it never denies.
    ///
    /// # Errors
    /// The rule that denies.
    pub fn check(&self, peer: Option<&PeerId>, address: SocketAddr) -> Result<(), Denied> {
        let address = canonical(address);
        if let Some(entry) = find(&self.block, peer, address) {
            return Err(Denied::Blocked(entry));
        }
        let undecided = peer.is_none() && self.allow.iter().any(|entry| matches!(entry, AccessEntry::Peer(_)));
        if self.allow.is_empty() || undecided || find(&self.allow, peer, address).is_some() {
            return Ok(());
        }
        let who = peer.map_or(address.to_string(), |peer| format!("{peer}@{address}"));
        Err(Denied::NotAllowed { entries: self.allow.len(), who })
    }
}

fn find(list: &BTreeSet<AccessEntry>, peer: Option<&PeerId>, address: SocketAddr) -> Option<AccessEntry> {
    let of_peer = peer.map(|peer| AccessEntry::Peer(*peer)).filter(|entry| list.contains(entry));
    of_peer.or_else(|| list.iter().find(|entry| entry.covers(address)).copied())
}

/// The lists as they are now; cheap to clone, all clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Access(Arc<RwLock<Arc<AccessLists>>>);

impl Access {
    /// Starts with these.
    pub fn new(lists: AccessLists) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(lists))))
    }

    /// The lists as of now.
    pub fn lists(&self) -> Arc<AccessLists> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these; what is connected already is the manager's to look at.
    pub(crate) fn replace(&self, lists: AccessLists) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(lists);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(text: &str) -> AccessEntry {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn lists(allow: &[&str], block: &[&str]) -> AccessLists {
        let set = |texts: &[&str]| texts.iter().map(|text| entry(text)).collect();
        AccessLists { allow: set(allow), block: set(block) }
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    const PEER: PeerId = PeerId::from_bytes([7; 32]);

    #[test]
    fn every_form_reads_back_as_it_is_written() {
        let peer = PEER.to_string();
        for text in
            [&peer, "203.0.113.7", "2001:db8::1", "203.0.113.0/24", "0.0.0.0/0", "2001:db8::/32", "203.0.113.7:4433"]
        {
            assert_eq!(entry(text).to_string(), text);
        }
        assert_eq!(entry("[2001:db8::1]:4433").to_string(), "[2001:db8::1]:4433");
        assert_eq!(entry("::ffff:203.0.113.7"), entry("203.0.113.7"));
    }

    #[test]
    fn what_is_no_entry_says_what_to_write() {
        let problem = |text: &str| text.parse::<AccessEntry>().expect_err("no entry").to_string();
        assert_eq!(
            problem("203.0.113.7/24"),
            "`203.0.113.7/24` has bits beyond its prefix: write `203.0.113.0/24` for the network, or the address \
             without a prefix"
        );
        assert_eq!(problem("10.0.0.0/33"), "`10.0.0.0/33` has a prefix of 33 bits, but the address has 32");
        for text in ["", "example.org", "10.0.0.0/x", "10.0.0.0/", "/8", "10.0.0.1:99999", "0a0b", "[::1]"] {
            assert!(problem(text).contains("write PEER_ID, IP, IP/PREFIX, IP:PORT or [IPV6]:PORT"), "{text}");
        }
    }

    #[test]
    fn each_form_covers_what_it_names_and_nothing_else() {
        let blocked = |block: &str, address: &str| lists(&[], &[block]).check(Some(&PEER), at(address)).is_err();
        assert!(blocked("203.0.113.7", "203.0.113.7:1") && !blocked("203.0.113.7", "203.0.113.8:1"));
        assert!(blocked("203.0.113.7", "[::ffff:203.0.113.7]:1"), "also as an IPv4-mapped address");
        assert!(blocked("203.0.113.7:5", "203.0.113.7:5") && !blocked("203.0.113.7:5", "203.0.113.7:6"));
        assert!(blocked("203.0.113.0/24", "203.0.113.255:1") && !blocked("203.0.113.0/24", "203.0.114.0:1"));
        assert!(blocked("2001:db8::/32", "[2001:db8:ffff::1]:1") && !blocked("2001:db8::/32", "[2001:db9::1]:1"));
        assert!(blocked("0.0.0.0/0", "1.2.3.4:1") && !blocked("0.0.0.0/0", "[::1]:1"), "each family by itself");
        assert!(blocked(&PEER.to_string(), "1.2.3.4:1"));
        assert!(!blocked(&PeerId::from_bytes([8; 32]).to_string(), "1.2.3.4:1"));
    }

    #[test]
    fn the_block_list_wins_and_an_empty_allow_list_allows_all() {
        let one = lists(&["10.0.0.0/8"], &["10.1.0.0/16"]);
        assert_eq!(one.check(Some(&PEER), at("10.2.0.1:1")), Ok(()));
        assert_eq!(one.check(Some(&PEER), at("10.1.0.1:1")), Err(Denied::Blocked(entry("10.1.0.0/16"))));
        let text = one.check(Some(&PEER), at("11.0.0.1:1")).expect_err("not allowed").to_string();
        assert!(text.starts_with("allow list has 1 entries and none for 0707"), "{text}");
        assert_eq!(lists(&[], &[]).check(Some(&PEER), at("11.0.0.1:1")), Ok(()));
    }

    #[test]
    fn before_the_handshake_only_what_the_address_decides_is_decided() {
        let by_address = lists(&["10.0.0.0/8"], &[]);
        assert!(by_address.check(None, at("11.0.0.1:1")).is_err());
        // Whoever is there may turn out to be the peer.
        let by_peer = lists(&["10.0.0.0/8", &PEER.to_string()], &[]);
        assert_eq!(by_peer.check(None, at("11.0.0.1:1")), Ok(()));
        assert_eq!(by_peer.check(Some(&PEER), at("11.0.0.1:1")), Ok(()));
        assert!(by_peer.check(Some(&PeerId::from_bytes([8; 32])), at("11.0.0.1:1")).is_err());
        assert_eq!(lists(&[], &[&PEER.to_string()]).check(None, at("11.0.0.1:1")), Ok(()));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = text.parse::<AccessEntry>();
        }

        #[test]
        fn a_network_covers_exactly_the_addresses_with_its_bits(ip in any::<u32>(), other in any::<u32>(), prefix in 0_u8..=32) {
            let network = masked(IpAddr::V4(ip.into()), prefix);
            let net = AccessEntry::Net { network, prefix };
            let same = prefix == 0 || (ip ^ other) >> (32 - u32::from(prefix)) == 0;
            prop_assert_eq!(net.covers(SocketAddr::new(IpAddr::V4(other.into()), 1)), same);
            prop_assert_eq!(net.to_string().parse(), Ok(net));
        }
    }
}
