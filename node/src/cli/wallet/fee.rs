//! What a transaction is to pay, and raising it afterwards.

use clap::Args;
use exchange_api::{BumpTx, BumpView, ExchangeApiClient, FeeChoice, FeeEstimate, RaisedBy};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::money::MoneyArgs;
use crate::cli::output::{Answer, Table};

/// What a transaction is to pay.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct FeeArgs {
    /// The feerate in sat/vB [default: the chain's estimate for three blocks]
    #[arg(long, alias = "feerate", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    fee_rate: Option<u64>,
    /// The chain's estimate for confirmation within so many blocks
    #[arg(long, value_name = "N", conflicts_with = "fee_rate", value_parser = clap::value_parser!(u16).range(1..=1008))]
    target_blocks: Option<u16>,
    /// Pay even a fee beyond 500 sat/vB or a quarter of the amount
    #[arg(long)]
    allow_high_fee: bool,
}

/// Raise the fee of a transaction that waits for a block
///
/// A payment that you alone signed is replaced by one that pays the same to the same, and more to the miners. For any other a
/// second transaction is made, which sends your part of the first one back to you and pays for both.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node wallet bump 4a5e1e4b… --fee-rate 40 --dry-run
  exchange-node wallet bump 4a5e1e4b… --target-blocks 1")]
pub struct Bump {
    /// The transaction's id
    txid: String,
    #[command(flatten)]
    fee: FeeArgs,
    #[command(flatten)]
    money: MoneyArgs,
}

impl FeeArgs {
    /// Returns the choice as the API takes it.
    pub const fn choice(self) -> FeeChoice {
        let Self { fee_rate, target_blocks, allow_high_fee } = self;
        FeeChoice { fee_rate, target_blocks, allow_high_fee }
    }
}

impl Bump {
    /// Raises the fee, after a yes.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let must_ask = context.must_ask(&self.money)?;
        let client = context.client().await?;
        let request_id = self.money.request_id();
        let (dry_run, fee) = (self.money.dry_run, self.fee.choice());
        let mut request = BumpTx { request_id, dry_run, txid: self.txid, fee, priced: None };
        if must_ask {
            let priced = client.wallet_bump(BumpTx { dry_run: true, ..request.clone() }).await?;
            context.confirm(&question(&priced))?;
            request.priced = Some(priced);
        }
        let id = request.request_id.clone();
        let bumped = client.wallet_bump(request).await.map_err(|error| self.money.failed(error, &id))?;
        Ok(bump_answer(&bumped))
    }
}

/// Returns what to ask before a fee is raised.
pub fn question(priced: &BumpView) -> String {
    let fee = format::btc(priced.fee);
    match priced.by {
        RaisedBy::Replacement => format!("Replace {} by one that pays {fee} BTC to the miners?", priced.raised),
        RaisedBy::Child => format!("Pay {fee} BTC more for {}, by a transaction that spends from it?", priced.raised),
    }
}

/// Returns what came of it.
pub fn bump_answer(bumped: &BumpView) -> Answer {
    let fee = format::btc(bumped.fee);
    let how = match bumped.by {
        RaisedBy::Replacement => format!("{} replaces {} and pays {fee} BTC", bumped.txid, bumped.raised),
        RaisedBy::Child => format!("{} spends from {} and pays {fee} BTC for both", bumped.txid, bumped.raised),
    };
    let text =
        if bumped.broadcast { format!("{how}.\n") } else { format!("This can be done: {how}. Nothing was sent.\n") };
    Answer::new(bumped, text)
}

/// Shows what confirmation costs.
pub async fn fees(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let fees = context.client().await?.wallet_fees().await?;
    Ok(Answer::new(&fees, table(&fees)))
}

fn table(fees: &[FeeEstimate]) -> String {
    let mut table = Table::new(&["WITHIN", "SAT/VB"], &[1]);
    for fee in fees {
        let rate = fee.fee_rate.map_or_else(|| "unknown yet".to_owned(), |rate| rate.to_string());
        table.row([format::blocks(fee.target_blocks.into()), rate]);
    }
    table.render("The chain gives no estimates.")
}
