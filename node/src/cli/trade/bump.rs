//! A higher fee for what of a trade waits for a block.

use clap::Args;
use exchange_api::{BumpTrade, ExchangeApiClient};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::money::MoneyArgs;
use crate::cli::output::Answer;
use crate::cli::prefix::Prefix;
use crate::cli::trade::find;
use crate::cli::wallet::fee::{FeeArgs, bump_answer, question};

/// Raise the fee of what waits for a block of a trade: its funding (seller), its payout or its refund
///
/// Nothing of the trade changes: the transaction stays, and a second one, which spends your part of it, pays for both. Only your
/// own refund after the delay is replaced by a dearer one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node trade bump 1f0c9a3b --dry-run
  exchange-node trade bump 1f0c9a3b --fee-rate 60")]
pub struct Bump {
    /// The trade's id, or the first digits of it
    trade: Prefix,
    #[command(flatten)]
    fee: FeeArgs,
    #[command(flatten)]
    money: MoneyArgs,
}

impl Bump {
    /// Raises the fee, after a yes.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let must_ask = context.must_ask(&self.money)?;
        let client = context.client().await?;
        let trade = find(&self.trade, &client).await?;
        let (request_id, dry_run) = (self.money.request_id(), self.money.dry_run);
        let mut request = BumpTrade { request_id, dry_run, trade, fee: self.fee.choice(), priced: None };
        if must_ask {
            let priced = client.trade_bump(BumpTrade { dry_run: true, ..request.clone() }).await?;
            context.confirm(&question(&priced))?;
            request.priced = Some(priced);
        }
        let id = request.request_id.clone();
        let bumped = client.trade_bump(request).await.map_err(|error| self.money.failed(error, &id))?;
        Ok(bump_answer(&bumped))
    }
}
