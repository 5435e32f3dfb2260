//! Trades: what exists nowhere else, the records on which they rest, and where money goes.

use borsh::{BorshDeserialize, BorshSerialize};
use exchange_ledger::ids::{AuthorId, TradeId};
use exchange_ledger::storage::StorageError;
use exchange_ledger::trade::Local;
use exchange_ledger::trade::pins::{Pin, Settled};
use exchange_store::{Changes, Namespace, StoreError, Table, Versioned};

use super::Private;

/// A trade: what exists nowhere else.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
struct TradeRow {
    local: Local,
}

impl Versioned for TradeRow {
    const VERSION: u8 = 3;

    fn from_earlier(version: u8, bytes: &[u8]) -> Option<Self> {
        match version {
            1 => {
                let TradeRowV1 { details, their_details, funding_tx, spend_tx } = borsh::from_slice(bytes).ok()?;
                Some(Self { local: Local { details, their_details, funding_tx, spend_tx, ..Local::default() } })
            }
            2 => {
                let TradeRowV2 { earlier, rounds } = borsh::from_slice(bytes).ok()?;
                let TradeRowV1 { details, their_details, funding_tx, spend_tx } = earlier;
                Some(Self { local: Local { details, their_details, funding_tx, spend_tx, rounds, ..Local::default() } })
            }
            _ => None,
        }
    }
}

/// A trade as it was kept before two wallets funded one: what was kept before, and how often a payout by the key of both was
/// asked for.
#[derive(BorshSerialize, BorshDeserialize)]
struct TradeRowV2 {
    earlier: TradeRowV1,
    rounds: u8,
}

/// A trade as it was kept before payouts went by the key of both.
#[derive(BorshSerialize, BorshDeserialize)]
struct TradeRowV1 {
    details: Option<([u8; 32], String)>,
    their_details: Option<String>,
    funding_tx: Option<Vec<u8>>,
    spend_tx: Option<Vec<u8>>,
}

rows! {
    /// The records on which a trade rests, in the order of `Pin::encode`, whether it holds money, and its end.
    PinRow { committed: bool, records: Vec<Vec<u8>>, settled: Option<Settled>, }
    /// Who made and who took the offer of a trade in which this identity rules, and when the agreement was pinned.
    AgreedRow { time: u64, parties: [AuthorId; 2], }
    /// Payment details and the salt of their commitment.
    DetailsRow { salt: [u8; 32], details: String, }
    /// Payment details that an own offer hands out.
    OfferDetailsRow { details: String, }
}

const TRADES: Table<TradeId, TradeRow> = Table::new(Namespace::Trades);
const PINS: Table<TradeId, PinRow> = Table::new(Namespace::Pins);
const AGREED: Table<TradeId, AgreedRow> = Table::new(Namespace::Agreed);
const DETAILS: Table<[u8; 32], DetailsRow> = Table::new(Namespace::Details);
const OFFER_DETAILS: Table<[u8; 32], OfferDetailsRow> = Table::new(Namespace::OfferDetails);

impl Private {
    /// Returns the trades of which this node knows more than the ledger does, at most `limit`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn trades(&self, limit: usize) -> Result<Vec<TradeId>, StoreError> {
        let rows: Vec<(TradeId, TradeRow)> = self.store.private().scan(&TRADES, .., limit)?;
        Ok(rows.into_iter().map(|(trade, _)| trade).collect())
    }

    /// Returns what is known of a trade.
    ///
    /// # Errors
    /// When the store fails.
    pub fn trade(&self, trade: &TradeId) -> Result<Option<Local>, StoreError> {
        Ok(self.store.private().get(&TRADES, trade)?.map(|row| row.local))
    }

    /// Returns the records on which a trade rests, as they were pinned.
    ///
    /// # Errors
    /// When the store fails, or what it holds is damaged.
    pub fn pin(&self, trade: &TradeId) -> Result<Option<Pin>, StoreError> {
        let Some(row) = self.store.private().get(&PINS, trade)? else { return Ok(None) };
        let damaged = || StorageError::Damaged(format!("the records kept of trade {trade} cannot be read"));
        Ok(Some(Pin::decode(row.committed, &row.records, row.settled).ok_or_else(damaged)?))
    }

    /// Keeps what is known of a trade durably, and the records on which it rests: both or nothing.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn put_trade(&self, trade: &TradeId, local: &Local, pin: Option<&Pin>) -> Result<(), StoreError> {
        let mut changes = Changes::new().put(&TRADES, trade, &TradeRow { local: local.clone() });
        if let Some(pin) = pin {
            let row = PinRow { committed: pin.committed, records: pin.encode(), settled: pin.settled.clone() };
            changes = changes.put(&PINS, trade, &row);
        }
        self.store.private().write(changes).map(drop)
    }

    /// Returns the trades in which this identity rules and whose agreement is pinned, with who made the offer and who
    /// took it, in the order in which they came; at most `limit`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn agreed(&self, limit: usize) -> Result<Vec<(TradeId, [AuthorId; 2])>, StoreError> {
        let mut rows: Vec<(TradeId, AgreedRow)> = self.store.private().scan(&AGREED, .., limit)?;
        rows.sort_by_key(|(_, row)| row.time);
        Ok(rows.into_iter().map(|(trade, row)| (trade, row.parties)).collect())
    }

    /// Pins the agreement of a trade in which this identity rules, and lets that of another go: of one of which more is
    /// kept, by [`Self::put_trade`], only the place in the list.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn put_agreed(
        &self,
        trade: &TradeId,
        parties: [AuthorId; 2],
        pin: &Pin,
        now: u64,
        gone: Option<&TradeId>,
    ) -> Result<(), StoreError> {
        let pinned = PinRow { committed: pin.committed, records: pin.encode(), settled: pin.settled.clone() };
        let mut changes =
            Changes::new().put(&AGREED, trade, &AgreedRow { time: now, parties }).put(&PINS, trade, &pinned);
        if let Some(gone) = gone {
            changes = changes.delete(&AGREED, gone);
            if self.trade(gone)?.is_none() {
                changes = changes.delete(&PINS, gone);
            }
        }
        self.store.private().write(changes).map(drop)
    }

    /// Returns the payment details and their salt that were chosen for a bid or acceptance.
    ///
    /// # Errors
    /// When the store fails.
    pub fn details(&self, nonce: &[u8; 32]) -> Result<Option<([u8; 32], String)>, StoreError> {
        Ok(self.store.private().get(&DETAILS, nonce)?.map(|row| (row.salt, row.details)))
    }

    /// Keeps payment details before the record that commits to them is published.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn put_details(&self, nonce: &[u8; 32], salt: [u8; 32], details: &str) -> Result<(), StoreError> {
        self.store.private().put(&DETAILS, nonce, &DetailsRow { salt, details: details.to_owned() })
    }

    /// Returns the payment details that an own offer hands out.
    ///
    /// # Errors
    /// When the store fails.
    pub fn offer_details(&self, body_hash: &[u8; 32]) -> Result<Option<String>, StoreError> {
        Ok(self.store.private().get(&OFFER_DETAILS, body_hash)?.map(|row| row.details))
    }

    /// Keeps the payment details of an offer before it is published.
    ///
    /// # Errors
    /// When the store fails; then nothing changed.
    pub fn put_offer_details(&self, body_hash: &[u8; 32], details: &str) -> Result<(), StoreError> {
        self.store.private().put(&OFFER_DETAILS, body_hash, &OfferDetailsRow { details: details.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trade_of_an_earlier_version_is_read_as_it_was() {
        let local = Local {
            details: Some(([7; 32], "IBAN".to_owned())),
            their_details: Some("BIC".to_owned()),
            funding_tx: Some(vec![1, 2, 3]),
            spend_tx: None,
            ..Local::default()
        };
        let Local { details, their_details, funding_tx, spend_tx, .. } = local.clone();
        let first = TradeRowV1 { details, their_details, funding_tx, spend_tx };
        let earliest = borsh::to_vec(&first).unwrap();
        assert_eq!(TradeRow::from_earlier(1, &earliest).map(|row| row.local), Some(local.clone()));
        let earlier = borsh::to_vec(&TradeRowV2 { earlier: first, rounds: 3 }).unwrap();
        assert_eq!(earlier.len(), earliest.len() + 1, "only the count of rounds is new");
        let with_rounds = Local { rounds: 3, ..local.clone() };
        assert_eq!(TradeRow::from_earlier(2, &earlier).map(|row| row.local), Some(with_rounds));
        let now = borsh::to_vec(&TradeRow { local }).unwrap();
        let nothing = borsh::to_vec(&exchange_ledger::trade::funding::Negotiation::default()).unwrap();
        assert_eq!(now.len(), earlier.len() + nothing.len(), "and then the funding from two wallets");
        for (version, other) in [(1, &earlier), (1, &now), (2, &earliest), (2, &now), (4, &now)] {
            assert!(TradeRow::from_earlier(version, other).is_none(), "{version}");
        }
    }
}
