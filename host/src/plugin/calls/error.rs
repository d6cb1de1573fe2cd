//! Why a command, of an operator or of another plugin, was not answered.

/// Why a command was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No plugin of that name.
    #[error("no plugin named {0} is loaded; `weir plugin list` shows what is")]
    UnknownPlugin(String),
    /// No answer within the time the caller gave.
    #[error("no answer in time")]
    TimedOut,
    /// The plugin has too many commands waiting.
    #[error("the plugin has too many commands waiting; try again")]
    Busy,
    /// The plugin was restarted, upgraded without its memory, or unloaded before it answered.
    #[error("the plugin was restarted or unloaded before it answered; try again")]
    Gone,
    /// The plugin answered with a failure.
    #[error("{} ({})", .0.message, .0.code)]
    Failed(crate::wire::Failure),
}

impl CallError {
    /// The stable name of the case, for programs; for [`CallError::Failed`] the plugin's own code.
    pub fn code(&self) -> &str {
        match self {
            Self::UnknownPlugin(_) => "unknown-plugin",
            Self::TimedOut => "timed-out",
            Self::Busy => "busy",
            Self::Gone => "gone",
            Self::Failed(failure) => &failure.code,
        }
    }
}
