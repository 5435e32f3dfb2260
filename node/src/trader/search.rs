//! The search of the ledger for what concerns an arbiter in trades of others: agreements that he has to pin, and trades that
//! can be cases of his. It reads every bid that there is, so it runs beside the trader's task, on a thread that may block.
//!
//! It decides nothing. An agreement is handed over as it was read, and the first that is pinned counts; a case is only named,
//! and read anew when its turn comes. What comes in while the search runs the trader hears of as of any other change, since
//! before the search began; so it does not matter on which side of the search it stands. When he may have missed changes, he
//! searches once more after the search that runs.

use std::collections::HashSet;

use exchange_ledger::ids::{AuthorId, TradeId};
use exchange_ledger::ledger::{Ledger, TradeError};
use exchange_ledger::record::Kind;
use exchange_ledger::storage::Storage;
use exchange_ledger::trade::pins::{self, Known};
use exchange_store::StoreError;
use tokio::sync::mpsc;

use super::Tools;
use super::cases::{MAX_AGREED, MAX_WAITING_CASES, parties};
use super::crowd::Crowd;
use crate::private::Private;

/// How many bids are read at once.
const PAGE: usize = 512;
/// How many agreements are handed over at once. The trader writes each to the disk, and nothing else meanwhile.
const AT_ONCE: usize = 16;
/// How many finds wait for the trader; the search waits beyond that.
pub(super) const FINDS: usize = 2;

/// What a search tells the trader.
#[derive(Debug)]
pub(super) enum Found {
    /// Trades that are agreed on and not pinned.
    Agreed(Vec<Known>),
    /// The search is over; these can be cases.
    Over(Crowd),
}

/// Starts a search; that it is over is the last that it tells, however it ends.
pub(super) fn start(tools: &Tools, tell: mpsc::Sender<Found>) {
    let (ledger, private, me) = (tools.keeper.ledger().clone(), tools.private.clone(), tools.identity.author());
    tokio::spawn(async move {
        let telling = tell.clone();
        let searched = tokio::task::spawn_blocking(move || search(&ledger, &private, me, &telling)).await;
        let cases = searched.unwrap_or_else(|error| {
            tracing::error!(%error, "the search for cases broke off; it is done again at the next start");
            Crowd::new(0)
        });
        // A trader that is gone searches anew when it is back.
        let _ = tell.send(Found::Over(cases)).await;
    });
}

/// Searches until the end, or until nobody listens any more; tells the agreements and returns the cases.
fn search<S: Storage>(ledger: &Ledger<S>, private: &Private, me: AuthorId, tell: &mpsc::Sender<Found>) -> Crowd {
    let mut search = Search { ledger, private, me, tell, agreed: Vec::new(), cases: Crowd::new(MAX_WAITING_CASES) };
    if let Err(error) = search.run() {
        tracing::error!(%error, "not all cases can be read; they are searched for again at the next start");
    }
    search.tell_agreed();
    search.cases
}

struct Search<'a, S> {
    ledger: &'a Ledger<S>,
    private: &'a Private,
    me: AuthorId,
    tell: &'a mpsc::Sender<Found>,
    agreed: Vec<Known>,
    cases: Crowd,
}

impl<S: Storage> Search<'_, S> {
    /// Looks at what was pinned, of which the ledger may have lost the bid, and at every bid in the ledger.
    fn run(&mut self) -> Result<(), StoreError> {
        let pinned: Vec<TradeId> = self.private.agreed(MAX_AGREED)?.into_iter().map(|(trade, _)| trade).collect();
        for trade in &pinned {
            if self.tell.is_closed() {
                return Ok(());
            }
            self.look_at(*trade)?;
        }
        let pinned: HashSet<TradeId> = pinned.into_iter().collect();
        let mut after = None;
        loop {
            let page = self.ledger.storage().of_kind(Kind::Take, after.as_ref(), PAGE)?;
            after = page.last().copied();
            for take in &page {
                if self.tell.is_closed() {
                    return Ok(());
                }
                let trade = TradeId::from(take.id);
                match self.ledger.bid(trade) {
                    Ok((bid, _)) if bid.seat_of(&self.me).is_some() && !pinned.contains(&trade) => {
                        self.look_at(trade)?;
                    }
                    Err(TradeError::Storage(error)) => return Err(error.into()),
                    Ok(_) | Err(_) => {} // not his, known, or void
                }
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Looks at a trade in which this identity rules. Those that were funded are kept whole, and driven from the start on.
    fn look_at(&mut self, trade: TradeId) -> Result<(), StoreError> {
        if self.private.trade(&trade)?.is_some() {
            return Ok(());
        }
        let pin = self.private.pin(&trade)?;
        let known = pins::look(self.ledger, trade, pin.as_ref(), &[])?.filter(|known| known.contract.is_some());
        let Some(known) = known else { return Ok(()) };
        if known.facts.disputed() || known.facts.payment_sent {
            self.cases.add(trade, parties(&known.bid));
        }
        if pin.is_none_or(|pin| !pin.committed) {
            self.agreed.push(known);
            if self.agreed.len() >= AT_ONCE {
                self.tell_agreed();
            }
        }
        Ok(())
    }

    fn tell_agreed(&mut self) {
        if !self.agreed.is_empty() {
            // Whoever does not listen any more wants nothing.
            let _ = self.tell.blocking_send(Found::Agreed(std::mem::take(&mut self.agreed)));
        }
    }
}

#[cfg(test)]
mod tests {
    use exchange_ledger::body::{Body, Dispute, PaymentSent, Side};
    use exchange_ledger::record::Record;
    use exchange_ledger::storage::MemoryStorage;
    use exchange_ledger::testing::{Author, SampleTrade, admit_all, ledger};
    use exchange_ledger::trade::{Local, Role};
    use exchange_store::{OpenOptions, Store};

    use super::*;
    use crate::trader::cases::Cases;

    struct Place {
        ledger: Ledger<MemoryStorage>,
        private: Private,
        _directory: tempfile::TempDir,
    }

    impl Place {
        fn new(records: &[Record]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let private = Private::new(Store::open(directory.path(), OpenOptions::default()).unwrap());
            let mut ledger = ledger();
            admit_all(&mut ledger, records);
            Self { ledger, private, _directory: directory }
        }

        /// Returns what is found for an identity: agreements that are not pinned, and cases.
        fn search(&self, me: AuthorId) -> (Vec<Known>, Vec<TradeId>) {
            let (tell, mut told) = mpsc::channel(FINDS);
            let cases = search(&self.ledger, &self.private, me, &tell);
            drop(tell);
            let mut agreed = Vec::new();
            while let Some(found) = told.blocking_recv() {
                match found {
                    Found::Agreed(page) => agreed.extend(page),
                    Found::Over(_) => panic!("whoever started it says that"),
                }
            }
            (agreed, cases.into_all().into_iter().map(|(trade, _)| trade).collect())
        }
    }

    #[test]
    fn an_arbiter_finds_what_he_has_to_pin_and_what_can_be_a_case() {
        let mut trade = SampleTrade::new(Side::Sell);
        let (id, arbiter) = (trade.id(), trade.arbiter.id());
        let agreed = trade.records();
        let place = Place::new(&agreed[..3]);
        assert!(place.search(arbiter).0.is_empty(), "a bid that nobody accepted is nothing to keep");

        let place = Place::new(&agreed);
        let (mut found, cases) = place.search(arbiter);
        assert_eq!((found.len(), cases), (1, vec![]), "nobody has paid");
        assert_eq!((found[0].bid.trade, &found[0].contract), (id, &Some(trade.contract())));
        assert_eq!(place.search(trade.taker.id()).0.len(), 0, "he is a party, and no arbiter");
        // What is handed over can be pinned as it is, and is not found once more.
        Cases::default().pin(&place.private, &mut found[0]).unwrap();
        assert!(place.search(arbiter).0.is_empty());

        let said = [
            trade.author(Role::Buyer).write(&Body::PaymentSent(PaymentSent { trade: id })),
            trade.author(Role::Seller).write(&Body::Dispute(Dispute { trade: id })),
        ];
        for record in said {
            let place = Place::new(&[agreed.clone(), vec![record]].concat());
            let (found, cases) = place.search(arbiter);
            assert_eq!((found.len(), cases), (1, vec![id]));
            place.private.put_trade(&id, &Local::default(), None).unwrap();
            let (found, cases) = place.search(arbiter);
            assert_eq!((found.len(), cases), (0, vec![]), "what was funded is driven already");
        }
    }

    #[test]
    fn what_a_stranger_says_makes_no_case() {
        let trade = SampleTrade::new(Side::Sell);
        let mut stranger = Author::new(42);
        let said = stranger.write(&Body::Dispute(Dispute { trade: trade.id() }));
        let place = Place::new(&[trade.records(), vec![said]].concat());
        assert_eq!(place.search(trade.arbiter.id()).1, []);
    }

    #[test]
    fn a_pinned_case_is_found_though_the_ledger_has_lost_its_bid() {
        let mut trade = SampleTrade::new(Side::Sell);
        let (id, arbiter) = (trade.id(), trade.arbiter.id());
        let mut known = Place::new(&trade.records()).search(arbiter).0.remove(0);
        // Of all that was agreed on only what a party said later is there.
        let dispute = trade.author(Role::Buyer).write(&Body::Dispute(Dispute { trade: id }));
        let later = Place::new(&[trade.take.clone(), dispute]);
        Cases::default().pin(&later.private, &mut known).unwrap();
        assert!(later.ledger.bid(id).is_err());
        assert_eq!(later.search(arbiter).1, [id]);
    }

    #[test]
    fn a_search_ends_when_nobody_listens() {
        let trade = SampleTrade::new(Side::Sell);
        let place = Place::new(&trade.records());
        let (tell, told) = mpsc::channel(FINDS);
        drop(told);
        let mut search = Search {
            ledger: &place.ledger,
            private: &place.private,
            me: trade.arbiter.id(),
            tell: &tell,
            agreed: Vec::new(),
            cases: Crowd::new(1),
        };
        search.run().unwrap();
        assert!(search.agreed.is_empty(), "it has looked at nothing");
    }
}
