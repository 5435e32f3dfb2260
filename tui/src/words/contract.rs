//! What both sides of a trade agreed on, to be read again at any time.

use exchange_api::{ArbiterView, AuthorId, Role, TradeView};

use super::{book, ruling, take, trade as w};
use crate::format;

pub const TITLE: &str = "Terms";

/// Returns everything about a trade: the name of each thing, and the thing.
pub fn rows(trade: &TradeView) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("Trade", w::sentence(trade)),
        ("Price", format!("{} for 1 BTC", format::money_unit(trade.currency, trade.price.get()))),
        ("Terms", text_or_none(&trade.terms)),
    ];
    rows.extend(arbiter(take::ARBITER, &trade.arbiter));
    if let Some(second) = &trade.second_arbiter {
        rows.extend(arbiter(take::SECOND_ARBITER, second));
    }
    rows.extend(w::bonds(trade).map(|bonds| ("Bonds", bonds)));
    rows.extend(trade.their_details.clone().map(|details| ("Their details", details)));
    rows.extend(trade.my_details.clone().map(|details| ("Your details", details)));
    rows.extend(trade.pay_until.map(|height| ("To be paid", w::until(height, None))));
    rows.extend(trade.refund_from.map(|height| ("Refund", format!("from block {}", format::number(height)))));
    if let Some(dispute) = &trade.dispute {
        rows.push(("Dispute", format!("a ruling moves the coins from block {}", format::number(dispute.ruling_from))));
        if let Some(from) = dispute.second_ruling_from {
            rows.push(("", format!("the second arbiter may rule from block {}", format::number(from))));
        }
        rows.extend(dispute.ruling.iter().map(|ruled| ("Ruling", ruling::parts(ruled))));
    }
    // A small window may not show all of it beside the steps.
    let next = &trade.next;
    let until = next.until.map_or_else(String::new, |height| format!(", {}", w::until(height, None)));
    rows.push(("Next", format!("{}{until}. {}", w::actor(next.who), format::sentence(&next.what))));
    if !next.otherwise.is_empty() {
        rows.push((w::OTHERWISE, format::sentence(&next.otherwise)));
    }
    rows.push(("Buyer", who(trade, Role::Buyer, trade.buyer)));
    rows.push(("Seller", who(trade, Role::Seller, trade.seller)));
    rows.extend(trade.escrow_address.clone().map(|address| ("Escrow", address)));
    rows.extend(trade.funding.iter().map(|tx| ("Funding", tx.txid.clone())));
    rows.extend(trade.spend.iter().map(|tx| ("Payout", tx.txid.clone())));
    rows.push(("Id", trade.id.to_string()));
    rows
}

fn arbiter(name: &'static str, arbiter: &ArbiterView) -> Vec<(&'static str, String)> {
    vec![(name, take::arbiter_line(arbiter)), ("His terms", text_or_none(&arbiter.terms))]
}

fn text_or_none(text: &str) -> String {
    if text.trim().is_empty() { book::NO_TERMS.to_owned() } else { text.to_owned() }
}

fn who(trade: &TradeView, role: Role, author: AuthorId) -> String {
    if trade.role == Some(role) { "you".to_owned() } else { author.to_string() }
}
