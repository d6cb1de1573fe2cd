//! How much a lane queues before its senders are told to wait, and before it takes nothing more.

/// How many bytes a lane queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimits {
    /// From here on the lane is congested and senders are told to wait.
    pub soft: usize,
    /// What does not fit below this is undelivered. At least `soft` and what one turn may send.
    pub hard: usize,
}

impl LaneLimits {
    /// For messages of at most `max_message` bytes.
    pub fn for_messages(max_message: u32) -> Self {
        // A turn may send as much as the soft limit holds, and end with one message of the largest size.
        let soft = 1 << 20;
        Self { soft, hard: 2 * soft + max_message as usize }
    }
}

impl Default for LaneLimits {
    fn default() -> Self {
        Self::for_messages(crate::wire::DEFAULT_MAX_MESSAGE)
    }
}
