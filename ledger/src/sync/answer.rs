//! Answering a peer's requests. Each answer is bounded in time and size, whatever is asked.

use std::sync::Arc;

use super::message::{
    Answer, Found, ItemWant, MAX_ANSWER_BYTES, MAX_HEADS, MAX_SYMBOLS, Opening, Request, Symbol, Want,
};
use super::sketch::{MAX_CELLS, Salt};
use super::{Own, Snapshot};
use crate::ids::RecordId;
use crate::record::{BARE_LEN, LogId};
use crate::storage::{Storage, StorageError};

/// Records that are read at once, at most.
const PAGE: usize = 128;

/// What a request tells about its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// Its state is ours.
    Same,
    /// It has taken what it lacked, and its state is still not ours: it has what we lack.
    Differs,
}

/// Answers a request that has passed its check.
///
/// # Errors
/// When the store fails.
pub fn answer(own: &dyn Own, request: &Request) -> Result<(Answer, News), StorageError> {
    let storage = own.storage();
    let plain = |answer| Ok((answer, News::None));
    match request {
        Request::Compare { digest, symbols } => {
            if own.recent_summary()?.digest == *digest {
                return Ok((Answer::Same, News::Same));
            }
            let snapshot = own.snapshot()?;
            // It may be an older one, of which the asker has everything.
            if snapshot.digest() == *digest {
                return Ok((Answer::Same, News::Same));
            }
            let symbols = self::symbols(&snapshot, 0, usize::from(*symbols));
            plain(Answer::Differs(Some(Opening { salt: snapshot.salt(), heads: snapshot.heads(), symbols })))
        }
        Request::Symbols { salt, from, count } => {
            let symbols = |snapshot: Arc<Snapshot>| symbols(&snapshot, usize::from(*from), usize::from(*count));
            plain(own.snapshot_of(salt).map_or(Answer::Stale, |snapshot| Answer::Symbols(symbols(snapshot))))
        }
        Request::Items { salt, wants } => plain(items(own, salt, wants)?),
        Request::Heads { after, limit } => {
            plain(Answer::Heads(storage.heads(after.as_ref(), usize::from(*limit).min(MAX_HEADS))?))
        }
        Request::Forks { after, limit } => {
            plain(Answer::Heads(storage.forked(after.as_ref(), usize::from(*limit).min(MAX_HEADS))?))
        }
        Request::Ranges(wants) => {
            plain(Answer::Records(fill(wants, |want, room| range(storage, &want.log, want.from, room))?))
        }
        Request::Frozen(logs) => plain(Answer::Records(fill(logs, |log, _| {
            Ok(storage.frozen(log)?.iter().map(crate::record::Record::encode).collect())
        })?)),
        Request::Ids(places) => {
            let ids = places.iter().map(|place| storage.id_at(&place.log, place.from));
            plain(Answer::Ids(ids.collect::<Result<_, _>>()?))
        }
        Request::Bodies(ids) => plain(Answer::Bodies(bodies(storage, ids)?)),
        Request::Finished { digest } => {
            let same = own.recent_summary()?.digest == *digest;
            Ok(if same { (Answer::Same, News::Same) } else { (Answer::Differs(None), News::Differs) })
        }
    }
}

fn symbols(snapshot: &Snapshot, from: usize, count: usize) -> Vec<Symbol> {
    let places = from..MAX_CELLS.min(from + count.min(MAX_SYMBOLS));
    let cells = places.filter_map(|place| Some((place, snapshot.cells().get(place)?)));
    cells.map(|(place, cell)| Symbol::of(cell, place, snapshot.heads())).collect()
}

fn items(own: &dyn Own, salt: &Salt, wants: &[ItemWant]) -> Result<Answer, StorageError> {
    let Some(snapshot) = own.snapshot_of(salt) else { return Ok(Answer::Stale) };
    let mut room = MAX_ANSWER_BYTES;
    let mut found = Vec::new();
    for (want, left) in wants.iter().zip((1..=wants.len()).rev()) {
        if room == 0 {
            break;
        }
        let Some(head) = snapshot.resolve(own.storage(), want.item)? else {
            found.push(Found::Gone);
            continue;
        };
        if head.frozen.is_some() || head.len <= want.from {
            found.push(Found::Head(head));
            continue;
        }
        // Each has its share, so that no long log keeps an asker from seeing which of the others have forked.
        let records = range(own.storage(), &head.log, want.from, room / left)?;
        if records.is_empty() {
            // It has forked since its head was read: the asker sees that when it comes again.
            found.push(Found::Gone);
            continue;
        }
        room = room.saturating_sub(size(&records));
        found.push(Found::Records { len: head.len, records });
    }
    Ok(Answer::Items(found))
}

/// Returns the records of the first of these logs, as far as one answer goes.
fn fill<W>(
    wants: &[W],
    mut read: impl FnMut(&W, usize) -> Result<Vec<Vec<u8>>, StorageError>,
) -> Result<Vec<Vec<Vec<u8>>>, StorageError> {
    let mut room = MAX_ANSWER_BYTES;
    let mut logs = Vec::new();
    for want in wants {
        if room == 0 {
            break;
        }
        let records = read(want, room)?;
        room = room.saturating_sub(size(&records));
        logs.push(records);
    }
    Ok(logs)
}

/// Returns the bodies of the first of these records, as far as one answer goes.
fn bodies(storage: &dyn Storage, ids: &[RecordId]) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
    let mut room = MAX_ANSWER_BYTES;
    let mut bodies = Vec::new();
    for id in ids {
        let record = storage.record(id)?.filter(|record| !record.is_bare());
        let body = record.map(|record| record.body().to_vec());
        let len = body.as_ref().map_or(0, Vec::len);
        if len > room {
            break;
        }
        room -= len;
        bodies.push(body);
    }
    Ok(bodies)
}

fn size(records: &[Vec<u8>]) -> usize {
    records.iter().map(Vec::len).sum()
}

/// Returns encoded records of a chain from a place on, at most `room` bytes, but at least one if there is one.
fn range(storage: &dyn Storage, log: &LogId, from: u64, room: usize) -> Result<Vec<Vec<u8>>, StorageError> {
    let mut records = Vec::new();
    let mut bytes = 0;
    let mut next = from;
    loop {
        let limit = page_len(room.saturating_sub(bytes));
        let page = storage.range(log, next, limit)?;
        for record in &page {
            let record = record.encode();
            bytes += record.len();
            if bytes > room && !records.is_empty() {
                return Ok(records);
            }
            records.push(record);
            next = next.saturating_add(1);
        }
        if page.len() < limit {
            return Ok(records);
        }
    }
}

/// Returns how many records are read at once where there is so much room: as many as could fit, and the one that does not.
fn page_len(room: usize) -> usize {
    PAGE.min(room / BARE_LEN + 1)
}

impl Want {
    /// Returns a wish for a log from a place on.
    pub const fn new(log: LogId, from: u64) -> Self {
        Self { log, from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_an_answer_has_room_for() {
        let lens = [0, BARE_LEN - 1, BARE_LEN, 10 * BARE_LEN, MAX_ANSWER_BYTES].map(page_len);
        assert_eq!(lens, [1, 1, 2, 11, PAGE]);
    }
}
