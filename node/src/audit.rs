//! The audit of a node: the ledger by itself, against the chain, and as files for strangers.

use std::collections::BTreeSet;
use std::time::Duration;

use bitcoin::{Transaction, Txid};
use exchange_api::{
    ApiError, AuditCut, AuditReport, AuditRequest, AuditedTrade, ChainTx, Code, EscrowSums, NotCompared, Violation,
};
use exchange_ledger::audit::{Finding, MAX_TRADES, Scope};
use exchange_ledger::body::{Body, Closed, Coin, Funded, Vaults};
use exchange_ledger::checkpoint::{self, Comparison};
use exchange_ledger::ids::{AuthorId, TradeId};
use exchange_ledger::ledger::{Ledger, TradeRecords};
use exchange_ledger::record::{Kind, Record};
use exchange_ledger::rules::CLOSED_DEPTH;
use exchange_ledger::storage::Storage;
use exchange_ledger::trade::{ChainFacts, Escrow, Funding, Phase, Role, SpendPath, View, evaluate};
use exchange_ledger::wire::{Outpoint, TxId};
use exchange_store::{Store, audit};
use tokio::time::{Instant, sleep};

use crate::blocking::blocking;
use crate::chain::{ChainBackend, ChainError};
use crate::clock::SureTime;
use crate::errors::ExplainResult;
use crate::{checkpoints, entropy};

mod against;
mod bundle;
mod path;
mod sums;
mod tip;

pub use against::against;
pub use bundle::{export, verify};
use path::{MAX_OUTPUTS, Path, Paths};
use tip::Tip;

/// How many bids are listed at once.
const PAGE: usize = 4096;
/// How many outputs one report looks up in the chain, each of which may cost a look through all blocks since its agreement: two
/// of each trade at least, for a seller can name another output than the one that counts.
const MAX_LOOKUPS: usize = 2 * MAX_TRADES;
/// How many blocks one report reads to look these up, where the chain's backend has to: of each trade those of three days at least,
/// from a day before its agreement on, in which most are over. What one leaves goes on to others, and one alone may take all: about
/// as many as mainnet has. So made-up trades, each from the beginning of time on, cannot have the chain read over and over.
const MAX_BLOCKS: u32 = 432 * MAX_TRADES as u32; // 2000 fits
/// How many trades of one report may be left without an answer, each perhaps after minutes, before nobody waits for more.
const MAX_UNANSWERED: usize = 16;
/// How long the chain may not tell where its tip is after a question that failed, and the pause before it is asked again: a server
/// can hang up over one question, and be there again a moment later, or the next one in its place.
const TIP_PATIENCE: Duration = Duration::from_secs(10);
const TIP_PAUSE: Duration = Duration::from_millis(250);

/// Audits the ledger, and the chain if asked. Of checkpoints those of `trusted` come first; none are compared with one
/// author's records, or where a list of trades goes on. Unless the ledger `is_compared`, by which everything was taken in that some
/// peer held, it may lack what others relied on; and unless `sure` tells that the chain has come far enough, that may lack what they saw.
///
/// # Errors
/// When the store fails, or the chain from the beginning on. A violation is no error: it is in the report. Nor is a question about
/// one trade of many to which the chain has no good answer: the report says that this one was not compared, and where the chain is
/// lost meanwhile, that those behind it were not.
pub async fn run(
    ledger: &Ledger<Store>,
    chain: &dyn ChainBackend,
    request: &AuditRequest,
    trusted: BTreeSet<AuthorId>,
    is_compared: bool,
    sure: &SureTime,
) -> Result<AuditReport, ApiError> {
    let reader = ledger.clone();
    let scope = Scope { author: request.author, trade: request.trade, after: request.after };
    let read = blocking(move || {
        if let Some(trade) = scope.after
            && reader.record(&trade.into()).explained()?.is_none()
        {
            return Err(unknown(trade));
        }
        let found = audit(&reader, &scope, entropy::bytes32()).explained()?;
        let said = match (scope.author, scope.after) {
            (None, None) => checkpoint::compare(reader.storage(), &trusted).explained()?,
            (Some(_), _) | (None, Some(_)) => Comparison::default(),
        };
        Ok((found, said))
    });
    let (found, said) = read.await?;
    let mut report = AuditReport {
        ok: true,
        records: found.records,
        bare: found.bare,
        lacked: found.lacked,
        authors: found.authors,
        bids: found.bids,
        agreed: found.agreed,
        trades: Vec::new(),
        violations: found.violations.into_iter().map(violation).collect(),
        evidence: found.evidence.into_iter().map(violation).collect(),
        sums: None,
        checkpoints: said.compared.into_iter().map(checkpoints::view).collect(),
        cut: AuditCut {
            trades: found.cut.trades,
            crowded: found.cut.crowded,
            checkpoints: said.is_cut,
            violations: found.cut.violations,
            evidence: found.cut.evidence,
            not_compared: 0,
        },
    };
    let network = chain.network();
    let tip = if request.chain { Some(Tip::of(chain, sure).await.explained()?) } else { None };
    let (mut lookups, mut blocks, mut unanswered) = (MAX_LOOKUPS, MAX_BLOCKS, 0_usize);
    // Why no trade is compared from here on.
    let mut over = tip.as_ref().filter(|tip| tip.is_old()).map(|_| NotCompared::Behind);
    for (at, records) in found.trades.iter().enumerate() {
        let escrow = records.contract.as_ref().map(Escrow::new);
        let mut trade = AuditedTrade {
            trade: records.bid.trade,
            state: claimed_phase(records),
            amount: records.contract.as_ref().map(|contract| contract.amount),
            escrow_address: escrow.as_ref().map(|escrow| escrow.address(network).to_string()),
            funding: None,
            spend: None,
            sums: None,
            not_compared: None,
        };
        if let (Some(tip), Some(escrow), None) = (&tip, &escrow, over) {
            let trades = found.trades.len() - at;
            let (most, given) = (share(lookups, trades), share_of_blocks(blocks, trades));
            let mut left = given;
            let followed = Paths::follow(chain, escrow, &records.facts, most, &mut left).await;
            blocks = blocks.saturating_sub(given.saturating_sub(left));
            match followed {
                Ok(paths) => {
                    lookups = lookups.saturating_sub(paths.count());
                    if paths.is_cut() {
                        trade.not_compared = Some(NotCompared::TooMuch);
                    } else {
                        let told = Told { ledger, records, escrow, tip, is_compared };
                        told.against_chain(&mut trade, paths, &mut report)?;
                    }
                }
                Err(error) => {
                    if request.trade.is_some() {
                        return Err(error).explained();
                    }
                    if is_over(chain, &error, &mut unanswered, TIP_PATIENCE).await {
                        over = Some(NotCompared::Failed);
                    }
                    lookups = lookups.saturating_sub(most);
                    tracing::warn!(trade = %trade.trade, %error, "a trade could not be compared with the chain");
                    trade.not_compared = Some(NotCompared::Failed);
                }
            }
        } else if escrow.is_some() {
            trade.not_compared = over;
        }
        report.cut.not_compared += u64::from(trade.not_compared.is_some());
        report.trades.push(trade);
    }
    if let (Some(wanted), true) = (request.trade, report.trades.is_empty()) {
        return Err(unknown(wanted));
    }
    if request.chain {
        report.sums = sums::total(report.trades.iter().filter_map(|trade| trade.sums.as_ref()));
        if report.sums.is_none() {
            let rule = "more bitcoin went into escrows than exist".to_owned();
            report.violations.push(Violation { record: None, trade: None, rule });
        }
    }
    report.ok = report.violations.is_empty();
    Ok(report)
}

/// Returns how many outputs may be looked up of a trade, the first of so many: what others leave goes on to those behind them.
fn share(lookups: usize, trades: usize) -> usize {
    (lookups / trades.max(1)).min(MAX_OUTPUTS)
}

/// Returns how many blocks may be read for a trade, the first of so many.
fn share_of_blocks(blocks: u32, trades: usize) -> u32 {
    blocks / u32::try_from(trades.max(1)).unwrap_or(u32::MAX)
}

/// Tells whether no more trades of a report are compared after a failure. One trade may be about what no peer or server shows: that
/// alone does not end it, while the chain tells at least, within some time, where its tip is.
async fn is_over(chain: &dyn ChainBackend, error: &ChainError, unanswered: &mut usize, patience: Duration) -> bool {
    if !may_be_of_all(error) {
        return false;
    }
    *unanswered = unanswered.saturating_add(1);
    *unanswered > MAX_UNANSWERED || !has_tip(chain, patience).await
}

/// Waits until the chain tells where its tip is; `false` when it does not in time.
async fn has_tip(chain: &dyn ChainBackend, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while chain.tip().await.is_err() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(TIP_PAUSE).await;
    }
    true
}

/// Tells whether the chain may fail whatever it is asked; else the failure is one of a single question, and others are answered.
const fn may_be_of_all(error: &ChainError) -> bool {
    match error {
        ChainError::Unreachable { .. }
        | ChainError::NoCookie { .. }
        | ChainError::Unauthorized { .. }
        | ChainError::WrongNetwork { .. }
        | ChainError::Storage { .. } => true,
        ChainError::Refused { .. }
        | ChainError::Unasked { .. }
        | ChainError::Unheard { .. }
        | ChainError::NotMinable { .. }
        | ChainError::NoFeeEstimate { .. }
        | ChainError::TooManyScripts { .. }
        | ChainError::Withheld { .. }
        | ChainError::Invalid { .. } => false,
    }
}

/// Returns the trades whose ids begin with these digits, whoever trades: two at most, which tell that there is more than
/// one.
///
/// # Errors
/// When the store fails.
pub async fn find(ledger: &Ledger<Store>, digits: String) -> Result<Vec<TradeId>, ApiError> {
    let reader = ledger.clone();
    let read = blocking(move || {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let takes = reader.storage().of_kind(Kind::Take, after.as_ref(), PAGE).explained()?;
            let ids = takes.iter().map(|take| TradeId::from(take.id));
            found.extend(ids.filter(|id| id.to_string().starts_with(&digits)));
            found.truncate(2);
            after = takes.last().copied();
            if takes.len() < PAGE || found.len() > 1 {
                return Ok(found);
            }
        }
    });
    read.await
}

fn unknown(trade: TradeId) -> ApiError {
    let message = format!("trade {trade} is not in the ledger");
    ApiError::new(Code::NotFound, message, "check the id, or wait until the node has caught up")
}

/// What the records tell of a trade with a contract.
struct Told<'a> {
    ledger: &'a Ledger<Store>,
    records: &'a TradeRecords,
    escrow: &'a Escrow,
    tip: &'a Tip<'a>,
    /// Whether all records of it are there that some peer held.
    is_compared: bool,
}

impl Told<'_> {
    /// Compares it with the chain. Who said what is not so is evidence against him: no honest node could have refused his
    /// record. What the chain itself cannot do is a violation. Where it may be behind what somebody had seen who says something, that
    /// alone is left out: or he would keep all else from being told by saying something new.
    fn against_chain(&self, trade: &mut AuditedTrade, paths: Paths, report: &mut AuditReport) -> Result<(), ApiError> {
        let tip = self.tip.height;
        let synced = ChainFacts { tip, synced: true, ..ChainFacts::default() };
        let mut belied: Vec<Belied> = self.belied_name(&paths).into_iter().collect();
        let path = paths.counting(self.records, tip);
        let is_unnamed = path.is_none() && self.may_have_ended_unseen()?;
        if !is_unnamed {
            belied.extend(self.belied_endings(path.as_ref()));
        }
        let is_behind = self.blame(belied, report)?;
        trade.not_compared = match (is_behind, is_unnamed) {
            (true, true | false) => Some(NotCompared::Behind),
            (false, true) => Some(NotCompared::Unnamed),
            (false, false) => None,
        };
        let Some(path) = path else {
            trade.state = evaluate(&view(self.records, synced));
            return Ok(());
        };
        let (Some(first), Some(vaults)) = (path.fundings.first(), path.vaults()) else { return Ok(()) };
        let (height, txid) = (first.height, first.outpoint().txid.to_string());
        let depth = |height: Option<u32>| height.map_or(0, |height| (tip + 1).saturating_sub(height));
        trade.funding = Some(ChainTx { txid, confirmations: depth(height), height });
        trade.sums = self.sums(&path);
        if trade.sums.is_none() {
            let rule = "more came out of the escrow than went in".to_owned();
            report.violations.push(Violation { record: None, trade: Some(self.records.bid.trade), rule });
        }
        if let Some(end) = &path.end {
            let txid = end.tx.compute_txid();
            let rule = match end.path {
                SpendPath::Foreign => {
                    Some(format!("{txid} spends the escrow in a way that the contract does not know"))
                }
                SpendPath::Ruling if !self.is_ruled(&vaults, &end.tx) => {
                    Some(format!("{txid} divides the coins, but no arbiter published such a ruling"))
                }
                SpendPath::Payout
                | SpendPath::Refund
                | SpendPath::Timeout
                | SpendPath::Ruling
                | SpendPath::Extension => None,
            };
            let rule = rule.map(|rule| Violation { record: None, trade: Some(self.records.bid.trade), rule });
            report.evidence.extend(rule);
            trade.spend =
                Some(ChainTx { txid: txid.to_string(), confirmations: depth(end.height), height: end.height });
        }
        let spends = path.extensions.into_iter().chain(path.end).chain(path.bond).collect();
        trade.state = evaluate(&view(self.records, ChainFacts { fundings: path.fundings, spends, ..synced }));
        Ok(())
    }

    /// Returns who says that the trade is over, and which transaction ended it.
    fn endings(&self) -> impl Iterator<Item = (Role, Txid)> {
        let facts = &self.records.facts;
        let said = [(Role::Buyer, facts.buyer_closed), (Role::Seller, facts.seller_closed)];
        said.into_iter().filter_map(|(role, claimed)| Some((role, claimed?)))
    }

    /// Returns who says that the trade was ended by what did not end it: reputation is made of that.
    fn belied_endings(&self, path: Option<&Path>) -> Vec<Belied> {
        let end = path.and_then(|path| path.end.as_ref()).filter(|end| end.height.is_some());
        let spent = end.map(|end| end.tx.compute_txid());
        let is = match (path, spent) {
            (None, _) => "no named output funded it".to_owned(),
            (Some(_), None) => "no block spends the escrow".to_owned(),
            (Some(_), Some(txid)) => format!("it was {txid}"),
        };
        let wrong = self.endings().filter(|(_, claimed)| spent != Some(*claimed));
        let belied = wrong.map(|(role, claimed)| Belied {
            role,
            said: Body::Closed(Closed { trade: self.records.bid.trade, spend: TxId(claimed) }),
            rule: format!("the {role} says that {claimed} ended the trade, but {is}"),
        });
        belied.collect()
    }

    /// Tells whether the trade can have ended as a party says, though no record shows of which output. Before the refund delay is over,
    /// whatever ends one is in a record that names the output: a release, a refund that the buyer signs, a ruling. Afterwards its
    /// funder takes it back alone. And who signs two histories can take away the record that another relied on; or it has not come yet.
    fn may_have_ended_unseen(&self) -> Result<bool, ApiError> {
        if self.endings().next().is_none() {
            return Ok(false);
        }
        let contract = self.escrow.contract();
        let first = contract.funded_from().saturating_add(contract.refund_delay.into());
        if !self.is_compared || self.tip.height >= first || self.records.facts.forked.is_some() {
            return Ok(true);
        }
        let storage = self.ledger.storage();
        Ok(storage.is_forked(&contract.buyer).explained()? || storage.is_forked(&contract.seller).explained()?)
    }

    /// Returns who named an output that funds nothing, if none of those that are named is there: the first of them. What waits in the
    /// pool was in a block, as far as anybody can tell. And what few blocks had buried a reorg of as many takes away for good, if one
    /// whose coin was in it spends that elsewhere; the name stays.
    fn belied_name(&self, paths: &Paths) -> Option<Belied> {
        let contract = self.escrow.contract();
        let from = contract.funded_from();
        let mut wrong = None;
        for (role, outpoint) in self.records.facts.named() {
            let Some(path) = paths.through(&outpoint) else { continue };
            let rule = match &path.output {
                Some(output) if *output == self.escrow.output() && (path.waits || !path.fundings.is_empty()) => {
                    return None;
                }
                Some(_) => format!(
                    "{outpoint}, named by the {role}, is not the contract's amount in the contract's escrow, from block {from} on"
                ),
                None if contract.confirmations < CLOSED_DEPTH => continue,
                None => format!(
                    "the {role} says that {outpoint} funds the escrow, but the chain has no such output from block {from} on"
                ),
            };
            let said = Body::Funded(Funded { trade: self.records.bid.trade, outpoint: Outpoint(outpoint) });
            wrong.get_or_insert(Belied { role, said, rule });
        }
        wrong
    }

    /// Names those whom the chain belies, each with the record in which he says it. Tells whether it may be behind what another of
    /// them had seen when he said it: who shows the chain to this node, or what keeps it from reading on, makes nobody a liar.
    fn blame(&self, belied: Vec<Belied>, report: &mut AuditReport) -> Result<bool, ApiError> {
        let mut is_behind = false;
        for Belied { role, said, rule } in belied {
            let record = self.record_of(role, &said)?;
            if record.as_ref().is_some_and(|record| self.tip.may_be_behind(record.header().time)) {
                is_behind = true;
                continue;
            }
            let record = record.map(|record| record.id());
            report.evidence.push(Violation { record, trade: Some(self.records.bid.trade), rule });
        }
        Ok(is_behind)
    }

    /// Tells whether a ruling in the ledger prescribes a transaction.
    fn is_ruled(&self, vaults: &Vaults, tx: &Transaction) -> bool {
        let rulings = self.records.facts.rulings.iter();
        // The bond is no part of it, if the buyer had taken it back.
        let mut about = rulings.filter(|(_, ruling)| ruling.vaults.outpoint() == vaults.outpoint());
        about.any(|(seat, ruling)| {
            let draft = self.escrow.ruling(*seat, &ruling.vaults, ruling.to_buyer, ruling.to_seller);
            draft.is_ok_and(|draft| draft.tx.compute_txid() == tx.compute_txid())
        })
    }

    fn sums(&self, path: &Path) -> Option<EscrowSums> {
        let funded = path.fundings.first()?.vaults.value()?;
        let spends = path.end.iter().chain(&path.bond).map(|spend| &spend.tx);
        sums::of_spends(self.escrow.contract(), funded, &path.vaults()?, spends)
    }

    /// Returns the record in which a party said this, of those that count the one of the earliest time. Nothing crowds out what stands
    /// in the log in which it entered the trade: so what it said there is not made young by saying it again, in logs that claim
    /// to be older.
    fn record_of(&self, role: Role, said: &Body) -> Result<Option<Record>, ApiError> {
        let (author, bytes) = (self.escrow.contract().author(role), said.encode());
        let home = self.records.bid.home_logs().iter().copied().find(|log| log.author == author);
        let counting = self.ledger.facts_about(self.records.bid.trade, home.as_slice()).explained()?;
        let is_it = |record: &Record| record.header().kind == said.kind() && record.body() == bytes;
        Ok(counting.into_iter().filter(is_it).min_by_key(|record| record.header().time))
    }
}

/// What a party says and the chain does not bear out.
struct Belied {
    role: Role,
    /// What is in his record.
    said: Body,
    /// What is so instead, in words.
    rule: String,
}

fn view(records: &TradeRecords, chain: ChainFacts) -> View {
    View { contract: records.contract.clone(), facts: records.facts.clone(), chain }
}

/// Returns where a trade stands if the chain bears out what its parties say.
fn claimed_phase(records: &TradeRecords) -> Phase {
    let facts = &records.facts;
    let ended = facts.buyer_closed.is_some() && facts.seller_closed.is_some();
    match (ended, facts.releases.is_empty(), facts.rulings.is_empty() || !facts.refunds.is_empty()) {
        (true, false, _) => return Phase::Closed,
        (true, true, true) => return Phase::Refunded,
        (true, true, false) => return Phase::Settled,
        (false, _, _) => {}
    }
    let coin = |outpoint| Some(Coin { outpoint: Outpoint(outpoint), value: records.contract.as_ref()?.escrow_value() });
    let escrow = facts.named().next().and_then(|(_, outpoint)| coin(outpoint));
    // What the parties and arbiters signed names the outputs better than their names: the bond too.
    let named = facts.releases.iter().chain(&facts.refunds).map(|half| half.vaults);
    let named = named.chain(facts.rulings.iter().map(|(_, ruling)| ruling.vaults)).next();
    let vaults = named.or_else(|| escrow.map(|escrow| Vaults { escrow, bond: None }));
    let funding = vaults.map(|vaults| Funding::new(vaults, Some(0)));
    let tip = records.contract.as_ref().map_or(0, |contract| contract.confirmations);
    evaluate(&view(
        records,
        ChainFacts { tip, synced: true, fundings: funding.into_iter().collect(), ..ChainFacts::default() },
    ))
}

fn violation(finding: Finding) -> Violation {
    Violation { record: finding.record, trade: finding.trade, rule: finding.rule }
}

#[cfg(test)]
mod tests;
