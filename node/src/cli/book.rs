//! The offers of everybody.

use clap::Args;
use exchange_api::{BookFilter, ExchangeApiClient, Sats};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::offer;
use crate::cli::output::Answer;
use crate::cli::values::{Market, SideArg};
use crate::clock;

/// Show the offers that you can take, the best price first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node book
  exchange-node book --market BTC/EUR --side buy --amount 0.01
  exchange-node book --match sepa --all")]
pub struct Book {
    /// Only this market
    #[arg(long, value_name = "BTC/CURRENCY")]
    market: Option<Market>,
    /// What you want to do
    #[arg(long)]
    side: Option<SideArg>,
    /// Only offers that can be taken for so much BTC
    #[arg(long, value_name = "BTC")]
    amount: Option<Sats>,
    /// Only offers whose methods, terms or maker match this text
    #[arg(long = "match", value_name = "TEXT")]
    matching: Option<String>,
    /// Also offers whose maker has not been heard of lately
    #[arg(long)]
    all: bool,
    /// At most so many [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: Option<u32>,
    /// Go on where a list ended: what it names in its last line, `next` with --json
    #[arg(long)]
    cursor: Option<String>,
}

impl Book {
    /// Shows the book.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let page = context.client().await?.book(self.filter()).await?;
        let mut text =
            offer::table(&page.items, clock::unix_now(), "No offer fits. They appear as soon as they arrive.");
        if let Some(next) = &page.next {
            text.push_str(&format!("More: --cursor {next}\n"));
        }
        Ok(Answer::new(&page, text))
    }

    fn filter(self) -> BookFilter {
        BookFilter {
            // The API speaks of the maker's side, the user of his own.
            side: self.side.map(SideArg::opposite),
            currency: self.market.map(|market| market.0),
            amount: self.amount,
            matching: self.matching,
            away: self.all,
            cursor: self.cursor,
            limit: self.limit,
        }
    }
}
