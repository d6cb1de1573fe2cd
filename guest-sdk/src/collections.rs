//! `HashMap` and `HashSet` that peers cannot flood: their hasher is seeded once per instance.
//!
//! On `wasm32-unknown-unknown` the standard library has no randomness, so its own maps hash with a
//! constant seed and a peer that picks keys can make them slow.

use std::cell::Cell;
use std::hash::{BuildHasher, DefaultHasher, Hasher};

/// A `std` map with a seeded hasher. Make one with `HashMap::default()`.
pub type HashMap<K, V> = std::collections::HashMap<K, V, SeededState>;

/// A `std` set with a seeded hasher. Make one with `HashSet::default()`.
pub type HashSet<T> = std::collections::HashSet<T, SeededState>;

thread_local! {
    static SEED: Cell<Option<[u64; 2]>> = const { Cell::new(None) };
}

/// Begins a new instance's life with a new seed.
pub(crate) fn reseed() {
    SEED.set(None);
}

/// Builds hashers that began with this instance's secret seed.
#[derive(Clone)]
pub struct SeededState(DefaultHasher);

impl Default for SeededState {
    fn default() -> Self {
        let seed = SEED.get().unwrap_or_else(|| {
            let seed = [crate::backend::random::number(), crate::backend::random::number()];
            SEED.set(Some(seed));
            seed
        });
        let mut hasher = DefaultHasher::new();
        seed.into_iter().for_each(|word| hasher.write_u64(word));
        Self(hasher)
    }
}

impl BuildHasher for SeededState {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        self.0.clone()
    }
}
