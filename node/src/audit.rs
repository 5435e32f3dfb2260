//! The audit of a node: the ledger by itself, and against the chain.

use exchange_api::{ApiError, AuditReport, AuditRequest, AuditedTrade, ChainTx, Code, Violation};
use exchange_ledger::audit::{Finding, audit};
use exchange_ledger::ledger::{Ledger, TradeRecords};
use exchange_ledger::money::Sats;
use exchange_ledger::trade::{ChainFacts, Escrow, Funding, Phase, Spend, View, evaluate};
use exchange_store::Store;

use crate::chain::{ChainBackend, OutpointStatus};
use crate::entropy;
use crate::errors::ExplainResult;

/// Audits the ledger, and the chain if asked.
///
/// # Errors
/// When the store or the chain fails. A violation is no error: it is in the report.
pub async fn run(
    ledger: &Ledger<Store>,
    chain: &dyn ChainBackend,
    request: &AuditRequest,
) -> Result<AuditReport, ApiError> {
    let (reader, author) = (ledger.clone(), request.author);
    let read = tokio::task::spawn_blocking(move || audit(&reader, author.as_ref(), entropy::bytes32())).await;
    let found = read.map_err(|error| ApiError::new(Code::Internal, error.to_string(), ""))?.explained()?;
    let mut report = AuditReport {
        ok: true,
        records: found.records,
        authors: found.authors,
        trades: Vec::new(),
        violations: found.violations.into_iter().map(violation).collect(),
        evidence: found.evidence.into_iter().map(violation).collect(),
    };
    let network = chain.network();
    let tip = if request.chain { chain.tip().await.explained()?.height } else { 0 };
    for records in found.trades.iter().filter(|t| request.trade.is_none_or(|wanted| t.bid.trade == wanted)) {
        let escrow = records.contract.as_ref().map(Escrow::new);
        let mut trade = AuditedTrade {
            trade: records.bid.trade,
            state: claimed_phase(records),
            amount: records.contract.as_ref().map(|contract| contract.amount),
            escrow_address: escrow.as_ref().map(|escrow| escrow.address(network).to_string()),
            funding: None,
            spend: None,
            paid_out: None,
        };
        if let (true, Some(escrow)) = (request.chain, &escrow) {
            let broken = against_chain(&mut trade, records, escrow, chain, tip).await?;
            let trade = Some(records.bid.trade);
            report.violations.extend(broken.into_iter().map(|rule| Violation { record: None, trade, rule }));
        }
        report.trades.push(trade);
    }
    if let (Some(wanted), true) = (request.trade, report.trades.is_empty()) {
        let message = format!("trade {wanted} is not in the ledger");
        return Err(ApiError::new(Code::NotFound, message, "check the id, or wait until the node has caught up"));
    }
    report.ok = report.violations.is_empty();
    Ok(report)
}

/// Compares what the records of a trade say with the chain. Returns the rules that are broken.
async fn against_chain(
    trade: &mut AuditedTrade,
    records: &TradeRecords,
    escrow: &Escrow,
    chain: &dyn ChainBackend,
    tip: u32,
) -> Result<Vec<String>, ApiError> {
    let mut broken = Vec::new();
    let Some(outpoint) = records.facts.funded else {
        trade.state = evaluate(&view(records, ChainFacts { tip, synced: true, ..ChainFacts::default() }));
        return Ok(broken);
    };
    let status = chain.outpoint(outpoint, escrow.script(), escrow.contract().height).await.explained()?;
    let (output, height, spender) = match status {
        OutpointStatus::Unknown => {
            broken.push(format!("the seller says that {outpoint} funds the escrow, but the chain has no such output"));
            return Ok(broken);
        }
        OutpointStatus::Unspent { output, height } => (output, height, None),
        OutpointStatus::Spent { output, height, by, spent_height } => (output, height, Some((*by, spent_height))),
    };
    if output != escrow.output() {
        broken.push(format!("{outpoint} does not pay exactly the contract's amount to the contract's escrow"));
        return Ok(broken);
    }
    let depth = |height: Option<u32>| height.map_or(0, |height| (tip + 1).saturating_sub(height));
    trade.funding = Some(ChainTx { txid: outpoint.txid.to_string(), confirmations: depth(height), height });
    let mut facts = ChainFacts { tip, synced: true, fundings: vec![Funding { outpoint, height }], spends: Vec::new() };
    let claims = [records.facts.buyer_closed, records.facts.seller_closed];
    if let Some((tx, height)) = spender {
        let path = escrow.classify(&tx, outpoint);
        let txid = tx.compute_txid();
        if path.is_foreign() {
            broken.push(format!("{txid} spends the escrow in a way that the contract does not know"));
        }
        if height.is_some() && claims.iter().flatten().any(|claimed| *claimed != txid) {
            broken.push(format!("a party says that another transaction than {txid} ended the trade"));
        }
        let out = tx.output.iter().try_fold(bitcoin::Amount::ZERO, |sum, output| sum.checked_add(output.value));
        if tx.input.len() == 1 && out.is_none_or(|out| out > output.value) {
            broken.push(format!("{txid} pays out more than the escrow held"));
        }
        trade.paid_out = Sats::try_from(output.value).ok();
        trade.spend = Some(ChainTx { txid: txid.to_string(), confirmations: depth(height), height });
        facts.spends.push(Spend { tx, path, height });
    } else if claims.iter().flatten().next().is_some() {
        broken.push("a party says that the trade ended, but the escrow still holds its coins".into());
    }
    trade.state = evaluate(&view(records, facts));
    Ok(broken)
}

fn view(records: &TradeRecords, chain: ChainFacts) -> View {
    View { contract: records.contract.clone(), facts: records.facts.clone(), chain }
}

/// Returns where a trade stands if the chain bears out what its parties say.
fn claimed_phase(records: &TradeRecords) -> Phase {
    let facts = &records.facts;
    let ended = facts.buyer_closed.is_some() && facts.seller_closed.is_some();
    match (ended, facts.releases.is_empty()) {
        (true, false) => return Phase::Closed,
        (true, true) => return Phase::Refunded,
        (false, _) => {}
    }
    let funding = facts.funded.map(|outpoint| Funding { outpoint, height: Some(0) });
    let tip = records.contract.as_ref().map_or(0, |contract| contract.confirmations);
    evaluate(&view(
        records,
        ChainFacts { tip, synced: true, fundings: funding.into_iter().collect(), spends: Vec::new() },
    ))
}

fn violation(finding: Finding) -> Violation {
    Violation { record: finding.record, trade: finding.trade, rule: finding.rule }
}
