//! The coins one by one: what each is, what may be done with it, and which are frozen.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use bdk_wallet::{KeychainKind, LocalOutput};
use bitcoin::{Address, Amount, OutPoint, Txid};

use super::WalletError;
use super::persist::Own;
use super::state::{Known, State};

/// How many coins one page or one call has at most; as many fit a transaction that is relayed.
pub const MAX_COINS: usize = 500;

/// A coin of the wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coin {
    /// The output.
    pub outpoint: OutPoint,
    /// Its address.
    pub address: Address,
    /// How much it holds.
    pub value: Amount,
    /// The height that confirms it; `None` while in the pool.
    pub height: Option<u32>,
    /// Whether it is change of a transaction of ours.
    pub change: bool,
    /// What is said of it, of its address or of the transaction that made it: the first there is.
    pub label: String,
    /// What may be done with it.
    pub state: CoinState,
}

/// The place of a coin in the list. Prints as `satoshis:txid:index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoinCursor {
    value: Amount,
    outpoint: OutPoint,
}

/// What may be done with a coin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoinState {
    /// It can be spent.
    Spendable,
    /// It is unconfirmed and not our own change, or that of what is being replaced; or it was mined too recently.
    Pending,
    /// Its owner froze it, or signed for it in a file that others may send.
    Frozen,
    /// It is set aside for a transaction that was built.
    Reserved {
        /// The transaction.
        by: Txid,
        /// What that is for.
        label: String,
    },
}

impl State {
    /// Returns up to `limit` unspent coins after the place `after`, the largest first.
    pub fn list_coins(&self, after: Option<CoinCursor>, limit: usize) -> Vec<Coin> {
        let (known, reserved) = (self.known(), self.reserved());
        let coins = self.wallet.list_unspent().filter_map(|coin| self.coin(&coin, &known, &reserved));
        let mut coins: Vec<Coin> = coins.filter(|c| after.is_none_or(|a| c.cursor().rank() > a.rank())).collect();
        coins.sort_by_key(|coin| coin.cursor().rank());
        coins.truncate(limit.clamp(1, MAX_COINS));
        coins
    }

    /// Returns an unspent coin.
    pub fn find_coin(&self, outpoint: OutPoint) -> Result<Coin, WalletError> {
        let coin = self.wallet.get_utxo(outpoint);
        coin.and_then(|coin| self.coin(&coin, &self.known(), &self.reserved()))
            .ok_or(WalletError::UnknownCoin(outpoint))
    }

    /// Freezes coins, or lets them be spent again: all of them or none.
    pub fn freeze(&mut self, coins: &[OutPoint], frozen: bool) -> Result<Vec<Coin>, WalletError> {
        if coins.len() > MAX_COINS {
            return Err(WalletError::TooManyCoins);
        }
        coins.iter().try_for_each(|outpoint| self.find_coin(*outpoint).map(drop))?;
        // There is always room for it: these are coins of this wallet, and no crowd of labels is to keep them from being kept apart.
        let mut change = Own::default();
        change.frozen.extend(coins.iter().map(|outpoint| (*outpoint, frozen)));
        if !frozen {
            change.signed_away.extend(coins.iter().map(|outpoint| (*outpoint, false)));
        }
        self.record(change);
        coins.iter().map(|outpoint| self.find_coin(*outpoint)).collect()
    }

    /// Returns the coins that are set aside, and for which built transaction.
    fn reserved(&self) -> HashMap<OutPoint, Txid> {
        let built = self.own.reservations().map(|(txid, kept)| (self.own.last_version(txid), kept));
        built.flat_map(|(by, kept)| kept.tx.input.iter().map(move |input| (input.previous_output, by))).collect()
    }

    fn coin(
        &self,
        coin: &LocalOutput,
        known: &HashMap<Txid, Known>,
        reserved: &HashMap<OutPoint, Txid>,
    ) -> Option<Coin> {
        let LocalOutput { outpoint, txout, keychain, .. } = coin;
        let state = match reserved.get(outpoint) {
            Some(by) => CoinState::Reserved { by: *by, label: self.own.label(by).to_owned() },
            None if !self.is_spendable(coin, known) => CoinState::Pending,
            None if self.own.is_kept(outpoint) => CoinState::Frozen,
            None => CoinState::Spendable,
        };
        let own = &self.own;
        let labels = [
            own.coin_label(outpoint),
            own.address_label(&txout.script_pubkey),
            own.note(&outpoint.txid),
            own.label(&outpoint.txid),
        ];
        Some(Coin {
            outpoint: *outpoint,
            address: Address::from_script(&txout.script_pubkey, self.wallet.network()).ok()?,
            value: txout.value,
            height: known.get(&outpoint.txid).and_then(|tx| tx.confirmation).map(|at| at.block_id.height),
            change: *keychain == KeychainKind::Internal,
            label: labels.into_iter().find(|label| !label.is_empty()).unwrap_or_default().to_owned(),
            state,
        })
    }
}

impl fmt::Display for CoinState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spendable => f.write_str("it can be spent"),
            Self::Pending => f.write_str("it waits for confirmations"),
            Self::Frozen => f.write_str("it is frozen; `exchange-node wallet unfreeze` frees it"),
            Self::Reserved { by, label } if label.is_empty() => write!(f, "it is set aside for transaction {by}"),
            Self::Reserved { label, .. } => write!(f, "it is set aside: {label}"),
        }
    }
}

impl Coin {
    /// Returns its place in the list.
    pub const fn cursor(&self) -> CoinCursor {
        CoinCursor { value: self.value, outpoint: self.outpoint }
    }
}

impl CoinCursor {
    fn rank(&self) -> impl Ord + use<> {
        (std::cmp::Reverse(self.value), self.outpoint)
    }
}

impl fmt::Display for CoinCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.value.to_sat(), self.outpoint)
    }
}

impl FromStr for CoinCursor {
    type Err = WalletError;

    fn from_str(text: &str) -> Result<Self, WalletError> {
        let parse = || {
            let (value, outpoint) = text.split_once(':')?;
            Some(Self { value: Amount::from_sat(value.parse().ok()?), outpoint: outpoint.parse().ok()? })
        };
        parse().ok_or_else(|| WalletError::BadCursor(text.chars().take(100).collect()))
    }
}
