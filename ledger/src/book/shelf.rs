//! Offers in order, with an index of their marks, so that the few that answer a question are found without looking at the
//! many that do not.
//!
//! The order is cut into blocks. For each mark that some offer of a block bears, the block has a row of bits, one for each
//! of its offers in order. A question takes the rows of its marks and goes through the bits that all of them have set: a
//! million offers are some 250 blocks of 64 words each, whatever is asked.

use super::marks::{MARKS, MAX_ASKED, Mark};
use crate::money::Sats;

/// Offers in a block at most: enough that a million offers are few blocks, few enough that putting one in, which moves
/// those behind it, takes microseconds.
const BLOCK: usize = 64 * LINES;
/// Words in a row of bits.
const LINES: usize = 64;
/// A block with fewer offers than this is put together with its neighbour, if both are small.
const SPARSE: usize = BLOCK / 4;

/// An offer, by its number, with the two numbers that its marks tell only roughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// Its number in the book.
    pub entry: u32,
    /// Its smallest amount.
    pub min: Sats,
    /// Its largest amount.
    pub max: Sats,
}

/// A place on a shelf: a block and a position in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    block: usize,
    at: usize,
}

/// Offers in order. Who calls knows the order: a closure tells of an offer whether it stands before the place in question.
#[derive(Debug, Clone, Default)]
pub(super) struct Shelf {
    blocks: Vec<Block>,
}

impl Shelf {
    /// Returns how many offers there are.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.slots.len()).sum()
    }

    /// Returns the place before which all offers stand of which `before` is true.
    pub fn find(&self, before: impl Fn(u32) -> bool) -> Spot {
        let ends_before = |block: &Block| block.slots.last().is_some_and(|slot| before(slot.entry));
        let block = self.blocks.partition_point(ends_before);
        let at = self.blocks.get(block).map_or(0, |block| block.slots.partition_point(|slot| before(slot.entry)));
        Spot { block, at }
    }

    /// Puts an offer behind those of which `before` is true.
    pub fn insert(&mut self, slot: Slot, marks: &[Mark], before: impl Fn(u32) -> bool) {
        let mut spot = self.find(before);
        if spot.block == self.blocks.len() {
            match self.blocks.last() {
                Some(last) => spot = Spot { block: spot.block - 1, at: last.slots.len() },
                None => self.blocks.push(Block::default()),
            }
        }
        if self.blocks[spot.block].slots.len() == BLOCK {
            let upper = self.blocks[spot.block].split();
            self.blocks.insert(spot.block + 1, upper);
            if spot.at > BLOCK / 2 {
                spot = Spot { block: spot.block + 1, at: spot.at - BLOCK / 2 };
            }
        }
        self.blocks[spot.block].insert(spot.at, slot, marks);
    }

    /// Takes out the offer behind those of which `before` is true.
    pub fn remove(&mut self, before: impl Fn(u32) -> bool) {
        let spot = self.find(before);
        if self.blocks.get(spot.block).is_none() {
            return;
        }
        self.blocks[spot.block].remove(spot.at);
        if self.blocks[spot.block].slots.is_empty() {
            self.blocks.remove(spot.block);
        } else {
            // With the one behind it, or, for the last, the one before it.
            self.join(spot.block.min(self.blocks.len().saturating_sub(2)));
        }
    }

    /// Puts a block and the next together if they are sparse.
    fn join(&mut self, at: usize) {
        let sparse = |block: &Block| block.slots.len() < SPARSE;
        if self.blocks.get(at).is_some_and(sparse) && self.blocks.get(at + 1).is_some_and(sparse) {
            let upper = self.blocks.remove(at + 1);
            self.blocks[at].absorb(&upper);
        }
    }

    /// Returns the offers from `start` up to `end` that bear all of `marks`, in order. Marks beyond [`MAX_ASKED`] do not count.
    pub fn bearing(&self, start: Spot, end: Spot, mut marks: Vec<Mark>) -> impl Iterator<Item = Slot> {
        marks.truncate(MAX_ASKED);
        Bearing {
            blocks: &self.blocks,
            marks,
            start,
            end,
            next: start.block,
            bits: [0; LINES],
            lines: 0..0,
            line: 0,
            left: 0,
        }
    }
}

#[derive(Debug, Clone)]
struct Block {
    slots: Vec<Slot>,
    /// A row for each mark, none where no offer bears it.
    rows: Vec<Option<Row>>,
}

impl Default for Block {
    fn default() -> Self {
        Self { slots: Vec::new(), rows: vec![None; MARKS] }
    }
}

impl Block {
    fn insert(&mut self, at: usize, slot: Slot, marks: &[Mark]) {
        self.slots.insert(at, slot);
        self.rows.iter_mut().flatten().for_each(|row| row.make_room(at));
        for mark in marks {
            self.rows[usize::from(*mark)].get_or_insert_default().set(at);
        }
    }

    fn remove(&mut self, at: usize) {
        self.slots.remove(at);
        for row in &mut self.rows {
            let was_borne = row.as_mut().is_some_and(|bits| bits.close_gap(at));
            if was_borne && row.as_ref().is_some_and(Row::is_empty) {
                *row = None;
            }
        }
    }

    /// Takes the upper half out of a full block.
    fn split(&mut self) -> Self {
        let slots = self.slots.split_off(BLOCK / 2);
        let rows = self.rows.iter_mut().map(|row| {
            let upper = row.as_mut().map(Row::split).filter(|upper| !upper.is_empty());
            if row.as_ref().is_some_and(Row::is_empty) {
                *row = None;
            }
            upper
        });
        Self { rows: rows.collect(), slots }
    }

    /// Appends the offers of another block.
    fn absorb(&mut self, upper: &Self) {
        let offset = self.slots.len();
        self.slots.extend_from_slice(&upper.slots);
        for (row, added) in self.rows.iter_mut().zip(&upper.rows) {
            if let Some(added) = added {
                let row = row.get_or_insert_default();
                (0..upper.slots.len()).filter(|at| added.get(*at)).for_each(|at| row.set(offset + at));
            }
        }
    }

    /// Tells whether any of the offers bears all of `marks`, and by `bits` which.
    fn bears(&self, marks: &[Mark], bits: &mut [u64; LINES]) -> bool {
        let rows = || marks.iter().map(|mark| self.rows[usize::from(*mark)].as_ref());
        // Most questions find nothing in most blocks, and many because none of their offers bears one of the marks.
        if rows().any(|row| row.is_none()) {
            return false;
        }
        bits.fill(u64::MAX);
        for row in rows().flatten() {
            bits.iter_mut().zip(row.0.iter()).for_each(|(bits, row)| *bits &= row);
        }
        bits.iter().fold(0, |any, line| any | line) != 0
    }
}

/// Goes through the offers of a part of a shelf that bear all marks of a question.
struct Bearing<'a> {
    blocks: &'a [Block],
    marks: Vec<Mark>,
    start: Spot,
    end: Spot,
    /// The block behind the one that is being read.
    next: usize,
    /// The offers of that one which are asked for: one place for all blocks, for moving it costs as much as to find them.
    bits: [u64; LINES],
    /// The lines of these that are to be read.
    lines: std::ops::Range<usize>,
    /// The line that is being read, and its bits that are left.
    line: usize,
    left: u64,
}

impl Bearing<'_> {
    /// Goes on to the next block of which some offers bear the marks; tells whether there is one.
    fn turn(&mut self) -> bool {
        while let Some(block) = self.blocks.get(self.next).filter(|_| self.next <= self.end.block) {
            let from = if self.next == self.start.block { self.start.at } else { 0 };
            let to = if self.next == self.end.block { self.end.at } else { block.slots.len() };
            self.next += 1;
            if block.bears(&self.marks, &mut self.bits) {
                self.lines = from / 64..to.div_ceil(64);
                self.bits[from / 64] &= !below(from % 64);
                if let Some(last) = self.bits.get_mut(to / 64) {
                    *last &= below(to % 64);
                }
                return true;
            }
        }
        false
    }
}

impl Iterator for Bearing<'_> {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        while self.left == 0 {
            match self.lines.next() {
                Some(line) => (self.line, self.left) = (line, self.bits[line]),
                None if self.turn() => {}
                None => return None,
            }
        }
        let bit = self.left.trailing_zeros() as usize; // at most 63
        self.left &= self.left - 1;
        self.blocks[self.next - 1].slots.get(self.line * 64 + bit).copied()
    }
}

/// Returns the word in which the lowest `bits` bits are set, less than 64.
const fn below(bits: usize) -> u64 {
    (1 << bits) - 1
}

/// A bit for each offer of a block.
#[derive(Debug, Clone)]
struct Row(Box<[u64; LINES]>);

impl Default for Row {
    fn default() -> Self {
        Self(Box::new([0; LINES]))
    }
}

impl Row {
    fn get(&self, at: usize) -> bool {
        self.0[at / 64] & (1 << (at % 64)) != 0
    }

    fn set(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|line| *line == 0)
    }

    /// Moves the bits from `at` on up by one.
    fn make_room(&mut self, at: usize) {
        let (first, kept) = (at / 64, below(at % 64));
        for line in (first + 1..LINES).rev() {
            self.0[line] = (self.0[line] << 1) | (self.0[line - 1] >> 63);
        }
        let line = &mut self.0[first];
        *line = (*line & kept) | ((*line & !kept) << 1);
    }

    /// Drops the bit at `at` and moves those above it down by one. Tells whether it was set.
    fn close_gap(&mut self, at: usize) -> bool {
        let (first, kept) = (at / 64, below(at % 64));
        let (was_set, low) = (self.get(at), self.0[first] & kept);
        for line in first..LINES - 1 {
            self.0[line] = (self.0[line] >> 1) | (self.0[line + 1] << 63);
        }
        self.0[LINES - 1] >>= 1;
        self.0[first] = low | (self.0[first] & !kept);
        was_set
    }

    /// Takes the upper half out.
    fn split(&mut self) -> Self {
        let mut upper = Self::default();
        upper.0[..LINES / 2].copy_from_slice(&self.0[LINES / 2..]);
        self.0[LINES / 2..].fill(0);
        upper
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slot(entry: u32) -> Slot {
        Slot { entry, min: Sats::ZERO, max: Sats::ZERO }
    }

    /// The marks of offer `entry` in these tests: each mark is borne by some, together by few.
    fn marks(entry: u32) -> Vec<Mark> {
        (0..6).filter(|mark| entry.wrapping_mul(2_654_435_761) >> (mark * 3) & 3 == 0).map(|m| m as Mark).collect()
    }

    fn check(shelf: &Shelf, all: &[u32], asked: &[Mark], from: u32, to: u32) {
        let (start, end) = (shelf.find(|entry| entry < from), shelf.find(|entry| entry < to));
        let found: Vec<u32> = shelf.bearing(start, end, asked.to_vec()).map(|slot| slot.entry).collect();
        let expected: Vec<u32> = all
            .iter()
            .copied()
            .filter(|entry| (from..to).contains(entry) && asked.iter().all(|mark| marks(*entry).contains(mark)))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(shelf.len(), all.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// Enough offers for several blocks, put in and taken out in any order, against a sorted list.
        #[test]
        fn what_is_found_is_what_a_look_at_every_offer_finds(
            seed: u32, step in 1u32..50_000, removed in 0usize..12_000, asked in prop::collection::vec(0 as Mark..6, 0..3),
            bounds: (u16, u16),
        ) {
            let mut shelf = Shelf::default();
            let mut all: Vec<u32> = Vec::new();
            let scattered = (0..12_000u32).map(|at| seed.wrapping_add(at.wrapping_mul(step * 2 + 1)) % 60_000);
            for entry in scattered.clone() {
                if let Err(at) = all.binary_search(&entry) {
                    all.insert(at, entry);
                    shelf.insert(slot(entry), &marks(entry), |other| other < entry);
                }
            }
            check(&shelf, &all, &asked, bounds.0.into(), bounds.1.into());
            for entry in scattered.take(removed) {
                if let Ok(at) = all.binary_search(&entry) {
                    all.remove(at);
                    shelf.remove(|other| other < entry);
                }
            }
            check(&shelf, &all, &asked, bounds.0.into(), bounds.1.into());
            check(&shelf, &all, &asked, 0, u32::MAX);
            prop_assert!(shelf.blocks.len() <= 2 + 2 * all.len() / SPARSE, "sparse blocks are put together");
        }
    }
}
