//! What a node forgets and asks for again. Which bodies may go, the ledger says (`exchange_ledger::retention`); when they go
//! and whom a node asks for those that it misses is what `exchange-node` decides in `retention.rs` and `net/peers.rs`.

use std::collections::BTreeSet;

use exchange_ledger::body::Body;
use exchange_ledger::ids::TradeId;
use exchange_ledger::record::{Kind, Record};
use exchange_ledger::retention::{MIN_DAYS, Mine, Retention};
use exchange_ledger::storage::{Aged, Storage, StorageError};
use exchange_ledger::sync::WantedBodies;

use crate::agenda::Millis;
use crate::flaw::Flaw;
use crate::node::{Mind, Node};
use crate::rng::Rng;
use crate::shared::Shared;

/// When months may pass: once in the midst of trouble, once when everything works again.
pub const SEASON_AT_MS: [(Millis, Millis); 2] = [(100_000, 300_000), (650_000, 660_000)];
/// How often a node looks for what has become old, and how long it asks a peer for no more bodies who had none, or gave all:
/// as in the node.
pub const INTERVAL_S: u64 = 3600;
/// How many old records are looked at in one step.
const PAGE: usize = 256;
/// More records than any world has.
const ALL: usize = 65_536;
const DAY_S: u64 = 24 * 3600;

/// Returns for how long somebody keeps bodies: half of all keep them for ever, others as short as they may, or some days
/// longer.
pub fn some_retention(rng: &mut Rng) -> Retention {
    let shortest = Retention::Days(MIN_DAYS);
    *rng.pick(&[Retention::Full, Retention::Full, shortest, Retention::Days(MIN_DAYS + 15)]).unwrap_or(&shortest)
}

/// Returns what a node says about that. Attackers say anything.
pub fn announced(node: &Node, rng: &mut Rng) -> Retention {
    if node.honest { node.retention } else { some_retention(rng) }
}

/// Returns how much time passes when months do, in seconds: enough for who forgets soonest, or for everybody who forgets.
pub const fn some_season(rng: &mut Rng) -> u64 {
    rng.between(MIN_DAYS as u64 + 1, MIN_DAYS as u64 + 30) * DAY_S
}

impl Mind {
    /// A session has asked a peer for bodies, up to `after` or to the end, and brought some or none.
    pub fn bodies_sought(&mut self, peer: usize, after: Option<Aged>, fruitful: bool, now_s: u64) {
        let is_done = after.is_none() || !fruitful;
        self.sought.insert(peer, (after, if is_done { now_s + INTERVAL_S } else { now_s }));
    }
}

impl Node {
    /// Drops the bodies of old records that nothing needs, at the start and every hour, once it has compared with somebody.
    pub fn forget(&mut self, shared: &mut Shared) {
        let Some(mind) = self.mind.as_mut().filter(|mind| mind.compared) else { return };
        if shared.seconds() < mind.drops_at_s {
            return;
        }
        mind.drops_at_s = shared.seconds() + INTERVAL_S;
        let before = self.retention.since(self.sure(shared));
        let agreed = self.agreed();
        // What fails here is tried again in an hour.
        let gone = self.drop_bodies(before, shared.flaw).unwrap_or_default();
        if gone > 0 {
            shared.trace.note(shared.agenda.now(), self.number, "forgets", &gone.to_le_bytes());
            shared.checks.forgot(self, gone, &agreed);
        }
    }

    /// Drops the bodies of a time before `before` that nothing needs. Returns how many they were.
    fn drop_bodies(&mut self, before: u64, flaw: Option<Flaw>) -> Result<usize, StorageError> {
        let own = self.own()?;
        let (mut count, mut after) = (0, None);
        loop {
            let page = self.ledger.storage().droppable(before, after.as_ref(), PAGE)?;
            let mut look = self.ledger.look_for_droppable(before, after.as_ref(), PAGE, &own)?;
            if flaw == Some(Flaw::ForgetsAgreements) {
                look.gone = page.iter().map(|aged| aged.place.id).collect();
            }
            if !look.gone.is_empty() {
                self.ledger.drop_bodies(&look.gone)?;
            }
            (count, after) = (count + look.gone.len(), look.next);
            if after.is_none() {
                return Ok(count);
            }
        }
    }

    fn own(&self) -> Result<Mine, StorageError> {
        let trades: Vec<TradeId> = self.disk.private().locals.keys().copied().collect();
        Mine::of(self.ledger.storage(), [self.person.author].into(), trades)
    }

    /// Returns how many bodies this node could do without, by what it says how long it keeps them, if this were the time.
    pub fn droppable(&self, now: u64) -> usize {
        let look = |own| self.ledger.look_for_droppable(self.retention.since(now), None, ALL, &own);
        self.own().and_then(look).map_or(0, |look| look.gone.len())
    }

    /// Returns the trades on which, as this node can tell, somebody agreed.
    pub fn agreed(&self) -> BTreeSet<TradeId> {
        let accepts = self.ledger.storage().of_kind(Kind::Accept, None, ALL).unwrap_or_default();
        let records = accepts.iter().filter_map(|place| self.ledger.record(&place.id).ok().flatten());
        let trades = records.filter_map(|record| match record.decoded().map(|body| &**body) {
            Ok(Body::Accept(accept)) => Some(accept.trade),
            Ok(_) | Err(_) => None,
        });
        let is_agreed = |trade: &TradeId| self.ledger.trade(*trade).is_ok_and(|known| known.contract.is_some());
        trades.filter(is_agreed).collect()
    }

    /// Returns which bodies a peer can be asked for now: those that both keep, as he says, and what was agreed on.
    pub fn wish_for_bodies(&self, peer: usize, shared: &Shared) -> Option<WantedBodies> {
        let (after, not_before) = self.mind.as_ref()?.sought.get(&peer).copied().unwrap_or_default();
        let now = self.now(shared);
        let since = self.retention.since(now).max(shared.retentions.get(peer)?.since(now));
        (not_before <= shared.seconds()).then_some(WantedBodies { since, after })
    }

    /// Keeps records that are here without their bodies with them. Returns how many of these there were.
    pub fn keep_bodies(&mut self, records: &[Record], shared: &mut Shared) -> usize {
        let kept = self.ledger.keep_bodies(records).unwrap_or_default();
        shared.checks.remembered(self.number, &kept);
        for record in &kept {
            if let (Ok(Body::Offer(offer)), Some(mind)) = (record.decoded().map(|body| &**body), self.mind.as_mut())
                && let Err(error) = mind.book.restore(&self.ledger, record, offer)
            {
                shared.checks.fail(format!("node {} cannot update its book: {error}", self.number));
            }
            // A trade of this node's may have waited for one of them.
            let affected = record.decoded().map(|body| self.affected_by(record, body)).unwrap_or_default();
            for trade in affected {
                self.refresh(trade, shared);
            }
        }
        kept.len()
    }
}
