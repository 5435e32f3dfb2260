//! Who acts next in a trade, until when, and what happens otherwise. The sentences speak to this node's user.

use exchange_api::{Actor, NextStep};
use exchange_ledger::body::{Coin, Ruling};
use exchange_ledger::money::Sats;
use exchange_ledger::trade::{Action, Funding, Leaf, Phase, Refusal, Role, Seat, Trade, View, confirmations_for};

use super::besides::{with_bond_along, with_strays, with_wish};
use super::caution::{awaits_name, is_reading, take_no_risk, why_not_pay};
use crate::trader::Active;

/// Returns who acts next.
pub(super) fn next(active: &Active) -> NextStep {
    let trade = &active.trade;
    let next = match why_not_pay(trade) {
        Some(reason) => take_no_risk(trade, &reason),
        None => signs_elsewhere(active).unwrap_or_else(|| with_wish(trade, next_step(trade))),
    };
    with_strays(trade, with_bond_along(trade, next))
}

/// Returns who acts next. The sentences speak to this node's user.
pub(super) fn next_step(trade: &Trade) -> NextStep {
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
            let otherwise = "if it is yours, wait, for what is paid twice is locked until the refund height; if not, \
                             pay in yourself, or call it off";
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
        (Phase::Refunding, Role::Buyer) if trade.is_outrun() => {
            let what = "the seller takes the coins back, and the arbiter ruled otherwise: your node sends what is yours and pays \
                        more for it, and a block decides";
            step(Actor::Chain, what.to_owned(), None, "it goes on by itself, after a restart too", None)
        }
        (Phase::Refunding, Role::Buyer) if trade.is_payout_due() => {
            let what = "the seller takes the coins back that he had released: your node sends your payout and pays more for it, \
                        and a block decides";
            step(Actor::Chain, what.to_owned(), None, "it goes on by itself, after a restart too", None)
        }
        (Phase::Refunding, Role::Buyer) if lies_there(trade) && view.is_disputed() => {
            take_bond_back("the seller takes the coins back: take your bond back")
        }
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
pub(super) fn step(who: Actor, what: String, until: Option<u32>, otherwise: &str, action: Option<Action>) -> NextStep {
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

/// Returns what the buyer pays.
fn cost(trade: &Trade) -> String {
    format!("{} {}", trade.bid().offer.currency.format(trade.bid().cost), trade.bid().offer.currency)
}

/// Returns who acts next until the escrow is funded.
fn agreed(trade: &Trade, role: Role) -> NextStep {
    if let Some(Refusal::TooEarlyToFund { from, .. }) = trade.refusal(Action::Fund) {
        let what = format!("the chain reaches height {from}, as the maker stated; pay nothing into the escrow before");
        let otherwise = "what is paid before does not count, and is locked until a refund delay of its own is over; either \
                         side can call it off";
        return step(Actor::Chain, what, Some(from), otherwise, None);
    }
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
        Role::Buyer if lies_there(trade) => {
            take_bond_back("too late to pay: take your bond back; if you have paid already, call for the arbiter")
        }
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
                None if must_rule_again(trade) => {
                    "rule again: an extension has moved the coins since you ruled, and nothing comes of that".to_owned()
                }
                None if has_extended(trade) => {
                    let what = "hear both sides, then rule; if you do so before a block has your extension, you may have \
                                to rule again";
                    what.to_owned()
                }
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

/// Tells whether an arbiter has ruled about coins that an extension has put elsewhere since, and about these not yet.
pub(super) fn must_rule_again(trade: &Trade) -> bool {
    let (view, seat) = (trade.view(), trade.seat());
    let has_ruled = |before: &Funding| {
        let mut about = view.facts.rulings.iter().filter(|(by, _)| Some(*by) == seat);
        about.any(|(_, ruling)| ruling.vaults.outpoint() == before.outpoint())
    };
    let mut before = view.funding().into_iter().flat_map(|funding| view.chain().lineage(funding).skip(1));
    trade.phase() == Phase::Disputed && before.any(has_ruled)
}

/// Tells whether an arbiter has signed an extension of the coins that no block has moved by it.
fn has_extended(trade: &Trade) -> bool {
    trade.view().extension().is_some_and(|(seat, _)| Some(*seat) == trade.seat())
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
        (Phase::Refunding, Role::Buyer) if leaf == Leaf::Both => trade.is_payout_due(),
        (phase, _) => (phase == Phase::Ruled || trade.is_outrun()) && leaf.seat().is_some(),
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
pub(super) fn lies_there(trade: &Trade) -> bool {
    let is_unseen = |(_, coin): (_, Coin)| trade.view().spend_of(&coin.outpoint.0).is_none();
    trade.actions().contains(&Action::Refund) && trade.own_coin().is_some_and(is_unseen)
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
            // He may have proposed before, and spent his coins elsewhere: that gives him no more time.
            let until = negotiation.gives_up_at();
            step(Actor::Peer, format!("the {other} sets his coins aside and proposes"), until, off, None)
        }
        (Role::Seller | Role::Buyer | Role::Arbiter, _, _) => {
            step(Actor::Chain, format!("your node looks at the coins of the {other} and signs"), None, off, None)
        }
    }
}

/// Says for whom an arbiter ruled, and what each gets. What is left to a loser is of his bond, and no part of what was traded.
pub(super) fn outcome(trade: &Trade, seat: Seat, ruling: &Ruling) -> String {
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
    // For what is left of his bond a buyer's node pays nothing.
    let bond = ruling.vaults.bond.map_or(Sats::ZERO, |bond| bond.value);
    match deadline(trade).filter(|_| ruling.to_buyer > bond) {
        Some(until) => step(Actor::Chain, what, Some(until), GOES_ON_IN_TIME, None),
        None if trade.role() == Role::Buyer && lies_there(trade) => {
            let otherwise = "the seller's node completes it; until it has, you can take back all of your bond";
            step(Actor::Chain, what, None, otherwise, None)
        }
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
