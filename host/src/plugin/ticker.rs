//! The thread that moves the engine's epoch while plugins run, and sleeps while none does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

/// Between two ticks: how long a plugin may hold a thread of the network runtime before it is moved.
const TICK: Duration = Duration::from_millis(5);
/// Ticks without a running call before the thread sleeps: waking it for every turn would cost more than it saves.
const LINGER: u32 = 200;

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    asleep: AtomicBool,
}

/// The ticker of one engine. The thread ends when the engine is gone.
#[derive(Debug)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

/// Keeps the ticker awake.
pub(super) struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (engine, of_thread) = (engine.weak(), shared.clone());
        let handle = thread::Builder::new().name("weir-ticker".to_owned()).spawn(move || tick(&engine, &of_thread))?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    pub(super) fn running(&self) -> Running {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(self.shared.clone())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // It looks for the engine when it wakes, and ends.
        self.thread.unpark();
    }
}

fn tick(engine: &EngineWeak, shared: &Shared) {
    let mut idle = 0;
    while let Some(engine) = engine.upgrade() {
        engine.increment_epoch();
        drop(engine);
        idle = if shared.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
        if idle < LINGER {
            thread::sleep(TICK);
            continue;
        }
        // A call that starts after the second look sees `asleep` and wakes this thread; parking is bounded all the
        // same, so that the thread finds out when its engine is gone.
        shared.asleep.store(true, Ordering::SeqCst);
        if shared.running.load(Ordering::SeqCst) == 0 {
            thread::park_timeout(Duration::from_secs(1));
        }
        shared.asleep.store(false, Ordering::SeqCst);
    }
}
