//! Who signed a spend. A transaction's id does not cover its signatures, so a proof that a block holds the transaction
//! says nothing of them: they are checked by themselves.

use bitcoin::secp256k1::{Message, Secp256k1, XOnlyPublicKey, schnorr};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::LeafVersion;
use bitcoin::{OutPoint, TapSighashType, Transaction};

use super::{Escrow, EscrowError, Leaf, tweaked_arbiter_key};

impl Escrow {
    /// Checks the witness of a transaction that spends this escrow alone, and returns the leaf by which it does; `None`
    /// means the key of both.
    ///
    /// # Errors
    /// [`EscrowError::Witness`] when anything in it is not as that leaf asks.
    pub fn check_witness(&self, tx: &Transaction, outpoint: OutPoint) -> Result<Option<Leaf>, EscrowError> {
        let [input] = tx.input.as_slice() else { return Err(EscrowError::Witness) };
        if input.previous_output != outpoint || !input.script_sig.is_empty() {
            return Err(EscrowError::Witness);
        }
        let items = input.witness.to_vec();
        if let [signature] = items.as_slice() {
            verify(signature, &self.key_sighash(tx), &self.info.output_key().to_x_only_public_key())?;
            return Ok(None);
        }
        let [signatures @ .., script, control] = items.as_slice() else { return Err(EscrowError::Witness) };
        let leaves = [Leaf::Both, Leaf::Refund, Leaf::SellerArbiter, Leaf::BuyerArbiter];
        let leaf = leaves.into_iter().find(|leaf| self.leaf(*leaf).as_bytes() == script).ok_or(EscrowError::Witness)?;
        let expected = self.info.control_block(&(self.leaf(leaf).clone(), LeafVersion::TapScript));
        let keys = self.signers(leaf);
        if expected.map(|block| block.serialize()).as_ref() != Some(control) || signatures.len() != keys.len() {
            return Err(EscrowError::Witness);
        }
        let sighash = self.sighash(tx, leaf);
        // What the script checks first lies on top, which is last.
        signatures.iter().rev().zip(keys).try_for_each(|(signature, key)| verify(signature, &sighash, &key))?;
        Ok(Some(leaf))
    }

    /// Returns the keys that a leaf asks for, in the order in which its script checks them.
    fn signers(&self, leaf: Leaf) -> Vec<XOnlyPublicKey> {
        let (buyer, seller) = (self.contract.buyer_party.trade_key.0, self.contract.seller_party.trade_key.0);
        match leaf {
            Leaf::Both => vec![buyer, seller],
            Leaf::Refund => vec![seller],
            Leaf::SellerArbiter => vec![seller, tweaked_arbiter_key(&self.contract)],
            Leaf::BuyerArbiter => vec![buyer, tweaked_arbiter_key(&self.contract)],
        }
    }

    fn key_sighash(&self, tx: &Transaction) -> Message {
        let sighash = SighashCache::new(tx)
            .taproot_key_spend_signature_hash(0, &Prevouts::All(&[self.output()]), TapSighashType::Default)
            .expect("the only input has its only prevout");
        Message::from(sighash)
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
        let outpoint = escrow.fundings(&trade.funding(1))[0];
        let (buyer, seller) = (trade.author(Role::Buyer).trade_key(), trade.author(Role::Seller).trade_key());
        let half = escrow.half(outpoint, sats(1_700), Role::Buyer, &seller).unwrap();
        let payout = escrow.complete(&half, Role::Buyer, &buyer).unwrap();
        let timeout = escrow.signed_timeout(outpoint, sats(1_700), &seller).unwrap();
        assert_eq!(escrow.check_witness(&payout, outpoint), Ok(Some(Leaf::Both)));
        assert_eq!(escrow.check_witness(&timeout, outpoint), Ok(Some(Leaf::Refund)));
        for tx in [payout, timeout] {
            let items = tx.input[0].witness.to_vec();
            for (item, at) in items.iter().enumerate().flat_map(|(i, item)| (0..item.len()).map(move |at| (i, at))) {
                let mut forged = items.clone();
                forged[item][at] ^= 1;
                let mut tx = tx.clone();
                tx.input[0].witness = bitcoin::Witness::from_slice(&forged);
                assert_eq!(escrow.check_witness(&tx, outpoint), Err(EscrowError::Witness), "item {item}, byte {at}");
            }
            let mut longer = tx.clone();
            longer.input[0].witness.push([0x50]);
            assert_eq!(escrow.check_witness(&longer, outpoint), Err(EscrowError::Witness));
            let mut other = tx.clone();
            other.output[0].value -= bitcoin::Amount::ONE_SAT;
            assert_eq!(escrow.check_witness(&other, outpoint), Err(EscrowError::Witness));
        }
    }
}
