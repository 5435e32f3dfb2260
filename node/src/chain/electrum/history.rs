//! What touches a script: every transaction with the proof that its block holds it, or waiting for a block.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bitcoin::block::Header;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{OutPoint, Script, Transaction, Txid};
use futures::{StreamExt, TryStreamExt, stream};

use super::connection::{Connection, Failure, Item, OPEN_QUESTIONS};
use crate::chain::{BlockRef, ChainError, MAX_WAITING_WEIGHT, MAX_WEIGHT_IN_ALL};

/// How many transactions of one script may wait for a block: nodes keep at most 64 that spend each other's outputs.
const MAX_WAITING_OF_SCRIPT: usize = 100;
/// How many transactions of one script are read: as many as servers show. Anybody can pay to a script as often as he likes.
const MAX_OF_SCRIPT: usize = 10_000;
/// How heavy all may be, in weight units, that is read of blocks at a time: as 25 full ones, or 50,000 large payments. A server can
/// show any transactions of the chain before it is seen that they do not touch the script, and others' witnesses with them.
const MAX_PROVEN_WEIGHT: u64 = 100_000_000;

/// A transaction in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub block: BlockRef,
    /// Its position in the block.
    pub pos: u32,
    pub tx: Arc<Transaction>,
}

/// All that touches a script.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Its status, as the protocol computes it: what a server told before or after may be that of another moment.
    pub status: Option<String>,
    pub confirmed: Vec<Entry>,
    pub waiting: Vec<Arc<Transaction>>,
}

/// What reading a history led to.
pub(super) enum Told {
    /// The history, proven.
    Whole(History),
    /// It does not fit to the chain at hand, for this reason: either the chain moved, or the server lies.
    Unproven(String),
    /// The server refuses to show it, or it is too much to read, as this says: that is about this script only.
    Refused(String),
}

/// How much may still be read: of what waits for a block, which a server can make up, for each script anew; and of blocks.
#[derive(Debug)]
pub(super) struct Room {
    waiting: AtomicU64,
    proven: AtomicU64,
}

impl Room {
    /// Returns room for as much as is kept.
    pub fn new() -> Self {
        Self { waiting: AtomicU64::new(MAX_WEIGHT_IN_ALL), proven: AtomicU64::new(MAX_PROVEN_WEIGHT) }
    }

    /// Takes room for a transaction that waits for a block; tells whether there was enough.
    pub fn take(&self, tx: &Transaction) -> bool {
        let weight = tx.weight().to_wu();
        weight <= MAX_WAITING_WEIGHT && take(&self.waiting, weight)
    }

    /// Takes room for a transaction in a block; tells whether there was enough.
    fn take_proven(&self, tx: &Transaction) -> bool {
        take(&self.proven, tx.weight().to_wu())
    }
}

fn take(left: &AtomicU64, weight: u64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(weight)).is_ok()
}

/// What is at hand already.
pub(super) trait AtHand: Sync {
    /// Returns the height of the lowest block that is known.
    fn base(&self) -> u32;

    /// Returns the header at a height above it.
    fn header(&self, height: u32) -> Option<Header>;

    /// Returns a transaction that was proven.
    fn entry(&self, txid: &Txid) -> Option<Entry>;
}

/// Returns the name of a script in the protocol: its hash, from the last byte to the first.
pub(super) fn script_hash(script: &Script) -> String {
    let mut bytes = sha256::Hash::hash(script.as_bytes()).to_byte_array();
    bytes.reverse();
    hex::encode(bytes)
}

/// Reads and proves what touches a script. A transaction in a block below what is known is passed over, and one that waits and
/// for which there is no room.
///
/// # Errors
/// [`ChainError::Unreachable`] or [`ChainError::Invalid`].
pub(super) async fn read(
    server: &Connection,
    script: &Script,
    at_hand: &dyn AtHand,
    room: &Room,
) -> Result<Told, ChainError> {
    let items = match server.history(&script_hash(script)).await {
        Ok(items) if items.len() > MAX_OF_SCRIPT => {
            return Ok(Told::Refused(format!("{} transactions are too many to read", items.len())));
        }
        Ok(items) => items,
        Err(Failure::Answer(reason)) => return Ok(Told::Refused(reason)),
        Err(Failure::Chain(error)) => return Err(error),
    };
    let status = status_of(&items);
    // One that was mined this very moment may be told of twice.
    let mut mined: HashMap<Txid, u32> = HashMap::new();
    let mut waiting: Vec<Txid> = Vec::new();
    for Item { height, txid } in items {
        match u32::try_from(height) {
            Ok(0) | Err(_) => waiting.push(txid),
            Ok(height) if height <= at_hand.base() => {}
            Ok(height) => drop(mined.insert(txid, height)),
        }
    }
    waiting.retain(|txid| !mined.contains_key(txid));
    waiting.truncate(MAX_WAITING_OF_SCRIPT);
    let proven = stream::iter(mined).map(|(txid, height)| prove(server, txid, height, at_hand, room));
    let proven: Vec<Result<Entry, Told>> = proven.buffer_unordered(OPEN_QUESTIONS).try_collect().await?;
    let mut confirmed = match proven.into_iter().collect::<Result<Vec<Entry>, Told>>() {
        Ok(confirmed) => confirmed,
        Err(told) => return Ok(told),
    };
    confirmed.sort_by_key(|entry| (entry.block.height, entry.pos));
    let take = |tx: Option<Transaction>| tx.filter(|tx| room.take(tx)).map(Arc::new);
    let waiting = stream::iter(waiting).map(|txid| server.transaction(txid)).buffered(OPEN_QUESTIONS).map_ok(take);
    let waiting: Vec<Option<Arc<Transaction>>> = waiting.try_collect().await?;
    let waiting = waiting.into_iter().flatten().collect();
    Ok(Told::Whole(touching(script, History { status, confirmed, waiting })))
}

/// Returns the status of a history: a hash of what is in it, in its order.
fn status_of(items: &[Item]) -> Option<String> {
    let text: String = items.iter().map(|Item { txid, height }| format!("{txid}:{height}:")).collect();
    (!items.is_empty()).then(|| sha256::Hash::hash(text.as_bytes()).to_string())
}

/// Proves that a block of the chain holds a transaction; else says why it cannot.
async fn prove(
    server: &Connection,
    txid: Txid,
    height: u32,
    at_hand: &dyn AtHand,
    room: &Room,
) -> Result<Result<Entry, Told>, ChainError> {
    let unproven = |reason: String| Ok(Err(Told::Unproven(reason)));
    let Some(header) = at_hand.header(height) else {
        return unproven(format!("{txid} is said to be at height {height}, above the chain"));
    };
    let block = BlockRef { height, hash: header.block_hash() };
    let known = at_hand.entry(&txid);
    if let Some(entry) = known.as_ref().filter(|entry| entry.block == block) {
        return Ok(Ok(entry.clone()));
    }
    let tx = match known {
        Some(entry) => Some(entry.tx),
        None => {
            let tx = server.transaction(txid).await?;
            if tx.as_ref().is_some_and(|tx| !room.take_proven(tx)) {
                return Ok(Err(Told::Refused("what is said to touch it is too much to read".to_owned())));
            }
            tx.map(Arc::new)
        }
    };
    let Some(tx) = tx else { return unproven(format!("{txid} is in a history, and is not shown")) };
    let Some(proof) = server.proof(txid, height).await? else {
        return unproven(format!("{txid} is said to be at height {height}, without a proof"));
    };
    if !proof.holds(&tx, header.merkle_root) {
        return unproven(format!("the proof that {txid} is at height {height} does not hold"));
    }
    Ok(Ok(Entry { block, pos: proof.pos, tx }))
}

/// Leaves out what neither pays to the script nor spends one of its outputs.
fn touching(script: &Script, history: History) -> History {
    let History { status, mut confirmed, mut waiting } = history;
    let mut outputs: HashSet<OutPoint> = HashSet::new();
    for tx in confirmed.iter().map(|entry| &entry.tx).chain(&waiting) {
        let txid = tx.compute_txid();
        let paid = (0_u32..).zip(&tx.output).filter(|(_, output)| output.script_pubkey.as_script() == script);
        outputs.extend(paid.map(|(vout, _)| OutPoint { txid, vout }));
    }
    let touches = |tx: &Transaction| {
        tx.output.iter().any(|output| output.script_pubkey.as_script() == script)
            || tx.input.iter().any(|input| outputs.contains(&input.previous_output))
    };
    confirmed.retain(|entry| touches(&entry.tx));
    waiting.retain(|tx| touches(tx));
    History { status, confirmed, waiting }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, BlockHash, ScriptBuf, TxIn, TxOut};

    use super::*;

    fn tx(spends: OutPoint, pays: &[u8]) -> Arc<Transaction> {
        let input = vec![TxIn { previous_output: spends, ..TxIn::default() }];
        let output = vec![TxOut { value: Amount::ONE_SAT, script_pubkey: ScriptBuf::from_bytes(pays.to_vec()) }];
        Arc::new(Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output })
    }

    #[test]
    fn the_name_of_a_script_is_its_hash_backwards() {
        // The example of the protocol's documentation: the coinbase of the genesis block, paid to its address.
        let script = ScriptBuf::from_hex("76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac").unwrap();
        assert_eq!(script_hash(&script), "8b01df4e368ea28f8dc0423bcf7a4923e3a12d307c875e47a0cfbf90b5c39161");
    }

    #[test]
    fn a_status_is_the_hash_of_a_history() {
        let item = |byte, height| Item { txid: Txid::from_byte_array([byte; 32]), height };
        assert_eq!(status_of(&[]), None);
        let text = format!("{}:7:{}:-1:", "01".repeat(32), "02".repeat(32));
        assert_eq!(status_of(&[item(1, 7), item(2, -1)]), Some(sha256::Hash::hash(text.as_bytes()).to_string()));
        assert_ne!(status_of(&[item(1, 7), item(2, -1)]), status_of(&[item(1, 7), item(2, 0)]));
    }

    #[test]
    fn there_is_room_for_as_much_as_a_block_holds() {
        let heavy = |bytes: usize| {
            let mut tx = Transaction::clone(&tx(OutPoint::null(), b"mine"));
            tx.input[0].witness = bitcoin::Witness::from_slice(&[vec![0; bytes]]);
            tx
        };
        let room = Room::new();
        assert!(!room.take(&heavy(400_000)), "no node passes that on");
        assert_eq!((0..100).filter(|_| room.take(&heavy(390_000))).count(), 10);
        assert!(room.take(&heavy(1)), "there is room for what is light");
        let whole = heavy(3_900_000);
        assert_eq!((0..100).filter(|_| room.take_proven(&whole)).count(), 25, "blocks have a room of their own");
    }

    #[test]
    fn what_does_not_touch_the_script_is_left_out() {
        let at = |vout| OutPoint { txid: Txid::from_byte_array([9; 32]), vout };
        let block = BlockRef { height: 7, hash: BlockHash::all_zeros() };
        let entry = |pos, tx: &Arc<Transaction>| Entry { block, pos, tx: Arc::clone(tx) };
        let (pays, other) = (tx(at(0), b"mine"), tx(at(1), b"theirs"));
        let spends = tx(OutPoint { txid: pays.compute_txid(), vout: 0 }, b"theirs");
        let spends_other = tx(OutPoint { txid: other.compute_txid(), vout: 0 }, b"theirs");
        let history = History {
            status: None,
            confirmed: vec![entry(1, &spends_other), entry(2, &pays), entry(3, &other)],
            waiting: vec![Arc::clone(&spends), Arc::clone(&other)],
        };
        let left = touching(Script::from_bytes(b"mine"), history);
        assert_eq!((left.confirmed, left.waiting), (vec![entry(2, &pays)], vec![spends]));
    }
}
