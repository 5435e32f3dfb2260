//! Where the coins of escrows went. What went in is what came out and what is still in, to the satoshi.

use bitcoin::{Amount, OutPoint, Transaction};
use exchange_api::{EscrowSums, Sats};
use exchange_ledger::trade::{Contract, Role};

/// Returns the sums of an escrow that nothing spends.
pub fn held(contract: &Contract) -> EscrowSums {
    EscrowSums { funded: contract.amount, held: contract.amount, ..EscrowSums::default() }
}

/// Returns the sums of an escrow and the transaction that spends it; `None` when more came out than went in. Where the
/// transaction spends other coins too, nobody can say which output came from which: then all of it went elsewhere.
pub fn of_spend(contract: &Contract, tx: &Transaction, outpoint: OutPoint) -> Option<EscrowSums> {
    let funded = contract.amount;
    let [input] = tx.input.as_slice() else {
        return Some(EscrowSums { funded, elsewhere: funded, ..EscrowSums::default() });
    };
    debug_assert_eq!(input.previous_output, outpoint, "the backend says that this is the spend");
    let (mut to_buyers, mut to_sellers, mut elsewhere) = (Amount::ZERO, Amount::ZERO, Amount::ZERO);
    for output in &tx.output {
        let is_of = |role| contract.party(role).map(|party| party.destination.script()) == Some(&output.script_pubkey);
        let sum = match (is_of(Role::Buyer), is_of(Role::Seller)) {
            (true, _) => &mut to_buyers,
            (false, true) => &mut to_sellers,
            (false, false) => &mut elsewhere,
        };
        *sum = sum.checked_add(output.value)?;
    }
    let out = to_buyers.checked_add(to_sellers)?.checked_add(elsewhere)?;
    let fees = Amount::from(funded).checked_sub(out)?;
    Some(EscrowSums {
        funded,
        to_buyers: to_buyers.try_into().ok()?,
        to_sellers: to_sellers.try_into().ok()?,
        elsewhere: elsewhere.try_into().ok()?,
        fees: fees.try_into().ok()?,
        held: Sats::ZERO,
    })
}

/// Adds sums up; `None` when they are more than all bitcoin.
pub fn total<'a>(all: impl IntoIterator<Item = &'a EscrowSums>) -> Option<EscrowSums> {
    all.into_iter().try_fold(EscrowSums::default(), |sum, next| {
        Some(EscrowSums {
            funded: sum.funded.checked_add(next.funded)?,
            to_buyers: sum.to_buyers.checked_add(next.to_buyers)?,
            to_sellers: sum.to_sellers.checked_add(next.to_sellers)?,
            elsewhere: sum.elsewhere.checked_add(next.elsewhere)?,
            fees: sum.fees.checked_add(next.fees)?,
            held: sum.held.checked_add(next.held)?,
        })
    })
}

#[cfg(test)]
mod tests {
    use bitcoin::{ScriptBuf, TxOut};
    use exchange_ledger::body::Side;
    use exchange_ledger::testing::{SampleTrade, sats, spend_of_nowhere};

    use super::*;

    fn output(value: u64, script: ScriptBuf) -> TxOut {
        TxOut { value: Amount::from_sat(value), script_pubkey: script }
    }

    #[test]
    fn what_goes_in_comes_out_or_stays() {
        let contract = SampleTrade::new(Side::Sell).contract();
        let script = |role| contract.party(role).unwrap().destination.script().clone();
        let tx = spend_of_nowhere(
            1,
            vec![
                output(600_000, script(Role::Buyer)),
                output(300_000, script(Role::Seller)),
                output(50_000, ScriptBuf::new()),
            ],
        );
        let outpoint = tx.input[0].previous_output;
        let ruled = of_spend(&contract, &tx, outpoint).unwrap();
        let expected =
            [(ruled.to_buyers, 600_000), (ruled.to_sellers, 300_000), (ruled.elsewhere, 50_000), (ruled.fees, 50_000)];
        assert!(expected.iter().all(|(found, expected)| *found == sats(*expected)), "{ruled:?}");
        let all = total([&ruled, &held(&contract)]).unwrap();
        assert_eq!((all.funded, all.held, all.fees), (sats(2_000_000), sats(1_000_000), sats(50_000)));
        assert!(total([&EscrowSums { funded: Sats::MAX, ..all }, &all]).is_none());
    }

    #[test]
    fn more_than_went_in_cannot_come_out() {
        let contract = SampleTrade::new(Side::Sell).contract();
        let mut tx = spend_of_nowhere(1, vec![output(1_000_001, ScriptBuf::new())]);
        let outpoint = tx.input[0].previous_output;
        assert_eq!(of_spend(&contract, &tx, outpoint), None);
        tx.input.push(tx.input[0].clone());
        assert_eq!(of_spend(&contract, &tx, outpoint).unwrap().elsewhere, contract.amount);
    }
}
