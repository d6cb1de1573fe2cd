//! Programs of the workspace that a command builds and then runs with the arguments it was given.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::interrupt;

/// What is passed on to the program, which has a `--help` of its own.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct PassedOn {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl PassedOn {
    /// Whether one of them is one of these.
    pub fn asks_for(&self, words: &[&str]) -> bool {
        self.arguments.iter().any(|argument| words.iter().any(|word| argument == word))
    }

    /// Runs the program with them. Its status becomes ours.
    pub fn run(&self, program: &mut Command, name: &str) -> Result<ExitCode> {
        let status = program.args(&self.arguments).status().with_context(|| format!("start {name}"))?;
        interrupt::check()?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
    }
}
