//! The one transaction that follows from what both sides bring: amounts, order, signatures.

use bitcoin::absolute::LockTime;
use bitcoin::secp256k1::{Message, Secp256k1};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{OutPoint, ScriptBuf, Sequence, TapSighashType, Transaction, TxIn, TxOut, Witness};

use super::{Funder, FundingError, Proposal, Terms, output_key};
use crate::money::Sats;
use crate::rules::MAX_SPEND_FEERATE;
use crate::trade::Role;
use crate::wire::CurveSignature;

/// What every transaction with witnesses weighs, in weight units: version, lock time, two counts, marker and flag. Each
/// side pays half.
const FRAME_WEIGHT: u64 = 42;
/// An input that spends an output by its key: outpoint, empty script, sequence; a witness of one signature of 64 bytes.
const INPUT_WEIGHT: u64 = 4 * 41 + 66;
/// The largest output of a standard type: 34 bytes of script.
const LARGEST_OUTPUT_WEIGHT: u64 = 4 * (9 + 34);
/// Change below this goes to the fee: an output of any standard type may count as dust.
const DUST_LIMIT: u64 = 546;

/// A funding transaction, with the outputs that it spends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    tx: Transaction,
    prevouts: Vec<TxOut>,
    /// The coins of each side, in the order in which it named them.
    seller_inputs: Vec<OutPoint>,
    buyer_inputs: Vec<OutPoint>,
}

impl Draft {
    /// Computes the transaction of a proposal.
    ///
    /// # Errors
    /// The first thing about either side that is wrong.
    pub fn new(terms: &Terms, proposal: &Proposal, seller: &Funder, buyer: &Funder) -> Result<Self, FundingError> {
        let Proposal { feerate, height, .. } = *proposal;
        if feerate == 0 || feerate > MAX_SPEND_FEERATE {
            return Err(FundingError::Feerate { feerate, highest: MAX_SPEND_FEERATE });
        }
        let mut inputs: Vec<(TxIn, TxOut)> = Vec::new();
        let mut outputs = vec![terms.seller_output.clone(), terms.buyer_output.clone()];
        for (role, funder, other) in [(Role::Seller, seller, buyer), (Role::Buyer, buyer, seller)] {
            inputs.extend(funder.inputs()?);
            let change = funder.contribution.change.script();
            let escrows = [&terms.seller_output.script_pubkey, &terms.buyer_output.script_pubkey];
            if escrows.contains(&change) || change == other.contribution.change.script() {
                return Err(FundingError::Change(role));
            }
            if let Some(value) = change_of(role, funder, terms.output(role), feerate)? {
                outputs.push(TxOut { value: value.into(), script_pubkey: change.clone() });
            }
        }
        inputs.sort_by_key(|(input, _)| input.previous_output);
        if let Some(pair) = inputs.windows(2).find(|pair| pair[0].0.previous_output == pair[1].0.previous_output) {
            return Err(FundingError::Duplicate(pair[0].0.previous_output));
        }
        outputs.sort_by(|a, b| (a.value, &a.script_pubkey).cmp(&(b.value, &b.script_pubkey)));
        let (input, prevouts) = inputs.into_iter().unzip();
        let lock_time = LockTime::from_height(height).map_err(|_| FundingError::LockHeight { height })?;
        Ok(Self {
            // TRUC: whoever spends its change before it confirms cannot pin it.
            tx: Transaction { version: Version(3), lock_time, input, output: outputs },
            prevouts,
            seller_inputs: seller.outpoints(),
            buyer_inputs: buyer.outpoints(),
        })
    }

    /// Returns the transaction, with the witnesses that were attached.
    pub const fn tx(&self) -> &Transaction {
        &self.tx
    }

    /// Returns the outputs that it spends, in the order of its inputs.
    pub fn prevouts(&self) -> &[TxOut] {
        &self.prevouts
    }

    /// Returns the coins of a side, in the order in which it named them.
    pub fn coins(&self, role: Role) -> &[OutPoint] {
        match role {
            Role::Seller => &self.seller_inputs,
            Role::Buyer | Role::Arbiter => &self.buyer_inputs,
        }
    }

    /// Returns the position of a coin among the inputs and what a signature for it covers: all inputs with their amounts,
    /// all outputs (SIGHASH_DEFAULT). `None` for a coin that the transaction does not spend.
    pub fn sighash(&self, coin: &OutPoint) -> Option<(usize, Message)> {
        let at = self.tx.input.iter().position(|input| input.previous_output == *coin)?;
        let sighash = SighashCache::new(&self.tx)
            .taproot_key_spend_signature_hash(at, &Prevouts::All(&self.prevouts), TapSighashType::Default)
            .expect("each input has its prevout");
        Some((at, Message::from(sighash)))
    }

    /// Checks the signatures of a side, one for each of its coins in their order, and attaches them.
    ///
    /// # Errors
    /// [`FundingError::Signature`]; nothing is attached then.
    pub fn attach(&mut self, role: Role, signatures: &[CurveSignature]) -> Result<(), FundingError> {
        let wrong = || FundingError::Signature(role);
        let coins = self.coins(role).to_vec();
        if coins.len() != signatures.len() {
            return Err(wrong());
        }
        let mut places = Vec::with_capacity(coins.len());
        for (coin, signature) in coins.iter().zip(signatures) {
            let (at, message) = self.sighash(coin).ok_or_else(wrong)?;
            let key = output_key(&self.prevouts[at].script_pubkey).ok_or_else(wrong)?;
            Secp256k1::verification_only().verify_schnorr(&signature.0, &message, &key).map_err(|_| wrong())?;
            places.push(at);
        }
        for (at, signature) in places.into_iter().zip(signatures) {
            self.tx.input[at].witness = Witness::from_slice(&[signature.0.serialize()]);
        }
        Ok(())
    }

    /// Reads the signatures of a side from a transaction with witnesses: `None` unless it is this transaction, and each of
    /// the side's inputs holds one signature of 64 bytes and nothing else.
    pub fn signatures_in(&self, tx: &Transaction, role: Role) -> Option<Vec<CurveSignature>> {
        if tx.compute_txid() != self.tx.compute_txid() {
            return None;
        }
        let signature = |coin: &OutPoint| {
            let input = tx.input.iter().find(|input| input.previous_output == *coin)?;
            let [signature] = input.witness.to_vec().try_into().ok()?;
            let signature: Vec<u8> = signature;
            bitcoin::secp256k1::schnorr::Signature::from_slice(&signature).ok().map(CurveSignature)
        };
        self.coins(role).iter().map(signature).collect()
    }
}

impl Funder {
    /// Returns its coins.
    pub fn outpoints(&self) -> Vec<OutPoint> {
        self.contribution.inputs.iter().map(|coin| coin.outpoint.0).collect()
    }

    fn inputs(&self) -> Result<Vec<(TxIn, TxOut)>, FundingError> {
        if self.values.len() != self.contribution.inputs.len() {
            return Err(FundingError::Unexpected);
        }
        let input = |(coin, value): (&super::Input, &Sats)| {
            let input = TxIn {
                previous_output: coin.outpoint.0,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::new(),
            };
            (input, TxOut { value: (*value).into(), script_pubkey: coin.script() })
        };
        Ok(self.contribution.inputs.iter().zip(self.values.iter()).map(input).collect())
    }
}

/// Returns what a side's coins must hold: its output, and its part of the fee without change. `None` beyond all bitcoin.
pub fn needed(output: &TxOut, coins: usize, feerate: u64) -> Option<Sats> {
    let value = Sats::try_from(output.value).ok()?;
    value.checked_add(fee(weight_of(output, coins)?, feerate)?)
}

/// Returns the most that leaves a side's wallet at a feerate, whether there is change or not.
pub fn most(output: &TxOut, coins: usize, feerate: u64) -> Option<Sats> {
    // What is not worth an output is below the dust limit and what the largest output costs.
    let change = fee(LARGEST_OUTPUT_WEIGHT, feerate)?.checked_add(Sats::new(DUST_LIMIT)?)?;
    needed(output, coins, feerate)?.checked_add(change)
}

/// Returns the weight of a side's part without change.
fn weight_of(output: &TxOut, coins: usize) -> Option<u64> {
    let coins = u64::try_from(coins).ok()?.checked_mul(INPUT_WEIGHT)?;
    coins.checked_add(FRAME_WEIGHT / 2)?.checked_add(output_weight(&output.script_pubkey).ok()?)
}

/// Returns what a side gets back: what its coins hold, less its output and what its part of the transaction costs. `None`
/// when that is not worth an output.
fn change_of(role: Role, funder: &Funder, output: &TxOut, feerate: u64) -> Result<Option<Sats>, FundingError> {
    if funder.values.is_empty() {
        return Err(FundingError::Empty(role));
    }
    let held = funder.values.iter().try_fold(Sats::ZERO, |sum, value| sum.checked_add(*value));
    let held = held.ok_or(FundingError::Overflow)?;
    let weight = weight_of(output, funder.values.len()).ok_or(FundingError::Overflow)?;
    let needed = needed(output, funder.values.len(), feerate).ok_or(FundingError::Overflow)?;
    let rest = held.checked_sub(needed).ok_or(FundingError::Short { role, held, needed })?;
    let weight = weight + output_weight(funder.contribution.change.script())?;
    let with_change = Sats::try_from(output.value).ok().and_then(|value| value.checked_add(fee(weight, feerate)?));
    let change = with_change.and_then(|needed| held.checked_sub(needed));
    debug_assert!(change.is_none_or(|change| change < rest), "change costs something");
    Ok(change.filter(|change| change.get() >= DUST_LIMIT))
}

/// Returns what a weight costs, rounded up.
fn fee(weight: u64, feerate: u64) -> Option<Sats> {
    weight.checked_mul(feerate).map(|quarters| quarters.div_ceil(4)).and_then(Sats::new)
}

fn output_weight(script: &ScriptBuf) -> Result<u64, FundingError> {
    let len = u64::try_from(script.len()).map_err(|_| FundingError::Overflow)?;
    Ok(4 * (9 + len)) // standard scripts are below 253 bytes, so their length takes one byte
}
