//! A higher fee for what of a trade waits for a block.
//!
//! A funding is never made anew, since two of them would pay twice: a child of its change pays for both. A payout, and a
//! refund that both signed, fix their fee for good: whoever receives coins raises it by a child of his own output. What a party
//! signs alone after the refund delay it replaces: the seller's coins, the buyer's bond, what either paid beside these.
//!
//! One thing is raised without anybody asking: what brings coins to a buyer, when no block holds it and the seller could soon
//! take them back by himself. For what, and how much, the trade's machine says (`Trade::hurried`).

use bitcoin::{FeeRate, Transaction, Txid};
use exchange_api::{ApiError, BumpView, Code, RaisedBy, Subject};
use exchange_ledger::body::{Coin, Vaults};
use exchange_ledger::ids::TradeId;
use exchange_ledger::money::Sats;
use exchange_ledger::trade::{
    EscrowError, Event, Hurried, Leaf, Role, SPEND_VSIZE, SpendPath, Trade, Unsigned, Vault, spend_fee,
};

use super::drive::Trouble;
use super::{Active, Trader, not_mine};
use crate::chain::{ChainError, consensus};
use crate::errors::{Explain, ExplainResult, internal};
use crate::server::bump_view;
use crate::wallet::{BumpRequest, ChildRequest, FeeRaise, PricedRaise, WalletError, child_vsize};

/// After how many blocks it is raised again: an hour, twice as long as what pays the estimate should take.
const RAISE_EVERY: u32 = 6;

/// What was done by itself to have a payout confirmed in time. It is not kept: the wallet knows the child that it built, and
/// after a crash the same one is found again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hurry {
    /// The tip from which on it is tried again.
    next_at: u32,
    /// The feerate that was asked for last, in sat/vB.
    asked: u64,
    /// The child that was sent last.
    child: Option<Txid>,
}

/// How a fee is to be raised.
#[derive(Debug, Clone, Copy)]
pub struct Raise {
    /// What is to be paid; `None` asks the chain.
    pub fee_rate: Option<FeeRate>,
    /// Whether the fee may be beyond what is sane.
    pub allow_high_fee: bool,
    /// Only builds and prices it.
    pub dry_run: bool,
    /// What was shown of it before it was ordered: exactly that is done, or nothing. The feerate is left out then.
    pub priced: Option<PricedRaise>,
}

/// What of a trade waits for a block.
enum Waiting {
    /// This seller's funding of the escrow.
    Funding(Transaction),
    /// A spend that this side did not sign alone, and what it spends.
    Spend(Transaction, Vaults),
    /// What this side takes back alone after the delay, and the output that it spends.
    Timeout(Transaction, (Vault, Coin)),
}

impl Trader {
    /// Raises the fee of what waits for a block of a trade.
    pub(super) async fn bump(&mut self, id: TradeId, raise: Raise) -> Result<BumpView, ApiError> {
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        let nothing = || {
            let hint = "`exchange-node trade show` tells what it waits for";
            ApiError::new(Code::NotAllowed, "nothing of this trade waits for a block whose fee you could raise", hint)
        };
        match waiting(&active.trade).ok_or_else(nothing)? {
            Waiting::Funding(tx) => {
                let request = BumpRequest {
                    request_id: String::new(), // a child needs none: the same one is found again
                    txid: tx.compute_txid(),
                    fee_rate: raise.fee_rate,
                    allow_high_fee: raise.allow_high_fee,
                    dry_run: raise.dry_run,
                    by_trade: true,
                    priced: raise.priced,
                };
                bump_view(&self.tools.wallet.bump(request).await.explained()?, !raise.dry_run)
            }
            Waiting::Spend(tx, vaults) => {
                let is_refund = self.escrow(id)?.classify(&tx, &vaults).is_refund();
                let what = if is_refund { "refund" } else { "payout" };
                let request = ChildRequest {
                    parent_fee: fee_of(vaults.coins(), &tx)?.into(),
                    parent: tx,
                    fee_rate: raise.fee_rate,
                    allow_high_fee: raise.allow_high_fee,
                    dry_run: raise.dry_run,
                    label: format!("a higher fee for the {what} of trade {}", id.short()),
                    priced: raise.priced,
                };
                bump_view(&self.tools.wallet.bump_by_child(request).await.explained()?, !raise.dry_run)
            }
            Waiting::Timeout(tx, own) => self.replace_timeout(id, &tx, own, raise).await,
        }
    }

    /// Raises the fee of what brings coins to a buyer, where no block holds it and the seller could soon take them back.
    pub(super) async fn raise_in_time(&mut self) {
        let is_time = |active: &Active| active.trade.view().chain().tip >= active.hurry.next_at;
        let is_due = |active: &Active| active.phase.is_held() && is_time(active) && active.trade.urgent().is_some();
        let due: Vec<TradeId> = self.trades.iter().filter(|(_, active)| is_due(active)).map(|(id, _)| *id).collect();
        if due.is_empty() {
            return;
        }
        let estimate = match self.feerate().await {
            Ok(estimate) => estimate,
            Err(error) => {
                tracing::warn!(%error, "fees are raised without an estimate: each time to twice as much");
                1
            }
        };
        for id in due {
            self.hurry(id, estimate).await;
        }
    }

    /// Raises the fee of one payout. The wallet keeps the child before it goes out, and has one for each payout: what is asked
    /// for twice, as after a crash, is the same child.
    async fn hurry(&mut self, id: TradeId, estimate: u64) {
        let Some(active) = self.trades.get(&id) else { return };
        let (tip, before) = (active.trade.view().chain().tip, active.hurry);
        let Some(Hurried { tx, fee, feerate }) = active.trade.hurried(before.asked, estimate, child_vsize()) else {
            return;
        };
        let Some(fee_rate) = FeeRate::from_sat_per_vb(feerate) else { return };
        let request = ChildRequest {
            parent: tx,
            parent_fee: fee.into(),
            fee_rate: Some(fee_rate),
            // Bounded by what is at stake: all of it is lost if this pays too little.
            allow_high_fee: true,
            dry_run: false,
            label: format!("a higher fee for the payout of trade {}", id.short()),
            priced: None,
        };
        let raised = match self.tools.wallet.bump_by_child(request).await {
            Ok(raised) => Ok(Some(raised.payment)),
            Err(WalletError::AlreadyPays { .. } | WalletError::AlreadyConfirmed { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        let hurry = match raised {
            Ok(payment) => {
                self.end_problem(id, |with| with == Trouble::Hurry);
                let child = payment.as_ref().map(|payment| payment.tx.compute_txid());
                if let Some(payment) = payment.filter(|_| child != before.child) {
                    let (id_short, fee) = (id.short(), payment.fee);
                    let why = "no block holds what pays you, and the seller could soon take the coins back";
                    let words = format!("trade {id_short}: {why}: your node pays {fee} for a child of it");
                    self.tools.events.note(Subject::Trade(id), words);
                }
                let (next_at, child) = (tip.saturating_add(RAISE_EVERY), child.or(before.child));
                Hurry { next_at, asked: feerate, child }
            }
            Err(error) => {
                // What the network refuses pays too little; what did not reach it says nothing about that.
                let is_refused = matches!(
                    &error,
                    WalletError::Chain(ChainError::Refused { .. })
                        | WalletError::NotYetBroadcast { source: ChainError::Refused { .. }, .. }
                );
                let asked = if is_refused { feerate } else { before.asked };
                self.note_problem(id, Trouble::Hurry, error.explain().to_string());
                Hurry { next_at: tip.saturating_add(1), asked, ..before }
            }
        };
        if let Some(active) = self.trades.get_mut(&id) {
            active.hurry = hurry;
        }
    }

    async fn replace_timeout(
        &mut self,
        id: TradeId,
        earlier: &Transaction,
        (vault, coin): (Vault, Coin),
        raise: Raise,
    ) -> Result<BumpView, ApiError> {
        let replaced = earlier.compute_txid();
        let priced = match raise.priced {
            None => None,
            Some(PricedRaise { raise: FeeRaise::Replacement { of }, fee }) if of == replaced => Some(fee),
            Some(_) => {
                let reason = format!("now {replaced} would be replaced");
                return Err(WalletError::Outdated { reason }.explain());
            }
        };
        let feerate = match raise.fee_rate {
            _ if priced.is_some() => 1, // what was shown is paid
            Some(rate) => rate.to_sat_per_vb_ceil(),
            None => self.feerate().await?,
        };
        let (escrow, key) = (self.escrow(id)?, self.trade_key(id)?);
        let refused =
            |e: EscrowError| ApiError::new(Code::InvalidArgument, e.to_string(), "choose a feerate of 1 to 500 sat/vB");
        let paid = fee_of([coin], earlier)?;
        let fee = match priced {
            Some(fee) => Sats::try_from(fee).map_err(internal)?,
            None => escrow.timeout_fee_at(vault, coin, feerate).map_err(refused)?,
        };
        let lowest = lowest_replacement(paid).ok_or_else(|| internal("a fee beyond all bitcoin"))?;
        if fee < lowest {
            let message = format!("the refund pays {paid} BTC already; a replacement must pay at least {lowest} BTC");
            return Err(ApiError::new(Code::NotAllowed, message, "ask for a higher feerate"));
        }
        let draft = match escrow.signed_timeout(vault, coin, fee, &key) {
            Ok(draft) => {
                consensus::verify_spend(&draft.tx, &draft.prevouts()).map_err(internal)?;
                draft
            }
            // A price needs no signature.
            Err(EscrowError::Unsigned(what)) if raise.dry_run => what.draft,
            Err(error @ EscrowError::Unsigned(_)) => return Err(self.note_unsigned(id, error)),
            Err(error) => return Err(refused(error)),
        };
        let (raised, txid) = (replaced.to_string(), draft.tx.compute_txid().to_string());
        if !raise.dry_run {
            // Kept, then broadcast, as the first version was, and again until a block holds it.
            self.handle(id, Event::SpendBuilt(draft.tx)).await?;
        }
        Ok(BumpView { raised, txid, by: RaisedBy::Replacement, fee, broadcast: !raise.dry_run })
    }
}

/// What takes the place of what this side takes back alone, for a signer elsewhere.
pub(super) struct Replacement {
    /// The output that it spends.
    pub(super) own: (Vault, Coin),
    /// What it pays.
    pub(super) fee: Sats,
    /// What has to be signed.
    pub(super) what: Unsigned,
}

/// Returns what a transaction replaces, if it takes the same back as what waits and pays enough more. Nothing of it has to be
/// remembered, so it may be signed days later and after a restart.
pub(super) fn replacement(trade: &Trade, tx: &Transaction) -> Option<Replacement> {
    let Some(Waiting::Timeout(earlier, (vault, coin))) = waiting(trade) else { return None };
    let (paid, fee) = (spend_fee([coin], &earlier)?, spend_fee([coin], tx)?);
    let draft = trade.escrow()?.timeout(vault, coin, fee).ok()?;
    let is_one = draft.tx == *tx && fee >= lowest_replacement(paid)?;
    is_one.then_some(Replacement { own: (vault, coin), fee, what: Unsigned { draft, leaf: Leaf::Refund } })
}

/// Returns the least that a transaction pays which takes the place of one that pays this: nodes ask for a sat/vB more.
fn lowest_replacement(paid: Sats) -> Option<Sats> {
    Sats::new(SPEND_VSIZE).and_then(|increment| paid.checked_add(increment))
}

/// Tells whether something of a trade waits for a block, whose fee this side can raise.
pub(super) fn can_bump(trade: &Trade) -> bool {
    let own_script = |role| {
        let party = trade.escrow().and_then(|escrow| escrow.contract().party(role));
        party.map(|party| party.destination.script().clone())
    };
    match waiting(trade) {
        Some(Waiting::Funding(tx)) => tx.output.len() > 1,
        Some(Waiting::Spend(tx, _)) => {
            own_script(trade.role()).is_some_and(|own| tx.output.iter().any(|output| output.script_pubkey == own))
        }
        Some(Waiting::Timeout(..)) => true,
        None => false,
    }
}

fn waiting(trade: &Trade) -> Option<Waiting> {
    if let Some((tx, stray)) = trade.kept_stray() {
        return Some(Waiting::Timeout(tx, (stray.vault, stray.coin)));
    }
    let (view, local) = (trade.view(), trade.local());
    let unconfirmed = |height: Option<u32>| height.is_none();
    if let Some(funding) = view.funding() {
        if let Some((tx, own)) = own_timeout(trade, &funding.vaults) {
            return Some(Waiting::Timeout(tx, own));
        }
        let spend = match view.spend() {
            Some(spend) if unconfirmed(spend.height) => Some(spend.tx.clone()),
            Some(_) => return None,
            None => trade.kept_spend_of(&funding.vaults.escrow),
        };
        if let Some(tx) = spend {
            return Some(Waiting::Spend(tx, funding.vaults));
        }
    }
    let waits = view.funding().is_none_or(|funding| unconfirmed(funding.height) && funding.extends.is_none());
    let is_mine = trade.role() == Role::Seller && !trade.phase().is_final();
    decode(local.funding_tx.as_deref()).filter(|_| waits && is_mine).map(Waiting::Funding)
}

/// Returns what this side takes back alone, and the output that it spends, while no block does. Not a bond that is to go along with
/// what pays its owner: a higher fee would only help it to undo that.
fn own_timeout(trade: &Trade, vaults: &Vaults) -> Option<(Transaction, (Vault, Coin))> {
    let (escrow, (vault, coin)) = (trade.escrow()?, trade.own_coin().filter(|_| !trade.needs_bond())?);
    let seen = trade.view().spend_of(&coin.outpoint.0).map(|spend| spend.tx.clone());
    let tx = seen.or_else(|| trade.kept_spend_of(&coin))?;
    (escrow.classify(&tx, vaults) == SpendPath::Timeout).then_some((tx, (vault, coin)))
}

fn decode(bytes: Option<&[u8]>) -> Option<Transaction> {
    bitcoin::consensus::deserialize(bytes?).ok()
}

/// Returns what a spend of outputs of the escrow pays.
fn fee_of(coins: impl IntoIterator<Item = Coin>, tx: &Transaction) -> Result<Sats, ApiError> {
    spend_fee(coins, tx).ok_or_else(|| internal("a spend that pays out more than it spends"))
}

#[cfg(test)]
mod tests {
    use exchange_ledger::body::Side;
    use exchange_ledger::testing::{SampleTrade, sats};
    use exchange_ledger::trade::{ChainFacts, Facts, Funding, Local, Phase, Seat, Spend, Verdict};

    use super::*;

    #[test]
    fn a_buyer_who_takes_his_bond_back_raises_the_fee_of_that_and_of_nothing_else() {
        let mut sample = SampleTrade::with_bonds(Side::Sell);
        let (escrow, vaults) = (sample.escrow(), sample.vaults(1));
        let bond = vaults.bond.unwrap();
        let mut takes = |role, vault, coin| {
            escrow.signed_timeout(vault, coin, sats(1_700), &sample.author(role).trade_key()).unwrap().tx
        };
        let mine = takes(Role::Buyer, Vault::Bond, bond);
        let theirs = takes(Role::Seller, Vault::Escrow, vaults.escrow);
        let buyer = |spends: &[(&Transaction, Option<u32>)]| {
            let local = Local { spend_tx: Some(bitcoin::consensus::serialize(&mine)), ..Local::default() };
            let mut trade = Trade::new(sample.bid(), Role::Buyer, false, local);
            trade.handle(Event::Records { contract: Some(sample.contract()), facts: Facts::default() }).unwrap();
            let path = SpendPath::Timeout;
            let spends = spends.iter().map(|(tx, height)| Spend { tx: (*tx).clone(), path, height: *height }).collect();
            let fundings = vec![Funding::new(vaults, Some(190))];
            let seen = ChainFacts { tip: 5_000, synced: true, fundings, spends, ..ChainFacts::default() };
            trade.handle(Event::Chain(seen)).unwrap();
            trade
        };
        // In the pool or pushed out of it, and whatever became of the seller's coins.
        for spends in [vec![], vec![(&mine, None)], vec![(&theirs, None)], vec![(&mine, None), (&theirs, Some(4_900))]]
        {
            let trade = buyer(&spends);
            let Some(Waiting::Timeout(tx, own)) = waiting(&trade) else { panic!("it waits beside {spends:?}") };
            assert_eq!((tx, own), (mine.clone(), (Vault::Bond, bond)));
            assert!(can_bump(&trade));
        }
        for spends in [vec![(&mine, Some(4_900))], vec![(&mine, Some(4_900)), (&theirs, None)]] {
            assert!(!can_bump(&buyer(&spends)), "a block holds it: {spends:?}");
        }
    }

    /// He took it back while nobody had ruled, and the arbiter did before a block held that.
    #[test]
    fn what_takes_a_bond_back_is_not_raised_where_the_bond_goes_along_with_what_pays_its_owner() {
        let mut sample = SampleTrade::with_bonds(Side::Sell);
        let (escrow, vaults) = (sample.escrow(), sample.vaults(1));
        let key = sample.author(Role::Buyer).trade_key();
        let mine = escrow.signed_timeout(Vault::Bond, vaults.bond.unwrap(), sats(1_700), &key).unwrap().tx;
        let pair = sample.arbiter_pair(escrow.contract(), Seat::First);
        let division = escrow.divide(Seat::First, &vaults, Verdict::Buyer, 10).unwrap();
        let ruling = escrow.rule(Seat::First, &vaults, division, &pair).unwrap();
        let ruled = escrow.complete_ruling(Seat::First, &ruling, Role::Buyer, &key).unwrap().tx;
        let local = Local { spend_tx: Some(bitcoin::consensus::serialize(&mine)), ..Local::default() };
        let mut trade = Trade::new(sample.bid(), Role::Buyer, false, local);
        let facts = |rulings| Facts { payment_sent: true, buyer_dispute: true, rulings, ..Facts::default() };
        let says = |rulings| Event::Records { contract: Some(sample.contract()), facts: facts(rulings) };
        trade.handle(says(Vec::new())).unwrap();
        let fundings = vec![Funding::new(vaults, Some(190))];
        let spends = vec![Spend { tx: mine.clone(), path: SpendPath::Timeout, height: None }];
        let seen = ChainFacts { tip: 5_000, synced: true, fundings, spends, ..ChainFacts::default() };
        trade.handle(Event::Chain(seen)).unwrap();
        assert!(matches!(waiting(&trade), Some(Waiting::Timeout(tx, _)) if tx == mine));
        trade.handle(says(vec![(Seat::First, ruling)])).unwrap();
        assert!(trade.phase() == Phase::Ruled && waiting(&trade).is_none());
        trade.handle(Event::SpendBuilt(ruled.clone())).unwrap();
        assert!(matches!(waiting(&trade), Some(Waiting::Spend(tx, _)) if tx == ruled));
    }

    #[test]
    fn what_takes_back_what_was_paid_twice_is_raised_when_the_trade_is_over() {
        let mut sample = SampleTrade::new(Side::Sell);
        let (escrow, key) = (sample.escrow(), sample.author(Role::Seller).trade_key());
        let [first, second] = [1, 2].map(|number| sample.vaults(number));
        let takes = |coin| escrow.signed_timeout(Vault::Escrow, coin, sats(1_700), &key).unwrap().tx;
        let (ended, mine) = (takes(first.escrow), takes(second.escrow));
        for (height, waits) in [(None, true), (Some(4_950), false)] {
            let [funding_tx, spend_tx] = [&sample.funding(1), &mine].map(|tx| Some(bitcoin::consensus::serialize(tx)));
            let mut trade =
                Trade::new(sample.bid(), Role::Seller, false, Local { funding_tx, spend_tx, ..Local::default() });
            trade.handle(Event::Records { contract: Some(sample.contract()), facts: Facts::default() }).unwrap();
            let path = SpendPath::Timeout;
            let spends = [(&ended, Some(4_900)), (&mine, height)];
            let spends = spends.map(|(tx, height)| Spend { tx: tx.clone(), path, height }).to_vec();
            let fundings = [first, second].map(|vaults| Funding::new(vaults, Some(190))).to_vec();
            let seen = ChainFacts { tip: 5_000, synced: true, fundings, spends, ..ChainFacts::default() };
            trade.handle(Event::Chain(seen)).unwrap();
            assert_eq!((trade.phase(), can_bump(&trade)), (Phase::Refunded, waits), "{height:?}");
            assert_eq!(crate::trader::is_owed_more(&trade), waits, "it is sent until a block holds it");
            if waits {
                let Some(Waiting::Timeout(tx, own)) = waiting(&trade) else { panic!("it waits") };
                assert_eq!((tx, own), (mine.clone(), (Vault::Escrow, second.escrow)));
            }
            // A signer elsewhere signs a higher fee likewise, whatever this machine still knows.
            let dearer = |coin, fee| escrow.timeout(Vault::Escrow, coin, sats(fee)).unwrap().tx;
            for (fee, is_enough) in [(1_700, false), (1_699 + SPEND_VSIZE, false), (1_700 + SPEND_VSIZE, true)] {
                let found = replacement(&trade, &dearer(second.escrow, fee));
                let found = found.map(|found| (found.own, found.fee, found.what.leaf));
                let expected = ((Vault::Escrow, second.escrow), sats(fee), Leaf::Refund);
                assert_eq!(found, (waits && is_enough).then_some(expected), "{height:?} {fee}");
            }
            let mut elsewhere = dearer(second.escrow, 20_000);
            elsewhere.output[0].script_pubkey = bitcoin::ScriptBuf::new();
            for other in [dearer(first.escrow, 20_000), elsewhere] {
                assert!(replacement(&trade, &other).is_none(), "it takes something else, or to somewhere else");
            }
        }
    }
}
