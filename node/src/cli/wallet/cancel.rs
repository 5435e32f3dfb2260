//! Cancelling a payment.

use clap::Args;
use exchange_api::{CancelTx, CancelView, ExchangeApiClient};

use super::fee::FeeArgs;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::money::MoneyArgs;
use crate::cli::output::Answer;

/// Cancel a payment that no block holds
///
/// A transaction takes its place that sends its coins back to you and pays more to the miners. Until a block holds that one, the
/// payment may still be made: do not make it again before. What is part of a trade is called off by `trade cancel`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node wallet cancel 4a5e1e4b… --dry-run
  exchange-node wallet cancel 4a5e1e4b… --fee-rate 40")]
pub struct Cancel {
    /// The payment's transaction id; of one that nobody has seen yet: what `wallet coins --json` names as `by`
    txid: String,
    #[command(flatten)]
    fee: FeeArgs,
    #[command(flatten)]
    money: MoneyArgs,
}

impl Cancel {
    /// Cancels it, after a yes.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let must_ask = context.must_ask(&self.money)?;
        let client = context.client().await?;
        let request_id = self.money.request_id();
        let (dry_run, fee) = (self.money.dry_run, self.fee.choice());
        let mut request = CancelTx { request_id, dry_run, txid: self.txid, fee, priced: None };
        if must_ask {
            let priced = client.wallet_cancel(CancelTx { dry_run: true, ..request.clone() }).await?;
            let (amount, fee) = (format::btc(priced.amount), format::btc(priced.fee));
            context.confirm(&format!(
                "Cancel {}: bring {amount} BTC back to your wallet for a fee of {fee} BTC?",
                priced.cancelled
            ))?;
            request.priced = Some(priced);
        }
        let id = request.request_id.clone();
        let cancelled = client.wallet_cancel(request).await.map_err(|error| self.money.failed(error, &id))?;
        Ok(Answer::new(&cancelled, sentence(&cancelled)))
    }
}

/// Returns what came of it, or would.
fn sentence(cancelled: &CancelView) -> String {
    let (amount, fee) = (format::btc(cancelled.amount), format::btc(cancelled.fee));
    let how = format!("{} brings {amount} BTC back for a fee of {fee} BTC", cancelled.txid);
    if cancelled.broadcast {
        format!(
            "{how}, in place of {}.\nUntil a block holds it, that payment may still be made: do not make it again before.\n",
            cancelled.cancelled
        )
    } else {
        format!("This can be done: {how}, in place of {}. Nothing was sent.\n", cancelled.cancelled)
    }
}
