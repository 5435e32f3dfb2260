//! A trade as one file: made here from ledger, chain and mail, and checked by anybody, without a node.

use bitcoin::Transaction;
use bitcoin::consensus::{deserialize, serialize};
use exchange_api::{ApiError, Bundle, Code};
use exchange_ledger::audit::bundle::{
    BURIED_BY, BundleError, ChainProof, CollectError, Hex, Inclusion, MAX_HEADERS, MAX_TRANSCRIPT, Message, Part,
    Verified, anchor_below,
};
use exchange_ledger::ids::{AuthorId, TradeId};
use exchange_ledger::ledger::{Ledger, TradeRecords};
use exchange_ledger::mail::{Address, Envelope, MAX_ENVELOPES, Said};
use exchange_ledger::trade::{Contract, Escrow};
use exchange_store::Store;

use crate::audit::path::{MAX_OUTPUTS, Paths};
use crate::blocking::blocking;
use crate::chain::consensus::verify_spend;
use crate::chain::{ChainBackend, ChainError};
use crate::errors::ExplainResult;
use crate::private::Private;

/// How often a bundle is made anew when the chain moves under it.
const ATTEMPTS: usize = 3;
/// How many kept messages are read from a mailbox: as many as three others can send.
const MAX_MAIL: usize = 3 * MAX_ENVELOPES as usize; // a u32 fits

/// Makes a trade's bundle of what this node has of it, and checks it as a stranger would.
///
/// # Errors
/// When there is no such trade, something cannot be read, or what there is proves nothing.
pub async fn export(
    ledger: &Ledger<Store>,
    private: &Private,
    chain: &dyn ChainBackend,
    trade: TradeId,
) -> Result<Bundle, ApiError> {
    let records = ledger.trade(trade).explained()?;
    let transcript = match &records.contract {
        Some(contract) => transcript(private, contract)?,
        None => Vec::new(),
    };
    let mut moved = None;
    for _ in 0..ATTEMPTS {
        let proof = prove(&records, chain).await?;
        let (ledger, transcript) = (ledger.clone(), transcript.clone());
        // Up to a second of hashing, for eighty thousand headers.
        match blocking(move || Ok(Bundle::assemble(&ledger, trade, proof, transcript))).await? {
            Err(CollectError::Bundle(error)) if is_of_the_chain(error.part) => moved = Some(error),
            Err(CollectError::Bundle(error)) => return Err(refuse(&error)),
            Err(CollectError::Storage(error)) => return Err(error).explained(),
            Err(CollectError::Trade(error)) => return Err(error).explained(),
            Err(error) => return Err(ApiError::new(Code::Internal, error.to_string(), "")),
            Ok(bundle) => return Ok(bundle),
        }
    }
    Err(moved.map_or_else(|| ApiError::new(Code::Internal, "no bundle was made", ""), |error| refuse(&error)))
}

/// Checks a bundle: everything that it claims, and the spend by Bitcoin Core's own script engine.
///
/// # Errors
/// The first part that does not hold.
pub fn verify(bundle: &Bundle) -> Result<Verified, BundleError> {
    let verified = bundle.verify()?;
    let Some(proof) = bundle.chain.as_ref().filter(|_| verified.funding.is_some()) else { return Ok(verified) };
    let refuse = |reason: &dyn std::fmt::Display| BundleError::new(Part::Spend, reason);
    let read = |bytes: &Hex| deserialize::<Transaction>(&bytes.0).map_err(|error| refuse(&error));
    let mut from = read(&proof.funding.tx)?;
    for inclusion in proof.extensions.iter().chain(&proof.spend) {
        let tx = read(&inclusion.tx)?;
        // What other coins it spends is not in the bundle, so such a spend is only proven to be in its block.
        let txid = from.compute_txid();
        let spent = tx.input.iter().map(|input| {
            let is_of_it = input.previous_output.txid == txid;
            from.output.get(input.previous_output.vout as usize).filter(|_| is_of_it).cloned() // u32 fits
        });
        if let Some(spent) = spent.collect::<Option<Vec<_>>>() {
            verify_spend(&tx, &spent).map_err(|error| refuse(&error))?;
        }
        from = tx;
    }
    Ok(verified)
}

/// Proves what the chain shows of a trade; `None` while no block holds its funding.
async fn prove(records: &TradeRecords, chain: &dyn ChainBackend) -> Result<Option<ChainProof>, ApiError> {
    let Some(contract) = &records.contract else { return Ok(None) };
    let (escrow, mut blocks) = (Escrow::new(contract), u32::MAX); // of one trade all that there are
    let paths = Paths::follow(chain, &escrow, &records.facts, MAX_OUTPUTS, &mut blocks).await.explained()?;
    let Some(path) = paths.counting(records, chain.tip().await.explained()?.height) else { return Ok(None) };
    let Some((first, height)) = path.fundings.first().and_then(|first| Some((first, first.height?))) else {
        return Ok(None);
    };
    let funding = include(chain, first.outpoint().txid, height, false).await?;
    let mut extensions = Vec::new();
    for (spend, height) in path.extensions.iter().filter_map(|spend| Some((spend, spend.height?))) {
        extensions.push(include(chain, spend.tx.compute_txid(), height, true).await?);
    }
    let spend = match path.end.as_ref().and_then(|end| Some((end.tx.compute_txid(), end.height?))) {
        Some((txid, height)) => Some(include(chain, txid, height, true).await?),
        None => None,
    };
    let last = extensions.iter().chain(&spend).fold(height, |last, inclusion| last.max(inclusion.height));
    let anchor = anchor_below(chain.network(), height).height;
    let headers = headers(chain, anchor, last.saturating_add(BURIED_BY)).await.explained()?;
    Ok(Some(ChainProof { anchor, headers, funding, extensions, spend }))
}

async fn include(
    chain: &dyn ChainBackend,
    txid: bitcoin::Txid,
    height: u32,
    with_witness: bool,
) -> Result<Inclusion, ApiError> {
    let block = chain.block_at(height).await.explained()?;
    let inclusion = block.and_then(|block| Inclusion::new(&block, height, txid, with_witness));
    inclusion.ok_or_else(|| {
        let message = format!("the block at height {height} does not hold {txid} any more: the chain was reorganised");
        ApiError::new(Code::NotSynced, message, "try again in a moment")
    })
}

/// Returns the headers from a height to another, or to the tip, at most as many as a bundle may have.
async fn headers(chain: &dyn ChainBackend, from: u32, to: u32) -> Result<Vec<Hex>, ChainError> {
    let wanted = (to.saturating_sub(from) as usize).saturating_add(1).min(MAX_HEADERS); // u32 fits
    let mut headers = Vec::new();
    let mut next = from;
    while headers.len() < wanted {
        let some = chain.headers(next, wanted - headers.len()).await?;
        let Ok(count) = u32::try_from(some.len()) else { break };
        if count == 0 {
            break;
        }
        next = next.saturating_add(count);
        headers.extend(some.iter().map(|header| Hex(serialize(header))));
    }
    Ok(headers)
}

/// Returns what this node has of the sealed messages of a trade; of more than a bundle may hold those between the parties first.
fn transcript(private: &Private, contract: &Contract) -> Result<Vec<Message>, ApiError> {
    let mut mail = private.outbox().explained()?;
    let second = contract.second_arbiter.as_ref().map(|arbiter| arbiter.author);
    for party in [contract.buyer, contract.seller, contract.arbiter.author].into_iter().chain(second) {
        let kept = private.mail(&contract.mailbox(&party), 0, MAX_MAIL).explained()?;
        mail.extend(kept.into_iter().map(|mail| mail.envelope));
    }
    let envelopes = mail.iter().filter_map(|bytes| Envelope::decode(bytes).ok());
    let under_way = envelopes.filter(|envelope| envelope.mailbox(contract).is_ok());
    let under_way = under_way.map(|envelope| Said::from(&envelope));
    let said = private.messages(&contract.trade).explained()?.into_iter().map(|kept| kept.said);
    let hash = contract.hash();
    let of_this = said.chain(under_way).filter(|said| said.address.contract == hash);
    Ok(most_of(contract, consistent(of_this.collect()).iter().map(Message::from).collect()))
}

/// Leaves out what contradicts the message before it in its epoch, and one of two in a place: no bundle holds such a thing, and
/// whoever writes it must not keep the other from making one.
fn consistent(mut said: Vec<Said>) -> Vec<Said> {
    let place = |said: &Said| {
        let Address { sender, recipient, epoch, seq, .. } = said.address;
        (sender, recipient, epoch, seq)
    };
    said.sort_by_key(place);
    let mut kept: Vec<Said> = Vec::with_capacity(said.len());
    for one in said {
        let contradicts = kept.last().is_some_and(|last| {
            let (sender, recipient, epoch, seq) = place(last);
            let is_next = (sender, recipient, epoch, seq.saturating_add(1)) == place(&one);
            place(last) == place(&one) || (is_next && one.address.previous != last.id())
        });
        if !contradicts {
            kept.push(one);
        }
    }
    kept
}

/// Returns as many messages as a bundle may hold, each once, those between the parties first.
fn most_of(contract: &Contract, mut messages: Vec<Message>) -> Vec<Message> {
    let is_party = |author: &AuthorId| [contract.buyer, contract.seller].contains(author);
    let place = |message: &Message| {
        let is_aside = !(is_party(&message.sender) && is_party(&message.recipient));
        (is_aside, message.sender, message.recipient, message.epoch, message.seq)
    };
    messages.sort_by_key(place);
    messages.dedup_by_key(|message| place(message));
    messages.truncate(MAX_TRANSCRIPT);
    messages
}

const fn is_of_the_chain(part: Part) -> bool {
    match part {
        Part::Headers | Part::Funding | Part::Spend => true,
        Part::Format | Part::Records | Part::Contract | Part::Escrow | Part::Phase | Part::Transcript => false,
    }
}

fn refuse(error: &BundleError) -> ApiError {
    let message = format!("no bundle can be made that others would believe: {error}");
    ApiError::new(Code::NotAllowed, message, "`exchange-node audit --chain` tells more")
}

#[cfg(test)]
mod tests {
    use exchange_ledger::body::Side;
    use exchange_ledger::testing::{NETWORK, SampleTrade};

    use super::*;

    /// Returns what the seller wrote to the buyer in a place, and said that it follows.
    fn said(contract: &Contract, (epoch, seq): (u32, u32), previous: [u8; 32], time: u64) -> Said {
        let address = Address {
            version: 1,
            network: NETWORK,
            trade: contract.trade,
            contract: contract.hash(),
            sender: contract.seller,
            recipient: contract.buyer,
            epoch,
            seq,
            previous,
            seen: [0; 32],
            time,
            commitment: [0; 32],
        };
        Said { address, sealed_hash: [0; 32], signature: [0; 64], opening: None }
    }

    #[test]
    fn what_contradicts_itself_keeps_nobody_from_making_a_bundle() {
        let contract = SampleTrade::new(Side::Sell).contract();
        let write = |place, previous, time| said(&contract, place, previous, time);
        let first = write((1, 0), [0; 32], 0);
        let second = write((1, 1), first.id(), 1);
        let restored = write((2, 0), [0; 32], 9);
        let honest = vec![first.clone(), second.clone(), restored.clone()];
        assert_eq!(consistent(honest.iter().rev().cloned().collect()), honest);
        // One that follows nothing, and one after it, which names it.
        let astray = write((1, 2), [7; 32], 2);
        let after = write((1, 3), astray.id(), 3);
        let all = [honest.as_slice(), &[astray, after.clone()]].concat();
        assert_eq!(consistent(all), [first.clone(), second.clone(), after, restored.clone()]);
        // Two in one place.
        let another = write((1, 1), first.id(), 5);
        let all = [honest.as_slice(), &[another]].concat();
        assert_eq!(consistent(all), honest);
    }
}
