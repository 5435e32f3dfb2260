//! One's trades.

use exchange_api::{Action, Actor, Phase, Role, Sats, TradeView};

use super::take;
use crate::format;
use crate::message::CallName;

pub const COLUMNS: [&str; 6] = ["Trade", "You", "Amount BTC", "Money", "State", "Next"];
pub const EMPTY: &str = "You have no trades yet.";
pub const EMPTY_HINT: &str = "Take an offer from the book (press 1), or post your own (press 2).";
pub const NEEDS_IDENTITY: &str = "Your trades belong to your identity.";
pub const ACCEPT_TITLE: &str = "Accept this bid?";
pub const ACCEPT_BUTTON: &str = "Accept the bid";
pub const ACCEPT_NOTE: &str = "The terms are fixed by this, and the taker gets your details.";
pub const PAY_TO: &str = "Pay to";
pub const PAID_TO: &str = "You paid to";
pub const PAYER: &str = "The buyer pays from";
pub const NO_DETAILS: &str = "The payment details are on their way.";
pub const TERMS: &str = "Terms";
pub const BONDS: &str = "Bonds";
pub const GOES_ON: &str = "… (press t to read on)";
pub const OTHERWISE: &str = "Otherwise";
pub const PRESS: &str = "Press";

/// What to know before a step.
pub struct Question {
    /// The question.
    pub title: &'static str,
    /// What happens.
    pub what: String,
    /// What else to know.
    pub notes: Vec<String>,
    /// What to be careful about.
    pub warning: Option<String>,
    /// The answer that does it.
    pub yes: &'static str,
}

/// Names a trade and whom it is with, as lists do: the amount alone is that of many.
pub fn named(trade: &TradeView) -> String {
    let (id, buyer, seller) = (trade.id.short(), trade.buyer.short(), trade.seller.short());
    match trade.role {
        Some(Role::Buyer) => format!("Trade {id} with the seller {seller}."),
        Some(Role::Seller) => format!("Trade {id} with the buyer {buyer}."),
        Some(Role::Arbiter) | None => format!("Trade {id} of the buyer {buyer} and the seller {seller}."),
    }
}

/// Returns the question before a step.
pub fn question(trade: &TradeView, action: Action) -> Question {
    let amount = format::btc_unit(trade.amount);
    let money = format::money_unit(trade.currency, trade.cost);
    match action {
        Action::Accept => Question {
            title: ACCEPT_TITLE,
            what: format!("{amount} for {money}."),
            notes: vec![ACCEPT_NOTE.to_owned()],
            warning: None,
            yes: "Yes, accept",
        },
        Action::Fund => fund(trade),
        Action::MarkPaid => Question {
            title: "Have you paid?",
            what: format!("{money} by {} to the seller.", format::clean(&trade.method)),
            notes: vec!["The seller is told to look for the money.".to_owned()],
            warning: Some("Say so only when the payment has left your account.".to_owned()),
            yes: "Yes, I have paid",
        },
        Action::Release => Question {
            title: "Release the coins?",
            what: format!("{amount} go to the buyer."),
            notes: Vec::new(),
            warning: Some(format!("Only after the {money} are in your account. This cannot be undone.")),
            yes: "Yes, release them",
        },
        Action::Cancel => cancel(trade, &amount),
        Action::Refund => take_back(trade),
        Action::Dispute => Question {
            title: "Call for the arbiter?",
            what: format!("{} decides who gets the {amount}.", take::name(&trade.arbiter)),
            notes: vec![
                "You can still agree with the other until he has ruled.".to_owned(),
                "Keep every proof: he asks both of you.".to_owned(),
            ],
            warning: Some(
                "The loser's bond pays his fee, if there is one, else the coins do. This cannot be undone.".to_owned(),
            ),
            yes: "Yes, dispute it",
        },
        Action::Rule => Question {
            title: "Rule?",
            what: format!("You decide who gets the {amount}."),
            notes: Vec::new(),
            warning: Some("A ruling cannot be undone.".to_owned()),
            yes: "Yes, rule",
        },
        Action::Extend => Question {
            title: "Give it more time?",
            what: format!("The {amount} go into the escrow again, less the network fee."),
            notes: vec!["All delays begin anew.".to_owned()],
            warning: None,
            yes: "Yes, extend it",
        },
    }
}

/// Says what is bid, and by whom, before the bid is accepted.
pub fn accept_note(trade: &TradeView) -> String {
    let bidder = if trade.role == Some(Role::Seller) { trade.buyer } else { trade.seller };
    let (amount, money) = (format::btc_unit(trade.amount), format::money_unit(trade.currency, trade.cost));
    let (id, bidder, method) = (trade.id.short(), bidder.short(), format::clean(&trade.method));
    format!("Trade {id}: {bidder} bids {amount} for {money} by {method}. {ACCEPT_NOTE}")
}

fn fund(trade: &TradeView) -> Question {
    let (locked, bond) = (format::btc_unit(trade.locked()), trade.own_bond());
    let mut notes = Vec::new();
    if bond > Sats::ZERO {
        notes.push(format!("Your bond of {} among them comes back to you at the end.", format::btc_unit(bond)));
    }
    if trade.buyer_bond > Sats::ZERO {
        notes.push("Both of you pay in one transaction: nothing moves before both have signed.".to_owned());
    }
    notes.push("From there neither of you can take them alone.".to_owned());
    notes.push("If the other vanishes, they come back to you after the refund delay.".to_owned());
    Question {
        title: "Fund the escrow?",
        what: format!("{locked} go from your wallet into the escrow, plus the network fee."),
        notes,
        warning: trade.funding.is_some().then(|| {
            "A payment into it was seen that your node did not make. If it is yours, do not pay again: what is paid twice is \
             locked until the refund height."
                .to_owned()
        }),
        yes: "Yes, fund it",
    }
}

fn take_back(trade: &TradeView) -> Question {
    let back = |amount: Sats| format!("{} come back to your wallet, less the network fee.", format::btc_unit(amount));
    match trade.next_stray() {
        Some(stray) => Question {
            title: "Take back what was paid besides?",
            what: back(stray.amount),
            notes: vec!["They are no part of the trade, which stays as it is.".to_owned()],
            warning: None,
            yes: "Yes, take them back",
        },
        None => Question {
            title: "Take the coins back?",
            what: back(trade.locked()),
            notes: Vec::new(),
            warning: Some("The trade ends. If the buyer has paid, this is a breach of it.".to_owned()),
            yes: "Yes, take them back",
        },
    }
}

/// Returns what each locks besides the trade; nothing without bonds.
pub fn bonds(trade: &TradeView) -> Option<String> {
    let amount = |bond: Sats| if bond == Sats::ZERO { "none".to_owned() } else { format::btc_unit(bond) };
    let any = trade.seller_bond > Sats::ZERO || trade.buyer_bond > Sats::ZERO;
    any.then(|| format!("seller {}, buyer {}", amount(trade.seller_bond), amount(trade.buyer_bond)))
}

fn cancel(trade: &TradeView, amount: &str) -> Question {
    if trade.funding.is_none() {
        return Question {
            title: "Call the trade off?",
            what: "No coins are locked yet: nobody loses anything.".to_owned(),
            notes: Vec::new(),
            warning: None,
            yes: "Yes, call it off",
        };
    }
    if trade.state == Phase::Funding {
        return Question {
            title: "Call the trade off?",
            what: "A payment into the escrow was seen that no block holds.".to_owned(),
            notes: vec![
                "If a block takes it after all, the escrow is funded, and both of you can give it back.".to_owned(),
            ],
            warning: None,
            yes: "Yes, call it off",
        };
    }
    match trade.role {
        Some(Role::Seller) => Question {
            title: "Ask for a refund?",
            what: format!("The buyer is asked to agree that {amount} come back to you."),
            notes: vec!["Until then the trade goes on.".to_owned()],
            warning: None,
            yes: "Yes, ask",
        },
        Some(Role::Buyer | Role::Arbiter) | None => Question {
            title: "Give the coins back?",
            what: format!("You agree that {amount} go back to the seller."),
            notes: Vec::new(),
            warning: Some("Not if you have paid: your money would be gone. This cannot be undone.".to_owned()),
            yes: "Yes, give them back",
        },
    }
}

/// Returns what to say after a call that changed a trade, by how the trade stands then.
pub fn after(call: CallName, trade: &TradeView) -> &'static str {
    match call {
        CallName::Take => "Your bid is out. The maker answers next.",
        CallName::Trade(Action::Accept) => "The bid is accepted.",
        CallName::Trade(Action::Fund) => "The coins are on their way into the escrow.",
        CallName::Trade(Action::MarkPaid) => "The seller is told.",
        CallName::Trade(Action::Release) => "The coins are released.",
        CallName::Trade(Action::Cancel) => called_off(trade),
        CallName::Trade(Action::Refund) => "The coins are coming back.",
        CallName::Trade(Action::Dispute) => "The arbiter is called.",
        CallName::Trade(Action::Rule) => "Your ruling is out.",
        CallName::Trade(Action::Extend) => "The dispute gets more time.",
        CallName::Passphrase
        | CallName::Strength
        | CallName::Create
        | CallName::Unlock
        | CallName::Post
        | CallName::Withdraw
        | CallName::Review
        | CallName::Price
        | CallName::Send
        | CallName::Talk
        | CallName::Say
        | CallName::Freeze
        | CallName::Label
        | CallName::PriceBump
        | CallName::Bump
        | CallName::PriceCancel
        | CallName::Cancel
        | CallName::Weigh
        | CallName::ToShow
        | CallName::Disclose
        | CallName::Connect => "Done.",
    }
}

/// Says what calling off has led to: once the coins are in the escrow, a seller can only ask for them.
fn called_off(trade: &TradeView) -> &'static str {
    match (trade.state.is_held(), trade.role) {
        (true, Some(Role::Seller)) => "The buyer is asked for a refund. Until he agrees, the trade goes on.",
        (true, Some(Role::Buyer)) => "You have agreed: the coins go back to the seller.",
        (true, Some(Role::Arbiter) | None) | (false, _) => "The trade is being called off.",
    }
}

/// Returns a phase by its name in the glossary.
pub const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Bid => "bid",
        Phase::Void => "void",
        Phase::Agreed => "agreed",
        Phase::Cancelled => "cancelled",
        Phase::Funding => "funding",
        Phase::Funded => "funded",
        Phase::Paid => "paid",
        Phase::Released => "released",
        Phase::Refunding => "refunding",
        Phase::Closed => "closed",
        Phase::Refunded => "refunded",
        Phase::Lost => "lost",
        Phase::Disputed => "disputed",
        Phase::Ruled => "ruled",
        Phase::Settled => "settled",
    }
}

/// Returns a role as a verb.
pub const fn role(role: Option<Role>) -> &'static str {
    match role {
        Some(Role::Buyer) => "buy",
        Some(Role::Seller) => "sell",
        Some(Role::Arbiter) => "arbitrate",
        None => "watch",
    }
}

/// Returns who is waited for, with a view to the user.
pub const fn actor(actor: Actor) -> &'static str {
    match actor {
        Actor::You => "Your turn",
        Actor::Peer => "Waiting for the other",
        Actor::Chain => "Waiting for the chain",
        Actor::Nobody => "It is over",
        Actor::Arbiter => "Waiting for the arbiter",
    }
}

/// The same in a table's cell, short enough for the sign of new messages behind it in the smallest window.
pub const fn actor_short(actor: Actor) -> &'static str {
    match actor {
        Actor::You => "you",
        Actor::Peer => "other",
        Actor::Chain => "chain",
        Actor::Nobody => "—",
        Actor::Arbiter => "arbiter",
    }
}

/// Returns what pressing the key of a step does.
pub const fn press(action: Action) -> &'static str {
    match action {
        Action::Accept => "to accept the bid",
        Action::Fund => "to fund the escrow",
        Action::MarkPaid => "to say that you have paid",
        Action::Release => "to release the coins",
        Action::Cancel => "to call it off",
        Action::Refund => "to take the coins back",
        Action::Dispute => "to call for the arbiter",
        Action::Rule => "to rule",
        Action::Extend => "to give it more time",
    }
}

/// Returns until when something can be done: `until block 1,234, about 14 days`.
pub fn until(height: u32, tip: Option<u32>) -> String {
    match tip {
        Some(tip) if height >= tip => {
            format!("until block {}, {}", format::number(height), format::blocks(height - tip))
        }
        Some(_) => format!("until block {}, which has passed", format::number(height)),
        None => format!("until block {}", format::number(height)),
    }
}

/// Returns a trade as a sentence.
pub fn sentence(trade: &TradeView) -> String {
    let verb = match trade.role {
        Some(Role::Buyer) => "You buy",
        Some(Role::Seller) => "You sell",
        Some(Role::Arbiter) => "You arbitrate",
        None => "Others trade",
    };
    let money = format::money_unit(trade.currency, trade.cost);
    format!("{verb} {} for {money} by {}", format::btc_unit(trade.amount), format::clean(&trade.method))
}
