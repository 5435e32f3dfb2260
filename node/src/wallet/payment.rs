//! Building, signing and checking the transactions of this wallet.

use bdk_wallet::error::CreateTxError;
use bdk_wallet::{AddUtxoError, KeychainKind, LocalOutput};
use bitcoin::absolute::LockTime;
use bitcoin::key::rand::SeedableRng;
use bitcoin::key::rand::rngs::StdRng;
use bitcoin::secp256k1::Message;
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, FeeRate, OutPoint, Psbt, ScriptBuf, Sequence, TapSighashType, Transaction, TxIn, TxOut, Txid, Weight,
    Witness,
};

use super::labels::check_label;
use super::persist::{Purpose, Reservation};
use super::state::{Coins, Known, State};
use super::{FundRequest, MAX_LABEL_BYTES, MAX_RESERVATIONS, Payment, Priced, SendRequest, WalletError};
use crate::chain::MAX_FEE_RATE;
use crate::chain::consensus::verify_spend;

/// The highest feerate with an explicit word: beyond it sums might overflow, and nobody means it.
pub(super) const EXPLICIT_MAX_FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(10_000);
/// The lowest feerate that is relayed.
pub const MIN_FEE_RATE: FeeRate = FeeRate::BROADCAST_MIN;
/// A fee is at most this part of the amount without an explicit word: a quarter.
pub(super) const FEE_DIVISOR: u64 = 4;
/// The weight of a payment without its inputs, at most: to a recipient whose script is long, and with change.
const PAYMENT_WEIGHT: Weight = Weight::from_wu(4 * (11 + 2 * 43));
/// The weight of an input of this wallet: a Taproot coin with its signature.
const INPUT_WEIGHT: Weight = Weight::from_wu(4 * 41 + 66);
/// The largest transaction that is relayed.
const MAX_WEIGHT: Weight = Weight::from_wu(400_000);
/// How many coins one transaction spends at most: no more fit one that is relayed.
pub const MAX_SPENT_COINS: usize = (MAX_WEIGHT.to_wu() / INPUT_WEIGHT.to_wu()) as usize; // some 1,700, which fits

/// What a transaction is to do.
pub(super) struct Order<'a> {
    pub script: &'a ScriptBuf,
    /// `None` for everything.
    pub amount: Option<Amount>,
    pub fee_rate: FeeRate,
    pub allow_high_fee: bool,
    /// The coins to spend, and no others; empty: any.
    pub coins: &'a [OutPoint],
}

impl State {
    /// Builds the funding of an escrow and sets its inputs aside. The same request again returns the same transaction.
    pub fn fund(&mut self, request: &FundRequest, fee_rate: FeeRate) -> Result<Payment, WalletError> {
        let FundRequest { script, amount, from_height, fee_rate: _, label } = request;
        if let Some(payment) = self.funding_of(script, *amount, *from_height)? {
            return Ok(payment);
        }
        let order = Order { script, amount: Some(*amount), fee_rate, allow_high_fee: false, coins: &[] };
        self.check_room(label)?;
        let payment = self.build(&order, None)?;
        self.keep(&payment, Purpose::Fund, &order, label, None)?;
        Ok(payment)
    }

    /// Builds a payment and, unless it is a dry run, sets its inputs aside. The same request id again returns the same
    /// transaction.
    pub fn send(&mut self, request: &SendRequest, fee_rate: FeeRate) -> Result<Payment, WalletError> {
        let SendRequest { request_id, script, amount, fee_rate: _, allow_high_fee, coins, dry_run, label, priced } =
            request;
        if request_id.is_empty() || request_id.len() > MAX_LABEL_BYTES {
            return Err(WalletError::BadLabel);
        }
        let purpose = Purpose::Send { request_id: request_id.clone() };
        for (txid, kept) in self.own.reservations().filter(|(_, kept)| kept.purpose == purpose) {
            if kept.script != *script || kept.asked != *amount {
                return Err(WalletError::AlreadyBuilt { txid, what: "request id" });
            }
            // What was cancelled, and a block has decided so, is no payment any more.
            if !self.is_cancelled(txid)? {
                return Ok(kept.payment());
            }
        }
        self.check_no_twin(script, *amount)?;
        let order = Order { script, amount: *amount, fee_rate, allow_high_fee: *allow_high_fee, coins };
        self.check_room(label)?;
        let payment = match priced {
            Some(priced) => self.build_priced(&order, *priced)?,
            None => self.build(&order, None)?,
        };
        if *dry_run {
            self.reuse_change(&payment.tx);
        } else {
            self.keep(&payment, purpose, &order, label, None)?;
        }
        Ok(payment)
    }

    /// Refuses to pay once more what was kept, the same amount to the same script, and of which neither pool nor chain shows any
    /// version. It may be out all the same: what refused it, or told nothing of it, can be somebody else's server. What was cancelled
    /// may be out, too, whatever a pool shows, until a block holds what cancels it. Of everything there is no twin: what is left goes
    /// there too.
    pub fn check_no_twin(&self, script: &ScriptBuf, amount: Option<Amount>) -> Result<(), WalletError> {
        let Some(amount) = amount else { return Ok(()) };
        let known = self.known();
        let is_twin = |kept: &Reservation| {
            matches!(kept.purpose, Purpose::Send { .. }) && kept.script == *script && kept.asked == Some(amount)
        };
        let is_seen = |last: Txid| self.own.versions(last).any(|(version, _)| known.contains_key(&version));
        for (txid, _) in self.own.reservations().filter(|(_, kept)| is_twin(kept)) {
            let is_last = self.own.last_version(txid) == txid;
            if !self.is_cancelled(txid)? && is_last && !is_seen(txid) {
                return Err(WalletError::StillUnseen { txid });
            }
        }
        Ok(())
    }

    /// Builds an unsigned payment for others to sign. Its coins are not set aside. What shows it shows a script for its change, of
    /// which there is no end.
    pub fn draft(&mut self, request: &SendRequest, fee_rate: FeeRate) -> Result<Psbt, WalletError> {
        self.require_watched()?;
        let SendRequest { script, amount, allow_high_fee, coins, .. } = request;
        self.check_no_twin(script, *amount)?;
        let order = Order { script, amount: *amount, fee_rate, allow_high_fee: *allow_high_fee, coins };
        let coins = self.choose(&order)?;
        self.select(&order, &coins, None)
    }

    /// Returns the funding of `script` that was built earlier, or that counts already. What was sent there in another amount is
    /// none, nor is what a block below `from` holds, and is neither taken for it nor in its way.
    fn funding_of(&self, script: &ScriptBuf, amount: Amount, from: u32) -> Result<Option<Payment>, WalletError> {
        let mut built = self.own.reservations().filter(|(_, r)| r.purpose == Purpose::Fund && r.script == *script);
        if let Some((txid, reservation)) = built.next() {
            return if reservation.asked == Some(amount) {
                Ok(Some(reservation.payment()))
            } else {
                Err(WalletError::AlreadyBuilt { txid, what: "escrow" })
            };
        }
        let pays =
            |tx: &Transaction| tx.output.iter().any(|output| output.script_pubkey == *script && output.value == amount);
        // What its owner sent there himself he may replace by another: no trade could know it by its id.
        let is_sent = |sent: &Reservation| pays(&sent.tx) && matches!(sent.purpose, Purpose::Send { .. });
        for (txid, _) in self.own.reservations().filter(|(_, sent)| is_sent(sent)) {
            if !self.is_cancelled(txid)? {
                return Err(WalletError::PaidByHand { txid });
            }
        }
        // A final transaction is reserved no longer, but still must not be repeated.
        let counts = |known: &Known| known.confirmation.as_ref().is_none_or(|anchor| anchor.block_id.height >= from);
        for known in self.known().into_values().filter(|known| pays(&known.tx) && counts(known)) {
            if let Some(fee) = self.fee_paid_alone(&known) {
                return Ok(Some(Payment { tx: known.tx.as_ref().clone(), amount, fee }));
            }
        }
        Ok(None)
    }

    /// Returns the fee of a transaction for which this wallet paid alone. A pool shows some that nobody signed, be it with coins of
    /// this wallet as inputs.
    fn fee_paid_alone(&self, known: &Known) -> Option<Amount> {
        let spent = known.tx.input.iter().map(|input| self.own_txout(input.previous_output));
        let prevouts = spent.collect::<Option<Vec<TxOut>>>()?;
        match known.confirmation {
            // Its witnesses may be those that a pool showed first: an id does not cover them.
            Some(_) => self.wallet.calculate_fee(&known.tx).ok(),
            None => verify_spend(&known.tx, &prevouts).ok(),
        }
    }

    /// Refuses what could not be kept, before anything is built.
    pub fn check_room(&self, label: &str) -> Result<(), WalletError> {
        if self.own.reservations().count() >= MAX_RESERVATIONS {
            return Err(WalletError::TooManyReservations);
        }
        check_label(label)
    }

    pub fn keep(
        &mut self,
        payment: &Payment,
        purpose: Purpose,
        order: &Order<'_>,
        label: &str,
        replaces: Option<Txid>,
    ) -> Result<(), WalletError> {
        self.set_label(payment.tx.compute_txid(), label)?;
        self.reserve(Reservation {
            purpose,
            script: order.script.clone(),
            asked: order.amount,
            amount: payment.amount,
            fee: payment.fee,
            tx: payment.tx.clone(),
            replaces,
        });
        Ok(())
    }

    /// Builds a payment that was shown before: of the coins that are named, for the fee that was shown, whatever the chain estimates
    /// by now. Where that is another payment than the one that was shown, none is built.
    fn build_priced(&mut self, order: &Order<'_>, priced: Priced) -> Result<Payment, WalletError> {
        let payment = match self.build(order, Some(priced.fee)) {
            Err(
                gone @ (WalletError::CoinNotSpendable { .. }
                | WalletError::UnknownCoin(_)
                | WalletError::InsufficientFunds { .. }),
            ) => return Err(WalletError::Outdated { reason: gone.to_string() }),
            built => built?,
        };
        let weight = payment.tx.weight();
        let is_relayed = MIN_FEE_RATE.fee_wu(weight).is_some_and(|least| payment.fee >= least);
        let refused = if (payment.amount, payment.fee) != (priced.amount, priced.fee) {
            let reason = format!("now {} would arrive, for a fee of {}", payment.amount, payment.fee);
            WalletError::Outdated { reason }
        } else if !is_relayed {
            let asked = payment.fee / weight;
            WalletError::FeeRate { asked, lowest: MIN_FEE_RATE, highest: MAX_FEE_RATE }
        } else {
            return Ok(payment);
        };
        self.reuse_change(&payment.tx);
        Err(refused)
    }

    /// Builds a payment: at the feerate of its order, or for this fee.
    fn build(&mut self, order: &Order<'_>, fee: Option<Amount>) -> Result<Payment, WalletError> {
        let coins = self.choose(order)?;
        let psbt = self.select(order, &coins, fee)?;
        let payment = self.sign(&psbt).and_then(|tx| self.check(tx, order, &coins));
        if payment.is_err() {
            self.reuse_change(&psbt.unsigned_tx);
        }
        payment
    }

    /// Returns the coins from which an order may be paid.
    fn choose(&self, order: &Order<'_>) -> Result<Coins, WalletError> {
        self.check_order(order)?;
        let mut coins = self.coins();
        if !order.coins.is_empty() {
            coins = self.only(order.coins, coins)?;
        }
        // No sum can overflow after this.
        let needed = order.amount.unwrap_or_else(|| order.script.minimal_non_dust());
        if needed > coins.balance.spendable {
            return Err(insufficient(with_fee(needed, order.fee_rate, &coins), &coins));
        }
        Ok(coins)
    }

    /// Leaves of the coins only those that were named, each of which must be there to be spent.
    fn only(&self, named: &[OutPoint], mut coins: Coins) -> Result<Coins, WalletError> {
        if named.len() > MAX_SPENT_COINS {
            return Err(WalletError::TooLarge);
        }
        for coin in named {
            if !coins.spendable.iter().any(|spendable| spendable.outpoint == *coin) {
                let state = self.find_coin(*coin)?.state;
                return Err(WalletError::CoinNotSpendable { coin: *coin, state });
            }
        }
        coins.spendable.retain(|coin| named.contains(&coin.outpoint));
        let sum = coins.spendable.iter().try_fold(Amount::ZERO, |sum, coin| sum.checked_add(coin.txout.value));
        coins.balance.spendable = sum.unwrap_or(Amount::MAX_MONEY).min(Amount::MAX_MONEY);
        Ok(coins)
    }

    /// Refuses what makes no sense whatever the wallet holds.
    pub fn check_order(&self, order: &Order<'_>) -> Result<(), WalletError> {
        if !self.synced {
            return Err(self.not_synced());
        }
        self.check_fee_rate(order.fee_rate, order.allow_high_fee)?;
        let minimum = order.script.minimal_non_dust();
        match order.amount.filter(|amount| *amount < minimum) {
            Some(amount) => Err(WalletError::Dust { amount, minimum }),
            None => Ok(()),
        }
    }

    pub fn check_fee_rate(&self, asked: FeeRate, allow_high_fee: bool) -> Result<(), WalletError> {
        let highest = if allow_high_fee { EXPLICIT_MAX_FEE_RATE } else { MAX_FEE_RATE };
        if asked < MIN_FEE_RATE || asked > highest {
            return Err(WalletError::FeeRate { asked, lowest: MIN_FEE_RATE, highest });
        }
        Ok(())
    }

    /// Returns what draws coins where several would do, and shuffles inputs and outputs: a stranger cannot foretell it, but for
    /// the same order from the same coins it is the same, so that what a dry run showed is what is sent.
    pub fn lots(&self, order: &Order<'_>, coins: &Coins) -> StdRng {
        let mut spendable: Vec<OutPoint> = coins.spendable.iter().map(|coin| coin.outpoint).collect();
        spendable.sort_unstable();
        let amount = order.amount.map_or(u64::MAX, Amount::to_sat); // more than all bitcoin stands for everything
        let numbers = [amount, order.fee_rate.to_sat_per_kwu(), spendable.len() as u64]; // usize is at most 64 bits
        let mut question: Vec<u8> = numbers.into_iter().flat_map(u64::to_be_bytes).collect();
        question.extend(spendable.iter().flat_map(bitcoin::consensus::serialize));
        question.extend_from_slice(order.script.as_bytes());
        StdRng::from_seed(self.keys.draw(&question))
    }

    /// Chooses coins and change.
    fn select(&mut self, order: &Order<'_>, coins: &Coins, fee: Option<Amount>) -> Result<Psbt, WalletError> {
        let mut lots = self.lots(order, coins);
        let asked = order.amount.unwrap_or_else(|| order.script.minimal_non_dust());
        let mut builder = self.wallet.build_tx();
        builder.fee_rate(order.fee_rate).unspendable(coins.withheld.iter().map(|coin| coin.outpoint).collect());
        if let Some(fee) = fee {
            builder.fee_absolute(fee);
        }
        if !order.coins.is_empty() {
            let unknown = |e: AddUtxoError| WalletError::Internal { reason: e.to_string() };
            builder.add_utxos(order.coins).map_err(unknown)?.manually_selected_only();
        }
        match order.amount {
            Some(amount) => builder.add_recipient(order.script.clone(), amount),
            None if order.coins.is_empty() => builder.drain_wallet().drain_to(order.script.clone()),
            None => builder.drain_to(order.script.clone()),
        };
        builder.finish_with_aux_rand(&mut lots).map_err(|error| match error {
            CreateTxError::CoinSelection(shortage) => {
                insufficient(shortage.needed.max(with_fee(asked, order.fee_rate, coins)), coins)
            }
            other => WalletError::Internal { reason: other.to_string() },
        })
    }

    /// Builds what brings coins of this wallet to one of its own scripts, all that they hold but the fee.
    pub fn bring(
        &self,
        coins: &[LocalOutput],
        fee: Amount,
        to: &ScriptBuf,
        version: Version,
    ) -> Result<Payment, WalletError> {
        let (mut tx, held) = bringing(coins, to, version)?;
        let amount = held.checked_sub(fee).filter(|amount| *amount >= to.minimal_non_dust());
        let amount = amount.ok_or(WalletError::HighFee { fee, amount: held })?;
        tx.output[0].value = amount;
        let prevouts: Vec<TxOut> = coins.iter().map(|coin| coin.txout.clone()).collect();
        let mut hashes = SighashCache::new(&tx);
        let mut signatures = Vec::with_capacity(coins.len());
        for (at, coin) in coins.iter().enumerate() {
            let hash = hashes.taproot_key_spend_signature_hash(at, &Prevouts::All(&prevouts), TapSighashType::Default);
            let message = Message::from(hash.map_err(|error| WalletError::Unsigned { reason: error.to_string() })?);
            signatures.push(self.keys.sign_as_owner(coin.keychain, coin.derivation_index, *message.as_ref()).1);
        }
        for (input, signature) in tx.input.iter_mut().zip(signatures) {
            input.witness = Witness::from_slice(&[signature.serialize()]);
        }
        if verify_spend(&tx, &prevouts)? == fee {
            Ok(Payment { tx, amount, fee })
        } else {
            Err(WalletError::WrongTransaction { reason: "it pays another fee".into() })
        }
    }

    pub fn sign(&self, psbt: &Psbt) -> Result<Transaction, WalletError> {
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
    pub fn check(&self, tx: Transaction, order: &Order<'_>, coins: &Coins) -> Result<Payment, WalletError> {
        let wrong = |reason: &str| WalletError::WrongTransaction { reason: reason.into() };
        let prevout = |input: &bitcoin::TxIn| -> Option<TxOut> {
            let coin = coins.spendable.iter().find(|coin| coin.outpoint == input.previous_output)?;
            Some(coin.txout.clone())
        };
        let prevouts: Option<Vec<TxOut>> = tx.input.iter().map(prevout).collect();
        let prevouts = prevouts.ok_or_else(|| wrong("it spends a coin that was not to be spent"))?;
        if tx.weight() > MAX_WEIGHT {
            return Err(WalletError::TooLarge);
        }
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
    pub fn payment(&self) -> Payment {
        Payment { tx: self.tx.clone(), amount: self.amount, fee: self.fee }
    }
}

/// Returns what brings all that coins of this wallet hold to one script, with room for the signatures, and how much that is. What it
/// pays by its weight has still to come off.
pub(super) fn bringing(
    coins: &[LocalOutput],
    to: &ScriptBuf,
    version: Version,
) -> Result<(Transaction, Amount), WalletError> {
    let held = coins.iter().try_fold(Amount::ZERO, |sum, coin| sum.checked_add(coin.txout.value));
    let held = held.ok_or_else(|| WalletError::Internal { reason: "a sum is beyond all bitcoin".into() })?;
    let signed = |coin: &LocalOutput| TxIn { witness: Witness::from_slice(&[[0; 64]]), ..input(coin.outpoint) };
    let tx = Transaction {
        version,
        lock_time: LockTime::ZERO,
        input: coins.iter().map(signed).collect(),
        output: vec![TxOut { value: held, script_pubkey: to.clone() }],
    };
    Ok((tx, held))
}

/// Returns the input by which a coin is spent, unsigned: what spends it can be replaced.
pub(super) fn input(coin: OutPoint) -> TxIn {
    TxIn {
        previous_output: coin,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    }
}

/// Returns what must be there to pay so much by all coins that can be spent and one more: who deposits what is missing can
/// pay then.
fn with_fee(amount: Amount, fee_rate: FeeRate, coins: &Coins) -> Amount {
    let inputs = coins.spendable.len() as u64 + 1; // usize is at most 64 bits, and nobody has so many
    let weight = PAYMENT_WEIGHT.to_wu().saturating_add(INPUT_WEIGHT.to_wu().saturating_mul(inputs));
    let fee = fee_rate.fee_wu(Weight::from_wu(weight)).unwrap_or(Amount::MAX_MONEY);
    amount.checked_add(fee).unwrap_or(Amount::MAX_MONEY)
}

pub(super) fn insufficient(needed: Amount, coins: &Coins) -> WalletError {
    let super::Balance { spendable: available, pending, reserved, frozen } = coins.balance;
    let missing = needed.checked_sub(available).unwrap_or_default();
    WalletError::InsufficientFunds { needed, available, pending, reserved, frozen, missing }
}
