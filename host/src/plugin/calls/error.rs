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

    /// In words, with the plugin's name: the error itself also goes where that is known.
    pub fn told_of(&self, plugin: &str) -> String {
        match self {
            Self::TimedOut => format!("plugin {plugin} did not answer in time"),
            Self::Busy => format!("plugin {plugin} has too many commands waiting"),
            Self::Gone => format!("plugin {plugin} was restarted or unloaded before it answered"),
            Self::UnknownPlugin(_) | Self::Failed(_) => self.to_string(),
        }
    }

    /// What an operator does next, in one sentence. None where the plugin itself refused: only it knows.
    pub fn next_step(&self, plugin: &str) -> Option<String> {
        match self {
            Self::UnknownPlugin(_) => Some("run `weir plugin list`".to_owned()),
            Self::TimedOut => Some(format!("look at `weir plugin logs {plugin}`, or give it more time")),
            Self::Busy | Self::Gone => Some("try again; `weir plugin list` shows how the plugin is".to_owned()),
            Self::Failed(failure) if failure.code == "plugin-crashed" => {
                Some(format!("run `weir plugin dead-letters {plugin}`"))
            }
            Self::Failed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Failure;

    #[test]
    fn whatever_is_not_the_plugins_word_names_it_or_says_what_to_do() {
        for error in [CallError::TimedOut, CallError::Busy, CallError::Gone] {
            assert!(error.told_of("ping").contains("plugin ping "), "{error}");
            assert!(error.next_step("ping").is_some_and(|step| step.contains("weir plugin")), "{error}");
        }
        let failed = |code: &str| CallError::Failed(Failure { code: code.to_owned(), message: "no".to_owned() });
        let step = failed("plugin-crashed").next_step("ping");
        assert_eq!(step.as_deref(), Some("run `weir plugin dead-letters ping`"));
        assert_eq!(
            (failed("too-late").next_step("ping"), failed("too-late").told_of("ping")),
            (None, "no (too-late)".into())
        );
    }
}
