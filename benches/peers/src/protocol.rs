//! What `weir-bench` asks on stdin and what it is answered on stdout: one JSON document a line, one answer to each.

use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Start everything that a case needs, in place of what the last one needed.
    Prepare {
        /// Its name.
        case: String,
        /// The share of its work that a round does.
        scale: f64,
    },
    /// Do the work once in this way.
    Round(String),
}

/// What is answered.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// The case is prepared.
    Prepared {
        /// The ways that do it: none, where no library has such a thing.
        ways: Vec<&'static str>,
        /// The names of the values that each round gives.
        rows: Vec<String>,
    },
    /// The work is done.
    Done {
        /// A value for each row.
        values: Vec<f64>,
    },
    /// It went wrong.
    Failed {
        /// How.
        error: String,
    },
}
