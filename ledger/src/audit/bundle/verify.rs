//! The check of a bundle: nothing but its own bytes and the rules. Each step rests on those before it.

use std::collections::BTreeMap;

use bitcoin::consensus::deserialize;
use bitcoin::p2p::Magic;
use bitcoin::{Amount, MerkleBlock, Network, OutPoint, Transaction, TxIn, Txid};
use serde::{Deserialize, Serialize};

use super::{Bundle, BundleError, ChainProof, HeaderChain, Hex, Inclusion, Message, Part};
use crate::body::{Body, Coin, Extend, HalfSpend, Ruling, Vaults};
use crate::ids::{AuthorId, ContractHash, RecordId, TradeId};
use crate::ledger::{Ledger, TradeRecords};
use crate::mail::{Address, Said};
use crate::money::{Currency, Sats};
use crate::record::{LogId, Record};
use crate::storage::{Batch, Fork, MemoryStorage, Storage};
use crate::trade::{
    ChainFacts, Contract, Draft, Escrow, EscrowError, Funding, Leaf, Phase, Role, Seat, Spend, SpendPath, View,
    evaluate,
};

/// The length of a transaction that could pass for two hashes of the tree above it (CVE-2017-12842).
const AMBIGUOUS_LEN: usize = 64;

/// What a bundle proves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// The trade.
    pub trade: TradeId,
    /// The network, as Bitcoin Core calls it.
    pub network: String,
    /// Where it stands.
    pub phase: Phase,
    /// Gets the bitcoin.
    pub buyer: AuthorId,
    /// Gives the bitcoin.
    pub seller: AuthorId,
    /// Rules when they disagree.
    pub arbiter: AuthorId,
    /// How much bitcoin.
    pub amount: Sats,
    /// The other money.
    pub currency: Currency,
    /// How much of it, in minor units.
    pub cost: u64,
    /// The hash of the contract, once accepted.
    pub contract: Option<ContractHash>,
    /// The address of the escrow, once accepted.
    pub escrow: Option<String>,
    /// How many records it holds.
    pub records: u64,
    /// Authors of whom it proves that they signed two histories.
    pub forked: Vec<AuthorId>,
    /// The output that funds the escrow.
    pub funding: Option<Placed>,
    /// What became of it.
    pub spend: Option<Spent>,
    /// The height of the block that everybody knows, from which the headers lead to these transactions.
    pub anchor: Option<u32>,
    /// How many hashes the blocks cost that hold the last of the transactions or stand on it, in decimal.
    pub work: Option<String>,
    /// How many messages it names.
    pub messages: u64,
}

/// An output in a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The output.
    pub outpoint: OutPoint,
    /// The height of its block.
    pub height: u32,
    /// Its value.
    pub value: Sats,
}

/// A spend in a block, and where the coins went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// The transaction.
    pub txid: Txid,
    /// The height of its block.
    pub height: u32,
    /// To the buyer's destination.
    pub to_buyer: Sats,
    /// To the seller's.
    pub to_seller: Sats,
    /// To an arbiter's.
    pub to_arbiter: Sats,
    /// To anywhere else.
    pub elsewhere: Sats,
    /// To the miner.
    pub fee: Sats,
}

impl Bundle {
    /// Checks everything that it claims, with no other source than itself.
    ///
    /// # Errors
    /// The first part that does not hold.
    pub fn verify(&self) -> Result<Verified, BundleError> {
        let verified = self.evaluate()?;
        if self.phase != verified.phase {
            let reason = format!("the bundle says `{}`, but what it holds makes it `{}`", self.phase, verified.phase);
            return Err(BundleError::new(Part::Phase, reason));
        }
        Ok(verified)
    }

    /// Checks everything but where it says that the trade stands.
    pub(super) fn evaluate(&self) -> Result<Verified, BundleError> {
        let network = self.network()?;
        let records = self.check_records()?;
        let forked = forks(&records).into_keys().map(|log| log.author).collect();
        let trade = self.replay(&records)?;
        self.check_relevance(&records, &trade)?;
        let contract = trade.contract.as_ref();
        if self.contract != contract.map(Contract::hash) {
            return Err(BundleError::new(Part::Contract, "the records make another contract than the bundle names"));
        }
        let escrow = contract.map(Escrow::new);
        if self.escrow != escrow.as_ref().map(|escrow| escrow.address(network).to_string()) {
            return Err(BundleError::new(Part::Escrow, "the contract has another escrow than the bundle names"));
        }
        let (chain, funding, spend, work) = match (&self.chain, &escrow) {
            (Some(proof), Some(escrow)) => check_chain(network, proof, escrow, &trade)?,
            (Some(_), None) => return Err(BundleError::new(Part::Funding, "there is no contract that it could fund")),
            (None, _) => (ChainFacts::default(), None, None, None),
        };
        let view = View { contract: trade.contract.clone(), facts: trade.facts.clone(), chain };
        let phase = evaluate(&view);
        check_transcript(&self.transcript, contract)?;
        let bid = &trade.bid;
        Ok(Verified {
            trade: self.trade,
            network: network.to_core_arg().to_owned(),
            phase,
            buyer: bid.buyer(),
            seller: bid.seller(),
            arbiter: bid.arbiter.author,
            amount: bid.take.amount,
            currency: bid.offer.currency,
            cost: bid.cost,
            contract: self.contract,
            escrow: self.escrow.clone(),
            records: records.len() as u64, // usize is at most 64 bits
            forked,
            funding,
            spend,
            anchor: self.chain.as_ref().map(|proof| proof.anchor),
            work,
            messages: self.transcript.len() as u64,
        })
    }

    fn network(&self) -> Result<Network, BundleError> {
        let magic = fixed::<4>(&self.network).map(Magic::from_bytes);
        let network = magic.and_then(Network::from_magic);
        // The headers of other networks follow rules that are not checked here.
        let known = [Network::Bitcoin, Network::Signet, Network::Regtest];
        let unknown = || BundleError::new(Part::Format, "the network is none of mainnet, signet and regtest");
        network.filter(|network| known.contains(network)).ok_or_else(unknown)
    }

    /// Checks each record by itself, and that they stand in their order, none twice.
    fn check_records(&self) -> Result<Vec<Record>, BundleError> {
        let mut records: Vec<Record> = Vec::with_capacity(self.records.len());
        for (number, bytes) in self.records.iter().enumerate() {
            let record = Record::decode(&bytes.0)
                .map_err(|e| BundleError::new(Part::Records, format_args!("record number {number}: {e}")))?;
            let of = |reason: &dyn std::fmt::Display| BundleError::of_record(record.id(), reason);
            record.verify().map_err(|e| of(&e))?;
            Body::decode(&record).map_err(|e| of(&e))?;
            if record.header().network.as_slice() != self.network.0 {
                return Err(of(&"it is of another network"));
            }
            if records.last().is_some_and(|last| place(last) >= place(&record)) {
                return Err(of(&"it does not stand where it belongs, or stands twice"));
            }
            records.push(record);
        }
        Ok(records)
    }

    /// Returns the trade as the ledger's own rules see it, from these records alone.
    fn replay(&self, records: &[Record]) -> Result<TradeRecords, BundleError> {
        let mut storage = MemoryStorage::default();
        let mut batch = Batch { records: records.to_vec(), forks: BTreeMap::new() };
        for (log, from) in forks(records) {
            let of_log = |record: &Record| record.header().log == log;
            let is_frozen = |record: &Record| of_log(record) && record.header().seq >= from;
            let is_before = |record: &Record| of_log(record) && record.header().seq + 1 == from;
            if from > 0 && !records.iter().any(is_before) {
                let reason = format!("the record before the fork of {} at seq {from} is missing", log.author);
                return Err(BundleError::new(Part::Records, reason));
            }
            let frozen = records.iter().filter(|record| is_frozen(record)).cloned().collect();
            batch.records.retain(|record| !is_frozen(record));
            batch.forks.insert(log, Fork { from, frozen });
        }
        let refuse = |reason: String| BundleError::new(Part::Contract, reason);
        storage.commit(&batch).map_err(|e| refuse(e.to_string()))?;
        let network = fixed(&self.network).ok_or_else(|| refuse("there is no network".into()))?;
        Ledger::new(storage, network).trade(self.trade).map_err(|e| refuse(e.to_string()))
    }

    /// Checks that every record is there for the trade, or proves that its author signed two histories.
    fn check_relevance(&self, records: &[Record], trade: &TradeRecords) -> Result<(), BundleError> {
        let bid = &trade.bid;
        let mut named: Vec<RecordId> = vec![bid.offer_id, bid.trade.into(), bid.arbiter.advert];
        named.extend(bid.second_arbiter.as_ref().map(|arbiter| arbiter.advert));
        let forks = forks(records);
        for record in records {
            let header = record.header();
            let subjects = Body::decode(record).map(|body| body.subjects()).unwrap_or_default();
            let is_about_it = subjects.contains(&bid.trade.into())
                || (subjects.contains(&bid.offer_id) && record.author() == bid.maker);
            let fork = forks.get(&header.log);
            let is_of_a_fork = fork.is_some_and(|fork| header.seq == *fork || header.seq + 1 == *fork);
            let has_a_role = bid.role_of(&record.author()).is_some();
            if !named.contains(&record.id()) && !(has_a_role && (is_about_it || is_of_a_fork)) {
                return Err(BundleError::of_record(record.id(), "it has nothing to do with the trade"));
            }
        }
        Ok(())
    }
}

type ChainView = (ChainFacts, Option<Placed>, Option<Spent>, Option<String>);

fn check_chain(
    network: Network,
    proof: &ChainProof,
    escrow: &Escrow,
    trade: &TradeRecords,
) -> Result<ChainView, BundleError> {
    let headers = proof.headers.iter().map(|header| deserialize(&header.0)).collect::<Result<Vec<_>, _>>();
    let headers =
        headers.map_err(|e| BundleError::new(Part::Headers, format_args!("a header does not decode: {e}")))?;
    let headers = HeaderChain::check(network, proof.anchor, headers)?;
    let funding = check_funding(&headers, proof, escrow, trade)?;
    let mut facts = ChainFacts { tip: headers.tip(), synced: true, ..ChainFacts::default() };
    facts.fundings.push(Funding::new(funding.vaults, Some(funding.height)));
    let mut held = funding;
    for inclusion in &proof.extensions {
        held = check_extension(&headers, inclusion, escrow, &held, trade, &mut facts)?;
    }
    let mut last = held.height;
    let mut spent = None;
    if let Some(inclusion) = &proof.spend {
        let (tx, path, sums) = check_spend(&headers, inclusion, escrow, &held, trade)?;
        last = last.max(inclusion.height);
        facts.spends.push(Spend { tx, path, height: Some(inclusion.height) });
        spent = Some(sums);
    }
    let work = headers.work_from(last).map(|work| work.to_string());
    let funding = Placed {
        outpoint: funding.vaults.outpoint(),
        height: funding.height,
        value: funding.vaults.value().ok_or_else(|| BundleError::new(Part::Funding, "it holds too much"))?,
    };
    Ok((facts, Some(funding), spent, work))
}

/// The outputs that hold the coins, in a block.
#[derive(Clone, Copy)]
struct Held {
    vaults: Vaults,
    height: u32,
}

/// Checks the funding, and returns which of its outputs counts, by what was signed and by what the other transactions do, which
/// are checked in their turn.
fn check_funding(
    headers: &HeaderChain,
    proof: &ChainProof,
    escrow: &Escrow,
    trade: &TradeRecords,
) -> Result<Held, BundleError> {
    let refuse = |reason: &str| BundleError::new(Part::Funding, reason);
    let inclusion = &proof.funding;
    let tx = check_inclusion(Part::Funding, headers, inclusion)?;
    if tx.input.iter().any(|input| !input.witness.is_empty()) {
        return Err(refuse("the transaction has a witness, which nothing here covers; it belongs here without"));
    }
    if inclusion.height < escrow.contract().funded_from() {
        return Err(refuse("its block is older than the contract allows"));
    }
    let txid = tx.compute_txid();
    let read = |later: &Inclusion| deserialize::<Transaction>(&later.tx.0).ok().map(|tx| (tx, Some(later.height)));
    let later = proof.extensions.iter().chain(&proof.spend).filter_map(read);
    let txs: Vec<_> = std::iter::once((tx, Some(inclusion.height))).chain(later).collect();
    let all = ChainFacts::gather(escrow, headers.tip(), true, txs.iter().map(|(tx, height)| (tx, *height)));
    let mut chain = all.clone();
    chain.fundings.retain(|funding| all.root_of(funding).outpoint().txid == txid);
    let view = View { contract: trade.contract.clone(), facts: trade.facts.clone(), chain };
    let counting = view.funding().map(|funding| view.chain.root_of(funding).vaults);
    let vaults = counting.ok_or_else(|| {
        refuse("no output of the transaction pays exactly the contract's amount to the contract's escrow")
    })?;
    Ok(Held { vaults, height: inclusion.height })
}

/// Checks an extension, and returns the outputs that it made.
fn check_extension(
    headers: &HeaderChain,
    inclusion: &Inclusion,
    escrow: &Escrow,
    held: &Held,
    trade: &TradeRecords,
    facts: &mut ChainFacts,
) -> Result<Held, BundleError> {
    let refuse = |reason: &str| BundleError::new(Part::Spend, reason);
    let (tx, path) = check_signed_spend(headers, inclusion, escrow, held, trade)?;
    let made = escrow.extended(&tx, &held.vaults).filter(|_| path.is_extension());
    let vaults = made.ok_or_else(|| refuse("the transaction does not move the coins into the same escrow"))?;
    let (height, extends) = (Some(inclusion.height), Some(held.vaults.outpoint()));
    facts.fundings.push(Funding { vaults, height, extends });
    facts.spends.push(Spend { tx, path, height });
    Ok(Held { vaults, height: inclusion.height })
}

fn check_spend(
    headers: &HeaderChain,
    inclusion: &Inclusion,
    escrow: &Escrow,
    held: &Held,
    trade: &TradeRecords,
) -> Result<(Transaction, SpendPath, Spent), BundleError> {
    let refuse = |reason: &str| BundleError::new(Part::Spend, reason);
    let (tx, path) = check_signed_spend(headers, inclusion, escrow, held, trade)?;
    let sums = sums(&tx, inclusion.height, escrow, &held.vaults)
        .ok_or_else(|| refuse("the transaction pays out more than the escrow held"))?;
    Ok((tx, path, sums))
}

/// Checks that a block holds a transaction that spends the escrow, that it is signed as the escrow asks and as the records
/// say, and that its delay was over.
fn check_signed_spend(
    headers: &HeaderChain,
    inclusion: &Inclusion,
    escrow: &Escrow,
    held: &Held,
    trade: &TradeRecords,
) -> Result<(Transaction, SpendPath), BundleError> {
    let refuse = |reason: &str| BundleError::new(Part::Spend, reason);
    let tx = check_inclusion(Part::Spend, headers, inclusion)?;
    let is_ours = |input: &TxIn| held.vaults.coins().any(|coin| coin.outpoint.0 == input.previous_output);
    if !tx.input.iter().any(|input| input.previous_output == held.vaults.outpoint()) {
        return Err(refuse("the transaction does not spend the escrow"));
    }
    if inclusion.height < held.height {
        return Err(refuse("its block is older than the funding's"));
    }
    let path = escrow.classify(&tx, &held.vaults);
    // Of a transaction with other inputs the signatures cannot be checked here. It is none of the contract's anyway.
    if tx.input.iter().all(is_ours) || !path.is_foreign() {
        let leaf = escrow.check_witness(&tx, &held.vaults).map_err(|e| BundleError::new(Part::Spend, e))?;
        check_signed(&tx, path, leaf, escrow, &spent_by(&tx, &held.vaults), trade)?;
        if inclusion.height < held.height.saturating_add(escrow.delay_of(leaf).into()) {
            return Err(refuse("the coins moved before the delay of the leaf that moved them was over"));
        }
    }
    Ok((tx, path))
}

/// Returns what a transaction spends of what holds the coins, the escrow among it: all, or the escrow alone. The bond may have left
/// before, by its buyer's own leaf: then what is signed from then on is of the escrow alone. What is signed of both prescribes a
/// transaction that spends both, and never this one.
fn spent_by(tx: &Transaction, vaults: &Vaults) -> Vaults {
    let is_spent = |coin: &Coin| tx.input.iter().any(|input| input.previous_output == coin.outpoint.0);
    Vaults { bond: vaults.bond.filter(is_spent), ..*vaults }
}

/// Checks that the transaction is one that somebody signed in a record: the payout that the seller released, the refund
/// that the buyer agreed to, what an arbiter ruled. What both sign by their common key, or a funder by his own leaf, needs
/// no record. `vaults` are what it spends.
fn check_signed(
    tx: &Transaction,
    path: SpendPath,
    leaf: Option<Leaf>,
    escrow: &Escrow,
    vaults: &Vaults,
    trade: &TradeRecords,
) -> Result<(), BundleError> {
    let txid = tx.compute_txid();
    let facts = &trade.facts;
    let is_prescribed = |draft: Result<Draft, EscrowError>| draft.is_ok_and(|draft| draft.tx.compute_txid() == txid);
    let by_half = |halves: &[HalfSpend], to| {
        halves.iter().any(|half| half.vaults == *vaults && is_prescribed(escrow.spend(vaults, half.fee, to)))
    };
    let (is_signed, what) = match (leaf, path, leaf.and_then(Leaf::seat)) {
        (Some(Leaf::Both), SpendPath::Payout, _) => (by_half(&facts.releases, Role::Buyer), "release of the seller"),
        (Some(Leaf::Both), SpendPath::Refund, _) => (by_half(&facts.refunds, Role::Seller), "refund by the buyer"),
        (_, SpendPath::Ruling, Some(seat)) => {
            let is_it = |(by, ruling): &(Seat, Ruling)| {
                let Ruling { to_buyer, to_seller, .. } = *ruling;
                *by == seat
                    && ruling.vaults == *vaults
                    && is_prescribed(escrow.ruling(seat, vaults, to_buyer, to_seller))
            };
            (facts.rulings.iter().any(is_it), "ruling of the arbiter")
        }
        (_, SpendPath::Extension, Some(seat)) => {
            let is_it = |(by, extend): &(Seat, Extend)| {
                *by == seat && extend.vaults == *vaults && is_prescribed(escrow.extension(seat, vaults, extend.fee))
            };
            (facts.extensions.iter().any(is_it), "extension of the arbiter")
        }
        (_, SpendPath::Payout | SpendPath::Refund | SpendPath::Timeout | SpendPath::Foreign, _)
        | (_, SpendPath::Ruling | SpendPath::Extension, None) => return Ok(()),
    };
    let refuse =
        || BundleError::new(Part::Spend, format_args!("no {what} in the records prescribes transaction {txid}"));
    is_signed.then_some(()).ok_or_else(refuse)
}

/// Checks that a block of the chain holds a transaction, and returns it.
fn check_inclusion(part: Part, headers: &HeaderChain, inclusion: &Inclusion) -> Result<Transaction, BundleError> {
    let refuse = |reason: &dyn std::fmt::Display| BundleError::new(part, reason);
    let tx: Transaction =
        deserialize(&inclusion.tx.0).map_err(|e| refuse(&format_args!("the transaction does not decode: {e}")))?;
    let proof: MerkleBlock =
        deserialize(&inclusion.proof.0).map_err(|e| refuse(&format_args!("the proof does not decode: {e}")))?;
    if headers.at(inclusion.height) != Some(&proof.header) {
        return Err(refuse(&format_args!("the proof is for another block than that at height {}", inclusion.height)));
    }
    if tx.base_size() == AMBIGUOUS_LEN {
        return Err(refuse(&"a transaction of 64 bytes proves nothing: it could be two hashes"));
    }
    let (mut matches, mut indexes) = (Vec::new(), Vec::new());
    proof
        .extract_matches(&mut matches, &mut indexes)
        .map_err(|e| refuse(&format_args!("the proof does not lead to its block: {e}")))?;
    if matches != [tx.compute_txid()] {
        return Err(refuse(&"the proof is for another transaction"));
    }
    Ok(tx)
}

/// Says where the coins of the escrow went; `None` when more came out of it than went in. Where the transaction spends
/// other coins too, nobody can say which output came from which: then all of it went elsewhere.
fn sums(tx: &Transaction, height: u32, escrow: &Escrow, vaults: &Vaults) -> Option<Spent> {
    let txid = tx.compute_txid();
    let is_ours = |input: &TxIn| vaults.coins().any(|coin| coin.outpoint.0 == input.previous_output);
    let spent = vaults.coins().filter(|coin| tx.input.iter().any(|input| input.previous_output == coin.outpoint.0));
    let held = spent.map(|coin| coin.value).try_fold(Sats::ZERO, Sats::checked_add)?;
    if !tx.input.iter().all(is_ours) {
        let nothing = Sats::ZERO;
        let (to_buyer, to_seller, to_arbiter, fee) = (nothing, nothing, nothing, nothing);
        return Some(Spent { txid, height, to_buyer, to_seller, to_arbiter, elsewhere: held, fee });
    }
    let paid_to = |script: Option<&bitcoin::ScriptBuf>| {
        let mut outputs = tx.output.iter().filter(|output| Some(&output.script_pubkey) == script);
        outputs.try_fold(Amount::ZERO, |sum, output| sum.checked_add(output.value))
    };
    let contract = escrow.contract();
    let destination = |role| contract.party(role).map(|party| party.destination.script());
    let fee_of = |seat| paid_to(contract.arbiter(seat).map(|arbiter| arbiter.destination.script()));
    let total = tx.output.iter().try_fold(Amount::ZERO, |sum, output| sum.checked_add(output.value))?;
    let (to_buyer, to_seller) = (paid_to(destination(Role::Buyer))?, paid_to(destination(Role::Seller))?);
    let to_arbiter = fee_of(Seat::First)?.checked_add(fee_of(Seat::Second)?)?;
    let fee = Amount::from(held).checked_sub(total)?;
    let elsewhere = total.checked_sub(to_buyer)?.checked_sub(to_seller)?.checked_sub(to_arbiter)?;
    Some(Spent {
        txid,
        height,
        to_buyer: to_buyer.try_into().ok()?,
        to_seller: to_seller.try_into().ok()?,
        to_arbiter: to_arbiter.try_into().ok()?,
        elsewhere: elsewhere.try_into().ok()?,
        fee: fee.try_into().ok()?,
    })
}

fn check_transcript(transcript: &[Message], contract: Option<&Contract>) -> Result<(), BundleError> {
    let mut last: Option<(&Message, [u8; 32])> = None;
    for message in transcript {
        let refuse = |reason: &str| {
            let which = format!("message {} of {} to {}", message.seq, message.sender, message.recipient);
            BundleError::new(Part::Transcript, format_args!("{which}: {reason}"))
        };
        let contract = contract.ok_or_else(|| refuse("there is no contract"))?;
        let said = said(message, contract).ok_or_else(|| refuse("an id has 32 bytes, a signature 64"))?;
        said.verify_sent(contract).map_err(|error| refuse(&error.to_string()))?;
        let order = |message: &Message| (message.sender, message.recipient, message.epoch, message.seq);
        if let Some((last, id)) = last {
            if order(last) >= order(message) {
                return Err(refuse("it does not stand where it belongs, or stands twice"));
            }
            let (sender, recipient, epoch, seq) = order(last);
            let is_next = (sender, recipient, epoch, seq.saturating_add(1)) == order(message);
            if is_next && said.address.previous != id {
                return Err(refuse("it does not follow the one before"));
            }
        }
        last = Some((message, said.id()));
    }
    Ok(())
}

/// Returns what the sender of a message signed.
fn said(message: &Message, contract: &Contract) -> Option<Said> {
    let address = Address {
        version: 1,
        network: contract.network,
        trade: contract.trade,
        contract: contract.hash(),
        sender: message.sender,
        recipient: message.recipient,
        epoch: message.epoch,
        seq: message.seq,
        previous: fixed(&message.previous)?,
        seen: fixed(&message.seen)?,
        time: message.time,
        commitment: fixed(&message.commitment)?,
    };
    let (sealed_hash, signature) = (fixed(&message.sealed_hash)?, fixed(&message.signature)?);
    Some(Said { address, sealed_hash, signature, opening: None })
}

/// Returns the logs of which two records stand at one place, with the lowest such place.
fn forks(records: &[Record]) -> BTreeMap<LogId, u64> {
    let mut forks = BTreeMap::new();
    for pair in records.windows(2) {
        let (log, seq) = (pair[0].header().log, pair[0].header().seq);
        if (log, seq) == (pair[1].header().log, pair[1].header().seq) {
            forks.entry(log).or_insert(seq);
        }
    }
    forks
}

/// Returns where a record stands among all.
pub(super) fn place(record: &Record) -> (LogId, u64, RecordId) {
    (record.header().log, record.header().seq, record.id())
}

fn fixed<const N: usize>(bytes: &Hex) -> Option<[u8; N]> {
    bytes.0.as_slice().try_into().ok()
}
