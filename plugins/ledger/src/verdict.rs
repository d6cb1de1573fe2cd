//! What an item is worth.

/// What a ledger says about an item that it was given, with its own reasons: why it says nothing now, why it costs its
/// sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<Ignored, Rejected> {
    /// New and in order: it is stored, and others should have it.
    Accepted,
    /// Nothing is wrong with its sender.
    Ignored(Ignored),
    /// Its sender should have known better.
    Rejected(Rejected),
}
