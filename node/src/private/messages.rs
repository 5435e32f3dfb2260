//! What was said in trades: own messages to be handed to peers, all that were sent and received, and what parties showed
//! to this node's arbiter.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use exchange_ledger::frost::MAX_MEMBERS;
use exchange_ledger::ids::{AuthorId, TradeId};
use exchange_ledger::mail::{Address, MAX_ENVELOPES, Said};
use exchange_store::{Changes, Namespace, StoreError, Table, Versioned};

use super::{EnvelopePlace, EnvelopeRow, Private};

rows! {
    /// A message of an own trade, and its number in the order in which this node sent or received it.
    MessageRow { number: u64, said: Said, }
    /// A message between parties that one of them showed to this node's arbiter.
    DisclosedRow { said: Said, }
    /// The number of the last message of a trade that the user has read, or that an arbiter was shown.
    ReadRow { number: u64, }
}

const OUTBOX: Table<((TradeId, AuthorId), EnvelopePlace), EnvelopeRow> = Table::new(Namespace::Outbox);
const MESSAGES: Table<(TradeId, [u8; 32]), MessageRow> = Table::new(Namespace::Messages);
const DISCLOSED: Table<((TradeId, AuthorId), [u8; 32]), DisclosedRow> = Table::new(Namespace::Disclosed);
const READ: Table<TradeId, ReadRow> = Table::new(Namespace::MessagesRead);
const SHOWN: Table<(TradeId, AuthorId), ReadRow> = Table::new(Namespace::MessagesShown);

/// How many own messages are handed to peers: more than a user writes in their lifetime.
const MAX_OUTBOX: usize = 4096;
/// How many people a trade can have: two parties, and the members of two groups of arbiters.
const MAX_PEOPLE: usize = 2 + 2 * MAX_MEMBERS;
/// How many messages of a trade are kept: as many as one of these people can send to, and get from, all others. Whoever read fewer
/// would not know what he wrote last, and put two messages into one place.
const MAX_MESSAGES: usize = 2 * MAX_PEOPLE * MAX_ENVELOPES as usize; // a u32 fits
/// How many messages of each party one party can show in a trade. What a party shows takes no room from the other.
const MAX_SHOWN: usize = 2 * MAX_ENVELOPES as usize; // a u32 fits

/// A message of an own trade.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its number in the order in which this node sent or received the messages of the trade, from 1.
    pub number: u64,
    /// The message.
    pub said: Said,
}

/// What became of a message that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// It is kept from now on.
    New,
    /// It was kept before.
    Known,
    /// Its sender has sent as many as are kept.
    Full,
}

/// What a disclosure brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disclosed {
    /// How many messages that are kept from now on, or whose words are.
    pub new: usize,
    /// How many that prove nothing.
    pub refused: usize,
}

impl Private {
    /// Returns the messages of a trade that this node sent and received, in that order.
    ///
    /// # Errors
    /// When the store fails.
    pub fn messages(&self, trade: &TradeId) -> Result<Vec<Kept>, StoreError> {
        let rows = self.store.private().scan_within(&MESSAGES, trade, MAX_MESSAGES)?;
        let mut kept: Vec<Kept> =
            rows.into_iter().map(|(_, row)| Kept { number: row.number, said: row.said }).collect();
        kept.sort_by_key(|kept| kept.number);
        Ok(kept)
    }

    /// Keeps a message that was received. Only one task may keep messages of a trade.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn put_received(&self, said: &Said) -> Result<Keeping, StoreError> {
        self.put_received_with(said, || Ok(Changes::new()))
    }

    /// Keeps a message that was received, together with what it brings, which is asked for only if it is new.
    fn put_received_with(
        &self,
        said: &Said,
        brings: impl FnOnce() -> Result<Changes, StoreError>,
    ) -> Result<Keeping, StoreError> {
        let address = &said.address;
        // A start brings all mail once more: for what is known not all that was said is read.
        if self.store.private().get(&MESSAGES, &(address.trade, said.id()))?.is_some() {
            return Ok(Keeping::Known);
        }
        let kept = self.messages(&address.trade)?;
        if is_full(&kept, address) {
            return Ok(Keeping::Full);
        }
        self.store.private().write(put(brings()?, &kept, said))?;
        Ok(Keeping::New)
    }

    /// Keeps an own message, and the envelope until peers have it, before it is sent. Tells whether there was room.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn put_sent(&self, said: &Said, envelope: &[u8]) -> Result<bool, StoreError> {
        let address = &said.address;
        let kept = self.messages(&address.trade)?;
        if is_full(&kept, address) {
            return Ok(false);
        }
        let row = EnvelopeRow { envelope: envelope.to_vec(), time: address.time };
        let place = ((address.trade, address.recipient), (address.epoch, address.seq));
        self.store.private().write(put(Changes::new().put(&OUTBOX, &place, &row), &kept, said))?;
        Ok(true)
    }

    /// Returns the own messages that are handed to peers.
    ///
    /// # Errors
    /// When the store fails.
    pub fn outbox(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let rows = self.store.private().scan(&OUTBOX, .., MAX_OUTBOX)?;
        Ok(rows.into_iter().map(|(_, row)| row.envelope).collect())
    }

    /// Hands an own message to peers no more. What it says is kept.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn delete_outbox(&self, address: &Address) -> Result<(), StoreError> {
        let place = ((address.trade, address.recipient), (address.epoch, address.seq));
        self.store.private().delete(&OUTBOX, &place)
    }

    /// Returns up to which number the user has read the messages of a trade.
    ///
    /// # Errors
    /// When the store fails.
    pub fn messages_read(&self, trade: &TradeId) -> Result<u64, StoreError> {
        Ok(self.store.private().get(&READ, trade)?.map_or(0, |row| row.number))
    }

    /// Notes up to which number the user has read the messages of a trade.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn put_messages_read(&self, trade: &TradeId, number: u64) -> Result<(), StoreError> {
        self.store.private().put(&READ, trade, &ReadRow { number })
    }

    /// Returns up to which number an arbiter was shown the messages of a trade.
    ///
    /// # Errors
    /// When the store fails.
    pub fn messages_shown(&self, trade: &TradeId, arbiter: &AuthorId) -> Result<u64, StoreError> {
        Ok(self.store.private().get(&SHOWN, &(*trade, *arbiter))?.map_or(0, |row| row.number))
    }

    /// Notes up to which number an arbiter was shown the messages of a trade.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn put_messages_shown(&self, trade: &TradeId, arbiter: &AuthorId, number: u64) -> Result<(), StoreError> {
        self.store.private().put(&SHOWN, &(*trade, *arbiter), &ReadRow { number })
    }

    /// Returns the messages between the parties of a trade that one of them has shown.
    ///
    /// # Errors
    /// When the store fails.
    pub fn disclosed(&self, trade: &TradeId, by: &AuthorId) -> Result<Vec<Said>, StoreError> {
        let rows = self.store.private().scan_within(&DISCLOSED, &(*trade, *by), MAX_SHOWN)?;
        Ok(rows.into_iter().map(|(_, row)| row.said).collect())
    }

    /// Keeps a disclosure, and with it those of the messages it shows that prove themselves and are new, or whose words are, as
    /// far as there is room. Of one that was kept before nothing is looked at: a start brings all mail once more, and to judge it
    /// takes dozens of signatures. Only one task may keep messages of a trade.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn put_disclosure(
        &self,
        disclosure: &Said,
        shown: &[Said],
        is_proven: impl Fn(&Said) -> bool,
    ) -> Result<(Keeping, Disclosed), StoreError> {
        let mut disclosed = Disclosed::default();
        let keeping = self.put_received_with(disclosure, || {
            let proven: Vec<&Said> = shown.iter().filter(|said| is_proven(said)).collect();
            disclosed.refused = shown.len().saturating_sub(proven.len());
            let (changes, new) = self.shows(&disclosure.address, &proven)?;
            disclosed.new = new;
            Ok(changes)
        })?;
        Ok((keeping, disclosed))
    }

    /// Returns what a party's disclosure adds to what it showed before, and how many messages that are.
    fn shows(&self, by: &Address, proven: &[&Said]) -> Result<(Changes, usize), StoreError> {
        let place = (by.trade, by.sender);
        let rows = self.store.private().scan_within(&DISCLOSED, &place, MAX_SHOWN)?;
        // By the ids under which they are kept: each costs some hashes, and every message is compared with all.
        let mut known: BTreeMap<[u8; 32], (AuthorId, bool)> = rows
            .into_iter()
            .map(|((_, id), DisclosedRow { said })| (id, (said.address.sender, said.opening.is_some())))
            .collect();
        let (mut changes, mut count) = (Changes::new(), 0);
        for said in proven.iter().filter(|said| said.address.trade == by.trade) {
            let (id, sender, has_words) = (said.id(), said.address.sender, said.opening.is_some());
            let before = known.get(&id).copied();
            let is_news = before.is_none_or(|(_, had_words)| has_words && !had_words);
            let of_sender = known.values().filter(|(other, _)| *other == sender).count();
            let has_room = before.is_some() || of_sender < MAX_ENVELOPES as usize; // a u32 fits
            if is_news && has_room {
                changes = changes.put(&DISCLOSED, &(place, id), &DisclosedRow { said: (*said).clone() });
                known.insert(id, (sender, has_words));
                count += 1;
            }
        }
        Ok((changes, count))
    }
}

fn put(changes: Changes, kept: &[Kept], said: &Said) -> Changes {
    let number = kept.last().map_or(0, |last| last.number).saturating_add(1);
    changes.put(&MESSAGES, &(said.address.trade, said.id()), &MessageRow { number, said: said.clone() })
}

/// Tells whether the sender of a message has sent its recipient as many as are kept.
fn is_full(kept: &[Kept], address: &Address) -> bool {
    let same = kept
        .iter()
        .filter(|kept| (kept.said.address.sender, kept.said.address.recipient) == (address.sender, address.recipient));
    same.count() >= MAX_ENVELOPES as usize // a u32 fits
}

#[cfg(test)]
mod tests {
    use exchange_ledger::body::Side;
    use exchange_ledger::mail::Opening;
    use exchange_ledger::testing::{NETWORK, SampleTrade};
    use exchange_ledger::trade::Contract;
    use exchange_store::{OpenOptions, Store};

    use super::*;

    /// The table of messages, for rows that are none.
    const NO_MESSAGES: Table<(TradeId, [u8; 32]), ReadRow> = Table::new(Namespace::Messages);

    fn private(directory: &tempfile::TempDir) -> Private {
        Private::new(Store::open(directory.path(), OpenOptions::default()).unwrap())
    }

    /// Returns what somebody says to the buyer.
    fn said(contract: &Contract, sender: u8, seq: u32) -> Said {
        let address = Address {
            version: 1,
            network: NETWORK,
            trade: contract.trade,
            contract: contract.hash(),
            sender: AuthorId([sender; 32]),
            recipient: contract.buyer,
            epoch: 1,
            seq,
            previous: [0; 32],
            seen: [0; 32],
            time: 0,
            commitment: [0; 32],
        };
        Said { address, sealed_hash: [0; 32], signature: [0; 64], opening: None }
    }

    #[test]
    fn all_that_the_members_of_two_groups_write_to_a_party_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let private = private(&directory);
        let contract = SampleTrade::new(Side::Sell).contract();
        let members = u8::try_from(2 * MAX_MEMBERS).unwrap();
        let (mut changes, mut last) = (Changes::new(), Vec::new());
        for (sender, seq) in (1..=members).flat_map(|sender| (0..MAX_ENVELOPES).map(move |seq| (sender, seq))) {
            let said = said(&contract, sender, seq);
            changes = put(changes, &last, &said);
            let number = last.first().map_or(0, |kept: &Kept| kept.number) + 1;
            last = vec![Kept { number, said }];
        }
        private.store.private().write(changes).unwrap();
        let kept = private.messages(&contract.trade).unwrap();
        assert_eq!(kept.len(), usize::from(members) * MAX_ENVELOPES as usize);
        assert_eq!(kept.last().map(|kept| kept.number), last.first().map(|kept| kept.number));
        let said = last.remove(0).said;
        assert_eq!(private.put_received(&said).unwrap(), Keeping::Known);
        let more = Said { sealed_hash: [1; 32], ..said };
        assert_eq!(private.put_received(&more).unwrap(), Keeping::Full);
        assert_eq!(private.messages(&contract.trade).unwrap().len(), kept.len());
    }

    /// Returns how many messages a party has shown.
    fn shown(private: &Private, disclosure: &Said) -> usize {
        private.disclosed(&disclosure.address.trade, &disclosure.address.sender).unwrap().len()
    }

    #[test]
    fn what_a_party_shows_is_judged_once_and_each_message_kept_once() {
        let directory = tempfile::tempdir().unwrap();
        let private = private(&directory);
        let contract = SampleTrade::new(Side::Sell).contract();
        let [first, second] = [0, 1].map(|seq| said(&contract, 1, seq));
        let [wordless, another, refused] = [10, 11, 12].map(|seq| said(&contract, 2, seq));
        let worded = Said { opening: Some(Opening { salt: [0; 32], plain: vec![1] }), ..wordless.clone() };
        let judged = std::cell::Cell::new(0);
        let show = |disclosure: &Said, messages: &[Said]| {
            let is_proven = |said: &Said| {
                judged.set(judged.get() + 1);
                *said != refused
            };
            private.put_disclosure(disclosure, messages, is_proven).unwrap()
        };
        let messages = [wordless.clone(), refused.clone(), wordless.clone()];
        assert_eq!(show(&first, &messages), (Keeping::New, Disclosed { new: 1, refused: 1 }));
        // It comes again with each start.
        assert_eq!(show(&first, &messages), (Keeping::Known, Disclosed::default()));
        assert_eq!((judged.get(), shown(&private, &first)), (3, 1));
        // Another shows the words of one, and one more.
        let messages = [worded.clone(), wordless, another];
        assert_eq!(show(&second, &messages), (Keeping::New, Disclosed { new: 2, refused: 0 }));
        assert_eq!((judged.get(), shown(&private, &first)), (6, 2));
        assert!(private.disclosed(&contract.trade, &first.address.sender).unwrap().contains(&worded));
    }

    #[test]
    fn who_shows_more_of_one_side_than_is_kept_takes_no_room_from_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let private = private(&directory);
        let contract = SampleTrade::new(Side::Sell).contract();
        let mut disclosures = (0..MAX_ENVELOPES).map(|seq| said(&contract, 1, seq));
        let mut show = |messages: &[Said]| {
            let disclosure = disclosures.next().unwrap();
            private.put_disclosure(&disclosure, messages, |_| true).unwrap().1.new
        };
        let of = |sender| -> Vec<Said> { (0..MAX_ENVELOPES + 3).map(|seq| said(&contract, sender, seq)).collect() };
        assert_eq!(show(&of(2)), MAX_ENVELOPES as usize);
        assert_eq!(show(&[of(2), of(3)].concat()), MAX_ENVELOPES as usize);
        assert_eq!(show(&[of(3), of(2)].concat()), 0);
        assert_eq!(shown(&private, &said(&contract, 1, 0)), MAX_SHOWN);
    }

    #[test]
    fn what_comes_again_is_known_without_a_look_at_all_that_was_said() {
        let directory = tempfile::tempdir().unwrap();
        let private = private(&directory);
        let contract = SampleTrade::new(Side::Sell).contract();
        let [first, second] = [0, 1].map(|seq| said(&contract, 1, seq));
        assert_eq!(private.put_received(&first).unwrap(), Keeping::New);
        assert_eq!(private.put_received(&first).unwrap(), Keeping::Known);
        assert_eq!(private.messages(&contract.trade).unwrap().len(), 1);
        // Whoever reads all comes upon a row that is no message.
        private.store.private().put(&NO_MESSAGES, &(contract.trade, [0; 32]), &ReadRow { number: 1 }).unwrap();
        assert!(private.messages(&contract.trade).is_err() && private.put_received(&second).is_err());
        assert_eq!(private.put_received(&first).unwrap(), Keeping::Known);
    }
}
