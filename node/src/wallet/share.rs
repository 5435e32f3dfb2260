//! This wallet's share of a funding from two wallets: coins that are set aside for one output, signed only in a transaction
//! that pays it exactly, and spent back when the other side is gone.
//!
//! What is set aside is kept as a plan: a transaction that is never sent, of the chosen coins to the output and to the
//! change. Everything that is signed spends all of these coins, so at most one of it can ever confirm. When a transaction
//! that spends one of them is final, plan and signed transactions are forgotten, as every reservation is.

use std::collections::HashMap;

use bdk_wallet::{KeychainKind, LocalOutput};
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, Witness};
use exchange_ledger::money::Sats;
use exchange_ledger::rules::MAX_SPEND_FEERATE;
use exchange_ledger::trade::Role;
use exchange_ledger::trade::funding::{Contribution, Draft, Funder, Input, MAX_INPUTS, most, needed, output_key};
use exchange_ledger::wire::{CurveKey, Destination, List, Outpoint};

use super::bump::increment;
use super::coins::CoinState;
use super::labels::shortened;
use super::payment::{bringing, input, insufficient};
use super::persist::{Purpose, Reservation};
use super::state::{Known, State};
use super::{Payment, ShareRequest, ShareSigning, WalletError};
use crate::chain::MAX_FEE_RATE;
use crate::chain::consensus::{verify_inputs, verify_spend};

/// What is set aside, with the plan that keeps it.
#[derive(Debug)]
pub(super) struct Share {
    pub funder: Funder,
    pub plan: Transaction,
}

/// What the network refused in the place of what was signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefusedBack {
    /// What it paid.
    fee: Amount,
    /// The height at which it was refused.
    height: u32,
}

impl RefusedBack {
    /// Returns what the next one has to pay: twice as much, but only once in a block, lest a fault of minutes costs a fortune.
    fn asked_at(self, tip: u32) -> Amount {
        if tip > self.height { self.fee.checked_mul(2).unwrap_or(Amount::MAX_MONEY) } else { self.fee }
    }
}

impl State {
    /// Chooses confirmed coins for an output and sets them aside. The same request again returns the same coins.
    pub fn share(&mut self, request: &ShareRequest) -> Result<Share, WalletError> {
        let ShareRequest { output, fee_rate, label } = request;
        if let Some((txid, kept)) = self.share_of(&output.script_pubkey) {
            if kept.asked != Some(output.value) {
                return Err(WalletError::AlreadyBuilt { txid, what: "escrow" });
            }
            let plan = kept.tx.clone();
            return Ok(Share { funder: self.funder(&plan, &output.script_pubkey)?, plan });
        }
        if !self.synced {
            return Err(self.not_synced());
        }
        self.check_fee_rate(*fee_rate, false)?;
        self.check_room(label)?;
        let chosen = self.choose_share(output, fee_rate.to_sat_per_vb_ceil())?;
        let held = sum(chosen.iter().map(|coin| coin.txout.value))?;
        let rest = held.checked_sub(output.value).ok_or_else(overflow)?;
        let change = TxOut { value: rest, script_pubkey: self.new_change() };
        let plan = Transaction {
            version: Version(super::state::TRUC_VERSION),
            lock_time: LockTime::ZERO,
            input: chosen.iter().map(|coin| input(coin.outpoint)).collect(),
            output: vec![output.clone(), change.clone()],
        };
        let funder = match self.funder(&plan, &output.script_pubkey) {
            Ok(funder) => funder,
            Err(error) => {
                self.unmark(&change.script_pubkey);
                return Err(error);
            }
        };
        self.set_label(plan.compute_txid(), label)?;
        self.reserve(Reservation {
            purpose: Purpose::Share,
            script: output.script_pubkey.clone(),
            asked: Some(output.value),
            amount: output.value,
            fee: Amount::ZERO,
            tx: plan.clone(),
            replaces: None,
        });
        Ok(Share { funder, plan })
    }

    /// Returns coins that hold an output and this side's part of the fee: the smallest that suffices alone, or else the
    /// largest ones.
    fn choose_share(&self, output: &TxOut, feerate: u64) -> Result<Vec<LocalOutput>, WalletError> {
        let needed = |count: usize| needed(output, count, feerate).map(Amount::from).ok_or_else(overflow);
        let (coins, known) = (self.coins(), self.known());
        let is_confirmed = |coin: &&LocalOutput| height_of(coin, &known).is_some();
        let mut confirmed: Vec<&LocalOutput> = coins.spendable.iter().filter(is_confirmed).collect();
        confirmed.sort_by_key(|coin| (coin.txout.value, coin.outpoint));
        let alone = needed(1)?;
        if let Some(coin) = confirmed.iter().find(|coin| coin.txout.value >= alone) {
            return Ok(vec![(*coin).clone()]);
        }
        let mut chosen = Vec::new();
        for coin in confirmed.into_iter().rev().take(MAX_INPUTS) {
            chosen.push(coin.clone());
            if sum(chosen.iter().map(|coin| coin.txout.value))? >= needed(chosen.len())? {
                return Ok(chosen);
            }
        }
        let wanted = needed(chosen.len().max(1))?;
        if wanted <= coins.balance.spendable {
            return Err(WalletError::SmallCoins { needed: wanted });
        }
        Err(insufficient(wanted, &coins))
    }

    /// Returns what the other side is told of a plan, and what its coins hold.
    fn funder(&self, plan: &Transaction, script: &ScriptBuf) -> Result<Funder, WalletError> {
        let internal = |reason: &str| WalletError::Internal { reason: reason.into() };
        let known = self.known();
        let (mut inputs, mut values) = (Vec::new(), Vec::new());
        for txin in &plan.input {
            let coin = txin.previous_output;
            let pending = || WalletError::CoinNotSpendable { coin, state: CoinState::Pending };
            let owned = self.wallet.list_output().find(|owned| owned.outpoint == coin).ok_or_else(pending)?;
            let height = height_of(&owned, &known).ok_or_else(pending)?;
            let key = output_key(&owned.txout.script_pubkey).ok_or_else(|| internal("a coin of ours is not P2TR"))?;
            inputs.push(Input { outpoint: Outpoint(coin), key: CurveKey(key), height });
            values.push(Sats::try_from(owned.txout.value).map_err(|_| overflow())?);
        }
        let change = change_of(plan, script).and_then(|change| Destination::new(change.clone()));
        let change = change.ok_or_else(|| internal("a plan without change"))?;
        let (inputs, values) = (List::new(inputs), List::new(values));
        let (inputs, values) = inputs.zip(values).ok_or_else(|| internal("a plan of too many coins"))?;
        Ok(Funder { contribution: Contribution { inputs, change }, values })
    }

    /// Signs the coins that were set aside in a transaction, after checking it as if a stranger had built it.
    pub fn sign_share(&mut self, request: &ShareSigning) -> Result<Transaction, WalletError> {
        let ShareSigning { script, role, draft, label } = request;
        let (txid, kept) = self.share_of(script).ok_or(WalletError::NotReserved { txid: draft.tx().compute_txid() })?;
        let kept = kept.clone();
        self.check_share(&kept, *role, draft)?;
        self.check_room(label)?;
        let mut signed = draft.tx().clone();
        let mut own = Vec::new();
        for coin in draft.coins(*role) {
            let wrong = || wrong("it spends a coin that was not set aside");
            let (at, message) = draft.sighash(coin).ok_or_else(wrong)?;
            let script = draft.prevouts()[at].script_pubkey.clone();
            let (keychain, index) = self.wallet.derivation_of_spk(script.clone()).ok_or_else(wrong)?;
            let (key, signature) = self.keys.sign_as_owner(keychain, index, *message.as_ref());
            if output_key(&script) != Some(key) {
                return Err(WalletError::Unsigned { reason: format!("the key of coin {coin} is not in its script") });
            }
            signed.input[at].witness = Witness::from_slice(&[signature.serialize()]);
            own.push(at);
        }
        let is_whole = signed.input.iter().all(|input| !input.witness.is_empty());
        let fee = if is_whole {
            verify_spend(&signed, draft.prevouts())?
        } else {
            verify_inputs(&signed, draft.prevouts(), &own)?
        };
        self.set_label(signed.compute_txid(), label)?;
        self.note_cosigned(&signed, draft.prevouts());
        tracing::debug!(plan = %txid, tx = %signed.compute_txid(), "a share of a funding is signed");
        self.reserve(Reservation { purpose: Purpose::Joint, fee, tx: signed.clone(), ..kept });
        Ok(signed)
    }

    /// Refuses a transaction that spends another coin of ours than those set aside, or not all of them, that does not pay
    /// the output exactly once, or in which more than that and a sane fee leaves this wallet.
    fn check_share(&self, kept: &Reservation, role: Role, draft: &Draft) -> Result<(), WalletError> {
        let tx = draft.tx();
        let is_set_aside = |coin: &OutPoint| kept.tx.input.iter().any(|input| input.previous_output == *coin);
        if tx.input.len() != draft.prevouts().len() {
            return Err(wrong("it does not say what it spends"));
        }
        let mut held = Vec::new();
        for (txin, prevout) in tx.input.iter().zip(draft.prevouts()) {
            let coin = txin.previous_output;
            let owned = self.wallet.spk_index().txout(coin).map(|(_, txout)| txout);
            match (is_set_aside(&coin), owned) {
                (true, Some(owned)) if owned == prevout => held.push(prevout.value),
                (true, Some(_) | None) => return Err(wrong("a coin of ours is not what it is said to be")),
                (false, owned) if owned.is_some() || self.wallet.is_mine(prevout.script_pubkey.clone()) => {
                    return Err(wrong("it spends another coin of this wallet"));
                }
                (false, Some(_) | None) => {}
            }
        }
        let named = draft.coins(role);
        if held.len() != kept.tx.input.len() || named.len() != held.len() || !named.iter().all(is_set_aside) {
            return Err(wrong("it does not spend exactly the coins that were set aside"));
        }
        let paid: Vec<Amount> =
            tx.output.iter().filter(|output| output.script_pubkey == kept.script).map(|output| output.value).collect();
        if paid.as_slice() != [kept.amount] {
            return Err(wrong("it does not pay the output exactly once"));
        }
        let change = change_of(&kept.tx, &kept.script).ok_or_else(|| wrong("it has no change"))?;
        let back: Vec<Amount> =
            tx.output.iter().filter(|output| output.script_pubkey == *change).map(|output| output.value).collect();
        let coins = held.len();
        let lost = sum(held)?.checked_sub(sum(back)?).ok_or_else(overflow)?;
        let output = TxOut { value: kept.amount, script_pubkey: kept.script.clone() };
        let highest = most(&output, coins, MAX_SPEND_FEERATE).map(Amount::from).ok_or_else(overflow)?;
        if lost > highest {
            return Err(wrong("more leaves this wallet than the output and a sane fee"));
        }
        Ok(())
    }

    /// Frees the coins that were set aside for an output, and forgets what was signed with them.
    pub fn free_share(&mut self, script: &ScriptBuf) -> Result<(), WalletError> {
        self.check_unseen(script)?;
        let of_it = self.built_for(script).filter(|(_, kept)| kept.purpose != Purpose::Fund);
        let of_it: Vec<(Txid, Reservation)> = of_it.map(|(txid, kept)| (txid, kept.clone())).collect();
        for (txid, kept) in of_it {
            self.end_reservation(txid);
            if kept.purpose == Purpose::Share {
                self.reuse_change(&kept.tx);
            }
        }
        Ok(())
    }

    /// Spends the smallest of the coins that were set aside for an output, or by which this wallet funds it alone, back to this
    /// wallet, so that nothing that was signed with them can confirm. `None` when that is decided already, or what does it is known
    /// to wait. The same request again returns the same payment, or a dearer one in its place, if it was refused before the last
    /// block. What waits in the pool forbids it, unless it is to be replaced.
    pub fn spend_back(
        &mut self,
        script: &ScriptBuf,
        fee_rate: FeeRate,
        replaces: bool,
    ) -> Result<Option<Payment>, WalletError> {
        let purpose = Purpose::Send { request_id: format!("back {}", hex::encode(script.as_bytes())) };
        let before = self.own.reservations().find(|(_, kept)| kept.purpose == purpose);
        let before = before.map(|(txid, kept)| (txid, kept.payment()));
        if let Some(seen) = self.seen_back(script) {
            // It may have been told of late, when this wallet had given it up: it is sent until it confirms, and nothing dearer.
            let (fee, back) = (self.wallet.calculate_fee(&seen).ok(), seen.output.first().cloned());
            if let (None, Some(fee), Some(TxOut { value: amount, script_pubkey: script })) = (&before, fee, back) {
                self.reserve(Reservation { purpose, script, asked: None, amount, fee, tx: seen, replaces: None });
            }
            return Ok(None);
        }
        // What was refused stands against something that this wallet does not see, as a child of the other side's.
        let tip = self.wallet.latest_checkpoint().height();
        let asked = self.refused_backs.get(script).map(|refused| refused.asked_at(tip));
        if let Some((_, payment)) = &before
            && asked.is_none_or(|asked| asked <= payment.fee)
        {
            return Ok(Some(payment.clone()));
        }
        let replaced = if replaces { self.waiting_fee(script)? } else { self.check_unseen(script).map(|()| None)? };
        let Some((plan, kept)) = self.held_for(script) else { return Ok(None) };
        let kept = kept.clone();
        if !self.synced {
            return Err(self.not_synced());
        }
        self.check_fee_rate(fee_rate, false)?;
        // A plan has change; a funding may have none.
        let (change, fresh) = match change_of(&kept.tx, script) {
            Some(change) => (change.clone(), None),
            None => {
                let fresh = self.wallet.next_unused_address(KeychainKind::Internal);
                (fresh.address.script_pubkey(), Some(fresh.index))
            }
        };
        let label = shortened(&format!("coins back from {}", self.own.label(&plan)));
        let mut coins: Vec<LocalOutput> = self
            .wallet
            .list_output()
            .filter(|coin| kept.tx.input.iter().any(|input| input.previous_output == coin.outpoint))
            .collect();
        coins.sort_by_key(|coin| (coin.txout.value, coin.outpoint));
        // The smallest that pays for its own way, and what is asked for, or else all of them together.
        let asked = asked.unwrap_or(Amount::ZERO);
        let build = |coins: &[LocalOutput]| self.build_back(coins, fee_rate, (replaced, asked), &change);
        let mut alone = coins.iter().filter_map(|coin| build(std::slice::from_ref(coin)).ok());
        let payment = alone.find(|payment| payment.fee >= asked).map_or_else(|| build(&coins), Ok)?;
        self.check_room(&label)?;
        self.set_label(payment.tx.compute_txid(), &label)?;
        before.into_iter().for_each(|(txid, _)| self.end_reservation(txid));
        if let Some(index) = fresh {
            self.wallet.mark_used(KeychainKind::Internal, index);
        }
        self.reserve(Reservation {
            purpose,
            script: change,
            asked: None,
            amount: payment.amount,
            fee: payment.fee,
            tx: payment.tx.clone(),
            replaces: None,
        });
        Ok(Some(payment))
    }

    /// Notes what the network refused in the place of what was signed for an output: the next one pays twice as much.
    pub fn note_refused_back(&mut self, script: ScriptBuf, fee: Amount) {
        let mut refused = std::mem::take(&mut self.refused_backs);
        refused.retain(|script, _| self.held_for(script).is_some());
        let height = self.wallet.latest_checkpoint().height();
        // The first of a height: what is refused again before the next block was no dearer.
        let known = refused.get(&script).filter(|known| known.height == height && known.fee >= fee).copied();
        refused.insert(script, known.unwrap_or(RefusedBack { fee, height }));
        self.refused_backs = refused;
    }

    /// Builds what spends coins back, for as much as blocks cost, what it replaces pays, and what is asked for, as far as that is
    /// sane and the coins hold it.
    fn build_back(
        &self,
        coins: &[LocalOutput],
        fee_rate: FeeRate,
        (replaced, asked): (Option<Amount>, Amount),
        to: &ScriptBuf,
    ) -> Result<Payment, WalletError> {
        let (tx, held) = bringing(coins, to, Version::TWO)?;
        let at_rate = fee_rate.fee_wu(tx.weight()).ok_or_else(overflow)?;
        let highest = MAX_FEE_RATE.fee_wu(tx.weight()).ok_or_else(overflow)?;
        // What would take more than that to replace pays enough to be mined, or is not signed at all.
        let least = replaced.and_then(|replaced| replaced.checked_add(increment(tx.vsize())));
        let fee = least.filter(|least| *least <= highest).map_or(at_rate, |least| least.max(at_rate));
        let bearable = held.checked_sub(to.minimal_non_dust()).unwrap_or_default().min(highest);
        let fee = fee.max(asked.min(bearable));
        self.bring(coins, fee, to, Version::TWO)
    }

    /// Returns what spends coins that were set aside for an output back to this wallet alone, and is in the pool or the chain.
    fn seen_back(&self, script: &ScriptBuf) -> Option<Transaction> {
        let (_, kept) = self.held_for(script)?;
        let is_held = |spent: &TxIn| kept.tx.input.iter().any(|coin| coin.previous_output == spent.previous_output);
        let is_mine = |back: &TxOut| self.wallet.is_mine(back.script_pubkey.clone());
        let is_back =
            |tx: &Transaction| matches!(tx.output.as_slice(), [back] if is_mine(back)) && tx.input.iter().all(is_held);
        let known = self.known();
        known.values().map(|known| &*known.tx).find(|tx| is_back(tx)).cloned()
    }

    /// Refuses once what was signed for an output is in the pool or the chain.
    fn check_unseen(&self, script: &ScriptBuf) -> Result<(), WalletError> {
        let known = self.known();
        let seen = self.built_for(script).find(|(txid, _)| known.contains_key(txid)).map(|(txid, _)| txid);
        seen.map_or(Ok(()), |txid| Err(WalletError::AlreadyBroadcast { txid }))
    }

    /// Returns the highest fee of what was signed for an output and waits in the pool, its child's included. Refuses once a block
    /// holds one of them.
    fn waiting_fee(&self, script: &ScriptBuf) -> Result<Option<Amount>, WalletError> {
        let known = self.known();
        let mut highest: Option<Amount> = None;
        for (txid, kept) in self.built_for(script) {
            let Some(seen) = known.get(&txid) else { continue };
            if seen.confirmation.is_some() {
                return Err(WalletError::AlreadyBroadcast { txid });
            }
            let childs = self.own.child_of(&txid).map_or(Amount::ZERO, |(_, child)| child.fee);
            highest = highest.max(Some(kept.fee.checked_add(childs).ok_or_else(overflow)?));
        }
        Ok(highest)
    }

    /// Returns the plan for an output, by the name under which it is kept.
    fn share_of(&self, script: &ScriptBuf) -> Option<(Txid, &Reservation)> {
        self.built_for(script).find(|(_, kept)| kept.purpose == Purpose::Share)
    }

    /// Returns what holds coins for an output: the plan for it, or the funding of one that this wallet funds alone.
    fn held_for(&self, script: &ScriptBuf) -> Option<(Txid, &Reservation)> {
        let funding = || self.built_for(script).find(|(_, kept)| kept.purpose == Purpose::Fund);
        self.share_of(script).or_else(funding)
    }

    /// Returns the plan for an output and what was signed of it, or its funding from this wallet alone.
    fn built_for(&self, script: &ScriptBuf) -> impl Iterator<Item = (Txid, &Reservation)> {
        let is_it = |purpose: &Purpose| matches!(purpose, Purpose::Share | Purpose::Joint | Purpose::Fund);
        self.own.reservations().filter(move |(_, kept)| kept.script == *script && is_it(&kept.purpose))
    }
}

/// Returns the change script of a plan: the output beside the one that it is for.
fn change_of<'a>(plan: &'a Transaction, script: &ScriptBuf) -> Option<&'a ScriptBuf> {
    plan.output.iter().map(|output| &output.script_pubkey).find(|other| *other != script)
}

fn height_of(coin: &LocalOutput, known: &HashMap<Txid, Known>) -> Option<u32> {
    known.get(&coin.outpoint.txid)?.confirmation.map(|at| at.block_id.height)
}

fn sum(amounts: impl IntoIterator<Item = Amount>) -> Result<Amount, WalletError> {
    amounts.into_iter().try_fold(Amount::ZERO, Amount::checked_add).ok_or_else(overflow)
}

fn wrong(reason: &str) -> WalletError {
    WalletError::WrongTransaction { reason: reason.into() }
}

fn overflow() -> WalletError {
    WalletError::Internal { reason: "a sum is beyond all bitcoin".into() }
}
