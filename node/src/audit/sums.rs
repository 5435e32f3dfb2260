//! Where the coins of escrows went. What went in is what came out and what is still in, to the satoshi.

use bitcoin::{Amount, Transaction};
use exchange_api::{EscrowSums, Sats};
use exchange_ledger::body::{Coin, Vaults};
use exchange_ledger::trade::{Contract, Role, Seat};

/// Returns the sums of an escrow of which nothing was spent but what extensions cost.
pub fn held(funded: Sats, vaults: &Vaults) -> Option<EscrowSums> {
    let held = vaults.value()?;
    Some(EscrowSums { funded, held, fees: funded.checked_sub(held)?, ..EscrowSums::default() })
}

/// Returns the sums of an escrow, of what was paid into it first, and the transactions that spend what holds the coins at
/// last; `None` when more came out than went in.
pub fn of_spends<'a>(
    contract: &Contract,
    funded: Sats,
    vaults: &Vaults,
    spends: impl IntoIterator<Item = &'a Transaction>,
) -> Option<EscrowSums> {
    spends.into_iter().try_fold(held(funded, vaults)?, |sums, tx| after(sums, contract, vaults, tx))
}

/// Returns the sums after a transaction. Where it spends other coins too, nobody can say which output came from which: then
/// all of it went elsewhere.
fn after(before: EscrowSums, contract: &Contract, vaults: &Vaults, tx: &Transaction) -> Option<EscrowSums> {
    let spends = |coin: &Coin| tx.input.iter().any(|input| input.previous_output == coin.outpoint.0);
    let spent = vaults.coins().filter(spends).map(|coin| coin.value).try_fold(Sats::ZERO, Sats::checked_add)?;
    let held = before.held.checked_sub(spent)?;
    if vaults.coins().filter(spends).count() != tx.input.len() {
        return Some(EscrowSums { elsewhere: before.elsewhere.checked_add(spent)?, held, ..before });
    }
    let mut sums = [Amount::ZERO; 4];
    for output in &tx.output {
        let is_of = |role| contract.party(role).map(|party| party.destination.script()) == Some(&output.script_pubkey);
        let is_arbiters = [Seat::First, Seat::Second].into_iter().any(|seat| {
            contract.arbiter(seat).is_some_and(|arbiter| *arbiter.destination.script() == output.script_pubkey)
        });
        let at = match (is_of(Role::Buyer), is_of(Role::Seller), is_arbiters) {
            (true, _, _) => 0,
            (false, true, _) => 1,
            (false, false, true) => 2,
            (false, false, false) => 3,
        };
        sums[at] = sums[at].checked_add(output.value)?;
    }
    let out = sums.into_iter().try_fold(Amount::ZERO, Amount::checked_add)?;
    let mined: Sats = Amount::from(spent).checked_sub(out)?.try_into().ok()?;
    let [to_buyers, to_sellers, to_arbiters, elsewhere] = sums.map(Sats::try_from);
    let of_it = EscrowSums {
        to_buyers: to_buyers.ok()?,
        to_sellers: to_sellers.ok()?,
        to_arbiters: to_arbiters.ok()?,
        elsewhere: elsewhere.ok()?,
        fees: mined,
        ..EscrowSums::default()
    };
    total([&EscrowSums { held, ..before }, &of_it])
}

/// Adds sums up; `None` when they are more than all bitcoin.
pub fn total<'a>(all: impl IntoIterator<Item = &'a EscrowSums>) -> Option<EscrowSums> {
    all.into_iter().try_fold(EscrowSums::default(), |sum, next| sum.checked_add(*next))
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
        let trade = SampleTrade::new(Side::Sell);
        let (contract, vaults) = (trade.contract(), trade.vaults(1));
        let funded = contract.amount;
        let script = |role| contract.party(role).unwrap().destination.script().clone();
        let mut tx = spend_of_nowhere(
            1,
            vec![
                output(600_000, script(Role::Buyer)),
                output(290_000, script(Role::Seller)),
                output(10_000, contract.arbiter.destination.script().clone()),
                output(50_000, ScriptBuf::new()),
            ],
        );
        tx.input[0].previous_output = vaults.outpoint();
        let ruled = of_spends(&contract, funded, &vaults, [&tx]).unwrap();
        assert_eq!(ruled.to_arbiters, sats(10_000));
        let expected =
            [(ruled.to_buyers, 600_000), (ruled.to_sellers, 290_000), (ruled.elsewhere, 50_000), (ruled.fees, 50_000)];
        assert!(expected.iter().all(|(found, expected)| *found == sats(*expected)), "{ruled:?}");
        let all = total([&ruled, &held(funded, &vaults).unwrap()]).unwrap();
        assert_eq!((all.funded, all.held, all.fees), (sats(2_000_000), sats(1_000_000), sats(50_000)));
        assert!(total([&EscrowSums { funded: Sats::MAX, ..all }, &all]).is_none());
    }

    #[test]
    fn more_than_went_in_cannot_come_out() {
        let trade = SampleTrade::new(Side::Sell);
        let (contract, vaults) = (trade.contract(), trade.vaults(1));
        let mut tx = spend_of_nowhere(1, vec![output(1_000_001, ScriptBuf::new())]);
        tx.input[0].previous_output = vaults.outpoint();
        assert_eq!(of_spends(&contract, contract.amount, &vaults, [&tx]), None);
        tx.input.push(bitcoin::TxIn::default());
        let sums = of_spends(&contract, contract.amount, &vaults, [&tx]).unwrap();
        assert_eq!(sums.elsewhere, contract.amount);
        assert!(held(sats(999_999), &vaults).is_none());
    }

    #[test]
    fn a_bond_that_was_taken_back_alone_is_held_no_more() {
        let trade = SampleTrade::with_bonds(Side::Sell);
        let (contract, vaults) = (trade.contract(), trade.vaults(1));
        let takes = |role, coin: Coin| {
            let script = contract.party(role).unwrap().destination.script().clone();
            let mut tx = spend_of_nowhere(1, vec![output(coin.value.get() - 500, script)]);
            tx.input[0].previous_output = coin.outpoint.0;
            tx
        };
        let (mine, theirs) = (takes(Role::Seller, vaults.escrow), takes(Role::Buyer, vaults.bond.unwrap()));
        let funded = vaults.value().unwrap();
        let first = of_spends(&contract, funded, &vaults, [&theirs]).unwrap();
        assert_eq!((first.to_buyers, first.held), (sats(199_500), sats(1_100_000)));
        let both = of_spends(&contract, funded, &vaults, [&mine, &theirs]).unwrap();
        assert_eq!((both.to_sellers, both.to_buyers), (sats(1_099_500), sats(199_500)));
        assert_eq!((both.funded, both.fees, both.held), (sats(1_300_000), sats(1_000), Sats::ZERO));
    }
}
