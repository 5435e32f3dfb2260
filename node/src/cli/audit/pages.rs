//! One report of all trades: a node compares so many with the chain at once, and is asked for those after the last until there are
//! none. Whoever makes trades up makes it longer, and hides no other trade behind them.

use std::collections::HashSet;

use exchange_api::{AuditReport, AuditRequest, Client, ExchangeApiClient, RecordId, TradeId, Violation};

use crate::cli::failure::Failure;

/// How many reports make one at most, of 2000 trades each: 100,000 trades are some fifty megabytes here. The report says if there are
/// more.
const MAX_PAGES: usize = 50;

/// What makes two findings the same: the page on which a trade is compared tells again what its records prove.
type Told = (Option<RecordId>, Option<TradeId>, String);

/// Returns the report that is asked for. One that is to compare with the chain goes on to the last trade, or until the node has no
/// answer: what was found by then is told, and that there are more trades. Who goes on behind them learns why.
///
/// # Errors
/// When the node has no answer to begin with.
pub async fn whole(client: &Client, request: &AuditRequest) -> Result<AuditReport, Failure> {
    let mut report = client.audit(request.clone()).await?;
    for _ in 1..MAX_PAGES {
        let Some(last) = report.trades.last().map(|last| last.trade) else { break };
        if !request.chain || !report.cut.trades {
            break;
        }
        let next = AuditRequest { after: Some(last), ..request.clone() };
        let Ok(page) = client.audit(next).await else { break };
        add(&mut report, page, request);
    }
    Ok(report)
}

/// Adds a page to what came before it.
fn add(report: &mut AuditReport, page: AuditReport, request: &AuditRequest) {
    report.trades.extend(page.trades);
    extend(&mut report.violations, page.violations);
    extend(&mut report.evidence, page.evidence);
    // The first report judges all trades, listed or not, unless it goes on behind one itself.
    if request.after.is_some() {
        report.bids = report.bids.saturating_add(page.bids);
        report.agreed = report.agreed.saturating_add(page.agreed);
        report.lacked = report.lacked.saturating_add(page.lacked);
        report.cut.crowded = report.cut.crowded.saturating_add(page.cut.crowded);
    }
    report.cut.trades = page.cut.trades;
    report.cut.not_compared = report.cut.not_compared.saturating_add(page.cut.not_compared);
    // What one does not tell, the other may.
    report.cut.violations = report.cut.violations.max(page.cut.violations);
    report.cut.evidence = report.cut.evidence.max(page.cut.evidence);
    if let (Some(before), Some(more)) = (report.sums, page.sums) {
        report.sums = before.checked_add(more);
        if report.sums.is_none() {
            let rule = "more bitcoin went into escrows than exist".to_owned();
            report.violations.push(Violation { record: None, trade: None, rule });
        }
    } else {
        report.sums = None; // a violation says why
    }
    report.ok = report.violations.is_empty();
}

/// Adds those findings that are not told yet.
fn extend(told: &mut Vec<Violation>, more: Vec<Violation>) {
    let key = |found: &Violation| -> Told { (found.record, found.trade, found.rule.clone()) };
    let mut known: HashSet<Told> = told.iter().map(key).collect();
    told.extend(more.into_iter().filter(|found| known.insert(key(found))));
}
