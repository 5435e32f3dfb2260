//! A higher fee for what of a trade waits for a block.
//!
//! A funding is never made anew, since two of them would pay twice: a child of its change pays for both. A payout, and a
//! refund that both signed, fix their fee for good: whoever receives coins raises it by a child of his own output. What a party
//! signs alone after the refund delay it replaces: the seller's coins, the buyer's bond.
//!
//! One thing is raised without anybody asking: what brings coins to a buyer, when no block holds it and the seller could soon
//! take them back by himself. Whoever chose its fee may have meant it to wait that long.

use bitcoin::{Amount, FeeRate, Transaction, Txid};
use exchange_api::{ApiError, BumpView, Code, RaisedBy, Subject};
use exchange_ledger::body::{Coin, Vaults};
use exchange_ledger::ids::TradeId;
use exchange_ledger::money::Sats;
use exchange_ledger::trade::{EscrowError, Event, Role, SPEND_VSIZE, SpendPath, Trade, Vault};

use super::effects::internal;
use super::{Active, Trader, not_mine};
use crate::chain::{ChainError, consensus};
use crate::errors::{Explain, ExplainResult};
use crate::server::bump_view;
use crate::wallet::{BumpRequest, ChildRequest, MAX_FEE_RATE, WalletError, child_vsize};

/// From how many blocks before the seller could take the coins back the fee is raised by itself: a day, for blocks may be full
/// for hours, and the first guesses too low. Before that, patience costs nothing.
const HURRY_BLOCKS: u32 = 144;
/// After how many blocks it is raised again: an hour, twice as long as what pays the estimate should take.
const RAISE_EVERY: u32 = 6;
/// The part of what comes in that is paid for it by itself at most: a half. Within [`MAX_FEE_RATE`] that is enough for the
/// smallest trade, in the dearest weeks too, but for bonds of both sides; and no estimate, true or not, takes more.
const WORTH_DIVISOR: u64 = 2;

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
                };
                bump_view(&self.tools.wallet.bump_by_child(request).await.explained()?, !raise.dry_run)
            }
            Waiting::Timeout(tx, own) => self.replace_timeout(id, &tx, own, raise).await,
        }
    }

    /// Raises the fee of what brings coins to a buyer, where no block holds it and the seller could soon take them back.
    pub(super) async fn raise_in_time(&mut self) {
        let is_due = |active: &Active| active.phase.is_held() && urgent(&active.trade, active.hurry).is_some();
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
        let Some((request, feerate)) = hurried(&active.trade, before, estimate) else { return };
        let raised = match self.tools.wallet.bump_by_child(request).await {
            Ok(raised) => Ok(Some(raised.payment)),
            Err(WalletError::AlreadyPays { .. } | WalletError::AlreadyConfirmed { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        let (hurry, problem) = match raised {
            Ok(payment) => {
                let child = payment.as_ref().map(|payment| payment.tx.compute_txid());
                if let Some(payment) = payment.filter(|_| child != before.child) {
                    let (id_short, fee) = (id.short(), payment.fee);
                    let why = "no block holds what pays you, and the seller could soon take the coins back";
                    let words = format!("trade {id_short}: {why}: your node pays {fee} for a child of it");
                    self.tools.events.note(Subject::Trade(id), words);
                }
                let (next_at, child) = (tip.saturating_add(RAISE_EVERY), child.or(before.child));
                (Hurry { next_at, asked: feerate, child }, None)
            }
            Err(error) => {
                // What the network refuses pays too little; what did not reach it says nothing about that.
                let is_refused = matches!(error, WalletError::Chain(ChainError::Refused { .. }));
                let asked = if is_refused { feerate } else { before.asked };
                (Hurry { next_at: tip.saturating_add(1), asked, ..before }, Some(error.explain().to_string()))
            }
        };
        if let Some(active) = self.trades.get_mut(&id) {
            active.hurry = hurry;
        }
        if problem.is_some() {
            self.note_problem(id, problem);
        }
    }

    async fn replace_timeout(
        &mut self,
        id: TradeId,
        earlier: &Transaction,
        (vault, coin): (Vault, Coin),
        raise: Raise,
    ) -> Result<BumpView, ApiError> {
        let feerate = match raise.fee_rate {
            Some(rate) => rate.to_sat_per_vb_ceil(),
            None => self.feerate().await?,
        };
        let (escrow, key) = (self.escrow(id)?, *self.trade_key(id)?.here()?);
        let refused =
            |e: EscrowError| ApiError::new(Code::InvalidArgument, e.to_string(), "choose a feerate of 1 to 500 sat/vB");
        let paid = fee_of([coin], earlier)?;
        let fee = escrow.timeout_fee_at(vault, coin, feerate).map_err(refused)?;
        let increment = Sats::new(SPEND_VSIZE).and_then(|increment| paid.checked_add(increment));
        let lowest = increment.ok_or_else(|| internal("a fee beyond all bitcoin"))?;
        if fee < lowest {
            let message = format!("the refund pays {paid} BTC already; a replacement must pay at least {lowest} BTC");
            return Err(ApiError::new(Code::NotAllowed, message, "ask for a higher feerate"));
        }
        let draft = escrow.signed_timeout(vault, coin, fee, &key).map_err(refused)?;
        consensus::verify_spend(&draft.tx, &draft.prevouts()).map_err(internal)?;
        let (raised, txid) = (earlier.compute_txid().to_string(), draft.tx.compute_txid().to_string());
        if !raise.dry_run {
            // Kept, then broadcast, as the first version was, and again until a block holds it.
            self.handle(id, Event::SpendBuilt(draft.tx)).await?;
        }
        Ok(BumpView { raised, txid, by: RaisedBy::Replacement, fee, broadcast: !raise.dry_run })
    }
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

/// Returns what brings coins to this buyer and has to be in a block soon, with the coins that it spends: his payout, or what an
/// arbiter gave him, as this node keeps it or sees it in the pool. It goes on after the seller could take them back: who pays
/// more then is first.
fn urgent(trade: &Trade, hurry: Hurry) -> Option<(Transaction, Vaults)> {
    let (view, chain) = (trade.view(), trade.view().chain());
    if trade.role() != Role::Buyer || !chain.synced || chain.tip < hurry.next_at {
        return None;
    }
    let from = view.refund_from()?.saturating_sub(HURRY_BLOCKS);
    let (escrow, vaults) = (trade.escrow()?, view.funding().filter(|_| chain.tip >= from)?.vaults);
    // Not what a block makes impossible, or holds.
    let is_open = |tx: &Transaction| {
        let mut spends = tx.input.iter().filter_map(|input| view.spend_of(&input.previous_output));
        spends.all(|spend| spend.height.is_none())
    };
    let pays_him = |tx: &Transaction| {
        let path = escrow.classify(tx, &vaults);
        path.is_payout() || path.is_ruling()
    };
    let seen = view.spend().map(|spend| spend.tx.clone());
    let tx = kept(trade, vaults.escrow).into_iter().chain(seen).find(|tx| pays_him(tx) && is_open(tx))?;
    Some((tx, vaults))
}

/// Returns the child that has to raise its fee, and the feerate that both pay then, in sat/vB.
fn hurried(trade: &Trade, hurry: Hurry, estimate: u64) -> Option<(ChildRequest, u64)> {
    let (parent, vaults) = urgent(trade, hurry)?;
    let own = trade.escrow()?.contract().party(Role::Buyer)?.destination.script();
    let outputs = parent.output.iter().filter(|output| output.script_pubkey == *own);
    let value = outputs.map(|output| output.value).max()?;
    let parent_fee = Amount::from(fee_of(vaults.coins(), &parent).ok()?);
    let vsize = (parent.vsize() as u64).checked_add(child_vsize())?; // usize is at most 64 bits
    let worth = parent_fee.to_sat().checked_add(value.to_sat() / WORTH_DIVISOR)? / vsize;
    // That it still waits tells more than an estimate.
    let wanted = estimate.max(hurry.asked.saturating_mul(2)).min(MAX_FEE_RATE.to_sat_per_vb_ceil());
    let feerate = wanted.min(worth);
    let fee_rate = FeeRate::from_sat_per_vb(feerate).filter(|_| feerate > 0)?;
    let request = ChildRequest {
        parent,
        parent_fee,
        fee_rate: Some(fee_rate),
        // Bounded above, by what is at stake: all of it is lost if this pays too little.
        allow_high_fee: true,
        dry_run: false,
        label: format!("a higher fee for the payout of trade {}", trade.id().short()),
    };
    Some((request, feerate))
}

fn waiting(trade: &Trade) -> Option<Waiting> {
    let (view, local) = (trade.view(), trade.local());
    let unconfirmed = |height: Option<u32>| height.is_none();
    if let Some(funding) = view.funding() {
        if let Some((tx, own)) = own_timeout(trade, &funding.vaults) {
            return Some(Waiting::Timeout(tx, own));
        }
        let spend = match view.spend() {
            Some(spend) if unconfirmed(spend.height) => Some(spend.tx.clone()),
            Some(_) => return None,
            None => kept(trade, funding.vaults.escrow),
        };
        if let Some(tx) = spend {
            return Some(Waiting::Spend(tx, funding.vaults));
        }
    }
    let waits = view.funding().is_none_or(|funding| unconfirmed(funding.height) && funding.extends.is_none());
    let is_mine = trade.role() == Role::Seller && !trade.phase().is_final();
    decode(local.funding_tx.as_deref()).filter(|_| waits && is_mine).map(Waiting::Funding)
}

/// Returns what this side takes back alone, and the output that it spends, while no block does.
fn own_timeout(trade: &Trade, vaults: &Vaults) -> Option<(Transaction, (Vault, Coin))> {
    let (escrow, (vault, coin)) = (trade.escrow()?, trade.own_coin()?);
    let seen = trade.view().spend_of(&coin.outpoint.0).map(|spend| spend.tx.clone());
    let tx = seen.or_else(|| kept(trade, coin))?;
    (escrow.classify(&tx, vaults) == SpendPath::Timeout).then_some((tx, (vault, coin)))
}

/// Returns the transaction by which this side ends the escrow, if it spends an output: the pool may have dropped it, or never
/// taken it.
fn kept(trade: &Trade, coin: Coin) -> Option<Transaction> {
    let spends_it = |tx: &Transaction| tx.input.iter().any(|input| input.previous_output == coin.outpoint.0);
    decode(trade.local().spend_tx.as_deref()).filter(spends_it)
}

fn decode(bytes: Option<&[u8]>) -> Option<Transaction> {
    bitcoin::consensus::deserialize(bytes?).ok()
}

/// Returns what a spend of outputs of the escrow pays.
fn fee_of(coins: impl IntoIterator<Item = Coin>, tx: &Transaction) -> Result<Sats, ApiError> {
    let is_spent = |coin: &Coin| tx.input.iter().any(|input| input.previous_output == coin.outpoint.0);
    let mut spent = coins.into_iter().filter(is_spent).map(|coin| Amount::from(coin.value));
    let spent = spent.try_fold(Amount::ZERO, Amount::checked_add);
    let out = tx.output.iter().try_fold(Amount::ZERO, |sum, output| sum.checked_add(output.value));
    let fee = spent.zip(out).and_then(|(spent, out)| spent.checked_sub(out));
    fee.ok_or_else(|| internal("a spend that pays out more than it spends"))?.try_into().map_err(internal)
}

#[cfg(test)]
mod tests {
    use bitcoin::key::Keypair;
    use exchange_ledger::body::Side;
    use exchange_ledger::testing::{SampleTrade, sats};
    use exchange_ledger::trade::{ChainFacts, Escrow, Facts, Funding, Local, Seat, Spend, Verdict};

    use super::*;

    /// The funding's height, and the tip from which on the seller can take the coins back.
    const FUNDED_AT: u32 = 190;
    const REFUND_FROM: u32 = FUNDED_AT + 4320 - 1;

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
            let half =
                |to, key: &Keypair| escrow.half(&vaults, escrow.fee_at(&vaults, to, 1).unwrap(), to, key).unwrap();
            let payout = escrow.complete(&half(Role::Buyer, &seller), Role::Buyer, &buyer).unwrap().tx;
            let refund = escrow.complete(&half(Role::Seller, &buyer), Role::Seller, &seller).unwrap().tx;
            let (seat, pair) = (Seat::First, sample.arbiter_pair(escrow.contract(), Seat::First));
            let division = escrow.divide(seat, &vaults, verdict, 1).unwrap();
            let ruling = escrow.rule(seat, &vaults, division, &pair).unwrap();
            let ruling = escrow.complete_ruling(seat, &ruling, Role::Buyer, &buyer).unwrap().tx;
            let back = |vault, coin, key: &Keypair| escrow.signed_timeout(vault, coin, sats(1_700), key).unwrap().tx;
            let theirs = back(Vault::Escrow, vaults.escrow, &seller);
            let own = vaults.bond.map(|bond| back(Vault::Bond, bond, &buyer));
            Self { sample, escrow, vaults, payout, refund, ruling, theirs, own }
        }

        /// Returns the trade as one side sees it that keeps a spend.
        fn seen(
            &self,
            role: Role,
            kept: Option<&Transaction>,
            tip: u32,
            spends: &[(&Transaction, Option<u32>)],
        ) -> Trade {
            let local = Local { spend_tx: kept.map(bitcoin::consensus::serialize), ..Local::default() };
            let mut trade = Trade::new(self.sample.bid(), role, false, local);
            trade.handle(Event::Records { contract: Some(self.sample.contract()), facts: Facts::default() }).unwrap();
            let spend = |(tx, height): &(&Transaction, Option<u32>)| {
                let path = self.escrow.classify(tx, &self.vaults);
                Spend { tx: (*tx).clone(), path, height: *height }
            };
            let (fundings, spends) = (vec![Funding::new(self.vaults, Some(FUNDED_AT))], spends.iter().map(spend));
            let chain = ChainFacts { tip, synced: true, fundings, spends: spends.collect() };
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
            let urgent = urgent(&trade, Hurry::default()).map(|(tx, _)| tx);
            assert_eq!(urgent.as_ref(), expected, "{what}");
        }
        let mut trade = stage.seen(buyer, Some(payout), from, &[(payout, None)]);
        let tried = Hurry { next_at: from + 1, ..Hurry::default() };
        assert!(urgent(&trade, tried).is_none(), "it was raised a while ago");
        let blind = ChainFacts { synced: false, ..trade.view().chain().clone() };
        trade.handle(Event::Chain(blind)).unwrap();
        assert!(urgent(&trade, Hurry::default()).is_none(), "a block that is not here yet may hold it");
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
            let hurry = Hurry { asked, ..Hurry::default() };
            let (request, feerate) = hurried(&trade, hurry, estimate).unwrap();
            assert_eq!(feerate, expected, "after {asked}, at {estimate}");
            assert_eq!(request.fee_rate, FeeRate::from_sat_per_vb(expected));
            assert_eq!((&request.parent, request.parent_fee), (&stage.payout, Amount::from_sat(329)));
            assert!(!request.dry_run);
        }
        // A small part of a split is not thrown after itself.
        let stage = Stage::new(SampleTrade::new(Side::Sell), Verdict::Split(sats(12_000)));
        let trade = stage.seen(Role::Buyer, Some(&stage.ruling), from, &[]);
        let (request, feerate) = hurried(&trade, Hurry::default(), 300).unwrap();
        let comes_in = stage.ruling.output[0].value.to_sat();
        let vsize = stage.ruling.vsize() as u64 + child_vsize();
        let costs = |feerate: u64| feerate * vsize - request.parent_fee.to_sat();
        assert!((11_000..12_000).contains(&comes_in), "{comes_in}");
        assert!(costs(feerate) <= comes_in / 2 && costs(feerate + 1) > comes_in / 2, "{feerate} sat/vB");
    }

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
            trade.handle(Event::Chain(ChainFacts { tip: 5_000, synced: true, fundings, spends })).unwrap();
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
}
