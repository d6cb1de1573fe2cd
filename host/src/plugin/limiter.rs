//! The memory and the tables one instance may have, and what it was refused.

use wasmtime::ResourceLimiter;

use super::PluginPolicy;

/// What one element of a table takes: a pointer.
const ELEMENT: usize = size_of::<usize>();
/// Core instances of one component. Those that tools make have fewer than twenty.
const INSTANCES: usize = 128;
/// Memories, and tables, of one component.
const MEMORIES: usize = 64;

/// Counts the growth of one wasmtime store: all memories and tables of its instances together.
#[derive(Debug)]
pub(super) struct Limiter {
    memory: usize,
    elements: usize,
    /// Memories, and what tables take of it.
    used_memory: usize,
    used_elements: usize,
    /// Bytes in all it asked for when it was refused.
    pub(super) refused: Option<u64>,
}

/// Data of a store that has a limiter.
pub(super) trait Limited {
    fn limiter(&mut self) -> &mut Limiter;
}

impl Limited for Limiter {
    fn limiter(&mut self) -> &mut Limiter {
        self
    }
}

impl Limiter {
    pub(super) fn new(policy: &PluginPolicy) -> Self {
        Self {
            memory: usize::try_from(policy.memory).unwrap_or(usize::MAX),
            elements: policy.table_elements,
            used_memory: 0,
            used_elements: 0,
            refused: None,
        }
    }

    /// Bytes of memories and tables in use.
    pub(super) fn used_memory(&self) -> usize {
        self.used_memory
    }
}

impl Limiter {
    /// Takes bytes of the budget, or notes what was asked for.
    fn take(&mut self, bytes: usize) -> bool {
        let total = self.used_memory.saturating_add(bytes);
        if total > self.memory {
            self.refused = Some(total as u64);
            return false;
        }
        self.used_memory = total;
        true
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.take(desired.saturating_sub(current)))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let total = self.used_elements.saturating_add(more);
        if total > self.elements || !self.take(more.saturating_mul(ELEMENT)) {
            return Ok(false);
        }
        self.used_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }

    fn tables(&self) -> usize {
        MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_and_tables_of_an_instance_count_together() {
        let policy = PluginPolicy { memory: 100, table_elements: 6, ..PluginPolicy::default() };
        let mut limiter = Limiter::new(&policy);
        assert!(limiter.memory_growing(0, 60, None).is_ok_and(|grown| grown));
        assert!(limiter.memory_growing(0, 41, None).is_ok_and(|grown| !grown));
        assert_eq!((limiter.used_memory(), limiter.refused), (60, Some(101)));
        assert!(limiter.table_growing(0, 3, None).is_ok_and(|grown| grown));
        assert_eq!(limiter.used_memory(), 60 + 3 * ELEMENT);
        assert!(limiter.table_growing(3, 7, None).is_ok_and(|grown| !grown), "too many elements");
        assert!(limiter.table_growing(0, 3, None).is_ok_and(|grown| !grown), "too many bytes");
        assert_eq!(limiter.refused, Some(60 + 6 * ELEMENT as u64));
    }
}
