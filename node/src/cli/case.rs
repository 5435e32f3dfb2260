//! What an arbiter does: looks at the disputes that are his, divides the coins, or gives a dispute more time.

use clap::{Args, ValueEnum};
use exchange_api::{
    DisputeView, ExchangeApiClient, Role, RuleTrade, RulingView, Sats, Seat, TradeCommand, TradeView, Verdict,
};

use crate::cli::chat;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::money::MoneyArgs;
use crate::cli::output::{Answer, Table, say};
use crate::cli::prefix::Prefix;
use crate::cli::trade::{find, show};
use crate::cli::values::phase_name;
use crate::clock;

/// Show the disputes in which you are an arbiter, or one of them with all that the parties told and showed you
#[derive(Debug, Args)]
pub struct Cases {
    /// The trade's id, or the first digits of it
    trade: Option<Prefix>,
}

/// Divide the coins of a dispute
///
/// The winner's node completes it when the arbitration delay is over. What the amounts come to, your fee and the costs
/// included, is shown before you are asked. The first ruling counts, and it cannot be taken back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node arbiter rule 1f0c9a3b --to buyer --dry-run
  exchange-node arbiter rule 1f0c9a3b --to split --buyer-gets 0.004")]
pub struct Rule {
    /// The trade's id, or the first digits of it
    trade: Prefix,
    /// Whom you believe
    #[arg(long, value_name = "WHO")]
    to: To,
    /// Of a split: how much of the amount the buyer gets, in BTC; the seller gets the rest
    #[arg(long, value_name = "BTC", required_if_eq("to", "split"))]
    buyer_gets: Option<Sats>,
    #[command(flatten)]
    money: MoneyArgs,
}

/// Give a dispute more time: the coins go into the same escrow again, so that all delays begin anew
#[derive(Debug, Args)]
pub struct Extend {
    /// The trade's id, or the first digits of it
    trade: Prefix,
    #[command(flatten)]
    money: MoneyArgs,
}

/// Whom an arbiter believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// The buyer gets the amount
    Buyer,
    /// The seller gets the amount back
    Seller,
    /// Each gets a part of it
    Split,
}

impl Cases {
    /// Performs the verb.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let client = context.client().await?;
        match self.trade {
            Some(trade) => {
                let id = find(&trade, &client).await?;
                let (trade, said) = (client.trade_show(id).await?, client.chat_show(id).await?);
                if let Some(last) = said.messages.last().filter(|_| said.unread > 0) {
                    client.chat_read(id, last.number).await?;
                }
                let text = format!("{}\n{}", show::show(&trade), chat::show(&said, clock::unix_now()));
                Ok(Answer::new(&serde_json::json!({ "trade": trade, "conversation": said }), text))
            }
            None => {
                let mut trades = client.trade_list().await?;
                trades.retain(|trade| trade.role == Some(Role::Arbiter));
                Ok(Answer::new(&trades, table(&trades)))
            }
        }
    }
}

fn table(cases: &[TradeView]) -> String {
    let titles = ["TRADE", "STATE", "AMOUNT BTC", "MONEY", "METHOD", "CALLED BY", "IN FORCE FROM", "RULE BY", "NEW"];
    let mut table = Table::new(&titles, &[2, 3, 6, 7, 8]);
    for case in cases {
        let dispute = case.dispute.as_ref();
        table.row([
            case.id.short(),
            phase_name(case.state).to_owned(),
            format::btc(case.amount),
            format::money(case.currency, case.cost),
            format::clean_line(&case.method),
            dispute.map(opened_by).unwrap_or_default(),
            dispute.map(|dispute| height(in_force_from(dispute))).unwrap_or_default(),
            case.refund_from.map(height).unwrap_or_default(),
            if case.unread > 0 { case.unread.to_string() } else { String::new() },
        ]);
    }
    table.render("Nobody has called for you. Disputes of trades that name you appear here by themselves.")
}

/// Returns who called for the arbiter.
pub fn opened_by(dispute: &DisputeView) -> String {
    match dispute.opened_by.as_slice() {
        [] => "the deadline".to_owned(),
        [one] => format!("the {one}"),
        [..] => "both".to_owned(),
    }
}

/// Returns the height from which a ruling of this node's user, or else of the first arbiter, can be completed.
pub fn in_force_from(dispute: &DisputeView) -> u32 {
    match (dispute.seat, dispute.second_ruling_from) {
        (Some(Seat::Second), Some(from)) => from,
        (Some(Seat::First | Seat::Second) | None, _) => dispute.ruling_from,
    }
}

fn height(height: u32) -> String {
    format!("block {height}")
}

impl Rule {
    /// Returns the rule for a trade.
    pub(super) const fn new(trade: Prefix, to: To, buyer_gets: Option<Sats>, money: MoneyArgs) -> Self {
        Self { trade, to, buyer_gets, money }
    }

    /// Rules, after a yes.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let must_ask = context.must_ask(&self.money)?;
        let verdict = self.verdict()?;
        let client = context.client().await?;
        let trade = find(&self.trade, &client).await?;
        let request = RuleTrade { request_id: self.money.request_id(), dry_run: true, trade, verdict };
        let (dry_run, id) = (self.money.dry_run, request.request_id.clone());
        let would = client.trade_rule(request.clone()).await?;
        let ruled = would.dispute.as_ref().and_then(|dispute| dispute.ruling.as_ref()).map(ruling).unwrap_or_default();
        if dry_run {
            return Ok(Answer::new(&would, format!("{ruled}Nothing was done.\n")));
        }
        if must_ask {
            say(context.console, &ruled);
            context.confirm("This cannot be taken back. Rule so?")?;
        }
        let request = RuleTrade { dry_run: false, ..request };
        let done = client.trade_rule(request).await.map_err(|error| self.money.failed(error, &id))?;
        let is_ruled = done.dispute.as_ref().is_some_and(|dispute| dispute.ruling.is_some());
        let text = if is_ruled {
            format!("You have ruled.\n{ruled}")
        } else {
            "You have decided. It is ruled as soon as enough members of your group have decided alike; the amounts are those \
             of the first who asked.\n"
                .to_owned()
        };
        Ok(Answer::new(&done, text))
    }

    fn verdict(&self) -> Result<Verdict, Failure> {
        match (self.to, self.buyer_gets) {
            (To::Buyer, None) => Ok(Verdict::Buyer),
            (To::Seller, None) => Ok(Verdict::Seller),
            (To::Split, Some(amount)) => Ok(Verdict::Split(amount)),
            (To::Buyer | To::Seller, Some(_)) | (To::Split, None) => {
                Err(Failure::usage("--buyer-gets goes with --to split, and only with it", "see --help"))
            }
        }
    }
}

/// Returns what a ruling comes to.
pub fn ruling(ruling: &RulingView) -> String {
    let arbiter = match ruling.seat {
        Seat::First => "the arbiter",
        Seat::Second => "the second arbiter",
    };
    format!(
        "The buyer gets {} BTC, the seller {} BTC, {arbiter} {} BTC; the rest is the miners'.\n",
        format::btc(ruling.to_buyer),
        format::btc(ruling.to_seller),
        format::btc(ruling.fee),
    )
}

impl Extend {
    /// Returns the extension of a trade.
    pub(super) const fn new(trade: Prefix, money: MoneyArgs) -> Self {
        Self { trade, money }
    }

    /// Extends, after a yes.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let must_ask = context.must_ask(&self.money)?;
        let client = context.client().await?;
        let trade = find(&self.trade, &client).await?;
        let (request_id, dry_run) = (self.money.request_id(), self.money.dry_run);
        let mut request = TradeCommand { request_id: request_id.clone(), dry_run, trade, seen: None };
        if must_ask {
            let view = client.trade_extend(TradeCommand { dry_run: true, ..request.clone() }).await?;
            context.confirm(
                "The coins move into the same escrow again, at the cost of a network fee, and all delays begin anew. Extend?",
            )?;
            request.seen = Some(view.seen());
        }
        let done = client.trade_extend(request).await.map_err(|error| self.money.failed(error, &request_id))?;
        let note = if dry_run { "This can be done. Nothing was done.\n\n" } else { "" };
        Ok(Answer::new(&done, format!("{note}{}", show::show(&done))))
    }
}
