//! The node's side of compiling in another process: gives it a component, takes code, and never waits for ever.

use std::io::{self, Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::super::PluginError;
use super::program::{ARGUMENT, MALFORMED, STAMP};

/// Threads the compiler uses at most. More make its address space larger than it need be, and the node slower.
const THREADS: usize = 4;
/// The process may wait for a processor as long as it may use one, so often: a busy machine is not its fault.
const WAIT: u32 = 8;
/// Code is about six times as large as what it is compiled from; a program that says much more is not believed.
const RATIO: usize = 40;
const AT_LEAST: usize = 16 << 20;
/// What it says on stderr that is kept.
const COMPLAINT: u64 = 4 << 10;
/// How long its pipes may stay open when it has ended.
const LINGER: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) program: PathBuf,
    pub(super) time: Duration,
    pub(super) memory: u64,
}

/// What came of a process.
struct Ended {
    status: ExitStatus,
    code: io::Result<Vec<u8>>,
    complaint: String,
}

impl Child {
    /// Compiles a component. Blocks for eight times the CPU time at most. `stamp` is what the program's engine must have
    /// in common with this one.
    pub(super) fn compile(&self, file: &str, component: &[u8], stamp: &[u8; 32]) -> Result<Vec<u8>, PluginError> {
        let unavailable = |reason: String| {
            let program = self.program.display();
            PluginError::Runtime { reason: format!("the compiler {program} {reason}") }
        };
        let ended = self.run(component).map_err(|error| unavailable(format!("cannot be started: {error}")))?;
        let Some(Ended { status, code, complaint }) = ended else { return Err(self.too_slow(file)) };
        if !status.success() {
            return Err(self
                .refused(file, status, &complaint)
                .unwrap_or_else(|| unavailable(format!("ended with {status}: {complaint}"))));
        }
        let mut code = code.map_err(|error| unavailable(format!("was not heard to the end: {error}")))?;
        match code.split_first_chunk::<STAMP>() {
            Some((found, _)) if found == stamp => {}
            _ => return Err(unavailable("makes code for another engine: it must be of the same build".to_owned())),
        }
        code.drain(..STAMP);
        Ok(code)
    }

    /// What the component is to blame for.
    fn refused(&self, file: &str, status: ExitStatus, complaint: &str) -> Option<PluginError> {
        let out_of_memory = ["memory allocation of", "Cannot allocate memory", "cannot allocate memory"];
        if status.code() == Some(MALFORMED) {
            return Some(PluginError::Malformed { file: file.to_owned(), reason: complaint.to_owned() });
        }
        if status.signal() == Some(libc::SIGXCPU) {
            return Some(self.too_slow(file));
        }
        out_of_memory.iter().any(|words| complaint.contains(words)).then(|| PluginError::CompileLimit {
            file: file.to_owned(),
            limit: format!("{} MiB of memory", self.memory >> 20),
            key: "plugins.compile_memory",
        })
    }

    fn too_slow(&self, file: &str) -> PluginError {
        let limit = format!("{} s of CPU time", self.time.as_secs());
        PluginError::CompileLimit { file: file.to_owned(), limit, key: "plugins.compile_time" }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let seconds = self.time.as_secs().max(1).to_string();
        command.args([ARGUMENT, "--cpu", &seconds, "--memory", &self.memory.to_string()]);
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        // Each arena of the allocator reserves 64 MiB of address space for itself.
        command.env_clear().env("RAYON_NUM_THREADS", threads.to_string()).env("MALLOC_ARENA_MAX", "2");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end; None when it was ended because it took too long.
    fn run(&self, component: &[u8]) -> io::Result<Option<Ended>> {
        let deadline = Instant::now() + self.time * WAIT;
        let mut process = self.command().spawn()?;
        let (input, output, errors) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let most = component.len().saturating_mul(RATIO).max(AT_LEAST) as u64;
        let (code, complaint) = (read_all(output, most), read_all(errors, COMPLAINT));
        let component = component.to_vec();
        // A process that does not read to the end says why with its status.
        thread::spawn(move || input.map(|mut input| input.write_all(&component)));
        let heard = code.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let Some(status) = end(&mut process, if heard.is_ok() { deadline } else { Instant::now() })? else {
            return Ok(None);
        };
        let complaint = complaint.recv_timeout(LINGER).unwrap_or_else(|_| Ok(Vec::new())).unwrap_or_default();
        let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
        let code = heard.unwrap_or_else(|error| Err(io::Error::other(error)));
        Ok(Some(Ended { status, code, complaint }))
    }
}

/// Waits for the end of a process until the deadline, and ends it then: None.
fn end(process: &mut std::process::Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            process.kill()?;
            process.wait()?;
            return Ok(None);
        }
        // It has closed its output, so it is ending.
        thread::sleep(Duration::from_millis(1));
    }
}

/// Reads in a thread, so that the wait for it can end. The end of the process ends the thread.
fn read_all(pipe: Option<impl Read + Send + 'static>, most: u64) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.map_or(Ok(0), |pipe| pipe.take(most).read_to_end(&mut bytes));
        // Nobody listens any more when the wait was over before.
        let _ = sender.send(read.map(|_| bytes));
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A program that is a shell script.
    fn script(folder: &tempfile::TempDir, text: &str) -> Child {
        let program = folder.path().join("compiler");
        std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).expect("executable");
        Child { program, time: Duration::from_secs(1), memory: 1 << 30 }
    }

    fn outcome(text: &str) -> Result<Vec<u8>, PluginError> {
        let folder = tempfile::tempdir().expect("a folder");
        script(&folder, text).compile("x.wasm", &[7; 100_000], &[b'a'; STAMP])
    }

    fn failure(text: &str) -> (&'static str, String) {
        let error = outcome(text).expect_err("it fails");
        (error.code(), error.to_string())
    }

    #[test]
    fn code_comes_after_the_stamp_of_the_engine() {
        let code = outcome("/bin/cat >/dev/null; printf aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaacode").expect("compiled");
        assert_eq!(code, b"code");
        let (code, text) = failure("printf bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbcode");
        assert!(code == "runtime-unavailable" && text.contains("of the same build"), "{text}");
    }

    #[test]
    fn the_reason_of_a_failure_is_told() {
        assert_eq!(failure("echo 'bad section' >&2; exit 3").0, "malformed");
        let (code, text) = failure("echo 'memory allocation of 5 bytes failed' >&2; kill -ABRT $$");
        assert!(code == "compile-limit" && text.contains("1024 MiB of memory"), "{text}");
        let (code, text) = failure("kill -XCPU $$");
        assert!(code == "compile-limit" && text.contains("plugins.compile_time"), "{text}");
        let (code, text) = failure("echo 'no idea' >&2; exit 9");
        assert!(code == "runtime-unavailable" && text.contains("no idea"), "{text}");
    }

    #[test]
    fn a_process_that_never_ends_is_ended() {
        let began = Instant::now();
        assert_eq!(failure("exec /bin/sleep 600").0, "compile-limit");
        assert!(began.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let program = PathBuf::from("/no/such/compiler");
        let child = Child { program, time: Duration::from_secs(1), memory: 1 << 30 };
        let error = child.compile("x.wasm", b"", &[0; STAMP]).expect_err("it is not there");
        assert!(error.to_string().contains("/no/such/compiler cannot be started"), "{error}");
    }
}
