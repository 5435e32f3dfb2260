//! The wallet.

use exchange_api::WalletTx;

use crate::format;

pub const BALANCE: &str = "Balance";
pub const SPENDABLE: &str = "To spend";
pub const PENDING: &str = "Arriving";
pub const IN_ESCROW: &str = "In escrow";
pub const DEPOSIT: &str = "Deposit here";
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
pub const IRREVERSIBLE: &str = "This cannot be undone.";
pub const NEEDS_IDENTITY: &str = "The wallet belongs to your identity.";
pub const NEEDS_IDENTITY_HINT: &str = "Press i to create or unlock it.";

/// Returns what a transaction was for.
pub fn label(tx: &WalletTx) -> String {
    match tx.label.trim() {
        "" if tx.net_sat < 0 => "sent".to_owned(),
        "" => "received".to_owned(),
        label => format::clean(label),
    }
}

/// Says what is sent.
pub fn send_what(amount: &str) -> String {
    format!("{amount} to")
}

/// Says what it costs.
pub fn send_fee(fee: &str) -> String {
    format!("plus {fee} for the network")
}

/// Says that it is sent.
pub fn sent(amount: &str) -> String {
    format!("{amount} are on their way.")
}
