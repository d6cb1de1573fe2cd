//! The memory and the tables one instance may have, and what it was refused.

use wasmtime::ResourceLimiter;

use super::PluginPolicy;

/// Counts the growth of one wasmtime store.
#[derive(Debug)]
pub(super) struct Limiter {
    memory: usize,
    elements: usize,
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

    /// Bytes of linear memory in use.
    pub(super) fn used_memory(&self) -> usize {
        self.used_memory
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.used_memory.saturating_add(desired.saturating_sub(current));
        if total > self.memory {
            self.refused = Some(total as u64);
            return Ok(false);
        }
        self.used_memory = total;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.used_elements.saturating_add(desired.saturating_sub(current));
        if total > self.elements {
            return Ok(false);
        }
        self.used_elements = total;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_of_an_instance_count_together() {
        let policy = PluginPolicy { memory: 100, ..PluginPolicy::default() };
        let mut limiter = Limiter::new(&policy);
        assert!(limiter.memory_growing(0, 60, None).is_ok_and(|grown| grown));
        assert!(limiter.memory_growing(0, 41, None).is_ok_and(|grown| !grown));
        assert_eq!((limiter.used_memory(), limiter.refused), (60, Some(101)));
    }
}
