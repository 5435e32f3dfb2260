//! A trade as its party sees it: where it stands, and, in [`next`], who acts next.

use exchange_api::{ArbiterView, ChainTx, DisputeView, RulingView, Step, StepState, StrayView, TradeView};
use exchange_ledger::money::Sats;
use exchange_ledger::trade::{Action, Arbiter, Escrow, Phase, Role, Seat, Stray, Trade, View, confirmations_for};

use crate::market::{self, Viewer};
use crate::trader::{Active, Trader, bump};

mod besides;
mod caution;
mod next;

use besides::wants_refund;
pub(super) use caution::awaits_peer;
use caution::{awaits_height, awaits_name, is_reading, is_too_late, why_not_pay};
use next::{must_rule_again, outcome};

impl Trader {
    pub(super) fn view(&self, active: &Active) -> TradeView {
        let trade = &active.trade;
        let (bid, view, phase) = (trade.bid(), trade.view(), trade.phase());
        let viewer = Viewer::of(&self.tools).ok();
        let arbiter_of = |arbiter: &Arbiter| {
            let shown = market::arbiter(self.tools.keeper.ledger(), &arbiter.advert).ok().flatten();
            let shown = shown.zip(viewer.as_ref()).map(|(shown, viewer)| viewer.arbiter(&shown));
            shown.unwrap_or_else(|| unknown_arbiter(trade, arbiter))
        };
        let network = self.tools.chain.network();
        let withheld = self.tracker.withheld(&trade.id()).filter(|_| is_reading(trade));
        TradeView {
            id: trade.id(),
            offer: bid.offer_id,
            role: Some(trade.role()),
            maker: trade.is_maker(),
            state: phase,
            synced: !is_reading(trade),
            buyer: bid.buyer(),
            seller: bid.seller(),
            arbiter: arbiter_of(&bid.arbiter),
            second_arbiter: bid.second_arbiter.as_ref().map(arbiter_of),
            amount: bid.take.amount,
            currency: bid.offer.currency,
            price: bid.offer.price,
            cost: bid.cost,
            method: bid.method().to_string(),
            terms: bid.offer.terms.to_string(),
            created: active.created,
            escrow_address: trade.escrow().map(|escrow| escrow.address(network).to_string()),
            funding: view.funding().map(|f| chain_tx(f.outpoint().txid.to_string(), f.height, view.depth(f.height))),
            spend: view.spend().map(|s| chain_tx(s.tx.compute_txid().to_string(), s.height, view.depth(s.height))),
            confirmations_needed: confirmations_for(bid.take.amount),
            next: withheld.map_or_else(|| next::next(active), caution::ask_another),
            actions: offered(trade),
            steps: steps(trade),
            pay_until: view.pay_until(),
            refund_from: view.refund_from(),
            their_details: trade.local().their_details.clone(),
            my_details: self.details_of(trade),
            problem: withheld
                .map(caution::not_told)
                .or_else(|| active.problem.as_ref().map(|problem| problem.words.clone())),
            unread: active.unread,
            dispute: dispute(trade),
            can_bump: bump::can_bump(trade),
            seller_bond: bid.seller_bond,
            buyer_bond: bid.buyer_bond,
            strays: strays(trade),
        }
    }

    /// Returns the user's own payment details: those of the trade, or while a bid for his offer waits, those given with the offer,
    /// which the taker gets unless others are chosen.
    fn details_of(&self, trade: &Trade) -> Option<String> {
        let chosen = trade.local().details.as_ref().map(|(_, details)| details.clone());
        if chosen.is_some() || trade.phase() != Phase::Bid || !trade.is_maker() {
            return chosen;
        }
        let (offer, _) = self.tools.keeper.ledger().offer(&trade.bid().offer_id).ok().flatten()?;
        let given = self.tools.private.offer_details(&offer.header().body_hash).ok().flatten();
        given.filter(|details| !details.is_empty())
    }
}

/// Returns what the user is offered. After a ruling the two can still agree to something else, as the machine allows, but nothing
/// asks them to: what is left by then is to wait, or to take back one's own.
fn offered(trade: &Trade) -> Vec<Action> {
    let mut actions = trade.actions();
    if trade.phase() == Phase::Ruled {
        actions.retain(|action| !matches!(action, Action::Release | Action::Cancel));
    }
    actions
}

/// Returns what lies on the user's own script of the escrow beside the trade.
fn strays(trade: &Trade) -> Vec<StrayView> {
    let next = trade.next_stray().filter(|_| trade.actions().contains(&Action::Refund));
    let shown = |stray: Stray| StrayView {
        outpoint: stray.coin.outpoint.0.to_string(),
        amount: stray.coin.value,
        refund_from: trade.view().stray_from(&stray),
        is_next: next == Some(stray),
    };
    trade.strays().into_iter().map(shown).collect()
}

fn unknown_arbiter(trade: &Trade, arbiter: &Arbiter) -> ArbiterView {
    ArbiterView {
        fee_ppm: arbiter.fee_ppm,
        max_amount: trade.bid().take.amount,
        members: arbiter.members.clone(),
        ..ArbiterView::unknown(arbiter.advert, arbiter.author)
    }
}

/// Returns the dispute of a trade, if there is or was one.
fn dispute(trade: &Trade) -> Option<DisputeView> {
    let view = trade.view();
    let is_one = view.is_disputed() || matches!(trade.phase(), Phase::Disputed | Phase::Ruled | Phase::Settled);
    let ruling_from = view.ruling_from(Seat::First).filter(|_| is_one)?;
    let ruling =
        view.ruling().and_then(|(seat, known)| ruling(trade.escrow()?, view, *seat, known.to_buyer, known.to_seller));
    let has_second = trade.bid().second_arbiter.is_some();
    let openers = [(Role::Buyer, view.facts.buyer_dispute), (Role::Seller, view.facts.seller_dispute)];
    Some(DisputeView {
        opened_by: openers.into_iter().filter(|(_, opened)| *opened).map(|(role, _)| role).collect(),
        ruling_from,
        second_ruling_from: view.ruling_from(Seat::Second).filter(|_| has_second),
        seat: trade.seat(),
        extensions: u32::try_from(view.extensions()).unwrap_or(u32::MAX),
        ruling,
    })
}

/// Returns how a ruling divides the coins.
pub(super) fn ruling(escrow: &Escrow, view: &View, seat: Seat, to_buyer: Sats, to_seller: Sats) -> Option<RulingView> {
    let fee = escrow.contract().fee_of(seat);
    let rest = view.vaults()?.value()?.checked_sub(to_buyer)?.checked_sub(to_seller)?;
    Some(RulingView { seat, to_buyer, to_seller, fee, mining_fee: rest.checked_sub(fee)? })
}

fn chain_tx(txid: String, height: Option<u32>, confirmations: u32) -> ChainTx {
    ChainTx { txid, confirmations, height }
}

/// Returns the steps of the trade, done and to come.
fn steps(trade: &Trade) -> Vec<Step> {
    let (phase, view) = (trade.phase(), trade.view());
    let is_case = matches!(phase, Phase::Disputed | Phase::Ruled | Phase::Settled);
    let reached = match phase {
        Phase::Bid => 0,
        // A bid that came to nothing was never accepted.
        Phase::Void | Phase::Cancelled => usize::from(view.contract.is_some()),
        Phase::Agreed => 1,
        // He would know of what is his own.
        Phase::Funding if trade.role() == Role::Seller && trade.hears_of_funding() => 1,
        Phase::Funding => 2,
        Phase::Funded => 3,
        Phase::Paid => 4,
        Phase::Released | Phase::Refunding | Phase::Disputed => 5,
        Phase::Closed | Phase::Refunded | Phase::Lost | Phase::Ruled => 6,
        Phase::Settled => 7,
    };
    let depth = view.funding().map_or(0, |funding| view.depth(funding.height));
    let needed = confirmations_for(trade.bid().take.amount);
    let confirmed = format!("{} of {needed} confirmations", depth.min(needed));
    let (signed, confirmed_as) = match phase {
        Phase::Refunding | Phase::Refunded => ("Refund signed", "Refund confirmed"),
        Phase::Disputed | Phase::Ruled | Phase::Settled => ("Arbiter ruled", "Ruling confirmed"),
        Phase::Bid
        | Phase::Void
        | Phase::Agreed
        | Phase::Cancelled
        | Phase::Funding
        | Phase::Funded
        | Phase::Paid
        | Phase::Released
        | Phase::Closed
        | Phase::Lost => ("Coins released", "Payout confirmed"),
    };
    let mut names = vec![
        ("Bid accepted", String::new()),
        ("Escrow funded", String::new()),
        ("Escrow confirmed", if reached == 2 { confirmed } else { String::new() }),
        ("Payment sent", String::new()),
    ];
    names.extend(is_case.then(|| ("Disputed", String::new())));
    names.extend([(signed, String::new()), (confirmed_as, how_paid(view))]);
    let skipped = |at: usize| match phase {
        Phase::Void | Phase::Cancelled => at >= reached,
        Phase::Refunding | Phase::Refunded | Phase::Disputed | Phase::Ruled | Phase::Settled => {
            at == 3 && !view.facts.payment_sent
        }
        Phase::Released | Phase::Closed => at == 3 && !view.facts.payment_sent,
        Phase::Bid | Phase::Agreed | Phase::Funding | Phase::Funded | Phase::Paid | Phase::Lost => false,
    };
    let state = |at: usize| match at.cmp(&reached) {
        _ if skipped(at) => StepState::Skipped,
        std::cmp::Ordering::Less => StepState::Done,
        std::cmp::Ordering::Equal => StepState::Current,
        std::cmp::Ordering::Greater => StepState::Pending,
    };
    let step = |(at, (name, detail)): (usize, (&str, String))| Step { name: name.into(), state: state(at), detail };
    names.into_iter().enumerate().map(step).collect()
}

/// Tells of a payout what it shows on the chain.
fn how_paid(view: &View) -> String {
    let Some(spend) = view.spend().filter(|spend| spend.path.is_payout()) else { return String::new() };
    let by_key = spend.tx.input.iter().all(|input| input.witness.len() == 1);
    if by_key { "signed as one".to_owned() } else { "by the leaf of both".to_owned() }
}

/// Returns the line of the log that tells where a trade stands.
pub(super) fn line(trade: &Trade) -> String {
    let is_decided = matches!(trade.phase(), Phase::Ruled | Phase::Settled);
    let what = match (why_not_pay(trade), trade.view().ruling().filter(|_| is_decided)) {
        // Also where a bond is to be taken back by then; and without the heights, which would make it news at each block.
        (_, _) if is_too_late(trade) => "too late to pay: do not pay".to_owned(),
        (Some(why), _) => why.message,
        (None, Some((seat, ruling))) => outcome(trade, *seat, ruling),
        (None, None) if awaits_name(trade) => "the escrow is confirmed: wait until its coins are named".to_owned(),
        (None, None) if awaits_height(trade) => "agreed: wait for the height that the maker stated".to_owned(),
        (None, None) if must_rule_again(trade) => {
            "an extension has moved the coins since you ruled: rule again".to_owned()
        }
        (None, None) => standing(trade.role(), trade.phase()).to_owned(),
    };
    let wish = match (wants_refund(trade), trade.role()) {
        (false, _) => "",
        (true, Role::Seller) => "; you asked for a refund",
        (true, Role::Buyer | Role::Arbiter) => "; the seller asks for a refund",
    };
    format!("trade {}: {what}{wish}", trade.id().short())
}

const fn standing(role: Role, phase: Phase) -> &'static str {
    match (phase, role) {
        (Phase::Bid, _) => "a bid waits for the maker",
        (Phase::Void, _) => "the offer went to somebody else or was withdrawn",
        (Phase::Agreed, Role::Seller) => "agreed: pay into the escrow",
        (Phase::Agreed, _) => "agreed: the seller funds the escrow",
        (Phase::Cancelled, _) => "called off; no coins moved",
        (Phase::Funding, _) => "the escrow's funding was seen",
        (Phase::Funded, Role::Buyer) => "the escrow is confirmed: you can pay",
        (Phase::Funded, _) => "the escrow is confirmed: the buyer can pay",
        (Phase::Paid, Role::Seller) => "the buyer says he paid: look at your account",
        (Phase::Paid, _) => "payment marked as sent: the seller looks at his account",
        (Phase::Released, _) => "the coins were released to the buyer",
        (Phase::Refunding, _) => "the coins go back to the seller",
        (Phase::Closed, _) => "closed: the payout is confirmed",
        (Phase::Refunded, _) => "ended: the refund is confirmed",
        (Phase::Lost, _) => "the escrow was spent in an unforeseen way",
        (Phase::Disputed, Role::Arbiter) => "a party calls for you: hear both sides and rule",
        (Phase::Disputed, _) => "disputed: the arbiter is to decide",
        (Phase::Ruled, _) => "the arbiter ruled",
        (Phase::Settled, _) => "settled as the arbiter ruled",
    }
}

#[cfg(test)]
mod tests;
