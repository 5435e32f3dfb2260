//! A queue in which nobody waits for long because somebody else sends much: each source has a line of its own, and the lines
//! take turns.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::origin::Source;

/// The part of the room that each source may take whatever others have taken: one in so many. Where all is taken, the longest
/// line makes room for it. More it may take while half of the room is free, as honest peers need when much comes at once.
const PARTS: usize = 16;

/// Returns the two ends of a queue with so much room.
pub(super) fn queue<T>(room: usize) -> (Sender<T>, Receiver<T>) {
    let lines = Lines { lines: HashMap::new(), turns: VecDeque::new(), waiting: 0, room, is_closed: false };
    let shared = Arc::new(Shared { lines: Mutex::new(lines), arrival: Notify::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// The end into which messages are put. When it is dropped, what waits can still be taken, and then the queue is at its end.
#[derive(Debug)]
pub(super) struct Sender<T>(Arc<Shared<T>>);

/// The end from which messages are taken.
#[derive(Debug)]
pub(super) struct Receiver<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    lines: Mutex<Lines<T>>,
    arrival: Notify,
}

#[derive(Debug)]
struct Lines<T> {
    /// What waits of each source, none of them empty.
    lines: HashMap<Source, VecDeque<T>>,
    /// The sources that have a line, who is next first.
    turns: VecDeque<Source>,
    waiting: usize,
    room: usize,
    is_closed: bool,
}

impl<T> Sender<T> {
    /// Puts a message at the end of its source's line. Returns what there is no room for: the message, or the newest one of
    /// the longest line, which had to make room.
    pub fn put(&self, source: Source, message: T) -> Option<T> {
        let left_out = self.0.lock().put(source, message);
        self.0.arrival.notify_one();
        left_out
    }

    /// Takes out of a source's line what is of no use any more.
    pub fn discard(&self, source: Source, is_useless: impl Fn(&T) -> bool) {
        self.0.lock().discard(source, is_useless);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.arrival.notify_one();
    }
}

impl<T> Receiver<T> {
    /// Waits for messages and takes those that wait, at most so many; none at the end.
    pub async fn take(&mut self, most: usize) -> Vec<T> {
        loop {
            {
                let mut lines = self.0.lock();
                let taken = lines.take(most);
                if !taken.is_empty() || lines.is_closed {
                    return taken;
                }
            }
            self.0.arrival.notified().await;
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Lines<T>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Lines<T> {
    fn put(&mut self, source: Source, message: T) -> Option<T> {
        let in_line = self.lines.get(&source).map_or(0, VecDeque::len);
        if self.waiting >= self.room / 2 && in_line >= self.room / PARTS {
            return Some(message);
        }
        let mut left_out = None;
        if self.waiting >= self.room {
            left_out = self.shorten_longest(in_line);
            if left_out.is_none() {
                return Some(message);
            }
        }
        if in_line == 0 {
            self.turns.push_back(source);
        }
        self.lines.entry(source).or_default().push_back(message);
        self.waiting += 1;
        left_out
    }

    fn discard(&mut self, source: Source, is_useless: impl Fn(&T) -> bool) {
        let Some(line) = self.lines.get_mut(&source) else { return };
        let before = line.len();
        line.retain(|message| !is_useless(message));
        self.waiting = self.waiting.saturating_sub(before.saturating_sub(line.len()));
        self.close_if_empty(source);
    }

    /// Takes the newest message of the longest line, if one is longer than this.
    fn shorten_longest(&mut self, longer_than: usize) -> Option<T> {
        let (source, line) = self.lines.iter_mut().max_by_key(|(_, line)| line.len())?;
        if line.len() <= longer_than {
            return None;
        }
        let source = *source;
        let newest = line.pop_back()?;
        self.close_if_empty(source);
        self.waiting = self.waiting.saturating_sub(1);
        Some(newest)
    }

    /// A line in which nothing waits has no turn.
    fn close_if_empty(&mut self, source: Source) {
        if self.lines.get(&source).is_some_and(VecDeque::is_empty) {
            self.lines.remove(&source);
            self.turns.retain(|other| *other != source);
        }
    }

    fn take(&mut self, most: usize) -> Vec<T> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(source) = self.turns.pop_front()
        {
            let Some(line) = self.lines.get_mut(&source) else { continue };
            taken.extend(line.pop_front());
            if line.is_empty() {
                self.lines.remove(&source);
            } else {
                self.turns.push_back(source);
            }
        }
        self.waiting = self.waiting.saturating_sub(taken.len());
        taken
    }
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;

    use super::*;

    fn sources<const N: usize>() -> [Source; N] {
        std::array::from_fn(|_| Source::Peer(PeerId::random()))
    }

    /// Puts a message for which there is room, and at nobody's cost.
    fn put(sender: &Sender<i32>, source: Source, number: i32) {
        assert_eq!(sender.put(source, number), None);
    }

    #[tokio::test]
    async fn lines_take_turns_and_each_keeps_its_order() {
        let (sender, mut receiver) = queue(160);
        let [much, little] = sources();
        (0..50).for_each(|number| put(&sender, much, number));
        (100..103).for_each(|number| put(&sender, little, number));
        assert_eq!(receiver.take(5).await, [0, 100, 1, 101, 2]);
        put(&sender, little, 103);
        assert_eq!(receiver.take(5).await, [102, 3, 103, 4, 5]);
        drop(sender);
        assert_eq!(receiver.take(1000).await.len(), 44, "what waits can be taken after the end");
        assert!(receiver.take(1000).await.is_empty());
    }

    #[tokio::test]
    async fn a_source_takes_half_of_the_room_and_no_more_than_its_part_of_the_rest() {
        let (sender, mut receiver) = queue(160);
        let [first, second, third] = sources();
        let puts = |source| (0..1000).filter(|number| sender.put(source, *number).is_none()).count();
        assert_eq!(puts(first), 80);
        assert_eq!((puts(second), puts(third)), (10, 10));
        let others: usize = sources::<6>().into_iter().map(puts).sum();
        assert_eq!((others, puts(first)), (60, 0), "the room is bounded");
        assert_eq!(receiver.take(1000).await.len(), 160);
        assert_eq!(puts(second), 80, "what was taken makes room");
    }

    #[tokio::test]
    async fn a_source_that_has_little_in_a_full_queue_takes_the_place_of_the_newest_of_who_has_most() {
        let (sender, mut receiver) = queue(160);
        let [first, honest] = sources();
        let others = sources::<15>();
        for source in [first].into_iter().chain(others) {
            for number in 0..1000 {
                sender.put(source, number);
            }
        }
        assert_eq!(sender.put(first, 1000), Some(1000), "who has most makes no room for himself");
        assert_eq!(sender.put(honest, -1), Some(9), "somebody else's goes");
        let taken = receiver.take(1000).await;
        assert_eq!((taken.len(), taken.iter().filter(|number| **number == -1).count()), (160, 1));
    }

    #[tokio::test]
    async fn a_line_from_which_the_last_one_had_to_go_has_no_turn() {
        let (sender, mut receiver) = queue(16);
        let left_out = (0..17).zip(sources::<17>()).filter_map(|(number, source)| sender.put(source, number));
        assert_eq!(left_out.count(), 1);
        let lines = || {
            let lines = sender.0.lock();
            (lines.lines.len(), lines.turns.len())
        };
        assert_eq!(lines(), (16, 16));
        assert_eq!(receiver.take(1000).await.len(), 16);
        assert_eq!(lines(), (0, 0));
    }

    #[tokio::test]
    async fn what_is_of_no_use_any_more_takes_neither_room_nor_a_turn() {
        let (sender, mut receiver) = queue(160);
        let [useless, mixed] = sources();
        (0..50).for_each(|number| put(&sender, useless, number));
        (0..4).for_each(|number| put(&sender, mixed, number));
        sender.discard(useless, |_| true);
        sender.discard(mixed, |number| number % 2 == 0);
        {
            let lines = sender.0.lock();
            assert_eq!((lines.lines.len(), lines.turns.len(), lines.waiting), (1, 1, 2));
        }
        put(&sender, useless, 50);
        assert_eq!(receiver.take(1000).await, [1, 50, 3]);
        sender.discard(useless, |_| true);
    }

    #[tokio::test]
    async fn who_waits_for_messages_hears_of_them_and_of_the_end() {
        let (sender, mut receiver) = queue(16);
        let waits = tokio::spawn(async move { (receiver.take(1).await, receiver.take(1).await) });
        tokio::task::yield_now().await;
        put(&sender, Source::Peer(PeerId::random()), 7);
        tokio::task::yield_now().await;
        drop(sender);
        assert_eq!(waits.await.unwrap(), (vec![7], Vec::new()));
    }
}
