//! Sealed messages between parties of trades: the own ones under way, and those kept for others.
//!
//! A relay keeps a message only when the ledger shows a contract between its sender and its recipient. So a contract is
//! the price of storage, and the bounds hold for each.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exchange_ledger::identity::Identity;
use exchange_ledger::ids::{AuthorId, MailboxId, TradeId};
use exchange_ledger::ledger::{MAX_CLOCK_SKEW_S, TradeError};
use exchange_ledger::mail::{Address, Entropy, Envelope, LIFETIME_S, MAX_ENVELOPES, MailError, Message, Said};
use exchange_ledger::trade::{Bid, Contract};
use exchange_store::StoreError;
use sha2::{Digest, Sha256};
use tokio::sync::{broadcast, mpsc};

use crate::keeper::Keeper;
use crate::net::Verdict;
use crate::private::{Kept as KeptMessage, KeptMail, Private};
use crate::{clock, entropy};

/// How many messages a node keeps: a gigabyte at the very most. The oldest make room, for those who wait for the newest
/// are more likely to be there; whoever sent an old one offers it again.
const MAX_KEPT: usize = 65_536;
/// How soon, in seconds, a message that is kept is passed on again when it is offered again, and then each time after twice
/// as long: nine times in its life. Gossip may have met a network that was divided, and its sender's peers have it since.
const PASS_AGAIN_S: u64 = 3600;
/// How many messages wait for the acceptance that they rest on: gossip may bring them in either order.
const MAX_PARKED: usize = 256;
/// How many own messages the network may lag behind before it hands over the whole outbox again.
const SENT_BACKLOG: usize = 256;
/// How many messages for this node's own identity may wait for the trader: all that a trade can have for it.
const QUEUE: usize = 1024;
/// How many mailboxes of its own a node asks peers for.
const MAX_OWN: usize = 1000;
/// Those among which there is room for one more of an arbiter's case: his own trades have the rest.
const MAX_CASES: usize = 500;
/// How many messages one call returns.
const PAGE: usize = 64;

/// A handle to the mail. Cheap to clone.
#[derive(Clone)]
pub struct Mailbox {
    keeper: Keeper,
    private: Private,
    kept: Arc<Mutex<Kept>>,
    parked: Arc<Mutex<VecDeque<Envelope>>>,
    own: Arc<Mutex<Own>>,
    /// The epoch of what is sent until the node stops, unless a later one is known: see [`Address::epoch`].
    epoch: u32,
    sent: broadcast::Sender<Vec<u8>>,
}

/// What is kept for others, in the order of arrival.
#[derive(Default)]
struct Kept {
    arrivals: BTreeMap<u64, MailboxId>,
    last: u64,
    /// By the hash of its bytes, when each message came and when it was passed on last.
    passed: HashMap<[u8; 32], Passed>,
}

/// When a message came and when it was passed on last, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
struct Passed {
    first: u64,
    last: u64,
}

impl Passed {
    /// Tells whether it is to be passed on again, and notes that it is.
    fn again(&mut self, now: u64) -> bool {
        let due = now >= self.last.saturating_add(PASS_AGAIN_S.max(self.last.saturating_sub(self.first)));
        if due {
            self.last = now;
        }
        due
    }
}

/// What concerns this node's own identity, once it is unlocked.
#[derive(Default)]
struct Own {
    author: Option<AuthorId>,
    deliver: Option<mpsc::Sender<Envelope>>,
    mailboxes: HashSet<MailboxId>,
    /// Those of them with something that could not be taken in when it came, and after which arrival that is.
    waiting: HashMap<MailboxId, u64>,
    /// The epochs in which this run writes to people: as many as there are in the user's trades.
    epochs: HashMap<(TradeId, AuthorId), u32>,
}

/// Why a message could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be sealed.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The recipient's mailboxes keep no more from this sender.
    #[error("{MAX_ENVELOPES} messages were sent to the same recipient in this trade; no more are kept")]
    Full,
}

/// Returns whose mailboxes somebody reads in a contract: his own and, as a member of a group of arbiters, that of the author of
/// its advert.
fn recipients(contract: &Contract, author: &AuthorId) -> Vec<AuthorId> {
    let arbiter = contract.seat_of(author).and_then(|seat| contract.arbiter(seat));
    let group = arbiter.filter(|arbiter| !arbiter.members.is_empty() && arbiter.author != *author);
    std::iter::once(*author).chain(group.map(|arbiter| arbiter.author)).collect()
}

impl Mailbox {
    /// Opens the mail.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open(keeper: Keeper, private: Private) -> Result<Self, StoreError> {
        let (mut arrivals, mut passed) = (BTreeMap::new(), HashMap::new());
        let now = clock::unix_now();
        for mail in private.all_mail(MAX_KEPT)? {
            arrivals.insert(mail.arrival, mail.mailbox);
            passed.insert(hash(&mail.envelope), Passed { first: mail.time.min(now), last: mail.time.min(now) });
        }
        let last = arrivals.last_key_value().map_or(0, |(arrival, _)| *arrival);
        Ok(Self {
            keeper,
            private,
            kept: Arc::new(Mutex::new(Kept { arrivals, last, passed })),
            parked: Arc::default(),
            own: Arc::default(),
            epoch: u32::try_from(clock::unix_now()).unwrap_or(u32::MAX),
            sent: broadcast::channel(SENT_BACKLOG).0,
        })
    }

    /// Delivers mail of this identity from now on; what came in before is delivered when its mailbox is opened.
    pub fn unlock(&self, author: AuthorId) -> mpsc::Receiver<Envelope> {
        let (deliver, inbox) = mpsc::channel(QUEUE);
        let mut own = self.own();
        own.author = Some(author);
        own.deliver = Some(deliver);
        inbox
    }

    /// Asks peers for the mailbox of a trade of this node's, and delivers again what is kept in it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open_mailbox(&self, contract: &Contract) -> Result<(), StoreError> {
        let own = self.own();
        let Some(author) = own.author else { return Ok(()) };
        drop(own);
        recipients(contract, &author).into_iter().try_for_each(|recipient| self.open_one(contract, &recipient))
    }

    fn open_one(&self, contract: &Contract, recipient: &AuthorId) -> Result<(), StoreError> {
        let mut own = self.own();
        let mailbox = contract.mailbox(recipient);
        if own.mailboxes.contains(&mailbox) {
            return Ok(());
        }
        let is_case = own.author.is_some_and(|author| contract.seat_of(&author).is_some());
        let most = if is_case { MAX_CASES } else { MAX_OWN };
        if own.mailboxes.len() >= most {
            tracing::warn!("more than {most} trades are open; messages of trade {} may be late", contract.trade);
            return Ok(());
        }
        own.mailboxes.insert(mailbox);
        drop(own);
        self.deliver_kept(&mailbox, 0)
    }

    /// Notes that a message to this node's user could not be taken in, and has to be delivered again.
    pub fn put_off(&self, mailbox: MailboxId) {
        self.put_off_after(mailbox, 0);
    }

    fn put_off_after(&self, mailbox: MailboxId, after: u64) {
        let mut own = self.own();
        // A closed one is read again when it is opened.
        if own.mailboxes.contains(&mailbox) {
            let first = own.waiting.entry(mailbox).or_insert(after);
            *first = after.min(*first);
        }
    }

    /// Delivers again what is kept in the mailboxes with something that could not be taken in when it came.
    ///
    /// # Errors
    /// When the store fails; it is tried again with the next call.
    pub fn deliver_waiting(&self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut self.own().waiting);
        let mut outcome = Ok(());
        for (mailbox, after) in waiting {
            if let Err(error) = self.deliver_kept(&mailbox, after) {
                self.put_off_after(mailbox, after);
                outcome = Err(error);
            }
        }
        outcome
    }

    /// Delivers what arrived in a mailbox after a message, as far as there is room.
    fn deliver_kept(&self, mailbox: &MailboxId, mut after: u64) -> Result<(), StoreError> {
        loop {
            let page = self.private.mail(mailbox, after, PAGE)?;
            if page.is_empty() {
                return Ok(());
            }
            for mail in page {
                if let Ok(envelope) = Envelope::decode(&mail.envelope)
                    && !self.deliver(*mailbox, mail.arrival, envelope)
                {
                    return Ok(());
                }
                after = mail.arrival;
            }
        }
    }

    /// Stops asking for the mailbox of a trade that is over.
    pub fn close_mailbox(&self, contract: &Contract) {
        let mut own = self.own();
        if let Some(author) = own.author {
            for recipient in recipients(contract, &author) {
                let mailbox = contract.mailbox(&recipient);
                own.mailboxes.remove(&mailbox);
                own.waiting.remove(&mailbox);
            }
        }
    }

    /// Returns the mailboxes that this node asks peers for.
    pub fn own_mailboxes(&self) -> Vec<MailboxId> {
        self.own().mailboxes.iter().copied().collect()
    }

    /// Returns the own messages that peers should keep: those whose lifetime is not over.
    pub fn outbox(&self) -> Vec<Vec<u8>> {
        let mail = self.private.outbox().unwrap_or_else(|error| {
            tracing::error!(%error, "own messages cannot be read");
            Vec::new()
        });
        let now = clock::unix_now();
        let alive = mail.into_iter().filter(|bytes| match Envelope::decode(bytes) {
            Ok(envelope) if envelope.address.time.saturating_add(LIFETIME_S) > now => true,
            Ok(envelope) => {
                if let Err(error) = self.private.delete_outbox(&envelope.address) {
                    tracing::warn!(%error, "an old message cannot be removed");
                }
                false
            }
            Err(_) => false,
        });
        alive.collect()
    }

    /// Returns a stream of messages to be passed to peers: own ones, and those that had to wait for their contract.
    pub fn sent(&self) -> broadcast::Receiver<Vec<u8>> {
        self.sent.subscribe()
    }

    /// Seals a message to another in a trade, keeps it and passes it to peers. Only one task may send.
    ///
    /// # Errors
    /// When it cannot be sealed or kept; nothing is sent then.
    pub fn send(
        &self,
        identity: &Identity,
        contract: &Contract,
        recipient: AuthorId,
        message: &Message,
    ) -> Result<(), SendError> {
        let address = self.next_address(identity.author(), contract, recipient)?;
        let entropy = Entropy { seal: entropy::bytes32(), salt: entropy::bytes32() };
        let (envelope, opening) = Envelope::seal(address, contract, message, entropy, |bytes| identity.sign(bytes))?;
        let bytes = envelope.encode();
        if !self.private.put_sent(&Said::new(&envelope, &opening), &bytes)? {
            return Err(SendError::Full);
        }
        // When nobody listens, peers get it with the outbox.
        drop(self.sent.send(bytes));
        Ok(())
    }

    /// Returns the place of the next message: after what this machine sent before, whatever another did.
    fn next_address(&self, sender: AuthorId, contract: &Contract, recipient: AuthorId) -> Result<Address, StoreError> {
        let kept = self.private.messages(&contract.trade)?;
        let last = |from, to| {
            let between = |kept: &&KeptMessage| (kept.said.address.sender, kept.said.address.recipient) == (from, to);
            kept.iter().rfind(between).map(|kept| &kept.said)
        };
        let before = last(sender, recipient);
        let later = before.map_or(0, |before| before.address.epoch.saturating_add(1));
        let epoch = *self.own().epochs.entry((contract.trade, recipient)).or_insert_with(|| self.epoch_after(later));
        let in_epoch = before.filter(|before| before.address.epoch == epoch);
        Ok(Address {
            version: 1,
            network: contract.network,
            trade: contract.trade,
            contract: contract.hash(),
            sender,
            recipient,
            epoch,
            seq: in_epoch.map_or(0, |before| before.address.seq.saturating_add(1)),
            previous: before.map_or([0; 32], Said::id),
            seen: last(recipient, sender).map_or([0; 32], Said::id),
            time: clock::unix_now(),
            commitment: [0; 32],
        })
    }

    /// Returns the epoch of this run, `first` or a later one. Who has put an old directory back does not know what he sent
    /// last, so each run counts from its start. By a clock that is behind, that start says nothing: several runs from the same
    /// copy would all begin where it ends. These are told apart by chance.
    fn epoch_after(&self, first: u32) -> u32 {
        if first <= self.epoch {
            return self.epoch;
        }
        let [low, high, ..] = entropy::bytes32();
        first.saturating_add(u16::from_le_bytes([low, high]).into())
    }

    /// Takes in a message from a peer: keeps it for its recipient and, if that is this node, delivers it.
    pub fn put(&self, bytes: &[u8]) -> Verdict {
        let envelope = match Envelope::decode(bytes) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::debug!(%error, "a peer sent an invalid message");
                return Verdict::Reject;
            }
        };
        let now = clock::unix_now();
        let time = envelope.address.time;
        if time.saturating_add(LIFETIME_S) <= now {
            return Verdict::Ignore;
        }
        if time > now.saturating_add(MAX_CLOCK_SKEW_S) {
            return Verdict::Later;
        }
        match self.mailbox_of(&envelope) {
            Ok(Some(mailbox)) => self.keep_and_deliver(mailbox, envelope),
            Ok(None) => {
                self.park(envelope);
                Verdict::Ignore
            }
            Err(_) => Verdict::Ignore,
        }
    }

    /// Takes in what waited for the acceptance of a bid, now that it is there.
    pub fn unpark(&self, trade: TradeId) {
        let ready: VecDeque<Envelope> = {
            let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
            let (ready, rest) = parked.drain(..).partition(|envelope| envelope.address.trade == trade);
            *parked = rest;
            ready
        };
        for envelope in ready {
            let bytes = envelope.encode();
            if self.put(&bytes) == Verdict::Accept {
                drop(self.sent.send(bytes));
            }
        }
    }

    fn park(&self, envelope: Envelope) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if parked.len() >= MAX_PARKED {
            parked.pop_front();
        }
        parked.push_back(envelope);
    }

    /// Returns the mailbox of a message, once its contract is known; an error if it is not between two people of its trade.
    fn mailbox_of(&self, envelope: &Envelope) -> Result<Option<MailboxId>, MailError> {
        let Address { trade, sender, recipient, .. } = envelope.address;
        let bid = self.bid(trade);
        // Who is nobody in a trade can name it as often as he likes: nothing more is read for him.
        if bid.as_ref().is_some_and(|bid| bid.role_of(&sender).is_none() || bid.role_of(&recipient).is_none()) {
            return Err(MailError::Strangers);
        }
        self.contract(trade, bid.as_ref()).map(|contract| envelope.mailbox(&contract)).transpose()
    }

    /// Returns the bid of a trade, as far as the ledger has it.
    fn bid(&self, trade: TradeId) -> Option<Bid> {
        match self.keeper.ledger().bid(trade) {
            Ok((bid, _)) => Some(bid),
            Err(TradeError::Unknown(_) | TradeError::Invalid(..) | TradeError::Bare(_)) => None,
            Err(error) => {
                tracing::error!(%error, "a bid cannot be read");
                None
            }
        }
    }

    /// Returns the contract of a trade: of an own one as it was pinned, whatever a second history has made of it since.
    fn contract(&self, trade: TradeId, bid: Option<&Bid>) -> Option<Contract> {
        let pinned = self.private.pin(&trade).unwrap_or_else(|error| {
            tracing::error!(%error, "the records of a trade cannot be read");
            None
        });
        if let Some(contract) = pinned.filter(|pin| pin.committed).and_then(|pin| pin.contract()) {
            return Some(contract);
        }
        self.keeper.ledger().contract(bid?).unwrap_or_else(|error| {
            tracing::error!(%error, "a contract cannot be read");
            None
        })
    }

    fn keep_and_deliver(&self, mailbox: MailboxId, envelope: Envelope) -> Verdict {
        match self.keep(mailbox, &envelope) {
            Ok(None) if self.is_due_again(&envelope) => Verdict::Accept,
            Ok(Some(arrival)) => {
                self.deliver(mailbox, arrival, envelope);
                Verdict::Accept
            }
            Ok(None) => Verdict::Ignore,
            Err(error) => {
                tracing::error!(%error, "a message cannot be kept; it is asked for again");
                Verdict::Later
            }
        }
    }

    /// Tells whether a message that is kept is to be passed on once more.
    fn is_due_again(&self, envelope: &Envelope) -> bool {
        let mut kept = self.kept();
        kept.passed.get_mut(&hash(&envelope.encode())).is_some_and(|passed| passed.again(clock::unix_now()))
    }

    /// Keeps a message; returns its number in the order of arrival if it is new, and not one too many of its sender.
    fn keep(&self, mailbox: MailboxId, envelope: &Envelope) -> Result<Option<u64>, StoreError> {
        let Address { sender, epoch, seq, .. } = envelope.address;
        let mut kept = self.kept();
        // Of each sender as many as he may send, the first for each place.
        let places = self.private.mail_places(&mailbox, &sender, MAX_ENVELOPES as usize)?; // a u32 fits
        if places.len() >= MAX_ENVELOPES as usize || places.contains(&(epoch, seq)) {
            return Ok(None);
        }
        while kept.arrivals.len() >= MAX_KEPT {
            let Some((arrival, mailbox)) = kept.arrivals.first_key_value().map(|(at, mailbox)| (*at, *mailbox)) else {
                break;
            };
            self.drop_arrival(&mut kept, &mailbox, arrival)?;
            kept.arrivals.remove(&arrival);
        }
        let arrival = kept.last.saturating_add(1);
        let mail = KeptMail { mailbox, arrival, time: envelope.address.time, envelope: envelope.encode() };
        self.private.put_mail(&mail, &sender, (epoch, seq))?;
        kept.last = arrival;
        kept.arrivals.insert(arrival, mailbox);
        let now = clock::unix_now();
        kept.passed.insert(hash(&mail.envelope), Passed { first: now, last: now });
        Ok(Some(arrival))
    }

    fn drop_arrival(&self, kept: &mut Kept, mailbox: &MailboxId, arrival: u64) -> Result<(), StoreError> {
        for mail in self.private.mail(mailbox, arrival.saturating_sub(1), 1)? {
            if let (true, Ok(envelope)) = (mail.arrival == arrival, Envelope::decode(&mail.envelope)) {
                let Address { sender, epoch, seq, .. } = envelope.address;
                self.private.drop_mail(&mail, &sender, (epoch, seq))?;
                kept.passed.remove(&hash(&mail.envelope));
            }
        }
        Ok(())
    }

    /// Hands a message to this node's user, if it is his. Tells whether there was room; it comes again otherwise.
    fn deliver(&self, mailbox: MailboxId, arrival: u64, envelope: Envelope) -> bool {
        let own = self.own();
        let is_own = own.author == Some(envelope.address.recipient) || own.mailboxes.contains(&mailbox);
        let refused = own.deliver.as_ref().filter(|_| is_own).and_then(|deliver| deliver.try_send(envelope).err());
        drop(own);
        if let Some(error) = &refused {
            tracing::warn!(%error, "a message waits");
            self.put_off_after(mailbox, arrival.saturating_sub(1));
        }
        refused.is_none()
    }

    /// Returns messages of a mailbox after a cursor, and the next cursor.
    pub fn fetch(&self, mailbox: &MailboxId, after: u64, max_bytes: usize) -> (Vec<Vec<u8>>, u64) {
        let kept = self.private.mail(mailbox, after, PAGE).unwrap_or_else(|error| {
            tracing::error!(%error, "kept messages cannot be read");
            Vec::new()
        });
        let (mut cursor, mut bytes, mut mail) = (after, 0, Vec::new());
        for message in kept {
            bytes += message.envelope.len();
            if bytes > max_bytes && !mail.is_empty() {
                break;
            }
            cursor = message.arrival;
            mail.push(message.envelope);
        }
        (mail, cursor)
    }

    /// Drops messages whose lifetime is over.
    pub fn expire(&self) {
        let now = clock::unix_now();
        let mail = self.private.all_mail(MAX_KEPT).unwrap_or_else(|error| {
            tracing::error!(%error, "kept messages cannot be read");
            Vec::new()
        });
        let mut kept = self.kept();
        for mail in mail.into_iter().filter(|mail| mail.time.saturating_add(LIFETIME_S) <= now) {
            match self.drop_arrival(&mut kept, &mail.mailbox, mail.arrival) {
                Ok(()) => drop(kept.arrivals.remove(&mail.arrival)),
                Err(error) => tracing::error!(%error, "an old message cannot be dropped"),
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(envelope: &[u8]) -> [u8; 32] {
    Sha256::digest(envelope).into()
}

#[cfg(test)]
mod tests {
    use exchange_ledger::body::Side;
    use exchange_ledger::ledger::Ledger;
    use exchange_ledger::mail::Opening;
    use exchange_ledger::testing::{Author, EPOCH, NETWORK, SampleTrade};
    use exchange_ledger::trade::pins::Pin;
    use exchange_ledger::trade::{Local, Role};
    use exchange_store::{OpenOptions, Store};

    use super::*;

    #[test]
    fn a_message_is_passed_on_again_ever_more_seldom() {
        let mut passed = Passed { first: 1_000_000, last: 1_000_000 };
        let end = passed.first + LIFETIME_S;
        let times: Vec<u64> = (passed.first..end).step_by(60).filter(|now| passed.again(*now)).collect();
        let hours: Vec<u64> = times.iter().map(|time| (time - 1_000_000) / 3600).collect();
        assert_eq!(hours, [1, 2, 4, 8, 16, 32, 64, 128, 256]);
    }

    /// Reads everything that waits for the user, as far as the seq of each message.
    fn heard(inbox: &mut mpsc::Receiver<Envelope>) -> Vec<u32> {
        std::iter::from_fn(|| inbox.try_recv().ok()).map(|envelope| envelope.address.seq).collect()
    }

    /// Seals the first message from one to another in a trade and an epoch.
    fn seal(sender: &Author, recipient: AuthorId, contract: &Contract, epoch: u32) -> (Envelope, Opening) {
        let address = Address {
            version: 1,
            network: NETWORK,
            trade: contract.trade,
            contract: contract.hash(),
            sender: sender.id(),
            recipient,
            epoch,
            seq: 0,
            previous: [0; 32],
            seen: [0; 32],
            time: clock::unix_now(),
            commitment: [0; 32],
        };
        let message = Message::Chat { text: "hello".to_owned() };
        let entropy = Entropy { seal: [1; 32], salt: [2; 32] };
        Envelope::seal(address, contract, &message, entropy, |bytes| sender.sign_bytes(bytes)).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_is_nobody_in_a_trade_takes_no_room_from_who_waits_for_its_contract() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
        let private = Private::new(store.clone());
        let trade = SampleTrade::new(Side::Sell);
        let contract = trade.contract();
        // Everything but the acceptance.
        let later = u64::from(EPOCH) + 3600;
        Ledger::new(store.clone(), NETWORK).admit(&trade.records()[..3], later).unwrap();
        let (keeper, thread) = Keeper::start(store.clone(), NETWORK).unwrap();
        let mailbox = Mailbox::open(keeper, private).unwrap();
        let parked = || mailbox.parked.lock().unwrap().len();

        let stranger = Author::new(9);
        let taker = trade.taker.id();
        assert_eq!(mailbox.put(&seal(&stranger, taker, &contract, 1).0.encode()), Verdict::Ignore);
        assert_eq!(parked(), 0, "its sender is a stranger");
        let between = seal(&trade.maker, taker, &contract, 1).0.encode();
        assert_eq!(mailbox.put(&between), Verdict::Ignore);
        assert_eq!(parked(), 1, "it waits for the acceptance");

        Ledger::new(store, NETWORK).admit(std::slice::from_ref(&trade.accept), later).unwrap();
        mailbox.unpark(trade.id());
        assert_eq!(parked(), 0);
        assert_eq!(mailbox.fetch(&contract.mailbox(&taker), 0, usize::MAX).0, [between]);
        drop(mailbox);
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn runs_from_copies_of_a_directory_write_in_other_epochs_by_a_slow_clock_too() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
        let private = Private::new(store.clone());
        let trade = SampleTrade::new(Side::Sell);
        let (contract, taker) = (trade.contract(), trade.taker.id());
        let (keeper, thread) = Keeper::start(store, NETWORK).unwrap();
        let epoch = |run: &Mailbox| run.next_address(trade.maker.id(), &contract, taker).unwrap().epoch;
        // Nothing of what they would write is kept: each finds what the copy has.
        let run = || Mailbox::open(keeper.clone(), private.clone()).unwrap();
        let epochs = || -> HashSet<u32> { (0..4).map(|_| epoch(&run())).collect() };
        let now = u32::try_from(clock::unix_now()).unwrap();
        assert!(epochs().iter().all(|epoch| (now..now + 60).contains(epoch)), "as the clock says");

        // The last run was a thousand seconds from now.
        let (envelope, opening) = seal(&trade.maker, taker, &contract, now + 1000);
        assert!(private.put_sent(&Said::new(&envelope, &opening), &envelope.encode()).unwrap());
        let epochs = epochs();
        assert!(epochs.iter().all(|epoch| *epoch > now + 1000), "{epochs:?}");
        assert!(epochs.len() > 1, "four runs in one epoch, {epochs:?}, is chance once in 2^48");
        let run = run();
        assert_eq!(epoch(&run), epoch(&run), "a run stays in its epoch");
        drop((run, keeper));
        thread.join().unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_could_not_be_taken_in_comes_again_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
        let private = Private::new(store.clone());
        let (keeper, thread) = Keeper::start(store, NETWORK).unwrap();
        let mut trade = SampleTrade::new(Side::Sell);
        let contract = trade.contract();
        let pin = Pin {
            committed: true,
            offer: trade.offer.clone(),
            take: trade.take.clone(),
            accept: trade.accept.clone(),
            adverts: vec![trade.advert.clone()],
            facts: Vec::new(),
            settled: None,
        };
        private.put_trade(&contract.trade, &Local::default(), Some(&pin)).unwrap();
        let (seller, buyer) = (trade.author(Role::Seller).clone(), trade.author(Role::Buyer).id());
        let mailbox = Mailbox::open(keeper, private).unwrap();
        let _ = mailbox.unlock(buyer);
        // Room for two messages at a time.
        let (deliver, mut inbox) = mpsc::channel(2);
        mailbox.own().deliver = Some(deliver);
        mailbox.open_mailbox(&contract).unwrap();
        let mut last = None;
        for seq in 0..5 {
            let address = Address {
                version: 1,
                network: NETWORK,
                trade: contract.trade,
                contract: contract.hash(),
                sender: seller.id(),
                recipient: buyer,
                epoch: 1,
                seq,
                previous: last.as_ref().map_or([0; 32], Said::id),
                seen: [0; 32],
                time: clock::unix_now(),
                commitment: [0; 32],
            };
            let message = Message::Chat { text: format!("message {seq}") };
            let entropy = Entropy { seal: [1; 32], salt: [2; 32] };
            let sealed = Envelope::seal(address, &contract, &message, entropy, |bytes| seller.sign_bytes(bytes));
            let (envelope, opening) = sealed.unwrap();
            assert_eq!(mailbox.put(&envelope.encode()), Verdict::Accept);
            last = Some(Said::new(&envelope, &opening));
        }
        for expected in [vec![0, 1], vec![2, 3], vec![4], vec![]] {
            assert_eq!(heard(&mut inbox), expected);
            mailbox.deliver_waiting().unwrap();
        }
        mailbox.put_off(contract.mailbox(&buyer));
        for expected in [vec![0, 1], vec![2, 3], vec![4], vec![]] {
            mailbox.deliver_waiting().unwrap();
            assert_eq!(heard(&mut inbox), expected, "from the first on");
        }
        mailbox.put_off(contract.mailbox(&buyer));
        mailbox.close_mailbox(&contract);
        mailbox.deliver_waiting().unwrap();
        assert_eq!(heard(&mut inbox), [0; 0], "the trade is over");
        drop(mailbox);
        thread.join().unwrap();
    }
}
