//! Making a bundle: what belongs into it, and that nothing is given out that would not be believed.

use std::collections::BTreeMap;

use bitcoin::consensus::serialize;
use bitcoin::{Block, MerkleBlock, Network, Txid, Witness};

use super::verify::place;
use super::{Bundle, BundleError, ChainProof, FORMAT, Hex, Inclusion, MAX_BUNDLE_LEN, MAX_RECORDS, Message, Part};
use crate::ids::{RecordId, TradeId};
use crate::ledger::{Ledger, MAX_FACTS, TradeError, TradeRecords};
use crate::record::{LogId, Record};
use crate::storage::{Storage, StorageError};
use crate::trade::{Contract, Escrow, Phase};

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is no such trade.
    #[error(transparent)]
    Trade(#[from] TradeError),
    /// What there is of the trade proves nothing.
    #[error("no bundle can be made that others would believe: {0}")]
    Bundle(#[from] BundleError),
}

impl Bundle {
    /// Puts a trade's records, proofs of its transactions and the messages that are known into a bundle, and checks it as
    /// a stranger would.
    ///
    /// # Errors
    /// When there is no such trade, the store fails, or the parts do not fit each other.
    pub fn assemble<S: Storage>(
        ledger: &Ledger<S>,
        trade: TradeId,
        chain: Option<ChainProof>,
        mut transcript: Vec<Message>,
    ) -> Result<Self, CollectError> {
        let records = ledger.trade(trade)?;
        let magic = bitcoin::p2p::Magic::from_bytes(ledger.network());
        let address = |network: Network| {
            let escrow = records.contract.as_ref().map(Escrow::new);
            escrow.map(|escrow| escrow.address(network).to_string())
        };
        let place = |message: &Message| (message.sender, message.recipient, message.epoch, message.seq);
        transcript.sort_by_key(place);
        transcript.dedup_by_key(|message| place(message));
        let mut bundle = Self {
            format: FORMAT.to_owned(),
            network: Hex(ledger.network().to_vec()),
            trade,
            contract: records.contract.as_ref().map(Contract::hash),
            escrow: Network::from_magic(magic).and_then(address),
            phase: Phase::Bid, // until the bundle itself tells
            records: records_of(ledger, &records)?,
            chain,
            transcript,
        };
        bundle.phase = bundle.evaluate()?.phase;
        if bundle.encode().len() > MAX_BUNDLE_LEN {
            let reason =
                format!("it would have more than {MAX_BUNDLE_LEN} bytes; newer versions know newer checkpoints");
            return Err(BundleError::new(Part::Format, reason).into());
        }
        Ok(bundle)
    }
}

impl Inclusion {
    /// Proves that a block holds a transaction; `None` when it does not. Without its witness for a funding, whose
    /// signatures are nobody's concern here.
    pub fn new(block: &Block, height: u32, txid: Txid, with_witness: bool) -> Option<Self> {
        let mut tx = block.txdata.iter().find(|tx| tx.compute_txid() == txid)?.clone();
        if !with_witness {
            tx.input.iter_mut().for_each(|input| input.witness = Witness::new());
        }
        let proof = MerkleBlock::from_block_with_predicate(block, |id| *id == txid);
        Some(Self { height, tx: Hex(serialize(&tx)), proof: Hex(serialize(&proof)) })
    }
}

/// Returns the records of a trade in their order: offer, adverts, bid, everything that its parties and
/// arbiters said about it, what the
/// maker said about his offer, and the proofs against those of them who signed two histories.
///
/// # Errors
/// When the store fails, or there are more than a bundle may hold.
fn records_of<S: Storage>(ledger: &Ledger<S>, trade: &TradeRecords) -> Result<Vec<Hex>, CollectError> {
    let (storage, bid) = (ledger.storage(), &trade.bid);
    let mut ids: Vec<RecordId> = vec![bid.offer_id, bid.trade.into(), bid.arbiter.advert];
    ids.extend(bid.second_arbiter.as_ref().map(|arbiter| arbiter.advert));
    for log in bid.home_logs() {
        ids.extend(storage.about_in(&bid.trade.into(), log, MAX_FACTS)?);
        ids.extend(storage.about(&bid.trade.into(), Some(&log.author), MAX_FACTS)?);
    }
    ids.extend(storage.about_in(&bid.offer_id, &bid.offer_log(), MAX_FACTS)?);
    ids.extend(storage.about(&bid.offer_id, Some(&bid.maker), MAX_FACTS)?);
    let mut records: BTreeMap<(LogId, u64, RecordId), Record> = BTreeMap::new();
    let mut add = |record: Record| records.insert(place(&record), record);
    for id in ids {
        storage.record(&id)?.map(&mut add);
    }
    let logs: Vec<LogId> = records.keys().map(|(log, _, _)| *log).collect();
    for log in logs {
        if let Some(proof) = storage.equivocation(&log)? {
            // The record before the fork too: it is what both histories stand on.
            let before = proof.first.header().seq.checked_sub(1);
            let before = before.map(|seq| storage.id_at(&log, seq)).transpose()?.flatten();
            let before = before.map(|id| storage.record(&id)).transpose()?.flatten();
            if proof.first.is_bare() || proof.second.is_bare() {
                return Err(TradeError::Bare(bid.trade).into());
            }
            let before = before.filter(|before| !before.is_bare()); // it proves nothing by itself
            for record in before.into_iter().chain([proof.first, proof.second]) {
                records.insert(place(&record), record);
            }
        }
    }
    if records.len() > MAX_RECORDS {
        let reason = format!("{} belong to the trade, and a bundle may hold {MAX_RECORDS}", records.len());
        return Err(BundleError::new(Part::Records, reason).into());
    }
    Ok(records.into_values().map(|record| Hex(record.encode())).collect())
}
