//! What an arbiter signs: how the coins of a dispute are divided, or that they go into the same outputs again.
//!
//! An arbiter moves nothing alone. He signs for the leaf that he has with a party, and that party completes the
//! transaction, which everybody computes alike from the contract, the outputs and the few numbers of the record.

use bitcoin::key::Keypair;
use bitcoin::secp256k1::XOnlyPublicKey;
use bitcoin::{Sequence, TxOut};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use super::spends::{RULED_INPUT_VSIZE, check_fee, check_fee_of, vsize};
use super::{DUST_LIMIT, Draft, Escrow, EscrowError, Leaf, Signer};
use crate::body::{Extend, Ruling, Signatures, Vaults};
use crate::money::Sats;
use crate::rules::MAX_SHARED_FEERATE;
use crate::trade::{Role, Seat};
use crate::wire::{CurveSignature, List};

/// The most outputs that a ruling has: the buyer's, the seller's, the arbiter's.
const MAX_RULED_OUTPUTS: u64 = 3;

/// Whom an arbiter believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The buyer: he gets the amount.
    Buyer,
    /// The seller: he gets the amount.
    Seller,
    /// Neither wholly: the buyer gets so much of the amount, the seller the rest.
    Split(Sats),
}

impl Verdict {
    /// Tells whether it believes this party alone.
    pub const fn is_for(self, party: Role) -> bool {
        matches!((self, party), (Self::Buyer, Role::Buyer) | (Self::Seller, Role::Seller))
    }
}

impl Escrow {
    fn arbiter_of(&self, seat: Seat) -> Result<XOnlyPublicKey, EscrowError> {
        self.arbiter_key(seat).ok_or(EscrowError::NoArbiter)
    }

    fn ruled_inputs(vaults: &Vaults) -> u64 {
        1 + u64::from(vaults.bond.is_some())
    }

    /// Divides the coins by a verdict, at `feerate` sat/vB: what the buyer and what the seller gets.
    ///
    /// Each has his bond and his part of the amount. The costs are the arbiter's fee, the miner's, and what extensions cost.
    /// The loser's bond pays them first, the rest is the winner's to bear; of a split each bears them as he shares in the
    /// amount. What would be dust goes to the other.
    ///
    /// # Errors
    /// When the feerate is out of bounds, the buyer's part is more than the amount, or less is there than it costs.
    pub fn divide(
        &self,
        seat: Seat,
        vaults: &Vaults,
        verdict: Verdict,
        feerate: u64,
    ) -> Result<(Sats, Sats), EscrowError> {
        let contract = self.contract();
        let (amount, part) = (contract.amount.get(), self.part_of_buyer(verdict).get());
        let refuse = || EscrowError::Division { to_buyer: part, to_seller: amount.saturating_sub(part) };
        let bonds = (vaults.bond.map_or(0, |bond| bond.value.get()), contract.seller_bond.get());
        let arbiter_fee = contract.fee_of(seat);
        let mining = feerate.checked_mul(self.divided_vsize(seat, vaults, verdict));
        let spent = contract.escrow_value().checked_sub(vaults.escrow.value).ok_or(EscrowError::Vaults)?;
        let costs = mining.and_then(|fee| fee.checked_add(arbiter_fee.get())?.checked_add(spent.get()));
        let costs = costs.ok_or(EscrowError::Fee(u64::MAX))?;
        let rest = amount.checked_sub(part).ok_or_else(refuse)?;
        let of_buyer = match part {
            0 => costs.min(bonds.0),
            part if part == amount => costs - costs.min(bonds.1),
            // Rounded down: the satoshi is the seller's.
            part => u64::try_from(u128::from(costs) * u128::from(part) / u128::from(amount)).map_err(|_| refuse())?,
        };
        let of_seller = costs.checked_sub(of_buyer).ok_or_else(refuse)?;
        let share = |part: u64, bond: u64, costs: u64| part.checked_add(bond)?.checked_sub(costs);
        let to_buyer = share(part, bonds.0, of_buyer).ok_or_else(refuse)?;
        let to_seller = share(rest, bonds.1, of_seller).ok_or_else(refuse)?;
        let is_dust = |value: u64| value < DUST_LIMIT;
        let divided = match (is_dust(to_buyer), is_dust(to_seller)) {
            (false, false) => (to_buyer, to_seller),
            (true, false) => (0, to_seller.checked_add(to_buyer).ok_or_else(refuse)?),
            (false, true) => (to_buyer.checked_add(to_seller).ok_or_else(refuse)?, 0),
            (true, true) => return Err(refuse()),
        };
        let (to_buyer, to_seller) =
            (Sats::new(divided.0).ok_or_else(refuse)?, Sats::new(divided.1).ok_or_else(refuse)?);
        self.ruling(seat, vaults, to_buyer, to_seller).map(|_| (to_buyer, to_seller))
    }

    /// Returns what the buyer gets of the amount by a verdict.
    const fn part_of_buyer(&self, verdict: Verdict) -> Sats {
        match verdict {
            Verdict::Buyer => self.contract().amount,
            Verdict::Seller => Sats::ZERO,
            Verdict::Split(part) => part,
        }
    }

    /// Returns the size that dividing by a verdict is reckoned with: an output for each party who has a part of the amount or a
    /// bond, and for the arbiter, whatever the costs leave of it. The costs follow from the size, so it cannot follow from them.
    fn divided_vsize(&self, seat: Seat, vaults: &Vaults, verdict: Verdict) -> u64 {
        let contract = self.contract();
        let part = self.part_of_buyer(verdict);
        let buyer_bond = vaults.bond.map(|bond| bond.value).unwrap_or_default();
        let are_paid = [
            part > Sats::ZERO || buyer_bond > Sats::ZERO,
            part < contract.amount || contract.seller_bond > Sats::ZERO,
            contract.fee_of(seat) > Sats::ZERO,
        ];
        vsize(RULED_INPUT_VSIZE, Self::ruled_inputs(vaults), are_paid.map(u64::from).iter().sum())
    }

    /// Returns the feerate at which a verdict divides the coins in this way; nothing if it never does.
    pub fn feerate_of(&self, seat: Seat, vaults: &Vaults, verdict: Verdict, division: (Sats, Sats)) -> Option<u64> {
        let paid = division.0.checked_add(division.1)?.checked_add(self.contract().fee_of(seat))?;
        let mining = vaults.value()?.checked_sub(paid)?.get();
        let feerate = mining.checked_div(self.divided_vsize(seat, vaults, verdict))?;
        (self.divide(seat, vaults, verdict, feerate).ok()? == division).then_some(feerate)
    }

    /// Returns the feerate of an extension with this fee; nothing if it is a part of one.
    pub fn feerate_of_extension(&self, seat: Seat, vaults: &Vaults, fee: Sats) -> Option<u64> {
        let inputs = Self::ruled_inputs(vaults);
        let feerate = fee.get().checked_div(vsize(RULED_INPUT_VSIZE, inputs, inputs))?;
        (self.extension_fee_at(seat, vaults, feerate).ok()? == fee).then_some(feerate)
    }

    /// Returns the unsigned transaction of a ruling: to the buyer, to the seller, to the arbiter his fee; no output holds
    /// nothing. What remains is the miner's.
    ///
    /// # Errors
    /// When an output would be dust, nobody gets anything, or the miner's part is out of bounds.
    pub fn ruling(&self, seat: Seat, vaults: &Vaults, to_buyer: Sats, to_seller: Sats) -> Result<Draft, EscrowError> {
        let contract = self.contract();
        let arbiter = contract.arbiter(seat).ok_or(EscrowError::NoArbiter)?;
        let refuse = || EscrowError::Division { to_buyer: to_buyer.get(), to_seller: to_seller.get() };
        let outputs: Vec<TxOut> = [
            (to_buyer, self.destination(Role::Buyer)),
            (to_seller, self.destination(Role::Seller)),
            (contract.fee_of(seat), arbiter.destination.script()),
        ]
        .into_iter()
        .filter(|(value, _)| *value > Sats::ZERO)
        .map(|(value, script)| TxOut { value: value.into(), script_pubkey: script.clone() })
        .collect();
        let is_dust = |value: Sats| value > Sats::ZERO && value.get() < DUST_LIMIT;
        if is_dust(to_buyer) || is_dust(to_seller) || (to_buyer, to_seller) == (Sats::ZERO, Sats::ZERO) {
            return Err(refuse());
        }
        let paid = to_buyer.checked_add(to_seller).and_then(|sum| sum.checked_add(contract.fee_of(seat)));
        let fee = vaults.value().and_then(|all| all.checked_sub(paid?)).ok_or_else(refuse)?;
        let size = |outputs| vsize(RULED_INPUT_VSIZE, Self::ruled_inputs(vaults), outputs);
        // What a verdict leaves to a party may come to nothing: its output was reckoned with all the same.
        check_fee_of(fee, size(outputs.len() as u64), size(MAX_RULED_OUTPUTS), MAX_SHARED_FEERATE)?;
        self.draft(vaults, Sequence::from_height(contract.delay_of(seat)), outputs)
    }

    /// Makes an arbiter's ruling, by his pair of this contract (see [`tweak_arbiter_pair`](super::tweak_arbiter_pair)).
    /// Whoever gets something can complete it.
    ///
    /// # Errors
    /// When it does not fit what the escrow holds.
    pub fn rule(
        &self,
        seat: Seat,
        vaults: &Vaults,
        division: (Sats, Sats),
        key: &Keypair,
    ) -> Result<Ruling, EscrowError> {
        let (to_buyer, to_seller) = division;
        let draft = self.ruling(seat, vaults, to_buyer, to_seller)?;
        let with = |role, gets: Sats| match gets {
            Sats::ZERO => Ok(Signatures::default()),
            _ => self.sign(&draft, Leaf::of_arbiter(seat, role), key),
        };
        let (with_buyer, with_seller) = (with(Role::Buyer, to_buyer)?, with(Role::Seller, to_seller)?);
        Ok(Ruling { trade: self.contract().trade, vaults: *vaults, to_buyer, to_seller, with_buyer, with_seller })
    }

    /// Returns what an arbiter signs for a ruling, in order: for the buyer's leaf, then for the seller's, each input of each;
    /// only for who gets something.
    ///
    /// # Errors
    /// When it does not fit what the escrow holds.
    pub fn ruling_digests(
        &self,
        seat: Seat,
        vaults: &Vaults,
        division: (Sats, Sats),
    ) -> Result<Vec<[u8; 32]>, EscrowError> {
        let draft = self.ruling(seat, vaults, division.0, division.1)?;
        let payees = [(Role::Buyer, division.0), (Role::Seller, division.1)];
        let payees = payees.into_iter().filter(|(_, gets)| *gets > Sats::ZERO).map(|(role, _)| role);
        self.digests(&draft, seat, payees)
    }

    /// Makes a ruling of signatures over what [`Self::ruling_digests`] returns, in its order, and checks it.
    ///
    /// # Errors
    /// When one is missing or not good.
    pub fn ruling_of(
        &self,
        seat: Seat,
        vaults: &Vaults,
        division: (Sats, Sats),
        signatures: &[CurveSignature],
    ) -> Result<Ruling, EscrowError> {
        let inputs = vaults.coins().count();
        let mut parts = signatures.chunks(inputs);
        let mut part = |gets: Sats| match gets {
            Sats::ZERO => Signatures::default(),
            _ => parts.next().and_then(|part| List::new(part.to_vec())).unwrap_or_default(),
        };
        let (with_buyer, with_seller) = (part(division.0), part(division.1));
        let (to_buyer, to_seller) = division;
        let ruling =
            Ruling { trade: self.contract().trade, vaults: *vaults, to_buyer, to_seller, with_buyer, with_seller };
        self.check_ruling(seat, &ruling).map(|()| ruling)
    }

    fn digests(
        &self,
        draft: &Draft,
        seat: Seat,
        parties: impl IntoIterator<Item = Role>,
    ) -> Result<Vec<[u8; 32]>, EscrowError> {
        let leaves = parties.into_iter().map(|role| Leaf::of_arbiter(seat, role));
        let places = leaves.flat_map(|leaf| (0..draft.spent.len()).map(move |input| (leaf, input)));
        places.map(|(leaf, input)| self.sighash(draft, input, leaf).map(|message| *message.as_ref())).collect()
    }

    /// Checks an arbiter's ruling: everything is computed anew but his signatures.
    ///
    /// # Errors
    /// When it does not fit what the escrow holds, or he did not sign it for everybody who gets something.
    pub fn check_ruling(&self, seat: Seat, ruling: &Ruling) -> Result<(), EscrowError> {
        let draft = self.ruling(seat, &ruling.vaults, ruling.to_buyer, ruling.to_seller)?;
        let arbiter = (Role::Arbiter, self.arbiter_of(seat)?);
        for (role, gets, signatures) in
            [(Role::Buyer, ruling.to_buyer, &ruling.with_buyer), (Role::Seller, ruling.to_seller, &ruling.with_seller)]
        {
            if gets > Sats::ZERO {
                self.check_signatures(&draft, Leaf::of_arbiter(seat, role), signatures, arbiter)?;
            } else if !signatures.is_empty() {
                return Err(EscrowError::Signature(Role::Arbiter));
            }
        }
        Ok(())
    }

    /// Completes a ruling for a party that gets something by it.
    ///
    /// # Errors
    /// When the ruling is not good, or gives the party nothing.
    pub fn complete_ruling(
        &self,
        seat: Seat,
        ruling: &Ruling,
        role: Role,
        signer: &impl Signer,
    ) -> Result<Draft, EscrowError> {
        self.check_ruling(seat, ruling)?;
        let draft = self.ruling(seat, &ruling.vaults, ruling.to_buyer, ruling.to_seller)?;
        let by_arbiter = if role == Role::Buyer { &ruling.with_buyer } else { &ruling.with_seller };
        self.complete_with_arbiter(draft, Leaf::of_arbiter(seat, role), by_arbiter, signer)
    }

    /// Returns the fee of an extension at `feerate` sat/vB, within the protocol's bounds.
    ///
    /// # Errors
    /// When the feerate is out of bounds, or less than dust would remain.
    pub fn extension_fee_at(&self, seat: Seat, vaults: &Vaults, feerate: u64) -> Result<Sats, EscrowError> {
        let inputs = Self::ruled_inputs(vaults);
        let fee = feerate.checked_mul(vsize(RULED_INPUT_VSIZE, inputs, inputs)).and_then(Sats::new);
        let fee = fee.ok_or(EscrowError::Fee(u64::MAX))?;
        self.extension(seat, vaults, fee).map(|_| fee)
    }

    /// Returns the unsigned transaction that moves the coins into the same outputs again: the escrow less the fee, the
    /// buyer's bond whole.
    ///
    /// # Errors
    /// When the fee is out of bounds, or the contract has no such arbiter.
    pub fn extension(&self, seat: Seat, vaults: &Vaults, fee: Sats) -> Result<Draft, EscrowError> {
        self.arbiter_of(seat)?;
        let inputs = Self::ruled_inputs(vaults);
        check_fee(fee, vsize(RULED_INPUT_VSIZE, inputs, inputs), MAX_SHARED_FEERATE)?;
        let rest = vaults.escrow.value.checked_sub(fee).filter(|rest| rest.get() >= DUST_LIMIT);
        let rest = rest.ok_or(EscrowError::Fee(fee.get()))?;
        let mut draft = self.draft(vaults, Sequence::from_height(self.contract().delay_of(seat)), Vec::new())?;
        draft.tx.output = draft.prevouts();
        draft.tx.output[0].value = rest.into(); // the escrow is always the first
        Ok(draft)
    }

    /// Makes an arbiter's part of an extension, by his pair of this contract. Either party can complete it.
    ///
    /// # Errors
    /// When the fee is out of bounds, or the contract has no such arbiter.
    pub fn extend(&self, seat: Seat, vaults: &Vaults, fee: Sats, key: &Keypair) -> Result<Extend, EscrowError> {
        let draft = self.extension(seat, vaults, fee)?;
        let with = |role| self.sign(&draft, Leaf::of_arbiter(seat, role), key);
        let (with_buyer, with_seller) = (with(Role::Buyer)?, with(Role::Seller)?);
        Ok(Extend { trade: self.contract().trade, vaults: *vaults, fee, with_buyer, with_seller })
    }

    /// Returns what an arbiter signs for an extension, in order: for the buyer's leaf, then for the seller's, each input.
    ///
    /// # Errors
    /// When the fee is out of bounds, or the contract has no such arbiter.
    pub fn extension_digests(&self, seat: Seat, vaults: &Vaults, fee: Sats) -> Result<Vec<[u8; 32]>, EscrowError> {
        self.digests(&self.extension(seat, vaults, fee)?, seat, [Role::Buyer, Role::Seller])
    }

    /// Makes an arbiter's part of an extension of signatures over what [`Self::extension_digests`] returns, in its order, and
    /// checks it.
    ///
    /// # Errors
    /// When one is missing or not good.
    pub fn extend_of(
        &self,
        seat: Seat,
        vaults: &Vaults,
        fee: Sats,
        signatures: &[CurveSignature],
    ) -> Result<Extend, EscrowError> {
        let mut parts = signatures.chunks(vaults.coins().count());
        let mut part = || parts.next().and_then(|part| List::new(part.to_vec())).unwrap_or_default();
        let (with_buyer, with_seller) = (part(), part());
        let extend = Extend { trade: self.contract().trade, vaults: *vaults, fee, with_buyer, with_seller };
        self.check_extend(seat, &extend).map(|()| extend)
    }

    /// Checks an arbiter's part of an extension.
    ///
    /// # Errors
    /// When the fee is out of bounds or a signature does not fit.
    pub fn check_extend(&self, seat: Seat, extend: &Extend) -> Result<(), EscrowError> {
        let draft = self.extension(seat, &extend.vaults, extend.fee)?;
        let arbiter = (Role::Arbiter, self.arbiter_of(seat)?);
        for (role, signatures) in [(Role::Buyer, &extend.with_buyer), (Role::Seller, &extend.with_seller)] {
            self.check_signatures(&draft, Leaf::of_arbiter(seat, role), signatures, arbiter)?;
        }
        Ok(())
    }

    /// Completes an extension for a party.
    ///
    /// # Errors
    /// When the arbiter's part is not good.
    pub fn complete_extend(
        &self,
        seat: Seat,
        extend: &Extend,
        role: Role,
        signer: &impl Signer,
    ) -> Result<Draft, EscrowError> {
        self.check_extend(seat, extend)?;
        let draft = self.extension(seat, &extend.vaults, extend.fee)?;
        let by_arbiter = if role == Role::Buyer { &extend.with_buyer } else { &extend.with_seller };
        self.complete_with_arbiter(draft, Leaf::of_arbiter(seat, role), by_arbiter, signer)
    }

    fn complete_with_arbiter(
        &self,
        mut draft: Draft,
        leaf: Leaf,
        by_arbiter: &Signatures,
        signer: &impl Signer,
    ) -> Result<Draft, EscrowError> {
        let mine = signer.sign(self, &draft, leaf)?;
        // The script checks the party's signature first, so it lies on top.
        self.attach(&mut draft, leaf, &[by_arbiter, &mine])?;
        Ok(draft)
    }
}

#[cfg(test)]
mod tests;
