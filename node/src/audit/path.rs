//! The ways of a trade's coins through the chain: each from an output of which somebody says something, through every extension, to
//! the transaction that ended it.

use bitcoin::{OutPoint, TxOut};
use exchange_ledger::body::{Coin, Vaults};
use exchange_ledger::ledger::TradeRecords;
use exchange_ledger::trade::{ChainFacts, Escrow, Facts, Funding, Spend, SpendPath, View};
use exchange_ledger::wire::Outpoint;

use crate::chain::{ChainBackend, ChainError, OutpointStatus};

/// How many extensions are followed: parties and arbiters who keep to the rules make three.
const MAX_STEPS: usize = 64;

/// How many outputs of one trade are looked up, each of which may cost a look through all blocks since the agreement. Five at most
/// are named, and those who keep to the rules sign for no others but what three extensions make of them.
pub const MAX_OUTPUTS: usize = 16;

/// The ways of all coins of a trade, each with the output from which on it was followed.
#[derive(Debug)]
pub struct Paths {
    all: Vec<(OutPoint, Path)>,
    is_cut: bool,
}

impl Paths {
    /// Follows the coins from all outputs on that somebody names, or for which he signs something: from `most` at most, each of
    /// which is a look-up, and what is left out is [told](Self::is_cut). What comes after the first of a way is not counted: each
    /// step costs somebody a transaction in a block.
    /// No more `blocks` are read for all of it, and those that are read are taken off them.
    ///
    /// # Errors
    /// When the chain cannot be asked.
    pub async fn follow(
        chain: &dyn ChainBackend,
        escrow: &Escrow,
        facts: &Facts,
        most: usize,
        blocks: &mut u32,
    ) -> Result<Self, ChainError> {
        let mut paths: Vec<(OutPoint, Path)> = Vec::new();
        for outpoint in facts.outputs(escrow) {
            // What an extension made was met on the way.
            if paths.iter().any(|(_, path)| path.passes(&outpoint)) {
                continue;
            }
            if paths.len() >= most {
                return Ok(Self { all: paths, is_cut: true });
            }
            let Some(path) = Path::follow(chain, escrow, outpoint, blocks).await? else {
                return Ok(Self { all: paths, is_cut: true });
            };
            paths.push((outpoint, path));
        }
        Ok(Self { all: paths, is_cut: false })
    }

    /// Tells whether there are more outputs than were to be looked up, or more blocks to be read for them. Then the one that counts
    /// may be among them, so nothing can be said of the trade.
    pub const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Returns how many outputs were looked up.
    pub const fn count(&self) -> usize {
        self.all.len()
    }

    /// Returns the way on which an output lies, or that begins with it.
    pub fn through(&self, outpoint: &OutPoint) -> Option<&Path> {
        self.all.iter().find(|(from, path)| from == outpoint || path.passes(outpoint)).map(|(_, path)| path)
    }

    /// Returns the way of the coins that count: by the rule by which parties and arbiters look at them, whichever are named.
    pub fn counting(self, records: &TradeRecords, tip: u32) -> Option<Path> {
        let paths = || self.all.iter().map(|(_, path)| path);
        let fundings = paths().flat_map(|path| path.fundings.iter().copied()).collect();
        let spends = paths().flat_map(Path::spends).cloned().collect();
        let chain = ChainFacts { tip, synced: true, fundings, spends, ..ChainFacts::default() };
        let view = View { contract: records.contract.clone(), facts: records.facts.clone(), chain };
        let root = view.chain.root_of(view.funding()?).outpoint();
        self.all.into_iter().map(|(_, path)| path).find(|path| path.passes(&root))
    }
}

/// What the chain shows of a trade's coins.
#[derive(Debug, Default)]
pub struct Path {
    /// The output from which on it was followed, whatever it is; `None` if the chain has none.
    pub output: Option<TxOut>,
    /// Whether that one waits in the pool, and no block holds it.
    pub waits: bool,
    /// The outputs that held the coins, one after the other; none if the first one funds no escrow.
    pub fundings: Vec<Funding>,
    /// The transactions between them.
    pub extensions: Vec<Spend>,
    /// The transaction that spends the last of them.
    pub end: Option<Spend>,
    /// The one by which the buyer took his bond back alone.
    pub bond: Option<Spend>,
}

impl Path {
    /// Follows the coins from an output on; `None` when more `blocks` would have to be read.
    async fn follow(
        chain: &dyn ChainBackend,
        escrow: &Escrow,
        first: OutPoint,
        blocks: &mut u32,
    ) -> Result<Option<Self>, ChainError> {
        let Some(path) = Self::follow_escrow(chain, escrow, first, blocks).await? else { return Ok(None) };
        path.with_bond(chain, escrow, blocks).await
    }

    /// Returns what held the coins at last. A bond that was taken back alone lay in the last outputs that had one.
    pub fn vaults(&self) -> Option<Vaults> {
        let last = self.fundings.last()?.vaults;
        let bond = self.fundings.iter().rev().find_map(|funding| funding.vaults.bond);
        Some(Vaults { bond, ..last })
    }

    /// Tells whether an output is one of those that held the coins.
    fn passes(&self, outpoint: &OutPoint) -> bool {
        self.fundings.iter().any(|funding| funding.outpoint() == *outpoint)
    }

    /// Returns the transactions that spend these.
    fn spends(&self) -> impl Iterator<Item = &Spend> {
        self.extensions.iter().chain(&self.end).chain(&self.bond)
    }

    /// Adds how the buyer took his bond back alone, if he did; `None` when more blocks would have to be read.
    async fn with_bond(
        mut self,
        chain: &dyn ChainBackend,
        escrow: &Escrow,
        blocks: &mut u32,
    ) -> Result<Option<Self>, ChainError> {
        let Some((vaults, bond)) = self.vaults().and_then(|vaults| Some((vaults, vaults.bond?))) else {
            return Ok(Some(self));
        };
        let (outpoint, Some(output)) = (bond.outpoint.0, escrow.bond_output()) else { return Ok(Some(self)) };
        if self.end.as_ref().is_some_and(|end| end.spends(&outpoint)) {
            return Ok(Some(self));
        }
        let from = escrow.contract().funded_from();
        let status = chain.outpoint_within(outpoint, output.script_pubkey, from, blocks).await?;
        let Some(status) = status else { return Ok(None) };
        if let OutpointStatus::Spent { height, by, spent_height, .. } = status {
            let tip = chain.tip().await?.height;
            self.bond = Spend::read(escrow, &Funding::new(vaults, height), tip, &by, spent_height);
        }
        Ok(Some(self))
    }

    async fn follow_escrow(
        chain: &dyn ChainBackend,
        escrow: &Escrow,
        first: OutPoint,
        blocks: &mut u32,
    ) -> Result<Option<Self>, ChainError> {
        let mut path = Self::default();
        let (mut outpoint, mut from) = (first, escrow.contract().funded_from());
        for _ in 0..MAX_STEPS {
            let status = chain.outpoint_within(outpoint, escrow.script(), from, blocks).await?;
            let Some(status) = status else { return Ok(None) };
            let (output, height, spender) = match status {
                OutpointStatus::Unknown => return Ok(Some(path)),
                OutpointStatus::Unspent { output, height } => (output, height, None),
                OutpointStatus::Spent { output, height, by, spent_height } => {
                    (output, height, Some((*by, spent_height)))
                }
            };
            if path.output.is_none() {
                let tip = chain.tip().await?.height;
                let is_funding = output == escrow.output() && escrow.contract().can_be_funded_at(height, tip);
                let vaults = if is_funding { funded(chain, escrow, outpoint, height).await? } else { None };
                (path.output, path.waits) = (Some(output), height.is_none());
                path.fundings.extend(vaults.map(|vaults| Funding::new(vaults, height)));
            }
            let (Some(held), Some((tx, spent_height))) = (path.fundings.last().copied(), spender) else {
                return Ok(Some(path));
            };
            let tip = chain.tip().await?.height;
            let Some(spend) = Spend::read(escrow, &held, tip, &tx, spent_height) else { return Ok(Some(path)) };
            match (spend.path, escrow.extended(&spend.tx, &held.vaults), spent_height) {
                (SpendPath::Extension, Some(vaults), Some(height)) => {
                    let extends = Some(held.outpoint());
                    path.fundings.push(Funding { vaults, height: Some(height), extends });
                    path.extensions.push(spend);
                    (outpoint, from) = (vaults.outpoint(), height);
                }
                (_, _, _) => {
                    path.end = Some(spend);
                    return Ok(Some(path));
                }
            }
        }
        Ok(Some(path))
    }
}

/// Returns all outputs of a trade of which one is the escrow: the buyer's bond stands in the same transaction.
async fn funded(
    chain: &dyn ChainBackend,
    escrow: &Escrow,
    outpoint: OutPoint,
    height: Option<u32>,
) -> Result<Option<Vaults>, ChainError> {
    if escrow.bond_output().is_none() {
        let value = escrow.contract().escrow_value();
        return Ok(Some(Vaults { escrow: Coin { outpoint: Outpoint(outpoint), value }, bond: None }));
    }
    let Some(height) = height else { return Ok(None) };
    let block = chain.block_at(height).await?;
    let txs = block.iter().flat_map(|block| &block.txdata);
    let mut fundings = txs.filter(|tx| tx.compute_txid() == outpoint.txid).flat_map(|tx| escrow.fundings(tx));
    Ok(fundings.find(|vaults| vaults.outpoint() == outpoint))
}
