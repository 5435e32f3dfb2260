//! Checking the history, and handing a piece of it to others.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use exchange_api::{
    AuditReport, AuditRequest, AuditedTrade, AuthorId, CheckpointRelation, CheckpointView, Client, EscrowSums,
    ExchangeApiClient, NotCompared, RecordId, TradeId, Violation,
};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::output::{Answer, Lines, Table};
use crate::cli::prefix::Prefix;
use crate::cli::values::phase_name;

mod bundle;
mod pages;

/// Check every record, signature, log, role and transition that this node holds
///
/// Exits with 1 when the ledger is broken, or the one trade that was asked for could not be compared with the chain. What proves
/// that somebody did wrong, but harms nobody else, is listed as a proof.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  exchange-node audit --chain
  exchange-node audit --trade 1f0c9a3b --chain --json
  exchange-node audit --trade 1f0c9a3b --export trade.json
  exchange-node audit verify trade.json
  exchange-node audit --against 12D3KooW…"
)]
pub struct Audit {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    scope: Scope,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Verify(bundle::Verify),
}

#[derive(Debug, Args)]
struct Scope {
    /// Only the logs of this author, and trades in which he has a part
    #[arg(long, value_name = "ID")]
    author: Option<AuthorId>,
    /// Of the trades only this one
    #[arg(long, value_name = "ID")]
    trade: Option<Prefix>,
    /// Only the trades after this one, with which an audit ended that did not list all
    #[arg(long, value_name = "ID", conflicts_with = "trade")]
    after: Option<TradeId>,
    /// Also compare the escrows with the chain, and add up what went in and out
    #[arg(long)]
    chain: bool,
    /// Also exit with 1 when somebody did wrong, or when not all could be judged or compared with the chain
    #[arg(long)]
    strict: bool,
    /// Write the trade with its proofs into a new file, which anybody can check without a node
    #[arg(long, value_name = "FILE", requires = "trade", conflicts_with_all = ["author", "chain", "strict"])]
    export: Option<PathBuf>,
    /// Compare this node's ledger with a peer's, until the first difference
    #[arg(long, value_name = "PEER", conflicts_with_all = ["author", "trade", "after", "chain", "strict"])]
    against: Option<String>,
}

impl Audit {
    /// Audits, exports or verifies.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        match self.verb {
            Some(Verb::Verify(verify)) => verify.perform(),
            None => self.scope.perform(context).await,
        }
    }
}

impl Scope {
    async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let client = context.client().await?;
        if let Some(peer) = self.against {
            return against(&client, peer).await;
        }
        let trade = match &self.trade {
            Some(prefix) => Some(find(prefix, &client).await?),
            None => None,
        };
        if let (Some(file), Some(trade)) = (&self.export, trade) {
            return bundle::export(&client, trade, file).await;
        }
        let request = AuditRequest { chain: self.chain, author: self.author, trade, after: self.after };
        let report = pages::whole(&client, &request).await?;
        let answer = Answer::new(&report, text(&report, &request));
        let count = |told: &[Violation], cut: u64, what| {
            format::counted(cut.saturating_add(told.len() as u64), what) // usize fits
        };
        let (violations, evidence) = (report.violations.as_slice(), report.evidence.as_slice());
        let found = match (violations, evidence) {
            ([first, ..], _) => Some((first, count(violations, report.cut.violations, "violation"))),
            ([], [first, ..]) if self.strict => {
                Some((first, format!("{} of misconduct", count(evidence, report.cut.evidence, "proof"))))
            }
            ([], _) => None,
        };
        if let Some((first, count)) = found {
            let failure = Failure::violated(format!("the history has {count}; the first: {}", line(first)));
            return Ok(answer.failing(failure));
        }
        // Whoever makes outputs up makes everybody's audit of all trades fail by it only if that is asked for.
        if (self.strict || trade.is_some()) && report.cut.not_compared > 0 {
            let message = format!("not compared with the chain: {}", format::counted(report.cut.not_compared, "trade"));
            return Ok(answer.failing(Failure::refused(message, how_to_go_on(&report, &request))));
        }
        if self.strict
            && let Some(what) = unjudged(&report, &request)
        {
            return Ok(answer.failing(Failure::refused(format!("not all was looked at: {what}"), LEFT_OUT)));
        }
        Ok(answer)
    }
}

/// Says what was left out by which the audit could have failed, beside trades that were not compared with the chain.
fn unjudged(report: &AuditReport, request: &AuditRequest) -> Option<String> {
    let mut what = Vec::new();
    // Without the chain all trades are judged, listed or not, but where the list goes on behind one.
    if report.cut.trades && (request.chain || request.after.is_some()) {
        what.push("trades after the last that is listed".to_owned());
    }
    if report.cut.crowded > 0 {
        what.push(format!("what others say about {}", format::counted(report.cut.crowded, "trade")));
    }
    if report.lacked > 0 {
        let trades = format::counted(report.lacked, "trade");
        what.push(format!("{trades} of which the bid or the offer has no body here"));
    }
    (!what.is_empty()).then(|| what.join("; "))
}

/// How to learn more of what was left out.
const LEFT_OUT: &str = "the report says of each how to go on; a node with `--retention full` has all bodies";
/// How to learn more of a trade that was not compared with the chain.
const ALONE: &str = "`exchange-node audit --chain --trade ID` looks at one alone";
/// How to learn more of one that was looked at alone, and names too many outputs.
const BY_HAND: &str = "what counts may be among what was left out: look up the address of its escrow by other means";
/// How to learn more where the chain may be behind.
const LATER: &str =
    "check this machine's clock, and by `exchange-node status` whether the chain is behind; ask again after some hours";

/// Returns how to learn more of trades that were not compared with the chain.
fn how_to_go_on(report: &AuditReport, request: &AuditRequest) -> &'static str {
    let mut why = report.trades.iter().filter_map(|trade| trade.not_compared);
    match (why.all(|why| why == NotCompared::Behind), request.trade.is_some()) {
        (true, _) => LATER,
        (false, true) => BY_HAND,
        (false, false) => ALONE,
    }
}

/// Compares with a peer; a difference makes the command fail.
async fn against(client: &Client, peer: String) -> Result<Answer, Failure> {
    let report = client.audit_against(peer).await?;
    let mut lines = Lines::default();
    lines.line("peer", report.peer.clone()).line("state here", report.state.to_string());
    let Some(difference) = &report.difference else {
        lines.line("there", "the same");
        return Ok(Answer::new(&report, lines.render()));
    };
    let id = |id: Option<RecordId>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
    lines
        .line("first difference", format!("log {} of {}, seq {}", difference.epoch, difference.author, difference.seq));
    if difference.frozen {
        lines.line("", "its author signed two histories, and both nodes keep different records of that");
    } else {
        lines.line("record here", id(difference.ours)).line("record there", id(difference.theirs));
    }
    let which =
        format!("the ledgers differ at log {} of {}, seq {}", difference.epoch, difference.author, difference.seq);
    let answer = Answer::new(&report, lines.render());
    Ok(answer.failing(Failure::violated(format!("{which}; nodes that sync become the same, so ask again"))))
}

/// Finds a trade of anybody.
async fn find(prefix: &Prefix, client: &Client) -> Result<TradeId, Failure> {
    if let Some(id) = prefix.whole() {
        return Ok(id);
    }
    prefix.pick("trade", client.audit_find(prefix.digits().to_owned()).await?)
}

fn text(report: &AuditReport, request: &AuditRequest) -> String {
    let is_all = report.cut.not_compared == 0 && unjudged(report, request).is_none();
    let verdict = match (report.ok, is_all) {
        (true, true) => "All is well",
        (true, false) => "Nothing wrong was found",
        (false, _) => "Something is wrong",
    };
    let mut text = match request.after {
        Some(trade) => format!("{verdict} with the trades after {}.\n", trade.short()),
        None => format!("{verdict}: {} records by {} authors were checked.\n", report.records, report.authors),
    };
    if report.bare > 0 {
        let lacked = match report.lacked {
            0 => String::new(),
            lacked => format!("; {} could not be judged without", format::counted(lacked, "trade")),
        };
        text.push_str(&format!("{} of them are old and kept without their bodies{lacked}.\n", report.bare));
    }
    let unanswered = report.bids.saturating_sub(report.agreed);
    if unanswered > 0 && request.trade.is_none() {
        text.push_str(&format!("Not agreed on, and not listed: {}.\n", format::counted(unanswered, "bid")));
    }
    text.push_str(&left_out(report, request));
    if !report.trades.is_empty() {
        text.push('\n');
        text.push_str(&trades(&report.trades));
    }
    if let Some(sums) = &report.sums {
        let is_part = report.cut.trades || request.after.is_some();
        let which = match (report.cut.not_compared, is_part) {
            (0, false) => "all escrows",
            (0, true) => "the escrows of these trades",
            (1.., _) => "the escrows that were compared",
        };
        text.push_str(&format!("\nIn {which}, in BTC:\n{}", sum_lines(sums)));
    }
    let differing = |checkpoint: &&CheckpointView| checkpoint.relation == CheckpointRelation::Different;
    for checkpoint in report.checkpoints.iter().filter(differing) {
        let (author, time) = (checkpoint.author.short(), checkpoint.said.time);
        text.push_str(&format!("\nDifferent: {author} saw other records up to {time} than this node, and as many.\n"));
    }
    for (title, violations, cut) in [
        ("Wrong", &report.violations, report.cut.violations),
        ("Proofs of misconduct, which harm nobody else", &report.evidence, report.cut.evidence),
    ] {
        if !violations.is_empty() {
            text.push_str(&format!("\n{title}:\n"));
            text.extend(violations.iter().map(|violation| format!("  {}\n", line(violation))));
        }
        if cut > 0 {
            text.push_str(&format!("  and {cut} more\n"));
        }
    }
    text
}

/// Says what was not looked at, and which trades are not listed.
fn left_out(report: &AuditReport, request: &AuditRequest) -> String {
    let mut text = String::new();
    let cut = report.cut;
    if let (true, Some(last)) = (cut.trades, report.trades.last()) {
        let chain = if request.chain { " --chain" } else { "" };
        let next = format!("The next ones: exchange-node audit{chain} --after {}", last.trade);
        text.push_str(&format!("More trades were agreed on than the {} listed here. {next}\n", report.trades.len()));
    }
    if cut.crowded > 0 {
        let trades = format::counted(cut.crowded, "trade");
        text.push_str(&format!("Others say so much about {trades} that not all of it was looked at.\n"));
    }
    if cut.not_compared > 0 {
        let trades = format::counted(cut.not_compared, "trade");
        text.push_str(&format!("Not compared with the chain: {trades}; {}.\n", how_to_go_on(report, request)));
        for (why, what) in [
            (NotCompared::TooMuch, "more outputs than one audit looks up, or more blocks to be read"),
            (NotCompared::Failed, "the chain had no good answer"),
            (NotCompared::Behind, "the chain is old, or may not show yet what somebody says that he saw"),
            (NotCompared::Unnamed, "said to be over, and no record here names what funded it"),
        ] {
            let count = report.trades.iter().filter(|trade| trade.not_compared == Some(why)).count();
            if count > 0 {
                text.push_str(&format!("  {what}: {}\n", format::counted(count as u64, "trade"))); // usize fits
            }
        }
    }
    if cut.checkpoints {
        text.push_str("There are more checkpoints than were compared.\n");
    }
    text
}

fn trades(trades: &[AuditedTrade]) -> String {
    let mut table = Table::new(
        &["TRADE", "STATE", "BTC", "FUNDED BY", "SPENT BY", "TO BUYER", "TO SELLER", "TO ARBITER", "ELSEWHERE", "FEE"],
        &[2, 5, 6, 7, 8, 9],
    );
    for trade in trades {
        let amount = |amount: Option<exchange_api::Sats>| amount.map_or_else(|| "-".to_owned(), format::btc);
        let txid =
            |tx: &Option<exchange_api::ChainTx>| tx.as_ref().map_or_else(|| "-".to_owned(), |tx| short_txid(&tx.txid));
        let funding = match (trade.not_compared, &trade.funding) {
            (Some(_), None) => "not compared".to_owned(),
            // Where only what somebody says is left out, what the chain shows is told.
            (Some(_), Some(_)) | (None, _) => txid(&trade.funding),
        };
        table.row([
            trade.trade.short(),
            phase_name(trade.state).to_owned(),
            amount(trade.amount),
            funding,
            txid(&trade.spend),
            amount(trade.sums.map(|sums| sums.to_buyers)),
            amount(trade.sums.map(|sums| sums.to_sellers)),
            amount(trade.sums.map(|sums| sums.to_arbiters)),
            amount(trade.sums.map(|sums| sums.elsewhere)),
            amount(trade.sums.map(|sums| sums.fees)),
        ]);
    }
    table.render("")
}

fn sum_lines(sums: &EscrowSums) -> String {
    let mut lines = Lines::default();
    for (name, sum) in [
        ("  funded", sums.funded),
        ("  to buyers", sums.to_buyers),
        ("  to sellers", sums.to_sellers),
        ("  to arbiters", sums.to_arbiters),
        ("  elsewhere", sums.elsewhere),
        ("  fees", sums.fees),
        ("  still held", sums.held),
    ] {
        lines.line(name, format::btc(sum));
    }
    lines.render()
}

fn short_txid(txid: &str) -> String {
    format!("{}…", txid.chars().take(12).collect::<String>())
}

fn line(violation: &Violation) -> String {
    let trade = violation.trade.map(|trade| format!("trade {}: ", trade.short())).unwrap_or_default();
    let record = violation.record.map(|record| format!(" (record {record})")).unwrap_or_default();
    format!("{trade}{}{record}", violation.rule)
}
