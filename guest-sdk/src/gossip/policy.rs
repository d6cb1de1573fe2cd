//! What gossip may use, with the reason for every default.

/// The limits of one gossip. All sizes are bounds on what peers can make a node keep or do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Peers in the active view that a node looks for. Trees over five links a node stay connected when a third of
    /// the nodes fail at once (Leitão et al. 2007 use five for 10,000 nodes).
    pub view: usize,
    /// Peers in the active view that a node puts up with, because others look for it.
    pub view_most: usize,
    /// Items in a row that a link brings too late before it is taken out of the tree. More than one, because items of
    /// several senders that cross each other would cut a circle of links more than once.
    pub prune_after: u32,
    /// A link replaces the one that an item came by when it would have brought it in more than so many hops less. Swaps
    /// for less would go to and fro between the trees that are best for different senders.
    pub shorten_by: u8,
    /// How long ids wait to be announced together, in milliseconds: most arrive by the tree before that.
    pub have_after_ms: u64,
    /// How long an announced item may take to come by the tree, in milliseconds, before it is asked for. Above
    /// the difference between the slowest and the fastest path, or the tree is grafted without need.
    pub graft_after_ms: u64,
    /// How long a peer may take to hand over what it announced, in milliseconds.
    pub want_timeout_ms: u32,
    /// Items asked for in one request; what does not fit its answer is asked for again.
    pub want_items: usize,
    /// Asks for items that one peer may owe an answer to.
    pub want_open: usize,
    /// Announced items that are remembered until they are here.
    pub missing: usize,
    /// Peers remembered for each of them.
    pub announcers: usize,
    /// Items that may wait for the plugin's decision, and their bytes together.
    pub pending: usize,
    /// See `pending`.
    pub pending_bytes: usize,
    /// How long one may wait, in milliseconds; then it is forgotten, and taken again if it comes again.
    pub pending_ms: u64,
    /// Ids remembered of what was ignored or has been dropped: at least so many, at most twice as many.
    pub seen: usize,
    /// Items compared when nodes reconcile: the newest. 100 bytes each. What was left out is taken in again once a
    /// quarter of this is free.
    pub index: usize,
    /// Items of one range that is compared item by item: what one step of a reconciliation costs.
    pub window: usize,
    /// Bytes of one message of a reconciliation.
    pub frame: usize,
    /// How often a node reconciles with a random peer, in milliseconds, half as much to one and a half drawn.
    pub reconcile_every_ms: u64,
    /// How soon with a peer that has come or that lost something, in milliseconds.
    pub reconcile_soon_ms: u64,
    /// Reconciliations under way at once.
    pub sessions: usize,
    /// How often one peer of the view is exchanged, in milliseconds, so that the mesh stays random.
    pub shuffle_every_ms: u64,
    /// Largest item, in bytes.
    pub item_bytes: usize,
    /// Bytes of items that were accepted lately, kept to be pushed and asked for.
    pub recent_bytes: usize,
    /// Ids waiting to be pushed to one peer; more are announced instead.
    pub push_queue: usize,
    /// Ids waiting to be announced to one peer; beyond them the next reconciliation tells.
    pub have_queue: usize,
    /// Items that wait to be written, because a turn may write only so many, before no more are taken.
    pub unwritten: usize,
    /// Items a second and at once that one peer may push. A node itself keeps to three quarters of this and of the
    /// following, so that nobody is over a quota for passing on what others send.
    pub items: (u64, u64),
    /// Bytes of them.
    pub bytes: (u64, u64),
    /// Ids that one peer may announce.
    pub ids: (u64, u64),
    /// Requests that one peer may make. As many as hand over `served` in full answers, and room for reconciling.
    pub asks: (u64, u64),
    /// Bytes handed to one peer that asked for items.
    pub served: (u64, u64),
    /// Items that one peer may push although they are known and it was told to stop.
    pub unwanted: (u64, u64),
    /// What a peer may do wrong a second and at once (a promise not kept, an invalid item, an unreadable message)
    /// before nothing is taken from it for `distrust_ms`.
    pub strikes: (u64, u64),
    /// See `strikes`.
    pub distrust_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            view: 5,
            view_most: 8,
            prune_after: 3,
            shorten_by: 4,
            have_after_ms: 100,
            graft_after_ms: 500,
            want_timeout_ms: 2_000,
            want_items: 256,
            want_open: 4,
            missing: 8_192,
            announcers: 4,
            pending: 4_096,
            pending_bytes: 8 << 20,
            pending_ms: 60_000,
            seen: 32_768,
            index: 65_536,
            window: 8_192,
            frame: 16 << 10,
            reconcile_every_ms: 30_000,
            reconcile_soon_ms: 300,
            sessions: 2,
            shuffle_every_ms: 60_000,
            item_bytes: 60 << 10,
            recent_bytes: 1 << 20,
            unwritten: 4_096,
            push_queue: 256,
            have_queue: 4_096,
            items: (1_000, 4_000),
            bytes: (2 << 20, 8 << 20),
            ids: (10_000, 40_000),
            asks: (100, 400),
            served: (4 << 20, 16 << 20),
            unwanted: (20, 200),
            strikes: (1, 16),
            distrust_ms: 60_000,
        }
    }
}
