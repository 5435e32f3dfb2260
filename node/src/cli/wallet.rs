//! The wallet: deposit, balance, history, sending.

use clap::{Args, Subcommand};
use exchange_api::{ExchangeApiClient, Page, SendRequest, Sent, WalletTx};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::money::MoneyArgs;
use crate::cli::output::{Answer, Lines, Table};
use crate::cli::values::SendAmount;
use crate::clock;

/// Deposit, look at and send your coins
#[derive(Debug, Subcommand)]
pub enum Wallet {
    /// Show an unused deposit address
    Address,
    /// Show what the wallet holds
    Balance,
    /// Show the wallet's transactions, newest first
    History {
        /// At most so many
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: Option<u32>,
        /// Go on after a page: its `next`
        #[arg(long)]
        cursor: Option<String>,
    },
    Send(Send),
}

/// Send coins
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node wallet send bc1q… 0.01
  exchange-node wallet send bc1q… all --fee-rate 5 --dry-run")]
pub struct Send {
    /// Where to
    address: String,
    /// How much in BTC, e.g. 0.01, or `all`
    amount: SendAmount,
    /// The feerate in sat/vB [default: the node's estimate]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    fee_rate: Option<u64>,
    #[command(flatten)]
    money: MoneyArgs,
}

impl Wallet {
    /// Performs the verb.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        match self {
            Self::Address => {
                let address = context.client().await?.wallet_address().await?;
                Ok(Answer::new(&address, format!("{}\n", address.address)))
            }
            Self::Balance => balance(context).await,
            Self::History { limit, cursor } => {
                let page = context.client().await?.wallet_history(cursor, limit).await?;
                Ok(Answer::new(&page, history(&page, clock::unix_now())))
            }
            Self::Send(send) => send.perform(context).await,
        }
    }
}

async fn balance(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let balance = context.client().await?.wallet_balance().await?;
    let mut lines = Lines::default();
    for (name, amount) in
        [("spendable", balance.spendable), ("pending", balance.pending), ("in escrow", balance.in_escrow)]
    {
        lines.line(name, format!("{amount} BTC"));
    }
    Ok(Answer::new(&balance, lines.render()))
}

fn history(page: &Page<WalletTx>, now: u64) -> String {
    let mut table = Table::new(&["TRANSACTION", "BTC", "FEE", "BLOCK", "WHEN", "FOR"], &[1, 2, 3]);
    for tx in &page.items {
        table.row([
            tx.txid.clone(),
            format::signed_btc(tx.net_sat),
            tx.fee.map(format::btc).unwrap_or_default(),
            tx.height.map_or_else(|| "pending".to_owned(), |height| height.to_string()),
            format::when(now, tx.time),
            format::clean_line(&tx.label),
        ]);
    }
    let mut text = table.render("No transactions yet. `exchange-node wallet address` shows where to deposit.");
    if let Some(next) = &page.next {
        text.push_str(&format!("More: --cursor {next}\n"));
    }
    text
}

impl Send {
    async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let must_ask = context.must_ask(&self.money)?;
        let client = context.client().await?;
        let mut request = SendRequest {
            request_id: self.money.request_id(),
            dry_run: self.money.dry_run,
            address: self.address,
            amount: match self.amount {
                SendAmount::All => None,
                SendAmount::Exactly(amount) => Some(amount),
            },
            fee_rate: self.fee_rate,
        };
        if must_ask {
            let priced = client.wallet_send(SendRequest { dry_run: true, ..request.clone() }).await?;
            // What was confirmed is what is sent, even if more coins arrive meanwhile or the address is typed in twice.
            let (amount, fee) = (format::btc(priced.amount), format::btc(priced.fee));
            context.confirm(&format!("Send {amount} BTC to {} for a fee of {fee} BTC?", request.address))?;
            request.dry_run = false;
        }
        let id = request.request_id.clone();
        let address = request.address.clone();
        let sent = client.wallet_send(request).await.map_err(|error| self.money.failed(error, &id))?;
        Ok(Answer::new(&sent, sentence(&sent, &address)))
    }
}

fn sentence(sent: &Sent, address: &str) -> String {
    let (amount, fee) = (format::btc(sent.amount), format::btc(sent.fee));
    if sent.broadcast {
        format!("Sent {amount} BTC to {address} for a fee of {fee} BTC: {}\n", sent.txid)
    } else {
        format!("This would send {amount} BTC to {address} for a fee of {fee} BTC. Nothing was sent.\n")
    }
}

#[cfg(test)]
mod tests {
    use exchange_api::Sats;

    use super::*;

    #[test]
    fn a_history_reads_like_an_account() {
        let tx = |byte: &str, net_sat, fee, height, label: &str| WalletTx {
            txid: byte.repeat(32),
            net_sat,
            fee,
            height,
            time: 10_000,
            label: label.to_owned(),
        };
        let page = Page {
            items: vec![
                tx("ab", -1_000_141, Sats::new(141), None, "escrow of trade 1f0c9a3b"),
                tx("cd", 50_000_000, None, Some(101), ""),
            ],
            next: Some("cd".to_owned()),
        };
        insta::assert_snapshot!(history(&page, 13_600));
    }
}
