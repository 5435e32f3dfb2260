//! The steps of a trade, each asked for before it is taken.

use clap::Args;
use exchange_api::{AcceptBid, Client, ExchangeApiClient, Phase, Role, Sats, TradeCommand, TradeView};
use jsonrpsee::core::ClientError;

use crate::cli::arbiter;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::money::MoneyArgs;
use crate::cli::output::Answer;
use crate::cli::prefix::Prefix;
use crate::cli::secrets::DetailsArgs;
use crate::cli::trade::{find, show};

/// What a step needs to know.
#[derive(Debug, Args)]
pub struct StepArgs {
    /// The trade's id, or the first digits of it
    pub trade: Prefix,
    #[command(flatten)]
    pub money: MoneyArgs,
}

/// Accept a bid for your offer by hand; the terms are fixed by this
#[derive(Debug, Args)]
pub struct Accept {
    /// The trade's id, or the first digits of it
    trade: Prefix,
    #[command(flatten)]
    details: DetailsArgs,
    #[command(flatten)]
    money: MoneyArgs,
}

/// A step that needs no more than the trade's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Pay into the escrow.
    Fund,
    /// Say that the payment is on its way.
    Paid,
    /// Sign the coins over.
    Release,
    /// Call it off, or back to the seller.
    Cancel,
    /// Take the coins back.
    Refund,
    /// Call for the arbiter.
    Dispute,
}

impl Step {
    /// Takes the step, after a yes.
    pub async fn perform(self, args: StepArgs, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let must_ask = context.must_ask(&args.money)?;
        let client = context.client().await?;
        let trade = find(&args.trade, &client).await?;
        let (request_id, dry_run) = (args.money.request_id(), args.money.dry_run);
        let mut request = TradeCommand { request_id, dry_run, trade, seen: None };
        if must_ask {
            // Tried first: nobody is asked about what cannot be done.
            let view = self.call(&client, TradeCommand { dry_run: true, ..request.clone() }).await?;
            context.confirm(&self.question(&view))?;
            request.seen = Some(view.seen());
        }
        let id = request.request_id.clone();
        let done = self.call(&client, request).await.map_err(|error| args.money.failed(error, &id))?;
        Ok(answer(&done, args.money.dry_run))
    }

    async fn call(self, client: &Client, request: TradeCommand) -> Result<TradeView, ClientError> {
        match self {
            Self::Fund => client.trade_fund(request).await,
            Self::Paid => client.trade_paid(request).await,
            Self::Release => client.trade_release(request).await,
            Self::Cancel => client.trade_cancel(request).await,
            Self::Refund => client.trade_refund(request).await,
            Self::Dispute => client.trade_dispute(request).await,
        }
    }

    /// Returns what to ask before the step: what happens, and what to be careful about.
    fn question(self, trade: &TradeView) -> String {
        let amount = format::btc(trade.amount);
        let money = format::money(trade.currency, trade.cost);
        match self {
            Self::Fund => fund_question(trade),
            Self::Paid => {
                let method = format::clean_line(&trade.method);
                format!("The seller is told to look for {money} by {method}. Has your payment left your account?")
            }
            Self::Release => format!(
                "{amount} BTC go to the buyer, and this cannot be undone. Are the {money} in your account, and final?"
            ),
            Self::Cancel if trade.funding.is_none() => {
                "No coins are locked yet: nobody loses anything. Call the trade off?".to_owned()
            }
            Self::Cancel if trade.state == Phase::Funding => {
                "A payment into the escrow was seen that no block holds. If one takes it after all, the escrow is funded, and \
                 both of you can give it back. Call the trade off?"
                    .to_owned()
            }
            Self::Cancel => match trade.role {
                Some(Role::Seller) => {
                    format!("The buyer is asked to agree that {amount} BTC come back to you. Ask for it?")
                }
                Some(Role::Buyer | Role::Arbiter) | None => format!(
                    "{amount} BTC go back to the seller, and this cannot be undone. If you have paid, your {money} are lost. Agree?"
                ),
            },
            Self::Refund => match trade.next_stray() {
                Some(stray) => format!(
                    "{} BTC that were paid into the escrow besides come back to your wallet, less the network fee; \
                     the trade stays as it is. Take them back?",
                    format::btc(stray.amount)
                ),
                None => format!(
                    "{} BTC come back to your wallet, less the network fee, and the trade ends. If the buyer has paid, \
                     this is a breach of it. Take them back?",
                    format::btc(trade.locked())
                ),
            },
            Self::Dispute => format!(
                "{} decides who gets the {amount} BTC; his fee is paid from the loser's bond, if there is one, else from the \
                 coins. This cannot be undone. You can still agree with the other until he has ruled. Call for him?",
                arbiter::named(&trade.arbiter)
            ),
        }
    }
}

/// Says what goes into the escrow, what of it comes back, and how.
fn fund_question(trade: &TradeView) -> String {
    let (locked, bond) = (format::btc(trade.locked()), trade.own_bond());
    let of_it = match trade.role {
        _ if bond == Sats::ZERO => String::new(),
        Some(Role::Seller) => {
            format!(" {} BTC of it are your bond, which comes back to you at the end.", format::btc(bond))
        }
        Some(Role::Buyer | Role::Arbiter) | None => {
            " They are your bond, which comes back to you at the end.".to_owned()
        }
    };
    let how = if trade.buyer_bond > Sats::ZERO {
        " Both of you pay in one transaction: nothing moves before both have signed."
    } else {
        ""
    };
    let beside = match &trade.funding {
        Some(seen) => format!(
            "Transaction {} pays this escrow already and waits for a block; your node did not make it. If you did, from a \
             wallet elsewhere, do not pay again: what is paid twice is locked until the refund height. ",
            seen.txid
        ),
        None => String::new(),
    };
    format!("{beside}{locked} BTC and the network fee go from your wallet into the escrow.{of_it}{how} Fund it?")
}

impl Accept {
    /// Accepts the bid, after a yes.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let must_ask = context.must_ask(&self.money)?;
        let client = context.client().await?;
        let trade = find(&self.trade, &client).await?;
        let details = self.details.read(None, context)?;
        let request = AcceptBid { request_id: self.money.request_id(), dry_run: self.money.dry_run, trade, details };
        if must_ask {
            let view = client.trade_accept(AcceptBid { dry_run: true, ..request.clone() }).await?;
            let bond = show::own_bond(&view).map(|bond| format!(" {bond}")).unwrap_or_default();
            context
                .confirm(&format!("{}{bond} The terms are fixed by this. Accept the bid?", show::sentence(&view)))?;
        }
        let id = request.request_id.clone();
        let done = client.trade_accept(request).await.map_err(|error| self.money.failed(error, &id))?;
        Ok(answer(&done, self.money.dry_run))
    }
}

/// Returns the trade as it is after a step, or as it would be.
pub fn answer(trade: &TradeView, dry_run: bool) -> Answer {
    let note = if dry_run { "This can be done. Nothing was done.\n\n" } else { "" };
    Answer::new(trade, format!("{note}{}", show::show(trade)))
}
