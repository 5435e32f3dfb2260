//! Raising the fee of what waits for a block.
//!
//! A payment that this wallet alone signed, and on which nothing rests yet, is *replaced*: the same coins, the same amount
//! to the same recipient, a higher fee. Everything else gets a *child* that spends an output of ours back to ourselves and
//! pays for both: the funding of an escrow, which must never be another transaction, and what others signed with us. A
//! child of a version 3 transaction is one too, so that it can neither be pinned nor pin (BIP-431).

use std::collections::HashSet;

use bdk_wallet::coin_selection::LargestFirstCoinSelection;
use bdk_wallet::error::{BuildFeeBumpError, CreateTxError};
use bdk_wallet::{AddUtxoError, KeychainKind, LocalOutput};
use bitcoin::transaction::{InputWeightPrediction, Version, predict_weight};
use bitcoin::{Amount, FeeRate, OutPoint, Psbt, ScriptBuf, Transaction, TxOut, Txid};

use super::labels::shortened;
use super::payment::{EXPLICIT_MAX_FEE_RATE, FEE_DIVISOR, Order, insufficient};
use super::persist::{Purpose, Reservation};
use super::state::{Coins, Known, State, TRUC_VERSION};
use super::{
    BumpRequest, Bumped, CancelRequest, ChildRequest, FeeRaise, Payment, PricedCancel, PricedRaise, WalletError,
};
use crate::chain::MAX_FEE_RATE;

/// What a node asks a replacement to pay beyond what it replaces: 1 sat/vB of its own size (BIP-125, rule 4).
const INCREMENT_SAT_VB: u64 = 1;
/// The length of a Taproot output's script.
const P2TR_SCRIPT_LEN: usize = 34;

/// An unconfirmed transaction with those it rests on: their sizes and fees.
#[derive(Debug, Clone, Copy)]
struct Package {
    vsize: u64,
    fee: Amount,
}

impl State {
    /// Raises the fee of a transaction of ours by a replacement, or else by a child.
    pub fn bump(&mut self, request: &BumpRequest, fee_rate: FeeRate) -> Result<Bumped, WalletError> {
        let purpose = Purpose::Send { request_id: request.request_id.clone() };
        if let Some((txid, built)) = self.own.reservations().find(|(_, reservation)| reservation.purpose == purpose) {
            let is_later = self.own.versions(txid).skip(1).any(|(version, _)| version == request.txid);
            // What cancels a payment raises no fee of it.
            let replaced = built.replaces.filter(|of| is_later && self.own.cancels(txid) != Some(*of));
            let of = replaced.ok_or(WalletError::AlreadyBuilt { txid, what: "request id" })?;
            self.check_not_cancelled(txid)?;
            return Ok(Bumped { payment: built.payment(), raise: FeeRaise::Replacement { of } });
        }
        // Of a payment that was replaced, the last version counts; of a child, the parent, or what has taken its place.
        let parent = self.own.parent_of(&request.txid).filter(|of| self.own.replacement_of(of).is_some());
        let txid = self.own.last_version(parent.unwrap_or(request.txid));
        let reservation = self.own.reservations.get(&txid).cloned().flatten();
        let known = self.known();
        let is_confirmed = |txid: &Txid| known.get(txid).is_some_and(|known| known.confirmation.is_some());
        let in_block = self.own.versions(txid).map(|(version, _)| version).chain([txid]).find(is_confirmed);
        if let Some(txid) = in_block {
            return Err(WalletError::AlreadyConfirmed { txid });
        }
        if !request.by_trade && reservation.as_ref().is_some_and(|built| self.waits_for_its_trade(built)) {
            let reason = "it is part of a trade and was not seen in the pool; `exchange-node trade bump` raises what has to be sent";
            return Err(WalletError::NotBumpable { txid, reason: reason.to_owned() });
        }
        match reservation {
            Some(Reservation { purpose: Purpose::Child { parent }, .. }) => {
                self.child_of_known(&parent, request, fee_rate)
            }
            Some(_) if self.own.cancels(txid).is_some() => self.raise_cancel(txid, request, fee_rate),
            Some(payment) if self.is_replaceable(&payment) => self.replace(&payment, request, fee_rate),
            Some(payment) => {
                // What others signed too is whole as the chain shows it.
                let seen = self.known().remove(&txid).map(|known| known.tx.as_ref().clone());
                let parent = seen.unwrap_or(payment.tx);
                if parent.input.iter().any(|input| input.witness.is_empty()) {
                    let reason = "the other side's signatures are not there yet".to_owned();
                    return Err(WalletError::NotBumpable { txid, reason });
                }
                self.child_of_known(&parent, request, fee_rate)
            }
            None => {
                let known = self.known().remove(&txid).ok_or(WalletError::UnknownTransaction { txid })?;
                self.child_of_known(&known.tx, request, fee_rate)
            }
        }
    }

    /// Raises the fee of what cancels a payment: it is built anew, as it was the first time.
    fn raise_cancel(&mut self, last: Txid, request: &BumpRequest, fee_rate: FeeRate) -> Result<Bumped, WalletError> {
        let raise = FeeRaise::Replacement { of: last };
        check_priced(request.priced, raise)?;
        let of = self.own.cancels(last).ok_or(WalletError::UnknownTransaction { txid: last })?;
        let request = CancelRequest {
            request_id: request.request_id.clone(),
            txid: of,
            fee_rate: None,
            allow_high_fee: request.allow_high_fee,
            dry_run: request.dry_run,
            priced: request.priced.map(|shown| PricedCancel { of, fee: shown.fee }),
        };
        let payment = self.cancel(&request, fee_rate)?.payment;
        if payment.tx.compute_txid() == last {
            return Err(WalletError::AlreadyPays { txid: last, asked: fee_rate });
        }
        Ok(Bumped { payment, raise })
    }

    /// Tells whether the driver of a trade decides when a transaction goes out, or the one that it pays for, and the pool does not
    /// show that it did: the trade may have been called off, or not know of it after a crash.
    fn waits_for_its_trade(&self, built: &Reservation) -> bool {
        let first = match &built.purpose {
            Purpose::Send { .. } => return false,
            Purpose::Fund | Purpose::Share | Purpose::Joint => built.tx.compute_txid(),
            Purpose::Child { parent } => {
                let txid = parent.compute_txid();
                let of = self.own.reservations.get(&txid).and_then(Option::as_ref);
                if of.is_some_and(|parent| matches!(parent.purpose, Purpose::Send { .. })) {
                    return false;
                }
                txid
            }
        };
        !self.known().contains_key(&first)
    }

    /// Tells whether a payment is this wallet's alone, to one recipient, and nothing rests on it. The funding of an escrow
    /// never is: two of them would pay twice.
    fn is_replaceable(&self, payment: &Reservation) -> bool {
        let is_payment = matches!(payment.purpose, Purpose::Send { .. });
        let inputs_are_ours =
            payment.tx.input.iter().all(|input| self.wallet.spk_index().txout(input.previous_output).is_some());
        let (paid, rest): (Vec<_>, Vec<_>) =
            payment.tx.output.iter().partition(|output| output.script_pubkey == payment.script);
        let is_change = |output: &&TxOut| {
            let derivation = self.wallet.derivation_of_spk(output.script_pubkey.clone());
            matches!(derivation, Some((KeychainKind::Internal, _)))
        };
        let is_simple = paid.len() == 1 && rest.len() <= 1 && rest.iter().all(is_change);
        is_payment && inputs_are_ours && is_simple && self.spender_of(&payment.tx).is_none()
    }

    /// Builds a later version of a payment with a higher fee.
    fn replace(
        &mut self,
        earlier: &Reservation,
        request: &BumpRequest,
        fee_rate: FeeRate,
    ) -> Result<Bumped, WalletError> {
        let of = earlier.tx.compute_txid();
        let BumpRequest { request_id, allow_high_fee, dry_run, priced, .. } = request;
        check_priced(*priced, FeeRaise::Replacement { of })?;
        let shown = priced.map(|priced| priced.fee);
        let label = self.own.label(&of).to_owned();
        let inputs: Vec<OutPoint> = earlier.tx.input.iter().map(|input| input.previous_output).collect();
        let order = Order {
            script: &earlier.script,
            amount: earlier.asked,
            fee_rate,
            allow_high_fee: *allow_high_fee,
            coins: &[],
        };
        self.check_room(&label)?;
        self.check_order(&order)?;
        let mut coins = self.coins();
        let psbt = self.select_replacement(of, &inputs, &order, &coins, shown)?;
        coins.spendable.extend(self.wallet.list_output().filter(|coin| inputs.contains(&coin.outpoint)));
        let outcome = self.sign(&psbt).and_then(|tx| self.check(tx, &order, &coins)).and_then(|payment| {
            let lowest = increment(payment.tx.vsize()).checked_add(earlier.fee).ok_or_else(overflow)?;
            let spends_all = inputs.iter().all(|coin| payment.tx.input.iter().any(|i| i.previous_output == *coin));
            match payment {
                _ if !spends_all => Err(WalletError::WrongTransaction { reason: "it replaces nothing".into() }),
                _ if payment.fee < lowest => Err(WalletError::FeeTooLow { fee: payment.fee, lowest }),
                _ if shown.is_some_and(|shown| shown != payment.fee) => {
                    Err(WalletError::Outdated { reason: format!("now it would cost {}", payment.fee) })
                }
                payment => Ok(payment),
            }
        });
        let keep = outcome.is_ok() && !dry_run;
        if !keep {
            self.reuse_change(&psbt.unsigned_tx);
        }
        let payment = outcome?;
        if keep {
            let purpose = Purpose::Send { request_id: request_id.clone() };
            self.keep(&payment, purpose, &order, &label, Some(of))?;
        }
        Ok(Bumped { payment, raise: FeeRaise::Replacement { of } })
    }

    /// Chooses more coins if need be, and change: at the feerate of its order, or for this fee.
    fn select_replacement(
        &mut self,
        of: Txid,
        inputs: &[OutPoint],
        order: &Order<'_>,
        coins: &Coins,
        fee: Option<Amount>,
    ) -> Result<Psbt, WalletError> {
        let stuck = |reason: String| WalletError::NotBumpable { txid: of, reason };
        let mut lots = self.lots(order, coins);
        // The version that is seen holds the coins, be it not the last; once none is, nothing does.
        let is_seen = |(version, _): &(Txid, &Reservation)| self.wallet.get_tx(*version).is_some();
        let seen = self.own.versions(of).find(is_seen).map(|(version, kept)| (version, kept.tx.clone()));
        let held: HashSet<OutPoint> =
            seen.iter().flat_map(|(_, tx)| &tx.input).map(|input| input.previous_output).collect();
        let free: Vec<OutPoint> = inputs.iter().copied().filter(|coin| !held.contains(coin)).collect();
        let mut builder = match &seen {
            Some((version, _)) => {
                self.wallet.build_fee_bump(*version).map_err(|e: BuildFeeBumpError| stuck(e.to_string()))?
            }
            None => self.wallet.build_tx(),
        };
        builder.add_utxos(&free).map_err(|e: AddUtxoError| stuck(e.to_string()))?;
        // Not by lot: that falls otherwise at a feerate than for the fee which was shown, and the coin that it falls on may not do.
        let mut builder = builder.coin_selection(LargestFirstCoinSelection);
        builder.fee_rate(order.fee_rate).unspendable(coins.withheld.iter().map(|coin| coin.outpoint).collect());
        if let Some(fee) = fee {
            builder.fee_absolute(fee);
        }
        match order.amount {
            Some(_) if seen.is_some() => {}
            Some(amount) => {
                builder.add_recipient(order.script.clone(), amount);
            }
            None => {
                builder.set_recipients(Vec::new()).manually_selected_only().drain_to(order.script.clone());
            }
        }
        builder.finish_with_aux_rand(&mut lots).map_err(|error| match error {
            CreateTxError::CoinSelection(shortage) => insufficient(shortage.needed, coins),
            CreateTxError::FeeRateTooLow { required } => {
                let least = required.to_sat_per_vb_ceil();
                stuck(format!("a replacement must pay at least {least} sat/vB: ask for it by --fee-rate {least}"))
            }
            CreateTxError::FeeTooLow { required } => {
                WalletError::FeeTooLow { fee: fee.unwrap_or_default(), lowest: required }
            }
            other => WalletError::Internal { reason: other.to_string() },
        })
    }

    fn child_of_known(
        &mut self,
        parent: &Transaction,
        request: &BumpRequest,
        fee_rate: FeeRate,
    ) -> Result<Bumped, WalletError> {
        let txid = parent.compute_txid();
        let unknown = || WalletError::NotBumpable { txid, reason: "what it pays is not known to this wallet".into() };
        let reserved = self.own.reservations.get(&txid).and_then(Option::as_ref).map(|reservation| reservation.fee);
        let parent_fee = match reserved {
            Some(fee) => fee,
            None => self.wallet.calculate_fee(parent).map_err(|_| unknown())?,
        };
        let label = match self.own.label(&txid) {
            "" => "a higher fee".to_owned(),
            label => shortened(&format!("a higher fee for {label}")),
        };
        let request = ChildRequest {
            parent: parent.clone(),
            parent_fee,
            fee_rate: None,
            allow_high_fee: request.allow_high_fee,
            dry_run: request.dry_run,
            label,
            priced: request.priced,
        };
        self.child(&request, fee_rate)
    }

    /// Builds a child that raises the feerate of its parent and itself to `fee_rate`. One that does already is returned.
    pub fn child(&mut self, request: &ChildRequest, fee_rate: FeeRate) -> Result<Bumped, WalletError> {
        let ChildRequest { parent, dry_run, label, priced, .. } = request;
        let of = parent.compute_txid();
        if self.known().get(&of).is_some_and(|known| known.confirmation.is_some()) {
            return Err(WalletError::AlreadyConfirmed { txid: of });
        }
        check_priced(*priced, FeeRaise::Child { of })?;
        let earlier = self.own.child_of(&of).map(|(txid, reservation)| (txid, reservation.clone()));
        let coin = self.own_output(parent, earlier.as_ref().map(|(_, child)| child))?;
        let fee = self.child_fee(request, fee_rate, coin.txout.value, earlier.as_ref().map(|(_, child)| child.fee))?;
        let Some(fee) = fee else {
            let child = earlier.ok_or(WalletError::AlreadyPays { txid: of, asked: fee_rate })?.1;
            return Ok(Bumped { payment: child.payment(), raise: FeeRaise::Child { of } });
        };
        self.check_room(label)?;
        let script = match &earlier {
            Some((_, child)) => child.script.clone(),
            None => self.new_change(),
        };
        let built = self.build_child(parent, &coin, fee, &script);
        if earlier.is_none() && (*dry_run || built.is_err()) {
            self.unmark(&script);
        }
        let payment = built?;
        if !dry_run {
            self.set_label(payment.tx.compute_txid(), label)?;
            self.reserve(Reservation {
                purpose: Purpose::Child { parent: parent.clone() },
                script,
                asked: None,
                amount: payment.amount,
                fee: payment.fee,
                tx: payment.tx.clone(),
                replaces: earlier.map(|(txid, _)| txid),
            });
        }
        Ok(Bumped { payment, raise: FeeRaise::Child { of } })
    }

    /// Returns the largest output of a transaction that is ours and that nothing but an earlier child spends.
    fn own_output(&self, parent: &Transaction, earlier: Option<&Reservation>) -> Result<LocalOutput, WalletError> {
        let txid = parent.compute_txid();
        let by_child = |outpoint| earlier.is_some_and(|c| c.tx.input.iter().any(|i| i.previous_output == outpoint));
        let spent = self.spent_outputs(parent);
        let outputs = (0u32..).zip(&parent.output).filter_map(|(vout, txout)| {
            let outpoint = OutPoint { txid, vout };
            let (keychain, derivation_index) = self.wallet.derivation_of_spk(txout.script_pubkey.clone())?;
            let is_free = by_child(outpoint) || (earlier.is_none() && !spent.contains(&outpoint));
            let chain_position = bdk_wallet::chain::ChainPosition::Unconfirmed { first_seen: None, last_seen: None };
            let txout = txout.clone();
            is_free.then_some(LocalOutput {
                outpoint,
                txout,
                keychain,
                derivation_index,
                is_spent: false,
                chain_position,
            })
        });
        let largest = outputs.max_by_key(|coin| coin.txout.value);
        let reason = "no output of it is this wallet's and unspent, so it cannot be bumped from here";
        largest.ok_or_else(|| WalletError::NotBumpable { txid, reason: reason.into() })
    }

    /// Returns what a child must pay; `None` when an earlier child, or the parent alone, pays that much already.
    fn child_fee(
        &self,
        request: &ChildRequest,
        fee_rate: FeeRate,
        value: Amount,
        earlier: Option<Amount>,
    ) -> Result<Option<Amount>, WalletError> {
        let ChildRequest { parent, parent_fee, allow_high_fee, priced, .. } = request;
        self.check_fee_rate(fee_rate, *allow_high_fee)?;
        let txid = parent.compute_txid();
        let package = self.package(parent, *parent_fee)?;
        let vsize = child_vsize();
        let whole = package.vsize.saturating_add(vsize);
        let paid = earlier.unwrap_or_default();
        let lowest = paid.checked_add(Amount::from_sat(vsize * INCREMENT_SAT_VB)).ok_or_else(overflow)?;
        // What a child pays for both to pay this feerate.
        let at = |rate: FeeRate| {
            let total = rate.fee_vb(whole).ok_or_else(overflow)?;
            Ok::<_, WalletError>(total.checked_sub(package.fee).unwrap_or_default())
        };
        let fee = match priced {
            // It was built by then.
            Some(priced) if earlier == Some(priced.fee) => return Ok(None),
            Some(PricedRaise { fee, .. }) => {
                let most = if *allow_high_fee { EXPLICIT_MAX_FEE_RATE } else { MAX_FEE_RATE };
                let highest = at(most)?.max(lowest);
                if *fee < lowest {
                    return Err(WalletError::FeeTooLow { fee: *fee, lowest });
                }
                if *fee > highest {
                    return Err(WalletError::HighFee { fee: *fee, amount: value });
                }
                *fee
            }
            None => {
                let alone = fee_rate.fee_vb(package.vsize);
                let is_enough = alone.is_some_and(|alone| earlier.is_none() && package.fee >= alone);
                let missing = at(fee_rate)?;
                if paid >= missing || is_enough {
                    return Ok(None);
                }
                missing.max(lowest)
            }
        };
        let dust = ScriptBuf::from(vec![0x51; P2TR_SCRIPT_LEN]).minimal_non_dust();
        let rest = value.checked_sub(fee).unwrap_or_default();
        if rest < dust {
            let reason = format!("the output of {value} that would pay for it does not hold the fee of {fee}");
            return Err(WalletError::NotBumpable { txid, reason });
        }
        if !*allow_high_fee && fee.to_sat() > value.to_sat() / FEE_DIVISOR {
            return Err(WalletError::HighFee { fee, amount: rest });
        }
        Ok(Some(fee))
    }

    /// Returns size and fee of a transaction and of the unconfirmed ones that it rests on.
    fn package(&self, parent: &Transaction, parent_fee: Amount) -> Result<Package, WalletError> {
        let known = self.known();
        let mut package = Package { vsize: parent.vsize() as u64, fee: parent_fee }; // usize is at most 64 bits
        let mut seen = HashSet::from([parent.compute_txid()]);
        let mut open: Vec<Txid> = parent.input.iter().map(|input| input.previous_output.txid).collect();
        while let Some(txid) = open.pop() {
            let Some(ancestor) = known.get(&txid).filter(|ancestor| ancestor.confirmation.is_none()) else { continue };
            if !seen.insert(txid) {
                continue;
            }
            let reason = "it rests on an unconfirmed transaction whose fee is unknown; wait for that one".to_owned();
            let stuck = WalletError::NotBumpable { txid: parent.compute_txid(), reason };
            let fee = self.wallet.calculate_fee(&ancestor.tx).map_err(|_| stuck)?;
            package.vsize = package.vsize.saturating_add(ancestor.tx.vsize() as u64); // usize is at most 64 bits
            package.fee = package.fee.checked_add(fee).ok_or_else(overflow)?;
            open.extend(ancestor.tx.input.iter().map(|input| input.previous_output.txid));
        }
        Ok(package)
    }

    fn build_child(
        &self,
        parent: &Transaction,
        coin: &LocalOutput,
        fee: Amount,
        script: &ScriptBuf,
    ) -> Result<Payment, WalletError> {
        let version = if parent.version.0 == TRUC_VERSION { Version(TRUC_VERSION) } else { Version::TWO };
        let payment = self.bring(std::slice::from_ref(coin), fee, script, version)?;
        let right = payment.tx.vsize() as u64 == child_vsize(); // usize is at most 64 bits
        if right { Ok(payment) } else { Err(WalletError::Internal { reason: "a child of another size".into() }) }
    }

    /// Returns a transaction of ours, in the pool or built, that spends an output of this one.
    fn spender_of(&self, tx: &Transaction) -> Option<Txid> {
        let txid = tx.compute_txid();
        let spends = |by: &Transaction| by.input.iter().any(|input| input.previous_output.txid == txid);
        let built = self.own.reservations().find(|(_, reservation)| spends(&reservation.tx)).map(|(by, _)| by);
        built.or_else(|| self.known().into_iter().find(|(_, known)| spends(&known.tx)).map(|(by, _)| by))
    }

    /// Returns what transactions spend of this one that count or that were built. This wallet need not know it yet: then a child
    /// that nobody signed may count as a payment.
    fn spent_outputs(&self, parent: &Transaction) -> HashSet<OutPoint> {
        let (txid, known) = (parent.compute_txid(), self.known());
        let spends = |tx: &Transaction| tx.input.iter().any(|input| input.previous_output.txid == txid);
        let counts = |known: &Known| known.confirmation.is_some() || self.is_signed(&known.tx, Some(parent));
        let seen = known.values().filter(|known| spends(&known.tx) && counts(known)).map(|known| known.tx.as_ref());
        let built = self.own.reservations().map(|(_, reservation)| &reservation.tx);
        seen.chain(built).flat_map(|tx| tx.input.iter().map(|input| input.previous_output)).collect()
    }
}

/// Refuses where a fee would be raised in another way than was shown: another version waits by now, or something rests on it.
fn check_priced(priced: Option<PricedRaise>, raise: FeeRaise) -> Result<(), WalletError> {
    if priced.is_none_or(|priced| priced.raise == raise) {
        return Ok(());
    }
    let reason = match raise {
        FeeRaise::Replacement { of } => format!("now {of} would be replaced"),
        FeeRaise::Child { of } => format!("now a transaction that spends from {of} would pay for both"),
    };
    Err(WalletError::Outdated { reason })
}

/// Returns the size of a child, in virtual bytes: one key spend and one Taproot output.
pub fn child_vsize() -> u64 {
    let inputs = [InputWeightPrediction::P2TR_KEY_DEFAULT_SIGHASH];
    predict_weight(inputs, [P2TR_SCRIPT_LEN]).to_vbytes_ceil()
}

/// Returns what a transaction of this size pays beyond what it replaces.
pub(super) fn increment(vsize: usize) -> Amount {
    Amount::from_sat((vsize as u64).saturating_mul(INCREMENT_SAT_VB)) // usize is at most 64 bits
}

pub(super) fn overflow() -> WalletError {
    WalletError::Internal { reason: "a sum of fees is beyond all bitcoin".into() }
}
