//! Showing the arbiter what was said.

use clap::Args;
use exchange_api::{Disclose as Request, Disclosure, ExchangeApiClient, Person};

use crate::cli::chat;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::money::MoneyArgs;
use crate::cli::output::{Answer, say};
use crate::cli::prefix::Prefix;
use crate::cli::trade::find;
use crate::clock;

/// Show the arbiter what you and the other party said to each other
///
/// He gets each message with its sender's signature, sealed to him, and sees whether any is missing. Nobody else gets it. Done
/// again, it shows him what was said since.
#[derive(Debug, Args)]
pub struct Disclose {
    /// The trade's id, or the first digits of it
    trade: Prefix,
    /// To the second arbiter instead of the first
    #[arg(long)]
    second: bool,
    /// Only show what he would get
    #[arg(long)]
    dry_run: bool,
}

impl Disclose {
    /// Performs the verb, after a yes.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let must_ask = context.must_ask(&MoneyArgs { dry_run: self.dry_run, request_id: None })?;
        let client = context.client().await?;
        let trade = find(&self.trade, &client).await?;
        let request = Request { dry_run: true, trade, second: self.second };
        if must_ask {
            let would = client.trade_disclose(request.clone()).await?;
            say(context.console, messages(&would));
            context.confirm(&format!("Show {} to {}?", count(&would), whom(&would)))?;
        }
        let done = client.trade_disclose(Request { dry_run: self.dry_run, ..request }).await?;
        let text = if self.dry_run {
            format!("{}{} would be shown to {}. Nothing was done.\n", messages(&done), count(&done), whom(&done))
        } else {
            format!("{} shown to {}.\n", count(&done), whom(&done))
        };
        Ok(Answer::new(&done, text))
    }
}

fn messages(disclosure: &Disclosure) -> String {
    // Both are parties: each line says who spoke.
    chat::lines(&disclosure.messages, Person::Arbiter, clock::unix_now())
}

fn count(disclosure: &Disclosure) -> String {
    format::counted(disclosure.messages.len() as u64, "message") // usize is at most 64 bits
}

fn whom(disclosure: &Disclosure) -> String {
    format!("{} ({})", chat::name(disclosure.to), format::clean_line(&disclosure.name))
}
