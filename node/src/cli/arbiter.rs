//! Arbiters: advertising oneself, and who did.

use clap::{Args, Subcommand};
use exchange_api::{Advertise, ArbiterView, Currency, ExchangeApiClient, Sats};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::output::{Answer, Table};
use crate::cli::values::Percent;

/// Offer to rule when two traders disagree, or show who does
#[derive(Debug, Subcommand)]
pub enum Arbiter {
    Advertise(AdvertiseArgs),
    /// Show the known arbiters
    List,
}

/// Advertise this node's identity as an arbiter
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  exchange-node arbiter advertise --name \"Ada\" --fee-percent 0.5 --max 1.0 \\
      --language en --language de --currency EUR")]
pub struct AdvertiseArgs {
    /// The name to show
    #[arg(long)]
    name: String,
    /// What a ruling costs, in percent of the trade
    #[arg(long, value_name = "PERCENT")]
    fee_percent: Percent,
    /// The largest trade in BTC
    #[arg(long, value_name = "BTC")]
    max: Sats,
    /// A language that you read and write; may be repeated
    #[arg(long = "language", value_name = "CODE")]
    languages: Vec<String>,
    /// A currency whose payments you can judge; may be repeated [default: any]
    #[arg(long = "currency", value_name = "CODE")]
    currencies: Vec<Currency>,
    /// Anything else that the parties should know
    #[arg(long, default_value = "", hide_default_value = true)]
    terms: String,
}

impl Arbiter {
    /// Performs the verb.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let client = context.client().await?;
        match self {
            Self::Advertise(args) => {
                let advert = client.arbiter_advertise(args.into()).await?;
                let text = format!("You are now known as an arbiter by the advert {}.\n", advert.advert);
                Ok(Answer::new(&advert, text))
            }
            Self::List => {
                let arbiters = client.arbiter_list().await?;
                Ok(Answer::new(&arbiters, table(&arbiters)))
            }
        }
    }
}

impl From<AdvertiseArgs> for Advertise {
    fn from(args: AdvertiseArgs) -> Self {
        Self {
            name: args.name,
            fee_ppm: args.fee_percent.0,
            max_amount: args.max,
            languages: args.languages,
            currencies: args.currencies,
            terms: args.terms,
        }
    }
}

fn table(arbiters: &[ArbiterView]) -> String {
    let mut table = Table::new(&["ADVERT", "NAME", "FEE", "UP TO BTC", "LANGUAGES", "CURRENCIES"], &[2, 3]);
    for arbiter in arbiters {
        let currencies: Vec<&str> = arbiter.currencies.iter().map(Currency::code).collect();
        table.row([
            arbiter.advert.short(),
            format::clean_line(&arbiter.name),
            format::per_million(arbiter.fee_ppm),
            format::btc(arbiter.max_amount),
            format::clean_line(&arbiter.languages.join(", ")),
            if currencies.is_empty() { "any".to_owned() } else { currencies.join(", ") },
        ]);
    }
    table.render("No arbiter is known yet. Their adverts arrive from peers.")
}
