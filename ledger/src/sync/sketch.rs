//! A sketch of a set of heads: two nodes that hold nearly the same logs find the few that differ, at a cost that follows
//! the difference and not the size.
//!
//! A sketch is an endless row of *cells*, of which a peer takes as many as it needs (a rateless Bloom look-up table).
//! Each head is one [`Item`] of 64 bits, and lies in cell 0 and in ever fewer of the later ones: in cell `i` with
//! probability `2 / (i + 2)`. A cell holds the sum (XOR) of its items, of their checks, and their number. Subtracting two
//! sketches leaves the difference of the sets: a cell with one item left names it, which takes it out of all its other
//! cells, and so on until nothing is left. That needs about 1.4 cells for each item of the difference.
//!
//! Items are keyed with a [`Salt`] that the answering node draws for itself and changes, so that no author can prepare
//! heads whose items cancel each other out. Where a sketch lies or does not decode, heads are compared one by one:
//! it can cost time, and never correctness.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::hash::tagged;
use crate::record::{Head, LogId};

/// Cells of a sketch: enough for some 5,800 differences. With more of them the heads themselves are hardly longer.
pub const MAX_CELLS: usize = 8192;
/// Bits of a check. With the place of a cell it errs once in some millions of differences, and then costs a walk.
const CHECK_MASK: u64 = (1 << 24) - 1;

/// What keys the items of a sketch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Salt(pub [u8; 16]);

/// A head as a sketch knows it: the low half stands for its log, the high half for where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item(pub u64);

impl Item {
    /// Returns the item of a head.
    pub fn of(salt: &Salt, head: &Head) -> Self {
        let frozen = head.frozen.map_or([0; 32], |frozen| frozen.0);
        let end = tagged("exchange/sketch/head/v1", &[&salt.0, &head.len.to_le_bytes(), head.id.as_bytes(), &frozen]);
        Self(u64::from(Self::log_tag_of(salt, &head.log)) | u64::from(first_four(&end)) << 32)
    }

    /// Returns the half that stands for the log.
    pub const fn log_tag(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32 // the mask leaves 32 bits
    }

    /// Returns the half of an item that stands for a log.
    pub fn log_tag_of(salt: &Salt, log: &LogId) -> u32 {
        first_four(&tagged("exchange/sketch/log/v1", &[&salt.0, log.author.as_bytes(), &log.epoch.to_le_bytes()]))
    }

    /// Returns what tells a single item in a cell from a sum of several.
    fn check(self) -> u32 {
        (Stream(self.0).draw() & CHECK_MASK) as u32 // the mask leaves 24 bits
    }

    /// Returns the cells below `end` in which the item lies, in ascending order.
    fn cells(self, end: usize) -> impl Iterator<Item = usize> {
        let mut stream = Stream(self.0);
        stream.draw(); // the check
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let cell = next.filter(|cell| *cell < end)?;
            next = step(cell, (stream.draw() >> 32) + 1);
            Some(cell)
        })
    }
}

fn first_four(hash: &[u8; 32]) -> u32 {
    let [a, b, c, d, ..] = *hash;
    u32::from_le_bytes([a, b, c, d])
}

/// Returns the cell after `cell` in which an item lies, given a number from 1 to 2^32: the first `n` for which
/// `(n + 1)(n + 2) / ((cell + 1)(cell + 2))` is at least `2^32 / draw`. `None` when it is beyond every sketch.
fn step(cell: usize, draw: u64) -> Option<usize> {
    let at = u64::try_from(cell).ok()?;
    debug_assert!(cell < MAX_CELLS, "below 2^27 << 32 nothing overflows");
    let product = (((at + 1) * (at + 2)) << 32).div_ceil(draw);
    // (2n + 3)^2 = 4(n + 1)(n + 2) + 1
    let square = 4 * product + 1;
    let floor = square.isqrt();
    let root = if floor * floor < square { floor + 1 } else { floor };
    usize::try_from((root.saturating_sub(2) / 2).max(at + 1)).ok()
}

/// SplitMix64: spreads an item, which is a keyed hash already, over the cells.
struct Stream(u64);

impl Stream {
    const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.0;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// One cell. Counts wrap, so that nothing a peer sends overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cell {
    /// The XOR of the items.
    pub sum: u64,
    /// The XOR of their checks, 24 bits.
    pub check: u32,
    /// How many they are; negative in a difference, for those that only the other side has.
    pub count: i64,
}

impl Cell {
    fn add(&mut self, item: Item, check: u32, count: i64) {
        self.sum ^= item.0;
        self.check ^= check;
        self.count = self.count.wrapping_add(count);
    }

    fn minus(&self, other: &Self) -> Self {
        let count = self.count.wrapping_sub(other.count);
        Self { sum: self.sum ^ other.sum, check: self.check ^ other.check, count }
    }

    /// Returns the item, if it is the only one in this cell.
    fn single(&self, at: usize) -> Option<Item> {
        let item = Item(self.sum);
        let single = matches!(self.count, 1 | -1) && item.check() == self.check && item.cells(at + 1).any(|c| c == at);
        single.then_some(item)
    }
}

/// The first cells of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    cells: Vec<Cell>,
}

impl Sketch {
    /// Returns the sketch of the empty set, with at most [`MAX_CELLS`] cells.
    pub fn new(cells: usize) -> Self {
        Self { cells: vec![Cell::default(); cells.min(MAX_CELLS)] }
    }

    /// Adds an item. To add one twice is to break the sketch.
    pub fn add(&mut self, item: Item) {
        let check = item.check();
        for at in item.cells(self.cells.len()) {
            self.cells[at].add(item, check, 1);
        }
    }

    /// Returns the cells.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }
}

/// What a sketch of one's own and the first cells of a peer's tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// All of the difference.
    Whole(Difference),
    /// More cells are needed: there are about so many differences.
    Partly(u64),
    /// No set has such a sketch.
    Nonsense,
}

/// The difference of two sets, each side in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// What only this node has.
    pub ours: Vec<Item>,
    /// What only the peer has.
    pub theirs: Vec<Item>,
}

/// Compares the first cells of two sketches. The work is bounded by the number of cells, whatever stands in them.
pub fn decode(ours: &[Cell], theirs: &[Cell]) -> Decoded {
    let mut cells: Vec<Cell> = theirs.iter().zip(ours).map(|(theirs, ours)| theirs.minus(ours)).collect();
    let estimate = estimate(&cells);
    let mut difference = Difference::default();
    let mut open: Vec<usize> = (0..cells.len()).rev().collect();
    while let Some(at) = open.pop() {
        let Some(item) = cells[at].single(at) else { continue };
        let count = cells[at].count;
        // So many items need at least as many cells.
        if difference.ours.len() + difference.theirs.len() >= cells.len() {
            return Decoded::Nonsense;
        }
        if count > 0 { &mut difference.theirs } else { &mut difference.ours }.push(item);
        let check = item.check();
        for other in item.cells(cells.len()) {
            cells[other].add(item, check, -count);
            open.push(other);
        }
    }
    if cells.iter().any(|cell| *cell != Cell::default()) {
        return Decoded::Partly(estimate);
    }
    difference.ours.sort_unstable();
    difference.theirs.sort_unstable();
    Decoded::Whole(difference)
}

/// Estimates the size of a difference by how far the counts are apart: the count left in cell `i` is `D p` on average and
/// varies by `d p (1 - p)`, where `d` is the size, `D` the difference of the two sets' sizes, which cell 0 shows, and
/// `p = 2 / (i + 2)`.
fn estimate(cells: &[Cell]) -> u64 {
    // A count that no set has makes no estimate larger than matters.
    let counted = |cell: &Cell| i128::from(cell.count.clamp(-(1 << 32), 1 << 32));
    let Some((first, rest)) = cells.split_first() else { return 0 };
    let sizes = counted(first);
    let estimates = rest.iter().zip(1_i128..).map(|(cell, i)| ((i + 2) * counted(cell) - 2 * sizes).pow(2) / (2 * i));
    let (sum, number) = estimates.fold((0_i128, 0_i128), |(sum, number), e| (sum.saturating_add(e), number + 1));
    let average = if number == 0 { 0 } else { sum / number };
    u64::try_from(average.max(sizes.abs())).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
