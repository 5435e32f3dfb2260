//! The wallet.

use exchange_api::{CoinUse, CoinView, RaisedBy, Sats, WalletTx};

use crate::format;

pub const BALANCE: &str = "Balance";
pub const SPENDABLE: &str = "Spendable";
pub const PENDING: &str = "Pending";
pub const IN_ESCROW: &str = "In escrow";
pub const DEPOSIT: &str = "Deposit here";
pub const HISTORY: &str = "history";
pub const UNFREEZE: &str = "unfreeze";
pub const NO_HISTORY: &str = "No transactions yet.";
pub const COLUMNS: [&str; 3] = ["When", "BTC", "What for"];
pub const UNCONFIRMED: &str = "pending";
pub const SEND_TITLE: &str = "Send coins?";
pub const SEND_FORM_TITLE: &str = "Send coins";
pub const SEND_BUTTON: &str = "Work out the fee";
pub const SEND_YES: &str = "Yes, send them";
pub const ADDRESS: &str = "To address";
pub const ADDRESS_HINT: &str = "";
pub const NO_ADDRESS: &str = "needed";
pub const AMOUNT: &str = "Amount";
pub const AMOUNT_HINT: &str = "BTC, or: all";
pub const ALL: &str = "all";
pub const FEE_RATE: &str = "Feerate";
pub const BAD_FEE_RATE: &str = "a whole number from 1 to 500";
pub const LABEL: &str = "What for";
pub const LABEL_HINT: &str = "for your history only";
pub const LABEL_CLEARS: &str = "leave empty to remove it";
pub const LABEL_BUTTON: &str = "Keep it";
pub const LABEL_TITLE: &str = "What is it for?";
pub const LABELLED: &str = "Noted.";
pub const BUMP_TITLE: &str = "Pay more?";
pub const BUMP_NOTE: &str = "What waits for a block goes faster when it pays more.";
pub const BUMP_YES: &str = "Yes, pay it";
pub const BUMPED: &str = "The higher fee is on its way.";
pub const BY_REPLACEMENT: &str = "The same payment is sent again with this fee, in place of the one before.";
pub const BY_CHILD: &str = "A second transaction brings your part of it to you and pays for both.";
pub const CANCEL_TITLE: &str = "Cancel this payment?";
pub const CANCEL_NOTE: &str = "Its coins come back to you by a transaction that takes its place and pays more.";
pub const CANCEL_YES: &str = "Yes, cancel it";
pub const CANCEL_NOT_YET: &str = "Until a block holds that, it may still be made: do not pay it again before.";
pub const CANCELLED: &str = "Its coins are on their way back.";
pub const SET_ASIDE: &str = "Set aside";
pub const FROZEN: &str = "Frozen";
pub const COIN_COLUMNS: [&str; 3] = ["BTC", "State", "What for"];
pub const NO_COINS: &str = "No coins yet.";
pub const CHOSEN: &str = "\u{25cf} ";
pub const CHOSEN_GONE: &str = "A chosen coin can no longer be spent, and is chosen no more.";
pub const IRREVERSIBLE: &str = "This cannot be undone.";
pub const NEEDS_IDENTITY: &str = "The wallet belongs to your identity.";

/// Returns what a transaction was for.
pub fn label(tx: &WalletTx) -> String {
    let label = match (tx.label.trim(), tx.trade) {
        // The node says what it was once the trade has got so far.
        ("", Some(trade)) if tx.net_sat < 0 => format!("into trade {}", trade.short()),
        ("", Some(trade)) => format!("from trade {}", trade.short()),
        (label, _) => label.to_owned(),
    };
    match (tx.note.trim(), label.as_str()) {
        ("", "") if tx.net_sat < 0 => "sent".to_owned(),
        ("", "") => "received".to_owned(),
        ("", label) => format::clean(label),
        (note, "") => format::clean(note),
        (note, label) => format::clean(&format!("{note}; {label}")),
    }
}

/// Says what is sent.
pub fn send_what(amount: &str) -> String {
    format!("{amount} to")
}

/// Says what it costs.
pub fn send_fee(fee: &str, sats: Sats, vsize: u64) -> String {
    match vsize {
        0 => format!("plus {fee} for the network"),
        vsize => format!("plus {fee} for the network, {} sat/vB", sats.get().div_ceil(vsize)),
    }
}

/// Says from how many chosen coins it is paid.
pub fn from_coins(count: usize) -> String {
    format!("from {} and no others", chosen(count))
}

/// Says how much the chosen coins hold, behind the amount.
pub fn of_chosen(amount: &str) -> String {
    format!("all: {amount} chosen")
}

fn chosen(count: usize) -> String {
    if count == 1 { "1 chosen coin".to_owned() } else { format!("{count} chosen coins") }
}

/// Says what the chain asks, behind a feerate.
pub fn fee_hint(usual: Option<u64>) -> String {
    usual.map_or_else(|| "sat/vB".to_owned(), |rate| format!("sat/vB; usual is {rate}"))
}

/// Says what a higher fee costs.
pub fn bump_what(fee: &str, by: RaisedBy) -> String {
    match by {
        RaisedBy::Replacement => format!("{fee} for the network, instead of what it pays now"),
        RaisedBy::Child => format!("{fee} more for the network"),
    }
}

/// Says what comes back when a payment is cancelled.
pub fn cancel_what(amount: &str) -> String {
    format!("{amount} back to you, in place of")
}

/// Says what that costs.
pub fn cancel_fee(fee: &str) -> String {
    format!("for {fee} to the network")
}

/// Says what became of coins that were frozen or freed.
pub fn frozen(coins: &[CoinView]) -> &'static str {
    if coins.iter().any(|coin| coin.state == CoinUse::Frozen) {
        "Nothing spends it until you unfreeze it."
    } else {
        "It can be spent again."
    }
}

/// Returns what may be done with a coin.
pub const fn coin_state(coin: &CoinView) -> &'static str {
    match coin.state {
        CoinUse::Spendable => "free",
        CoinUse::Pending => "pending",
        CoinUse::Frozen => "frozen",
        CoinUse::Reserved { .. } => "set aside",
    }
}

/// Returns what a coin is for.
pub fn coin_label(coin: &CoinView) -> String {
    match (&coin.state, coin.label.trim()) {
        (CoinUse::Reserved { what, .. }, _) if !what.is_empty() => format::clean(what),
        (_, "") if coin.change => "change".to_owned(),
        (_, label) => format::clean(label),
    }
}

/// Says that it is sent.
pub fn sent(amount: &str) -> String {
    format!("{amount} are on their way.")
}
