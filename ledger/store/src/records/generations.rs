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

#[cfg(test)]
mod tests {
    use super::*;

    type Two = Generations<u8, char, 2>;

    #[test]
    fn what_is_old_goes_unless_it_was_renewed() {
        let mut kept = Two::default();
        (1..=3).for_each(|key| kept.insert(key, 'a'));
        assert_eq!([1, 2, 3].map(|key| kept.get(&key)), [Some('a'); 3], "1 and 2 are old");
        assert_eq!(kept.renewed(&1), Some('a'));
        kept.insert(4, 'a');
        assert_eq!([1, 2, 3, 4].map(|key| kept.get(&key)), [Some('a'), None, Some('a'), Some('a')]);
        assert_eq!(kept.renewed(&2), None);
    }

    #[test]
    fn what_was_put_in_last_under_a_key_is_found() {
        let mut kept = Two::default();
        [(1, 'a'), (2, 'a'), (1, 'b')].into_iter().for_each(|(key, value)| kept.insert(key, value));
        assert_eq!((kept.get(&1), kept.renewed(&1)), (Some('b'), Some('b')), "the old one is there still");
        [(3, 'a'), (4, 'a')].into_iter().for_each(|(key, value)| kept.insert(key, value));
        assert_eq!((kept.get(&1), kept.get(&2)), (Some('b'), None));
    }

    #[test]
    fn two_full_generations_are_the_most_that_is_kept() {
        let mut kept = Two::default();
        for key in 0..100 {
            kept.insert(key, 'a');
            kept.renewed(&(key / 2));
            kept.renewed(&key.saturating_sub(2));
            assert!(kept.young.len() <= 2 && kept.old.len() <= 2, "{kept:?}");
        }
    }
}
