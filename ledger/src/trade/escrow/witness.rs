//! Who signed a spend. A transaction's id does not cover its signatures, so a proof that a block holds the transaction
//! says nothing of them: they are checked by themselves.

use bitcoin::Transaction;
use bitcoin::secp256k1::{Message, Secp256k1, XOnlyPublicKey, schnorr};

use super::{Draft, Escrow, EscrowError, Leaf, Vault};
use crate::body::Vaults;
use crate::trade::{Role, Seat};

impl Escrow {
    /// Checks the witnesses of a transaction that spends outputs of this escrow alone, each once, and returns the leaf by
    /// which it does; `None` means the key of both.
    ///
    /// # Errors
    /// [`EscrowError::Witness`] when anything in them is not as that leaf asks.
    pub fn check_witness(&self, tx: &Transaction, vaults: &Vaults) -> Result<Option<Leaf>, EscrowError> {
        let coins = [Some((Vault::Escrow, vaults.escrow)), vaults.bond.map(|bond| (Vault::Bond, bond))];
        let mut coins: Vec<_> = coins.into_iter().flatten().collect();
        // Nobody makes this side look at the same output a thousand times.
        let spent = tx.input.iter().map(|input| {
            let at = coins.iter().position(|(_, coin)| coin.outpoint.0 == input.previous_output)?;
            let (vault, coin) = coins.swap_remove(at);
            self.prevout(vault, coin).ok().filter(|_| input.script_sig.is_empty())
        });
        let spent = spent.collect::<Option<Vec<_>>>().ok_or(EscrowError::Witness)?;
        let draft = Draft { tx: tx.clone(), spent };
        let mut leaves = (0..tx.input.len()).map(|input| self.check_input(&draft, input));
        let first = leaves.next().ok_or(EscrowError::Witness)??;
        leaves.try_for_each(|leaf| if leaf? == first { Ok(()) } else { Err(EscrowError::Witness) })?;
        Ok(first)
    }

    fn check_input(&self, draft: &Draft, input: usize) -> Result<Option<Leaf>, EscrowError> {
        let (vault, _) = &draft.spent[input];
        let tree = self.tree(*vault).ok_or(EscrowError::Witness)?;
        let items = draft.tx.input[input].witness.to_vec();
        if let [signature] = items.as_slice() {
            verify(signature, &draft.key_sighash(input), &tree.info.output_key().to_x_only_public_key())?;
            return Ok(None);
        }
        let [signatures @ .., script, control] = items.as_slice() else { return Err(EscrowError::Witness) };
        let is_it = |leaf: &Leaf| self.leaf(*vault, *leaf).is_some_and(|known| known.as_bytes() == script);
        let leaf = Leaf::ALL.into_iter().find(is_it).ok_or(EscrowError::Witness)?;
        let expected = tree.control_block(leaf).map(|(_, control)| control);
        let keys = self.signers(*vault, leaf).ok_or(EscrowError::Witness)?;
        if expected.as_ref() != Some(control) || signatures.len() != keys.len() {
            return Err(EscrowError::Witness);
        }
        let sighash = self.sighash(draft, input, leaf).map_err(|_| EscrowError::Witness)?;
        // What the script checks first lies on top, which is last.
        signatures.iter().rev().zip(keys).try_for_each(|(signature, key)| verify(signature, &sighash, &key))?;
        Ok(Some(leaf))
    }

    /// Returns how many blocks an output lies before a leaf lets it move; none for the key of both.
    pub const fn delay_of(&self, leaf: Option<Leaf>) -> u16 {
        match leaf {
            None | Some(Leaf::Both) => 0,
            Some(Leaf::Refund) => self.contract.refund_delay,
            Some(Leaf::SellerArbiter | Leaf::BuyerArbiter) => self.contract.delay_of(Seat::First),
            Some(Leaf::SellerSecond | Leaf::BuyerSecond) => self.contract.delay_of(Seat::Second),
        }
    }

    /// Returns the keys that a leaf asks for, in the order in which its script checks them.
    fn signers(&self, vault: Vault, leaf: Leaf) -> Option<Vec<XOnlyPublicKey>> {
        let key = |role| self.contract.party(role).map(|party| party.trade_key.0);
        let (buyer, seller) = (key(Role::Buyer)?, key(Role::Seller)?);
        let by_arbiter = |party| Some(vec![party, self.arbiter_key(leaf.seat()?)?]);
        match (leaf, vault) {
            (Leaf::Both, Vault::Escrow | Vault::Bond) => Some(vec![buyer, seller]),
            (Leaf::Refund, Vault::Escrow) => Some(vec![seller]),
            (Leaf::Refund, Vault::Bond) => Some(vec![buyer]),
            (Leaf::SellerArbiter | Leaf::SellerSecond, Vault::Escrow | Vault::Bond) => by_arbiter(seller),
            (Leaf::BuyerArbiter | Leaf::BuyerSecond, Vault::Escrow | Vault::Bond) => by_arbiter(buyer),
        }
    }
}

fn verify(signature: &[u8], sighash: &Message, key: &XOnlyPublicKey) -> Result<(), EscrowError> {
    let signature = schnorr::Signature::from_slice(signature).map_err(|_| EscrowError::Witness)?;
    Secp256k1::verification_only().verify_schnorr(&signature, sighash, key).map_err(|_| EscrowError::Witness)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Side;
    use crate::testing::{SampleTrade, sats};
    use crate::trade::Role;

    #[test]
    fn every_byte_of_a_witness_counts() {
        let mut trade = SampleTrade::new(Side::Sell);
        let escrow = trade.escrow();
        let vaults = trade.vaults(1);
        let (buyer, seller) = (trade.author(Role::Buyer).trade_key(), trade.author(Role::Seller).trade_key());
        let half = escrow.half(&vaults, sats(1_700), Role::Buyer, &seller).unwrap();
        let payout = escrow.complete(&half, Role::Buyer, &buyer).unwrap().tx;
        let timeout = escrow.signed_timeout(Vault::Escrow, vaults.escrow, sats(1_700), &seller).unwrap().tx;
        assert_eq!(escrow.check_witness(&payout, &vaults), Ok(Some(Leaf::Both)));
        assert_eq!(escrow.check_witness(&timeout, &vaults), Ok(Some(Leaf::Refund)));
        for tx in [payout, timeout] {
            let items = tx.input[0].witness.to_vec();
            for (item, at) in items.iter().enumerate().flat_map(|(i, item)| (0..item.len()).map(move |at| (i, at))) {
                let mut forged = items.clone();
                forged[item][at] ^= 1;
                let mut tx = tx.clone();
                tx.input[0].witness = bitcoin::Witness::from_slice(&forged);
                assert_eq!(escrow.check_witness(&tx, &vaults), Err(EscrowError::Witness), "item {item}, byte {at}");
            }
            let mut longer = tx.clone();
            longer.input[0].witness.push([0x50]);
            assert_eq!(escrow.check_witness(&longer, &vaults), Err(EscrowError::Witness));
            let mut other = tx.clone();
            other.output[0].value -= bitcoin::Amount::ONE_SAT;
            assert_eq!(escrow.check_witness(&other, &vaults), Err(EscrowError::Witness));
        }
    }

    #[test]
    fn an_output_is_spent_once() {
        let mut trade = SampleTrade::new(Side::Sell);
        let (escrow, vaults) = (trade.escrow(), trade.vaults(1));
        let seller = trade.author(Role::Seller).trade_key();
        let mut twice = escrow.timeout(Vault::Escrow, vaults.escrow, sats(1_700)).unwrap();
        twice.tx.input.push(twice.tx.input[0].clone());
        twice.spent.push(twice.spent[0].clone());
        let signatures = escrow.sign(&twice, Leaf::Refund, &seller).unwrap();
        escrow.attach(&mut twice, Leaf::Refund, &[&signatures]).unwrap();
        assert_eq!(escrow.check_witness(&twice.tx, &vaults), Err(EscrowError::Witness));
    }
}
