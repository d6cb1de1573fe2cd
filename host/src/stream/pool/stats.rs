//! What a pool tells about itself.

/// How many slots are in which state, and what came of them so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Open and unused.
    pub idle: usize,
    /// In the hands of a lane.
    pub lent: usize,
    /// Kept for the lane that used them last.
    pub parked: usize,
    /// Finished, abandoned or stopped; the peer has not reported their end yet.
    pub ending: usize,
    /// Being opened.
    pub opening: usize,
    /// Waiting for a stream.
    pub waiters: usize,
    /// Most slots.
    pub max: usize,
    /// Since the pool was made.
    pub counters: PoolCounters,
}

impl PoolStats {
    /// Slots taken.
    pub fn total(&self) -> usize {
        self.idle + self.lent + self.parked + self.ending + self.opening
    }

    /// Slots that nobody else can have before the peer reads on, and who waits for one.
    pub fn load(&self) -> usize {
        self.lent + self.ending + self.waiters
    }
}

/// What pools have done; only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolCounters {
    /// Streams opened.
    pub opened: u64,
    /// Times that a stream was lent.
    pub lent: u64,
    /// Of those, to a borrower that had to wait.
    pub late: u64,
    /// Borrowers that waited in vain until their deadline.
    pub denied: u64,
    /// Parked streams finished because another lane needed the slot.
    pub displaced: u64,
    /// Streams finished because nobody had used them for long.
    pub shrunk: u64,
    /// Streams given up, perhaps inside a frame.
    pub abandoned: u64,
    /// Streams that came back stopped by the peer.
    pub stopped: u64,
}

impl std::ops::AddAssign for PoolCounters {
    fn add_assign(&mut self, other: Self) {
        // Taken apart, so that a counter that is added here is added there.
        let Self { opened, lent, late, denied, displaced, shrunk, abandoned, stopped } = other;
        self.opened += opened;
        self.lent += lent;
        self.late += late;
        self.denied += denied;
        self.displaced += displaced;
        self.shrunk += shrunk;
        self.abandoned += abandoned;
        self.stopped += stopped;
    }
}
