//! Whatever the other side says and the chain shows, nobody signs what costs him more.

use proptest::prelude::*;

use super::*;

/// A change that a cheat makes to a message under way.
#[derive(Debug, Clone, Copy)]
enum Lie {
    Coin(u8, u8),
    CoinKey(u8, u8),
    MoreCoins(u8),
    NoCoins,
    Twice,
    VictimsCoin,
    ChangeToEscrow(bool),
    ChangeToVictim,
    Feerate(u64),
    Height(u32),
    Signature(u8, u8),
    SignatureCount,
    OtherProposal,
    Nothing,
}

fn lies() -> impl Strategy<Value = Lie> {
    prop_oneof![
        (any::<u8>(), any::<u8>()).prop_map(|(at, number)| Lie::Coin(at, number)),
        (any::<u8>(), 1..200u8).prop_map(|(at, number)| Lie::CoinKey(at, number)),
        (1..200u8).prop_map(Lie::MoreCoins),
        Just(Lie::NoCoins),
        Just(Lie::Twice),
        Just(Lie::VictimsCoin),
        any::<bool>().prop_map(Lie::ChangeToEscrow),
        Just(Lie::ChangeToVictim),
        any::<u64>().prop_map(Lie::Feerate),
        (0..100u64).prop_map(Lie::Feerate),
        any::<u32>().prop_map(Lie::Height),
        (any::<u8>(), any::<u8>()).prop_map(|(at, bit)| Lie::Signature(at, bit)),
        Just(Lie::SignatureCount),
        Just(Lie::OtherProposal),
        Just(Lie::Nothing),
    ]
}

fn lie_about(contribution: &mut Contribution, lie: Lie, victim: &Funder) {
    let mut coins = contribution.inputs.to_vec();
    match lie {
        Lie::Coin(at, number) if !coins.is_empty() => {
            let at = usize::from(at) % coins.len();
            coins[at].outpoint = Outpoint(outpoint(number));
        }
        Lie::CoinKey(at, number) if !coins.is_empty() => {
            let at = usize::from(at) % coins.len();
            coins[at].key = coin(number).key;
        }
        Lie::MoreCoins(number) => coins.push(coin(number)),
        Lie::NoCoins => coins.clear(),
        Lie::Twice if !coins.is_empty() => coins.push(coins[0]),
        Lie::VictimsCoin => coins.push(victim.contribution.inputs[0]),
        Lie::ChangeToEscrow(which) => {
            contribution.change = Destination::new(coin(if which { 200 } else { 201 }).script()).unwrap();
        }
        Lie::ChangeToVictim => contribution.change = victim.contribution.change.clone(),
        Lie::Coin(..)
        | Lie::CoinKey(..)
        | Lie::Twice
        | Lie::Feerate(_)
        | Lie::Height(_)
        | Lie::Signature(..)
        | Lie::SignatureCount
        | Lie::OtherProposal
        | Lie::Nothing => {}
    }
    if let Some(coins) = List::new(coins) {
        contribution.inputs = coins;
    }
}

fn lie_in_proposal(proposal: &mut Proposal, lie: Lie) {
    match lie {
        Lie::Feerate(feerate) => proposal.feerate = feerate,
        Lie::Height(height) => proposal.height = height,
        lie => lie_about(&mut proposal.seller, lie, &buyers()),
    }
}

fn lie_in_answer(answer: &mut Answer, lie: Lie) {
    let mut signatures = answer.signatures.to_vec();
    match lie {
        Lie::Signature(at, bit) if !signatures.is_empty() => {
            let at = usize::from(at) % signatures.len();
            let mut bytes = signatures[at].0.serialize();
            bytes[usize::from(bit) % 64] ^= 1 << (bit % 8);
            let forged = bitcoin::secp256k1::schnorr::Signature::from_slice(&bytes).unwrap();
            signatures[at] = CurveSignature(forged);
        }
        Lie::SignatureCount => signatures.extend(signatures.clone()),
        Lie::OtherProposal => answer.proposal[0] ^= 1,
        lie => lie_about(&mut answer.buyer, lie, &sellers()),
    }
    answer.signatures = List::new(signatures).unwrap();
}

/// What must hold of everything that a side signs, whatever it was told.
fn check_signed(side: &Side) {
    let (mine, role) = (&side.mine, side.terms.role);
    for tx in &side.signed {
        for output in [&side.terms.seller_output, &side.terms.buyer_output] {
            let script = &output.script_pubkey;
            let paid: Vec<_> = tx.output.iter().filter(|other| other.script_pubkey == *script).collect();
            assert_eq!(paid, [output], "each escrow output once, with its value");
        }
        let mut inputs: Vec<OutPoint> = tx.input.iter().map(|input| input.previous_output).collect();
        inputs.sort();
        inputs.dedup();
        assert_eq!(inputs.len(), tx.input.len());
        let witnessed = tx.input.iter().filter(|input| mine.outpoints().contains(&input.previous_output));
        assert_eq!(witnessed.count(), mine.outpoints().len(), "my coins, all of them");
        let paid = paid_by(tx, mine);
        let output = side.terms.output(role).value.to_sat();
        let coins = u64::try_from(mine.outpoints().len()).unwrap();
        let weight = 21 + 230 * coins + 4 * 43 + 4 * 31;
        assert!(paid <= output + (weight * HIGHEST).div_ceil(4) + 546, "{paid} for {output}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn whatever_a_seller_says_the_buyer_signs_nothing_that_costs_him_more(said in prop::collection::vec(lies(), 0..4)) {
        let (mut seller, mut buyer) = both_willing();
        let mut honest = true;
        let mut tamper = |proposal: &mut Option<Proposal>, _: &mut Option<Answer>| {
            if let Some(proposal) = proposal {
                let before = proposal.clone();
                said.iter().for_each(|lie| lie_in_proposal(proposal, *lie));
                honest &= *proposal == before;
            }
        };
        negotiate(&mut tamper, &mut seller, &mut buyer);
        check_signed(&buyer);
        prop_assert!(!honest || seller.complete.len() == 1);
        prop_assert!(honest || seller.complete.is_empty(), "an honest seller answers only for his own words");
    }

    #[test]
    fn whatever_a_buyer_says_the_seller_signs_nothing_that_costs_him_more(said in prop::collection::vec(lies(), 0..4)) {
        let (mut seller, mut buyer) = both_willing();
        let mut honest = true;
        let mut tamper = |_: &mut Option<Proposal>, answer: &mut Option<Answer>| {
            if let Some(answer) = answer {
                let before = answer.clone();
                said.iter().for_each(|lie| lie_in_answer(answer, *lie));
                honest &= *answer == before;
            }
        };
        negotiate(&mut tamper, &mut seller, &mut buyer);
        check_signed(&seller);
        // The buyer signed one transaction; with anything else the seller signs nothing at all.
        prop_assert_eq!(seller.complete.len(), usize::from(honest));
    }

    #[test]
    fn what_the_chain_shows_of_coins_may_change_at_any_step(steps in prop::collection::vec((0..3u8, 0..4u8), 0..8)) {
        let (mut seller, mut buyer) = both_willing();
        let mut seen = steps.iter();
        for _ in 0..8 {
            if let Some((which, what)) = seen.next() {
                let number = [1, 2, 101][usize::from(*which)];
                let state = match what {
                    0 => InputState::Unknown,
                    1 => InputState::Unconfirmed,
                    2 => InputState::Spent { by: Txid::from_byte_array([7; 32]), depth: DEAD_AFTER },
                    _ => unspent(number, 5_000),
                };
                seller.chain.insert(outpoint(number), state.clone());
                buyer.chain.insert(outpoint(number), state);
            } else {
                seller.chain.clear();
                buyer.chain.clear();
            }
            negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
            check_signed(&seller);
            check_signed(&buyer);
            for side in [&seller, &buyer] {
                let coin = side.mine.outpoints()[0];
                let conflicts = |tx: &Transaction| tx.input.iter().any(|input| input.previous_output == coin);
                prop_assert!(side.signed.iter().all(conflicts), "any two spend the same coin");
            }
        }
    }
}
