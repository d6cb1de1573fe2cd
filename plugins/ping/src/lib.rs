//! Answers requests with what it got and counts messages.
