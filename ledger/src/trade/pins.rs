//! The records on which an own trade rests, kept privately beside the ledger.
//!
//! The public ledger keeps of an author who signed two histories only so much: the records of a counterparty who forks
//! his log can vanish from it, the agreement among them. A trade in which this node has a part is therefore evaluated
//! by what was pinned as soon as it holds money: from then on its contract never changes, and no fact that was seen is
//! lost. What an arbiter may have to decide about is, from the agreement on.

use std::cell::LazyCell;
use std::ops::Deref;

use crate::body::{Body, Coin, HalfSpend, Vaults};
use crate::ids::TradeId;
use crate::ledger::{Ledger, TradeError};
use crate::record::Record;
use crate::storage::{Storage, StorageError};
use crate::trade::facts::half_in;
use crate::trade::{Bid, ChainFacts, Contract, Escrow, Event, Facts, Funding, Role, Spend, View};
use bitcoin::consensus::{deserialize, serialize};
use borsh::{BorshDeserialize, BorshSerialize};

/// How deep the end of a trade is buried when the chain is asked about it no more: as deep as a mined coin must be before
/// anybody may spend it, plus a day's margin.
pub const SETTLED_DEPTH: u32 = 100 + 144;

/// The records on which a trade rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Whether the contract stays: for a party once the trade holds money, or this side's wallet is asked to set coins aside for
    /// its funding; for an arbiter, who does not look for that before somebody has paid, as soon as he saw the agreement.
    pub committed: bool,
    /// The offer.
    pub offer: Record,
    /// The bid.
    pub take: Record,
    /// Its acceptance.
    pub accept: Record,
    /// The adverts of its arbiters.
    pub adverts: Vec<Record>,
    /// What its parties and arbiters signed about it, in the order in which this node saw it: what counts, and so no more than
    /// counts (see `MAX_NAMED`), and of what is signed for outputs that no block shows only some (see `MAX_HALVES` and
    /// `MAX_RULED`).
    pub facts: Vec<Record>,
    /// What the chain showed at the end, once that is buried.
    pub settled: Option<Settled>,
}

/// The end of a trade on the chain, in Bitcoin's encoding: so that a trade that has ended is shown as it was at once when the
/// node starts, and one that is over for good is not looked for again, from the oldest on.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Settled {
    /// The height at which it was kept, or a lower one: the row says by this height alone whether the end is for good (see
    /// [`Self::is_for_good`]).
    tip: u32,
    vaults: Vaults,
    funding_height: u32,
    spend: Vec<u8>,
    spend_height: u32,
}

impl Settled {
    /// Returns the end of a trade, if everything that it held is spent and buried. A bond that its buyer took back alone is no
    /// part of what ended it. While this side has [strays](crate::trade::Trade::strays), no end is for good: the node goes on to
    /// look for them.
    pub fn of(view: &View, has_strays: bool) -> Option<Self> {
        let (funding, vaults, spend) = (view.funding()?, view.vaults()?, view.spend()?);
        let (funding_height, spend_height) = (funding.height?, spend.height?);
        let depth_of = |coin: Coin| view.spend_of(&coin.outpoint.0).map_or(0, |spend| view.depth(spend.height));
        // All that was spent counts: the spend of a bond may be younger.
        let depth = funding.vaults.coins().map(depth_of).min()?;
        let is_for_good = depth >= SETTLED_DEPTH && !has_strays;
        let tip = if is_for_good { view.chain.tip } else { view.chain.tip.min(last_open(spend_height)) };
        let (is_buried, spend) = (depth >= view.contract.as_ref()?.confirmations, serialize(&spend.tx));
        (view.chain.synced && is_buried).then_some(Self { tip, vaults, funding_height, spend, spend_height })
    }

    /// Returns what is to be kept of the end of a trade after what was: while nothing but the tip has changed, the same, so that
    /// nothing is written at each block; and nothing if a reorg has undone it.
    pub fn after(kept: Option<Self>, view: &View, has_strays: bool) -> Option<Self> {
        if !view.chain.synced || (kept.as_ref().is_some_and(Self::is_for_good) && !has_strays) {
            return kept;
        }
        let now = Self::of(view, has_strays)?;
        let is_same =
            |kept: &Self| kept.is_for_good() == now.is_for_good() && Self { tip: now.tip, ..kept.clone() } == now;
        Some(kept.filter(is_same).unwrap_or(now))
    }

    /// Tells whether nothing can change it any more, so deep was everything buried when it was kept.
    pub const fn is_for_good(&self) -> bool {
        self.tip > last_open(self.spend_height)
    }

    /// Returns what the chain showed of it, not synced if blocks could undo it then; nothing if a bond still lay there.
    pub fn chain(&self, escrow: &Escrow) -> Option<ChainFacts> {
        let tx = deserialize(&self.spend).ok()?;
        let path = escrow.classify(&tx, &self.vaults);
        let spend = Spend { tx, path, height: Some(self.spend_height) };
        let fundings = vec![Funding::new(self.vaults, Some(self.funding_height))];
        let is_over = self.vaults.coins().all(|coin| spend.spends(&coin.outpoint.0));
        let synced = self.is_for_good();
        is_over.then(|| ChainFacts { tip: self.tip, synced, fundings, spends: vec![spend], ..ChainFacts::default() })
    }
}

/// Returns the last tip at which an end whose spend is at this height is not for good.
const fn last_open(spend_height: u32) -> u32 {
    spend_height.saturating_add(SETTLED_DEPTH - 2)
}

/// What this node knows of one of its trades.
#[derive(Debug)]
pub struct Known {
    /// The bid with its offer.
    pub bid: Bid,
    /// The contract, once accepted.
    pub contract: Option<Contract>,
    /// What the parties signed.
    pub facts: Facts,
    /// When the bid was made, by the taker's clock.
    pub created: u64,
    /// What is to be pinned of it.
    pub pin: Option<Pin>,
}

impl Known {
    /// Returns what the chain showed of its end when that was kept, if it has ended; not synced if blocks could undo it then.
    pub fn kept_end(&self) -> Option<ChainFacts> {
        let settled = self.pin.as_ref()?.settled.as_ref()?;
        settled.chain(&Escrow::new(self.contract.as_ref()?))
    }

    /// Returns what the chain showed of its end, if it is over for good.
    pub fn end(&self) -> Option<ChainFacts> {
        self.kept_end().filter(|chain| chain.synced)
    }

    /// Returns what the trade's machine hears of it.
    pub fn event(self) -> Event {
        Event::Records { contract: self.contract, facts: self.facts }
    }
}

/// Looks at an own trade: by the ledger, and once the contract stays by what was pinned, to which the ledger only adds.
/// Returns nothing when neither knows it. What the chain shows of its `fundings` tells what is worth a pin: so it is looked at
/// again when that changes.
///
/// # Errors
/// When the store fails.
pub fn look<S: Storage>(
    ledger: &Ledger<S>,
    id: TradeId,
    pin: Option<&Pin>,
    fundings: &[Funding],
) -> Result<Option<Known>, StorageError> {
    let shown = match ledger.trade(id) {
        Ok(shown) => Some(shown),
        Err(TradeError::Storage(error)) => return Err(error),
        // Unknown, or void by what the ledger has left of it.
        Err(_) => None,
    };
    let own = pin.and_then(|pin| Some((pin, pin.bid()?, pin.contract()?)));
    match (shown, own) {
        (None, None) => Ok(None),
        (Some(shown), own) if own.as_ref().is_none_or(|(pin, ..)| !pin.committed) => {
            let pinned = match &shown.contract {
                Some(contract) => Pin::gather(ledger, &shown.bid, contract, pin, fundings)?,
                None => None,
            };
            let (bid, contract, facts, created) = (shown.bid, shown.contract, shown.facts, shown.created);
            Ok(Some(Known { bid, contract, facts, created, pin: pinned.or_else(|| pin.cloned()) }))
        }
        (shown, Some((pin, bid, contract))) => {
            let mut pin = pin.clone();
            let records = ledger.facts_about(id, bid.home_logs())?;
            let escrow = LazyCell::new(|| Some(Escrow::new(&contract)));
            let facts = pin.add(&bid, &escrow, &records, fundings);
            // Void if the ledger says so: that ends a trade whose funding is nowhere, and no other.
            let void = shown.is_none_or(|shown| shown.facts.void || shown.contract.as_ref() != Some(&contract));
            let facts = Facts { void, forked: ledger.forked_of(&bid)?, ..facts };
            let created = pin.take.header().time;
            Ok(Some(Known { bid, contract: Some(contract), facts, created, pin: Some(pin) }))
        }
        (Some(_), None) => unreachable!("without a pin the ledger decides"),
    }
}

impl Pin {
    /// Returns what the ledger has of an agreed trade; facts that were pinned before stay, if the contract is the same.
    fn gather<S: Storage>(
        ledger: &Ledger<S>,
        bid: &Bid,
        contract: &Contract,
        earlier: Option<&Self>,
        fundings: &[Funding],
    ) -> Result<Option<Self>, StorageError> {
        let record = |id| ledger.record(&id);
        let found = (record(bid.offer_id)?, record(bid.trade.into())?, record(contract.accept)?);
        let (Some(offer), Some(take), Some(accept)) = found else { return Ok(None) };
        let mut adverts = Vec::new();
        for arbiter in std::iter::once(&bid.arbiter).chain(&bid.second_arbiter) {
            let Some(advert) = record(arbiter.advert)? else { return Ok(None) };
            adverts.push(advert);
        }
        let earlier = earlier.filter(|pin| pin.accept.id() == accept.id()).map(|pin| pin.facts.clone());
        let facts = earlier.unwrap_or_default();
        let mut pin = Self { committed: false, offer, take, accept, adverts, facts, settled: None };
        // Few trades have a half of a spend, and only those need it.
        let escrow = LazyCell::new(|| Some(Escrow::new(contract)));
        pin.add(bid, &escrow, &ledger.facts_about(bid.trade, bid.home_logs())?, fundings);
        Ok(Some(pin))
    }

    /// Pins more of what was said, and returns what all of it comes to. Whatever counts is pinned, and what was pinned first
    /// stays. Nothing else is: who could fill a pin with what does not count, or with what he signs for outputs that he made
    /// up, could take back by a second history what he says after it.
    fn add(
        &mut self,
        bid: &Bid,
        escrow: &impl Deref<Target = Option<Escrow>>,
        records: &[Record],
        fundings: &[Funding],
    ) -> Facts {
        let (facts, new) = Facts::gather_new(bid, escrow, &self.facts, records, fundings);
        self.facts.extend(new.into_iter().cloned());
        facts
    }

    /// Pins the half in a record that another member of this arbiter's group shows: what one of them has seen binds all. Only one
    /// of outputs that a block shows, for of those there is room for all. Tells whether it is new.
    pub fn add_shown(&mut self, record: &Record, fundings: &[Funding]) -> bool {
        let (Some(bid), Some(contract)) = (self.bid(), self.contract()) else { return false };
        let Some((to, half)) = half_in(record, &bid) else { return false };
        let is_of_these = fundings.iter().any(|funding| funding.shows(&half.vaults));
        if !is_of_these || record.header().network != contract.network || record.verify().is_err() {
            return false;
        }
        let escrow = Escrow::new(&contract);
        if escrow.check_half(&half, to).is_err() {
            return false;
        }
        let known = self.facts.len();
        self.add(&bid, &&Some(escrow), std::slice::from_ref(record), fundings);
        self.facts.len() > known
    }

    /// Returns the record that says a half, with whom it pays.
    pub fn record_of(&self, half: &(Role, HalfSpend)) -> Option<&Record> {
        let bid = self.bid()?;
        self.facts.iter().find(|record| half_in(record, &bid).as_ref() == Some(half))
    }

    fn bid(&self) -> Option<Bid> {
        Bid::new(&self.offer, &self.take, &self.adverts.iter().collect::<Vec<_>>()).ok()
    }

    /// Returns the contract that the records make.
    pub fn contract(&self) -> Option<Contract> {
        self.bid()?.accepted(&self.accept).ok()
    }

    /// Returns the records as they are kept: those of the agreement, the adverts in the order in which the bid names them,
    /// then the facts.
    pub fn encode(&self) -> Vec<Vec<u8>> {
        let agreement = [&self.offer, &self.take, &self.accept];
        agreement.into_iter().chain(&self.adverts).chain(&self.facts).map(Record::encode).collect()
    }

    /// Reads what [`Self::encode`] wrote; `None` if it is anything else.
    pub fn decode(committed: bool, records: &[Vec<u8>], settled: Option<Settled>) -> Option<Self> {
        let mut records = records.iter().map(|bytes| Record::decode(bytes).ok());
        let mut next = || records.next().flatten();
        let (offer, take, accept) = (next()?, next()?, next()?);
        let Ok(Body::Take(bid)) = Body::decode(&take) else { return None };
        let adverts = (0..1 + usize::from(bid.second_arbiter.is_some())).map(|_| next()).collect::<Option<Vec<_>>>()?;
        let facts = records.collect::<Option<Vec<_>>>()?;
        Some(Self { committed, offer, take, accept, adverts, facts, settled })
    }
}

#[cfg(test)]
mod tests;
