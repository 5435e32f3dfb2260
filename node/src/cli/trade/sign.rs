//! Signing what moves the coins of a trade with a key that is kept elsewhere.

use std::path::PathBuf;

use clap::Args;
use exchange_api::{ExchangeApiClient, SignedElsewhere, ToSign};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::output::{Answer, Lines};
use crate::cli::trade::find;
use crate::cli::trade::step::{StepArgs, answer};
use crate::cli::wallet::psbt;

/// Sign elsewhere what this trade waits for, if your signer has its key
///
/// First take the step, e.g. `trade release`: it says that your signer must sign; of what others signed for you, `trade show` says
/// so. `--psbt-out` writes what it must sign, `--psbt-in`
/// takes what it has signed, checks that it is exactly that, and goes on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node trade sign 1f0c9a3b --psbt-out release.psbt
  exchange-node trade sign 1f0c9a3b --psbt-in signed.psbt")]
pub struct Sign {
    #[command(flatten)]
    step: StepArgs,
    /// Write what is to be signed to this new file
    #[arg(long, value_name = "FILE", conflicts_with = "psbt_in", required_unless_present = "psbt_in")]
    psbt_out: Option<PathBuf>,
    /// Take what was signed from this file
    #[arg(long, value_name = "FILE")]
    psbt_in: Option<PathBuf>,
}

impl Sign {
    /// Writes what is to be signed, or takes it in after a yes.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        if let Some(file) = self.psbt_out {
            let client = context.client().await?;
            let wanted = client.trade_to_sign(find(&self.step.trade, &client).await?).await?;
            psbt::write(&file, &wanted.psbt)?;
            return Ok(Answer::new(&wanted, format!("{}Written to {}.\n", show(&wanted), file.display())));
        }
        let Some(file) = self.psbt_in else { return Err(Failure::usage("no file is named", "add --psbt-in FILE")) };
        let money = self.step.money;
        let question = "This moves the coins of the trade, and cannot be undone. Go on?";
        let question = context.must_ask(&money)?.then_some(question);
        let client = context.client().await?;
        let trade = find(&self.step.trade, &client).await?;
        let psbt = psbt::reviewed(&file, question, &client, context).await?;
        let request = SignedElsewhere { request_id: money.request_id(), dry_run: money.dry_run, trade, psbt };
        let id = request.request_id.clone();
        let done = client.trade_signed(request).await.map_err(|error| money.failed(error, &id))?;
        Ok(answer(&done, money.dry_run))
    }
}

fn show(wanted: &ToSign) -> String {
    let mut lines = Lines::default();
    lines.line("transaction", wanted.txid.clone()).line("fee", format!("{} BTC", format::btc(wanted.fee)));
    for (to, amount) in &wanted.pays {
        lines.line("pays", format!("{} BTC to {to}", format::btc(*amount)));
    }
    lines.render()
}
