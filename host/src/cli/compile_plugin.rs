//! `weir compile-plugin`: what a node starts to compile a plugin. Not for people, and therefore hidden.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;

use crate::plugin::compile_program;

#[derive(Debug, Args)]
pub(super) struct CompilePlugin {
    /// CPU time in seconds, over all threads
    #[arg(long)]
    cpu: u64,
    /// Address space in bytes
    #[arg(long)]
    memory: u64,
}

impl CompilePlugin {
    /// Before there is any runtime, so that no other threads take of the limits.
    pub(super) fn execute(self) -> ExitCode {
        match compile_program(self.cpu, self.memory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(refused) => {
                writeln!(io::stderr(), "{refused}").ok();
                ExitCode::from(refused.status())
            }
        }
    }
}
