//! What the operating system knows of this thread: CPU time used, and how nice it is.

use std::time::Duration;

/// CPU time that the calling thread has used.
#[cfg(unix)]
pub(super) fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours that outlives the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0;
    if failed {
        return Duration::ZERO;
    }
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Time that passed, where CPU time per thread is not known: a busy machine then counts against the plugin.
#[cfg(not(unix))]
pub(super) fn thread_time() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Makes the calling thread give way to others.
pub(super) fn be_nice() {
    #[cfg(target_os = "linux")]
    // SAFETY: no memory is involved. On Linux the niceness of process 0, "the caller", is that of this thread alone.
    // A failure leaves the thread as it was, which is slower for others and nothing worse.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 10);
    }
}
