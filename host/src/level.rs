//! A number that many wait for, and who are woken in the order in which they began to.
//!
//! tokio's `watch` wakes in an order that it draws from a generator which cannot be seeded; with it, a simulated run
//! could not be repeated.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    told: Notify,
}

#[derive(Debug, Default)]
struct State {
    value: u64,
    /// Counts the changes.
    version: u64,
    gone: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that sets the number; when it is dropped, everybody who waits is told.
#[derive(Debug, Default)]
pub(crate) struct Level(Arc<Shared>);

impl Level {
    /// Sets the number.
    pub(crate) fn set(&self, value: u64) {
        self.change(|state| state.value = value);
    }

    /// Adds one.
    pub(crate) fn add_one(&self) {
        self.change(|state| state.value += 1);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        {
            let mut state = self.0.state();
            change(&mut state);
            state.version += 1;
        }
        self.0.told.notify_waiters();
    }

    /// Sees every change from now on.
    pub(crate) fn subscribe(&self) -> LevelReader {
        let seen = self.0.state().version;
        LevelReader { shared: Arc::clone(&self.0), seen }
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.0.state().gone = true;
        self.0.told.notify_waiters();
    }
}

/// The number will not change any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LevelGone;

/// The end that waits.
#[derive(Debug)]
pub(crate) struct LevelReader {
    shared: Arc<Shared>,
    seen: u64,
}

impl LevelReader {
    /// Ready when the number is at least this. Cancel safe.
    pub(crate) async fn at_least(&self, wanted: u64) -> Result<(), LevelGone> {
        self.until(|state| state.value >= wanted).await.map(drop)
    }

    /// Ready when the number was set since the last call, or since the subscription. Cancel safe.
    pub(crate) async fn changed(&mut self) -> Result<(), LevelGone> {
        let seen = self.seen;
        self.seen = self.until(|state| state.version != seen).await?;
        Ok(())
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) -> Result<u64, LevelGone> {
        loop {
            let mut told = pin!(self.shared.told.notified());
            // Before the look, so that no change falls between the two.
            told.as_mut().enable();
            {
                let state = self.shared.state();
                if holds(&state) {
                    return Ok(state.version);
                }
                if state.gone {
                    return Err(LevelGone);
                }
            }
            told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_hears_of_the_level_and_of_the_end() {
        let level = Level::default();
        let mut reader = level.subscribe();
        level.set(3);
        assert_eq!((reader.at_least(3).await, reader.changed().await), (Ok(()), Ok(())));
        let (waits, ()) = tokio::join!(reader.at_least(5), async { level.set(5) });
        assert_eq!(waits, Ok(()));
        level.add_one();
        assert_eq!((reader.changed().await, reader.at_least(6).await), (Ok(()), Ok(())));
        let (waits, ()) = tokio::join!(reader.at_least(7), async { drop(level) });
        assert_eq!((waits, reader.changed().await), (Err(LevelGone), Err(LevelGone)));
    }
}
