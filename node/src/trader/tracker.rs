//! What the chain shows of each escrow, gathered from the events of one follower.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::{OutPoint, ScriptBuf, Transaction, Txid};
use exchange_ledger::body::{Coin, Vaults};
use exchange_ledger::ids::TradeId;
use exchange_ledger::money::Sats;
use exchange_ledger::rules::CLOSED_DEPTH;
use exchange_ledger::trade::{ChainFacts, Escrow, Funding, Stray, Vault};
use exchange_ledger::wire::Outpoint;

use crate::chain::{ChainEvent, WatchRequest};

/// How many fundings of one escrow that blocks hold are kept: the first, which are the same for everybody. To fill this,
/// somebody must pay the exact amount that often. So many of those that wait are kept, too.
const MAX_FUNDINGS: usize = 64;

/// How many transactions of one escrow are kept that wait in the pool. Others may make them up, so they take no place of what
/// blocks hold.
const MAX_UNCONFIRMED: usize = 64;

/// How many transactions of one escrow are kept that blocks hold. What spends a funding that is kept has to be: unseen, it
/// would leave its coins where they are not any more. For each funding there are at most two, unless an arbiter and a party,
/// who could take everything, extend without end.
const MAX_HELD: usize = 1_024;

/// How many strays of one escrow are kept that are of no funding: the largest, so that whoever hides one has to leave more there.
const MAX_STRAYS: usize = 16;

/// The least that such a stray holds, in satoshis: to take back less may cost as much in a dear week. A node looks again for what
/// it keeps, at each start, so it does not do so for dust.
const MIN_STRAY: u64 = 10_000;

/// For how many refund delays the escrow of a case is looked for: one from its funding, one more for each of three
/// extensions, and one between the agreement and the funding. What is older the seller has long taken back.
const LIVES: u32 = 5;

/// How many blocks below the tip the chain is followed from: two days, which every node has, one that prunes too. What lies lower is
/// searched for besides, so that a trade of long ago keeps nobody from knowing where those of today stand.
const FOLLOWED: u32 = 288;

/// How many blocks of the past are searched for cases for each block that comes: a month's once in three hours at most,
/// and ten months', which are all that strangers can ask for, once in 28.
const SEARCHED_PER_BLOCK: u32 = 256;

/// The escrows under watch and the transactions that touch them.
#[derive(Debug, Default)]
pub struct Tracker {
    tip: u32,
    /// The time of the block that was told last. Stays where blocks are undone: those that come instead are hardly older.
    time: u32,
    /// Whether the tip was reached, and nothing was undone since.
    synced: bool,
    escrows: HashMap<TradeId, Watched>,
    /// The tip from which on the past is searched again for cases.
    rests_until: u32,
    /// The scripts of which nobody tells now, each with the reason. One stays when its escrow is forgotten: the follower tells
    /// of a change only.
    withheld: HashMap<ScriptBuf, String>,
}

#[derive(Debug)]
struct Watched {
    escrow: Escrow,
    stated: Stated,
    search: Search,
    scripts: Vec<ScriptBuf>,
    txs: HashMap<Txid, Seen>,
    /// What else blocks hold on its scripts. It takes no place of what is above.
    lying: Vec<Lying>,
}

/// An output on a script of an escrow that is of no funding.
#[derive(Debug)]
struct Lying {
    stray: Stray,
    /// The height of the block that spends it.
    spent_at: Option<u32>,
}

/// Who stated the height of a contract, which may be any. From there on an escrow is looked for, but no lower than it can lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stated {
    /// This node, which accepted the bid.
    Here,
    /// The maker who accepted a bid of this node.
    ByMaker {
        /// The lowest height of a block that came after the bid. Its escrow has a key that nobody knew before.
        lowest: u32,
    },
    /// Likewise, and it may have been a height to come: then this side can have paid in below it, which never counts.
    ToCome {
        /// The same; from there on it is looked for.
        lowest: u32,
    },
    /// A stranger, in a trade of others.
    ByStranger,
}

/// How the chain is followed anew.
#[derive(Debug)]
pub struct Plan {
    /// The first height that is followed; `None` if none has to be.
    pub first: Option<u32>,
    /// What is watched from there on.
    pub scripts: Vec<ScriptBuf>,
    /// What is to be asked for besides. Those together lie about as deep, and in all the blocks of the past are read twice; and for
    /// cases so again, for strangers say how deep these lie: they keep back no trade of this identity.
    pub older: Vec<WatchRequest>,
}

/// A transaction of an escrow.
#[derive(Debug)]
struct Seen {
    /// Shared by all escrows that it pays: an arbiter may be shown one that pays thousands.
    tx: Arc<Transaction>,
    status: Status,
    /// The outputs of the escrow that it makes: as a funding, or by extending what was known when it was seen.
    made: Vec<Vaults>,
}

/// Whether the past was searched for an escrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// The follower begins below it: it is searched once the follower is at the tip.
    ByFollowing,
    /// It waits until the follower is asked for all that wait at once.
    Waits,
    /// The follower was asked to search, and has not answered.
    Asked,
    /// Nothing of the past is unknown.
    Done,
}

/// Where a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// In the block of this height.
    Block(u32),
    /// In the pool.
    Pool,
    /// Its block was undone. Unless the follower finds it again before it is at the tip, it is nowhere: another transaction
    /// took its coins.
    Undone,
}

impl Status {
    const fn height(self) -> Option<u32> {
        match self {
            Self::Block(height) => Some(height),
            Self::Pool | Self::Undone => None,
        }
    }
}

impl Tracker {
    /// Tells whether the escrow of a trade is under watch.
    pub fn watches(&self, trade: &TradeId) -> bool {
        self.escrows.contains_key(trade)
    }

    /// Starts to watch the escrow of an own trade; returns the height from which on the past is to be searched for it, if it was
    /// new. Whoever accepted the bid could have paid in before anybody else knew the escrow: so only what was accepted here, just
    /// now, has no past.
    pub fn watch(&mut self, escrow: &Escrow, stated: Stated) -> Option<u32> {
        let height = escrow.contract().height;
        let has_no_past = stated == Stated::Here && self.synced && height >= self.tip;
        let search = if has_no_past { Search::Done } else { Search::Asked };
        let first = self.add(escrow, stated, search)?;
        Some(if has_no_past { height } else { first })
    }

    /// Starts to watch the escrow of a case, once it is its turn (see [`Self::due`]); tells whether it was new.
    pub fn watch_case(&mut self, escrow: &Escrow) -> bool {
        self.add(escrow, Stated::ByStranger, Search::Waits).is_some()
    }

    /// Adds an escrow; returns the first height at which it is looked for, if it was new.
    fn add(&mut self, escrow: &Escrow, stated: Stated, search: Search) -> Option<u32> {
        let trade = escrow.contract().trade;
        if self.watches(&trade) {
            return None;
        }
        let (scripts, txs, lying) = (escrow.scripts(), HashMap::new(), Vec::new());
        let watched = Watched { escrow: escrow.clone(), stated, search, scripts, txs, lying };
        let first = watched.first(self.tip);
        self.escrows.insert(trade, watched);
        Some(first)
    }

    /// Stops to look at an escrow.
    pub fn forget(&mut self, trade: &TradeId) {
        self.escrows.remove(trade);
    }

    /// Returns the scripts of all cases that wait to be looked for and the height from which on, if it is time.
    /// Strangers may state any height: so the past is searched for all of them at once, and again when the chain has
    /// grown in proportion.
    pub fn due(&mut self) -> Option<(Vec<ScriptBuf>, u32)> {
        let tip = self.tip()?;
        if tip < self.rests_until {
            return None;
        }
        let waiting = || self.escrows.values().filter(|watched| watched.search == Search::Waits);
        let from = waiting().map(|watched| watched.first(tip)).min()?;
        let scripts = waiting().flat_map(|watched| watched.scripts.clone()).collect();
        for watched in self.escrows.values_mut().filter(|watched| watched.search == Search::Waits) {
            watched.search = Search::Asked;
        }
        self.rests_until = tip.saturating_add(tip.saturating_sub(from) / SEARCHED_PER_BLOCK);
        Some((scripts, from))
    }

    /// Forgets what it saw: the chain is followed anew.
    pub fn restart(&mut self) {
        self.synced = false;
        self.withheld.clear();
        for watched in self.escrows.values_mut() {
            watched.txs.clear();
            watched.lying.clear();
            watched.search = Search::ByFollowing;
        }
    }

    /// Returns how the chain is followed anew up to this tip, so that everything is found that is watched now.
    pub fn plan(&mut self, tip: u32) -> Plan {
        let (mut first, mut scripts) = (None, Vec::new());
        let mut older: BTreeMap<(bool, Option<u32>), WatchRequest> = BTreeMap::new();
        for watched in self.escrows.values_mut() {
            let (from_height, is_case) = (watched.first(tip), watched.stated == Stated::ByStranger);
            match (is_case, (tip.saturating_sub(from_height) / FOLLOWED).checked_ilog2()) {
                (false, None) => {
                    watched.search = Search::ByFollowing;
                    first = Some(first.map_or(from_height, |first: u32| first.min(from_height)));
                    scripts.extend(watched.scripts.iter().cloned());
                }
                depth @ ((false, Some(_)) | (true, Some(_) | None)) => {
                    watched.search = Search::Asked;
                    let none = || WatchRequest { scripts: Vec::new(), from_height };
                    let request = older.entry(depth).or_insert_with(none);
                    request.from_height = request.from_height.min(from_height);
                    request.scripts.extend(watched.scripts.iter().cloned());
                }
            }
        }
        Plan { first, scripts, older: older.into_values().collect() }
    }

    /// Notes that the chain is followed from a block of this time on, which is not told any more.
    pub fn begin(&mut self, time: u32) {
        self.time = time;
    }

    /// Takes in an event. Tells whether anything changed that a trade could notice.
    pub fn apply(&mut self, event: &ChainEvent) -> bool {
        match event {
            ChainEvent::Connected { block, time, txs, .. } => {
                (self.tip, self.time) = (block.height, *time);
                txs.iter().for_each(|tx| self.see(tx, Status::Block(block.height)));
                true
            }
            ChainEvent::Disconnected { block } => {
                self.tip = block.height.saturating_sub(1);
                // What is undone may stand in a block that is yet to come: until all have, less is known than before.
                self.synced = false;
                self.escrows.values_mut().for_each(|watched| watched.undo(block.height));
                true
            }
            ChainEvent::Found { block, tx } => {
                self.see(tx, Status::Block(block.height));
                true
            }
            ChainEvent::MempoolSeen { tx } => {
                self.see(tx, Status::Pool);
                true
            }
            ChainEvent::Evicted { txid } => {
                for watched in self.escrows.values_mut() {
                    if watched.txs.get(txid).is_some_and(|seen| seen.status.height().is_none()) {
                        watched.txs.remove(txid);
                    }
                }
                true
            }
            ChainEvent::Searched { scripts } => {
                for trade in self.among(scripts) {
                    if let Some(watched) = self.escrows.get_mut(&trade) {
                        watched.search = Search::Done;
                    }
                }
                true
            }
            // What is not searched is not known, as before.
            ChainEvent::Unreadable { .. } => false,
            ChainEvent::Withheld { script, reason } => {
                self.withheld.insert(script.clone(), reason.clone());
                true
            }
            ChainEvent::Shown { script } => self.withheld.remove(script).is_some(),
            ChainEvent::Synced { tip } => {
                let mut changed = !self.synced || self.tip != tip.height;
                for watched in self.escrows.values_mut() {
                    if watched.search == Search::ByFollowing {
                        watched.search = Search::Done;
                        changed = true;
                    }
                    let known = watched.txs.len();
                    watched.txs.retain(|_, seen| seen.status != Status::Undone);
                    changed |= watched.txs.len() < known;
                }
                self.tip = tip.height;
                self.synced = true;
                changed
            }
        }
    }

    /// Returns the trades whose scripts are all among these.
    pub fn among(&self, scripts: &[ScriptBuf]) -> Vec<TradeId> {
        let scripts: HashSet<&ScriptBuf> = scripts.iter().collect();
        let is_among = |watched: &Watched| watched.scripts.iter().all(|script| scripts.contains(script));
        self.escrows.iter().filter(|(_, watched)| is_among(watched)).map(|(trade, _)| *trade).collect()
    }

    fn see(&mut self, tx: &Transaction, status: Status) {
        let (txid, tx) = (tx.compute_txid(), &Arc::new(tx.clone()));
        self.escrows.values_mut().for_each(|watched| watched.see(txid, tx, status));
    }

    /// Returns the height of the tip, and whether it was reached by following the chain.
    pub const fn tip(&self) -> Option<u32> {
        if self.synced { Some(self.tip) } else { None }
    }

    /// Returns the time of the newest block of which it was told, zero before any. It is what this node has read, which may be less
    /// than its chain backend knows to be there.
    pub const fn time(&self) -> u32 {
        self.time
    }

    /// Tells whether everything that the chain shows of a trade is known.
    pub fn is_searched(&self, trade: &TradeId) -> bool {
        self.synced && self.escrows.get(trade).is_some_and(|watched| self.is_known(watched))
    }

    /// Tells whether a block that no reorganisation takes back holds another transaction of the escrow of a trade that spends a coin of
    /// this one, as a later version from a wallet elsewhere: then this one can never confirm.
    pub fn is_dead(&self, trade: &TradeId, funding: &Transaction) -> bool {
        let Some(watched) = self.escrows.get(trade).filter(|_| self.is_searched(trade)) else { return false };
        let txid = funding.compute_txid();
        let coins: HashSet<OutPoint> = funding.input.iter().map(|input| input.previous_output).collect();
        let is_deep = |height: u32| height.saturating_add(CLOSED_DEPTH - 1) <= self.tip;
        let takes_one = |tx: &Transaction| tx.input.iter().any(|input| coins.contains(&input.previous_output));
        let mut others = watched.txs.iter().filter(|(other, _)| **other != txid);
        others.any(|(_, seen)| seen.status.height().is_some_and(is_deep) && takes_one(&seen.tx))
    }

    fn is_known(&self, watched: &Watched) -> bool {
        watched.search == Search::Done && self.reason_of(watched).is_none()
    }

    fn reason_of(&self, watched: &Watched) -> Option<&str> {
        watched.scripts.iter().find_map(|script| self.withheld.get(script)).map(String::as_str)
    }

    /// Returns who refuses to tell what touches the escrow of a trade, and why, if nobody tells of it. Then what is shown of it may
    /// be old.
    pub fn withheld(&self, trade: &TradeId) -> Option<&str> {
        self.reason_of(self.escrows.get(trade)?)
    }

    /// Returns what the chain shows of a trade.
    pub fn facts(&self, trade: TradeId) -> ChainFacts {
        let Some(watched) = self.escrows.get(&trade) else {
            return ChainFacts { tip: self.tip, synced: self.synced, ..ChainFacts::default() };
        };
        let synced = self.synced && self.is_known(watched);
        let txs = watched.txs.values().map(|seen| (&*seen.tx, seen.status.height()));
        let facts = ChainFacts::gather(&watched.escrow, self.tip, synced, txs);
        ChainFacts { strays: watched.strays(&facts.fundings), ..facts }
    }
}

impl Watched {
    /// Returns the height from which on its funding, and what lies beside that, is looked for.
    fn first(&self, tip: u32) -> u32 {
        let contract = self.escrow.contract();
        let from = contract.funded_from();
        match self.stated {
            Stated::Here => from,
            Stated::ByMaker { lowest } => from.max(lowest),
            Stated::ToCome { lowest } => lowest,
            Stated::ByStranger => from.max(tip.saturating_sub(LIVES.saturating_mul(contract.refund_delay.into()))),
        }
    }

    /// Takes back what a block said that left the chain.
    fn undo(&mut self, height: u32) {
        for seen in self.txs.values_mut() {
            if seen.status == Status::Block(height) {
                seen.status = Status::Undone;
            }
        }
        self.lying.retain(|lying| lying.stray.height != height);
        for lying in &mut self.lying {
            lying.spent_at.take_if(|spent_at| *spent_at == height);
        }
    }

    fn see(&mut self, txid: Txid, tx: &Arc<Transaction>, status: Status) {
        match (self.txs.get_mut(&txid), status) {
            (Some(known), Status::Pool | Status::Undone) => {
                // News of the pool about a confirmed transaction is old news.
                if known.status.height().is_none() {
                    known.status = status;
                }
            }
            // An id does not cover witnesses: those in the block count, whatever a pool showed before.
            (Some(_) | None, Status::Block(_)) | (None, Status::Pool | Status::Undone) => {
                self.txs.remove(&txid);
                let (made, spends) = (self.made_by(tx, status), self.spent_by(tx).next().is_some());
                if let Some(height) = status.height() {
                    self.note_strays(txid, tx, height, &made);
                }
                if (spends || !made.is_empty()) && self.has_room_for(status, made.len(), spends) {
                    self.txs.insert(txid, Seen { tx: Arc::clone(tx), status, made });
                }
            }
        }
    }

    /// Notes what of a transaction in a block lies on the escrow's scripts and is of no funding, be it that it lies too low, and
    /// which of that it spends. Of others' escrows that is nobody's here.
    fn note_strays(&mut self, txid: Txid, tx: &Transaction, height: u32, made: &[Vaults]) {
        for lying in &mut self.lying {
            if tx.input.iter().any(|input| input.previous_output == lying.stray.coin.outpoint.0) {
                lying.spent_at = Some(height);
            }
        }
        if self.stated == Stated::ByStranger {
            return;
        }
        for (vout, output) in (0..).zip(&tx.output) {
            let mut vaults = [Vault::Escrow, Vault::Bond].into_iter().zip(&self.scripts);
            let vault = vaults.find(|(_, script)| **script == output.script_pubkey).map(|(vault, _)| vault);
            let (Some(vault), Ok(value)) = (vault, Sats::try_from(output.value)) else { continue };
            let coin = Coin { outpoint: Outpoint(OutPoint { txid, vout }), value };
            if value.get() < MIN_STRAY || is_of_any(made, &coin) {
                continue;
            }
            let stray = Stray { vault, coin, height };
            match self.lying.iter_mut().find(|lying| lying.stray.coin == coin) {
                Some(known) => known.stray = stray,
                None => self.lying.push(Lying { stray, spent_at: None }),
            }
        }
        self.lying.sort_by_key(|lying| (lying.spent_at.is_some(), Reverse(lying.stray.coin.value)));
        self.lying.truncate(MAX_STRAYS);
    }

    /// Returns what lies on the escrow's scripts and no block spends, beside its fundings, the largest first.
    fn strays(&self, fundings: &[Funding]) -> Vec<Stray> {
        let held: Vec<Vaults> = fundings.iter().map(|funding| funding.vaults).collect();
        let unspent = self.lying.iter().filter(|lying| lying.spent_at.is_none()).map(|lying| lying.stray);
        let mut strays: Vec<Stray> = unspent.filter(|stray| !is_of_any(&held, &stray.coin)).collect();
        strays.sort_by_key(|stray| Reverse(stray.coin.value));
        strays
    }

    /// Returns the outputs of the escrow that a transaction makes. What else pays into its scripts does not count: it would
    /// cost nothing to fill with it, and with what spends it, the place of what does. Nor does what lies too low for all to look.
    fn made_by(&self, tx: &Transaction, status: Status) -> Vec<Vaults> {
        let counts = status.height().is_none_or(|height| height >= self.escrow.contract().funded_from());
        let may_fund = counts && tx.output.contains(&self.escrow.output()); // cheap, for there are many escrows
        let mut made = if may_fund { self.escrow.fundings(tx) } else { Vec::new() };
        let mut extended = self.spent_by(tx).filter(|vaults| self.escrow.classify(tx, vaults).is_extension());
        made.extend(extended.find_map(|vaults| self.escrow.extended(tx, &vaults)));
        made
    }

    /// Returns the known outputs of the escrow that a transaction spends, all of them or a bond alone.
    fn spent_by(&self, tx: &Transaction) -> impl Iterator<Item = Vaults> {
        tx.input.iter().filter_map(move |input| {
            let outpoint = input.previous_output;
            let is_of = |vaults: &&Vaults| vaults.coins().any(|coin| coin.outpoint.0 == outpoint);
            self.txs.get(&outpoint.txid)?.made.iter().find(is_of).copied()
        })
    }

    /// Tells whether there is room for a transaction that makes so many outputs, or spends known ones.
    fn has_room_for(&self, status: Status, made: usize, spends: bool) -> bool {
        let is_held = status.height().is_some();
        // What was undone is found again, or dropped.
        let is_alike = move |seen: &&Seen| seen.status.height().is_some() == is_held && seen.status != Status::Undone;
        let alike = || self.txs.values().filter(is_alike);
        let has_place = made + alike().map(|seen| seen.made.len()).sum::<usize>() <= MAX_FUNDINGS;
        if is_held {
            (has_place || spends) && alike().count() < MAX_HELD
        } else {
            has_place && alike().count() < MAX_UNCONFIRMED
        }
    }
}

/// Tells whether a coin is one of these outputs.
fn is_of_any(vaults: &[Vaults], coin: &Coin) -> bool {
    vaults.iter().flat_map(Vaults::coins).any(|held| held.outpoint == coin.outpoint)
}

#[cfg(test)]
mod tests;
