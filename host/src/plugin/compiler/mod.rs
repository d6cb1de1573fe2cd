//! From the bytes of a file to code: looked at, limited, taken from the cache, or compiled in a process of its own.

mod child;
mod limits;
mod program;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use wasmtime::Engine;
use wasmtime::component::Component;

use self::child::Child;
pub use self::program::{CompileRefused, compile_program};
use super::cache::{CacheConfig, CodeCache, Found};
use super::{PluginError, Signer, inspect};

/// How plugins are compiled.
#[derive(Debug, Clone)]
pub struct CompilerConfig {
    /// A program that compiles when it is started with the arguments `compile-plugin --cpu SECONDS --memory BYTES`: the
    /// `weir` binary of the same build does. Compiling then has limits of time and memory, and what is wrong with the
    /// compiler is wrong in another process. None compiles in this process, with the limits on what is compiled only.
    pub program: Option<PathBuf>,
    /// CPU time that the program may take, on all its threads together. A Python interpreter of 18 MB takes about a
    /// minute.
    pub time: Duration,
    /// Address space that the program may take, in bytes.
    pub memory: u64,
    /// Where compiled code is kept; None compiles at every load.
    pub cache: Option<CacheConfig>,
}

impl Default for CompilerConfig {
    fn default() -> Self {
        Self { program: None, time: Duration::from_secs(120), memory: 4 << 30, cache: None }
    }
}

/// Where the code of a revision came from, and how long that took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CodeOrigin {
    /// It was compiled before, and taken from the cache.
    pub cached: bool,
    /// From the bytes of the file to code that can run, in microseconds.
    pub micros: u64,
    /// Bytes of compiled code and what belongs to it.
    pub bytes: usize,
}

/// See the module.
pub(super) struct Compiler {
    engine: Engine,
    child: Option<Child>,
    cache: Option<CodeCache>,
    /// One at a time: each may take all processors and as much memory as it is allowed.
    turn: Mutex<()>,
}

impl Compiler {
    /// A cache that cannot be used is reported and done without.
    pub(super) fn new(engine: &Engine, config: CompilerConfig, signer: &dyn Signer) -> Self {
        let open = |cache: CacheConfig| match CodeCache::open(&cache, signer, engine.precompile_compatibility_hash()) {
            Ok(opened) => Some(opened),
            Err(error) => {
                let folder = cache.folder.display();
                tracing::warn!(target: "weir::plugin", %error, "compiled plugins are not kept in {folder}");
                None
            }
        };
        let child = config.program.map(|program| Child { program, time: config.time, memory: config.memory });
        Self { engine: engine.clone(), child, cache: config.cache.and_then(open), turn: Mutex::default() }
    }

    /// What the bytes of a file are as code. `most` is how many there may be. Blocks for as long as that takes, and until
    /// those that came before are compiled.
    pub(super) fn code(&self, file: &str, bytes: &[u8], most: usize) -> Result<(Component, CodeOrigin), PluginError> {
        let began = Instant::now();
        let component = inspect::component(file, bytes, most)?;
        let (code, cached) = match self.cached(file, &component) {
            Some(code) => (code, true),
            None => {
                limits::check(file, &component)?;
                let _alone = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
                (self.compile(file, &component)?, false)
            }
        };
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let range = code.image_range();
        let bytes = (range.end as usize).saturating_sub(range.start as usize);
        Ok((code, CodeOrigin { cached, micros, bytes }))
    }

    /// The code of a component as the cache has it. What is no good is reported and gone.
    fn cached(&self, file: &str, component: &[u8]) -> Option<Component> {
        let cache = self.cache.as_ref()?;
        let name = cache.name(component);
        let damaged = match cache.get(&name) {
            Found::Nothing => return None,
            Found::Damaged(what) => what,
            // SAFETY: `load` runs what these bytes say. The cache says that this node wrote them: their tag covers every
            // byte, the component they were compiled from and the engine they are for, and was made with a key that
            // only this node can derive. They are in memory of this process, where nobody can exchange them now.
            Found::Code(code) => match unsafe { self.load(&code) } {
                Ok(code) => return Some(code),
                Err(reason) => cache.throw_away(&name, &reason),
            },
        };
        tracing::warn!(target: "weir::plugin", "{file} is compiled anew, because its compiled code is damaged: {damaged}");
        None
    }

    fn compile(&self, file: &str, component: &[u8]) -> Result<Component, PluginError> {
        let (compiled, code) = match &self.child {
            None => {
                let compiled = Component::from_binary(&self.engine, component)
                    .map_err(|error| PluginError::Malformed { file: file.to_owned(), reason: format!("{error:#}") })?;
                // Only what is kept has to be bytes.
                let code = self.cache.as_ref().and_then(|_| compiled.serialize().ok());
                (compiled, code.map(Cow::Owned))
            }
            Some(child) => {
                let code = child.compile(file, component, &engine_stamp(&self.engine))?;
                // SAFETY: `load` runs what these bytes say. They came through a pipe from a process of the program that
                // the embedder named, which says that it has the same compiler with the same settings; it ran in place
                // of compiling in this process, where what it returns would be run in just the same way.
                let compiled = unsafe { self.load(&code) }.map_err(|reason| PluginError::Runtime { reason })?;
                (compiled, Some(Cow::Owned(code)))
            }
        };
        if let (Some(cache), Some(code)) = (&self.cache, code)
            && let Err(error) = cache.put(&cache.name(component), &code)
        {
            tracing::warn!(target: "weir::plugin", %error, "the compiled code of {file} is not kept");
        }
        Ok(compiled)
    }

    /// Makes code of what was serialized.
    ///
    /// # Safety
    /// The bytes must be what this compiler made: they are run as they are.
    unsafe fn load(&self, code: &[u8]) -> Result<Component, String> {
        // SAFETY: as above.
        unsafe { Component::deserialize(&self.engine, code) }.map_err(|error| format!("{error:#}"))
    }
}

/// What two engines must have in common to run each other's code, in 32 bytes.
fn engine_stamp(engine: &Engine) -> [u8; 32] {
    super::cache::stamp(engine.precompile_compatibility_hash())
}
