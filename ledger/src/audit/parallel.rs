//! Work on many things, shared by all cores.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::storage::StorageError;

/// How many things are worked on at once: enough that short logs fill a batch of signatures, few enough that the cores are
/// done at about the same time, and that all that is usually said about so many trades is read ahead.
const PART: usize = 32;
/// The most threads.
const MAX_THREADS: usize = 16;

/// Does `work` on parts of a list and returns what comes of them, in their order.
///
/// # Errors
/// The first error, in their order.
pub(super) fn each<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&[T]) -> Result<R, StorageError> + Sync,
) -> Result<Vec<R>, StorageError> {
    let parts: Vec<&[T]> = items.chunks(PART).collect();
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        while let Some((at, part)) = parts.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((at, work(part)));
        }
        done
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS).min(parts.len().max(1));
    let mut done: Vec<(usize, Result<R, StorageError>)> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(take)).collect();
        let mut done = take();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_errors_keep_their_order() {
        let items: Vec<usize> = (0..1000).collect();
        let sums = each(&items, |part| Ok(part.iter().sum::<usize>())).unwrap();
        assert_eq!(sums, items.chunks(PART).map(|part| part.iter().sum::<usize>()).collect::<Vec<_>>());
        assert!(each(&[], |part: &[usize]| Ok(part.len())).unwrap().is_empty());
        let failed = each(&items, |part| Err::<(), _>(StorageError::Io(part[0].to_string()))).unwrap_err();
        assert!(failed.to_string().ends_with(": 0"), "{failed}");
    }
}
