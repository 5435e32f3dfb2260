//! Partially signed transactions (BIP-174): made here and signed elsewhere, or the other way round. Whoever brings one is a
//! stranger: what it says of our coins is compared with what we know, and the result with Bitcoin Core's own engine.

use bdk_wallet::miniscript::psbt::{PsbtExt, PsbtInputExt};
use bitcoin::{Address, Amount, OutPoint, Psbt, ScriptBuf, TapSighashType, Transaction, TxOut};

use super::coins::CoinState;
use super::payment::{FEE_DIVISOR, Order};
use super::persist::{Own, Purpose};
use super::state::State;
use super::{FinishRequest, MAX_LABEL_BYTES, Payment, WalletError};
use crate::chain::MAX_FEE_RATE;
use crate::chain::consensus::verify_spend;

/// The largest partially signed transaction that is read, as it comes: its base64 fits a request of the local API.
pub const MAX_PSBT_LEN: usize = 600_000;

/// What a partially signed transaction would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PsbtReview {
    /// What it spends.
    pub inputs: Vec<PsbtInput>,
    /// Whom it pays.
    pub outputs: Vec<PsbtOutput>,
    /// What it costs, when the values of all inputs are known.
    pub fee: Option<Amount>,
    /// What this wallet gives.
    pub sent: Amount,
    /// What comes back to it.
    pub received: Amount,
}

/// What a partially signed transaction spends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PsbtInput {
    /// The coin.
    pub outpoint: OutPoint,
    /// How much it holds, by our own knowledge if it is ours, else as is claimed.
    pub value: Option<Amount>,
    /// Whether it is this wallet's.
    pub mine: bool,
    /// Whether it is signed.
    pub signed: bool,
}

/// Whom a partially signed transaction pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PsbtOutput {
    /// The script.
    pub script: ScriptBuf,
    /// Its address, if it has one.
    pub address: Option<Address>,
    /// How much.
    pub value: Amount,
    /// Whether it is this wallet's.
    pub mine: bool,
}

impl State {
    /// Tells what a partially signed transaction would do.
    pub fn review_psbt(&self, psbt: &Psbt) -> PsbtReview {
        let inputs =
            psbt.unsigned_tx.input.iter().zip(&psbt.inputs).zip(utxos(psbt)).map(|((txin, input), claimed)| {
                let own = self.own_txout(txin.previous_output);
                PsbtInput {
                    outpoint: txin.previous_output,
                    value: own.as_ref().or(claimed.as_ref()).map(|txout| txout.value),
                    mine: own.is_some(),
                    signed: input.final_script_witness.is_some()
                        || input.final_script_sig.is_some()
                        || input.tap_key_sig.is_some()
                        || !input.tap_script_sigs.is_empty()
                        || !input.partial_sigs.is_empty(),
                }
            });
        let network = self.wallet.network();
        let outputs = psbt.unsigned_tx.output.iter().map(|output| PsbtOutput {
            address: Address::from_script(&output.script_pubkey, network).ok(),
            script: output.script_pubkey.clone(),
            value: output.value,
            mine: self.wallet.is_mine(output.script_pubkey.clone()),
        });
        let (inputs, outputs): (Vec<_>, Vec<_>) = (inputs.collect(), outputs.collect());
        let spent = inputs.iter().map(|input| input.value).collect::<Option<Vec<Amount>>>();
        let fee = spent.and_then(|spent| sum(spent)?.checked_sub(sum(outputs.iter().map(|output| output.value))?));
        let mine = inputs.iter().filter(|input| input.mine).filter_map(|input| input.value);
        let back = outputs.iter().filter(|output| output.mine).map(|output| output.value);
        // More than all bitcoin is nothing that anybody would sign.
        let (sent, received) = (sum(mine).unwrap_or(Amount::MAX_MONEY), sum(back).unwrap_or(Amount::MAX_MONEY));
        PsbtReview { inputs, outputs, fee, sent, received }
    }

    /// Signs the inputs that are this wallet's. Whoever has the file can send it at any time, so nothing else spends their coins
    /// until their owner says so: what he pays, or funds an escrow with, could never confirm. They can be signed for once more.
    pub fn sign_psbt(&mut self, psbt: &Psbt) -> Result<Psbt, WalletError> {
        let mine = self.own_inputs(psbt, None)?;
        if mine.is_empty() {
            return Err(bad("none of its coins is this wallet's"));
        }
        // Others' inputs must not lead our keys anywhere.
        let mut signing = psbt.clone();
        for (at, input) in signing.inputs.iter_mut().enumerate() {
            input.bip32_derivation.clear();
            input.tap_key_origins.clear();
            if let Some((_, txout)) = mine.iter().find(|(own, _)| *own == at) {
                self.describe(input, txout)?;
            }
        }
        self.keys.sign(&mut signing, self.wallet.secp_ctx())?;
        let mut signed = psbt.clone();
        let mut change = Own::default();
        for (at, txout) in mine {
            let signature = signing.inputs[at].tap_key_sig;
            signed.inputs[at].tap_key_sig = Some(signature.ok_or_else(|| bad("one of our coins did not sign"))?);
            signed.inputs[at].tap_internal_key = signing.inputs[at].tap_internal_key;
            signed.inputs[at].witness_utxo = Some(txout);
            change.signed_away.insert(psbt.unsigned_tx.input[at].previous_output, true);
        }
        self.record(change);
        self.note_spent(psbt);
        Ok(signed)
    }

    /// Completes a transaction that is signed by all, checks it, and keeps it before it goes out.
    pub fn finish_psbt(&mut self, request: &FinishRequest) -> Result<Payment, WalletError> {
        let FinishRequest { request_id, psbt, allow_high_fee, dry_run, label } = request;
        if request_id.is_empty() || request_id.len() > MAX_LABEL_BYTES {
            return Err(WalletError::BadLabel);
        }
        let txid = psbt.unsigned_tx.compute_txid();
        if let Some(kept) = self.own.reservations.get(&txid).and_then(Option::as_ref) {
            self.check_not_cancelled(txid)?;
            return Ok(kept.payment());
        }
        let mine = self.own_inputs(psbt, Some(txid))?;
        let (tx, fee) = complete(psbt)?;
        let paid = tx.output.iter().filter(|output| !self.wallet.is_mine(output.script_pubkey.clone()));
        let paid: Vec<&TxOut> = paid.collect();
        // Signed by this wallet alone it is a payment as any other, and no more to be made twice.
        if mine.len() == psbt.inputs.len() {
            paid.iter().try_for_each(|output| self.check_no_twin(&output.script_pubkey, Some(output.value)))?;
        }
        let script = paid.first().map(|output| output.script_pubkey.clone()).unwrap_or_default();
        let amount = sum(paid.iter().map(|output| output.value)).unwrap_or(Amount::MAX_MONEY);
        let vsize = tx.vsize() as u64; // lossless: usize is at most 64 bits
        let whole = sum(tx.output.iter().map(|output| output.value)).unwrap_or_default();
        let sane = MAX_FEE_RATE.fee_vb(vsize).is_some_and(|limit| fee <= limit)
            && fee.to_sat() <= whole.to_sat() / FEE_DIVISOR;
        if !sane && !allow_high_fee {
            return Err(WalletError::HighFee { fee, amount: whole });
        }
        let payment = Payment { tx, amount, fee };
        if !dry_run && !mine.is_empty() {
            self.check_room(label)?;
            let order = Order {
                script: &script,
                amount: Some(amount),
                fee_rate: MAX_FEE_RATE,
                allow_high_fee: *allow_high_fee,
                coins: &[],
            };
            self.keep(&payment, Purpose::Send { request_id: request_id.clone() }, &order, label, None)?;
            self.note_spent(psbt);
        }
        Ok(payment)
    }

    /// Remembers what a transaction spends, if others sign it too.
    fn note_spent(&mut self, psbt: &Psbt) {
        if let Some(spent) = utxos(psbt).into_iter().collect::<Option<Vec<TxOut>>>() {
            self.note_cosigned(&psbt.unsigned_tx, &spent);
        }
    }

    /// Returns which inputs are ours, with what they spend. Each must be free, and be what it is said to be.
    fn own_inputs(&self, psbt: &Psbt, by: Option<bitcoin::Txid>) -> Result<Vec<(usize, TxOut)>, WalletError> {
        if psbt.inputs.len() != psbt.unsigned_tx.input.len() || psbt.inputs.is_empty() {
            return Err(bad("it has no inputs"));
        }
        let mut mine = Vec::new();
        for (at, claimed) in utxos(psbt).into_iter().enumerate() {
            let outpoint = psbt.unsigned_tx.input[at].previous_output;
            let claimed = claimed.ok_or_else(|| bad(format!("it does not say what coin {outpoint} holds")))?;
            let Some(own) = self.own_txout(outpoint) else { continue };
            if own != claimed {
                return Err(bad(format!("coin {outpoint} is not what it is said to be")));
            }
            let input = &psbt.inputs[at];
            let whole = input.sighash_type.is_none_or(|kind| {
                kind.taproot_hash_ty().is_ok_and(|kind| matches!(kind, TapSighashType::Default | TapSighashType::All))
            });
            if !whole || input.tap_merkle_root.is_some() {
                return Err(bad(format!("coin {outpoint} is not to be signed as a whole")));
            }
            match self.find_coin(outpoint)?.state {
                CoinState::Spendable => {}
                CoinState::Frozen if !self.own.is_frozen(&outpoint) => {}
                CoinState::Reserved { by: reserved, .. } if by == Some(reserved) => {}
                state => return Err(WalletError::CoinNotSpendable { coin: outpoint, state }),
            }
            mine.push((at, own));
        }
        Ok(mine)
    }

    /// Says how the key of an own input is derived.
    fn describe(&self, input: &mut bitcoin::psbt::Input, txout: &TxOut) -> Result<(), WalletError> {
        let derivation = self.wallet.derivation_of_spk(txout.script_pubkey.clone());
        let (keychain, index) = derivation.ok_or_else(|| bad("a coin of ours has no key"))?;
        let descriptor = self.wallet.public_descriptor(keychain).at_derivation_index(index);
        let internal = |reason: String| WalletError::Internal { reason };
        let descriptor = descriptor.map_err(|e| internal(e.to_string()))?;
        input.update_with_descriptor_unchecked(&descriptor).map_err(|e| internal(e.to_string()))?;
        input.witness_utxo = Some(txout.clone());
        Ok(())
    }

    /// Returns an output that this wallet owns or owned.
    pub fn own_txout(&self, outpoint: OutPoint) -> Option<TxOut> {
        self.wallet.spk_index().txout(outpoint).map(|(_, txout)| txout.clone())
    }
}

/// Reads a partially signed transaction in base64 or as bytes.
///
/// # Errors
/// [`WalletError::BadPsbt`] when it is none, or too large.
pub fn decode(bytes: &[u8]) -> Result<Psbt, WalletError> {
    if bytes.len() > MAX_PSBT_LEN {
        return Err(bad(format!("it has more than {MAX_PSBT_LEN} bytes")));
    }
    if bytes.starts_with(b"psbt") {
        return Psbt::deserialize(bytes).map_err(|e| bad(e.to_string()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| bad("it is neither base64 nor a binary one"))?;
    text.trim().parse().map_err(|e: bitcoin::psbt::PsbtParseError| bad(e.to_string()))
}

/// Completes a transaction that everybody signed, and checks it by Bitcoin Core's engine. Returns it and its fee.
///
/// # Errors
/// [`WalletError::BadPsbt`] when a signature is missing or something in it is wrong, or the engine's refusal.
pub fn complete(psbt: &Psbt) -> Result<(Transaction, Amount), WalletError> {
    let prevouts: Option<Vec<TxOut>> = utxos(psbt).into_iter().collect();
    let prevouts = prevouts.ok_or_else(|| bad("it does not say what its coins hold"))?;
    let mut whole = psbt.clone();
    let secp = bitcoin::secp256k1::Secp256k1::verification_only();
    let is_final =
        |input: &bitcoin::psbt::Input| input.final_script_witness.is_some() || input.final_script_sig.is_some();
    for at in 0..whole.inputs.len() {
        if !is_final(&whole.inputs[at]) {
            whole.finalize_inp_mut(&secp, at).map_err(|e| bad(format!("input {at} is not signed by all: {e}")))?;
        }
    }
    // What its coins hold was claimed, and the signatures cover it.
    let tx = whole.extract_tx_unchecked_fee_rate();
    let fee = verify_spend(&tx, &prevouts)?;
    Ok((tx, fee))
}

/// Returns what each input is said to spend.
pub fn utxos(psbt: &Psbt) -> Vec<Option<TxOut>> {
    let inputs = psbt.unsigned_tx.input.iter().zip(&psbt.inputs);
    let utxo =
        |(txin, input): (&bitcoin::TxIn, &bitcoin::psbt::Input)| match (&input.witness_utxo, &input.non_witness_utxo) {
            (Some(txout), _) => Some(txout.clone()),
            (None, Some(tx)) if tx.compute_txid() == txin.previous_output.txid => {
                tx.output.get(txin.previous_output.vout as usize).cloned() // u32 fits
            }
            (None, Some(_) | None) => None,
        };
    inputs.map(utxo).collect()
}

fn sum(amounts: impl IntoIterator<Item = Amount>) -> Option<Amount> {
    amounts.into_iter().try_fold(Amount::ZERO, Amount::checked_add)
}

fn bad(reason: impl Into<String>) -> WalletError {
    WalletError::BadPsbt { reason: reason.into() }
}
