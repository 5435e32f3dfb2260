//! Paying into the escrow: from the node's wallet, or from one elsewhere.

use std::path::PathBuf;

use clap::Args;
use exchange_api::{ExchangeApiClient, FundSigned, FundingDraft};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{Answer, Lines};
use crate::cli::trade::find;
use crate::cli::trade::step::{Step, StepArgs, answer};
use crate::cli::wallet::psbt;

/// Pay into the escrow: the seller the coins and his bond, the buyer his bond, if the offer asks for one
///
/// With a buyer's bond both pay in one transaction, which their nodes make together: each says `trade fund`, in any order, and
/// nothing moves before both have signed. Otherwise the seller pays alone, from his wallet or from one elsewhere.
///
/// From elsewhere: `--psbt-out` writes what is to be paid (BIP-174), and shows address and amount for wallets that take no such
/// file. Let that wallet add its coins and change, and sign, but not send. `--psbt-in` checks what it made, keeps it and sends it:
/// it must spend confirmed coins and pay the escrow exactly once. Change goes where that wallet says.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node trade fund 1f0c9a3b --dry-run
  exchange-node trade fund 1f0c9a3b --psbt-out escrow.psbt
  exchange-node trade fund 1f0c9a3b --psbt-in signed.psbt")]
pub struct Fund {
    #[command(flatten)]
    step: StepArgs,
    /// Write what is to be paid to this new file, for a wallet elsewhere; nothing is paid
    #[arg(long, value_name = "FILE", conflicts_with = "psbt_in")]
    psbt_out: Option<PathBuf>,
    /// Pay by the transaction in this file, signed elsewhere
    #[arg(long, value_name = "FILE")]
    psbt_in: Option<PathBuf>,
}

impl Fund {
    /// Funds the escrow, after a yes.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        match (self.psbt_out, self.psbt_in) {
            (None, None) => Step::Fund.perform(self.step, context).await,
            (Some(file), _) => {
                let client = context.client().await?;
                let draft = client.trade_fund_draft(find(&self.step.trade, &client).await?).await?;
                psbt::write(&file, &draft.psbt)?;
                Ok(Answer::new(&draft, format!("{}Written to {}. Nothing was paid.\n", show(&draft), file.display())))
            }
            (None, Some(file)) => {
                let money = self.step.money;
                let question = context.must_ask(&money)?.then_some("Pay the escrow by this?");
                let client = context.client().await?;
                let trade = find(&self.step.trade, &client).await?;
                let psbt = psbt::reviewed(&file, question, &client, context).await?;
                let request = FundSigned { request_id: money.request_id(), dry_run: money.dry_run, trade, psbt };
                let id = request.request_id.clone();
                let done = client.trade_fund_signed(request).await.map_err(|error| money.failed(error, &id))?;
                Ok(answer(&done, money.dry_run))
            }
        }
    }
}

fn show(draft: &FundingDraft) -> String {
    let mut lines = Lines::default();
    lines.line("pay", format!("exactly {} BTC", draft.amount)).line("to", draft.address.clone());
    lines.line("as a link", draft.uri.clone());
    lines.render()
}
