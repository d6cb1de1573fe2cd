//! What work costs this process: CPU time and allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Counters beside each other, so that threads seldom share one: a counter that all share would cost more than what it
/// counts.
const COUNTERS: usize = 64;

#[repr(align(128))]
struct Counter(AtomicU64);

static COUNTS: [Counter; COUNTERS] = [const { Counter(AtomicU64::new(0)) }; COUNTERS];
static COUNTING: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Of each thread another address, and nothing to be dropped.
    static HERE: u8 = const { 0 };
}

/// The system's allocator, which counts once [`count_allocations`] was called.
pub struct Counting;

fn count() {
    if COUNTING.load(Ordering::Relaxed) {
        let here = HERE.with(|here| std::ptr::from_ref(here).addr());
        COUNTS[(here >> 8) % COUNTERS].0.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is left to the system's allocator; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is the same.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Counts from here on.
pub fn count_allocations() {
    COUNTING.store(true, Ordering::Relaxed);
}

/// What this process has used since it began.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// On all threads together, in the program and in the kernel.
    pub cpu: Duration,
    /// Blocks of memory that were asked for, larger ones for smaller ones among them.
    pub allocations: u64,
}

impl Usage {
    /// Now.
    pub fn now() -> Self {
        let allocations = COUNTS.iter().map(|count| count.0.load(Ordering::Relaxed)).sum();
        Self { cpu: cpu_time(), allocations }
    }

    /// Since then.
    pub fn since(before: Self) -> Self {
        let now = Self::now();
        Self { cpu: now.cpu.saturating_sub(before.cpu), allocations: now.allocations - before.allocations }
    }
}

fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, to one that is ours.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) } != 0;
    if failed { Duration::ZERO } else { Duration::new(time.tv_sec as u64, time.tv_nsec as u32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_and_computed_is_counted() {
        count_allocations();
        let before = Usage::now();
        let blocks: Vec<Vec<u8>> = (1..=1_000).map(|size| vec![1; size]).collect();
        let mut sum = 0_u64;
        while Usage::since(before).cpu < Duration::from_millis(2) {
            sum += blocks.iter().flatten().map(|byte| u64::from(*byte)).sum::<u64>();
        }
        let used = Usage::since(before);
        assert!(sum > 0 && used.allocations >= 1_000, "{used:?}");
    }
}
