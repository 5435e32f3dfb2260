//! What transactions in any order come to.

use bitcoin::{ScriptBuf, Sequence, TxOut, Witness};

use super::*;
use crate::body::Side;
use crate::testing::{SampleTrade, funding_of, sats, spend_of_nowhere, vaults_of};
use crate::trade::{Leaf, Role, Seat, Vault, Verdict};

const TIP: u32 = 900;

/// A bonded escrow that was funded, extended twice and paid out; and the outputs between.
struct Story {
    escrow: Escrow,
    txs: Vec<(Transaction, Option<u32>)>,
    held: Vec<Vaults>,
}

impl Story {
    fn new() -> Self {
        let mut trade = SampleTrade::with_second(Side::Sell);
        let escrow = Escrow::new(&trade.bonded());
        let pair = trade.arbiter_pair(escrow.contract(), Seat::First);
        let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| trade.author(role).trade_key());
        let (mut txs, mut held) = (vec![(funding_of(&escrow, 1), Some(100))], vec![vaults_of(&escrow, 1)]);
        for height in [300, 500] {
            let last = held[held.len() - 1];
            let extend = escrow.extend(Seat::First, &last, sats(4_000), &pair).unwrap();
            let tx = escrow.complete_extend(Seat::First, &extend, Role::Buyer, &buyer).unwrap().tx;
            held.push(escrow.extended(&tx, &last).unwrap());
            txs.push((tx, Some(height)));
        }
        let half = escrow.half(&held[2], sats(3_290), Role::Buyer, &seller).unwrap();
        txs.push((escrow.complete(&half, Role::Buyer, &buyer).unwrap().tx, None));
        Self { escrow, txs, held }
    }

    fn gather(&self, order: &[usize]) -> ChainFacts {
        let txs = order.iter().map(|at| &self.txs[*at]).map(|(tx, height)| (tx, *height));
        ChainFacts::gather(&self.escrow, TIP, true, txs)
    }
}

#[test]
fn a_block_shows_the_outputs_that_it_holds_with_the_bond_or_without_it() {
    let trade = SampleTrade::with_bonds(Side::Sell);
    let [one, other] = [1, 2].map(|number| trade.vaults(number));
    let less = Vaults { escrow: crate::body::Coin { value: sats(1), ..one.escrow }, ..one };
    for (vaults, is_it) in [
        (one, true),
        (Vaults { bond: None, ..one }, true),
        (Vaults { bond: other.bond, ..one }, false),
        (Vaults { escrow: other.escrow, ..one }, false),
        (less, false),
        (other, false),
    ] {
        assert_eq!(Funding::new(one, Some(100)).shows(&vaults), is_it, "{vaults:?}");
        assert!(!Funding::new(one, None).shows(&vaults), "a pool proves nothing");
        // A bond that is made up is none of it.
        let alone = Funding::new(Vaults { bond: None, ..one }, Some(100));
        assert_eq!(alone.shows(&vaults), vaults == alone.vaults, "{vaults:?}");
    }
}

#[test]
fn what_was_paid_in_is_what_lies_there_beside_another_funding_once_a_block_holds_it() {
    let (plain, bonded) = (SampleTrade::new(Side::Sell), SampleTrade::with_bonds(Side::Sell));
    let strays = |funding: Funding| funding.strays().collect::<Vec<_>>();
    for trade in [plain, bonded] {
        let held = trade.vaults(1);
        let mut expected = vec![Stray { vault: Vault::Escrow, coin: held.escrow, height: 100 }];
        expected.extend(held.bond.map(|coin| Stray { vault: Vault::Bond, coin, height: 100 }));
        assert_eq!(strays(Funding::new(held, Some(100))), expected);
        assert_eq!(strays(Funding::new(held, None)), [], "it may vanish");
        let extends = Some(trade.vaults(2).outpoint());
        assert_eq!(strays(Funding { extends, ..Funding::new(held, Some(100)) }), [], "an arbiter has moved it");
    }
}

/// Whoever follows from lower for another trade sees more than who does not: it must mean nothing to him.
#[test]
fn what_was_paid_lower_than_anybody_looks_counts_for_nobody() {
    const FROM: u32 = 1_000;
    let mut trade = SampleTrade::new(Side::Sell).agreed_at(FROM + 144);
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| trade.author(role).trade_key());
    let (escrow, held) = (trade.escrow(), trade.vaults(1));
    let half = escrow.half(&held, sats(1_700), Role::Buyer, &seller).unwrap();
    let payout = escrow.complete(&half, Role::Buyer, &buyer).unwrap().tx;
    let (one, other) = (trade.funding(1), trade.funding(2));
    for (height, tip, counts) in [
        (Some(1), FROM + 300, false),
        (Some(FROM - 1), FROM + 300, false),
        (Some(FROM), FROM + 300, true),
        (Some(FROM + 144), FROM + 300, true),
        // In the next block it would still lie too low.
        (None, FROM - 2, false),
        (None, FROM - 1, true),
    ] {
        let facts = ChainFacts::gather(&escrow, tip, true, [(&one, height), (&payout, None)]);
        let expected = if counts { vec![Funding::new(held, height)] } else { Vec::new() };
        assert_eq!(facts.fundings, expected, "at {height:?}");
        assert_eq!(facts.spends.len(), usize::from(counts), "what spends nothing that counts is none: {height:?}");
        // Nor does it stand beside what counts.
        let both = ChainFacts::gather(&escrow, FROM + 300, true, [(&one, height), (&other, Some(FROM + 150))]);
        assert_eq!(both.fundings.len(), 1 + usize::from(height.is_none_or(|height| height >= FROM)));
    }
    // A reorg of a hundred blocks puts nothing so low that was paid above the stated height.
    let reorganised = ChainFacts::gather(&escrow, FROM + 300, true, [(&one, Some(FROM + 144 + 1 - 100))]);
    assert_eq!(reorganised.fundings, [Funding::new(held, Some(FROM + 45))]);
}

#[test]
fn a_row_of_extensions_is_followed_whatever_the_order() {
    let story = Story::new();
    let all = story.gather(&[0, 1, 2, 3]);
    assert_eq!((all.tip, all.synced), (TIP, true));
    for order in [[3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1], [0, 3, 2, 1]] {
        assert_eq!(story.gather(&order), all);
    }
    let mut fundings: Vec<Funding> = [(0, 100, None), (1, 300, Some(0)), (2, 500, Some(1))]
        .map(|(at, height, before): (usize, _, Option<usize>)| {
            let extends = before.map(|before| story.held[before].outpoint());
            Funding { vaults: story.held[at], height: Some(height), extends }
        })
        .to_vec();
    let last = fundings[2];
    fundings.sort_by_key(Funding::outpoint);
    assert_eq!(all.fundings, fundings);
    let mut spends: Vec<Spend> = [SpendPath::Extension, SpendPath::Extension, SpendPath::Payout]
        .into_iter()
        .zip(&story.txs[1..])
        .map(|(path, (tx, height))| Spend { tx: tx.clone(), path, height: *height })
        .collect();
    spends.sort_by_key(|spend| spend.tx.compute_txid());
    assert_eq!(all.spends, spends, "each once");
    let lineage: Vec<Vaults> = all.lineage(&last).map(|funding| funding.vaults).collect();
    assert_eq!(lineage, [story.held[2], story.held[1], story.held[0]]);
    assert_eq!(all.root_of(&last).vaults, story.held[0]);
    // Without what lies between, nothing is known of what comes after it.
    let torn = story.gather(&[0, 2, 3]);
    assert_eq!((torn.fundings.len(), torn.spends.len()), (1, 0));
}

#[test]
fn a_row_that_was_paid_twice_is_two_rows() {
    let story = Story::new();
    let mut again = story.txs.clone();
    again.push((funding_of(&story.escrow, 2), Some(150)));
    let facts = ChainFacts::gather(&story.escrow, TIP, true, again.iter().map(|(tx, height)| (tx, *height)));
    assert_eq!(facts.fundings.len(), 4);
    let second = vaults_of(&story.escrow, 2);
    for funding in &facts.fundings {
        let root = if funding.vaults == second { second } else { story.held[0] };
        assert_eq!(facts.root_of(funding).vaults, root);
    }
    // Whatever is handed in, a row has an end.
    let outpoint = story.held[0].outpoint();
    let own_ancestor = Funding { extends: Some(outpoint), ..Funding::new(story.held[0], None) };
    let facts = ChainFacts { fundings: vec![own_ancestor], ..ChainFacts::default() };
    assert_eq!(facts.lineage(&own_ancestor).count(), 1);
}

#[test]
fn whoever_takes_the_bond_alone_spends_the_escrow_of_nobody() {
    let mut trade = SampleTrade::new(Side::Sell);
    let escrow = Escrow::new(&trade.bonded());
    let held = vaults_of(&escrow, 1);
    let (bond, key) = (held.bond.unwrap(), trade.author(Role::Buyer).trade_key());
    let funding = funding_of(&escrow, 1);
    let taken = escrow.signed_timeout(Vault::Bond, bond, sats(1_700), &key).unwrap().tx;
    let stranger =
        spend_of_nowhere(7, vec![TxOut { value: bitcoin::Amount::ONE_SAT, script_pubkey: ScriptBuf::new() }]);
    let txs = [(&funding, Some(100)), (&taken, Some(120)), (&stranger, Some(130))];
    let facts = ChainFacts::gather(&escrow, TIP, true, txs);
    let [spend] = facts.spends.as_slice() else { panic!("{:?}", facts.spends) };
    assert_eq!((&spend.tx, spend.path), (&taken, SpendPath::Timeout));
    assert!(spend.spends(&bond.outpoint.0) && !spend.spends(&held.outpoint()));
    assert!(spends_any(&taken, &held) && !spends_any(&stranger, &held) && !spends_any(&funding, &held));
}

#[test]
fn a_spend_pays_what_it_takes_and_does_not_pay_out() {
    let story = Story::new();
    let (held, payout) = (story.held[2], &story.txs[3].0);
    assert_eq!(spend_fee(held.coins(), payout), Some(sats(3_290)));
    let more = held.coins().chain(story.held[1].coins());
    assert_eq!(spend_fee(more, payout), Some(sats(3_290)), "what it does not take pays for nothing");
    assert_eq!(spend_fee([held.escrow], payout), None, "more is paid out");
    let mut dear = payout.clone();
    dear.output[0].value = bitcoin::Amount::MAX_MONEY;
    assert_eq!(spend_fee(held.coins(), &dear), None, "more than all bitcoin");
}

/// What the pool or a block shows of a transaction that spends the sample trade's escrow, funded in the block 100.
fn shown(trade: &SampleTrade, tip: u32, tx: &Transaction, height: Option<u32>) -> Vec<SpendPath> {
    let facts = ChainFacts::gather(&trade.escrow(), tip, true, [(&trade.funding(1), Some(100)), (tx, height)]);
    facts.spends.iter().map(|spend| spend.path).collect()
}

#[test]
fn a_pool_is_not_believed_what_nobody_signed() {
    let mut trade = SampleTrade::new(Side::Sell);
    let (escrow, held) = (trade.escrow(), trade.vaults(1));
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| trade.author(role).trade_key());
    let half = escrow.half(&held, sats(1_700), Role::Buyer, &seller).unwrap();
    let payout = escrow.complete(&half, Role::Buyer, &buyer).unwrap().tx;
    assert_eq!(shown(&trade, TIP, &payout, None), [SpendPath::Payout]);

    let (mut by_nobody, mut by_half, mut with_others) = (payout.clone(), payout.clone(), payout.clone());
    by_nobody.input[0].witness = Witness::from_slice(&[[1; 64]]);
    let mut items = payout.input[0].witness.to_vec();
    items[1] = items[0].clone();
    by_half.input[0].witness = Witness::from_slice(&items);
    // Whatever it is signed over is not known here.
    with_others.input.extend(spend_of_nowhere(7, Vec::new()).input);
    for made_up in [by_nobody, by_half, with_others] {
        assert_eq!(shown(&trade, TIP, &made_up, None), [], "{made_up:?}");
        assert_eq!(shown(&trade, TIP, &made_up, Some(TIP)).len(), 1, "what a block holds is taken as it is");
    }
}

#[test]
fn a_pool_is_not_believed_what_comes_too_early() {
    let mut trade = SampleTrade::with_second(Side::Sell);
    let (escrow, held) = (trade.escrow(), trade.vaults(1));
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| trade.author(role).trade_key());
    let ruling = |seat| {
        let division = escrow.divide(seat, &held, Verdict::Buyer, 10).unwrap();
        let ruling = escrow.rule(seat, &held, division, &trade.arbiter_pair(escrow.contract(), seat)).unwrap();
        escrow.complete_ruling(seat, &ruling, Role::Buyer, &buyer).unwrap().tx
    };
    let pair = trade.arbiter_pair(escrow.contract(), Seat::First);
    let extend = escrow.extend(Seat::First, &held, sats(4_000), &pair).unwrap();
    let extension = escrow.complete_extend(Seat::First, &extend, Role::Seller, &seller).unwrap().tx;
    let timeout = escrow.signed_timeout(Vault::Escrow, held.escrow, sats(1_700), &seller).unwrap().tx;
    let contract = escrow.contract();
    for (tx, delay, path) in [
        (timeout, contract.refund_delay, SpendPath::Timeout),
        (ruling(Seat::First), contract.arbitration_delay, SpendPath::Ruling),
        (ruling(Seat::Second), contract.second_delay, SpendPath::Ruling),
        (extension, contract.arbitration_delay, SpendPath::Extension),
    ] {
        let from = 100 + u32::from(delay) - 1;
        assert_eq!(shown(&trade, from - 1, &tx, None), [], "{path:?}");
        assert_eq!(shown(&trade, from, &tx, None), [path]);
        // Nor does it spend what waits itself, or make outputs that anything could spend.
        let facts = ChainFacts::gather(&escrow, from, true, [(&trade.funding(1), None), (&tx, None)]);
        assert_eq!((facts.fundings.len(), facts.spends.len()), (1, 0), "{path:?}");
    }
    // What both sign has no delay.
    let half = escrow.half(&held, sats(1_700), Role::Buyer, &seller).unwrap();
    let payout = escrow.complete(&half, Role::Buyer, &buyer).unwrap().tx;
    let facts = ChainFacts::gather(&escrow, 100, true, [(&trade.funding(1), None), (&payout, None)]);
    assert_eq!(facts.spends.len(), 1);
}

#[test]
fn a_pool_is_not_believed_what_no_block_can_hold() {
    const OPEN: u32 = 100 + 4320 - 1;
    let mut trade = SampleTrade::new(Side::Sell);
    let (escrow, held) = (trade.escrow(), trade.vaults(1));
    let seller = trade.author(Role::Seller).trade_key();
    // Signed by the seller, whatever he likes.
    let signed = |change: fn(&mut Transaction)| {
        let mut draft = escrow.timeout(Vault::Escrow, held.escrow, sats(1_700)).unwrap();
        change(&mut draft.tx);
        let signatures = escrow.sign(&draft, Leaf::Refund, &seller).unwrap();
        escrow.attach(&mut draft, Leaf::Refund, &[&signatures]).unwrap();
        draft.tx
    };
    let possible: [fn(&mut Transaction); 3] =
        [|_| {}, |tx| tx.lock_time = absolute::LockTime::from_consensus(OPEN), |tx| tx.version = Version::TWO];
    let impossible: [fn(&mut Transaction); 7] = [
        |tx| tx.input[0].sequence = Sequence::ENABLE_RBF_NO_LOCKTIME,
        |tx| tx.input[0].sequence = Sequence::from_height(4319),
        |tx| tx.input[0].sequence = Sequence::from_height(4321),
        |tx| tx.input[0].sequence = Sequence::from_512_second_intervals(4320),
        |tx| tx.lock_time = absolute::LockTime::from_consensus(OPEN + 1),
        |tx| tx.lock_time = absolute::LockTime::from_consensus(1_500_000_000),
        |tx| tx.version = Version::ONE,
    ];
    for change in possible {
        assert_eq!(shown(&trade, OPEN, &signed(change), None), [SpendPath::Timeout]);
    }
    for (number, change) in impossible.into_iter().enumerate() {
        assert_eq!(shown(&trade, OPEN, &signed(change), None), [], "{number}");
    }
}
