//! The wallet: deposit, balance, history, coins, sending, and taking back what was sent.

mod cancel;
mod coins;
pub mod fee;
pub mod psbt;
mod words;

use clap::{Args, Subcommand};
use exchange_api::{Balance, ExchangeApiClient, Page, Sats, SendRequest, Sent, WalletTx};
use fee::FeeArgs;

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
        /// Go on where a list ended: what it names in its last line, `next` with --json
        #[arg(long)]
        cursor: Option<String>,
    },
    Coins(coins::Coins),
    /// Keep coins from being spent until you say so
    Freeze(coins::Named),
    /// Let frozen coins be spent again
    Unfreeze(coins::Named),
    Label(coins::SetLabelArgs),
    #[command(subcommand)]
    Labels(coins::Labels),
    /// Show what confirmation costs at present
    Fees,
    Send(Send),
    Bump(fee::Bump),
    Cancel(cancel::Cancel),
    #[command(subcommand)]
    Psbt(psbt::Psbt),
    Words(words::Words),
    Sweep(words::Sweep),
}

/// Send coins
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node wallet send bc1q… 0.01 --target-blocks 6
  exchange-node wallet send bc1q… all --fee-rate 5 --dry-run
  exchange-node wallet send bc1q… 0.01 --coin 4a5e1e4b…:0 --label \"rent of May\"")]
pub struct Send {
    #[command(flatten)]
    order: SendArgs,
    #[command(flatten)]
    money: MoneyArgs,
}

/// What is to be sent where.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Where to
    address: String,
    /// How much in BTC, e.g. 0.01, or `all`: of the coins that are named, or of the whole wallet
    amount: SendAmount,
    /// Spend this coin, and no others than those named so; as `wallet coins` shows it
    #[arg(long = "coin", value_name = "COIN")]
    coins: Vec<String>,
    /// What stands in your history
    #[arg(long, value_name = "TEXT", default_value_t)]
    label: String,
    #[command(flatten)]
    fee: FeeArgs,
}

impl SendArgs {
    /// Returns the request.
    pub fn request(self, request_id: String, dry_run: bool) -> SendRequest {
        SendRequest {
            request_id,
            dry_run,
            address: self.address,
            amount: match self.amount {
                SendAmount::All => None,
                SendAmount::Exactly(amount) => Some(amount),
            },
            fee: self.fee.choice(),
            coins: self.coins,
            label: self.label,
            priced: None,
        }
    }
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
            Self::Coins(coins) => coins.perform(context).await,
            Self::Freeze(named) => named.perform(true, context).await,
            Self::Unfreeze(named) => named.perform(false, context).await,
            Self::Label(label) => label.perform(context).await,
            Self::Labels(labels) => labels.perform(context).await,
            Self::Fees => fee::fees(context).await,
            Self::Send(send) => send.perform(context).await,
            Self::Bump(bump) => bump.perform(context).await,
            Self::Cancel(cancel) => cancel.perform(context).await,
            Self::Psbt(psbt) => psbt.perform(context).await,
            Self::Words(words) => words.perform(context).await,
            Self::Sweep(sweep) => sweep.perform(context).await,
        }
    }
}

async fn balance(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let balance = context.client().await?.wallet_balance().await?;
    Ok(Answer::new(&balance, parts(&balance)))
}

/// Returns the parts of a balance line by line: those that are mostly nothing only while there is something of them.
fn parts(balance: &Balance) -> String {
    let mut lines = Lines::default();
    for (name, amount) in
        [("spendable", balance.spendable), ("pending", balance.pending), ("in escrow", balance.in_escrow)]
    {
        lines.line(name, format!("{amount} BTC"));
    }
    for (name, amount) in [("set aside", balance.reserved), ("frozen", balance.frozen)] {
        lines.maybe(name, (amount > Sats::ZERO).then(|| format!("{amount} BTC")));
    }
    lines.render()
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
            purpose(tx),
        ]);
    }
    let mut text = table.render("No transactions yet. `exchange-node wallet address` shows where to deposit.");
    if let Some(next) = &page.next {
        text.push_str(&format!("More: --cursor {next}\n"));
    }
    text
}

/// Returns what a transaction was for: what the user says, and what the node says.
fn purpose(tx: &WalletTx) -> String {
    let parts = [tx.note.as_str(), tx.label.as_str()].map(str::trim);
    format::clean_line(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; "))
}

impl Send {
    async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let must_ask = context.must_ask(&self.money)?;
        let client = context.client().await?;
        let mut request = self.order.request(self.money.request_id(), self.money.dry_run);
        if must_ask {
            let priced = client.wallet_send(SendRequest { dry_run: true, ..request.clone() }).await?;
            let (amount, fee) = (format::btc(priced.amount), fee_of(&priced));
            context.confirm(&format!("Send {amount} BTC to {} for a fee of {fee}?", request.address))?;
            // What was confirmed is what is sent, or nothing is: even if more coins arrive meanwhile, or fees rise.
            request.priced = Some(priced);
        }
        let id = request.request_id.clone();
        let address = request.address.clone();
        let sent = client.wallet_send(request).await.map_err(|error| self.money.failed(error, &id))?;
        Ok(Answer::new(&sent, sentence(&sent, &address)))
    }
}

/// Returns what was, or would be, sent.
fn sentence(sent: &Sent, address: &str) -> String {
    let (amount, fee) = (format::btc(sent.amount), fee_of(sent));
    if sent.broadcast {
        format!("Sent {amount} BTC to {address} for a fee of {fee}: {}\n", sent.txid)
    } else {
        format!("This would send {amount} BTC to {address} for a fee of {fee}. Nothing was sent.\n")
    }
}

/// Returns a fee with its feerate, rounded up to a tenth: `0.00000155 BTC (1.1 sat/vB)`.
fn fee_of(sent: &Sent) -> String {
    let fee = format::btc(sent.fee);
    match sent.vsize {
        0 => format!("{fee} BTC"),
        vsize => {
            let tenths = sent.fee.get().saturating_mul(10).div_ceil(vsize);
            format!("{fee} BTC ({}.{} sat/vB)", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use exchange_api::Sats;

    use super::*;

    #[test]
    fn a_balance_leaves_no_coin_out() {
        let sats = |amount| Sats::new(amount).unwrap();
        let plain = Balance {
            spendable: sats(50_000_000),
            pending: Sats::ZERO,
            in_escrow: Sats::ZERO,
            frozen: Sats::ZERO,
            reserved: Sats::ZERO,
        };
        assert_eq!(parts(&plain).lines().count(), 3);
        let all = parts(&Balance { frozen: sats(1_000_000), reserved: sats(2_000_000), ..plain });
        assert!(all.contains("set aside  0.02000000 BTC\n") && all.contains("frozen     0.01000000 BTC\n"), "{all}");
    }

    #[test]
    fn a_history_reads_like_an_account() {
        let tx = |byte: &str, net_sat, fee, height, label: &str| WalletTx {
            txid: byte.repeat(32),
            net_sat,
            fee,
            height,
            time: 10_000,
            label: label.to_owned(),
            note: String::new(),
            trade: None,
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
