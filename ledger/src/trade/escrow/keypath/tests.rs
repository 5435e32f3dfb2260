//! Rounds, honest and hostile.

use super::*;
use crate::body::Side;
use crate::testing::{Author, SampleTrade, funding_of, sats, vaults_of};
use crate::trade::{Contract, SpendPath};
use crate::wire::Outpoint;

const BUYERS: [u8; 32] = [0xb0; 32];
const SELLERS: [u8; 32] = [0x5e; 32];

/// A released escrow and the pairs of both.
struct Stage {
    escrow: Escrow,
    vaults: Vaults,
    fee: Sats,
    buyer: Keypair,
    seller: Keypair,
}

impl Stage {
    fn of(trade: &mut SampleTrade, contract: &Contract) -> Self {
        let escrow = Escrow::new(contract);
        let vaults = vaults_of(&escrow, 1);
        let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| trade.author(role).trade_key());
        let half =
            escrow.half(&vaults, escrow.fee_at(&vaults, Role::Buyer, 10).unwrap(), Role::Buyer, &seller).unwrap();
        let fee = escrow.key_fee(&half).unwrap();
        Self { vaults, fee, buyer, seller, escrow }
    }

    fn plain() -> Self {
        let mut trade = SampleTrade::new(Side::Sell);
        let contract = trade.contract();
        Self::of(&mut trade, &contract)
    }

    fn bonded() -> Self {
        let mut trade = SampleTrade::with_second(Side::Buy);
        let contract = trade.bonded();
        Self::of(&mut trade, &contract)
    }

    fn ask(&self) -> (Ask, Asked) {
        self.escrow.ask(&self.vaults, self.fee, &self.buyer, &BUYERS).unwrap()
    }

    fn reply(&self, ask: &Ask) -> Reply {
        self.escrow.reply(ask, &self.vaults, &self.seller, &SELLERS).unwrap()
    }

    fn complete(&self, reply: &Reply) -> Result<Draft, KeyPathError> {
        self.escrow.complete_by_key(self.ask().1, reply, &self.buyer)
    }
}

/// The point at infinity, which BIP-327 writes as zeros where it may stand: in a sum of nonces, and nowhere else.
const INFINITY: PublicNonce = PublicNonce([0; 66]);

fn negated(nonce: &PublicNonce) -> PublicNonce {
    let mut bytes = nonce.0;
    bytes[0] ^= 1;
    bytes[33] ^= 1;
    PublicNonce(bytes)
}

#[test]
fn both_sign_as_one_what_costs_less_and_shows_no_script() {
    for (stage, inputs, saved) in [(Stage::plain(), 1, 580), (Stage::bonded(), 2, 1160)] {
        let (ask, asked) = stage.ask();
        let reply = stage.reply(&ask);
        assert!(asked.is_answered_by(&reply));
        let draft = stage.escrow.complete_by_key(asked, &reply, &stage.buyer).unwrap();
        let by_leaf = stage.escrow.fee_at(&stage.vaults, Role::Buyer, 10).unwrap();
        assert_eq!(by_leaf.get() - stage.fee.get(), saved, "58 virtual bytes for each input");
        let leaf = stage.escrow.spend(&stage.vaults, by_leaf, Role::Buyer).unwrap();
        assert_eq!(draft.tx.input.len(), inputs);
        assert!(draft.tx.input.iter().all(|input| input.witness.len() == 1 && input.witness[0].len() == 64));
        assert_eq!(stage.escrow.check_witness(&draft.tx, &stage.vaults), Ok(None));
        assert_eq!(stage.escrow.classify(&draft.tx, &stage.vaults), SpendPath::Payout);
        assert!(draft.tx.vsize() as u64 * 10 <= stage.fee.get(), "{} virtual bytes", draft.tx.vsize());
        // Apart from the fee it is what the leaf pays, so that of both either may confirm.
        let paid =
            |draft: &Draft| -> Vec<_> { draft.tx.output.iter().map(|output| output.script_pubkey.clone()).collect() };
        assert_eq!((paid(&draft), &draft.spent), (paid(&leaf), &leaf.spent));
        assert_eq!(draft.tx.output.last().unwrap().value.to_sat() == 100_000, inputs == 2, "the seller's bond, whole");
    }
}

#[test]
fn an_ask_for_anything_but_the_payout_is_refused_by_name() {
    let stage = Stage::bonded();
    let good = stage.ask().0;
    let with = |nonces: Vec<PublicNonce>| Ask { nonces: List::new(nonces).unwrap(), ..good.clone() };
    let [first, second] = [good.nonces[0], good.nonces[1]];
    let mut off_curve = first;
    off_curve.0[1..33].fill(0xff);
    let mut untagged = first;
    untagged.0[33] = 0x04;
    let high = Sats::new(500 * 1000).unwrap();
    let by_leaf = stage.escrow.spend(&stage.vaults, sats(2_860), Role::Buyer).unwrap().tx.compute_txid();
    let cases = [
        (Ask { fee: sats(stage.fee.get() + 1), ..good.clone() }, KeyPathError::OtherSpend),
        (Ask { spend: TxId(by_leaf), ..good.clone() }, KeyPathError::OtherSpend),
        (Ask { fee: high, ..good.clone() }, EscrowError::Fee(500_000).into()),
        (Ask { fee: sats(1), ..good.clone() }, EscrowError::Fee(1).into()),
        (with(vec![]), KeyPathError::Nonces),
        (with(vec![first]), KeyPathError::Nonces),
        (with(vec![first, INFINITY]), KeyPathError::Nonces),
        (with(vec![INFINITY, second]), KeyPathError::Nonces),
        (with(vec![off_curve, second]), KeyPathError::Nonces),
        (with(vec![untagged, second]), KeyPathError::Nonces),
    ];
    for (ask, error) in cases {
        assert_eq!(stage.escrow.check_ask(&ask, &stage.vaults).map(|_| ()), Err(error.clone()), "{ask:?}");
        assert_eq!(stage.escrow.reply(&ask, &stage.vaults, &stage.seller, &SELLERS), Err(error));
    }
    // What the seller sees on the chain decides, not what the buyer says: other outputs, none of the bond, a smaller value.
    let mut elsewhere = stage.vaults;
    elsewhere.escrow.outpoint = Outpoint(bitcoin::OutPoint { vout: 7, ..elsewhere.escrow.outpoint.0 });
    let mut less = stage.vaults;
    less.escrow.value = sats(900_000);
    for vaults in [elsewhere, less] {
        assert_eq!(stage.escrow.check_ask(&good, &vaults).map(|_| ()), Err(KeyPathError::OtherSpend));
    }
    let alone = Vaults { bond: None, ..stage.vaults };
    assert!(stage.escrow.check_ask(&good, &alone).is_err());
    // Another destination is another contract.
    let mut contract = stage.escrow.contract().clone();
    contract.buyer_party.destination = Author::new(9).party().destination;
    let other = Escrow::new(&contract);
    let vaults = vaults_of(&other, 1);
    let (ask, _) = other.ask(&vaults, stage.fee, &stage.buyer, &BUYERS).unwrap();
    assert_eq!(stage.escrow.check_ask(&ask, &stage.vaults).map(|_| ()), Err(KeyPathError::OtherSpend));
}

#[test]
fn a_reply_that_does_not_fit_is_refused_and_nothing_is_signed() {
    let stage = Stage::bonded();
    let (ask, _) = stage.ask();
    let good = stage.reply(&ask);
    assert!(stage.complete(&good).is_ok());
    let nonces = |nonces: [PublicNonce; 2]| Reply { nonces: List::new(nonces.to_vec()).unwrap(), ..good.clone() };
    let signed =
        |signatures: Vec<PartialSignature>| Reply { signatures: List::new(signatures).unwrap(), ..good.clone() };
    let [first, second] = [good.signatures[0], good.signatures[1]];
    for at in 0..32 {
        let mut forged = first;
        forged.0[at] ^= 1;
        assert_eq!(stage.complete(&signed(vec![forged, second])), Err(KeyPathError::Partial), "byte {at}");
    }
    let mine = &ask.nonces;
    let cases = [
        (signed(vec![second, first]), KeyPathError::Partial),
        (signed(vec![first]), KeyPathError::Partial),
        (signed(vec![first, PartialSignature([0xff; 32])]), KeyPathError::Partial),
        (signed(vec![PartialSignature([0; 32]), second]), KeyPathError::Partial),
        (nonces([good.nonces[1], good.nonces[0]]), KeyPathError::Partial),
        (nonces([mine[0], mine[1]]), KeyPathError::Partial),
        // A sum of nonces at infinity, which the seller can bring about, but not sign for.
        (nonces([negated(&mine[0]), negated(&mine[1])]), KeyPathError::Partial),
        (nonces([INFINITY, good.nonces[1]]), KeyPathError::Nonces),
        (Reply { ask: [0; 32], ..good.clone() }, KeyPathError::OtherAsk),
    ];
    for (reply, error) in cases {
        assert_eq!(stage.complete(&reply), Err(error), "{reply:?}");
    }
    // A part that he made for another fee, or for other outputs of the same escrow.
    let (other_ask, _) = stage.escrow.ask(&stage.vaults, sats(stage.fee.get() + 1), &stage.buyer, &BUYERS).unwrap();
    let vaults = stage.escrow.fundings(&funding_of(&stage.escrow, 2))[0];
    let (other_vaults, _) = stage.escrow.ask(&vaults, stage.fee, &stage.buyer, &BUYERS).unwrap();
    for (other, vaults) in [(other_ask, stage.vaults), (other_vaults, vaults)] {
        let reply = stage.escrow.reply(&other, &vaults, &stage.seller, &SELLERS).unwrap();
        assert_eq!(stage.complete(&reply), Err(KeyPathError::OtherAsk));
        assert_eq!(stage.complete(&Reply { ask: ask.id(), ..reply }), Err(KeyPathError::Partial));
    }
}

#[test]
fn nobody_signs_for_anybody_else() {
    let stage = Stage::plain();
    let stranger = Author::new(99).trade_key();
    let refused = |role| Err(EscrowError::Signature(role));
    for key in [&stage.seller, &stranger] {
        let asked = stage.escrow.ask(&stage.vaults, stage.fee, key, &BUYERS).map(|_| ());
        assert_eq!(asked, refused(Role::Buyer));
    }
    let (ask, asked) = stage.ask();
    for key in [&stage.buyer, &stranger] {
        let replied = stage.escrow.reply(&ask, &stage.vaults, key, &SELLERS);
        assert_eq!(replied, Err(EscrowError::Signature(Role::Seller).into()));
    }
    let completed = stage.escrow.complete_by_key(asked, &stage.reply(&ask), &stage.seller);
    assert_eq!(completed, Err(EscrowError::Signature(Role::Buyer).into()));
}

#[test]
fn each_round_each_input_and_each_side_has_nonces_of_its_own() {
    let stage = Stage::bonded();
    let (ask, _) = stage.ask();
    let again = stage.escrow.ask(&stage.vaults, stage.fee, &stage.buyer, &[0xb1; 32]).unwrap().0;
    let (reply, second) = (stage.reply(&ask), stage.escrow.reply(&ask, &stage.vaults, &stage.seller, &[0x5f; 32]));
    let second = second.unwrap();
    let mut all: Vec<[u8; 33]> = [&ask.nonces, &again.nonces, &reply.nonces, &second.nonces]
        .into_iter()
        .flat_map(|nonces| nonces.iter())
        .flat_map(|nonce| [nonce.0[..33].try_into().unwrap(), nonce.0[33..].try_into().unwrap()])
        .collect();
    assert_eq!(all.len(), 16);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 16, "no point stands twice");
    assert_ne!(ask.id(), again.id());
    // From the same entropy, another transaction has other nonces: what is signed is part of what they are drawn from.
    let dearer = stage.escrow.ask(&stage.vaults, sats(stage.fee.get() + 1), &stage.buyer, &BUYERS).unwrap().0;
    assert_ne!(dearer.nonces[0], ask.nonces[0]);
    // Both replies are good, and neither tells the other's secret: each is over nonces of its own.
    assert!(stage.complete(&reply).is_ok() && stage.complete(&second).is_ok());
}

#[test]
fn secrets_are_not_shown() {
    let stage = Stage::plain();
    let (_, asked) = stage.ask();
    let shown = format!("{asked:?}");
    assert_eq!(shown, format!("Asked({})", asked.draft.tx.compute_txid()));
}
