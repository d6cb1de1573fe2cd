//! What the exchange with all peers came to, in numbers.

/// Counts since the start. Every number only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExchangeStats {
    /// Changes of the local set that were pushed to a peer: `full` and `differences` together.
    pub pushes: u64,
    /// Pushes of the full set.
    pub full: u64,
    /// Pushes of a difference.
    pub differences: u64,
    /// Protocols and removals in all pushes.
    pub entries: u64,
    /// Changes that were not pushed by themselves, because a push before them was not acknowledged yet: they went
    /// with the next one.
    pub coalesced: u64,
    /// Acknowledgements of what was pushed.
    pub acknowledged: u64,
    /// Acknowledgements of less than a difference: the full set followed.
    pub refused: u64,
    /// Acknowledgements that say nothing new: twice, late or out of nowhere.
    pub redundant: u64,
    /// Pushes that were sent again because nothing was heard of them in time.
    pub resent: u64,
    /// Connections that were closed because the peer never acknowledged, or lied.
    pub given_up: u64,
    /// Pushes of peers that were applied.
    pub applied: u64,
    /// Pushes of peers that brought nothing newer than what was applied.
    pub outdated: u64,
    /// Differences of peers to another set than the applied one.
    pub other_base: u64,
    /// Pushes of peers that named another incarnation.
    pub stale: u64,
    /// Sets of peers that broke a rule: the connection was closed.
    pub violations: u64,
}
