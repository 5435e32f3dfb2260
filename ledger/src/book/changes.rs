//! How the book changes. An offer is on the shelf of its maker's presence, in the list of ends and in its maker's list, or
//! nowhere.

use std::collections::HashSet;
use std::ops::Bound;

use super::makers::{Held, Maker, Position, Traces};
use super::shelf::Slot;
use super::{AWAY_AFTER_S, Book, Entry, marks};
use crate::body::Offer;
use crate::ids::{AuthorId, RecordId};
use crate::ledger::{Ledger, OfferStanding};
use crate::record::{Kind, Record};
use crate::storage::{Storage, StorageError};

/// For how many offers there is more room at least when there is none left.
const MIN_GROWTH: usize = 64;
/// How many offers of a maker are read at once when those that are remembered are too few: enough for one who has as many
/// open as are remembered, and some milliseconds for one who has a million that have ended.
const READ_AT_ONCE: usize = 256;
/// How many are read of all makers until the time passes again: the ledger's thread does nothing else meanwhile, and nobody
/// can look at the book.
pub(super) const MAX_READ: usize = 4 * READ_AT_ONCE;

impl Book {
    /// Adds an offer, if it is open. `is_new` tells that it was just let in, and whatever comes after it in its log is still to be
    /// told of: then nothing can stand against it but what its author said in other logs.
    pub(super) fn add<S: Storage>(
        &mut self,
        ledger: &Ledger<S>,
        record: &Record,
        offer: &Offer,
        is_new: bool,
    ) -> Result<(), StorageError> {
        if offer.expires <= self.now {
            self.note_ended(record.id(), offer.expires);
            return Ok(());
        }
        let author = record.author();
        let traces = match self.traces(&author) {
            Some(traces) => *traces,
            None => Traces::read(ledger, &author)?,
        };
        let is_open = if is_new && traces.are_of(&record.header().log) {
            ledger.has_rights(record)? && !ledger.is_author_frozen(&author)?
        } else {
            ledger.offer_standing(record)? == OfferStanding::Open
        };
        if !is_open {
            return Ok(());
        }
        self.makers.entry(author).or_insert_with(|| Maker { traces, ..Maker::default() });
        self.welcome(author);
        let entry = Entry::new(record, offer);
        let (position, id) = (Position::of(record), record.id());
        self.change(ledger, &author, Some(entry), |maker| {
            maker.hold(position, id);
            Vec::new()
        })
    }

    /// Takes note that an author was heard of.
    pub(super) fn see(&mut self, record: &Record) {
        let author = record.author();
        if let Some(traces) = self.traces(&author) {
            traces.add(record);
            self.welcome(author);
        }
    }

    /// Returns what was seen of an author, if that is remembered.
    fn traces(&mut self, author: &AuthorId) -> Option<&mut Traces> {
        match self.makers.get_mut(author) {
            Some(maker) => Some(&mut maker.traces),
            None => self.gone.get_mut(author),
        }
    }

    /// Moves a maker to those who are there, if he was away and heard of lately.
    fn welcome(&mut self, author: AuthorId) {
        let Some(maker) = self.makers.get_mut(&author) else { return };
        let deadline = maker.traces.last_seen.saturating_add(AWAY_AFTER_S);
        if !maker.is_present() && deadline >= self.now {
            maker.silence = Some(deadline);
            self.silences.insert((deadline, author));
            self.move_maker(&author);
        }
    }

    /// Drops an offer that its author decided about by a record of his: an acceptance counts in the offer's own log alone, a
    /// withdrawal in each.
    pub(super) fn close<S: Storage>(
        &mut self,
        ledger: &Ledger<S>,
        decision: &Record,
        offer: &RecordId,
    ) -> Result<(), StorageError> {
        let (author, epoch) = (decision.author(), decision.header().log.epoch);
        let is_anywhere = decision.header().kind == Kind::Revoke;
        let closes = |held: &Held| held.id == *offer && (is_anywhere || held.position.epoch == epoch);
        if !self.makers.get(&author).is_some_and(|maker| maker.offers.iter().any(closes)) {
            return Ok(());
        }
        self.change(ledger, &author, None, |maker| drop_where(maker, closes))
    }

    /// Looks again at all offers of an author that are held.
    pub(super) fn recheck<S: Storage>(&mut self, ledger: &Ledger<S>, author: &AuthorId) -> Result<(), StorageError> {
        let held = self.makers.get(author).into_iter().flat_map(|maker| &maker.offers);
        let asked: Vec<RecordId> = held.map(|held| held.id).collect();
        let mut gone = HashSet::new();
        for id in asked {
            let record = ledger.record(&id)?;
            let standing = record.map(|record| ledger.offer_standing(&record)).transpose()?;
            if standing != Some(OfferStanding::Open) {
                gone.insert(id);
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        self.change(ledger, author, None, |maker| drop_where(maker, |held| gone.contains(&held.id)))
    }

    /// Changes what a maker offers, and then lets stand what may. `change` returns the offers that leave; `fresh` is one that
    /// was just read.
    pub(super) fn change<S: Storage>(
        &mut self,
        ledger: &Ledger<S>,
        author: &AuthorId,
        fresh: Option<Entry>,
        change: impl FnOnce(&mut Maker) -> Vec<Held>,
    ) -> Result<(), StorageError> {
        let Some(mut maker) = self.makers.remove(author) else {
            self.short.remove(author);
            return Ok(());
        };
        let leaving = change(&mut maker);
        leaving.iter().for_each(|held| self.hide(*held, maker.is_present()));
        let filled = self.fill(ledger, author, fresh, &mut maker);
        if maker.is_short(self.quota(author)) {
            self.short.insert(*author);
        } else {
            self.short.remove(author);
        }
        if !maker.offers.is_empty() || maker.forgotten_after.is_some() {
            self.makers.insert(*author, maker);
        } else {
            if let Some(deadline) = maker.silence {
                self.silences.remove(&(deadline, *author));
            }
            self.gone.put(*author, maker.traces);
        }
        filled
    }

    /// Goes on with makers of whom too few offers are remembered, each in turn, as far as may be read before the time passes
    /// again. So one who has a million offers that have ended costs others a look at a few of them now and then.
    pub(super) fn read_on<S: Storage>(&mut self, ledger: &Ledger<S>) -> Result<(), StorageError> {
        while self.read < MAX_READ {
            let start = self.last_short.map_or(Bound::Unbounded, Bound::Excluded);
            let next = self.short.range((start, Bound::Unbounded)).next().or_else(|| self.short.first()).copied();
            let Some(author) = next else { return Ok(()) };
            self.last_short = Some(author);
            self.change(ledger, &author, None, |_| Vec::new())?;
        }
        Ok(())
    }

    /// Lets stand what may, and reads more of a maker's offers from the store where that leaves too few.
    fn fill<S: Storage>(
        &mut self,
        ledger: &Ledger<S>,
        author: &AuthorId,
        fresh: Option<Entry>,
        maker: &mut Maker,
    ) -> Result<(), StorageError> {
        // Only now is it known how many there are: of those that waited, any may have ended meanwhile.
        self.settle(ledger, author, fresh, maker)?;
        if maker.is_short(self.quota(author)) && self.read < MAX_READ {
            self.read_more(ledger, author, maker)?;
            self.settle(ledger, author, None, maker)?;
        }
        Ok(())
    }

    /// Reads the next of a maker's offers that are not remembered.
    fn read_more<S: Storage>(
        &mut self,
        ledger: &Ledger<S>,
        author: &AuthorId,
        maker: &mut Maker,
    ) -> Result<(), StorageError> {
        let Some(last) = maker.forgotten_after else { return Ok(()) };
        // Of an author who signed two histories nothing is open.
        if ledger.is_author_frozen(author)? {
            maker.forgotten_after = None;
            return Ok(());
        }
        let places = ledger.storage().of_kind_by(Kind::Offer, author, Some(&last.end(*author)), READ_AT_ONCE)?;
        self.read += places.len();
        let mut open = Vec::new();
        for place in &places {
            let Some((record, offer)) = ledger.offer(&place.id)? else { continue };
            if offer.expires > self.now && ledger.offer_standing(&record)? == OfferStanding::Open {
                open.push((Position::of(&record), record.id()));
            }
        }
        maker.forgotten_after = places.last().filter(|_| places.len() >= READ_AT_ONCE).map(Position::at);
        open.into_iter().for_each(|(position, id)| maker.hold(position, id));
        Ok(())
    }

    /// Lets the first offers of a maker stand and the others wait, and forgets what is beyond those that are remembered.
    fn settle<S: Storage>(
        &mut self,
        ledger: &Ledger<S>,
        author: &AuthorId,
        mut fresh: Option<Entry>,
        maker: &mut Maker,
    ) -> Result<(), StorageError> {
        let (quota, is_present) = (self.quota(author), maker.is_present());
        for held in maker.forget_beyond(quota) {
            self.hide(held, is_present);
        }
        for held in maker.offers.iter_mut().skip(quota) {
            self.hide(*held, is_present);
            held.entry = None;
        }
        let mut at = 0;
        while at < quota.min(maker.offers.len()) {
            if maker.offers[at].entry.is_none() {
                let id = maker.offers[at].id;
                let entry = match fresh.take_if(|entry| entry.id == id) {
                    Some(entry) => Some(entry),
                    None => ledger.offer(&id)?.map(|(record, offer)| Entry::new(&record, &offer)),
                };
                match entry {
                    Some(entry) if entry.expires > self.now => {
                        maker.offers[at].entry = Some(self.show(entry, is_present));
                    }
                    ended => {
                        maker.offers.remove(at);
                        self.note_ended(id, ended.map_or(0, |entry| entry.expires));
                        continue;
                    }
                }
            }
            at += 1;
        }
        Ok(())
    }

    /// Takes back what has not ended by the time that it is now, some at once: the clock was ahead when it was noted.
    pub(super) fn take_back<S: Storage>(&mut self, ledger: &Ledger<S>) -> Result<(), StorageError> {
        while self.read < MAX_READ {
            let Some(id) = self.ended.take_after(self.now) else { break };
            self.read += 1;
            if let Some((record, offer)) = ledger.offer(&id)? {
                self.add(ledger, &record, &offer, false)?;
            }
        }
        Ok(())
    }

    /// Notes that an offer ended, and when.
    pub(super) fn note_ended(&mut self, id: RecordId, expires: u64) {
        if !self.ended.note(id, expires) {
            (self.overlooked, self.looked_up_to) = (true, None);
        }
    }

    /// Goes on through what the store lists as open, some at once, if offers had ended for which there was no room: each start
    /// would read them again.
    pub(super) fn look_again<S: Storage>(&mut self, ledger: &Ledger<S>) -> Result<(), StorageError> {
        let limit = MAX_READ.saturating_sub(self.read);
        if !self.overlooked || limit == 0 || !self.ended.is_half_free() {
            return Ok(());
        }
        let ids = ledger.storage().open_offers(self.looked_up_to.as_ref(), limit)?;
        self.read += ids.len();
        self.overlooked = ids.len() >= limit;
        self.looked_up_to = ids.last().copied().filter(|_| self.overlooked);
        for id in &ids {
            match ledger.offer(id)? {
                Some((record, offer)) => self.add(ledger, &record, &offer, false)?,
                None => self.note_ended(*id, 0),
            }
        }
        Ok(())
    }

    /// Puts an offer on a shelf. Returns its number.
    fn show(&mut self, entry: Entry, is_present: bool) -> u32 {
        let expires = entry.expires;
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                if self.entries.len() == self.entries.capacity() {
                    // By an eighth: twice as much would be megabytes that most books never fill.
                    self.entries.reserve_exact(self.entries.len() / 8 + MIN_GROWTH);
                }
                self.entries.push(None);
                u32::try_from(self.entries.len() - 1).expect("memory ends before four billion offers")
            }
        };
        self.entries[number as usize] = Some(entry); // it was just made or freed
        self.ends.insert((expires, number));
        self.put(number, is_present);
        number
    }

    /// Takes an offer off its shelf, if it stands.
    fn hide(&mut self, held: Held, is_present: bool) {
        let Some(number) = held.entry else { return };
        self.take(number, is_present);
        if let Some(entry) = self.entries.get_mut(number as usize).and_then(Option::take) {
            self.ends.remove(&(entry.expires, number));
            self.free.push(number);
        }
    }

    /// Moves the offers of a maker who came or went to the shelf where they belong now.
    pub(super) fn move_maker(&mut self, author: &AuthorId) {
        let Some(maker) = self.makers.get(author) else { return };
        let is_present = maker.is_present();
        let standing: Vec<u32> = maker.offers.iter().filter_map(|held| held.entry).collect();
        for number in standing {
            self.take(number, !is_present);
            self.put(number, is_present);
        }
    }

    fn put(&mut self, number: u32, is_present: bool) {
        let Self { entries, present, away, .. } = self;
        let entry_of = |number: u32| entries.get(number as usize).and_then(Option::as_ref);
        let Some(entry) = entry_of(number) else { return };
        let slot = Slot { entry: number, min: entry.min, max: entry.max };
        let shelf = if is_present { present } else { away };
        shelf.insert(slot, &marks::borne_by(entry), |other| {
            entry_of(other).is_some_and(|other| other.rank() < entry.rank())
        });
    }

    fn take(&mut self, number: u32, is_present: bool) {
        let Self { entries, present, away, .. } = self;
        let entry_of = |number: u32| entries.get(number as usize).and_then(Option::as_ref);
        let Some(entry) = entry_of(number) else { return };
        let shelf = if is_present { present } else { away };
        shelf.remove(|other| entry_of(other).is_some_and(|other| other.rank() < entry.rank()));
    }

    pub(super) fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(number as usize).and_then(Option::as_ref)
    }
}

/// Takes offers out of a maker's list.
pub(super) fn drop_where(maker: &mut Maker, gone: impl Fn(&Held) -> bool) -> Vec<Held> {
    let leaving = maker.offers.iter().copied().filter(&gone).collect();
    maker.offers.retain(|held| !gone(held));
    leaving
}

/// Returns the time of the last record of an author.
///
/// # Errors
/// When the store fails.
pub fn last_sign_of_life<S: Storage>(ledger: &Ledger<S>, author: &AuthorId) -> Result<u64, StorageError> {
    Traces::read(ledger, author).map(|traces| traces.last_seen)
}
