//! The system's randomness, from a seed: what libraries draw by themselves is the same in every run of a seed.
//!
//! The node takes its own randomness from [`weir_host::runtime::Entropy`], but hash maps, QUIC's connection ids and
//! TLS ask the operating system. In the programs of this crate `getrandom` is the function below: a thread that was
//! seeded draws from its seed, every other thread from the kernel. A run is one thread from its start to its end.
//!
//! TLS may take its keys elsewhere, from the processor. They change bytes that nobody here looks at, and no length.

use std::cell::Cell;

thread_local! {
    /// The state of the generator of this thread. It needs no destructor, so that it is there until the thread ends.
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From here on this thread draws from the seed. Must be the first thing a thread does: hash maps draw once a thread.
pub fn seed_thread(seed: u64) {
    STATE.set(Some(seed));
}

/// Mixes numbers to one that looks like none of them (SplitMix64's finaliser).
pub fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |state, part| finish(state ^ finish(part.wrapping_add(state))))
}

fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// SplitMix64, which is enough for what must be different and need not be secret.
fn next(state: &Cell<Option<u64>>) -> Option<u64> {
    let advanced = state.get()?.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state.set(Some(advanced));
    Some(finish(advanced))
}

/// Stands in for the C library's function of this name.
///
/// # Safety
/// As for the C library's: `buffer` must be valid for writes of `length` bytes.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    length: libc::size_t,
    flags: libc::c_uint,
) -> libc::ssize_t {
    let seeded = STATE.try_with(|state| {
        let mut written = 0;
        while written < length {
            let bytes = next(state)?.to_ne_bytes();
            let count = bytes.len().min(length - written);
            // SAFETY: `written + count` is at most `length`, for which the caller vouches.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast::<u8>().add(written), count) };
            written += count;
        }
        state.get().map(|_| written)
    });
    match seeded {
        Ok(Some(written)) => written as libc::ssize_t,
        // SAFETY: the arguments are the caller's, for the call they are meant for.
        _ => unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as libc::ssize_t },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::hash::BuildHasher;

    use weir_host::runtime::{Entropy, SeededEntropy};

    fn drawn(seed: u64) -> (u64, u64) {
        let draw = move || {
            super::seed_thread(seed);
            let hash = HashMap::<u8, u8>::new().hasher().hash_one(7);
            (hash, SeededEntropy::from_system().expect("randomness").number())
        };
        std::thread::spawn(draw).join().expect("a thread")
    }

    #[test]
    fn hash_maps_and_libraries_draw_from_the_seed() {
        assert_eq!(drawn(1), drawn(1));
        let (hash, number) = drawn(2);
        assert!(hash != drawn(1).0 && number != drawn(1).1);
    }

    #[test]
    fn other_threads_draw_from_the_system() {
        let number = || SeededEntropy::from_system().expect("randomness").number();
        assert_ne!(number(), number());
    }
}
