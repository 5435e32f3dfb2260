//! What is raised without anybody asking: when, and how much.

use bitcoin::key::Keypair;

use super::*;

/// The funding's height, and the tip from which on the seller can take the coins back.
const FUNDED_AT: u32 = 190;
const REFUND_FROM: u32 = FUNDED_AT + 4320 - 1;

/// The size of a child that spends one Taproot output into another.
const CHILD_VSIZE: u64 = 111;

/// A trade, and what can become of its coins at 1 sat/vB.
struct Stage {
    sample: SampleTrade,
    escrow: Escrow,
    vaults: Vaults,
    payout: Transaction,
    refund: Transaction,
    ruling: Transaction,
    /// The seller takes the escrow back.
    theirs: Transaction,
    /// The buyer takes his bond back.
    own: Option<Transaction>,
}

impl Stage {
    fn new(mut sample: SampleTrade, verdict: Verdict) -> Self {
        let (escrow, vaults) = (sample.escrow(), sample.vaults(1));
        let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| sample.author(role).trade_key());
        let half = |to, key: &Keypair| escrow.half(&vaults, escrow.fee_at(&vaults, to, 1).unwrap(), to, key).unwrap();
        let payout = escrow.complete(&half(Role::Buyer, &seller), Role::Buyer, &buyer).unwrap().tx;
        let refund = escrow.complete(&half(Role::Seller, &buyer), Role::Seller, &seller).unwrap().tx;
        let division = escrow.divide(Seat::First, &vaults, verdict, 1).unwrap();
        let ruling = Self::ruled(&mut sample, &vaults, division);
        let back = |vault, coin, key: &Keypair| escrow.signed_timeout(vault, coin, sats(1_700), key).unwrap().tx;
        let theirs = back(Vault::Escrow, vaults.escrow, &seller);
        let own = vaults.bond.map(|bond| back(Vault::Bond, bond, &buyer));
        Self { sample, escrow, vaults, payout, refund, ruling, theirs, own }
    }

    /// Returns what the first arbiter gives to the two parties of these outputs, as the buyer completes it.
    fn ruled(sample: &mut SampleTrade, vaults: &Vaults, division: (Sats, Sats)) -> Transaction {
        let (escrow, buyer) = (sample.escrow(), sample.author(Role::Buyer).trade_key());
        let pair = sample.arbiter_pair(escrow.contract(), Seat::First);
        let ruling = escrow.rule(Seat::First, vaults, division, &pair).unwrap();
        escrow.complete_ruling(Seat::First, &ruling, Role::Buyer, &buyer).unwrap().tx
    }

    /// Returns the trade as one side sees it that keeps a spend.
    fn seen(&self, role: Role, kept: Option<&Transaction>, tip: u32, spends: &[(&Transaction, Option<u32>)]) -> Trade {
        let local = Local { spend_tx: kept.map(bitcoin::consensus::serialize), ..Local::default() };
        let mut trade = Trade::new(self.sample.bid(), role, false, local);
        trade.handle(Event::Records { contract: Some(self.sample.contract()), facts: Facts::default() }).unwrap();
        let spend = |(tx, height): &(&Transaction, Option<u32>)| {
            let path = self.escrow.classify(tx, &self.vaults);
            Spend { tx: (*tx).clone(), path, height: *height }
        };
        let (fundings, spends) = (vec![Funding::new(self.vaults, Some(FUNDED_AT))], spends.iter().map(spend));
        let chain = ChainFacts { tip, synced: true, fundings, spends: spends.collect(), ..ChainFacts::default() };
        trade.handle(Event::Chain(chain)).unwrap();
        trade
    }
}

#[test]
fn what_pays_a_buyer_is_hurried_from_a_day_before_the_seller_could_take_the_coins_until_a_block_holds_it() {
    let stage = Stage::new(SampleTrade::with_bonds(Side::Sell), Verdict::Buyer);
    let (payout, ruling, theirs) = (&stage.payout, &stage.ruling, &stage.theirs);
    let (refund, own) = (&stage.refund, stage.own.as_ref().unwrap());
    let from = REFUND_FROM - HURRY_BLOCKS;
    let (buyer, seller, late) = (Role::Buyer, Role::Seller, REFUND_FROM + 1);
    for (what, role, kept, tip, spends, expected) in [
        ("a block too early", buyer, Some(payout), from - 1, vec![(payout, None)], None),
        ("it waits in the pool", buyer, Some(payout), from, vec![(payout, None)], Some(payout)),
        ("it was pushed out of the pool", buyer, Some(payout), from, vec![], Some(payout)),
        ("another machine of his made it", buyer, None, from, vec![(payout, None)], Some(payout)),
        ("a block holds it", buyer, Some(payout), from, vec![(payout, Some(from))], None),
        ("the seller is late", buyer, Some(payout), late + 500, vec![(payout, None)], Some(payout)),
        ("the seller takes the coins", buyer, Some(payout), late, vec![(theirs, None)], Some(payout)),
        ("the seller has taken them", buyer, Some(payout), late, vec![(theirs, Some(late))], None),
        ("his bond left alone", buyer, Some(payout), late, vec![(own, Some(late))], None),
        ("an arbiter ruled for him", buyer, Some(ruling), from, vec![(ruling, None)], Some(ruling)),
        ("he agreed to a refund", buyer, None, from, vec![(refund, None)], None),
        ("he takes his bond back", buyer, Some(own), late, vec![(own, None)], None),
        ("the seller is not paid by it", seller, None, from, vec![(payout, None)], None),
    ] {
        let trade = stage.seen(role, kept, tip, &spends);
        let urgent = trade.urgent().map(|(tx, _)| tx);
        assert_eq!(urgent.as_ref(), expected, "{what}");
        assert_eq!(trade.hurried(0, 1, CHILD_VSIZE).map(|hurried| hurried.tx), urgent, "{what}");
    }
    // What is left of his bond he need not have: all of it is his when the seller takes the rest.
    let lost = Stage::new(SampleTrade::with_bonds(Side::Sell), Verdict::Seller);
    for (tip, spends) in [(from, vec![]), (from, vec![(&lost.ruling, None)]), (late, vec![(&lost.theirs, None)])] {
        assert!(lost.seen(buyer, Some(&lost.ruling), tip, &spends).urgent().is_none(), "{tip} {spends:?}");
    }
    // Of what takes his bond along only what is more than that counts, and all of what leaves it to him.
    let mut sample = SampleTrade::with_bonds(Side::Sell);
    let (whole, alone) = (stage.vaults, Vaults { bond: None, ..stage.vaults });
    let divide = |vaults, verdict| stage.escrow.divide(Seat::First, vaults, verdict, 1).unwrap();
    let (left, rest) = divide(&whole, Verdict::Seller);
    let bond = whole.bond.unwrap().value.get();
    let with = |to_buyer: u64| (sats(to_buyer), sats(left.get() + rest.get() - to_buyer));
    let small = divide(&alone, Verdict::Split(sats(12_000)));
    for (vaults, division, is_urgent) in
        [(whole, with(bond), false), (whole, with(bond + 1), true), (alone, small, true)]
    {
        let ruling = Stage::ruled(&mut sample, &vaults, division);
        let urgent = stage.seen(buyer, Some(&ruling), from, &[]).urgent();
        assert_eq!(urgent.is_some(), is_urgent, "{division:?} of {vaults:?}");
    }
    let mut trade = stage.seen(buyer, Some(payout), from, &[(payout, None)]);
    let blind = ChainFacts { synced: false, ..trade.view().chain().clone() };
    trade.handle(Event::Chain(blind)).unwrap();
    assert!(trade.urgent().is_none(), "a block that is not here yet may hold it");
}

#[test]
fn it_pays_the_estimate_then_twice_as_much_as_before_and_never_more_than_it_is_worth() {
    let from = REFUND_FROM - HURRY_BLOCKS;
    let stage = Stage::new(SampleTrade::with_bonds(Side::Sell), Verdict::Buyer);
    let trade = stage.seen(Role::Buyer, Some(&stage.payout), from, &[(&stage.payout, None)]);
    for (asked, estimate, expected) in [
        (0, 1, 1),
        (0, 30, 30),
        (1, 1, 2),
        (20, 30, 40),
        (20, 90, 90),
        (0, 501, 500),
        (400, 1, 500),
        (u64::MAX, u64::MAX, 500),
    ] {
        let hurried = trade.hurried(asked, estimate, CHILD_VSIZE);
        let expected = Hurried { tx: stage.payout.clone(), fee: sats(329), feerate: expected };
        assert_eq!(hurried, Some(expected), "after {asked}, at {estimate}");
    }
    assert_eq!(trade.hurried(0, 0, CHILD_VSIZE), None, "nothing is paid for nothing");
    // A small part of a split is not thrown after itself.
    let stage = Stage::new(SampleTrade::new(Side::Sell), Verdict::Split(sats(12_000)));
    let trade = stage.seen(Role::Buyer, Some(&stage.ruling), from, &[]);
    let Hurried { fee, feerate, .. } = trade.hurried(0, 300, CHILD_VSIZE).unwrap();
    let comes_in = stage.ruling.output[0].value.to_sat();
    let vsize = stage.ruling.vsize() as u64 + CHILD_VSIZE;
    let costs = |feerate: u64| feerate * vsize - fee.get();
    assert!((11_000..12_000).contains(&comes_in), "{comes_in}");
    assert!(costs(feerate) <= comes_in / 2 && costs(feerate + 1) > comes_in / 2, "{feerate} sat/vB");
}
