//! A user's wallet: coins that each hold the same, which of them are promised to what, and what is signed with them. What it
//! refuses is what `exchange-node`'s wallet refuses (`wallet/share.rs`).

use bitcoin::key::Secp256k1;
use bitcoin::{OutPoint, ScriptBuf, Transaction, TxOut, Txid, Witness};
use exchange_ledger::ids::TradeId;
use exchange_ledger::money::Sats;
use exchange_ledger::trade::Event;
use exchange_ledger::trade::funding::{self, Contribution, Draft, Funder, Input, needed};
use exchange_ledger::wire::{CurveKey, List, Outpoint};

use crate::chain::{COIN_SAT, FIRST_HEIGHT, payment, send_back};
use crate::flaw::Flaw;
use crate::node::Node;
use crate::shared::Shared;
use crate::user::sats;

/// The fee of a funding, and of a coin that goes back.
const FEE_SAT: u64 = 1500;

/// A coin that is set aside for an output of a funding from two wallets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The coin.
    pub coin: OutPoint,
    /// What was signed with it.
    pub signed: Vec<Txid>,
    /// What spends it to its owner, so that none of that can confirm.
    pub back: Option<Transaction>,
}

impl Node {
    /// Returns the coins that are promised to nothing.
    pub fn spare_coins(&self, shared: &Shared) -> Vec<OutPoint> {
        let private = self.disk.private();
        let careless = shared.flaw == Some(Flaw::SetsNothingAside);
        let is_shared = |coin: &OutPoint| !careless && private.shares.values().any(|share| share.coin == *coin);
        let coins = shared.chain.coins_of(&self.destination()).into_iter();
        coins.filter(|coin| !private.promised.contains(coin) && !is_shared(coin)).collect()
    }

    /// Returns where the user's coins go.
    pub fn destination(&self) -> ScriptBuf {
        self.person.party.destination.script().clone()
    }

    /// Builds a transaction that pays an escrow.
    pub fn fund(&self, id: TradeId, script: ScriptBuf, amount: Sats, shared: &mut Shared) -> Option<Event> {
        let coin = self.spare_coins(shared).into_iter().next()?;
        let output = TxOut { value: amount.into(), script_pubkey: script };
        let tx = payment(coin, output, self.destination(), FEE_SAT);
        self.disk.write(|private| private.promised.extend([coin])).ok()?;
        shared.checks.signs(self, id, coin);
        Some(Event::FundingBuilt(tx))
    }

    /// Chooses a coin for an output of a funding from two wallets, and sets it aside: the same one whenever it is asked.
    pub fn choose_coins(&mut self, id: TradeId, output: &TxOut, feerate: u64, shared: &Shared) -> Option<Event> {
        self.mind.as_mut()?.looked.remove(&id); // what fails here is tried again after the next look
        let script = output.script_pubkey.clone();
        let kept = self.disk.private().shares.get(&script).map(|share| share.coin);
        let coin = match kept {
            Some(coin) => coin,
            None => {
                let coin = self.spare_coins(shared).into_iter().next()?;
                needed(output, 1, feerate).filter(|needed| needed.get() <= COIN_SAT)?;
                let share = Share { coin, signed: Vec::new(), back: None };
                self.disk.write(|private| drop(private.shares.insert(script, share))).ok()?;
                coin
            }
        };
        let key = CurveKey(self.person.coin_key.x_only_public_key().0);
        let input = Input { outpoint: Outpoint(coin), key, height: FIRST_HEIGHT };
        let (inputs, values) = (List::new(vec![input])?, List::new(vec![sats(COIN_SAT)])?);
        let contribution = Contribution { inputs, change: self.person.party.destination.clone() };
        Some(Event::Joint(funding::Event::Chosen { mine: Funder { contribution, values }, feerate }))
    }

    /// Signs the user's coin in a funding from two wallets, if it is the one that was set aside.
    pub fn sign_funding(&mut self, id: TradeId, draft: &Draft, shared: &mut Shared) -> Option<Event> {
        self.mind.as_mut()?.looked.remove(&id); // as above
        let terms = self.mind.as_ref()?.trades.get(&id)?.joint_terms()?;
        let script = terms.output(terms.role).script_pubkey.clone();
        let coin = self.disk.private().shares.get(&script)?.coin;
        if draft.coins(terms.role) != [coin] {
            return None;
        }
        let mut tx = draft.tx().clone();
        let (at, message) = draft.sighash(&coin)?;
        let signature = Secp256k1::new().sign_schnorr_no_aux_rand(&message, &self.person.coin_key);
        tx.input[at].witness = Witness::from_slice(&[signature.serialize()]);
        let txid = tx.compute_txid();
        let noted = self.disk.write(|private| {
            if let Some(share) = private.shares.get_mut(&script) {
                share.signed.push(txid);
            }
        });
        noted.ok()?;
        shared.checks.signs(self, id, coin);
        Some(Event::Joint(funding::Event::Signed(tx)))
    }

    /// Frees the coin that was set aside for an output, unless what was signed with it is seen.
    pub fn free_coins(&self, script: &ScriptBuf, shared: &mut Shared) -> Option<Event> {
        let kept = self.disk.private().shares.get(script).cloned();
        if let Some(share) = kept {
            if self.has_seen(&share, false) {
                return None;
            }
            self.disk.write(|private| drop(private.shares.remove(script))).ok()?;
            shared.checks.frees(share.coin);
        }
        Some(Event::Joint(funding::Event::Ended))
    }

    /// Spends the coin that was set aside for an output back to the user, unless what was signed with it is seen: in a block, if
    /// it replaces what waits.
    pub fn spend_coin_back(&self, script: &ScriptBuf, replaces: bool, shared: &mut Shared) -> Option<Event> {
        let kept = self.disk.private().shares.get(script).cloned();
        if let Some(share) = kept.filter(|share| share.back.is_none()) {
            if self.has_seen(&share, replaces) {
                return None;
            }
            let tx = send_back(share.coin, self.destination(), FEE_SAT);
            let back = Some(tx.clone());
            let noted = self.disk.write(|private| {
                if let Some(share) = private.shares.get_mut(script) {
                    share.back = back;
                }
            });
            noted.ok()?;
            let _ = shared.chain.broadcast(&tx); // as below
        }
        Some(Event::Joint(funding::Event::Ended))
    }

    /// Sends again what spends coins back.
    pub fn send_backs(&self, shared: &mut Shared) {
        let backs: Vec<Transaction> =
            self.disk.private().shares.values().filter_map(|share| share.back.clone()).collect();
        for tx in backs {
            let _ = shared.chain.broadcast(&tx); // refused when something else was quicker
        }
    }

    fn has_seen(&self, share: &Share, in_block: bool) -> bool {
        let Some(mind) = &self.mind else { return false };
        if !in_block {
            return share.signed.iter().any(|txid| mind.view.has(txid));
        }
        mind.view.spender(&share.coin).is_some_and(|(by, height)| height.is_some() && share.signed.contains(&by))
    }
}
