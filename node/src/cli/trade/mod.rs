//! Trades: taking an offer and every step to the end.

mod bump;
mod disclose;
mod fund;
pub mod show;
mod sign;
mod step;
mod take;
mod wait;

use clap::Subcommand;
use exchange_api::{Client, ExchangeApiClient, Phase, TradeId};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::Answer;
use crate::cli::prefix::Prefix;
use crate::cli::trade::disclose::Disclose;
use crate::cli::trade::step::{Accept, Step, StepArgs};
use crate::cli::trade::take::Take;
use crate::cli::values::PHASES;

/// Take an offer and see the trade through
///
/// The states: bid (the maker has not answered), agreed (the seller funds the escrow), funding (it confirms), funded (the
/// buyer pays), paid (the seller looks for the money), released (the coins go to the buyer), closed. When the two disagree:
/// disputed (the arbiter decides), ruled (he has), settled. A trade may also end as void (another bid won), cancelled (before any
/// coins moved), refunded, by way of refunding, or lost (its coins were spent in a way that the contract does not know).
#[derive(Debug, Subcommand)]
pub enum Trade {
    Take(Take),
    Accept(Accept),
    /// Show your trades, those that need you first
    List,
    /// Show one trade: who acts next, until when, what happens otherwise
    #[command(after_help = "Example:\n  exchange-node trade show 1f0c9a3b --wait funded --timeout 3600")]
    Show {
        /// Its id, or the first digits of it
        trade: Prefix,
        /// Wait until it has come to this state or past it, by the whole chain; fail when it cannot come there any more
        #[arg(long, value_name = "STATE", value_parser = parse_phase())]
        wait: Option<Phase>,
        /// How many seconds to wait at most
        #[arg(long, value_name = "S", default_value_t = 600, requires = "wait")]
        timeout: u64,
    },
    Fund(fund::Fund),
    /// Say that your payment is on its way (buyer)
    Paid(StepArgs),
    /// Give the coins to the buyer, once the money is in your account (seller)
    Release(StepArgs),
    /// Call the trade off; once it is funded: ask for a refund (seller) or agree to one (buyer)
    Cancel(StepArgs),
    /// Take the coins back after the refund delay (seller); once nothing else is yours, what was paid into the escrow besides
    Refund(StepArgs),
    Disclose(Disclose),
    /// Call for the arbiter: the other does not do what was agreed on
    Dispute(StepArgs),
    Bump(bump::Bump),
    Sign(sign::Sign),
}

impl Trade {
    /// Performs the verb.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        match self {
            Self::Take(take) => take.perform(context).await,
            Self::Accept(accept) => accept.perform(context).await,
            Self::List => {
                let trades = context.client().await?.trade_list().await?;
                Ok(Answer::new(&trades, show::table(&trades)))
            }
            Self::Show { trade, wait: None, timeout: _ } => {
                let client = context.client().await?;
                let trade = client.trade_show(find(&trade, &client).await?).await?;
                Ok(Answer::new(&trade, show::show(&trade)))
            }
            Self::Show { trade, wait: Some(phase), timeout } => {
                let client = context.client().await?;
                let trade = wait::until(&client, find(&trade, &client).await?, phase, timeout).await?;
                Ok(Answer::new(&trade, show::show(&trade)))
            }
            Self::Fund(fund) => fund.perform(context).await,
            Self::Paid(args) => Step::Paid.perform(args, context).await,
            Self::Release(args) => Step::Release.perform(args, context).await,
            Self::Cancel(args) => Step::Cancel.perform(args, context).await,
            Self::Refund(args) => Step::Refund.perform(args, context).await,
            Self::Disclose(disclose) => disclose.perform(context).await,
            Self::Dispute(args) => Step::Dispute.perform(args, context).await,
            Self::Bump(bump) => bump.perform(context).await,
            Self::Sign(sign) => sign.perform(context).await,
        }
    }
}

/// Finds one's own trade by the beginning of its id.
pub async fn find(prefix: &Prefix, client: &Client) -> Result<TradeId, Failure> {
    match prefix.whole() {
        Some(id) => Ok(id),
        None => prefix.pick("trade", client.trade_list().await?.iter().map(|trade| trade.id)),
    }
}

fn parse_phase() -> impl clap::builder::TypedValueParser<Value = Phase> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    PossibleValuesParser::new(PHASES.map(|(name, _)| name)).map(|chosen| {
        let listed = PHASES.iter().find(|(name, _)| *name == chosen);
        listed.expect("clap lets only listed names through").1
    })
}
