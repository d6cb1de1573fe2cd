//! Where packets come from, as far as one party can choose it: what limits per source count.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An IPv4 address, or the first 64 bits of an IPv6 address: one host may have all addresses below those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

/// The bits of an IPv6 address that a host does not choose by itself.
const SITE: u128 = !0 << 64;

impl Source {
    /// The source that an address belongs to. An IPv4-mapped address is an IPv4 one.
    pub fn of(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V6(ip) if !ip.is_loopback() => Self(Ipv6Addr::from(u128::from(ip) & SITE).into()),
            ip => Self(ip),
        }
    }

    /// Whether it is this machine itself.
    pub fn is_loopback(&self) -> bool {
        self.0.is_loopback()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(ip) if !ip.is_loopback() => write!(f, "{ip}/64"),
            ip => write!(f, "{ip}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> String {
        Source::of(address.parse().expect("an address")).to_string()
    }

    #[test]
    fn an_ipv6_host_counts_by_its_network_and_an_ipv4_host_by_itself() {
        assert_eq!(source("203.0.113.7:1"), "203.0.113.7");
        assert_eq!(source("[::ffff:203.0.113.7]:1"), "203.0.113.7");
        assert_eq!(source("[2001:db8::1]:1"), source("[2001:db8::ffff:2]:9"));
        assert_eq!(source("[2001:db8::1]:1"), "2001:db8::/64");
        assert_ne!(source("[2001:db8:0:1::1]:1"), source("[2001:db8:0:2::1]:1"));
        assert_eq!(source("[::1]:1"), "::1");
    }
}
