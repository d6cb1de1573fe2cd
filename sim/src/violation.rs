//! A rule that a run broke.

use std::fmt;
use std::time::Duration;

/// What was broken, where and when.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// The rule, in a few words.
    pub invariant: &'static str,
    /// What was found instead.
    pub detail: String,
    /// Virtual time.
    #[serde(serialize_with = "millis")]
    pub at: Duration,
    /// Which step of the scenario, counted from 1.
    pub step: usize,
}

fn millis<S: serde::Serializer>(at: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(at.as_millis())
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, detail, at, step } = self;
        write!(f, "step {step}, after {} ms: {invariant}: {detail}", at.as_millis())
    }
}
