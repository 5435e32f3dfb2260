//! The wallet without its surroundings: what it holds, what it has promised, and every decision about both.
//!
//! Nothing here waits or writes. Whatever changes is collected in one [`Change`], which the task keeps on disk before it
//! reports anything.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bdk_wallet::chain::{ChainPosition, ConfirmationBlockTime};
use bdk_wallet::error::LoadError;
use bdk_wallet::{KeychainKind, LocalOutput, Wallet};
use bitcoin::constants::COINBASE_MATURITY;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, Txid};
use zeroize::Zeroizing;

use super::keys::Keys;
use super::persist::{COMPACT_FROM, Change, Own, Purpose, Reservation, Scan};
use super::pool::Payments;
use super::share::RefusedBack;
use super::sync::Pass;
use super::{Balance, Clock, CoinMessage, DepositAddress, MAX_ADDRESSES, OwnedCoin, WalletError};
use crate::chain::BlockRef;

/// How many scripts beyond the last used one are watched: the longest run of destinations that were handed out and never
/// paid, over which a wallet restored from its words still finds what comes after. Trades that are called off leave such
/// runs behind, so it is several times the usual 20 or 25.
pub(super) const LOOK_AHEAD: u32 = 100;
/// The chains of scripts: those that are handed out, and those for change.
const KEYCHAINS: [KeychainKind; 2] = [KeychainKind::External, KeychainKind::Internal];
/// How many unconfirmed transactions of ours may stand in a row before a coin is left alone; relays allow 25.
const MAX_UNCONFIRMED_CHAIN: usize = 20;
/// The version of transactions whose unconfirmed outputs only their own kind may spend (BIP-431).
pub(super) const TRUC_VERSION: i32 = 3;

/// What the wallet holds and has promised.
pub(super) struct State {
    pub wallet: Wallet,
    pub keys: Keys,
    pub clock: Clock,
    pub own: Own,
    /// What is not on disk yet.
    change: Change,
    /// The present run of the follower's stream.
    pub pass: Pass,
    /// What strangers pay, as a pool shows it.
    pub payments: Payments,
    /// What was built here alone and waited in the pool when this wallet was closed; nothing once it has caught up.
    pub last_known: Vec<Txid>,
    /// The fee of what was to spend back coins that were set aside for an output, and was refused. Not kept: it is found again.
    pub refused_backs: HashMap<ScriptBuf, RefusedBack>,
    /// Blocks that left the chain and that bdk cannot forget before another takes their place.
    pub undone: Vec<BlockRef>,
    /// How many scripts of each keychain the follower was told of; nothing while there is none: one that begins is told of all.
    watched: Option<BTreeMap<KeychainKind, u32>>,
    /// The place of a destination that was made and that nobody was shown.
    unshown: Option<u32>,
    pub synced: bool,
}

/// The coins, sorted by what can be done with them.
#[derive(Debug, Default)]
pub(super) struct Coins {
    pub spendable: Vec<LocalOutput>,
    /// Unspent, but not to be spent now.
    pub withheld: Vec<LocalOutput>,
    pub balance: Balance,
}

/// A transaction that counts, and where it is confirmed.
pub(super) struct Known {
    pub tx: Arc<Transaction>,
    pub confirmation: Option<ConfirmationBlockTime>,
    /// When it was first seen unconfirmed.
    pub first_seen: Option<u64>,
}

impl State {
    /// Opens the wallet from the changes that were kept, or makes a new one. The second value, if any, is to be put in the
    /// place of all changes.
    pub fn open(
        seed: Zeroizing<[u8; 64]>,
        network: bitcoin::Network,
        clock: Clock,
        kept: &[Vec<u8>],
    ) -> Result<(Self, Option<Vec<u8>>), WalletError> {
        let keys = Keys::new(seed, network);
        let (deposits, change_descriptor) = keys.descriptors();
        let mut whole = Change::read(kept)?;
        whole.prune();
        let compact = (kept.len() >= COMPACT_FROM).then(|| whole.encode()).transpose()?;
        let mut own = whole.own;
        let loaded = Wallet::load()
            .check_network(network)
            .descriptor(KeychainKind::External, Some(deposits.clone()))
            .descriptor(KeychainKind::Internal, Some(change_descriptor.clone()))
            .lookahead(LOOK_AHEAD)
            .load_wallet_no_persist(whole.bdk)
            .map_err(|error| match error {
                LoadError::Mismatch(mismatch) => WalletError::Foreign { reason: mismatch.to_string() },
                other => WalletError::Damaged { reason: other.to_string() },
            })?;
        let wallet = match loaded {
            Some(wallet) => wallet,
            None => Wallet::create(deposits, change_descriptor)
                .network(network)
                .lookahead(LOOK_AHEAD)
                .create_wallet_no_persist()
                .map_err(|e| WalletError::Internal { reason: e.to_string() })?,
        };
        own.scan = own.scan.or(Some(Scan::Unfinished));
        let mut state = Self {
            wallet,
            keys,
            clock,
            own,
            change: Change::default(),
            pass: Pass::default(),
            payments: Payments::default(),
            last_known: Vec::new(),
            refused_backs: HashMap::new(),
            undone: Vec::new(),
            watched: None,
            unshown: None,
            synced: false,
        };
        state.last_known = state.own_waiting();
        Ok((state, compact))
    }

    /// Returns the present deposit address: the last one handed out, until something arrives there.
    pub fn address(&mut self) -> Result<DepositAddress, WalletError> {
        self.require_scanned()?;
        let unused = self.own.deposit.filter(|index| !self.wallet.spk_index().is_used(KeychainKind::External, *index));
        let address = match unused {
            Some(index) => self.wallet.peek_address(KeychainKind::External, index).address,
            None => {
                let info = self.reveal()?;
                self.record(Own { deposit: Some(info.index), ..Own::default() });
                info.address
            }
        };
        Ok(DepositAddress { uri: format!("bitcoin:{address}"), address })
    }

    /// Returns a script that nobody was ever shown: the same one until [`Self::note_shown`] is told that it was handed out, and
    /// again once it was put back. What fails on the way there, as often as it likes, costs one address.
    pub fn new_destination(&mut self) -> Result<ScriptBuf, WalletError> {
        self.require_scanned()?;
        let unused = self.unshown.filter(|index| !self.wallet.spk_index().is_used(KeychainKind::External, *index));
        let index = match unused {
            Some(index) => index,
            None => self.reveal()?.index,
        };
        self.unshown = Some(index);
        Ok(self.wallet.peek_address(KeychainKind::External, index).address.script_pubkey())
    }

    /// Notes that the last new destination was handed out.
    pub const fn note_shown(&mut self) {
        self.unshown = None;
    }

    /// Takes back a destination that was handed out and that nobody was shown: it is the next one. Of several the last is kept.
    pub fn put_back_destination(&mut self, script: ScriptBuf) {
        if let Some((KeychainKind::External, index)) = self.wallet.derivation_of_spk(script) {
            self.unshown = Some(index);
        }
    }

    fn reveal(&mut self) -> Result<bdk_wallet::AddressInfo, WalletError> {
        if self.wallet.next_derivation_index(KeychainKind::External) >= MAX_ADDRESSES {
            return Err(WalletError::TooManyAddresses);
        }
        self.require_watched()?;
        Ok(self.wallet.reveal_next_address(KeychainKind::External))
    }

    /// Refuses to show a new script while the follower has still to be told of one. Each that is shown brings another into view,
    /// [`LOOK_AHEAD`] further on. So of what is shown the follower was told long before, and it has taken that in, for fewer
    /// requests wait for it; and while it takes in nothing, what it has still to be told of stays little.
    ///
    /// Change needs none of that: it comes by a spend of coins whose scripts are watched.
    pub fn require_watched(&self) -> Result<(), WalletError> {
        if self.has_unwatched() { Err(WalletError::Unwatched) } else { Ok(()) }
    }

    /// An address must not be handed out twice, so earlier ones have to be known first.
    fn require_scanned(&self) -> Result<(), WalletError> {
        if self.own.scan == Some(Scan::Done) { Ok(()) } else { Err(self.not_synced()) }
    }

    pub fn not_synced(&self) -> WalletError {
        WalletError::NotSynced { height: self.wallet.latest_checkpoint().height() }
    }

    /// Keeps a built transaction: from now on nothing else spends its inputs.
    pub fn reserve(&mut self, reservation: Reservation) {
        let txid = reservation.tx.compute_txid();
        self.record(Own { reservations: [(txid, Some(reservation))].into(), ..Own::default() });
    }

    /// Forgets a built transaction that was never broadcast: its inputs are free again. One that a later version is to replace is
    /// kept: that spends the same, and without this one nothing would keep the versions before it from being sent again.
    pub fn release(&mut self, txid: Txid) -> Result<(), WalletError> {
        if self.known().contains_key(&txid) {
            return Err(WalletError::AlreadyBroadcast { txid });
        }
        let reservation = self.own.reservations.get(&txid).cloned().flatten();
        let Reservation { tx, replaces, .. } = reservation.ok_or(WalletError::NotReserved { txid })?;
        if self.own.replacement_of(&txid).is_some() {
            return Ok(());
        }
        self.end_reservation(txid);
        // An earlier version may pay to the same change address, and counts again from now on.
        if replaces.is_none() {
            self.reuse_change(&tx);
        }
        Ok(())
    }

    /// Forgets the funding of an escrow that was built and never handed out: its inputs are free again. What was ever seen is
    /// not forgotten, be it pushed out of the pool, nor what a child was built for, which goes out with it. Tells whether
    /// there was any.
    pub fn release_funding(&mut self, script: &ScriptBuf) -> Result<bool, WalletError> {
        let is_it = |kept: &Reservation| kept.purpose == Purpose::Fund && kept.script == *script;
        let built = self.own.reservations().find(|(_, kept)| is_it(kept)).map(|(txid, kept)| (txid, kept.tx.clone()));
        let Some((txid, tx)) = built else { return Ok(false) };
        let was_seen = self.wallet.tx_graph().get_tx_node(txid).is_some();
        if was_seen || self.own.child_of(&txid).is_some() {
            return Err(WalletError::AlreadyBroadcast { txid });
        }
        self.end_reservation(txid);
        self.reuse_change(&tx);
        Ok(true)
    }

    /// Takes back a transaction that could not be kept, and so was never handed out. One that was kept before stays.
    pub fn withdraw(&mut self, tx: &Transaction) {
        let txid = tx.compute_txid();
        if let Some(Some(kept)) = self.change.own.reservations.get(&txid) {
            // The change of what was signed with others is that of the plan, which stays.
            let has_own_change = kept.purpose != Purpose::Joint;
            self.end_reservation(txid);
            if has_own_change {
                self.reuse_change(tx);
            }
        }
    }

    pub fn end_reservation(&mut self, txid: Txid) {
        self.record(Own { reservations: [(txid, None)].into(), ..Own::default() });
    }

    /// Returns the script of an own change address that nothing pays, and that serves nothing else from now on.
    pub fn new_change(&mut self) -> ScriptBuf {
        let change = self.wallet.next_unused_address(KeychainKind::Internal);
        self.wallet.mark_used(KeychainKind::Internal, change.index);
        change.address.script_pubkey()
    }

    /// Lets the change address of a transaction that will not be broadcast serve another.
    pub fn reuse_change(&mut self, tx: &Transaction) {
        tx.output.iter().for_each(|output| self.unmark(&output.script_pubkey));
    }

    /// Lets an own change address that nothing pays serve another transaction.
    pub fn unmark(&mut self, script: &ScriptBuf) {
        if let Some((KeychainKind::Internal, index)) = self.wallet.derivation_of_spk(script.clone()) {
            self.wallet.unmark_used(KeychainKind::Internal, index);
        }
    }

    /// Returns all transactions that count.
    pub fn known(&self) -> HashMap<Txid, Known> {
        let known = |tx: bdk_wallet::WalletTx<'_>| {
            let (confirmation, first_seen) = match tx.chain_position {
                ChainPosition::Confirmed { anchor, .. } if !self.is_undone(&anchor) => (Some(anchor), None),
                ChainPosition::Confirmed { anchor, .. } => (None, Some(anchor.confirmation_time)),
                ChainPosition::Unconfirmed { first_seen, .. } => (None, first_seen),
            };
            (tx.tx_node.txid, Known { tx: tx.tx_node.tx, confirmation, first_seen })
        };
        self.wallet.transactions().map(known).collect()
    }

    fn is_undone(&self, anchor: &ConfirmationBlockTime) -> bool {
        let block = BlockRef { height: anchor.block_id.height, hash: anchor.block_id.hash };
        self.undone.contains(&block)
    }

    /// Returns the coins, sorted by what can be done with them.
    pub fn coins(&self) -> Coins {
        let known = self.known();
        let reserved: HashSet<OutPoint> = self
            .own
            .reservations()
            .flat_map(|(_, reservation)| reservation.tx.input.iter().map(|input| input.previous_output))
            .collect();
        let mut coins = Coins::default();
        for coin in self.wallet.list_unspent() {
            let is_spendable = self.is_spendable(&coin, &known);
            let is_frozen = self.own.is_kept(&coin.outpoint);
            let sum = if reserved.contains(&coin.outpoint) {
                &mut coins.balance.reserved
            } else if is_spendable && is_frozen {
                &mut coins.balance.frozen
            } else if is_spendable {
                &mut coins.balance.spendable
            } else {
                &mut coins.balance.pending
            };
            // Only a backend that invents money gets beyond the cap, and it gains nothing by it.
            *sum = sum.checked_add(coin.txout.value).unwrap_or(Amount::MAX_MONEY).min(Amount::MAX_MONEY);
            if is_spendable && !is_frozen && !reserved.contains(&coin.outpoint) {
                coins.spendable.push(coin);
            } else {
                coins.withheld.push(coin);
            }
        }
        coins
    }

    /// Signs for a coin as its owner: the oldest of the smallest that are confirmed and hold at least `minimum`.
    pub fn sign_for_coin(&self, minimum: Amount, message: &CoinMessage) -> Result<OwnedCoin, WalletError> {
        let known = self.known();
        let height = |coin: &LocalOutput| Some(known.get(&coin.outpoint.txid)?.confirmation?.block_id.height);
        let coins = self.coins().spendable.into_iter().filter(|coin| coin.txout.value >= minimum);
        let confirmed = coins.filter_map(|coin| Some((height(&coin)?, coin)));
        let chosen = confirmed.min_by_key(|(height, coin)| (coin.txout.value, *height, coin.outpoint));
        let (height, coin) = chosen.ok_or(WalletError::NoCoin { minimum })?;
        let (outpoint, value) = (coin.outpoint, coin.txout.value);
        let (key, signature) = self.keys.sign_as_owner(coin.keychain, coin.derivation_index, message(outpoint));
        Ok(OwnedCoin { outpoint, value, height, key, signature })
    }

    /// Whether a coin is confirmed and mature, or comes from ourselves alone.
    pub fn is_spendable(&self, coin: &LocalOutput, known: &HashMap<Txid, Known>) -> bool {
        let Some(parent) = known.get(&coin.outpoint.txid) else {
            return false;
        };
        let Some(confirmation) = parent.confirmation else {
            return self.is_own_chain(parent, known);
        };
        let next = self.wallet.latest_checkpoint().height().saturating_add(1);
        !parent.tx.is_coinbase() || next.saturating_sub(confirmation.block_id.height) >= COINBASE_MATURITY
    }

    /// Whether `tx` and all of its unconfirmed ancestors spend only coins of ours, for which nothing else was signed: neither
    /// anybody else nor a miner can make it void.
    fn is_own_chain(&self, start: &Known, known: &HashMap<Txid, Known>) -> bool {
        let mut ancestors = HashSet::new();
        let mut open = vec![&start.tx];
        while let Some(tx) = open.pop() {
            if tx.version.0 == TRUC_VERSION || ancestors.len() > MAX_UNCONFIRMED_CHAIN {
                return false;
            }
            for input in &tx.input {
                let outpoint = input.previous_output;
                let Some(parent) = known.get(&outpoint.txid) else {
                    return false;
                };
                if self.wallet.spk_index().txout(outpoint).is_none() {
                    return false;
                }
                if parent.confirmation.is_none() && ancestors.insert(outpoint.txid) {
                    open.push(&parent.tx);
                }
            }
            // Last, for it looks at all that was built: what strangers pay in, as much as they like, has ended above.
            if self.has_rival(tx) {
                return false;
            }
        }
        true
    }

    /// Tells whether this wallet signed, or may have signed in a file, something else that spends a coin which a transaction spends:
    /// an earlier or a later version of it, or a funding from which its coins come back. A block decides between them, whatever
    /// the pool shows.
    fn has_rival(&self, tx: &Transaction) -> bool {
        let txid = tx.compute_txid();
        let spent: HashSet<OutPoint> = tx.input.iter().map(|input| input.previous_output).collect();
        let spends_it = |other: &Transaction| other.input.iter().any(|input| spent.contains(&input.previous_output));
        // What stands for coins that are set aside is signed by nobody.
        let mut signed = self.own.reservations().filter(|(_, kept)| kept.purpose != Purpose::Share);
        spent.iter().any(|coin| self.own.is_signed_away(coin))
            || signed.any(|(other, kept)| other != txid && spends_it(&kept.tx))
    }

    /// Tells whether there are scripts that the follower has still to be told of: none while there is no follower.
    pub fn has_unwatched(&self) -> bool {
        let Some(watched) = &self.watched else { return false };
        let all = self.wallet.spk_index().inner().all_spks();
        KEYCHAINS.into_iter().any(|keychain| {
            let from = watched.get(&keychain).copied().unwrap_or(0);
            all.range((keychain, from)..=(keychain, u32::MAX)).next().is_some()
        })
    }

    /// Returns the scripts that the follower has still to be told of; from now on they count as watched.
    pub fn take_unwatched(&mut self) -> Vec<ScriptBuf> {
        let Some(watched) = &mut self.watched else { return Vec::new() };
        let all = self.wallet.spk_index().inner().all_spks();
        let mut fresh = Vec::new();
        for keychain in KEYCHAINS {
            let from = watched.get(&keychain).copied().unwrap_or(0);
            for ((_, index), script) in all.range((keychain, from)..=(keychain, u32::MAX)) {
                fresh.push(script.clone());
                watched.insert(keychain, index.saturating_add(1));
            }
        }
        fresh
    }

    /// Returns all scripts, for a follower that begins; from now on they count as watched.
    pub fn take_all_scripts(&mut self) -> Vec<ScriptBuf> {
        self.watched = Some(BTreeMap::new());
        self.take_unwatched()
    }

    /// Notes that nothing is watched, for there is no follower.
    pub fn forget_follower(&mut self) {
        self.watched = None;
    }

    /// Changes what is kept beside bdk.
    pub fn record(&mut self, change: Own) {
        self.own.merge(change.clone());
        self.change.own.merge(change);
    }

    /// Takes what is not on disk yet.
    pub fn take_change(&mut self) -> Option<Change> {
        let mut change = std::mem::take(&mut self.change);
        if let Some(mut staged) = self.wallet.take_staged() {
            self.leave_out_unproven(&mut staged);
            change.merge(Change { bdk: staged, own: Own::default() });
        }
        (!change.is_empty()).then_some(change)
    }

    /// Gives back what could not be written; it goes to disk with the next change.
    pub fn give_back(&mut self, unwritten: Change) {
        let later = std::mem::replace(&mut self.change, unwritten);
        self.change.merge(later);
    }
}
