//! The wallet: what it holds, where to deposit, what happened, and sending.

use exchange_api::{AddressInfo, Balance, Page, SendRequest, Sent, WalletTx};

use super::ask::{Ask, Line};
use super::post::plain;
use crate::form::{Field, Form};
use crate::message::Call;
use crate::{format, words};

/// The address.
pub const ADDRESS: usize = 0;
/// The amount.
pub const AMOUNT: usize = 1;

/// The wallet.
#[derive(Debug, Default)]
pub struct Wallet {
    /// What it holds.
    pub balance: Option<Balance>,
    /// Where to deposit.
    pub address: Option<AddressInfo>,
    /// Its transactions, the newest first.
    pub history: Option<Page<WalletTx>>,
    /// Which transaction is selected.
    pub selected: usize,
    /// The payment that is being priced, to be asked about.
    pub pricing: Option<SendRequest>,
}

/// Returns the form to send coins.
pub fn send_form() -> Form {
    Form::new(
        words::wallet::SEND_BUTTON,
        vec![
            Field::text(words::wallet::ADDRESS, "", words::wallet::ADDRESS_HINT),
            Field::text(words::wallet::AMOUNT, "", words::wallet::AMOUNT_HINT),
        ],
    )
}

/// Checks the form, marks what is wrong, and returns a request to price the payment when nothing is.
pub fn check_send(form: &mut Form) -> Option<SendRequest> {
    for field in &mut form.fields {
        field.error = None;
    }
    let address = form.fields[ADDRESS].value().trim().to_owned();
    let typed = form.fields[AMOUNT].value().trim().to_lowercase();
    let amount = if typed == words::wallet::ALL { None } else { plain(&typed).parse().ok() };
    if address.is_empty() {
        form.refuse(ADDRESS, words::wallet::NO_ADDRESS);
    }
    if typed != words::wallet::ALL && amount.is_none_or(|amount| amount == exchange_api::Sats::ZERO) {
        form.refuse(AMOUNT, words::BAD_AMOUNT);
    }
    form.is_right().then(|| SendRequest { request_id: String::new(), dry_run: true, address, amount, fee_rate: None })
}

/// Returns the question before coins are sent.
pub fn send_question(priced: &Sent, request: SendRequest) -> Ask {
    let lines = vec![
        Line::Strong(words::wallet::send_what(&format::btc_unit(priced.amount))),
        Line::Plain(format::clean(&request.address)),
        Line::Plain(words::wallet::send_fee(&format::fee(priced.fee))),
        Line::Warning(words::wallet::IRREVERSIBLE.to_owned()),
    ];
    Ask::confirm(words::wallet::SEND_TITLE, lines, words::NO_BACK, words::wallet::SEND_YES, Call::Send(request))
}
