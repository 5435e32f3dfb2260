//! Checking the history.

use clap::Args;
use exchange_api::{AuditReport, AuditRequest, AuditedTrade, AuthorId, Client, ExchangeApiClient, TradeId, Violation};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::output::{Answer, Table};
use crate::cli::prefix::Prefix;
use crate::cli::values::phase_name;

/// Check every record, signature, log and transition that this node holds
///
/// Exits with 1 when something is wrong.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node audit --chain
  exchange-node audit --trade 1f0c9a3b --chain --json")]
pub struct Audit {
    /// Only the log of this author
    #[arg(long, value_name = "ID")]
    author: Option<AuthorId>,
    /// Only this trade
    #[arg(long, value_name = "ID")]
    trade: Option<Prefix>,
    /// Also compare the escrows with the chain
    #[arg(long)]
    chain: bool,
}

impl Audit {
    /// Audits.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let client = context.client().await?;
        let trade = match &self.trade {
            Some(prefix) => Some(find(prefix, &client).await?),
            None => None,
        };
        let request = AuditRequest { chain: self.chain, author: self.author, trade };
        let report = client.audit(request).await?;
        let answer = Answer::new(&report, text(&report));
        if report.ok {
            return Ok(answer);
        }
        let count = report.violations.len() as u64; // usize fits
        Ok(answer.failing(Failure::violated(format!("the history has {}", format::counted(count, "violation")))))
    }
}

/// Finds a trade of anybody: the audit knows them all.
async fn find(prefix: &Prefix, client: &Client) -> Result<TradeId, Failure> {
    if let Some(id) = prefix.whole() {
        return Ok(id);
    }
    let known = client.audit(AuditRequest::default()).await?;
    prefix.pick("trade", known.trades.iter().map(|trade| trade.trade))
}

fn text(report: &AuditReport) -> String {
    let verdict = if report.ok { "All is well" } else { "Something is wrong" };
    let mut text = format!("{verdict}: {} records by {} authors were checked.\n", report.records, report.authors);
    if !report.trades.is_empty() {
        text.push('\n');
        text.push_str(&trades(&report.trades));
    }
    for (title, violations) in
        [("Wrong", &report.violations), ("Proofs of misconduct, which harm nobody else", &report.evidence)]
    {
        if !violations.is_empty() {
            text.push_str(&format!("\n{title}:\n"));
            text.extend(violations.iter().map(|violation| format!("  {}\n", line(violation))));
        }
    }
    text
}

fn trades(trades: &[AuditedTrade]) -> String {
    let mut table = Table::new(&["TRADE", "STATE", "BTC", "FUNDED BY", "SPENT BY", "PAID OUT"], &[2, 5]);
    for trade in trades {
        let amount = |amount: Option<exchange_api::Sats>| amount.map_or_else(|| "-".to_owned(), format::btc);
        let txid =
            |tx: &Option<exchange_api::ChainTx>| tx.as_ref().map_or_else(|| "-".to_owned(), |tx| short_txid(&tx.txid));
        table.row([
            trade.trade.short(),
            phase_name(trade.state).to_owned(),
            amount(trade.amount),
            txid(&trade.funding),
            txid(&trade.spend),
            amount(trade.paid_out),
        ]);
    }
    table.render("")
}

fn short_txid(txid: &str) -> String {
    format!("{}…", txid.chars().take(12).collect::<String>())
}

fn line(violation: &Violation) -> String {
    let trade = violation.trade.map(|trade| format!("trade {}: ", trade.short())).unwrap_or_default();
    let record = violation.record.map(|record| format!(" (record {record})")).unwrap_or_default();
    format!("{trade}{}{record}", violation.rule)
}
