//! Waiting for something another process does: always with a deadline, always stopped by Ctrl-C.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::interrupt;

/// How often a node is asked. A person sees no delay, and a node has nothing else to notice of it.
const PAUSE: Duration = Duration::from_millis(20);

/// Calls `look` until it finds something, for at most `limit`. An error of `look` ends the waiting at once. What has not
/// come is named by `what`: "node b to connect".
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        interrupt::check()?;
        if let Some(found) = look()? {
            return Ok(found);
        }
        if started.elapsed() > limit {
            bail!("waited {} s for {what}, in vain", limit.as_secs());
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_later_is_found() {
        let mut looks = 0;
        let found = until("the third look", Duration::from_secs(10), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.expect("it comes"), 3);
    }

    #[test]
    fn what_never_comes_is_named() {
        let error = until("Godot", Duration::ZERO, || Ok(None::<()>)).expect_err("it never comes");
        assert!(error.to_string().contains("Godot"));
    }
}
