use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Returns as many different items, each a hash.
fn items(count: u64, set: u64) -> Vec<Item> {
    (0..count).map(|number| Item(Stream(number ^ set << 40).draw())).collect()
}

fn sketch(items: &[Item]) -> Sketch {
    let mut sketch = Sketch::new(MAX_CELLS);
    items.iter().for_each(|item| sketch.add(*item));
    sketch
}

/// Decodes with as few cells as a peer would have to send one by one; returns the difference and their number.
fn cells_needed(ours: &Sketch, theirs: &Sketch) -> (Difference, usize) {
    (1..=MAX_CELLS)
        .find_map(|n| match decode(&ours.cells()[..n], &theirs.cells()[..n]) {
            Decoded::Whole(difference) => Some((difference, n)),
            Decoded::Partly(_) | Decoded::Nonsense => None,
        })
        .expect("it decodes")
}

#[test]
fn an_item_lies_in_cell_i_with_probability_two_in_i_plus_two() {
    let sketch = sketch(&items(20_000, 0));
    for i in [0_u64, 1, 2, 10, 100, 1000] {
        let expected = 40_000 / (i + 2);
        let count = sketch.cells()[usize::try_from(i).unwrap()].count.unsigned_abs();
        assert!(count.abs_diff(expected) <= 5 * expected.isqrt(), "cell {i}: {count}, not about {expected}");
    }
}

#[test]
fn a_hundred_changed_heads_of_ten_thousand_cost_less_than_one_and_a_half_cells_a_difference() {
    let common = items(9_900, 0);
    let mut total = 0;
    for round in 1..=20 {
        let (ours, theirs) = (items(100, 2 * round), items(100, 2 * round + 1));
        let (difference, cells) =
            cells_needed(&sketch(&[&common[..], &ours].concat()), &sketch(&[&common[..], &theirs].concat()));
        let sorted = |items: Vec<Item>| items.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
        assert_eq!(difference, Difference { ours: sorted(ours), theirs: sorted(theirs) });
        total += cells;
    }
    assert!(total < 20 * 300, "{total} cells for twenty times 200 differences");
}

#[test]
fn the_size_of_a_difference_is_estimated_from_the_first_cells() {
    for (size, extra) in [(100_u64, 0_u64), (1_000, 0), (1_000, 3_000), (0, 50_000)] {
        let (mine, yours) = (items(size, 1), items(size + extra, 2));
        let (ours, theirs) = (sketch(&mine), sketch(&yours));
        let Decoded::Partly(estimate) = decode(&ours.cells()[..64], &theirs.cells()[..64]) else { panic!("{size}") };
        let true_size = 2 * size + extra;
        assert!((true_size / 2..=true_size * 2).contains(&estimate), "{estimate} for {true_size}");
    }
}

#[test]
fn a_step_goes_on_and_never_overflows() {
    for cell in [0, 1, 7, MAX_CELLS - 1] {
        assert_eq!(step(cell, 1 << 32), Some(cell + 1), "the largest draw is the next cell");
        assert!(step(cell, 1).is_some_and(|next| next >= MAX_CELLS), "the smallest is far away");
        let mut before = usize::MAX;
        for draw in [1, 1000, 1 << 16, 1 << 24, 1 << 30, (1 << 32) - 1] {
            let next = step(cell, draw).unwrap();
            assert!(next > cell && next <= before, "a larger draw is nearer");
            before = next;
        }
    }
}

proptest! {
    #[test]
    fn any_difference_decodes_exactly(
        common in 0_u64..3000, ours in 0_u64..400, theirs in 0_u64..400, seed in any::<u16>(),
    ) {
        let seed = u64::from(seed) * 4;
        let (common, mine, yours) = (items(common, seed), items(ours, seed + 1), items(theirs, seed + 2));
        let a = sketch(&[&common[..], &mine].concat());
        let b = sketch(&[&common[..], &yours].concat());
        let cells = usize::try_from(3 * (ours + theirs) + 64).unwrap();
        let Decoded::Whole(found) = decode(&a.cells()[..cells], &b.cells()[..cells]) else {
            return Err(TestCaseError::fail("three cells a difference are enough"));
        };
        prop_assert_eq!(BTreeSet::from_iter(found.ours), BTreeSet::from_iter(mine));
        prop_assert_eq!(BTreeSet::from_iter(found.theirs), BTreeSet::from_iter(yours));
    }

    #[test]
    fn whatever_a_peer_sends_ends(
        cells in prop::collection::vec((any::<u64>(), 0_u32..1 << 24, prop_oneof![Just(1_i64), Just(-1), any::<i64>()]), 0..300),
        pure in any::<bool>(), own in 0_u64..50,
    ) {
        // Cells that look as if they held one item each are the worst that can be sent.
        let cell = |(sum, check, count)| Cell { sum, check: if pure { Item(sum).check() } else { check }, count };
        let theirs: Vec<Cell> = cells.into_iter().map(cell).collect();
        if let Decoded::Whole(difference) = decode(sketch(&items(own, 0)).cells(), &theirs) {
            prop_assert!(difference.ours.len() + difference.theirs.len() <= theirs.len());
        }
    }
}
