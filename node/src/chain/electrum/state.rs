//! What servers have told and proven: the chain, and what of it touches the scripts under watch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bitcoin::{OutPoint, ScriptBuf, Transaction, TxOut, Txid};

use super::history::{Entry, History, Room, script_hash};
use crate::chain::follower::{Matches, Scripts};
use crate::chain::headers::{Headers, Left};
use crate::chain::{BlockRef, ChainError};

/// How many proven transactions are kept; a busy trader has thousands.
const MAX_CONFIRMED: usize = 50_000;
/// How many transactions wait for a block at most. A server can invent these, so what comes beyond is left out.
const MAX_WAITING_TXS: usize = 1_000;

/// What is known.
#[derive(Debug)]
pub(super) struct State {
    /// The chain as it is shown: everything told of its blocks is here.
    pub shown: Headers,
    pub left: Left,
    /// Whether a server was read to its end.
    pub synced: bool,
    /// Why nobody can be asked; `None` while a server answers.
    pub outage: Option<ChainError>,
    /// How often a server failed.
    pub failures: usize,
    scripts: HashMap<ScriptBuf, Watched>,
    by_hash: HashMap<String, ScriptBuf>,
    /// How many scripts nothing is known of yet.
    unheard: usize,
    /// The scripts whose histories nobody shows now, each with the reason. What was known of them before stays.
    withheld: HashMap<ScriptBuf, String>,
    /// How often it changed which these are.
    withholdings: u64,
    confirmed: HashMap<Txid, Entry>,
    by_place: BTreeMap<(u32, u32), Txid>,
    waiting: HashMap<Txid, Arc<Transaction>>,
    /// What was proven to be in blocks that had been shown without it, with its number, in order. None of it makes room for what
    /// comes later: one script with very many payments would have a spend of another never told. It is a part of what is proven.
    late: Vec<(u64, Entry)>,
    learnt: u64,
}

/// A script under watch.
#[derive(Debug, Default)]
struct Watched {
    /// Whether its history was read once, or refused: nobody waits for it any longer.
    heard: bool,
    /// Whether it has to be asked for.
    is_stale: bool,
    /// The status for which its history was read; `None` when it was never read, or lost blocks since.
    read_for: Option<Option<String>>,
    waiting: Vec<Arc<Transaction>>,
}

/// A script to ask for.
#[derive(Debug, Clone)]
pub(super) struct Stale {
    pub script: ScriptBuf,
    /// The status for which its history was read; `None` when it was never read, refused last, or lost blocks since.
    pub read_for: Option<Option<String>>,
}

/// What a server says of a script.
#[derive(Debug)]
pub(super) struct News {
    pub script: ScriptBuf,
    pub said: Said,
}

/// What is said of a script.
#[derive(Debug)]
pub(super) enum Said {
    /// Its history is as it was.
    AsItWas,
    /// Its history.
    Told(History),
    /// Nobody shows its history, for this reason.
    Refused(String),
}

impl News {
    pub fn is_refused(&self) -> bool {
        match self.said {
            Said::Refused(_) => true,
            Said::AsItWas | Said::Told(_) => false,
        }
    }
}

impl State {
    pub fn new(base: BlockRef) -> Self {
        Self {
            shown: Headers::new(base),
            left: Left::default(),
            synced: false,
            outage: None,
            failures: 0,
            scripts: HashMap::new(),
            by_hash: HashMap::new(),
            unheard: 0,
            withheld: HashMap::new(),
            withholdings: 0,
            confirmed: HashMap::new(),
            by_place: BTreeMap::new(),
            waiting: HashMap::new(),
            late: Vec::new(),
            learnt: 0,
        }
    }

    /// Watches scripts from now on; tells whether one is new.
    pub fn watch(&mut self, scripts: &Scripts) -> bool {
        let before = self.unheard;
        for script in scripts.iter().filter(|script| !self.scripts.contains_key(*script)).cloned().collect::<Vec<_>>() {
            self.by_hash.insert(script_hash(&script), script.clone());
            self.scripts.insert(script, Watched { is_stale: true, ..Watched::default() });
            self.unheard += 1;
        }
        self.unheard > before
    }

    /// Whether something of these scripts is still unknown.
    pub fn awaits(&self, scripts: &Scripts) -> bool {
        let is_unheard = |script| self.scripts.get(script).is_none_or(|watched| !watched.heard);
        self.unheard > 0 && scripts.iter().any(is_unheard)
    }

    /// Asks for every script again: a block came, or another server.
    pub fn doubt_all(&mut self) {
        self.scripts.values_mut().for_each(|watched| watched.is_stale = true);
    }

    /// Asks for a script again, by its hash. One that is withheld waits for a block, or until [`Self::doubt_withheld`]: whoever pays
    /// to it over and over is not to have it asked for as often.
    pub fn doubt(&mut self, script_hash: &str) {
        let script = self.by_hash.get(script_hash).filter(|script| !self.withheld.contains_key(*script));
        if let Some(watched) = script.and_then(|script| self.scripts.get_mut(script)) {
            watched.is_stale = true;
        }
    }

    /// Asks for the scripts again that are withheld.
    pub fn doubt_withheld(&mut self) {
        for script in self.withheld.keys() {
            if let Some(watched) = self.scripts.get_mut(script) {
                watched.is_stale = true;
            }
        }
    }

    /// Returns how often it changed which scripts are withheld.
    pub fn withholdings(&self) -> u64 {
        self.withholdings
    }

    /// Returns which of these scripts are withheld, each with the reason.
    pub fn withheld(&self, scripts: &Scripts) -> HashMap<ScriptBuf, String> {
        let withheld = self.withheld.iter().filter(|(script, _)| scripts.contains(script.as_script()));
        withheld.map(|(script, reason)| (script.clone(), reason.clone())).collect()
    }

    /// Returns what has to be asked for.
    pub fn stale(&self) -> Vec<Stale> {
        let stale = self.scripts.iter().filter(|(_, watched)| watched.is_stale);
        stale
            .map(|(script, watched)| Stale {
                script: script.clone(),
                read_for: watched.read_for.clone().filter(|_| !self.withheld.contains_key(script)),
            })
            .collect()
    }

    /// Shows a chain and what is new of it.
    pub fn show(&mut self, chain: &Headers, news: Vec<News>) {
        let (left, first_new) = self.shown.become_like(chain);
        self.left.add(&left);
        self.forget_from(first_new);
        for News { script, said } in news {
            let Some(watched) = self.scripts.get_mut(&script) else { continue };
            let was_heard = std::mem::replace(&mut watched.heard, true);
            self.unheard -= usize::from(!was_heard);
            watched.is_stale = false;
            let History { status, confirmed, waiting } = match said {
                Said::AsItWas => continue,
                Said::Told(history) => history,
                Said::Refused(reason) => {
                    self.withhold(script, reason);
                    continue;
                }
            };
            let more = confirmed.iter().filter(|entry| !self.confirmed.contains_key(&entry.tx.compute_txid())).count();
            // It is the one that asks for too much, and not those that are there.
            if self.confirmed.len().saturating_add(more) > MAX_CONFIRMED {
                self.withhold(script, format!("{more} more transactions are too many to keep"));
                continue;
            }
            (watched.read_for, watched.waiting) = (Some(status), waiting);
            if self.withheld.remove(&script).is_some() {
                self.withholdings = self.withholdings.saturating_add(1);
            }
            for entry in confirmed {
                self.confirm(entry, was_heard, first_new);
            }
        }
        self.waiting.clear();
        let room = Room::new();
        for watched in self.scripts.values_mut() {
            watched.waiting.retain(|tx| {
                let txid = tx.compute_txid();
                let is_kept = self.waiting.contains_key(&txid);
                if is_kept || self.confirmed.contains_key(&txid) {
                    return is_kept;
                }
                let has_room = self.waiting.len() < MAX_WAITING_TXS && room.take(tx);
                if has_room {
                    self.waiting.insert(txid, Arc::clone(tx));
                }
                has_room
            });
        }
        (self.synced, self.outage) = (true, None);
    }

    /// Notes that nobody shows the history of a script.
    fn withhold(&mut self, script: ScriptBuf, reason: String) {
        if self.withheld.get(&script) != Some(&reason) {
            self.withheld.insert(script, reason);
            self.withholdings = self.withholdings.saturating_add(1);
        }
    }

    fn confirm(&mut self, entry: Entry, was_heard: bool, first_new: u32) {
        let txid = entry.tx.compute_txid();
        if self.confirmed.contains_key(&txid) || self.shown.hash_at(entry.block.height) != Some(entry.block.hash) {
            return;
        }
        if was_heard && entry.block.height < first_new {
            self.learnt = self.learnt.saturating_add(1);
            self.late.push((self.learnt, entry.clone()));
        }
        self.by_place.insert((entry.block.height, entry.pos), txid);
        self.confirmed.insert(txid, entry);
    }

    /// Drops what blocks confirmed that left the chain. If there was any, every script is read again whatever its status, for that
    /// is the same where another block at the same height holds the same.
    fn forget_from(&mut self, height: u32) {
        let lost = self.by_place.split_off(&(height, 0));
        if lost.is_empty() {
            return;
        }
        for txid in lost.into_values() {
            self.confirmed.remove(&txid);
        }
        self.late.retain(|(_, entry)| entry.block.height < height);
        for watched in self.scripts.values_mut() {
            (watched.is_stale, watched.read_for) = (true, None);
        }
    }

    /// Returns the number of what came to light late.
    pub fn learnt(&self) -> u64 {
        self.learnt
    }

    /// Returns what came to light late after a number and touches scripts.
    pub fn late(&self, since: u64, scripts: &Scripts) -> Vec<(BlockRef, Transaction)> {
        let read = self.late.partition_point(|(number, _)| *number <= since);
        let late = self.late.iter().skip(read).map(|(_, entry)| entry);
        late.filter(|entry| self.touches(&entry.tx, scripts)).map(|entry| (entry.block, (*entry.tx).clone())).collect()
    }

    /// Returns what a block holds that touches scripts, in its order.
    pub fn in_block(&self, height: u32, scripts: &Scripts) -> Vec<Transaction> {
        let places = self.by_place.range((height, 0)..=(height, u32::MAX));
        let txs = places.filter_map(|(_, txid)| self.confirmed.get(txid)).map(|entry| &entry.tx);
        txs.filter(|tx| self.touches(tx, scripts)).map(|tx| (**tx).clone()).collect()
    }

    /// Returns the ids of what waits for a block.
    pub fn pool(&self) -> Vec<Txid> {
        self.waiting.keys().copied().collect()
    }

    /// Returns those of the waiting transactions that touch scripts.
    pub fn waiting(&self, ids: &[Txid], scripts: &Scripts) -> Matches {
        let txs = ids.iter().filter_map(|txid| self.waiting.get(txid));
        let txs = txs.filter(|tx| self.touches(tx, scripts)).map(|tx| (**tx).clone()).collect();
        Matches { txs, absent: ids.iter().filter(|txid| !self.waiting.contains_key(*txid)).copied().collect() }
    }

    /// Returns a transaction that was proven.
    pub fn entry(&self, txid: &Txid) -> Option<&Entry> {
        self.confirmed.get(txid)
    }

    fn touches(&self, tx: &Transaction, scripts: &Scripts) -> bool {
        let spent = tx.input.iter().filter_map(|input| self.output(&input.previous_output));
        scripts.touched_by(tx, spent.map(|output| output.script_pubkey.as_script()))
    }

    fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        let confirmed = self.confirmed.get(&outpoint.txid).map(|entry| &entry.tx);
        let tx = confirmed.or_else(|| self.waiting.get(&outpoint.txid))?;
        tx.output.get(outpoint.vout as usize) // u32 fits
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::block::Header;
    use bitcoin::hashes::Hash;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, BlockHash, CompactTarget, TxMerkleNode};

    use super::*;

    fn chain() -> Headers {
        Headers::new(BlockRef { height: 0, hash: BlockHash::all_zeros() })
    }

    /// Adds a block, which another branch has not.
    fn extend(chain: &mut Headers, branch: u32) -> BlockRef {
        let tip = chain.tip();
        let header = Header {
            version: bitcoin::block::Version::TWO,
            prev_blockhash: tip.hash,
            merkle_root: TxMerkleNode::all_zeros(),
            time: 0,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: branch,
        };
        chain.put(tip.height + 1, header);
        chain.tip()
    }

    fn script(byte: u8) -> ScriptBuf {
        ScriptBuf::from_bytes(vec![byte])
    }

    fn pay(byte: u8, lock_time: u32) -> Arc<Transaction> {
        let output = vec![TxOut { value: Amount::ONE_SAT, script_pubkey: script(byte) }];
        let lock_time = LockTime::from_consensus(lock_time);
        Arc::new(Transaction { version: Version::TWO, lock_time, input: Vec::new(), output })
    }

    fn told(byte: u8, waiting: u32) -> News {
        let (status, waiting) = (Some(waiting.to_string()), (0..waiting).map(|number| pay(byte, number)).collect());
        let history = History { status, waiting, ..History::default() };
        News { script: script(byte), said: Said::Told(history) }
    }

    /// So many payments to a script in a block.
    fn mined(byte: u8, count: u32, block: BlockRef) -> News {
        let entry = |number: u32| Entry { block, pos: u32::from(byte) + 256 * number, tx: pay(byte, number) };
        // Of which block they are does not show in the status.
        let status = Some(format!("{count} at {}", block.height));
        let history = History { status, confirmed: (0..count).map(entry).collect(), ..History::default() };
        News { script: script(byte), said: Said::Told(history) }
    }

    fn refused(byte: u8, reason: &str) -> News {
        News { script: script(byte), said: Said::Refused(reason.to_owned()) }
    }

    /// Whoever waits for a script that is refused waits no longer; others are shown, and the tip with them.
    #[test]
    fn a_refusal_is_about_one_script() {
        let (chain, mut state) = (chain(), State::new(chain().base()));
        let scripts: Scripts = [script(1), script(2)].into_iter().collect();
        state.watch(&scripts);
        assert!(state.awaits(&scripts));
        state.show(&chain, vec![refused(1, "too large"), told(2, 1)]);
        assert!(!state.awaits(&scripts) && state.synced && state.outage.is_none());
        assert_eq!(state.withheld(&scripts), HashMap::from([(script(1), "too large".to_owned())]));
        assert_eq!((state.pool().len(), state.withholdings()), (1, 1));
        // The same reason again is no news.
        state.show(&chain, vec![refused(1, "too large")]);
        assert_eq!(state.withholdings(), 1);
    }

    /// A server that tells of one script alone while the chain turns takes nothing away of another for good.
    #[test]
    fn what_left_the_chain_is_asked_for_again_whatever_its_status() {
        let (mut old, mut new) = (chain(), chain());
        let (left, came) = (extend(&mut old, 1), extend(&mut new, 2));
        extend(&mut new, 2);
        let mut state = State::new(chain().base());
        let scripts: Scripts = [script(1), script(2)].into_iter().collect();
        state.watch(&scripts);
        state.show(&old, vec![mined(1, 1, left), mined(2, 1, left)]);
        assert_eq!((state.stale().len(), state.in_block(1, &scripts).len()), (0, 2));
        state.show(&new, vec![mined(1, 1, came)]);
        assert_eq!(state.in_block(1, &scripts), [Transaction::clone(&pay(1, 0))]);
        let stale = state.stale();
        assert_eq!((stale.len(), &stale[0].script, &stale[0].read_for), (1, &script(2), &None));
        state.show(&new, vec![mined(2, 1, came)]);
        assert_eq!((state.stale().len(), state.in_block(1, &scripts).len()), (0, 2));
        // Whoever was told of the block without it hears of it now.
        assert_eq!(state.late(0, &scripts), [(came, Transaction::clone(&pay(2, 0)))]);
        state.doubt_all();
        assert!(state.stale().iter().all(|stale| stale.read_for == Some(Some("1 at 1".to_owned()))));
    }

    /// A script that is shown again with very many payments, in the same look as a spend that one server had hidden.
    #[test]
    fn what_comes_to_light_late_pushes_out_nothing() {
        let mut chain = chain();
        let block = extend(&mut chain, 1);
        let mut state = State::new(chain.base());
        let scripts = |bytes: &[u8]| bytes.iter().copied().map(script).collect::<Scripts>();
        state.watch(&scripts(&[1, 2]));
        state.show(&chain, vec![refused(1, "too large"), told(2, 0)]);
        state.show(&chain, vec![mined(2, 1, block), mined(1, 2_000, block)]);
        assert_eq!(state.late(0, &scripts(&[2])), [(block, Transaction::clone(&pay(2, 0)))]);
        assert_eq!((state.learnt(), state.late(0, &scripts(&[1])).len()), (2_001, 2_000));
        assert_eq!((state.late(1, &scripts(&[2])).len(), state.late(1_501, &scripts(&[1])).len()), (0, 500));
        // It goes with what is proven.
        let mut other = Headers::new(chain.base());
        extend(&mut other, 2);
        extend(&mut other, 2);
        state.show(&other, Vec::new());
        assert_eq!((state.late.len(), state.confirmed.len()), (0, 0));
    }

    /// Not whenever somebody pays to it, but at each block, and after a while.
    #[test]
    fn what_is_withheld_is_asked_for_as_if_it_had_never_been_read() {
        let (chain, mut state) = (chain(), State::new(chain().base()));
        let scripts: Scripts = [script(1)].into_iter().collect();
        state.watch(&scripts);
        state.show(&chain, vec![told(1, 2)]);
        state.doubt(&script_hash(&script(1)));
        assert_eq!(state.stale()[0].read_for, Some(Some("2".to_owned())));
        state.show(&chain, vec![refused(1, "too large")]);
        assert_eq!(state.pool().len(), 2, "what was known is not taken back");
        state.doubt(&script_hash(&script(1)));
        assert!(state.stale().is_empty());
        for doubt in [State::doubt_all, State::doubt_withheld] {
            doubt(&mut state);
            assert_eq!(state.stale()[0].read_for, None);
            state.show(&chain, vec![refused(1, "too large")]);
        }
        state.show(&chain, vec![told(1, 3)]);
        assert_eq!((state.withheld(&scripts).len(), state.withholdings(), state.pool().len()), (0, 2, 3));
        state.doubt_withheld();
        assert!(state.stale().is_empty());
    }
}
