//! What a demo came to.

use serde_json::Value;

use super::held::Held;

/// For people, for programs, and what must not have happened.
pub struct Outcome {
    pub table: String,
    pub json: Value,
    pub failures: Vec<String>,
    /// What `--hold` leaves running.
    pub held: Option<Held>,
}
