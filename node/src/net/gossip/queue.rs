//! A queue in which nobody waits for long because somebody else sends much: each source has a line of its own, and the lines
//! take turns.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libp2p::PeerId;
use tokio::sync::Notify;

/// The part of the room that each source may take whatever others have taken: one in so many. More it may take while half of
/// the room is free, as honest peers need when much comes at once.
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
    lines: HashMap<PeerId, VecDeque<T>>,
    /// The sources that have a line, who is next first.
    turns: VecDeque<PeerId>,
    waiting: usize,
    room: usize,
    is_closed: bool,
}

impl<T> Sender<T> {
    /// Puts a message at the end of its source's line; gives it back when there is no room for it.
    pub fn put(&self, source: PeerId, message: T) -> Result<(), T> {
        self.0.lock().put(source, message)?;
        self.0.arrival.notify_one();
        Ok(())
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
    fn put(&mut self, source: PeerId, message: T) -> Result<(), T> {
        let in_line = self.lines.get(&source).map_or(0, VecDeque::len);
        let may_wait = self.waiting < self.room / 2 || in_line < self.room / PARTS;
        if !may_wait || self.waiting >= self.room {
            return Err(message);
        }
        if in_line == 0 {
            self.turns.push_back(source);
        }
        self.lines.entry(source).or_default().push_back(message);
        self.waiting += 1;
        Ok(())
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
    use super::*;

    fn sources<const N: usize>() -> [PeerId; N] {
        std::array::from_fn(|_| PeerId::random())
    }

    #[tokio::test]
    async fn lines_take_turns_and_each_keeps_its_order() {
        let (sender, mut receiver) = queue(160);
        let [much, little] = sources();
        (0..50).for_each(|number| sender.put(much, number).unwrap());
        (100..103).for_each(|number| sender.put(little, number).unwrap());
        assert_eq!(receiver.take(5).await, [0, 100, 1, 101, 2]);
        sender.put(little, 103).unwrap();
        assert_eq!(receiver.take(5).await, [102, 3, 103, 4, 5]);
        drop(sender);
        assert_eq!(receiver.take(1000).await.len(), 44, "what waits can be taken after the end");
        assert!(receiver.take(1000).await.is_empty());
    }

    #[tokio::test]
    async fn a_source_takes_half_of_the_room_and_no_more_than_its_part_of_the_rest() {
        let (sender, mut receiver) = queue(160);
        let [first, second, third] = sources();
        let puts = |source| (0..1000).filter(|number| sender.put(source, *number).is_ok()).count();
        assert_eq!(puts(first), 80);
        assert_eq!((puts(second), puts(third)), (10, 10));
        let others: usize = sources::<20>().into_iter().map(puts).sum();
        assert_eq!(others, 60, "the room is bounded");
        assert_eq!(receiver.take(1000).await.len(), 160);
        assert_eq!(puts(second), 80, "what was taken makes room");
    }

    #[tokio::test]
    async fn who_waits_for_messages_hears_of_them_and_of_the_end() {
        let (sender, mut receiver) = queue(16);
        let waits = tokio::spawn(async move { (receiver.take(1).await, receiver.take(1).await) });
        tokio::task::yield_now().await;
        sender.put(PeerId::random(), 7).unwrap();
        tokio::task::yield_now().await;
        drop(sender);
        assert_eq!(waits.await.unwrap(), (vec![7], Vec::new()));
    }
}
