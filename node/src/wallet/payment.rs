//! Building, signing and checking the transactions of this wallet.

use bdk_wallet::KeychainKind;
use bdk_wallet::error::CreateTxError;
use bitcoin::{Amount, FeeRate, Psbt, ScriptBuf, Transaction, TxOut};

use super::persist::{Purpose, Reservation};
use super::state::{Coins, State};
use super::{FundRequest, MAX_LABEL_BYTES, MAX_RESERVATIONS, Payment, SendRequest, WalletError};
use crate::chain::consensus::verify_spend;

/// The highest feerate without an explicit word: mainnet asked for it on its fullest days.
pub const MAX_FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(500);
/// The highest feerate even then: beyond it sums might overflow, and nobody means it.
const EXPLICIT_MAX_FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(10_000);
/// The lowest feerate that is relayed.
pub const MIN_FEE_RATE: FeeRate = FeeRate::BROADCAST_MIN;
/// A fee is at most this part of the amount without an explicit word: a quarter.
const FEE_DIVISOR: u64 = 4;

/// What a transaction is to do.
struct Order<'a> {
    script: &'a ScriptBuf,
    /// `None` for everything.
    amount: Option<Amount>,
    fee_rate: FeeRate,
    allow_high_fee: bool,
}

impl State {
    /// Builds the funding of an escrow and sets its inputs aside. The same request again returns the same transaction.
    pub fn fund(&mut self, request: &FundRequest, fee_rate: FeeRate) -> Result<Payment, WalletError> {
        let FundRequest { script, amount, fee_rate: _, label } = request;
        if let Some(payment) = self.funding_of(script, *amount)? {
            return Ok(payment);
        }
        let order = Order { script, amount: Some(*amount), fee_rate, allow_high_fee: false };
        self.check_room(label)?;
        let payment = self.build(&order)?;
        self.keep(&payment, Purpose::Fund, &order, label)?;
        Ok(payment)
    }

    /// Builds a payment and, unless it is a dry run, sets its inputs aside. The same request id again returns the same
    /// transaction.
    pub fn send(&mut self, request: &SendRequest, fee_rate: FeeRate) -> Result<Payment, WalletError> {
        let SendRequest { request_id, script, amount, fee_rate: _, allow_high_fee, dry_run, label } = request;
        if request_id.is_empty() || request_id.len() > MAX_LABEL_BYTES {
            return Err(WalletError::BadLabel);
        }
        let purpose = Purpose::Send { request_id: request_id.clone() };
        if let Some((txid, reservation)) = self.own.reservations().find(|(_, r)| r.purpose == purpose) {
            return if reservation.script == *script && reservation.asked == *amount {
                Ok(reservation.payment())
            } else {
                Err(WalletError::AlreadyBuilt { txid, what: "request id" })
            };
        }
        let order = Order { script, amount: *amount, fee_rate, allow_high_fee: *allow_high_fee };
        self.check_room(label)?;
        let payment = self.build(&order)?;
        if *dry_run {
            self.reuse_change(&payment.tx);
        } else {
            self.keep(&payment, purpose, &order, label)?;
        }
        Ok(payment)
    }

    /// Returns the funding of `script` that was built earlier, or that counts already.
    fn funding_of(&self, script: &ScriptBuf, amount: Amount) -> Result<Option<Payment>, WalletError> {
        let mut built = self.own.reservations().filter(|(_, r)| r.purpose == Purpose::Fund && r.script == *script);
        if let Some((txid, reservation)) = built.next() {
            return if reservation.asked == Some(amount) {
                Ok(Some(reservation.payment()))
            } else {
                Err(WalletError::AlreadyBuilt { txid, what: "escrow" })
            };
        }
        // A final transaction is reserved no longer, but still must not be repeated.
        for (txid, known) in self.known() {
            let Ok(fee) = self.wallet.calculate_fee(&known.tx) else {
                continue;
            };
            if let Some(output) = known.tx.output.iter().find(|output| output.script_pubkey == *script) {
                return if output.value == amount {
                    Ok(Some(Payment { tx: known.tx.as_ref().clone(), amount, fee }))
                } else {
                    Err(WalletError::AlreadyBuilt { txid, what: "escrow" })
                };
            }
        }
        Ok(None)
    }

    /// Refuses what could not be kept, before anything is built.
    fn check_room(&self, label: &str) -> Result<(), WalletError> {
        if self.own.reservations().count() >= MAX_RESERVATIONS {
            return Err(WalletError::TooManyReservations);
        }
        self.check_label(label)
    }

    fn keep(&mut self, payment: &Payment, purpose: Purpose, order: &Order<'_>, label: &str) -> Result<(), WalletError> {
        self.set_label(payment.tx.compute_txid(), label)?;
        self.reserve(Reservation {
            purpose,
            script: order.script.clone(),
            asked: order.amount,
            amount: payment.amount,
            fee: payment.fee,
            tx: payment.tx.clone(),
        });
        Ok(())
    }

    fn build(&mut self, order: &Order<'_>) -> Result<Payment, WalletError> {
        if !self.synced {
            return Err(self.not_synced());
        }
        let highest = if order.allow_high_fee { EXPLICIT_MAX_FEE_RATE } else { MAX_FEE_RATE };
        if order.fee_rate < MIN_FEE_RATE || order.fee_rate > highest {
            return Err(WalletError::FeeRate { asked: order.fee_rate, lowest: MIN_FEE_RATE, highest });
        }
        let minimum = order.script.minimal_non_dust();
        if let Some(amount) = order.amount.filter(|amount| *amount < minimum) {
            return Err(WalletError::Dust { amount, minimum });
        }
        let coins = self.coins();
        // No sum below can overflow after this.
        let needed = order.amount.unwrap_or(minimum);
        if needed > coins.balance.spendable {
            return Err(insufficient(needed, &coins));
        }
        let psbt = self.select(order, &coins)?;
        let payment = self.sign(&psbt).and_then(|tx| self.check(tx, order, &coins));
        if payment.is_err() {
            self.reuse_change(&psbt.unsigned_tx);
        }
        payment
    }

    /// Chooses coins and change.
    fn select(&mut self, order: &Order<'_>, coins: &Coins) -> Result<Psbt, WalletError> {
        let mut builder = self.wallet.build_tx();
        builder.fee_rate(order.fee_rate).unspendable(coins.withheld.clone());
        match order.amount {
            Some(amount) => builder.add_recipient(order.script.clone(), amount),
            None => builder.drain_wallet().drain_to(order.script.clone()),
        };
        builder.finish().map_err(|error| match error {
            CreateTxError::CoinSelection(shortage) => insufficient(shortage.needed, coins),
            other => WalletError::Internal { reason: other.to_string() },
        })
    }

    fn sign(&self, psbt: &Psbt) -> Result<Transaction, WalletError> {
        let mut signed = psbt.clone();
        self.keys.sign(&mut signed, self.wallet.secp_ctx())?;
        let unsigned = |reason: String| WalletError::Unsigned { reason };
        let finalized = self.wallet.try_finalize_psbt(&mut signed).map_err(|e| unsigned(e.to_string()))?;
        if !finalized.is_finalized() {
            return Err(unsigned("an input is not satisfied".into()));
        }
        // Fees are limited by `check`, which knows what was allowed.
        Ok(signed.extract_tx_unchecked_fee_rate())
    }

    /// Checks a signed transaction as if a stranger had built it.
    fn check(&self, tx: Transaction, order: &Order<'_>, coins: &Coins) -> Result<Payment, WalletError> {
        let wrong = |reason: &str| WalletError::WrongTransaction { reason: reason.into() };
        let prevout = |input: &bitcoin::TxIn| -> Option<TxOut> {
            let coin = coins.spendable.iter().find(|coin| coin.outpoint == input.previous_output)?;
            Some(coin.txout.clone())
        };
        let prevouts: Option<Vec<TxOut>> = tx.input.iter().map(prevout).collect();
        let prevouts = prevouts.ok_or_else(|| wrong("it spends a coin that was not to be spent"))?;
        let fee = verify_spend(&tx, &prevouts)?;
        let (paid, change): (Vec<_>, Vec<_>) =
            tx.output.iter().partition(|output| output.script_pubkey == *order.script);
        let [paid] = paid.as_slice() else {
            return Err(wrong("it does not pay the recipient exactly once"));
        };
        let amount = paid.value;
        if order.amount.is_some_and(|asked| asked != amount) {
            return Err(wrong("it pays another amount than asked"));
        }
        let is_change = |output: &&TxOut| {
            let derivation = self.wallet.derivation_of_spk(output.script_pubkey.clone());
            matches!(derivation, Some((KeychainKind::Internal, _)))
        };
        if change.len() > 1 || !change.iter().all(is_change) {
            return Err(wrong("it pays somebody else"));
        }
        let vsize = tx.vsize() as u64; // lossless: usize is at most 64 bits
        let sane = MAX_FEE_RATE.fee_vb(vsize).is_some_and(|limit| fee <= limit)
            && fee.to_sat() <= amount.to_sat() / FEE_DIVISOR;
        if !sane && !order.allow_high_fee {
            return Err(WalletError::HighFee { fee, amount });
        }
        Ok(Payment { tx, amount, fee })
    }
}

impl Reservation {
    fn payment(&self) -> Payment {
        Payment { tx: self.tx.clone(), amount: self.amount, fee: self.fee }
    }
}

fn insufficient(needed: Amount, coins: &Coins) -> WalletError {
    let super::Balance { spendable: available, pending, reserved } = coins.balance;
    let missing = needed.checked_sub(available).unwrap_or_default();
    WalletError::InsufficientFunds { needed, available, pending, reserved, missing }
}
