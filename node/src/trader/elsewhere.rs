//! Funding an escrow with coins that were never in this node's wallet.
//!
//! What comes back from elsewhere is a stranger's: it must pay the escrow's exact amount to its script once and nothing else
//! to it, spend coins that the chain shows, and satisfy Bitcoin Core's engine, by witnesses alone and signatures that bind all
//! of it. Only then it becomes the trade's funding, of which there is never another, and which is known by its id.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::psbt::Input;
use bitcoin::secp256k1::ecdsa;
use bitcoin::taproot::TAPROOT_ANNEX_PREFIX;
use bitcoin::{Amount, OutPoint, Psbt, Transaction, TxOut, Witness};
use exchange_api::{ApiError, Code, FundingDraft, TradeView};
use exchange_ledger::ids::TradeId;
use exchange_ledger::trade::{Action, Command, Escrow, Event};

use super::{Trader, not_mine};
use crate::chain::{AskedOutput, ChainBackend, MAX_FEE_RATE, OutpointStatus};
use crate::errors::{ExplainResult, internal};
use crate::wallet::psbt;

/// How many coins fund one escrow: each is looked up on the chain.
const MAX_INPUTS: usize = 100;
/// How long that may take, less than callers wait. What was read of old blocks is known the next time.
const LOOK_TIMEOUT: Duration = Duration::from_secs(90);
/// How a signature says that it binds the whole transaction.
const SIGHASH_ALL: u8 = 1;

/// What funds an escrow, but for what only the chain knows: whether its coins are there.
pub(super) struct Unlooked {
    tx: Transaction,
    /// Its coins, as they claim to be.
    coins: Vec<(OutPoint, TxOut)>,
    chain: Arc<dyn ChainBackend>,
}

impl Unlooked {
    /// Looks its coins up, and returns it if they are there.
    pub(super) async fn look(self) -> Result<Transaction, ApiError> {
        let (reach, tip) = (self.chain.reach(), self.chain.tip().await.explained()?.height);
        let from_height = looked_from(reach, tip);
        let ask = |(outpoint, claimed): &(OutPoint, TxOut)| AskedOutput {
            outpoint: *outpoint,
            script: claimed.script_pubkey.clone(),
            from_height,
        };
        let asked: Vec<AskedOutput> = self.coins.iter().map(ask).collect();
        let found = tokio::time::timeout(LOOK_TIMEOUT, self.chain.named_outpoints(&asked)).await;
        let found = found.map_err(|_| still_reading())?.explained()?;
        for ((coin, claimed), found) in self.coins.iter().zip(found) {
            check_coin(*coin, claimed, found, reach.map(|_| from_height))?;
        }
        Ok(self.tx)
    }
}

impl Trader {
    /// Returns what funds the escrow from a wallet elsewhere.
    pub(super) async fn funding_draft(&self, id: TradeId) -> Result<FundingDraft, ApiError> {
        self.check_is_due(id).await?;
        let escrow = self.escrow(id)?;
        let address = escrow.address(self.tools.chain.network());
        let amount = escrow.output().value;
        Ok(FundingDraft {
            psbt: escrow.funding_psbt().to_string(),
            uri: format!("bitcoin:{address}?amount={}", amount.to_string_in(bitcoin::Denomination::Bitcoin)),
            address: address.to_string(),
            amount: amount.try_into().map_err(internal)?,
        })
    }

    /// Checks a transaction that was made and signed elsewhere, as far as that goes without the chain.
    pub(super) async fn check_signed(&self, id: TradeId, signed: &Psbt) -> Result<Unlooked, ApiError> {
        self.check_is_due(id).await?;
        self.checked_funding(&self.escrow(id)?, signed).await
    }

    /// Funds the escrow by a transaction that was checked: kept first, then broadcast.
    pub(super) async fn fund_by(&mut self, id: TradeId, tx: Transaction, dry_run: bool) -> Result<TradeView, ApiError> {
        self.check_is_due(id).await?;
        check_outputs(&self.escrow(id)?, &tx.output)?;
        let event = Event::FundingBuilt(tx.clone());
        if dry_run {
            let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
            active.trade.clone().handle(event).explained()?;
        } else {
            // What the own wallet had built for this escrow and nobody could keep before a crash is not needed any more.
            self.tools.wallet.release_funding(self.escrow(id)?.script()).await.explained()?;
            self.handle(id, event).await?;
            let label = format!("escrow of trade {}, paid from elsewhere", id.short());
            if let Err(error) = self.tools.wallet.set_label(tx.compute_txid(), label).await {
                tracing::debug!(%error, trade = %id, "a transaction has no label");
            }
        }
        self.show(id)
    }

    /// Refuses unless this side is to fund the escrow now.
    async fn check_is_due(&self, id: TradeId) -> Result<(), ApiError> {
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        let command = Command { action: Action::Fund, feerate: 1 };
        if active.trade.joint_terms().is_some() {
            let message = "the buyer's bond goes into the same transaction as your coins: both nodes make it together, each \
                           from its own wallet";
            let hint = "deposit coins and fund it from there: `exchange-node trade fund`, without a file";
            return Err(ApiError::new(Code::NotAllowed, message, hint));
        }
        active.trade.clone().handle(Event::Command(command)).explained()?;
        self.check_before_funding(active).await
    }

    async fn checked_funding(&self, escrow: &Escrow, signed: &Psbt) -> Result<Unlooked, ApiError> {
        let review = self.tools.wallet.review_psbt(signed.clone()).await.explained()?;
        if review.inputs.len() > MAX_INPUTS {
            return Err(refused(format!("it spends more than {MAX_INPUTS} coins")));
        }
        if let Some(own) = review.inputs.iter().find(|input| input.mine) {
            let message = format!("coin {} is in this node's own wallet, which pays by itself", own.outpoint);
            return Err(ApiError::new(Code::InvalidArgument, message, "`exchange-node trade fund`, without a file"));
        }
        check_outputs(escrow, &signed.unsigned_tx.output)?;
        let (tx, fee) = psbt::complete(signed).explained()?;
        check_witnesses(&tx)?;
        let spent = psbt::utxos(signed).into_iter().collect::<Option<Vec<TxOut>>>();
        let spent = spent.ok_or_else(|| refused("it hides what it spends"))?;
        check_signatures(signed, &tx, &spent)?;
        let vsize = tx.vsize() as u64; // usize is at most 64 bits
        if MAX_FEE_RATE.fee_vb(vsize).is_none_or(|limit| fee > limit) {
            return Err(refused(format!("its fee of {fee} is beyond all measure: its wallet has lost the change")));
        }
        let coins = tx.input.iter().map(|txin| txin.previous_output).zip(spent).collect();
        Ok(Unlooked { tx, coins, chain: Arc::clone(&self.tools.chain) })
    }
}

/// Returns the height from which on a coin is looked for whose age nobody states. A chain that need not read blocks for it
/// tells of it whatever its age is.
fn looked_from(reach: Option<u32>, tip: u32) -> u32 {
    tip.saturating_sub(reach.unwrap_or(0))
}

/// Refuses a coin that the chain does not show as it claims to be, in a block and unspent; it may have been looked for from a
/// height on only.
fn check_coin(coin: OutPoint, claimed: &TxOut, found: OutpointStatus, from: Option<u32>) -> Result<(), ApiError> {
    match (found, from) {
        (OutpointStatus::Unspent { output, height: Some(_) }, _) if output == *claimed => Ok(()),
        (OutpointStatus::Unspent { .. }, _) => Err(refused(format!("coin {coin} is not confirmed yet"))),
        (OutpointStatus::Unknown, Some(from)) => {
            let why = "a light client looks no further back: send it to yourself first, or use a Bitcoin Core node or \
                       an Electrum server";
            Err(refused(format!("no block from {from} on shows coin {coin}; {why}")))
        }
        (OutpointStatus::Unknown, None) | (OutpointStatus::Spent { .. }, _) => {
            Err(refused(format!("the chain shows no coin {coin} that could be spent")))
        }
    }
}

fn still_reading() -> ApiError {
    let message = "the blocks of the last half year are still being read for the coins of this transaction";
    ApiError::new(Code::NotSynced, message, "nothing was sent; repeat it in a minute: it goes on from there")
}

/// Refuses whatever does not pay the escrow exactly once: what is paid to it otherwise is hard to get back.
fn check_outputs(escrow: &Escrow, outputs: &[TxOut]) -> Result<(), ApiError> {
    let wanted = escrow.output();
    let to_escrow: Vec<Amount> = outputs
        .iter()
        .filter(|output| output.script_pubkey == wanted.script_pubkey)
        .map(|output| output.value)
        .collect();
    match to_escrow.as_slice() {
        [value] if *value == wanted.value => Ok(()),
        [] => Err(refused("it does not pay the escrow")),
        [value] => Err(refused(format!("it pays {value} into the escrow, which takes exactly {}", wanted.value))),
        [_, ..] => Err(refused("it pays the escrow more than once")),
    }
}

/// Refuses coins that are spent without a witness. A miner could write their scriptSigs another way, and so change the id by
/// which the seller's node knows its funding, while everybody else sees the escrow funded.
fn check_witnesses(tx: &Transaction) -> Result<(), ApiError> {
    let Some(old) = tx.input.iter().find(|input| input.witness.is_empty()) else { return Ok(()) };
    let coin = old.previous_output;
    Err(refused(format!("coin {coin} has no witness, so a miner could change the id; pay with SegWit coins")))
}

/// Refuses signatures that leave inputs or outputs open, in the file or in what it gives: whoever sees the transaction could make
/// another one of it, with another id, or take its change.
fn check_signatures(signed: &Psbt, tx: &Transaction, spent: &[TxOut]) -> Result<(), ApiError> {
    for ((input, txin), spent) in signed.inputs.iter().zip(&tx.input).zip(spent) {
        if !(says_whole(input) && binds_whole(&txin.witness, spent)) {
            let coin = txin.previous_output;
            let why = "is not signed for the whole transaction, so others could change it; sign with SIGHASH_ALL";
            return Err(refused(format!("coin {coin} {why}")));
        }
    }
    Ok(())
}

/// Tells whether a file asks for no other signatures than those of the whole transaction, and holds no other.
fn says_whole(input: &Input) -> bool {
    let asked = input.sighash_type.map(|kind| kind.to_u32());
    let taproot = input.tap_key_sig.iter().chain(input.tap_script_sigs.values());
    let taproot = taproot.map(|signature| u32::from(signature.sighash_type as u8)); // its discriminants are BIP-341's
    let others = input.partial_sigs.values().map(|signature| signature.sighash_type.to_u32());
    asked.into_iter().chain(taproot).chain(others).all(|kind| kind <= u32::from(SIGHASH_ALL))
}

/// Tells whether what unlocks a coin holds a signature, and none that does not bind the whole transaction. By a Taproot coin's
/// script whatever is as long as a signature counts as one.
fn binds_whole(witness: &Witness, spent: &TxOut) -> bool {
    let items: Vec<&[u8]> = witness.iter().collect();
    let kinds: Vec<u8> = if spent.script_pubkey.is_p2tr() {
        let items = match items.as_slice() {
            [rest @ .., annex] if !rest.is_empty() && annex.first() == Some(&TAPROOT_ANNEX_PREFIX) => rest,
            all => all,
        };
        let items = match items {
            [unlocks @ .., _script, _control] => unlocks,
            key_path => key_path,
        };
        let kind = |item: &&[u8]| match item.len() {
            // BIP-341: a signature without a type is one of the whole transaction.
            64 => Some(SIGHASH_ALL),
            65 => item.last().copied(),
            _ => None,
        };
        items.iter().filter_map(kind).collect()
    } else {
        let kind = |item: &&[u8]| {
            let (kind, signature) = item.split_last()?;
            ecdsa::Signature::from_der(signature).ok().map(|_| *kind)
        };
        items.iter().filter_map(kind).collect()
    };
    !kinds.is_empty() && kinds.iter().all(|kind| *kind == SIGHASH_ALL)
}

fn refused(why: impl Into<String>) -> ApiError {
    let hint = "nothing was sent; `exchange-node trade fund --psbt-out FILE` shows what it must pay";
    ApiError::new(Code::InvalidArgument, format!("this transaction does not fund the escrow: {}", why.into()), hint)
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;
    use bitcoin::secp256k1::{Message, Secp256k1, SecretKey, schnorr};
    use bitcoin::{EcdsaSighashType, PublicKey, ScriptBuf, TapSighashType, TxIn, WPubkeyHash};
    use exchange_ledger::body::Side;
    use exchange_ledger::testing::SampleTrade;

    use super::*;

    #[test]
    fn the_escrow_is_paid_exactly_once_or_not_at_all() {
        let escrow = SampleTrade::new(Side::Sell).escrow();
        let good = escrow.output();
        let change = TxOut { value: Amount::from_sat(5_000), script_pubkey: ScriptBuf::new_op_return([1; 4]) };
        let short = TxOut { value: good.value - Amount::ONE_SAT, ..good.clone() };
        let long = TxOut { value: good.value + Amount::ONE_SAT, ..good.clone() };
        assert!(check_outputs(&escrow, &[change.clone(), good.clone()]).is_ok());
        for bad in [
            vec![],
            vec![change.clone()],
            vec![short.clone()],
            vec![long],
            vec![good.clone(), good.clone()],
            vec![good, short],
        ] {
            assert!(check_outputs(&escrow, &bad).is_err(), "{bad:?}");
        }
    }

    /// A light client has no blocks from before Taproot, and reads no further back than it must.
    #[test]
    fn coins_are_looked_for_no_further_back_than_is_needed() {
        assert_eq!(looked_from(None, 900_000), 900_000, "others tell of coins of any age");
        assert_eq!(looked_from(Some(26_280), 900_000), 900_000 - 26_280);
        assert_eq!(looked_from(Some(26_280), 1_000), 0);
    }

    #[test]
    fn only_a_coin_that_is_there_as_it_claims_to_be_funds_an_escrow() {
        let coin = OutPoint::null();
        let claimed = SampleTrade::new(Side::Sell).escrow().output();
        let more = TxOut { value: claimed.value + Amount::ONE_SAT, ..claimed.clone() };
        let by = Box::new(SampleTrade::new(Side::Sell).funding(1));
        let unspent = |output: &TxOut, height| OutpointStatus::Unspent { output: output.clone(), height };
        let spent = OutpointStatus::Spent { output: claimed.clone(), height: Some(1), by, spent_height: None };
        for (found, is_fine) in [
            (unspent(&claimed, Some(1)), true),
            (unspent(&claimed, None), false),
            (unspent(&more, Some(1)), false),
            (spent, false),
            (OutpointStatus::Unknown, false),
        ] {
            for from in [None, Some(7)] {
                let checked = check_coin(coin, &claimed, found.clone(), from);
                assert_eq!(checked.is_ok(), is_fine, "{found:?}");
            }
        }
        let unseen = check_coin(coin, &claimed, OutpointStatus::Unknown, Some(7)).unwrap_err();
        assert!(unseen.message.contains("from 7 on"), "{unseen:?}");
    }

    /// Nobody can change the id of what spends by witnesses: scriptSigs are empty, or the one push of a script that is hashed.
    #[test]
    fn every_coin_is_spent_by_a_witness() {
        let input = |script_sig: &[u8], items: &[[u8; 64]]| {
            let (script_sig, witness) = (ScriptBuf::from_bytes(script_sig.to_vec()), Witness::from_slice(items));
            TxIn { script_sig, witness, ..TxIn::default() }
        };
        let (native, nested, old) = (input(&[], &[[1; 64]]), input(&[0], &[[1; 64]]), input(&[0], &[]));
        let mut tx = SampleTrade::new(Side::Sell).funding(1);
        tx.input = vec![native.clone(), nested];
        assert!(check_witnesses(&tx).is_ok());
        tx.input = vec![native, old];
        assert!(check_witnesses(&tx).is_err());
    }

    fn signed() -> ecdsa::Signature {
        let key = SecretKey::from_slice(&[7; 32]).unwrap();
        Secp256k1::new().sign_ecdsa(&Message::from_digest([9; 32]), &key)
    }

    /// Of one that leaves inputs or outputs open whoever sees it makes another, with another id, or takes what is left open.
    #[test]
    fn every_coin_is_spent_by_signatures_of_the_whole_transaction_alone() {
        fn binds(spent: &TxOut, items: &[&[u8]]) -> bool {
            binds_whole(&Witness::from_slice(items), spent)
        }
        let with = |signature: &[u8], kind: u8| [signature, &[kind]].concat();
        let [key, script, control, annex]: [Vec<u8>; 4] = [vec![2; 33], vec![0x51; 40], vec![0xc0; 65], vec![0x50, 2]];
        let script_pubkey = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([1; 20]));
        let coin = TxOut { value: Amount::ONE_SAT, script_pubkey };
        let der = signed().serialize_der();
        let [good, bad] = [1, 0x81].map(|kind| with(&der, kind));
        assert!(binds(&coin, &[&good, &key]) && binds(&coin, &[&[], &good, &good, &script]));
        assert!(!binds(&coin, &[&bad, &key]) && !binds(&coin, &[&[], &good, &bad, &script]));
        assert!(!binds(&coin, &[&[7; 32], &script]), "what no signature unlocks is anybody's");
        for kind in [0, 2, 3, 0x82, 0x83, 0x84] {
            assert!(!binds(&coin, &[&with(&der, kind), &key]), "{kind}");
        }

        let coin = SampleTrade::new(Side::Sell).escrow().output();
        let short = [1_u8; 64];
        let [good, bad] = [1, 0x83].map(|kind| with(&short, kind));
        for whole in [&short[..], &good[..]] {
            assert!(binds(&coin, &[whole]) && binds(&coin, &[whole, &annex]));
            assert!(binds(&coin, &[whole, &script, &control]) && binds(&coin, &[whole, &script, &control, &annex]));
        }
        assert!(!binds(&coin, &[&bad]) && !binds(&coin, &[&bad, &annex]));
        assert!(!binds(&coin, &[&short, &bad, &script, &control]) && !binds(&coin, &[&script, &control]));
    }

    #[test]
    fn a_file_asks_for_signatures_of_the_whole_transaction_alone() {
        let asks = |kind| says_whole(&Input { sighash_type: Some(kind), ..Input::default() });
        assert!(says_whole(&Input::default()));
        assert!(asks(TapSighashType::Default.into()) && asks(EcdsaSighashType::All.into()));
        assert!(!asks(TapSighashType::Single.into()) && !asks(EcdsaSighashType::AllPlusAnyoneCanPay.into()));
        let signature = schnorr::Signature::from_slice(&[1; 64]).unwrap();
        let taproot = bitcoin::taproot::Signature { signature, sighash_type: TapSighashType::None };
        assert!(!says_whole(&Input { tap_key_sig: Some(taproot), ..Input::default() }));
        let secret = SecretKey::from_slice(&[7; 32]).unwrap();
        let public = PublicKey::new(secret.public_key(&Secp256k1::new()));
        let other = bitcoin::ecdsa::Signature { signature: signed(), sighash_type: EcdsaSighashType::None };
        assert!(!says_whole(&Input { partial_sigs: [(public, other)].into(), ..Input::default() }));
    }
}
