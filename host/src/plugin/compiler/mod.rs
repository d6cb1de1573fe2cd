//! From the bytes of a file to code: looked at, limited, taken from the cache, or compiled in a process of its own.

mod child;
mod limits;
mod program;

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;
use wasmtime::Engine;
use wasmtime::component::Component;

use self::child::Child;
pub use self::program::{CompileRefused, compile_program};
use super::cache::{CacheConfig, CodeCache, Found, Name};
use super::{EngineConfig, PluginError, Signer, inspect};

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
    pub(super) fn new(engine: &Engine, config: EngineConfig, signer: &dyn Signer) -> Self {
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
        inspect::check_size(file, bytes, most)?;
        let name = self.cache.as_ref().map(|cache| (cache, cache.name(bytes)));
        let found = name.as_ref().and_then(|(cache, name)| self.cached(file, cache, name));
        let (code, cached) = match found {
            Some(code) => (code, true),
            None => {
                let component = inspect::component(file, bytes, most)?;
                limits::check(file, &component)?;
                let _alone = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
                (self.compile(file, &component, name.as_ref())?, false)
            }
        };
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let range = code.image_range();
        let bytes = (range.end as usize).saturating_sub(range.start as usize);
        Ok((code, CodeOrigin { cached, micros, bytes }))
    }

    /// The code of a file as the cache has it. What is no good is reported and gone.
    fn cached(&self, file: &str, cache: &CodeCache, name: &Name) -> Option<Component> {
        let damaged = match cache.get(name) {
            Found::Nothing => return None,
            Found::Damaged(what) => what,
            // SAFETY: `load` runs what these bytes say. The cache says that this node wrote them: their tag covers every
            // byte, the file they were made from and the engine they are for, and was made with a key that
            // only this node can derive. They are in memory of this process, where nobody can exchange them now.
            Found::Code(code) => match unsafe { self.load(&code) } {
                Ok(code) => return Some(code),
                Err(reason) => cache.throw_away(name, &reason),
            },
        };
        tracing::warn!(target: "weir::plugin", "{file} is compiled anew, because its compiled code is damaged: {damaged}");
        None
    }

    fn compile(
        &self,
        file: &str,
        component: &[u8],
        keep: Option<&(&CodeCache, Name)>,
    ) -> Result<Component, PluginError> {
        let (compiled, code) = match &self.child {
            None => {
                let compiled = Component::from_binary(&self.engine, component)
                    .map_err(|error| PluginError::Malformed { file: file.to_owned(), reason: format!("{error:#}") })?;
                // Only what is kept has to be bytes.
                let code = keep.and_then(|_| compiled.serialize().ok());
                (compiled, code)
            }
            Some(child) => {
                let code = child.compile(file, component, &engine_stamp(&self.engine))?;
                // SAFETY: `load` runs what these bytes say. They came through a pipe from a process of the program that
                // the embedder named, which says that it has the same compiler with the same settings; it ran in place
                // of compiling in this process, where what it returns would be run in just the same way.
                let compiled = unsafe { self.load(&code) }.map_err(|reason| PluginError::Runtime { reason })?;
                (compiled, Some(code))
            }
        };
        if let (Some((cache, name)), Some(code)) = (keep, code)
            && let Err(error) = cache.put(name, &code)
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
