//! Ctrl-C and SIGTERM as a flag, so that what was started can be stopped before we end.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From here on the signals no longer end the process: whoever waits has to ask [`requested`].
pub fn listen() -> Result<()> {
    #[cfg(unix)]
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler stores to an atomic and does nothing else, which is allowed in a signal handler.
        unsafe { signal_hook_registry::register(signal, || REQUESTED.store(true, Ordering::Relaxed)) }
            .context("listen for Ctrl-C")?;
    }
    Ok(())
}

/// Whether a signal asked us to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// An error if a signal asked us to stop, to be used with `?` wherever something is waited for.
pub fn check() -> Result<()> {
    if requested() {
        bail!("interrupted");
    }
    Ok(())
}
