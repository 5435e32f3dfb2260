//! Sealed messages between parties of trades: the own ones under way, and those kept for others.
//!
//! A relay keeps a message only when the ledger shows a contract between its sender and its recipient. So a contract is
//! the price of storage, and the bounds hold for each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use exchange_ledger::body::Body;
use exchange_ledger::ids::{MailboxId, TradeId};
use exchange_ledger::ledger::{MAX_CLOCK_SKEW_S, TradeError};
use exchange_ledger::mail::{Address, Envelope, LIFETIME_S, MailError};
use exchange_ledger::trade::{Bid, Contract};
use exchange_store::StoreError;
use tokio::sync::broadcast;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock::{self, SureTime};
use crate::keeper::{Change, Keeper};
use crate::net::Verdict;
use crate::private::Private;

mod kept;
mod outbox;
mod own;
mod parked;

use kept::Kept;
use outbox::SENT_BACKLOG;
pub use outbox::SendError;
use own::Own;
use parked::{Parked, Wait};

/// How many messages are read, returned or dropped at once: a megabyte at most.
const PAGE: usize = 64;

/// Where a message goes.
enum Way {
    /// Into a mailbox.
    Into(MailboxId),
    /// Nowhere until its contract is known.
    Waits(Wait),
}

/// A handle to the mail. Cheap to clone.
#[derive(Clone)]
pub struct Mailbox {
    keeper: Keeper,
    private: Private,
    kept: Arc<Mutex<Kept>>,
    parked: Arc<Mutex<Parked>>,
    own: Arc<Mutex<Own>>,
    /// The epoch of what is sent until the node stops, unless a later one is known: see [`Address::epoch`].
    epoch: u32,
    /// By when a message's lifetime is over.
    sure: SureTime,
    sent: broadcast::Sender<Vec<u8>>,
}

impl Mailbox {
    /// Opens the mail.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open(keeper: Keeper, private: Private, sure: SureTime) -> Result<Self, StoreError> {
        Ok(Self {
            kept: Arc::new(Mutex::new(Kept::read(&private)?)),
            keeper,
            private,
            parked: Arc::default(),
            own: Arc::default(),
            epoch: u32::try_from(clock::unix_now()).unwrap_or(u32::MAX),
            sure,
            sent: broadcast::channel(SENT_BACKLOG).0,
        })
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
        let time = envelope.address.time;
        // By a clock that is ahead it would be refused, and nobody would ask for it again.
        if time.saturating_add(LIFETIME_S) <= self.sure.now() {
            return Verdict::Ignore;
        }
        if time > clock::unix_now().saturating_add(MAX_CLOCK_SKEW_S) {
            return Verdict::Later;
        }
        match self.way_of(&envelope) {
            Ok(Way::Into(mailbox)) => self.keep_and_deliver(mailbox, envelope),
            Ok(Way::Waits(wait)) => self.wait(wait, envelope),
            Err(_) => Verdict::Ignore,
        }
    }

    /// Lets a message wait. Its contract may have come, and been told, since the ledger was looked at: so it is looked again.
    fn wait(&self, wait: Wait, envelope: Envelope) -> Verdict {
        self.parked().park(wait, envelope.clone());
        let Ok(Way::Into(mailbox)) = self.way_of(&envelope) else { return Verdict::Ignore };
        let mut others = self.parked().take(&envelope.address.trade);
        others.retain(|other| *other != envelope);
        self.take_in(others);
        self.keep_and_deliver(mailbox, envelope)
    }

    /// Takes in what waited for the acceptance of a bid, now that it is there.
    pub fn unpark(&self, trade: TradeId) {
        let ready = self.parked().take(&trade);
        self.take_in(ready);
    }

    /// Does so for every trade whose contract is there: an acceptance may not have been told, and the bid, its offer or an advert
    /// may have come after it. What waited for its bid too, and that is there, waits among what strangers cannot make up. All
    /// else keeps its place.
    pub fn unpark_all(&self) {
        let trades = self.parked().trades();
        for (trade, wait) in trades {
            let bid = self.bid(trade);
            let has_its_bid = wait == Wait::Bid && bid.is_some();
            if has_its_bid || self.contract(trade, bid.as_ref()).is_some() {
                self.unpark(trade);
            }
        }
    }

    /// Takes in what waits as its contracts come, until `stop` is cancelled: at each acceptance that is told, and besides `every` so
    /// often, for what an acceptance rests on may come after it, from another log, and of that nobody tells.
    pub async fn unpark_in_time(
        &self,
        mut changes: broadcast::Receiver<Change>,
        every: Duration,
        stop: &CancellationToken,
    ) {
        let mut look = tokio::time::interval(every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                change = changes.recv() => match change {
                    Ok(change) => if let Body::Accept(accept) = change.body.as_ref() {
                        let (mailbox, trade) = (self.clone(), accept.trade);
                        // It checks signatures and writes: off the async threads.
                        let _ = tokio::task::spawn_blocking(move || mailbox.unpark(trade)).await;
                    },
                    // An acceptance may be among what was missed.
                    Err(broadcast::error::RecvError::Lagged(_)) => look.reset_immediately(),
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                _ = look.tick() => {
                    let mailbox = self.clone();
                    // Off the async threads, like the other.
                    let _ = tokio::task::spawn_blocking(move || mailbox.unpark_all()).await;
                }
            }
        }
    }

    fn take_in(&self, ready: Vec<Envelope>) {
        for envelope in ready {
            let bytes = envelope.encode();
            if self.put(&bytes) == Verdict::Accept {
                drop(self.sent.send(bytes));
            }
        }
    }

    fn parked(&self) -> MutexGuard<'_, Parked> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns where a message goes; an error if it is not between two people of its trade.
    fn way_of(&self, envelope: &Envelope) -> Result<Way, MailError> {
        let Address { trade, sender, recipient, .. } = envelope.address;
        let bid = self.bid(trade);
        // Who is nobody in a trade can name it as often as he likes: nothing more is read for him.
        if bid.as_ref().is_some_and(|bid| bid.role_of(&sender).is_none() || bid.role_of(&recipient).is_none()) {
            return Err(MailError::Strangers);
        }
        match self.contract(trade, bid.as_ref()) {
            Some(contract) => envelope.mailbox(&contract).map(Way::Into),
            None if bid.is_some() => Ok(Way::Waits(Wait::Acceptance)),
            None => Ok(Way::Waits(Wait::Bid)),
        }
    }

    /// Returns the bid of a trade, as far as the ledger has it.
    fn bid(&self, trade: TradeId) -> Option<Bid> {
        match self.keeper.ledger().bid(trade) {
            Ok((bid, _)) => Some(bid),
            Err(TradeError::Unknown(_) | TradeError::Invalid(..) | TradeError::Bare(_)) => None,
            Err(TradeError::Storage(error)) => {
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
}

#[cfg(test)]
mod tests;
