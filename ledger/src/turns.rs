//! The one way in which people take turns where there is too much of what they want: whoever wants much hides nobody else by it.

use std::collections::HashMap;
use std::hash::Hash;

/// Returns items in the order in which their owners take turns: everybody's first before anybody's second, and so on. Those of
/// one turn, and those of one owner, stay in the order in which they came.
pub fn in_turn<T, K: Eq + Hash>(items: impl IntoIterator<Item = T>, owner: impl Fn(&T) -> K) -> Vec<T> {
    let mut turns: HashMap<K, usize> = HashMap::new();
    let number = |item: T| {
        let turn = turns.entry(owner(&item)).or_default();
        *turn += 1;
        (*turn, item)
    };
    let mut numbered: Vec<(usize, T)> = items.into_iter().map(number).collect();
    numbered.sort_by_key(|(turn, _)| *turn);
    numbered.into_iter().map(|(_, item)| item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybodys_first_comes_before_anybodys_second() {
        let all = ["a1", "a2", "a3", "b1", "a4", "c1", "c2", "b2"];
        let owner = |item: &&str| item.chars().next();
        assert_eq!(in_turn(all, owner), ["a1", "b1", "c1", "a2", "c2", "b2", "a3", "a4"]);
        assert_eq!(in_turn(all, |_| ()), all, "of one owner nothing moves");
        assert!(in_turn([], owner).is_empty());
    }
}
