//! What was put in lately, in two generations: when the young one is full, it becomes the old one, and what was old is gone.

use std::collections::HashMap;
use std::hash::Hash;

/// Up to `SIZE` entries in each of two generations.
#[derive(Debug)]
pub(super) struct Generations<K, V, const SIZE: usize> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V, const SIZE: usize> Default for Generations<K, V, SIZE> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash, V: Clone, const SIZE: usize> Generations<K, V, SIZE> {
    /// Returns what was put in last under a key.
    pub fn get(&self, key: &K) -> Option<V> {
        self.young.get(key).or_else(|| self.old.get(key)).cloned()
    }

    /// Returns likewise, and counts it as put in again.
    pub fn renewed(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.insert(*key, value.clone());
        Some(value)
    }

    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= SIZE {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}
