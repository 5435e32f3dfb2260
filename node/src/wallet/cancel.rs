//! Cancelling a payment that no block holds: its coins come back by a transaction that takes its place.
//!
//! Nobody can take back what he signed: whoever has it may still pass it on. But a coin is spent once. So what spends the coins of
//! a payment back to this wallet keeps the payment from ever being made, once a block holds that; until then a block may hold
//! either of them, and the same is not paid a second time. What cancels is the last version of a payment, as what makes it dearer
//! is, by the same rules of the network, and differs from that in whom it pays. Nothing of a trade is cancelled here.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use bdk_wallet::{KeychainKind, LocalOutput};
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxIn, Txid};

use super::bump::{increment, overflow};
use super::labels::shortened;
use super::payment::{EXPLICIT_MAX_FEE_RATE, FEE_DIVISOR, MAX_SPENT_COINS, MIN_FEE_RATE, bringing};
use super::persist::{Purpose, Reservation};
use super::state::State;
use super::{CancelRequest, Cancelled, WalletError};
use crate::chain::MAX_FEE_RATE;

/// How many coins come back at once: beside an output there is room for one less than a transaction spends. A payment that spends
/// more is none that is relayed, and one of its coins is enough to keep it from being made.
const MAX_COINS_BACK: usize = MAX_SPENT_COINS - 1;
/// How many digits of a payment's id stand in the history, before what it was for.
const SHOWN_DIGITS: usize = 8;

/// What cancels a payment.
struct Canceller {
    /// The payment.
    of: Txid,
    /// What cancels it.
    by: Txid,
    /// Whether a block holds that, or an earlier version of it: then the payment is not made any more.
    is_in_block: bool,
}

impl State {
    /// Builds what takes the place of a payment and brings its coins back. What does that already, and pays as much, is returned.
    pub fn cancel(&mut self, request: &CancelRequest, fee_rate: FeeRate) -> Result<Cancelled, WalletError> {
        let CancelRequest { request_id, txid, dry_run, priced, .. } = request;
        // Of what raises the fee of a payment by spending from it, that payment; of several versions the last.
        let parent = self.own.parent_of(txid).filter(|of| self.own.is_reserved(of));
        let last = self.own.last_version(parent.unwrap_or(*txid));
        let earlier = self.cancellable(last)?.clone();
        let purpose = Purpose::Send { request_id: request_id.clone() };
        let before = self.own.reservations().find(|(_, kept)| kept.purpose == purpose).map(|(txid, _)| txid);
        let is_its = |txid: &Txid| self.own.cancels(*txid).is_some() && self.own.last_version(*txid) == last;
        if let Some(txid) = before.filter(|txid| !is_its(txid)) {
            return Err(WalletError::AlreadyBuilt { txid, what: "request id" });
        }
        let cancelled = self.own.cancels(last);
        let of = cancelled.unwrap_or(last);
        if priced.is_some_and(|priced| priced.of != of) {
            return Err(WalletError::Outdated { reason: format!("now {of} would be cancelled") });
        }
        let coins = self.coins_of(&earlier.tx);
        let fee = match before {
            Some(_) => None, // the same request: it was built by then
            None => self.fee_back(last, &coins, request, fee_rate, cancelled.map(|_| earlier.fee))?,
        };
        let Some(fee) = fee else { return Ok(Cancelled { of, payment: earlier.payment() }) };
        let label = match cancelled {
            Some(_) => self.own.label(&last).to_owned(),
            None => label_of(of, self.own.label(&of)),
        };
        self.check_room(&label)?;
        let script = match cancelled {
            Some(_) => earlier.script,
            None => self.new_change(),
        };
        let built = self.bring(&coins, fee, &script, Version::TWO);
        if cancelled.is_none() && (*dry_run || built.is_err()) {
            self.unmark(&script);
        }
        let payment = built?;
        if !dry_run {
            self.set_label(payment.tx.compute_txid(), &label)?;
            self.reserve(Reservation {
                purpose,
                script,
                asked: None,
                amount: payment.amount,
                fee: payment.fee,
                tx: payment.tx.clone(),
                replaces: Some(last),
            });
        }
        Ok(Cancelled { of, payment })
    }

    /// Returns the last version of a payment of this wallet's own. Refuses what is none, and what a block has decided.
    fn cancellable(&self, txid: Txid) -> Result<&Reservation, WalletError> {
        let stuck = |reason: String| WalletError::NotCancellable { txid, reason };
        let known = self.known();
        let is_in_block = |txid: &Txid| known.get(txid).is_some_and(|tx| tx.confirmation.is_some());
        let Some(payment) = self.own.reservations.get(&txid).and_then(Option::as_ref) else {
            return Err(match known.get(&txid) {
                Some(_) if is_in_block(&txid) => WalletError::TooLate { txid },
                Some(_) => stuck("it is no payment that was made here".to_owned()),
                None => WalletError::UnknownTransaction { txid },
            });
        };
        let is_its = |input: &TxIn| payment.tx.input.iter().any(|own| own.previous_output == input.previous_output);
        let is_of_trade = |kept: &Reservation| match kept.purpose {
            Purpose::Fund | Purpose::Share | Purpose::Joint => kept.tx.input.iter().any(is_its),
            Purpose::Send { .. } | Purpose::Child { .. } => false,
        };
        if self.own.reservations().any(|(_, kept)| is_of_trade(kept)) {
            let reason =
                "it is part of a trade; `exchange-node trade cancel` calls one off as long as that can be done";
            return Err(stuck(reason.to_owned()));
        }
        if matches!(payment.purpose, Purpose::Child { .. }) {
            return Err(stuck("it pays for what is no payment that was made here".to_owned()));
        }
        if let Some((version, _)) = self.own.versions(txid).find(|(version, _)| is_in_block(version)) {
            return Err(match self.own.cancels(version) {
                Some(of) => WalletError::AlreadyCancelled { txid: of, by: version },
                None => WalletError::TooLate { txid: version },
            });
        }
        let spender = |input: &TxIn| {
            let spenders = self.wallet.tx_graph().outspends(input.previous_output);
            spenders.iter().copied().find(is_in_block)
        };
        match payment.tx.input.iter().find_map(spender) {
            Some(by) => Err(stuck(format!("a block holds {by}, which spends one of its coins, so it is never made"))),
            None => Ok(payment),
        }
    }

    /// Returns the coins of this wallet that a transaction spends, the largest first.
    fn coins_of(&self, tx: &Transaction) -> Vec<LocalOutput> {
        let inputs: HashSet<OutPoint> = tx.input.iter().map(|input| input.previous_output).collect();
        let mut coins: Vec<LocalOutput> =
            self.wallet.list_output().filter(|coin| inputs.contains(&coin.outpoint)).collect();
        coins.sort_by_key(|coin| (Reverse(coin.txout.value), coin.outpoint));
        coins.truncate(MAX_COINS_BACK);
        coins
    }

    /// Returns what coins have to pay on their way back; `None` when what brings them back already pays as much.
    fn fee_back(
        &self,
        last: Txid,
        coins: &[LocalOutput],
        request: &CancelRequest,
        fee_rate: FeeRate,
        earlier: Option<Amount>,
    ) -> Result<Option<Amount>, WalletError> {
        let CancelRequest { allow_high_fee, priced, .. } = request;
        if !self.synced {
            return Err(self.not_synced());
        }
        self.check_fee_rate(fee_rate, *allow_high_fee)?;
        // The scripts of this wallet are all of one length.
        let script = self.wallet.peek_address(KeychainKind::Internal, 0).address.script_pubkey();
        let (tx, held) = bringing(coins, &script, Version::TWO)?;
        let at = |rate: FeeRate| rate.fee_wu(tx.weight()).ok_or_else(overflow);
        let asked = match priced {
            Some(priced) => priced.fee,
            None => at(fee_rate)?,
        };
        let is_paid = if priced.is_some() { earlier == Some(asked) } else { earlier >= Some(asked) };
        if is_paid {
            return Ok(None);
        }
        let least = self.least_fee(last, &tx)?;
        if priced.is_some() && asked < least {
            return Err(WalletError::Outdated { reason: format!("now it would cost {least} or more") });
        }
        let fee = asked.max(least);
        let rest = held.checked_sub(fee).unwrap_or_default();
        if rest < script.minimal_non_dust() {
            let reason = format!("its coins hold {held}, and to bring them back would cost {fee}");
            return Err(WalletError::NotCancellable { txid: last, reason });
        }
        let highest = if *allow_high_fee { at(EXPLICIT_MAX_FEE_RATE)?.max(least) } else { at(MAX_FEE_RATE)? };
        if fee > highest || (!*allow_high_fee && fee.to_sat() > held.to_sat() / FEE_DIVISOR) {
            return Err(WalletError::HighFee { fee, amount: rest });
        }
        Ok(Some(fee))
    }

    /// Returns what nodes ask at least of a transaction that takes the place of a payment: more than each version pays with what goes
    /// with it, by a sat/vB of its own size (BIP-125, rules 3 and 4), and a feerate that is higher by as much.
    fn least_fee(&self, last: Txid, tx: &Transaction) -> Result<Amount, WalletError> {
        let besides = self.paid_besides(last)?;
        let mut least = Amount::ZERO;
        for (txid, version) in self.own.versions(last) {
            let besides = if self.own.cancels(txid).is_some() { Amount::ZERO } else { besides };
            let together = version.fee.checked_add(besides).and_then(|paid| paid.checked_add(increment(tx.vsize())));
            let rate = (version.fee / version.tx.weight()).to_sat_per_kwu();
            let above = FeeRate::from_sat_per_kwu(rate.saturating_add(MIN_FEE_RATE.to_sat_per_kwu()));
            let alone = above.fee_wu(tx.weight());
            least = least.max(together.ok_or_else(overflow)?).max(alone.ok_or_else(overflow)?);
        }
        Ok(least)
    }

    /// Returns what is paid for a payment by what was built to raise its fee, and goes with it. Refuses if anything else rests on it
    /// that this wallet signed. What others rest on it they have to look after themselves.
    fn paid_besides(&self, last: Txid) -> Result<Amount, WalletError> {
        let payment: HashSet<Txid> = self.own.versions(last).map(|(version, _)| version).collect();
        let is_child = |txid: &Txid| self.own.parent_of(txid).is_some_and(|parent| payment.contains(&parent));
        let children = self.own.reservations().filter(|(txid, _)| is_child(txid));
        let children: HashMap<Txid, Amount> = children.map(|(txid, child)| (txid, child.fee)).collect();
        let goes = |txid: &Txid| payment.contains(txid) || children.contains_key(txid);
        let rests = |tx: &Transaction| tx.input.iter().any(|input| goes(&input.previous_output.txid));
        let built = self.own.reservations().find(|(txid, kept)| !goes(txid) && rests(&kept.tx)).map(|(txid, _)| txid);
        // Of what this machine did not build, what spends an output of this wallet: nothing counts that its keys did not sign.
        let is_own =
            |input: &TxIn| goes(&input.previous_output.txid) && self.own_txout(input.previous_output).is_some();
        let known = self.known();
        let seen = known.iter().find(|(txid, known)| !goes(txid) && known.tx.input.iter().any(is_own));
        match built.or(seen.map(|(txid, _)| *txid)) {
            Some(by) => {
                let reason = format!("{by} spends from it, and could never be made without it");
                Err(WalletError::NotCancellable { txid: last, reason })
            }
            // One takes the place of the other.
            None => Ok(children.into_values().max().unwrap_or(Amount::ZERO)),
        }
    }

    /// Returns what cancels a payment, unless a block holds the payment all the same.
    fn canceller_of(&self, txid: Txid) -> Option<Canceller> {
        if self.own.cancels(txid).is_some() {
            return None;
        }
        let by = self.own.last_version(txid);
        let of = self.own.cancels(by)?;
        let known = self.known();
        let is_in_block = |txid: Txid| known.get(&txid).is_some_and(|tx| tx.confirmation.is_some());
        match self.own.versions(by).find(|(version, _)| is_in_block(*version)) {
            Some((version, _)) if self.own.cancels(version).is_none() => None,
            in_block => Some(Canceller { of, by, is_in_block: in_block.is_some() }),
        }
    }

    /// Refuses to hand out once more what was cancelled.
    pub fn check_not_cancelled(&self, txid: Txid) -> Result<(), WalletError> {
        match self.canceller_of(txid) {
            Some(Canceller { of, by, .. }) => Err(WalletError::WasCancelled { txid: of, by }),
            None => Ok(()),
        }
    }

    /// Tells whether a payment was cancelled for certain, as far as one block tells. Refuses while it may still be made.
    pub fn is_cancelled(&self, txid: Txid) -> Result<bool, WalletError> {
        match self.canceller_of(txid) {
            Some(Canceller { of, by, is_in_block: false }) => Err(WalletError::WasCancelled { txid: of, by }),
            Some(Canceller { is_in_block: true, .. }) => Ok(true),
            None => Ok(false),
        }
    }
}

/// Returns what stands in the history of what cancels a payment.
fn label_of(payment: Txid, label: &str) -> String {
    if label.is_empty() {
        return format!("cancels {payment}");
    }
    let digits: String = payment.to_string().chars().take(SHOWN_DIGITS).collect();
    shortened(&format!("cancels {digits}: {label}"))
}
