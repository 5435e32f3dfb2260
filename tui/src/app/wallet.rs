//! The wallet: what it holds, where to deposit, what happened, its coins, and sending.

use std::collections::BTreeSet;

use exchange_api::{
    AddressInfo, Balance, BumpTrade, BumpTx, BumpView, CancelTx, CancelView, CoinUse, CoinView, FeeChoice, FeeEstimate,
    Page, RaisedBy, Sats, SendRequest, Sent, WalletTx,
};

use super::ask::{Ask, Line};
use super::post::plain;
use crate::form::{Field, Form};
use crate::message::{Bump, Call};
use crate::{format, words};

/// The address.
pub const ADDRESS: usize = 0;
/// The amount.
pub const AMOUNT: usize = 1;
/// The feerate.
const FEE_RATE: usize = 2;
/// What it is for.
const LABEL: usize = 3;
/// The highest feerate that can be typed; the command line allows more, with an explicit word.
const MAX_FEE_RATE: u64 = 500;

/// The wallet.
#[derive(Debug, Default)]
pub struct Wallet {
    /// What it holds.
    pub balance: Option<Balance>,
    /// Where to deposit.
    pub address: Option<AddressInfo>,
    /// Its transactions, the newest first.
    pub history: Option<Page<WalletTx>>,
    /// Its coins, the largest first.
    pub coins: Option<Page<CoinView>>,
    /// What confirmation costs, the fastest first.
    pub fees: Vec<FeeEstimate>,
    /// Whether the coins are shown instead of the transactions.
    pub shows_coins: bool,
    /// The coins that the next payment spends, and no others; empty: any.
    pub chosen: BTreeSet<String>,
    /// Which transaction or coin is selected, by its name; `None` until they are looked at.
    pub selected: Option<String>,
    /// The payment that is being priced, to be asked about.
    pub pricing: Option<SendRequest>,
    /// The higher fee that is being priced, to be asked about.
    pub bumping: Option<Bump>,
    /// What cancels a payment and is being priced, to be asked about.
    pub cancelling: Option<CancelTx>,
}

impl Wallet {
    /// Returns how many lines the list has.
    pub fn count(&self) -> usize {
        if self.shows_coins { self.coin_list().len() } else { self.tx_list().len() }
    }

    /// Returns the selected coin, while coins are shown.
    pub fn coin(&self) -> Option<&CoinView> {
        self.coin_list().get(self.position()).filter(|_| self.shows_coins)
    }

    /// Returns the selected transaction, while transactions are shown.
    pub fn tx(&self) -> Option<&WalletTx> {
        self.tx_list().get(self.position()).filter(|_| !self.shows_coins)
    }

    /// Returns the position of what is selected: the first while nothing is, or what was is gone.
    pub fn position(&self) -> usize {
        let is_selected = |at: &usize| self.selected.is_some() && self.name_at(*at) == self.selected.as_deref();
        (0..self.count()).find(is_selected).unwrap_or(0)
    }

    /// Moves the selection.
    pub fn select(&mut self, step: impl FnOnce(usize, usize) -> usize) {
        let at = step(self.position(), self.count());
        self.selected = self.name_at(at).map(ToOwned::to_owned);
    }

    /// Selects the first while nothing is selected, or what was is gone. What is selected stays so, whatever comes in above it.
    pub fn settle(&mut self) {
        self.select(|at, _| at);
    }

    /// Shows the coins instead of the transactions, or these again, from the first on.
    pub fn turn(&mut self) {
        self.shows_coins = !self.shows_coins;
        self.selected = None;
        self.settle();
    }

    /// Returns what names the transaction or the coin at a position of the list that is shown.
    fn name_at(&self, at: usize) -> Option<&str> {
        if self.shows_coins {
            self.coin_list().get(at).map(|coin| coin.coin.as_str())
        } else {
            self.tx_list().get(at).map(|tx| tx.txid.as_str())
        }
    }

    /// Returns what a label would be about, and the present one.
    pub fn subject(&self) -> Option<(String, String)> {
        match (self.coin(), self.tx()) {
            (Some(coin), _) => Some((coin.coin.clone(), coin.label.clone())),
            (None, Some(tx)) => Some((tx.txid.clone(), tx.note.clone())),
            (None, None) => None,
        }
    }

    /// Returns the transaction that would be cancelled: that which waits, or for which the selected coin is set aside. It may be part of
    /// a trade; the node knows.
    pub fn cancellable(&self) -> Option<String> {
        match (self.coin().map(|coin| &coin.state), self.tx()) {
            (Some(CoinUse::Reserved { by, .. }), _) => Some(by.clone()),
            (Some(CoinUse::Spendable | CoinUse::Pending | CoinUse::Frozen), _) => None,
            (None, tx) => tx.filter(|tx| tx.height.is_none() && tx.net_sat < 0).map(|tx| tx.txid.clone()),
        }
    }

    /// Chooses the selected coin for the next payment, or no more.
    pub fn mark(&mut self) {
        if let Some(coin) = self.coin().map(|coin| coin.coin.clone())
            && !self.chosen.remove(&coin)
        {
            self.chosen.insert(coin);
        }
    }

    /// Takes the coins as they are now; what is gone or set aside is chosen no longer. Tells whether there was such a one.
    pub fn know_coins(&mut self, coins: Page<CoinView>) -> bool {
        let free =
            |chosen: &String| coins.items.iter().any(|coin| coin.coin == *chosen && coin.state == CoinUse::Spendable);
        let before = self.chosen.len();
        self.chosen.retain(free);
        self.coins = Some(coins);
        self.chosen.len() < before
    }

    /// Returns how much the chosen coins hold.
    pub fn chosen_amount(&self) -> Sats {
        let chosen = self.coin_list().iter().filter(|coin| self.chosen.contains(&coin.coin));
        chosen.fold(Sats::ZERO, |sum, coin| sum.checked_add(coin.amount).unwrap_or(Sats::MAX))
    }

    /// Returns what the chain asks for confirmation within half an hour.
    fn usual_fee(&self) -> Option<u64> {
        let usual = self.fees.iter().find(|fee| fee.target_blocks >= 3).or(self.fees.last());
        usual.and_then(|fee| fee.fee_rate)
    }

    fn coin_list(&self) -> &[CoinView] {
        self.coins.as_ref().map(|page| page.items.as_slice()).unwrap_or_default()
    }

    fn tx_list(&self) -> &[WalletTx] {
        self.history.as_ref().map(|page| page.items.as_slice()).unwrap_or_default()
    }
}

/// Returns the form to send coins.
pub fn send_form(wallet: &Wallet) -> Form {
    let amount_hint = if wallet.chosen.is_empty() {
        words::wallet::AMOUNT_HINT.to_owned()
    } else {
        words::wallet::of_chosen(&format::btc(wallet.chosen_amount()))
    };
    Form::new(
        words::wallet::SEND_BUTTON,
        vec![
            Field::text(words::wallet::ADDRESS, "", words::wallet::ADDRESS_HINT),
            Field::text(words::wallet::AMOUNT, "", amount_hint),
            Field::text(words::wallet::FEE_RATE, "", words::wallet::fee_hint(wallet.usual_fee())),
            Field::text(words::wallet::LABEL, "", words::wallet::LABEL_HINT),
        ],
    )
}

/// Checks the form, marks what is wrong, and returns a request to price the payment when nothing is.
pub fn check_send(form: &mut Form, chosen: &BTreeSet<String>) -> Option<SendRequest> {
    for field in &mut form.fields {
        field.error = None;
    }
    let address = form.fields[ADDRESS].value().trim().to_owned();
    let typed = form.fields[AMOUNT].value().trim().to_lowercase();
    let amount = if typed == words::wallet::ALL { None } else { plain(&typed).parse().ok() };
    let label = form.fields[LABEL].value().trim().to_owned();
    if address.is_empty() {
        form.refuse(ADDRESS, words::wallet::NO_ADDRESS);
    }
    if typed != words::wallet::ALL && amount.is_none_or(|amount| amount == Sats::ZERO) {
        form.refuse(AMOUNT, words::BAD_AMOUNT);
    }
    let fee = fee_choice(form, FEE_RATE);
    form.is_right().then(|| SendRequest {
        request_id: String::new(),
        dry_run: true,
        address,
        amount,
        fee: fee.unwrap_or_default(),
        coins: chosen.iter().cloned().collect(),
        label,
        priced: None,
    })
}

/// Reads the feerate of a form; nothing typed leaves it to the node.
fn fee_choice(form: &mut Form, at: usize) -> Option<FeeChoice> {
    let typed = form.fields[at].value().trim().to_owned();
    match typed.parse::<u64>() {
        _ if typed.is_empty() => Some(FeeChoice::default()),
        Ok(rate) if (1..=MAX_FEE_RATE).contains(&rate) => {
            Some(FeeChoice { fee_rate: Some(rate), ..FeeChoice::default() })
        }
        Ok(_) | Err(_) => {
            form.refuse(at, words::wallet::BAD_FEE_RATE);
            None
        }
    }
}

/// Returns the question before coins are sent: a yes orders what is shown, and nothing else.
pub fn send_question(priced: &Sent, request: SendRequest) -> Ask {
    let mut lines = vec![
        Line::Strong(words::wallet::send_what(&format::btc_unit(priced.amount))),
        Line::Plain(format::clean(&request.address)),
        Line::Plain(words::wallet::send_fee(&format::fee(priced.fee), priced.fee, priced.vsize)),
    ];
    if !request.coins.is_empty() {
        lines.push(Line::Plain(words::wallet::from_coins(request.coins.len())));
    }
    lines.push(Line::Warning(words::wallet::IRREVERSIBLE.to_owned()));
    let request = SendRequest { priced: Some(priced.clone()), ..request };
    Ask::confirm(words::wallet::SEND_TITLE, lines, words::NO_BACK, words::wallet::SEND_YES, Call::Send(request))
}

/// Returns the form to say what something is for.
pub fn label_form(present: &str) -> Form {
    Form::new(
        words::wallet::LABEL_BUTTON,
        vec![Field::text(words::wallet::LABEL, present, words::wallet::LABEL_CLEARS)],
    )
}

/// Returns the form to raise a fee, or to cancel a payment.
pub fn fee_form(wallet: &Wallet) -> Form {
    let suggested = wallet.usual_fee().map(|rate| rate.to_string()).unwrap_or_default();
    let hint = words::wallet::fee_hint(wallet.usual_fee());
    Form::new(words::wallet::SEND_BUTTON, vec![Field::suggestion(words::wallet::FEE_RATE, &suggested, hint)])
}

/// Checks the form, and returns a request to price the higher fee when nothing is wrong.
pub fn check_bump(form: &mut Form, target: &BumpTarget) -> Option<Bump> {
    form.fields[0].error = None;
    let fee = fee_choice(form, 0)?;
    let (request_id, dry_run) = (String::new(), true);
    Some(match target {
        BumpTarget::Tx(txid) => Bump::Tx(BumpTx { request_id, dry_run, txid: txid.clone(), fee, priced: None }),
        BumpTarget::Trade(trade) => Bump::Trade(BumpTrade { request_id, dry_run, trade: *trade, fee, priced: None }),
    })
}

/// Returns the question before a fee is raised: a yes orders what is shown, and nothing else.
pub fn bump_question(priced: &BumpView, request: Bump) -> Ask {
    let shown = Some(priced.clone());
    let request = match request {
        Bump::Tx(request) => Bump::Tx(BumpTx { priced: shown, ..request }),
        Bump::Trade(request) => Bump::Trade(BumpTrade { priced: shown, ..request }),
    };
    let by = match priced.by {
        RaisedBy::Replacement => words::wallet::BY_REPLACEMENT,
        RaisedBy::Child => words::wallet::BY_CHILD,
    };
    let lines = vec![
        Line::Strong(words::wallet::bump_what(&format::fee(priced.fee), priced.by)),
        Line::Plain(format::ellipsis(&format::clean(&priced.raised), 60)),
        Line::Plain(by.to_owned()),
    ];
    Ask::confirm(words::wallet::BUMP_TITLE, lines, words::NO_BACK, words::wallet::BUMP_YES, Call::Bump(request))
}

/// Checks the form, and returns a request to price what cancels a payment when nothing is wrong.
pub fn check_cancel(form: &mut Form, txid: &str) -> Option<CancelTx> {
    form.fields[0].error = None;
    let fee = fee_choice(form, 0)?;
    Some(CancelTx { request_id: String::new(), dry_run: true, txid: txid.to_owned(), fee, priced: None })
}

/// Returns the question before a payment is cancelled: a yes orders what is shown, and nothing else.
pub fn cancel_question(priced: &CancelView, request: CancelTx) -> Ask {
    let request = CancelTx { priced: Some(priced.clone()), ..request };
    let lines = vec![
        Line::Strong(words::wallet::cancel_what(&format::btc_unit(priced.amount))),
        Line::Plain(format::ellipsis(&format::clean(&priced.cancelled), 60)),
        Line::Plain(words::wallet::cancel_fee(&format::fee(priced.fee))),
        Line::Warning(words::wallet::CANCEL_NOT_YET.to_owned()),
    ];
    Ask::confirm(words::wallet::CANCEL_TITLE, lines, words::NO_BACK, words::wallet::CANCEL_YES, Call::Cancel(request))
}

/// Whose fee is to be raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BumpTarget {
    /// A transaction of the wallet.
    Tx(String),
    /// What waits for a block of a trade.
    Trade(exchange_api::TradeId),
}
