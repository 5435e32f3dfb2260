//! A trade as its party sees it: where it stands, who acts next, until when, and what happens otherwise.

use bitcoin::Network;
use exchange_api::{
    Actor, ApiError, ArbiterView, ChainTx, DisputeView, NextStep, RulingView, Step, StepState, TradeView,
};
use exchange_ledger::body::{Coin, Ruling};
use exchange_ledger::money::Sats;
use exchange_ledger::trade::{
    Action, Arbiter, Escrow, Leaf, Phase, Refusal, Role, Seat, Trade, View, confirmations_for,
};

use crate::errors::Explain;
use crate::market::{self, Viewer};
use crate::trader::{Active, Trader, bump};

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
            next: match why_not_pay(trade) {
                Some(reason) => take_no_risk(trade, &reason),
                None => signs_elsewhere(active).unwrap_or_else(|| with_wish(trade, next_step(trade, network))),
            },
            actions: offered(trade),
            steps: steps(trade),
            pay_until: view.pay_until(),
            refund_from: view.refund_from(),
            their_details: trade.local().their_details.clone(),
            my_details: self.details_of(trade),
            problem: active.problem.as_ref().map(|problem| problem.words.clone()),
            unread: active.unread,
            dispute: dispute(trade),
            can_bump: bump::can_bump(trade),
            seller_bond: bid.seller_bond,
            buyer_bond: bid.buyer_bond,
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

/// Returns why a buyer whose turn it is to pay must not pay.
fn why_not_pay(trade: &Trade) -> Option<ApiError> {
    let is_risk = |refusal: &Refusal| {
        matches!(refusal, Refusal::Forked { .. } | Refusal::DoubtfulFunding | Refusal::NamedOtherwise)
    };
    trade.refusal(Action::MarkPaid).filter(is_risk).map(Refusal::explain)
}

/// Tells whether a buyer may pay as soon as the seller's node has named the coins.
fn awaits_name(trade: &Trade) -> bool {
    trade.refusal(Action::MarkPaid) == Some(Refusal::Unnamed)
}

/// Returns what a buyer does instead of paying. Nothing is proposed: whether he has paid only he knows.
fn take_no_risk(trade: &Trade, reason: &ApiError) -> NextStep {
    NextStep {
        who: Actor::You,
        what: format!("{}; if you have paid already, call for the arbiter; if not, agree to a refund", reason.message),
        until: trade.view().refund_from(),
        otherwise: "at that height the seller could take the coins back".into(),
        action: None,
    }
}

fn unknown_arbiter(trade: &Trade, arbiter: &Arbiter) -> ArbiterView {
    ArbiterView {
        advert: arbiter.advert,
        author: arbiter.author,
        name: "unknown".into(),
        fee_ppm: arbiter.fee_ppm,
        max_amount: trade.bid().take.amount,
        languages: Vec::new(),
        currencies: Vec::new(),
        terms: String::new(),
        since: 0,
        trades: 0,
        disputes: 0,
        rulings: 0,
        trusted: false,
        threshold: 0,
        members: arbiter.members.clone(),
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

/// Tells whether it is not known what became of the coins, for the node still reads the chain: on the way to its tip a trade
/// looks as it did long ago. What has ended there is over, be it as it was kept or as a block shows it.
fn is_reading(trade: &Trade) -> bool {
    let is_over = matches!(trade.phase(), Phase::Closed | Phase::Refunded | Phase::Settled | Phase::Lost);
    trade.view().contract.is_some() && !trade.view().chain().synced && !is_over
}

/// Returns who acts next. The sentences speak to this node's user.
fn next_step(trade: &Trade, _network: Network) -> NextStep {
    if is_reading(trade) {
        let what = "your node reads the chain; do nothing until it has".to_owned();
        return step(Actor::Chain, what, None, "until then it does not know what became of the coins", None);
    }
    let (phase, role, view) = (trade.phase(), trade.role(), trade.view());
    let amount = trade.bid().take.amount;
    match (phase, role) {
        (Phase::Bid, Role::Buyer | Role::Seller) if trade.is_maker() => {
            let what = "accept the bid, or decline it".to_owned();
            step(Actor::You, what, None, "nothing is agreed and no coins have moved", Some(Action::Accept))
        }
        (Phase::Bid, _) => {
            let what = "the maker accepts your bid".to_owned();
            step(Actor::Peer, what, None, "you can call it off at any time; no coins have moved", None)
        }
        (Phase::Agreed, role) => agreed(trade, role),
        (Phase::Funding, Role::Buyer) if waits_for_a_block(trade) => {
            let what = "a block takes the funding of both sides".to_owned();
            let until = trade.local().negotiation.gives_up_at();
            step(Actor::Chain, what, until, "your node calls it off and spends a coin of yours back to you", None)
        }
        (Phase::Funding, _) if trade.hears_of_funding() && is_called_off(view) => {
            let what = "called off; a payment into the escrow was seen that no block holds".to_owned();
            let otherwise = "if a block takes it, the escrow is funded all the same, and both can give it back";
            step(Actor::Chain, what, None, otherwise, None)
        }
        (Phase::Funding, Role::Seller) if trade.hears_of_funding() => {
            let what = "a payment into the escrow was seen that your node did not make; a block takes it, or none does";
            let otherwise = "if it is yours, wait, for what is paid twice is locked until the refund height; if not, pay in \
                             yourself, or call it off";
            step(Actor::Chain, what.to_owned(), None, otherwise, None)
        }
        (Phase::Funding, _) => {
            let depth = view.funding().map_or(0, |funding| view.depth(funding.height));
            let needed = confirmations_for(amount);
            let what = format!("the chain confirms the escrow: {depth} of {needed} confirmations");
            let otherwise = "an unconfirmed escrow can vanish: nobody pays before it is confirmed";
            step(Actor::Chain, what, None, otherwise, None)
        }
        (Phase::Funded, role) => funded(trade, role),
        (Phase::Paid, role) => paid(trade, role),
        (Phase::Disputed, role) => disputed(trade, role),
        (Phase::Ruled, _) => ruled(trade),
        (Phase::Settled, _) => over(match view.ruling() {
            Some((seat, ruling)) => format!("settled: {}", outcome(trade, *seat, ruling)),
            None => "settled: the coins are divided as the arbiter ruled".to_owned(),
        }),
        (Phase::Released, role) => released(trade, role),
        (Phase::Refunding, Role::Buyer) if lies_there(trade) => take_bond_back("you never paid: take your bond back"),
        (Phase::Refunding, _) => {
            let what = "the chain confirms the refund to the seller".to_owned();
            step(Actor::Chain, what, None, "nothing to do; it goes on by itself, after a restart too", None)
        }
        (Phase::Closed, role) => closed(trade, role),
        (Phase::Refunded, role) => refunded(trade, role),
        (Phase::Cancelled, _) if trade.local().negotiation.may_confirm() => over(
            "called off; a coin of yours is spent back to you, so that what you had signed can never confirm"
                .to_owned(),
        ),
        (Phase::Cancelled, _) if view.contract.is_none() => over(format!("{}; no coins moved", who_ended_bid(trade))),
        (Phase::Cancelled, _) => over("called off before any coins moved".to_owned()),
        (Phase::Void, _) => over("the offer was taken by somebody else or withdrawn; no coins moved".to_owned()),
        (Phase::Lost, _) => over("the escrow was spent in an unforeseen way: run the audit".to_owned()),
    }
}

/// Says who acts next.
fn step(who: Actor, what: String, until: Option<u32>, otherwise: &str, action: Option<Action>) -> NextStep {
    NextStep { who, what, until, otherwise: otherwise.into(), action }
}

fn over(what: String) -> NextStep {
    NextStep { who: Actor::Nobody, what, until: None, otherwise: String::new(), action: None }
}

/// Says who called off a bid that nobody accepted.
fn who_ended_bid(trade: &Trade) -> &'static str {
    let facts = &trade.view().facts;
    let by_me = match trade.role() {
        Role::Buyer => facts.buyer_cancel,
        Role::Seller => facts.seller_cancel,
        Role::Arbiter => false,
    };
    match (trade.is_maker(), by_me) {
        (true, true) => "you declined the bid",
        (true, false) => "the bid was taken back",
        (false, true) => "you took your bid back",
        (false, false) => "the maker declined the bid",
    }
}

/// Says that the buyer's bond lies in its output, for him to take.
fn take_bond_back(what: &str) -> NextStep {
    step(Actor::You, what.to_owned(), None, "it stays there, and is nobody's but yours", Some(Action::Refund))
}

/// Tells whether the seller asks for a refund to which the buyer has not agreed, as far as the chain is known.
fn wants_refund(trade: &Trade) -> bool {
    let is_open = matches!(trade.phase(), Phase::Funded | Phase::Paid | Phase::Disputed);
    trade.view().facts.seller_cancel && trade.view().chain().synced && is_open
}

/// Says besides that the seller asks for a refund. The trade goes on as before, until the buyer agrees.
fn with_wish(trade: &Trade, next: NextStep) -> NextStep {
    if !wants_refund(trade) || next.action == Some(Action::Refund) {
        return next;
    }
    let wish = match (trade.role(), trade.phase()) {
        (Role::Seller, _) => "you asked for a refund, and the buyer has to agree; until he does",
        (Role::Buyer, Phase::Funded) => "the seller asks you to agree to a refund: talk to him before you pay; else",
        (Role::Buyer, _) => "the seller asks you to agree to a refund: do not, if you have paid; else",
        (Role::Arbiter, _) => "the seller asked for a refund, and the buyer has not agreed",
    };
    NextStep { what: format!("{wish}: {}", next.what), ..next }
}

/// Returns what the buyer pays.
fn cost(trade: &Trade) -> String {
    format!("{} {}", trade.bid().offer.currency.format(trade.bid().cost), trade.bid().offer.currency)
}

/// Returns who acts next until the escrow is funded.
fn agreed(trade: &Trade, role: Role) -> NextStep {
    match role {
        Role::Seller if trade.local().funding_tx.is_some() => {
            let what = "your funding of the escrow reaches the chain".to_owned();
            step(Actor::Chain, what, None, "your node sends it again, after a restart too", None)
        }
        Role::Buyer | Role::Seller if trade.joint_terms().is_some() => joint(trade, role),
        Role::Seller => {
            let what = format!("pay {} BTC into the escrow{}", trade.bid().locked_by(role), with_bond(trade, role));
            step(Actor::You, what, None, "either side can call it off; no coins have moved", Some(Action::Fund))
        }
        Role::Buyer | Role::Arbiter => {
            let locked = trade.bid().locked_by(Role::Seller);
            let what = format!("the seller pays {locked} BTC into the escrow");
            step(Actor::Peer, what, None, "either side can call it off; no coins have moved", None)
        }
    }
}

/// Returns who acts next while the buyer is to pay.
fn funded(trade: &Trade, role: Role) -> NextStep {
    let (cost, until) = (cost(trade), trade.view().pay_until());
    match role {
        Role::Buyer if lies_there(trade) => take_bond_back("you never paid: take your bond back"),
        Role::Buyer if awaits_name(trade) => {
            let what = "the seller's node names the coins in the escrow; do not pay before it has".to_owned();
            let otherwise = "it does so by itself, and nothing is lost by waiting; if you have paid all the same, call for \
                             the arbiter";
            step(Actor::Peer, what, until, otherwise, None)
        }
        Role::Buyer => {
            let what = match &trade.local().their_details {
                Some(_) => format!("pay {cost} by {} to the details shown, then say so", trade.bid().method()),
                None => "the seller's payment details are on their way".to_owned(),
            };
            let otherwise =
                "if you do not pay, agree to a refund; after the refund height the seller takes his coins back";
            step(Actor::You, what, until, otherwise, Some(Action::MarkPaid))
        }
        Role::Seller | Role::Arbiter if lies_there(trade) => {
            let what = "the buyer never paid: take your coins back".to_owned();
            step(Actor::You, what, None, "they stay in the escrow", Some(Action::Refund))
        }
        Role::Seller if !trade.view().is_named() => unnamed(trade),
        Role::Seller | Role::Arbiter => {
            let what = format!("the buyer pays {cost} by {}", trade.bid().method());
            let otherwise = "if he does not pay, you take your coins back at the refund height";
            step(Actor::Peer, what, until, otherwise, None)
        }
    }
}

/// Returns who acts next while the buyer's node does not let him pay, for the seller's has not named the coins, or not where a
/// name stays.
fn unnamed(trade: &Trade) -> NextStep {
    let otherwise = "the buyer's node does not let him pay; at the refund height you take your coins back";
    if trade.view().facts.funded.is_none() {
        let what = "your node names the coins in the escrow, once a peer has shown that it holds all that you wrote";
        return step(Actor::Chain, what.to_owned(), None, otherwise, None);
    }
    let what = "these coins were named by another machine than the one on which you agreed, or others were; ask for a \
                refund";
    let ask = trade.actions().contains(&Action::Cancel).then_some(Action::Cancel);
    step(Actor::You, what.to_owned(), trade.view().refund_from(), otherwise, ask)
}

/// Returns who acts next once the buyer says that he paid. A height ends that, by a dispute, and a later one that too.
fn paid(trade: &Trade, role: Role) -> NextStep {
    let (view, until) = (trade.view(), trade.view().dispute_from());
    let from = view.refund_from().map_or_else(|| "the refund height".to_owned(), |from| format!("height {from}"));
    match role {
        Role::Seller => {
            let what =
                format!("look for {} in your account; release the coins only when it is there for good", cost(trade));
            let otherwise = format!(
                "at that height a dispute opens by itself; if nobody rules by {from}, you can take the coins back. A release \
                 cannot be undone"
            );
            step(Actor::You, what, until, &otherwise, Some(Action::Release))
        }
        Role::Buyer | Role::Arbiter => {
            let what = "the seller finds your payment and releases the coins".to_owned();
            let otherwise = format!(
                "call for the arbiter; at that height a dispute opens by itself, and from {from} on the seller could take the \
                 coins back. Keep the proof of your payment"
            );
            step(Actor::Peer, what, until, &otherwise, None)
        }
    }
}

/// Returns who acts next until an arbiter has ruled.
fn disputed(trade: &Trade, role: Role) -> NextStep {
    let until = trade.view().refund_from();
    match role {
        Role::Arbiter => {
            let what = match trade.signed_over() {
                Some(to) => format!(
                    "rule for the {to}: the coins were signed over to him, by a record that others may not see any more"
                ),
                None => "hear both sides, then rule".to_owned(),
            };
            let otherwise = "the second arbiter steps in, if there is one; at the refund height the seller can take the \
                             coins back, unless you give the dispute more time";
            step(Actor::You, what, until, otherwise, Some(Action::Rule))
        }
        Role::Buyer | Role::Seller if lies_there(trade) => {
            let what = "nobody ruled: take your coins back".to_owned();
            step(Actor::You, what, None, "the arbiter can still rule", Some(Action::Refund))
        }
        Role::Seller => {
            let what =
                "the arbiter rules: show him what you and the buyer said; release all the same, if he paid".to_owned();
            let otherwise = "you take your coins back at the refund height";
            step(Actor::Arbiter, what, until, otherwise, None)
        }
        Role::Buyer => {
            let what =
                "the arbiter rules: show him what you and the seller said, and tell him what you paid, when and how"
                    .to_owned();
            let otherwise = "at that height the seller could take the coins back; before it the second arbiter steps in, if \
                             there is one, or the arbiter gives the dispute more time";
            step(Actor::Arbiter, what, until, otherwise, None)
        }
    }
}

/// Returns who acts next while the coins go to the buyer.
fn released(trade: &Trade, role: Role) -> NextStep {
    match role {
        Role::Buyer if trade.is_asking() => {
            let what = "your node and the seller's sign the payout as one: cheaper, and like any payment on the chain"
                .to_owned();
            let otherwise = "without a reply your node pays you alone, in a few seconds";
            step(Actor::Peer, what, None, otherwise, None)
        }
        Role::Buyer => {
            let what = "your node broadcasts the payout and the chain confirms it".to_owned();
            let otherwise = match deadline(trade) {
                Some(_) => GOES_ON_IN_TIME,
                None => "nothing to do; it goes on by itself, after a restart too",
            };
            step(Actor::Chain, what, deadline(trade), otherwise, None)
        }
        Role::Seller | Role::Arbiter => {
            let what = "the buyer's node broadcasts the payout and the chain confirms it".to_owned();
            step(Actor::Chain, what, None, "nothing to do", None)
        }
    }
}

fn closed(trade: &Trade, role: Role) -> NextStep {
    let amount = trade.bid().take.amount;
    match role {
        Role::Buyer if trade.bid().buyer_bond > Sats::ZERO => {
            over(format!("{amount} BTC and your bond, less the fee, are in your wallet"))
        }
        Role::Buyer => over(format!("{amount} BTC, less the fee, are in your wallet")),
        Role::Seller if trade.bid().seller_bond > Sats::ZERO => {
            over("the buyer has the coins, you have the money, and your bond is back in your wallet".to_owned())
        }
        Role::Seller | Role::Arbiter => over("the buyer has the coins, you have the money".to_owned()),
    }
}

fn refunded(trade: &Trade, role: Role) -> NextStep {
    match role {
        Role::Seller => over("the coins are back in your wallet".to_owned()),
        Role::Buyer if lies_there(trade) => {
            take_bond_back("the seller took his coins back; your bond still lies there: take it back")
        }
        Role::Buyer if trade.bid().buyer_bond > Sats::ZERO => {
            over("the coins went back to the seller, and your bond to you".to_owned())
        }
        Role::Buyer | Role::Arbiter => over("the coins went back to the seller".to_owned()),
    }
}

/// Returns the next step where all would go on by itself, had this machine the key of the trade.
fn signs_elsewhere(active: &Active) -> Option<NextStep> {
    let (trade, leaf) = (&active.trade, active.unsigned.as_ref()?.leaf);
    let is_owed = match (trade.phase(), trade.role()) {
        (Phase::Released, Role::Buyer) | (Phase::Refunding, Role::Seller) => leaf == Leaf::Both,
        (phase, _) => phase == Phase::Ruled && leaf.seat().is_some(),
    };
    let id = trade.id().short();
    let what = format!("your signer signs what brings your coins to you: `exchange-node trade sign {id}`");
    let otherwise =
        "they stay in the escrow, and from that height on each side can take back what it put in".to_owned();
    let until = trade.view().refund_from();
    is_owed.then_some(NextStep { who: Actor::You, what, until, otherwise, action: None })
}

/// Tells whether a funding that this side signed is in the pool only.
fn waits_for_a_block(trade: &Trade) -> bool {
    let is_waiting = trade.view().funding().is_some_and(|funding| funding.height.is_none());
    is_waiting && trade.local().negotiation.may_confirm() && !trade.local().negotiation.has_ended()
}

/// Tells whether a trade was called off, or is void.
const fn is_called_off(view: &View) -> bool {
    view.facts.void || view.facts.cancelled()
}

/// Tells whether what this side put in is its to take back, and nothing takes it yet.
fn lies_there(trade: &Trade) -> bool {
    let is_seen = |(_, coin): (_, Coin)| trade.view().spend_of(&coin.outpoint.0).is_some();
    trade.actions().contains(&Action::Refund) && !trade.own_coin().is_some_and(is_seen)
}

/// Says of what a side pays in what of it is its bond.
fn with_bond(trade: &Trade, role: Role) -> String {
    match (role, trade.bid().seller_bond) {
        (Role::Seller, Sats::ZERO) => String::new(),
        (Role::Seller, bond) => format!(", {bond} BTC of it your bond"),
        (Role::Buyer | Role::Arbiter, _) => ": your bond".to_owned(),
    }
}

/// Returns who acts next while two wallets fund the escrow.
fn joint(trade: &Trade, role: Role) -> NextStep {
    let negotiation = &trade.local().negotiation;
    let off = "either side can call it off; no coins have moved";
    let other = if role == Role::Seller { "buyer" } else { "seller" };
    if negotiation.may_confirm() {
        let (until, what) = match role {
            Role::Seller => (None, "the funding of both sides reaches the chain".to_owned()),
            Role::Buyer | Role::Arbiter => {
                let what = "the seller signs what you signed, and sends it to the chain".to_owned();
                (negotiation.gives_up_at(), what)
            }
        };
        let otherwise = "your coins are spent back to you: call it off, or wait until your node does";
        return step(if role == Role::Seller { Actor::Chain } else { Actor::Peer }, what, until, otherwise, None);
    }
    let locked = trade.bid().locked_by(role);
    if !negotiation.is_willing() {
        let ready =
            if role == Role::Buyer && negotiation.is_proposed() { "the seller has set his coins aside: " } else { "" };
        let what = format!("{ready}set {locked} BTC aside for the escrow{}", with_bond(trade, role));
        let otherwise = "either side can call it off; nothing moves before both have signed";
        return step(Actor::You, what, None, otherwise, Some(Action::Fund));
    }
    match (role, negotiation.is_proposed(), negotiation.is_answered()) {
        (Role::Seller, true, false) => {
            let again = trade.actions().contains(&Action::Fund).then_some(Action::Fund);
            let what = format!("the {other} sets his bond of {} BTC aside and signs", trade.bid().buyer_bond);
            step(Actor::Peer, what, None, off, again)
        }
        (Role::Seller, false, _) => {
            let what = "the coins of the buyer are gone: propose again".to_owned();
            step(Actor::You, what, None, off, Some(Action::Fund))
        }
        (Role::Buyer, false, _) => {
            step(Actor::Peer, format!("the {other} sets his coins aside and proposes"), None, off, None)
        }
        (Role::Seller | Role::Buyer | Role::Arbiter, _, _) => {
            step(Actor::Chain, format!("your node looks at the coins of the {other} and signs"), None, off, None)
        }
    }
}

/// Says for whom an arbiter ruled, and what each gets. What is left to a loser is of his bond, and no part of what was traded.
fn outcome(trade: &Trade, seat: Seat, ruling: &Ruling) -> String {
    let bond = ruling.vaults.bond.map_or(Sats::ZERO, |bond| bond.value);
    let winner = match (ruling.to_buyer <= bond, ruling.to_seller <= trade.bid().seller_bond) {
        (false, true) => Some(Role::Buyer),
        (true, false) => Some(Role::Seller),
        (false, false) | (true, true) => None,
    };
    let who = |role: Role| if role == trade.role() { "you".to_owned() } else { format!("the {role}") };
    let ruler = if trade.seat() == Some(seat) { "you" } else { "the arbiter" };
    let verdict = winner.map_or_else(|| "divided the coins".to_owned(), |role| format!("ruled for {}", who(role)));
    let part = |role: Role, gets: Sats| {
        let is_bond = gets > Sats::ZERO && winner.is_some_and(|winner| winner != role);
        format!("{gets} BTC{} to {}", if is_bond { " of the bond" } else { "" }, who(role))
    };
    let (to_buyer, to_seller) = (part(Role::Buyer, ruling.to_buyer), part(Role::Seller, ruling.to_seller));
    let fee = trade.escrow().map_or(Sats::ZERO, |escrow| escrow.contract().fee_of(seat));
    let fee = if fee > Sats::ZERO { format!(", {fee} BTC to {ruler}") } else { String::new() };
    format!("{ruler} {verdict}: {to_buyer}, {to_seller}{fee}")
}

/// Returns who acts next once an arbiter ruled.
fn ruled(trade: &Trade) -> NextStep {
    let Some((seat, ruling)) = trade.view().ruling() else {
        return step(Actor::Chain, "the chain confirms the ruling".to_owned(), None, "nothing to do", None);
    };
    let from = trade.view().ruling_from(*seat);
    let opens = from.map_or_else(String::new, |from| format!(" from height {from} on"));
    let what = format!("{}; the coins move by themselves{opens}", outcome(trade, *seat, ruling));
    match deadline(trade).filter(|_| ruling.to_buyer > Sats::ZERO) {
        Some(until) => step(Actor::Chain, what, Some(until), GOES_ON_IN_TIME, None),
        None => {
            let otherwise = "nothing to do; whoever gets something completes it, after a restart too";
            step(Actor::Chain, what, None, otherwise, None)
        }
    }
}

/// What a buyer's node does about coins that come to him: see `bump.rs`.
const GOES_ON_IN_TIME: &str = "it goes on by itself, after a restart too; in the day before that height your node pays \
                               more for it, for from then on the seller could take the coins back";

/// Returns the height from which on the seller could take back by himself what comes to this buyer, while no block brings it.
fn deadline(trade: &Trade) -> Option<u32> {
    let is_open = trade.view().spend().is_none_or(|spend| spend.height.is_none());
    trade.view().refund_from().filter(|_| is_open && trade.role() == Role::Buyer)
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
        (Some(why), _) => why.message,
        (None, Some((seat, ruling))) => outcome(trade, *seat, ruling),
        (None, None) if awaits_name(trade) => "the escrow is confirmed: wait until its coins are named".to_owned(),
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
mod tests {
    use exchange_ledger::body::Side;
    use exchange_ledger::testing::{SampleTrade, sats};
    use exchange_ledger::trade::{ChainFacts, Event, Facts, Funding, Local, Spend, SpendPath, Verdict};

    use super::*;

    /// As long as a peer withholds blocks, what he sees may have changed long ago.
    #[test]
    fn nobody_is_told_to_do_anything_while_the_chain_is_read() {
        let sample = SampleTrade::new(Side::Sell);
        let held = sample.vaults(1);
        let payout = sample.escrow().spend(&held, sats(1_700), Role::Buyer).unwrap().tx;
        let off = Facts { seller_cancel: true, ..Facts::default() };
        let paid = Facts { payment_sent: true, ..Facts::default() };
        let [funded, none] = [vec![Funding::new(held, Some(190))], Vec::new()];
        let buried = vec![Spend { tx: payout, path: SpendPath::Payout, height: Some(195) }];
        for (phase, facts, fundings, spends, is_known) in [
            (Phase::Agreed, Facts::default(), &none, vec![], false),
            (Phase::Cancelled, off, &none, vec![], false),
            (Phase::Funded, Facts::default(), &funded, vec![], false),
            (Phase::Paid, paid, &funded, vec![], false),
            (Phase::Closed, Facts::default(), &funded, buried, true),
        ] {
            for role in [Role::Buyer, Role::Seller] {
                let mut trade = Trade::new(sample.bid(), role, false, Local::default());
                trade.handle(Event::Records { contract: Some(sample.contract()), facts: facts.clone() }).unwrap();
                for synced in [false, true] {
                    let seen = ChainFacts { tip: 200, synced, fundings: fundings.clone(), spends: spends.clone() };
                    trade.handle(Event::Chain(seen)).unwrap();
                    let next = next_step(&trade, Network::Regtest);
                    let waits = next.what.contains("reads the chain") && next.action.is_none();
                    let is_unknown = !synced && !is_known;
                    assert_eq!((trade.phase(), is_reading(&trade), waits), (phase, is_unknown, is_unknown), "{role}");
                }
            }
        }
        // Before the agreement nothing depends on the chain.
        let mut bid = Trade::new(sample.bid(), Role::Seller, true, Local::default());
        bid.handle(Event::Records { contract: None, facts: Facts::default() }).unwrap();
        assert!(!is_reading(&bid) && next_step(&bid, Network::Regtest).action == Some(Action::Accept));
    }

    #[test]
    fn a_buyer_is_told_until_when_what_pays_him_should_be_in_a_block() {
        let mut sample = SampleTrade::new(Side::Sell);
        let (escrow, vaults) = (sample.escrow(), sample.vaults(1));
        let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| sample.author(role).trade_key());
        let half = escrow.half(&vaults, sats(170), Role::Buyer, &seller).unwrap();
        let payout = escrow.complete(&half, Role::Buyer, &buyer).unwrap().tx;
        let pair = sample.arbiter_pair(escrow.contract(), Seat::First);
        let rule = |verdict| {
            let division = escrow.divide(Seat::First, &vaults, verdict, 1).unwrap();
            let rulings = vec![(Seat::First, escrow.rule(Seat::First, &vaults, division, &pair).unwrap())];
            Facts { payment_sent: true, buyer_dispute: true, rulings, ..Facts::default() }
        };
        let released = Facts { payment_sent: true, releases: vec![half], ..Facts::default() };
        let (won, lost) = (rule(Verdict::Buyer), rule(Verdict::Seller));
        let seen = |height| vec![Spend { tx: payout.clone(), path: SpendPath::Payout, height }];
        let from = Some(190 + 4320 - 1);
        for (what, role, facts, spends, phase, until) in [
            ("released, in the pool", Role::Buyer, &released, seen(None), Phase::Released, from),
            ("released, in a block", Role::Buyer, &released, seen(Some(200)), Phase::Released, None),
            ("the seller gets nothing of it", Role::Seller, &released, seen(None), Phase::Released, None),
            ("ruled for him", Role::Buyer, &won, vec![], Phase::Ruled, from),
            ("ruled against him", Role::Buyer, &lost, vec![], Phase::Ruled, None),
            ("ruled for the seller", Role::Seller, &lost, vec![], Phase::Ruled, None),
        ] {
            let mut trade = Trade::new(sample.bid(), role, false, Local::default());
            trade.handle(Event::Records { contract: Some(sample.contract()), facts: facts.clone() }).unwrap();
            let fundings = vec![Funding::new(vaults, Some(190))];
            trade.handle(Event::Chain(ChainFacts { tip: 200, synced: true, fundings, spends })).unwrap();
            assert_eq!((trade.phase(), next_step(&trade, Network::Regtest).until), (phase, until), "{what}");
        }
    }

    /// Returns a trade that was funded at height 190 and named, as one side sees it ten blocks later.
    fn funded(sample: &SampleTrade, role: Role, facts: Facts) -> Trade {
        let named = Some(sample.vaults(1).outpoint());
        as_said(sample, role, Facts { funded: named, funded_at_home: named, ..facts })
    }

    /// Returns the same, of which nothing else was said than this.
    fn as_said(sample: &SampleTrade, role: Role, facts: Facts) -> Trade {
        let mut trade = Trade::new(sample.bid(), role, false, Local::default());
        trade.handle(Event::Records { contract: Some(sample.contract()), facts }).unwrap();
        let (fundings, spends) = (vec![Funding::new(sample.vaults(1), Some(190))], Vec::new());
        trade.handle(Event::Chain(ChainFacts { tip: 200, synced: true, fundings, spends })).unwrap();
        trade
    }

    #[test]
    fn both_sides_read_that_the_seller_asks_for_a_refund() {
        let sample = SampleTrade::new(Side::Sell);
        for (role, payment_sent, words) in [
            (Role::Seller, false, "you asked for a refund, and the buyer has to agree; until he does: the buyer pays"),
            (Role::Seller, true, "you asked for a refund, and the buyer has to agree; until he does: look for"),
            (Role::Buyer, false, "talk to him before you pay; else: "),
            (Role::Buyer, true, "do not, if you have paid; else: the seller finds your payment"),
        ] {
            let of = |seller_cancel| funded(&sample, role, Facts { payment_sent, seller_cancel, ..Facts::default() });
            let next = |trade: &Trade| with_wish(trade, next_step(trade, Network::Regtest));
            assert!(next(&of(true)).what.contains(words), "{}", next(&of(true)).what);
            assert!(!next(&of(false)).what.contains("refund"), "{}", next(&of(false)).what);
            assert!(line(&of(true)).contains("refund") && !line(&of(false)).contains("refund"), "{}", line(&of(true)));
            assert_eq!(next(&of(true)).action, next(&of(false)).action, "the trade goes on");
            // It may have ended in blocks that were not read yet.
            let mut reading = of(true);
            let seen = ChainFacts { synced: false, ..reading.view().chain().clone() };
            reading.handle(Event::Chain(seen)).unwrap();
            assert!(!wants_refund(&reading) && !line(&reading).contains("refund"), "{}", line(&reading));
        }
    }

    #[test]
    fn nobody_is_told_to_pay_before_the_coins_are_named_and_both_read_what_is_missing() {
        let sample = SampleTrade::new(Side::Sell);
        let own = Some(sample.vaults(1).outpoint());
        let facts = |funded_at_home| Facts { funded: own, funded_at_home, ..Facts::default() };
        let [named, elsewhere] = [own, None].map(facts);
        for (role, facts, who, words, action) in [
            (Role::Buyer, Facts::default(), Actor::Peer, "do not pay before it has", None),
            (Role::Buyer, elsewhere.clone(), Actor::You, "if you have paid already, call for the arbiter", None),
            (Role::Buyer, named.clone(), Actor::You, "details are on their way", Some(Action::MarkPaid)),
            (Role::Seller, Facts::default(), Actor::Chain, "your node names the coins", None),
            (Role::Seller, elsewhere, Actor::You, "ask for a refund", Some(Action::Cancel)),
            (Role::Seller, named, Actor::Peer, "the buyer pays", None),
        ] {
            let is_settled = facts.funded_at_home.is_some();
            let trade = as_said(&sample, role, facts);
            let next = match why_not_pay(&trade) {
                Some(reason) => take_no_risk(&trade, &reason),
                None => next_step(&trade, Network::Regtest),
            };
            assert!(next.what.contains(words), "{role}: {}", next.what);
            assert_eq!((next.who, next.action), (who, action), "{role}: {words}");
            assert_eq!(line(&trade).contains("you can pay"), role == Role::Buyer && is_settled, "{}", line(&trade));
            let is_offered = trade.actions().contains(&Action::MarkPaid);
            assert_eq!(is_offered, role == Role::Buyer && is_settled, "{role}: {words}");
        }
    }

    #[test]
    fn who_waits_for_a_payment_or_for_the_coins_reads_when_a_dispute_opens_and_when_the_refund_does() {
        let sample = SampleTrade::new(Side::Sell);
        let (dispute_from, refund_from) = (190 + 4320 - 1008, 190 + 4320 - 1);
        for (role, words) in [
            (Role::Seller, format!("by height {refund_from}, you can take the coins back")),
            (Role::Buyer, format!("from height {refund_from} on the seller could take the coins back")),
        ] {
            let trade = funded(&sample, role, Facts { payment_sent: true, ..Facts::default() });
            let next = next_step(&trade, Network::Regtest);
            assert_eq!((trade.phase(), next.until), (Phase::Paid, Some(dispute_from)));
            assert!(next.otherwise.contains(&words), "{}", next.otherwise);
            assert!(next.otherwise.contains("a dispute opens by itself"), "{}", next.otherwise);
        }
    }

    #[test]
    fn a_bid_that_was_declined_was_never_accepted() {
        let sample = SampleTrade::new(Side::Sell);
        let bid = |role, is_maker, facts| {
            let mut trade = Trade::new(sample.bid(), role, is_maker, Local::default());
            trade.handle(Event::Records { contract: None, facts }).unwrap();
            trade
        };
        let by_seller = Facts { seller_cancel: true, ..Facts::default() };
        let by_buyer = Facts { buyer_cancel: true, ..Facts::default() };
        for (trade, words) in [
            (bid(Role::Seller, true, by_seller.clone()), "you declined the bid"),
            (bid(Role::Buyer, false, by_seller), "the maker declined the bid"),
            (bid(Role::Seller, true, by_buyer.clone()), "the bid was taken back"),
            (bid(Role::Buyer, false, by_buyer), "you took your bid back"),
        ] {
            let next = next_step(&trade, Network::Regtest);
            assert_eq!((trade.phase(), next.who), (Phase::Cancelled, Actor::Nobody));
            assert!(next.what.starts_with(words), "{}", next.what);
            assert!(steps(&trade).iter().all(|step| step.state == StepState::Skipped));
        }
    }

    #[test]
    fn each_reads_who_won_and_what_is_left_of_a_bond_is_no_part_of_that() {
        let sample = SampleTrade::with_bonds(Side::Sell);
        let (escrow, vaults) = (sample.escrow(), sample.vaults(1));
        let pair = sample.arbiter_pair(escrow.contract(), Seat::First);
        let split = Verdict::Split(sats(400_000));
        for (verdict, role, words) in [
            (Verdict::Buyer, Role::Buyer, "the arbiter ruled for you: "),
            (Verdict::Buyer, Role::Seller, "the arbiter ruled for the buyer: "),
            (Verdict::Seller, Role::Seller, "the arbiter ruled for you: "),
            (Verdict::Seller, Role::Buyer, "the arbiter ruled for the seller: "),
            (split, Role::Buyer, "the arbiter divided the coins: "),
            (Verdict::Buyer, Role::Arbiter, "you ruled for the buyer: "),
        ] {
            let division = escrow.divide(Seat::First, &vaults, verdict, 1).unwrap();
            let rulings = vec![(Seat::First, escrow.rule(Seat::First, &vaults, division, &pair).unwrap())];
            let facts = Facts { payment_sent: true, buyer_dispute: true, rulings, ..Facts::default() };
            let trade = funded(&sample, role, facts);
            let what = next_step(&trade, Network::Regtest).what;
            assert!(trade.phase() == Phase::Ruled && what.starts_with(words), "{what}");
            assert_eq!(what.contains("of the bond"), verdict != split, "{what}");
            let own = if role == Role::Buyer { division.0 } else { division.1 };
            assert!(role == Role::Arbiter || what.contains(&format!("{own} BTC")), "{what}");
            assert_eq!(offered(&trade), [], "nothing is left to press");
            let names: Vec<String> = steps(&trade).into_iter().map(|step| step.name).collect();
            assert_eq!(names[3..6], ["Payment sent", "Disputed", "Arbiter ruled"]);
            assert_eq!(steps(&trade)[6].state, StepState::Current);
        }
    }

    #[test]
    fn a_bid_that_was_declined_was_not_accepted() {
        let sample = SampleTrade::new(Side::Sell);
        let facts = Facts { seller_cancel: true, ..Facts::default() };
        for (contract, accepted) in [(None, StepState::Skipped), (Some(sample.contract()), StepState::Done)] {
            let mut trade = Trade::new(sample.bid(), Role::Seller, true, Local::default());
            trade.handle(Event::Records { contract, facts: facts.clone() }).unwrap();
            let states: Vec<StepState> = steps(&trade).iter().map(|step| step.state).collect();
            assert_eq!((trade.phase(), states[0], states[1]), (Phase::Cancelled, accepted, StepState::Skipped));
        }
    }

    #[test]
    fn a_seller_is_shown_what_his_node_did_not_make_and_not_told_to_pay_beside_it() {
        let sample = SampleTrade::new(Side::Sell);
        let own = Local { funding_tx: Some(bitcoin::consensus::serialize(&sample.funding(1))), ..Local::default() };
        let off = Facts { seller_cancel: true, ..Facts::default() };
        for (local, facts, height, words, funded) in [
            (Local::default(), Facts::default(), None, "your node did not make", StepState::Current),
            (Local::default(), off, None, "called off", StepState::Current),
            (Local::default(), Facts::default(), Some(200), "1 of 3 confirmations", StepState::Done),
            (own, Facts::default(), None, "0 of 3 confirmations", StepState::Done),
        ] {
            let mut trade = Trade::new(sample.bid(), Role::Seller, false, local);
            trade.handle(Event::Records { contract: Some(sample.contract()), facts }).unwrap();
            let (fundings, spends) = (vec![Funding::new(sample.vaults(1), height)], Vec::new());
            trade.handle(Event::Chain(ChainFacts { tip: 200, synced: true, fundings, spends })).unwrap();
            let next = next_step(&trade, Network::Regtest);
            assert!(next.what.contains(words), "{words}: {}", next.what);
            assert_eq!((next.who, next.action, steps(&trade)[1].state), (Actor::Chain, None, funded), "{words}");
        }
    }
}
