//! The other process's side of compiling: limits itself, reads a component, writes code.

use std::fmt;
use std::io::{self, Read as _, Write as _};

use wasmtime::Engine;

use super::super::Preemption;
use super::super::engine_config::{Allocator, configuration};
use super::engine_stamp;

/// The first argument of the program.
pub(super) const ARGUMENT: &str = "compile-plugin";
/// The status of a program to which the component is to blame.
pub(super) const MALFORMED: i32 = 3;
/// What stands before the code: the engine it is for.
pub(super) const STAMP: usize = 32;

/// Why nothing was compiled.
#[derive(Debug)]
pub enum CompileRefused {
    /// The component cannot be compiled.
    Malformed(String),
    /// Something else.
    Failed(String),
}

impl CompileRefused {
    /// What the process is to end with.
    pub fn status(&self) -> u8 {
        match self {
            Self::Malformed(_) => MALFORMED as u8,
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for CompileRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Malformed(reason) | Self::Failed(reason)) = self;
        f.write_str(reason)
    }
}

/// What the program that a [`EngineConfig`](crate::plugin::EngineConfig) names has to do: takes its limits of CPU time in seconds and address
/// space in bytes, reads a component from stdin and writes code to stdout. The process should end then.
///
/// # Errors
/// What to say on stderr; the process should end with [`CompileRefused::status`].
pub fn compile_program(cpu: u64, memory: u64) -> Result<(), CompileRefused> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| CompileRefused::Failed(format!("{what}: {error}"))
    };
    limit(cpu, memory).map_err(failed("setting limits"))?;
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component).map_err(failed("reading the component"))?;
    let engine = Engine::new(&configuration(Preemption::Epochs, Allocator::OnDemand))
        .map_err(|error| CompileRefused::Failed(format!("{error:#}")))?;
    let code =
        engine.precompile_component(&component).map_err(|error| CompileRefused::Malformed(format!("{error:#}")))?;
    let mut out = io::stdout().lock();
    let written = out.write_all(&engine_stamp(&engine)).and_then(|()| out.write_all(&code)).and_then(|()| out.flush());
    written.map_err(failed("writing the code"))
}

/// Limits this process, for good. Compiling needs no files, and leaves no trace of a crash.
#[cfg(unix)]
fn limit(cpu: u64, memory: u64) -> io::Result<()> {
    set(libc::RLIMIT_CPU as u64, cpu, cpu.saturating_add(1))?;
    set(libc::RLIMIT_AS as u64, memory, memory)?;
    set(libc::RLIMIT_FSIZE as u64, 0, 0)?;
    set(libc::RLIMIT_CORE as u64, 0, 0)?;
    super::super::cpu::be_nice();
    #[cfg(target_os = "linux")]
    // SAFETY: takes numbers only. The process ends with the thread of the node that waits for it.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    }
    Ok(())
}

// The resources have another type on every system.
#[cfg(unix)]
fn set(what: u64, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the pointer is to a limit of ours that outlives the call.
    let failed = unsafe { libc::setrlimit(what as _, &raw const limit) } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}
